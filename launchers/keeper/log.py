"""An engine's log: a file that can't grow for ever."""

import time
from collections.abc import Callable
from errno import EAGAIN
from pathlib import Path
from typing import BinaryIO

from launchers.files import at_once, own_folder

MAX_FILE = 8 * 1024 * 1024
"""Bytes of a log. Then it becomes NAME.log.1, and the one before that is gone."""

AGAIN = 1.0
"""Seconds after which a log that couldn't be written is tried again."""


class Log:
    """A log file of at most two parts. While it can't be written, output is lost: that is said, and how much it was.

    A file that was removed, or moved, is begun anew.
    """

    def __init__(self, path: Path, warn: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._warn = warn
        self._clock = clock
        self._file: BinaryIO | None = None
        self._fails = False
        self._next_try = 0.0
        self._lost = 0
        self.write(b"")

    def write(self, data: bytes) -> None:
        """Append output."""
        if self._fails and self._clock() < self._next_try:
            self._lost += len(data)
            return
        try:
            file = self._ready()
            left = data
            while left:
                written = file.write(left)
                if not written:
                    raise BlockingIOError(EAGAIN, "nobody reads it")
                left = left[written:]
            if file.tell() >= MAX_FILE:
                self.close()
                self._path.replace(self._path.with_name(self._path.name + ".1"))
        except OSError as error:
            self._fail(error, len(data))
            return
        if self._fails and data:
            self._fails = False
            self._warn(f"{self._path}: the engine's log can be written again; {self._lost} bytes are lost")
            self._lost = 0

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _ready(self) -> BinaryIO:
        """Give the open file of this name. Raises OSError."""
        if self._file is not None and not self._path.exists():
            self.close()
        if self._file is None:
            own_folder(self._path.parent)
            self._file = open(self._path, "ab", buffering=0, opener=at_once)  # noqa: SIM115 -- it stays open
        return self._file

    def _fail(self, error: OSError, lost: int) -> None:
        self._lost += lost
        self._next_try = self._clock() + AGAIN
        self.close()
        if not self._fails:
            self._fails = True
            self._warn(
                f"{self._path}: the engine's log can't be written: {error.strerror or error}; it is lost until it can"
            )
