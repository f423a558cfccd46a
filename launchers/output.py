"""What an engine says: its last lines, kept for people, and all of it in a log file that can't grow for ever.

The engine must never notice: its output is taken in whatever happens to the file. A disk that is full, or a folder
that can't be written, costs the log and one warning, nothing more.

Writes go to the operating system's cache in the event loop's own turn; engines say little, and a log belongs on a
local disk.
"""

from collections import deque
from copy import copy
from pathlib import Path
from typing import BinaryIO

import structlog

from launchers.reason import FirstError

KEPT_LINES = 40
MAX_LINE = 2000  # bytes of a line that are kept; the rest of it is only in the file
MAX_FILE = 8 * 1024 * 1024  # bytes; then the file becomes NAME.log.1, and its predecessor is gone

log = structlog.get_logger("launchers")


class Output:
    """Takes an engine's output as it comes, in any pieces."""

    def __init__(self, path: Path, max_file: int = MAX_FILE) -> None:
        self._path = path
        self._max_file = max_file
        self._first_error = FirstError()
        self._lines: deque[bytes] = deque(maxlen=KEPT_LINES)
        self._unfinished = b""  # the line that has no end yet, cut at MAX_LINE
        self._file: BinaryIO | None = None
        self._size = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open()
        except OSError as error:
            self._give_up(error)

    @property
    def last_lines(self) -> tuple[str, ...]:
        """The last lines that say something, the oldest first."""
        lines = (*self._lines, self._unfinished) if self._unfinished.strip() else self._lines
        return tuple(line.decode(errors="replace").rstrip() for line in lines)[-KEPT_LINES:]

    @property
    def reason(self) -> str:
        """Why it ended, if it did before it was ready: its first error, however much it said since."""
        heard = copy(self._first_error)
        heard.hear(self._unfinished.decode(errors="replace"))
        return heard.text

    def feed(self, data: bytes) -> None:
        """Take in what the engine said."""
        self._remember(data)
        if self._file is None:
            return
        try:
            self._file.write(data)
            self._size += len(data)
            if self._size >= self._max_file:
                self._rotate()
        except OSError as error:
            self._give_up(error)

    def close(self) -> None:
        """Close the file. What was said stays readable in last_lines."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _remember(self, data: bytes) -> None:
        *ended, rest = data.replace(b"\r", b"\n").split(b"\n")  # a progress bar's steps are lines too
        for piece in ended:
            line = (self._unfinished + piece[:MAX_LINE])[:MAX_LINE]
            self._unfinished = b""
            if line.strip():
                self._lines.append(line)
                self._first_error.hear(line.decode(errors="replace"))
        self._unfinished = (self._unfinished + rest[:MAX_LINE])[:MAX_LINE]

    def _open(self) -> None:
        self._file = self._path.open("ab", buffering=0)
        self._size = self._file.tell()

    def _rotate(self) -> None:
        self.close()
        self._path.replace(self._path.with_name(self._path.name + ".1"))
        self._open()

    def _give_up(self, error: OSError) -> None:
        log.warning("engine's log can't be written, and is left out", path=str(self._path), reason=str(error))
        self.close()
