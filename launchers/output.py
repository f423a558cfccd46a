"""What an engine said last, and why it ended, kept for people. Its keeper writes all of it to a file."""

from collections import deque
from copy import copy

from launchers.reason import FirstError

KEPT_LINES = 40
MAX_LINE = 2000  # bytes of a line that are kept; the rest of it is only in the file


class Output:
    """Takes an engine's output as it comes, in any pieces."""

    def __init__(self) -> None:
        self._first_error = FirstError()
        self._lines: deque[bytes] = deque(maxlen=KEPT_LINES)
        self._unfinished = b""  # the line that has no end yet, cut at MAX_LINE

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
        *ended, rest = data.replace(b"\r", b"\n").split(b"\n")  # a progress bar's steps are lines too
        for piece in ended:
            line = (self._unfinished + piece[:MAX_LINE])[:MAX_LINE]
            self._unfinished = b""
            if line.strip():
                self._lines.append(line)
                self._first_error.hear(line.decode(errors="replace"))
        self._unfinished = (self._unfinished + rest[:MAX_LINE])[:MAX_LINE]
