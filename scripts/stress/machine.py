"""CPU time and memory of the server at a port of this machine, and of its children: a router and its engines."""

import contextlib
import os
import time
from dataclasses import dataclass
from typing import Any

import psutil

_LOOK_EVERY = 5.0
"""Seconds between two looks for new processes: each reads all of /proc."""

_LOCAL = ("127.0.0.1", "localhost", "::1", "0.0.0.0")


@dataclass(frozen=True)
class Used:
    """CPU time since the process began, in seconds, and resident memory, in bytes."""

    cpu: float
    memory: float


def listener(host: str, port: int) -> psutil.Process | None:
    """Find the process that listens at a port; none, if it runs elsewhere or belongs to somebody else."""
    if host not in _LOCAL:
        return None
    try:
        found = [(each.pid, each) for each in psutil.net_connections(kind="tcp")]
    except psutil.AccessDenied:
        # On a Mac, for all but root. Asked one by one, the user's own processes answer.
        found = [(process.pid, each) for process in psutil.process_iter() for each in _connections(process)]
    except (psutil.Error, OSError):
        return None
    for pid, each in found:
        if each.status == psutil.CONN_LISTEN and tuple(each.laddr)[1:] == (port,) and pid not in (None, os.getpid()):
            with contextlib.suppress(psutil.Error):
                return psutil.Process(pid)
    return None


def _connections(process: psutil.Process) -> list[Any]:
    with contextlib.suppress(psutil.Error, OSError):
        return list(process.net_connections(kind="tcp"))
    return []


class Watch:
    """The server and its children, as they are at each look."""

    def __init__(self, host: str, port: int) -> None:
        self._place = host, port
        self._server = listener(host, port)
        self._children: list[psutil.Process] = []
        self._looked = 0.0

    def look(self) -> None:
        """Find processes that have come, some seconds after the last look. It may be called in a thread."""
        now = time.monotonic()
        if now - self._looked < _LOOK_EVERY:
            return
        self._looked = now
        if self._server is None or not self._server.is_running():
            self._server = listener(*self._place)
        with contextlib.suppress(psutil.Error):
            self._children = self._server.children(recursive=True) if self._server else []

    @property
    def found(self) -> bool:
        """Whether there is a server that can be watched."""
        return self._server is not None

    def server(self) -> Used:
        """What the server itself uses; nothing where it is gone."""
        return _used([self._server] if self._server else [])

    def children(self) -> Used:
        """What its children use, all together."""
        return _used(self._children)


def _used(processes: list[psutil.Process]) -> Used:
    cpu = memory = 0.0
    for each in processes:
        with contextlib.suppress(psutil.Error, OSError), each.oneshot():
            times = each.cpu_times()
            cpu, memory = cpu + times.user + times.system, memory + each.memory_info().rss
    return Used(cpu, memory)
