"""Log files: one thread writes them all, so that whoever logs never waits for a disk.

Lines that a file can't take now wait, up to a bound. Beyond it, and while the file can't be written, they are lost:
that is said at once, and their number when the file can be written again. A file that has reached its size or its age
is rotated: NAME.log becomes NAME.log.1.gz, that one NAME.log.2.gz, and so on. If a file or its folder was removed, it
is created again.
"""

import atexit
import errno
import gzip
import os
import re
import stat
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from glob import escape
from math import inf
from pathlib import Path
from typing import Final
from weakref import WeakSet

import structlog

from launchers.files import at_once, own_folder

log = structlog.get_logger("router")

MOST_WAITING: Final = 4 * 1024 * 1024
"""Characters that wait, at most, for each file."""

FLUSH_WITHIN: Final = 2.0
"""Seconds that the program's end waits, at most, for a disk."""

TELL_EVERY: Final = 60.0
"""Seconds between two reports of lost lines of a file, of a disk that is too slow for long."""

_PIECE: Final = 256 * 1024
"""Bytes that are compressed at a time: other threads go on between two of them."""

_MOMENT: Final = re.compile(rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.\d]*(?:Z|[+-]\d\d:?\d\d))?")


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a file is rotated, by its size in bytes and its age in seconds, and how many rotated ones are kept."""

    size: int = 16 * 1024 * 1024
    age: float = inf
    keep: int = 8


class LogFile:
    """A file of lines. `put` never waits and never raises. `lost` is how many lines it could not take in all."""

    def __init__(self, path: Path, rotation: Rotation | None = None, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self.rotation = rotation or Rotation()
        self._clock = clock
        self._changed = threading.Condition()
        # Guarded by `_changed`: what waits, its size with what is being written, and the lines that are lost, not told.
        self._waiting: deque[str] = deque()
        self._size = 0
        self._lost = 0
        self.lost = 0
        self._is_closing = False
        # The writer's alone.
        self._descriptor = -1
        self._begun = 0.0
        self._is_torn = False
        self._fails = False
        self._told = -inf

    def put(self, text: str) -> None:
        """Have lines written; the last one is without its end."""
        with self._changed:
            if self._size + len(text) > MOST_WAITING:
                self._lose(text.count("\n") + 1)
                return
            self._waiting.append(text)
            self._size += len(text)
        _WRITER.wake(self)

    def _lose(self, lines: int) -> None:
        self._lost += lines
        self.lost += lines

    def flush(self, within: float = FLUSH_WITHIN) -> None:
        """Wait until everything is written or lost, `within` seconds at most."""
        with self._changed:
            self._changed.wait_for(lambda: not (self._size or self._is_closing) or not _WRITER.works, within)

    def close(self, within: float = FLUSH_WITHIN) -> None:
        """Write what waits, say what is lost, and close the file; a later `put` opens it again."""
        with self._changed:
            self._is_closing = True
        _WRITER.wake(self)
        self.flush(within)

    # In the writer's thread

    def write(self) -> None:
        """Write what waits."""
        with self._changed:
            taken, self._waiting, ends = self._waiting, deque(), self._is_closing
        data = "".join(f"{text}\n" for text in taken).encode("utf-8", "backslashreplace")
        left = self._write(data)
        with self._changed:
            self._lose(left.count(b"\n"))
            is_lost = self._lost > 0
        if is_lost and (ends or (data and not left)):
            self._tell_losses(ends=ends)
        if ends:
            self._close()
        with self._changed:
            self._size -= sum(map(len, taken))
            self._is_closing = self._is_closing and not ends
            self._changed.notify_all()

    def _write(self, data: bytes) -> bytes:
        """Write lines, each file's share of them at once; give what could not be written."""
        at = 0
        try:
            while at < len(data):
                first = data.index(b"\n", at) + 1
                end = max(first, data.rfind(b"\n", at, at + self._ready(first - at)) + 1)
                while at < end:
                    at += os.write(self._descriptor, data[at:end])
        except OSError as error:
            if at:
                # What follows must not be joined to half a line.
                self._is_torn = not data[:at].endswith(b"\n")
            self._close()
            self._fail(error)
        return data[at:]

    def _ready(self, more: int) -> int:
        """Have the file of this name open, with room for more bytes; give all its room. Raises OSError."""
        try:
            there = os.stat(self.path)  # noqa: PTH116  (all that follows has descriptors)
        except FileNotFoundError:
            there = None
        if self._descriptor >= 0:
            mine = os.fstat(self._descriptor)
            if there is None or (mine.st_ino, mine.st_dev) != (there.st_ino, there.st_dev):
                self._close()
        is_file = there is None or stat.S_ISREG(there.st_mode)
        size = 0
        if there is not None and is_file and there.st_size:
            size = there.st_size
            if self._descriptor < 0:
                self._begun = _begun(self.path, there.st_mtime)
            if size + more > self.rotation.size or self._clock() - self._begun > self.rotation.age:
                self._close()
                self._rotate()
                size = 0
        if self._descriptor < 0:
            self._open()
        if self._is_torn:
            os.write(self._descriptor, b"\n")
            self._is_torn = False
            size += 1
        # A pipe is never full of old lines.
        return max(0, self.rotation.size - size) if is_file else sys.maxsize

    def _open(self) -> None:
        own_folder(self.path.parent)
        # A FIFO in its place is not waited for.
        self._descriptor = at_once(str(self.path), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC)
        if not os.fstat(self._descriptor).st_size:
            self._begun = self._clock()

    def _close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            with suppress(OSError):
                os.close(descriptor)

    def _rotate(self) -> None:
        """Give each rotated file the next number, and compress the present one. Raises OSError where that must wait."""
        keep = self.rotation.keep
        for number in range(_last(self.path) + 1, 0, -1):
            for end in (".gz", ""):
                before = self.path.with_name(f"{self.path.name}.{number}{end}")
                if not before.exists():
                    continue
                if number >= keep:
                    before.unlink()
                else:
                    before.replace(self.path.with_name(f"{self.path.name}.{number + 1}{end}"))
        if not keep:
            self.path.unlink()
            return
        rotated = self.path.with_name(f"{self.path.name}.1")
        self.path.replace(rotated)
        packed = rotated.with_name(f"{rotated.name}.gz")
        try:
            _compress(rotated, packed)
        except OSError:
            # A full disk: it stays as it is.
            with suppress(OSError):
                packed.unlink(missing_ok=True)

    def _fail(self, error: OSError) -> None:
        """Say that the file can't be written: once, until it can."""
        if not self._fails:
            self._fails = True
            why = "nobody reads it" if error.errno == errno.ENXIO else error.strerror or str(error)
            log.error(f"the log {self.path} can't be written: {why}; what belongs there is lost until it can")

    def _tell_losses(self, *, ends: bool) -> None:
        """Say how many lines are lost, now that the file is written again, or closed.

        Of a disk that is too slow for long, that is said once in `TELL_EVERY`.
        """
        now = time.monotonic()
        if not (ends or self._fails) and now < self._told + TELL_EVERY:
            return
        with self._changed:
            lost, self._lost = self._lost, 0
        words = "is closed" if ends else "can be written again" if self._fails else "could not be written fast enough"
        self._told, self._fails = now, self._fails and ends
        log.warning(f"the log {self.path} {words}: {lost} lines are lost", lost=lost)


class _Writer:
    """The thread that writes all files, started with the first line."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: dict[LogFile, None] = {}
        self._known: WeakSet[LogFile] = WeakSet()
        self._thread: threading.Thread | None = None

    @property
    def works(self) -> bool:
        """Whether there is a thread that writes."""
        return self._thread is not None and self._thread.is_alive()

    def wake(self, file: LogFile) -> None:
        """Have a file's waiting lines written."""
        with self._changed:
            self._due[file] = None
            self._known.add(file)
            if not self.works:
                # If no thread can be started, the next line tries again.
                with suppress(RuntimeError):
                    thread = threading.Thread(target=self._run, name="logs", daemon=True)
                    thread.start()
                    self._thread = thread
            self._changed.notify()

    @property
    def known(self) -> list[LogFile]:
        """The files that something was written to, or should have been."""
        with self._changed:
            return list(self._known)

    def end(self) -> None:
        """Have everything written at the program's end, also what one file tells of another's losses."""
        until = time.monotonic() + FLUSH_WITHIN
        known = self.known
        for file in known:
            file.close(max(0.0, until - time.monotonic()))
        for file in known:
            file.flush(max(0.0, until - time.monotonic()))

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._due)
                file = next(iter(self._due))
                del self._due[file]
            try:
                file.write()
            except Exception:
                # Any bug: the other files are written all the same.
                log.exception("a log could not be written because of a bug in the router")


_WRITER: Final = _Writer()


def losses(names: Iterable[str] = ()) -> Counter[str]:
    """Tell how many lines each log could not take since the start, by its file's name without `.log`.

    Those of these names are there from the start.
    """
    found = Counter(dict.fromkeys(names, 0))
    for each in _WRITER.known:
        found[each.path.stem] += each.lost
    return found


# It runs before logging's own end, which holds locks that the writer needs for what it tells.
atexit.register(_WRITER.end)


def _begun(path: Path, otherwise: float) -> float:
    """Tell when a file was begun: its first line says it, in local time where it names no offset."""
    with suppress(OSError, ValueError):
        with open(path, "rb", opener=at_once) as file:
            said = _MOMENT.search(file.read(4096))
        if said is not None:
            return datetime.fromisoformat(said[0].decode()).timestamp()
    return otherwise


def _last(path: Path) -> int:
    """Give the highest number of a rotated file."""
    numbers = [
        int(said[1])
        for each in path.parent.glob(f"{escape(path.name)}.*")
        if (said := re.fullmatch(r"\.(\d{1,4})(?:\.gz)?", each.name.removeprefix(path.name)))
    ]
    return max(numbers, default=0)


def _compress(plain: Path, packed: Path) -> None:
    """Replace a file by its compressed form, which is for its owner alone as well. Raises OSError."""
    with (
        plain.open("rb") as source,
        open(packed, "wb", opener=at_once) as target,
        gzip.open(target, "wb", compresslevel=1) as packing,
    ):
        while piece := source.read(_PIECE):
            packing.write(piece)
    plain.unlink()
