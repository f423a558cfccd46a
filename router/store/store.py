"""What the router remembers, for a loop: reads and writes happen in a thread, and no fault of a disk reaches a caller.

What can't be written (a full disk, a folder that is read-only or gone) stays in memory. It is tried again with what is
learned next, and when the router stops. The log says once that it can't be written, and once that it can be again.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from router.store.remembered import MOST, MOST_TOLD, Remembered, StoreError
from router.telemetry.tasks import aside, heard

if TYPE_CHECKING:
    import sqlite3

T = TypeVar("T")

NAME: Final = "state.db"

PATIENCE: Final = 5.0
"""Seconds that the start and the end of the router wait for the disk: a network folder may hang for ever."""

log = structlog.get_logger("router")


class Store:
    """The database in a folder, which is made once there is something to remember."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._pending: dict[str, Remembered] = {}
        self._machines: dict[str, str] = {}
        self._writing: asyncio.Task[None] | None = None
        self._works = True

    async def footprints(self) -> dict[str, Remembered]:
        """Give all that was remembered, by key, the oldest first; nothing where it can't be read."""
        return await self._read(_footprints)

    async def machines(self) -> dict[str, str]:
        """Give what machines said of their models, by their URLs; nothing where it can't be read."""
        return await self._read(_machines)

    async def _read(self, read: Callable[[Path], dict[str, T]]) -> dict[str, T]:
        try:
            async with asyncio.timeout(PATIENCE):
                return await aside(read, self.path)
        except TimeoutError:
            self._complain("read", f"the disk takes longer than {PATIENCE:g} s")
        except StoreError as error:
            self._complain("read", str(error))
        return {}

    def remember(self, key: str, remembered: Remembered) -> None:
        """Write this soon, in place of what is known under the key. Returns at once, and never raises."""
        # The newest is the last one, so that the oldest are dropped.
        self._pending.pop(key, None)
        self._pending[key] = remembered
        self._drop_oldest()
        self._write()

    def remember_machine(self, key: str, told: str) -> None:
        """Write soon what a machine said of its models; nothing of what is too long. As `remember`."""
        if len(told) <= MOST_TOLD:
            self._machines[key] = told
            self._write()

    async def close(self) -> None:
        """Write what is left to write, if that takes no longer than `PATIENCE`."""
        self._write()
        if self._writing is None:
            return
        await asyncio.wait({self._writing}, timeout=PATIENCE)
        if not self._writing.done():
            self._complain("written", f"the disk takes longer than {PATIENCE:g} s")
            self._writing.cancel()

    def _write(self) -> None:
        if (self._pending or self._machines) and (self._writing is None or self._writing.done()):
            self._writing = asyncio.create_task(heard(self._write_pending()), name="remember what was learned")

    async def _write_pending(self) -> None:
        """Write until nothing is pending, or it can't be written."""
        while self._pending or self._machines:
            batch, machines = self._pending, self._machines
            self._pending, self._machines = {}, {}
            try:
                await aside(_put, self.path, batch, machines)
            except StoreError as error:
                kept = {key: remembered for key, remembered in batch.items() if key not in self._pending}
                self._pending = kept | self._pending
                self._machines = machines | self._machines
                self._drop_oldest()
                self._complain("written", str(error))
                return
            if not self._works:
                self._works = True
                log.info(f"{self.path} can be written again")

    def _drop_oldest(self) -> None:
        while len(self._pending) > MOST:
            del self._pending[next(iter(self._pending))]

    def _complain(self, done: str, reason: str) -> None:
        if self._works:
            self._works = False
            log.warning(
                f"{self.path} can't be {done} ({reason}): all works without it, but what models take of the memory is "
                "measured again after the next start"
            )


def _footprints(path: Path) -> dict[str, Remembered]:
    """Read the footprints. Raises StoreError."""
    try:
        from router.store import database, footprints  # noqa: PLC0415 -- some Pythons are built without SQLite
    except ImportError as error:
        raise StoreError(str(error)) from error
    return database.Database(path).read(footprints.all_footprints, {})


def _machines(path: Path) -> dict[str, str]:
    """Read what machines said. Raises StoreError."""
    try:
        from router.store import database, machines  # noqa: PLC0415 -- as above
    except ImportError as error:
        raise StoreError(str(error)) from error
    return database.Database(path).read(machines.all_machines, {}, since=machines.SINCE)


def _put(path: Path, learned: dict[str, Remembered], told: dict[str, str]) -> None:
    """Write some rows. Raises StoreError."""
    try:
        from router.store import database, footprints, machines  # noqa: PLC0415 -- as above
    except ImportError as error:
        raise StoreError(str(error)) from error

    def change(db: "sqlite3.Connection") -> None:
        now = time.time()
        footprints.put(db, learned, now)
        machines.put_machines(db, told, now)

    database.Database(path).write(change)
