"""What was used, for a loop: sums in memory, which are added to usage.db twice a second, in a thread.

What can't be written (a full disk, a folder that is read-only or gone) stays in memory, a sum for each key, model and
day, and is tried again with what comes next, and when the router stops. The log says once that it can't be written, and
once that it can be again.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from router.core.spending import Pending
from router.store.remembered import StoreError
from router.store.usage import NOTHING, Group, Place, Sums, add, drop_oldest, grouped, plus, sums, sums_of
from router.telemetry.tasks import aside, heard

if TYPE_CHECKING:
    import sqlite3

    from router.store.database import Database

NAME: Final = "usage.db"

WRITE_EVERY: Final = 0.5
"""Seconds that a sum may wait to be written. With the quarter that a record waits, a kill costs less than a second."""

PATIENCE: Final = 5.0
"""Seconds that the start, the end, and whoever asks wait for the disk: a network folder may hang for ever."""

log = structlog.get_logger("router")


class Tally:
    """Sums of what was used, in a folder, which is made once there is something to write: what `pending` gets."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self.pending = Pending(self._begin)
        # What is being written, or couldn't be. The task is never cancelled: nobody would know what its thread did.
        self._batch: dict[Place, Sums] = {}
        self._writing: asyncio.Task[None] | None = None
        self._file: Database | None = None
        # How many read the file. Nothing is written meanwhile, or they would see a sum twice: in the file, and here.
        self._readers = 0
        self._timer: asyncio.TimerHandle | None = None
        self._latest = ""
        self._works = True

    def _begin(self) -> None:
        """Write soon."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WRITE_EVERY, self._write)

    @property
    def _is_writing(self) -> bool:
        return self._writing is not None and not self._writing.done()

    def _write(self) -> None:
        """Write what is pending now, or soon after what is being written or read."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._is_writing or self._readers:
            self._timer = asyncio.get_running_loop().call_later(WRITE_EVERY, self._write)
        elif self.pending.sums or self._batch:
            self._writing = asyncio.create_task(heard(self._put()), name="write usage")

    async def _settle(self) -> bool:
        """Write what is pending; tell whether nothing is being written any more."""
        loop = asyncio.get_running_loop()
        until = loop.time() + PATIENCE
        self._write()
        while self._writing is not None and not self._writing.done():
            await asyncio.wait({self._writing}, timeout=max(0.0, until - loop.time()))
            if loop.time() >= until:
                break
        return not self._is_writing

    async def _put(self) -> None:
        batch = self._batch = self._unwritten()
        self.pending.take()
        latest = max(place.day for place in batch)
        try:
            await aside(self._add, batch, latest != self._latest)
        except StoreError as error:
            # It is tried again with what comes next.
            self._complain("written", str(error))
            return
        self._batch, self._latest = {}, latest
        if not self._works:
            self._works = True
            log.info(f"{self.path} can be written again")

    def _unwritten(self) -> dict[Place, Sums]:
        """Add up what isn't in the file."""
        found = dict(self._batch)
        for key, each in self.pending.sums.items():
            place = Place(*key)
            found[place] = plus(found.get(place, NOTHING), sums_of(each))
        return found

    def _add(self, batch: Mapping[Place, Sums], is_new_day: bool) -> None:  # noqa: FBT001  (a thread's arguments)
        """Write sums. Raises StoreError."""
        if self._file is None:
            self._file = _opened(self.path)

        def change(db: "sqlite3.Connection") -> None:
            add(db, batch)
            if is_new_day:
                drop_oldest(db)

        self._file.write(change)

    async def told(self, by: Sequence[str], since: str = "") -> dict[Group, Sums]:
        """Add up what was used from a day on (empty: all there is), told apart `by` some of usage.GROUPS.

        Where the file can't be read, only what isn't in it yet is told.
        """
        found: dict[Group, Sums] = {}
        if await self._settle():
            self._readers += 1
            try:
                async with asyncio.timeout(PATIENCE):
                    found = await aside(read, self.path, by, since)
            except TimeoutError:
                self._complain("read", f"the disk takes longer than {PATIENCE:g} s")
            except StoreError as error:
                self._complain("read", str(error))
            finally:
                self._readers -= 1
        # No await stands between: nothing has been written since.
        for group, used in grouped(self._unwritten().items(), by, since).items():
            found[group] = plus(found.get(group, NOTHING), used)
        return found

    async def close(self) -> None:
        """Write what is left to write, if that takes no longer than `PATIENCE`."""
        if not await self._settle():
            self._complain("written", f"the disk takes longer than {PATIENCE:g} s")
        elif self._file is not None:
            with suppress(StoreError, TimeoutError):
                await asyncio.wait_for(aside(self._file.close), PATIENCE)
        if self._timer is not None:
            self._timer.cancel()

    def _complain(self, done: str, reason: str) -> None:
        if self._works:
            self._works = False
            log.warning(f"{self.path} can't be {done}, and the router works without it: {reason}")


def read(path: Path, by: Sequence[str], since: str) -> dict[Group, Sums]:
    """Read a file's sums, for a router that runs, or that doesn't. Raises StoreError."""
    file = _opened(path)
    try:
        return file.read(lambda db: sums(db, by, since), {}, check=False)
    finally:
        file.close()


def _opened(path: Path) -> "Database":
    """Give the file. Raises StoreError."""
    try:
        from router.store.database import Database  # noqa: PLC0415 -- some Pythons are built without SQLite
    except ImportError as error:
        raise StoreError(str(error)) from error
    return Database.of_usage(path)
