"""What admins have changed of what router.yaml says, until its entry changes there. Pure.

The file's configuration with these laid over it is planned as any other is: a scale down goes the way of a reload, and
a reload of an unchanged entry keeps what lies over it. A drain concerns one backend, and changes no plan.
"""

from collections.abc import Container, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from router.config import BackendConfig, Config

Key = Literal["replicas", "pinned"]


@dataclass(frozen=True, slots=True)
class Override:
    """One of them. `entry` is the file's, by `at`, in seconds since the epoch; `by` is the admin's name."""

    entry: BackendConfig
    key: Key
    value: int
    by: str
    at: float

    @property
    def written(self) -> int:
        """What the file says."""
        return written(self.entry, self.key)


def written(entry: BackendConfig, key: Key) -> int:
    """Give what an entry of a launch says."""
    assert entry.launch is not None  # noqa: S101 -- nothing else is scaled or pinned
    value: int = getattr(entry.launch, key)
    return value


@dataclass(frozen=True, slots=True)
class Drained:
    """A backend that gets nothing more. `entry` is the file's, `by` the admin's name, `at` as above."""

    entry: BackendConfig
    backend: str
    by: str
    at: float


@dataclass(frozen=True, slots=True)
class Overrides:
    """All of them, over what is `written`."""

    written: Config
    kept: tuple[Override, ...] = ()
    drained: tuple[Drained, ...] = ()

    @property
    def config(self) -> Config:
        """The configuration to run."""
        if not self.kept:
            return self.written
        backends = tuple(
            _laid_over(each, [one for one in self.kept if one.entry == each]) for each in self.written.backends
        )
        return self.written.model_copy(update={"backends": backends})

    def over(self, config: Config) -> "Overrides":
        """Lay them over another file; those end whose entry is another one there."""
        return Overrides(
            config,
            tuple(each for each in self.kept if each.entry in config.backends),
            tuple(each for each in self.drained if each.entry in config.backends),
        )

    def add(self, entries: Iterable[BackendConfig], key: Key, value: int, by: str, at: float) -> "Overrides":
        """Change a key of entries of the file. What the file says itself is no override."""
        kept = list(self.kept)
        for entry in entries:
            before = next((each for each in kept if each.entry == entry and each.key == key), None)
            if before is not None:
                if before.value == value:
                    continue
                kept.remove(before)
            if written(entry, key) != value:
                kept.append(Override(entry, key, value, by, at))
        return replace(self, kept=tuple(kept))

    def drain(self, entry: str, backend: str, by: str, at: float) -> "Overrides":
        """Drain a backend of an entry, by their names; one that is drained already stays so."""
        found = [each for each in self.written.backends if each.name == entry]
        if not found or any(each.backend == backend for each in self.drained):
            return self
        return replace(self, drained=(*self.drained, Drained(found[0], backend, by, at)))

    def undrain(self, backend: str) -> "Overrides":
        """Drain a backend no more."""
        return replace(self, drained=tuple(each for each in self.drained if each.backend != backend))

    def within(self, backends: Container[str]) -> "Overrides":
        """Leave out what concerns backends that aren't there any more. A peer's, below its entry, may come back."""
        kept = (
            each for each in self.drained if each.backend in backends or each.backend.startswith(f"{each.entry.name}/")
        )
        return replace(self, drained=tuple(kept))

    def ended(self, now: "Overrides") -> list[str]:
        """Say what isn't so any more with those of `now`."""
        kept = [
            f"{each.entry.name}: {each.key} {each.value} by {each.by}" for each in self.kept if each not in now.kept
        ]
        return kept + [f"{each.backend}: drained by {each.by}" for each in self.drained if each not in now.drained]


def _laid_over(entry: BackendConfig, overrides: Iterable[Override]) -> BackendConfig:
    changes: dict[str, Any] = {each.key: each.value for each in overrides}
    if not changes or entry.launch is None:
        return entry
    return entry.model_copy(update={"launch": entry.launch.model_copy(update=changes)})
