"""Why a request can't have its model loaded, with the figures. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from router.core.errors import UnavailableError


@dataclass(frozen=True, slots=True)
class Shortage:
    """One device that is too small: bytes needed, free if all that may leave has left, and held by whom till then."""

    device: str
    needs: int
    free: int
    held: Mapping[str, int]

    def sentence(self) -> str:
        """Say it."""
        held = ", ".join(f"{size_text(size)} by {who}" for who, size in self.held.items() if size)
        return (
            f"It needs {size_text(self.needs)} of {self.device}, of which {size_text(max(0, self.free))} can be free"
            f"{f' ({held} stays)' if held else ''}."
        )


class MemoryShortageError(UnavailableError):
    """The model can't fit, whatever leaves. `shortages` are of the placement that lacks least."""

    code: ClassVar[str] = "insufficient_memory"

    def __init__(self, backend: str, shortages: tuple[Shortage, ...]) -> None:
        figures = " ".join(each.sentence() for each in shortages)
        super().__init__(
            f"'{backend}' can't be loaded. {figures} Unpin a model, raise memory.limit, or use a smaller one."
        )
        self.shortages = shortages


class LoadFailedError(UnavailableError):
    """The model's engine didn't load."""

    code: ClassVar[str] = "load_failed"

    def __init__(self, backend: str, reason: str, retry_after: int | None) -> None:
        super().__init__(f"'{backend}' could not be loaded: {reason}", retry_after=retry_after)
        self.reason = reason


def size_text(size: int) -> str:
    """Write bytes for people."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 // 10 else f"{size / 2**20:.0f} MiB"
