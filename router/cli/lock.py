"""One router in a folder of logs: the logs, the output of engines and their records there are one router's.

The lock is on `router.lock`. The kernel frees it when the process ends, however it ends. The file says who holds the
lock; without the lock that means nothing. Where the folder can't be written, or its file system knows no locks, there
is none: that costs no start.
"""

import json
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

import structlog

from launchers.files import at_once, own_folder, read_ordinary
from router.fleet.launches import StartError
from router.telemetry.logs import printable

log = structlog.get_logger("router")

NAME: Final = "router.lock"
"""The file's name in the folder of logs. It stays when the router ends: who removed it might remove the next one's."""


class FolderLock:
    """Holds the lock of a folder from `__enter__` to `__exit__`. `config` is the router.yaml that is said of it."""

    def __init__(self, folder: Path, config: Path) -> None:
        self._path = folder / NAME
        self._said: dict[str, Any] = {"pid": os.getpid(), "config": str(config), "host": socket.gethostname()}
        self._file = -1

    def __enter__(self) -> Self:
        """Take the lock. Raises StartError, which names its holder, if another router has it."""
        try:
            import fcntl  # noqa: PLC0415  (Windows has none)

            own_folder(self._path.parent)
            self._file = at_once(str(self._path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._file)
            raise StartError(self._why_not()) from error
        except (ImportError, OSError) as error:
            log.debug("a folder of logs has no lock", folder=str(self._path.parent), why=str(error))
        else:
            self._write()
        return self

    def __exit__(self, *_: object) -> None:
        """Free the lock."""
        if self._file >= 0:
            with suppress(OSError):
                os.close(self._file)
            self._file = -1

    def serves_at(self, url: str) -> None:
        """Say in the file where its router can be reached."""
        self._said["url"] = url
        self._write()

    def _write(self) -> None:
        if self._file >= 0:
            with suppress(OSError):
                os.ftruncate(self._file, 0)
                os.pwrite(self._file, json.dumps(self._said).encode() + b"\n", 0)

    def _why_not(self) -> str:
        folder = self._path.parent.absolute()
        who, stop = "another router", "Stop that one"
        with suppress(OSError, ValueError, TypeError, KeyError):
            said = json.loads(read_ordinary(self._path))
            pid, config, url, host = said["pid"], said["config"], said.get("url"), said["host"]
            where = "" if host == self._said["host"] else f" on {host}"
            at = f"at {url}" if url else "which is starting"
            who = printable(f"another router (pid {int(pid)}{where}, {at}, of {config})")
            stop = f"Stop that one{'' if where else f' (kill {int(pid)})'}"
        return (
            f"logging.dir: {who} keeps its logs and the records of its engines in {folder}, and two would overwrite "
            f"each other's. {stop}, or give this one a folder of its own: set logging.dir in its router.yaml, or start "
            "it with ROUTER_LOGGING__DIR=logs2"
        )
