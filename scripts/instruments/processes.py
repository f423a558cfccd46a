"""The processes of a benchmark: each on a core of its own where there are enough, with its CPU time and its memory.

CPU time and memory are those of a whole process tree. A tree that has ended counts as 0: its unanswered requests are
counted as lost elsewhere.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

if sys.platform != "win32":
    import resource

ROOT = Path(__file__).parents[2]
FILES = 65536
"""File descriptors that each process may have, where the system allows it."""

_START_WITHIN = 120.0
_STOP_WITHIN = 10.0


class DidNotStartError(Exception):
    """A process whose port didn't answer; says where its output is."""


class Spent(NamedTuple):
    """CPU time, in seconds: `total` is exact, its parts are in the kernel's ticks (10 ms)."""

    user: float
    system: float
    total: float

    def since(self, before: "Spent") -> "Spent":
        """Give what was spent after another reading."""
        return Spent(*(now - then for now, then in zip(self, before, strict=True)))


def cores() -> list[int]:
    """Give the cores that may be used; one, where the system doesn't tell."""
    return sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else [0]


@contextlib.contextmanager
def pinned(where: Sequence[int]) -> Iterator[None]:
    """Stay on these cores in the block; so do the processes started there, which count their threads by it."""
    if sys.platform != "linux":
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, where)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def raise_file_limit() -> None:
    """Allow this process and its children `FILES` descriptors, or as many as the system allows."""
    if sys.platform == "win32":
        return
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, max(hard, FILES)))
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, FILES), hard))


def file_limit() -> int:
    """Give how many descriptors each process may have."""
    return FILES if sys.platform == "win32" else resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def free_port() -> int:
    """Find a port that nobody uses."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def empty_folder(path: Path) -> Path:
    """Make a folder, without what an earlier run left there."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


@contextlib.contextmanager
def running(
    command: Sequence[str], core: int, ready: Callable[[], bool], log: Path, env: Mapping[str, str] | None = None
) -> Iterator[psutil.Process]:
    """Run a process on one core, from when it is ready to the end of the block."""
    with log.open("ab") as output, pinned([core]):
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=ROOT, env={**os.environ, **(env or {})})
    tree = psutil.Process(process.pid)
    try:
        until = time.monotonic() + _START_WITHIN
        while not ready():
            if time.monotonic() > until or process.poll() is not None:
                raise DidNotStartError(f"{command[0]} didn't start; see {log}:\n{log.read_text()[-2000:]}")
            time.sleep(0.05)
        yield tree
    finally:
        _stop(tree)
        process.wait()


def _stop(tree: psutil.Process) -> None:
    members = family(tree)
    for each in members:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.terminate()
    for each in psutil.wait_procs(members, timeout=_STOP_WITHIN)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()


def family(tree: psutil.Process) -> list[psutil.Process]:
    """Give a process and all that it started; nothing, if it is gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return [tree, *tree.children(recursive=True)]
    return []


def cpu(tree: psutil.Process) -> Spent:
    """Add up the CPU time of the tree."""
    user = system = total = 0.0
    for each in family(tree):
        with contextlib.suppress(psutil.NoSuchProcess, OSError):
            times, exactly = each.cpu_times(), _cpu_clock(each.pid)
            user, system = user + times.user, system + times.system
            total += times.user + times.system if exactly is None else exactly
    return Spent(user, system, total)


def cpu_of(process: psutil.Process) -> float:
    """Give the CPU time of one process, without what it started, in seconds."""
    exactly, times = _cpu_clock(process.pid), process.cpu_times()
    return times.user + times.system if exactly is None else exactly


def _cpu_clock(pid: int) -> float | None:
    """Read the clock that clock_getcpuclockid(3) gives, in seconds; none but on Linux."""
    return time.clock_gettime(~pid << 3 | 2) if sys.platform == "linux" else None


def resident(tree: psutil.Process) -> float:
    """Add up the resident memory of the tree, in bytes; pages that processes share count for each of them."""
    size = 0
    for each in family(tree):
        with contextlib.suppress(psutil.NoSuchProcess):
            size += each.memory_info().rss
    return float(size)
