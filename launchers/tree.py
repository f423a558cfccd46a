"""What a process and all that it started have: ports, memory, CPU time. Blocks for some milliseconds."""

from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

import psutil


def owns_port(pid: int, port: int) -> bool:
    """Whether a process, or one that it started, listens at `port`; yes, where the system doesn't tell."""
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
    """Resident bytes of a process and all that it started; files that they map count in each."""
    memory = 0
    with suppress(psutil.AccessDenied, OSError):
        for process in _tree(pid):
            with suppress(psutil.NoSuchProcess):
                memory += process.memory_info().rss
    return memory


def said_to(pid: int, option: str) -> str:
    """Give the value of an option among the words that a process was started with; nothing where it has none."""
    with suppress(psutil.Error, OSError):
        words = psutil.Process(pid).cmdline()
        if option in words[:-1]:
            return words[words.index(option) + 1]
    return ""


READ_A_SECOND = 100e6
"""Bytes read from a disk that count as a second of CPU time: a model that doesn't fit into memory is read again and
again, and hardly any CPU is busy with it."""


class Work(NamedTuple):
    """What a process and all that it started have done."""

    seconds: float  # of CPU time, of those that live, and of reading from disks
    stopped: bool  # whether one of them is stopped, by SIGSTOP or a debugger


def work_of(pid: int) -> Work:
    """Read the CPU time of a process and all that it started."""
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
