"""How often the kernel's OOM killer has struck, since an engine started. Reads a small file of the kernel's.

The count is that of the engine's control group, where there is one, else that of the whole machine: then another
program's end may be taken for a reason. So only kills of the last minute or so count.
"""

import re
from contextlib import suppress
from pathlib import Path

from launchers.files import read_ordinary

LOOK_EVERY = 60.0
"""Seconds between two looks at the count while an engine serves."""

_COUNT = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)
_GROUP = re.compile(r"^0::(/.*)$", re.MULTILINE)


class Kills:
    """Counts the kills around one engine, whose first process is `pid`.

    `now` is in seconds of any monotonic clock. `root` is where the kernel's files lie.
    """

    def __init__(self, pid: int, now: float, root: Path = Path("/")) -> None:
        group = _found(_GROUP, root / f"proc/{pid}/cgroup")
        self._of_group = root / "sys/fs/cgroup" / (group or "").lstrip("/") / "memory.events"
        self._of_all = root / "proc/vmstat"
        # At the last two looks: the latest one may have come just before the engine's end was noticed.
        self._before = self._last = self._count()
        self._look_at = now + LOOK_EVERY

    def look(self, now: float) -> None:
        """If it is time for that, let only kills from now on count, and those since the last look."""
        if now >= self._look_at:
            self._look_at = now + LOOK_EVERY
            self._before, self._last = self._last, self._count()

    @property
    def rose(self) -> bool:
        """Whether there was a kill since the look before the last one."""
        now = self._count()
        return self._before is not None and now is not None and now > self._before

    def _count(self) -> int | None:
        """Read the count; None where the system doesn't tell."""
        said = _found(_COUNT, self._of_group) or _found(_COUNT, self._of_all)
        return None if said is None else int(said)


def _found(pattern: re.Pattern[str], path: Path) -> str | None:
    with suppress(OSError):
        found = pattern.search(read_ordinary(path).decode(errors="replace"))
        return None if found is None else found[1]
    return None
