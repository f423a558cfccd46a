"""Output to the terminal that can neither block the router nor end it.

A terminal may lack a letter, may be closed, or may be stopped (Ctrl-S, a pipe that nobody reads, a full disk). The
code that writes need not care: `Terminal.write` never raises and never waits. A thread writes to the file descriptor.
Text that it can't write is kept up to a bound; beyond it lines are left out, and their number is written later.
"""

import errno
import os
import select
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Final

BOLD: Final = "1"
DIM: Final = "2"
RED: Final = "31"
GREEN: Final = "32"
YELLOW: Final = "33"

MOST_WAITING = 1024 * 1024
"""Bytes that wait, at most, for a stopped terminal; further lines are left out."""

FLUSH_WITHIN = 1.0
"""Seconds that the program's end waits, at most, for a terminal."""


class Terminal:
    """Writes to a stream in a thread; to one without a file descriptor, as in tests, at once."""

    def __init__(self, stream: IO[str] | None) -> None:
        self._stream = stream
        self._encoding = getattr(stream, "encoding", None) or "utf-8"
        # Each piece with its lines, those that it tells of as left out among them.
        self._waiting: deque[tuple[bytes, int]] = deque()
        self._size = 0  # bytes that wait, or are being written
        self._left_out = 0  # lines, not yet reported
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        try:
            self._descriptor = -1 if stream is None else os.dup(stream.fileno())
        except (OSError, ValueError, AttributeError):
            # It has no descriptor.
            self._descriptor = -1

    def write(self, text: str) -> int:
        """Write text; never raises, never waits."""
        if self._descriptor < 0:
            say(text, self._stream)
            return len(text)
        data = text.encode(self._encoding, "backslashreplace")
        with self._changed:
            lines = self._left_out + text.count("\n")
            if self._left_out:
                data = b"! %d lines were left out: nobody took them\n" % self._left_out + data
            if self._size + len(data) > MOST_WAITING:
                self._left_out = lines
                return len(text)
            self._left_out = 0
            self._waiting.append((data, lines))
            self._size += len(data)
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_on, name="terminal", daemon=True)
                # If no thread can be started, the next write tries again.
                with suppress(RuntimeError):
                    self._thread.start()
                if not self._thread.is_alive():
                    self._thread = None
            self._changed.notify_all()
        return len(text)

    def flush(self, within: float = FLUSH_WITHIN) -> None:
        """Wait until everything is written, `within` seconds at most; what was left out is told."""
        if self._left_out:
            self.write("")
        with self._changed:
            self._changed.wait_for(lambda: not self._size or self._thread is None, within)

    def _write_on(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                data, lines = self._waiting.popleft()
            is_written = _put(self._descriptor, data)
            with self._changed:
                self._left_out += 0 if is_written else lines
                self._size -= len(data)
                self._changed.notify_all()


def _put(descriptor: int, data: bytes) -> bool:
    """Write all data, however long that takes; False: an error came, and the rest is lost."""
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            # Another process that shares the descriptor has made it non-blocking.
            select.select([], [descriptor], [])
        except OSError:
            # It was closed, or its disk is full.
            return False
    return True


def say(text: str, stream: IO[str] | None) -> bool:
    """Write to a stream, now; letters that its encoding lacks are escaped. Gives whether that succeeded.

    A reader that stops early (`| head`) counts as success.
    """
    error = failure(text, stream)
    return error is None or nobody_reads(error)


def nobody_reads(error: Exception) -> bool:
    """Whether this is the error of a pipe whose reader has stopped."""
    return isinstance(error, OSError) and error.errno == errno.EPIPE


def failure(text: str, stream: IO[str] | None) -> OSError | ValueError | None:
    """Write to a stream, as `say` does; give the error that came of it."""
    if stream is None:
        return ValueError("there is nothing to write to")
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except (OSError, ValueError) as error:
        # Else Python would try to flush the stream once more at the end, and fail again.
        with suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
        return error
    return None


def secure_standard_streams() -> None:
    """Open those of the descriptors 0 to 2 that are closed, to /dev/null.

    Otherwise the next opened file would become standard input, output or error.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # It gets the lowest free number: this one.
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def painter(stream: IO[str] | None) -> Callable[[str, str], str]:
    """Give a function that paints text in a colour for a stream: one that does nothing, unless it is a terminal.

    NO_COLOR (https://no-color.org) turns colours off; so does TERM=dumb.
    """
    try:
        colours = stream is not None and stream.isatty()
    except (OSError, ValueError, AttributeError):
        colours = False
    if not colours or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return _plain
    return _painted


def _plain(_: str, text: str) -> str:
    return text


def _painted(colour: str, text: str) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m" if text else text
