"""Which processes belong to an engine, by the system's table of processes; and which shared memory they leave behind.

Processes of an engine may hide: they lead sessions of their own, fork twice, outlive their parents. A process belongs
to an engine if any of these is true:

1. It is the engine's first process, or descends from one that belongs to the engine.
2. A process of the engine leads, or led, its session. No new process gets a session's number as its pid while the
   session has members; so if another process has that pid now, nobody of the session is left.
3. Its environment has the engine's mark. All children inherit it, unless they ask for another environment.
4. It was seen to belong to the engine earlier. Pids are reused, so one counts only together with its start time.

Standard library alone, as the keeper runs this. Each look at the table takes some milliseconds.
"""

import calendar
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

MARK = "LAUNCH_MARK"
"""The variable that marks an engine's processes."""

SHARED = "/dev/shm/"  # noqa: S108 -- where Linux keeps what processes share

_TRIES = 3
"""How often `ps` is run, if it fails; a machine without memory may fail once."""

IS_LINUX = sys.platform == "linux"
"""Whether there is /proc, with all that a keeper asks of the kernel; elsewhere, `ps` is asked."""


class Seen(NamedTuple):
    """One process of the table. `started` tells it from others with its pid; a zombie isn't `alive`."""

    parent: int
    session: int
    started: str
    alive: bool


Table = Mapping[int, Seen]


def processes() -> dict[int, Seen]:
    """Read the whole table, by pid; an empty one if /proc shows another namespace, where our pids are others'."""
    if not IS_LINUX:
        return by_ps()
    if not is_ours():
        return {}
    found = {int(name): seen(int(name)) for name in _names("/proc") if name.isdigit()}
    return {pid: each for pid, each in found.items() if each is not None}


def is_ours() -> bool:
    """Whether /proc shows our own namespace of processes; in a new namespace it must be mounted again."""
    try:
        return os.readlink("/proc/self") == str(os.getpid())  # noqa: PTH115
    except OSError:
        return False


def seen(pid: int) -> Seen | None:
    """Look at one process; None if there is none."""
    if not IS_LINUX:
        return by_ps("-p", str(pid)).get(pid)
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # A program's name, which stands in parentheses, may contain spaces and parentheses.
    fields = stat.rpartition(b")")[2].split()
    return Seen(int(fields[1]), int(fields[3]), fields[19].decode(), fields[0] not in {b"Z", b"X"})


def by_ps(*which: str) -> dict[int, Seen]:
    """Read the table by `ps`, for systems without /proc. Raises OSError where `ps` doesn't work.

    `started` is in seconds since the epoch.
    """
    for _ in range(_TRIES):
        found = {}
        for line in _said_by("ps", *(which or ["-A"]), "-o", "pid=,ppid=,stat=,lstart=").splitlines():
            pid, parent, state, started = line.split(maxsplit=3)
            with suppress(ProcessLookupError, PermissionError):
                found[int(pid)] = Seen(int(parent), os.getsid(int(pid)), _epoch(started), not state.startswith("Z"))
        # A table without this process is none: it would mean that every engine has ended.
        if which or os.getpid() in found:
            return found
    raise OSError("ps doesn't list the processes of this system")


def _epoch(lstart: str) -> str:
    return str(calendar.timegm(time.strptime(lstart.strip(), "%a %b %d %H:%M:%S %Y")))


def is_same(one: str, other: str) -> bool:
    """Whether two start times of one pid are those of the same process; an unknown one, "", is nobody's.

    `ps` may add them up from the time of the boot and the time since then, so two looks may differ by a second, where
    the clock was set in between. No pid is reused as soon as that.
    """
    if one == other:
        return one != ""
    return not IS_LINUX and one.isdigit() and other.isdigit() and abs(int(one) - int(other)) <= 1


def _said_by(*command: str) -> str:
    import subprocess  # noqa: PLC0415 -- Linux needs none of it

    # The zone of this machine may change while an engine runs.
    env = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env).stdout


def started(pid: int) -> str | None:
    """When this process started, in the system's own form; None if there is none, or only its zombie."""
    found = seen(pid)
    return found.started if found is not None and found.alive else None


def world() -> str:
    """Name the scope of pids: this boot of this machine, this container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return _said_by("sysctl", "-n", "kern.bootsessionuuid").strip()


def has_mark(pid: int, mark: str) -> bool:
    """Whether a process was started with this mark in its environment; False if the system doesn't tell."""
    if not IS_LINUX:
        return False
    try:
        return f"{MARK}={mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


class Kin:
    """The processes of one engine that were seen so far. `leader` is its first one."""

    def __init__(self, leader: int, started: str, mark: str) -> None:
        self._mark = mark
        # The sessions that they lead or led, each with the leader's start time.
        self._sessions = {leader: started}
        self._known = {leader: started}

    def look(self, table: Table, marked: Callable[[int, str], bool] = has_mark) -> set[int]:
        """Find its processes in the table, and remember them."""
        self._sessions = {pid: when for pid, when in self._sessions.items()
                          if pid not in table or is_same(table[pid].started, when)}  # fmt: skip
        strangers = set(table) - {os.getpid(), 1}
        found: set[int] = set()
        news = {pid for pid in strangers if is_same(self._known.get(pid, ""), table[pid].started)
                or table[pid].session in self._sessions or marked(pid, self._mark)}  # fmt: skip
        while news:
            found |= news
            strangers -= news
            self._sessions |= {pid: table[pid].started for pid in news if table[pid].session == pid}
            news = {pid for pid in strangers if table[pid].parent in found or table[pid].session in self._sessions}
        self._known = {pid: table[pid].started for pid in found}
        return found


def descendants(table: Table, of: int) -> set[int]:
    """Find all descendants of a process."""
    found: set[int] = set()
    news = {of}
    while news:
        news = {pid for pid, each in table.items() if each.parent in news} - found
        found |= news
    return found


# Shared memory: on Linux, files that a killed process leaves behind.


def shared_inodes(pid: int) -> set[int]:
    """Give the inodes of a process' shared memory; a semaphore's file is mapped before it has a name."""
    try:
        maps = Path(f"/proc/{pid}/maps").read_text(errors="replace")
    except OSError:
        return set()
    return {int(line.split(maxsplit=5)[4]) for line in maps.splitlines() if SHARED in line}


def shared_memory_of(pids: Iterable[int], since: float) -> set[str]:
    """Name the files in shared memory that these processes use, and that were made after `since`, in epoch seconds.

    What was there before the engine is another's.
    """
    mapped: set[int] = set().union(*map(shared_inodes, pids))
    found = set()
    for name in _names(SHARED) if mapped else ():
        with suppress(OSError):
            stat = os.stat(SHARED + name)  # noqa: PTH116
            if stat.st_ino in mapped and stat.st_ctime >= since:
                found.add(SHARED + name)
    return found


def _names(folder: str) -> list[str]:
    with suppress(OSError):
        return os.listdir(folder)  # noqa: PTH208 -- names
    return []


def remove_shared_memory(files: Iterable[str]) -> None:
    """Remove such files, but for those that anybody uses."""
    left = [Path(file) for file in files if file.startswith(SHARED)]
    used: set[int] = set().union(*map(shared_inodes, processes())) if left else set()
    for file in left:
        with suppress(OSError):
            if file.stat().st_ino not in used:
                file.unlink()
