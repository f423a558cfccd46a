"""What a process and all that it started have: ports, memory, files in shared memory. Blocks for some milliseconds."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil

SHARED = "/dev/shm/"  # noqa: S108 -- where Linux keeps what processes share


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


def shared_memory_of(pid: int) -> frozenset[str]:
    """Name the files in shared memory that a process, or one that it started, has made and uses: Linux alone has such.

    Killed, it leaves them; what was there before it is another's.
    """
    with suppress(psutil.Error, OSError):
        since = psutil.Process(pid).create_time() - 1
        mapped = set().union(*(shared_inodes(process.pid) for process in _tree(pid)))
        found = {file: file.stat() for file in Path(SHARED).iterdir()} if mapped else {}
        return frozenset(str(file) for file, of in found.items() if of.st_ino in mapped and of.st_ctime >= since)
    return frozenset()


def remove_shared_memory(files: Iterable[str]) -> None:
    """Remove such files, but for those that anybody uses."""
    left = [Path(file) for file in files if file.startswith(SHARED)]
    used = set().union(*(shared_inodes(pid) for pid in psutil.pids())) if left else set()
    for file in left:
        with suppress(OSError):
            if file.stat().st_ino not in used:
                file.unlink()


def shared_inodes(pid: int) -> set[int]:
    """Give what a process has of shared memory; by inode, as a semaphore's file was mapped before it had its name."""
    try:
        maps = Path(f"/proc/{pid}/maps").read_text(errors="replace")
    except OSError:
        return set()
    return {int(line.split(maxsplit=5)[4]) for line in maps.splitlines() if SHARED in line}


def _tree(pid: int) -> Iterator[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        leader = psutil.Process(pid)
        yield leader
        yield from leader.children(recursive=True)
