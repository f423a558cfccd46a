"""Ports, memory, reads and CPU time of a process and its descendants. Blocks for some milliseconds."""

from collections.abc import Iterator
from contextlib import suppress
from mmap import PAGESIZE
from typing import NamedTuple

import psutil

from launchers.progress import Sample


def owns_port(pid: int, port: int) -> bool:
    """Whether a process or a descendant of it listens at `port`; True if the system doesn't tell."""
    try:
        for process in _tree(pid):
            with suppress(psutil.NoSuchProcess):
                for connection in process.net_connections("tcp"):
                    if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
                        return True
    except (psutil.AccessDenied, OSError):
        return True
    return False


def memory_of(pid: int) -> int:
    """Resident bytes of a process and its descendants; mapped files count in each of them."""
    memory = 0
    with suppress(psutil.AccessDenied, OSError):
        for process in _tree(pid):
            with suppress(psutil.NoSuchProcess):
                memory += process.memory_info().rss
    return memory


def sample_of(pid: int) -> Sample:
    """Read how much a process and its descendants have in memory, and how much they have read and written."""
    resident = read = wrote = 0
    with suppress(psutil.AccessDenied, OSError):
        for process in _tree(pid):
            with suppress(psutil.NoSuchProcess), process.oneshot():
                memory = process.memory_info()
                resident += memory.rss
                # macOS tells the pages that were read in place of the bytes.
                read += getattr(memory, "pageins", 0) * PAGESIZE
                if hasattr(process, "io_counters"):
                    with suppress(psutil.AccessDenied):
                        io = process.io_counters()
                        read += max(io.read_bytes, getattr(io, "read_chars", 0))
                        wrote += io.write_bytes
    return Sample(resident, read, wrote)


def said_to(pid: int, option: str) -> str:
    """Give the value of an option on a process' command line; "" if it isn't there."""
    with suppress(psutil.Error, OSError):
        words = psutil.Process(pid).cmdline()
        if option in words[:-1]:
            return words[words.index(option) + 1]
    return ""


READ_A_SECOND = 100e6
"""Bytes read from disk that count as a second of CPU time: a model that doesn't fit into memory is read again and
again, with hardly any CPU time."""


class Work(NamedTuple):
    """The work of a process and its living descendants.

    `seconds` of CPU time, reads from disk included. `stopped`: one of them is stopped, by SIGSTOP or a debugger.
    """

    seconds: float
    stopped: bool


def work_of(pid: int) -> Work:
    """Read the CPU time of a process and its descendants."""
    seconds, stopped = 0.0, False
    with suppress(psutil.AccessDenied, OSError):
        for process in _tree(pid):
            with suppress(psutil.NoSuchProcess), process.oneshot():
                used = process.cpu_times()
                seconds += used.user + used.system
                if hasattr(process, "io_counters"):  # not on every system
                    with suppress(psutil.AccessDenied):
                        seconds += process.io_counters().read_bytes / READ_A_SECOND
                stopped = stopped or process.status() == psutil.STATUS_STOPPED
    return Work(seconds, stopped)


def _tree(pid: int) -> Iterator[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        leader = psutil.Process(pid)
        yield leader
        yield from leader.children(recursive=True)
