"""What a process and all that it started have: ports, memory. Blocks for some milliseconds."""

from collections.abc import Iterator
from contextlib import suppress

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


def _tree(pid: int) -> Iterator[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        leader = psutil.Process(pid)
        yield leader
        yield from leader.children(recursive=True)
