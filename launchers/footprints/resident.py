"""What a process and all that it started take of RAM, each page counted once. Reading it blocks for some milliseconds.

RSS counts a page that two processes share in both, and a library in everybody. The kernel's proportional figures (PSS,
in smaps_rollup) give each process its part of a page, so their sum over a tree has what the tree shares once.

Pages of files are told apart: weights that are mapped are clean, and the kernel may drop them at any time. That frees
them at once, and costs reading them again, from the disk. So `mapped` bytes count as long as the engine uses them, and
are the first to go where memory is short; what is `private` goes with the process alone.
"""

import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_FIELDS = {
    "private": ("Pss_Anon", "Private_Dirty"),
    "mapped": ("Pss_File", "Private_Clean"),
    "shared": ("Pss_Shmem", ""),
    "swapped": ("SwapPss", "Swap"),
}
"""A field → the kernel's name of it, and one in the place of it for a kernel before 5.9, which hasn't these."""


@dataclass(frozen=True, slots=True)
class Resident:
    """Bytes: of a process's own, of files that it maps, of memory that it shares with others, and those swapped out."""

    private: int = 0
    mapped: int = 0
    shared: int = 0
    swapped: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.private + self.mapped + self.shared + self.swapped

    def __add__(self, other: "Resident") -> "Resident":
        return Resident(
            self.private + other.private,
            self.mapped + other.mapped,
            self.shared + other.shared,
            self.swapped + other.swapped,
        )

    def __sub__(self, other: "Resident") -> "Resident":
        return Resident(
            self.private - other.private,
            self.mapped - other.mapped,
            self.shared - other.shared,
            self.swapped - other.swapped,
        )


def parsed(rollup: str) -> Resident:
    """Read what /proc/PID/smaps_rollup says; lines that aren't `Name:   123 kB` are passed over."""
    said: dict[str, int] = {}
    for line in rollup.splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if len(words) == 2 and words[0].isdecimal() and words[1] == "kB":
            said[name] = int(words[0]) * 1024
    return Resident(**{field: said.get(name, said.get(older, 0)) for field, (name, older) in _FIELDS.items()})


def of_process(pid: int) -> Resident | None:
    """Read what one process takes; None where it is gone, or the system doesn't tell."""
    with suppress(psutil.Error, OSError):
        return _of(psutil.Process(pid))
    return None


def of_processes(pids: Iterable[int]) -> Resident | None:
    """Add up what some processes take; None where all are gone, or the system tells of none."""
    found = [each for each in map(of_process, pids) if each is not None]
    return sum(found, start=Resident()) if found else None


def measure(pid: int) -> Resident | None:
    """Add up what a process and all that it started take; None where it is gone, or the system doesn't tell."""
    with suppress(psutil.Error, OSError):
        leader = psutil.Process(pid)
        return _added([leader, *leader.children(recursive=True)])
    return None


def _added(processes: Iterable[psutil.Process]) -> Resident:
    found = Resident()
    for process in processes:
        with suppress(psutil.NoSuchProcess, ProcessLookupError, FileNotFoundError):
            found += _of(process)
    return found


def _of(process: psutil.Process) -> Resident:
    if sys.platform == "linux":
        return parsed(Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii", errors="replace"))
    return Resident(private=process.memory_full_info().uss)  # there, mapped files are not in it
