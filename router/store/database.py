"""A database's file: made by the first transaction that writes, and replaced if it is torn.

There are two, state.db (footprints, machines) and usage.db, which is written up to twice a second. Why so:

1. **state.db has a rollback journal, no write-ahead log.** A log needs memory that all its processes share, which
   network folders don't have. Writes are rare (one a load), so a log's speed is worth nothing there. With
   `synchronous=FULL` the file holds the last transaction after a power loss, or the one before it.
   **usage.db has a write-ahead log** where the folder allows one (`often`): a transaction then waits for no disk. The
   end of the process, even by kill -9, loses nothing of what was committed; a power loss may lose the last seconds.
2. **A connection for each transaction.** It finds a file that was removed, restored from a copy, or moved aside by
   another router. A connection that is kept would write into a file that is gone. usage.db's is kept all the same,
   because the end of the last connection copies the log into the file. So before each transaction it is compared with
   the file that lies there.
3. **Whose file it is** stands in its header: SQLite's `application_id`, and the version of the tables in
   `user_version`. A file of a newer router is left alone.
4. **A file that is torn, or isn't ours, is moved aside** with its journal, and a new one is begun. A journal that
   stayed behind would be played into the new file.
"""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

import structlog

from launchers.files import at_once, own_folder
from router.store.footprints import CREATE_FOOTPRINTS
from router.store.machines import CREATE_MACHINES
from router.store.remembered import StoreError
from router.store.usage import CREATE_USAGE

T = TypeVar("T")

APPLICATION: Final = 0x526F7574
"""The `application_id` of our files: "Rout"."""

STEPS: Final = (CREATE_FOOTPRINTS, CREATE_MACHINES)
USAGE_STEPS: Final = (CREATE_USAGE,)
"""Each makes the next version of the tables. A change of the tables adds a step."""

MOST_PAGES: Final = 16384
MOST_USAGE_PAGES: Final = 65536
"""Pages that a file may have, 64 MiB and 256 MiB: far more than a full table takes."""

BUSY: Final = 5.0
"""Seconds to wait for another router that writes."""

MOST_BROKEN: Final = 10
"""Files moved aside that may lie in the folder: a disk that tears each new one must not fill up with them."""

LEAST_SIZE: Final = 512
"""Bytes of the smallest database there is. SQLite would take anything shorter for an empty file."""

# Our statements are right, so an error in one of them says that the tables aren't ours.
_BROKEN: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_ERROR)

_BESIDE: Final = ("-journal", "-wal", "-shm")
"""What SQLite appends to a file's name for the files that belong to it."""

log = structlog.get_logger("router")


class _BrokenError(Exception):
    """The file is torn, or isn't ours."""


class Database:
    """The file at `path`. Its methods block, and raise StoreError. One thread at a time may use it.

    `often`: it is written many times. `lost` says what becomes of what was in a file that is torn.
    """

    def __init__(
        self,
        path: Path,
        steps: Sequence[str] = STEPS,
        *,
        often: bool = False,
        lost: str = "what each model takes of the memory is measured again",
    ) -> None:
        self.path = path
        self._steps = steps
        self._often = often
        self._lost = lost
        # With the file that it has open.
        self._kept: tuple[sqlite3.Connection, os.stat_result] | None = None

    @classmethod
    def of_usage(cls, path: Path) -> "Database":
        """Give the database of usage."""
        return cls(path, USAGE_STEPS, often=True, lost="usage is counted from nothing again")

    def close(self) -> None:
        """Close the connection that is kept."""
        kept, self._kept = self._kept, None
        if kept is not None:
            with _mapped():
                kept[0].close()

    def read(self, query: Callable[[sqlite3.Connection], T], nothing: T, *, check: bool = True, since: int = 1) -> T:
        """Ask the file, after a check of all of it; give `nothing` if there is no file, or none that can be used.

        `since` is the first version that has what is asked for: an older router's file gets that when it is written.
        """
        with _mapped():
            found = self._found()
            # An empty file is one whose making was cut short.
            if found is None or not found.st_size:
                return nothing
            try:
                with self._opened() as db:
                    if self._version(db) < since:
                        return nothing
                    if check:
                        _check(db)
                    return query(db)
            except _BrokenError as error:
                self._move_aside(found, error)
                return nothing

    def write(self, change: Callable[[sqlite3.Connection], None]) -> None:
        """Change the file in one transaction."""
        with _mapped():
            found = self._found()
            try:
                self._change(change)
            except _BrokenError as error:
                self._move_aside(found, error)
                self._change(change)

    def _change(self, change: Callable[[sqlite3.Connection], None]) -> None:
        own_folder(self.path.parent)
        # What SQLite writes beside it has its mode. One that is there stays shut: closing it would end SQLite's locks.
        with suppress(FileExistsError):
            os.close(at_once(str(self.path), os.O_RDWR | os.O_CREAT | os.O_EXCL))
        with self._opened() as db:
            # Before the version is read: two routers must not both make the tables.
            db.execute("BEGIN IMMEDIATE")
            version = self._version(db)
            for step in self._steps[version:]:
                db.execute(step)
            if version < len(self._steps):
                db.execute(f"PRAGMA application_id = {APPLICATION}")
                db.execute(f"PRAGMA user_version = {len(self._steps)}")
            change(db)
            db.execute("COMMIT")

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """Open the file; what says that it is broken becomes _BrokenError. A transaction that isn't ended is undone."""
        found = self._found()
        if found is not None and 0 < found.st_size < LEAST_SIZE:
            raise _BrokenError("it is too short")
        try:
            db = self._connection(found)
            try:
                yield db
            except BaseException:
                self._kept = None
                db.close()
                raise
            self._keep_or_close(db)
        except sqlite3.Error as error:
            # The lower byte is the kind of error.
            if getattr(error, "sqlite_errorcode", -1) & 0xFF in _BROKEN:
                raise _BrokenError(str(error)) from error
            raise

    def _connection(self, found: os.stat_result | None) -> sqlite3.Connection:
        """Give the connection that is kept, if it is to the file that was found; else a new one."""
        if self._kept is not None:
            db, file = self._kept
            if found is not None and os.path.samestat(found, file):
                return db
            self._kept = None
            db.close()
        db = sqlite3.connect(self.path, timeout=BUSY, isolation_level=None, check_same_thread=False)
        try:
            if self._often:
                db.execute("PRAGMA journal_mode = WAL")
            db.execute(f"PRAGMA synchronous = {'NORMAL' if self._often else 'FULL'}")
            db.execute(f"PRAGMA max_page_count = {MOST_USAGE_PAGES if self._often else MOST_PAGES}")
        except BaseException:
            db.close()
            raise
        return db

    def _keep_or_close(self, db: sqlite3.Connection) -> None:
        """Keep a connection for the next transaction, or close it: what only reads a file keeps none."""
        found = self._found() if self._often else None
        if found is None:
            db.close()
        else:
            self._kept = db, found

    def _version(self, db: sqlite3.Connection) -> int:
        """Give the version of the tables, 0 in an empty file. Raises _BrokenError if they aren't ours."""
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (application,) = db.execute("PRAGMA application_id").fetchone()
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not tables and not version:
            return 0
        if application != APPLICATION:
            raise _BrokenError("another program made it")
        if version > len(self._steps):
            raise StoreError("a newer router made it, and it is left as it is: set state.dir, or remove it")
        return int(version)

    def _found(self) -> os.stat_result | None:
        """Look at the file; None if there is none."""
        with suppress(FileNotFoundError):
            return self.path.stat()
        return None

    def _move_aside(self, broken: os.stat_result | None, error: Exception) -> None:
        """Move the file away, if it is still the one that was found broken: another router may have done it."""
        found = self._found()
        if broken is None or found is None or not os.path.samestat(broken, found):
            return
        aside = {each.name for each in self.path.parent.glob(f"{self.path.name}.broken-*")}
        count = sum(not name.endswith(_BESIDE) for name in aside)
        if count >= MOST_BROKEN:
            raise StoreError(f"it is broken ({error}), and {count} others that were are beside it: remove them all")
        name = f"{self.path.name}.broken-{time.strftime('%Y%m%d-%H%M%S')}"
        target = self.path.with_name(f"{name}-{count}" if name in aside else name)
        # The file first: SQLite plays no journal into a file that isn't there.
        self.path.rename(target)
        for suffix in _BESIDE:
            with suppress(FileNotFoundError):
                self.path.with_name(self.path.name + suffix).rename(target.with_name(target.name + suffix))
        log.warning(
            f"{self.path} is torn, or not this router's ({error}): it was moved to {target.name}, and a new one is "
            f"begun; {self._lost}"
        )


@contextmanager
def _mapped() -> Iterator[None]:
    """Make a StoreError of whatever a disk, the system or SQLite says; broken again at once is one, too."""
    try:
        yield
    except (OSError, sqlite3.Error, _BrokenError) as error:
        raise StoreError(str(error)) from error


def _check(db: sqlite3.Connection) -> None:
    """Look at every page. Raises _BrokenError."""
    (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise _BrokenError(verdict)
