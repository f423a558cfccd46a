"""What the router says to whoever started it, so that nobody's words can hold it up or end it.

A terminal may not know a letter, may be closed, or may be stopped (Ctrl-S, a pipe that nobody reads, a full disk). None
of that is the business of who speaks: `Terminal.write` never raises and never waits. A thread writes to the file
descriptor itself; what it can't get rid of is bounded, and the rest is left out, which is said when it goes on.
"""

import errno
import os
import select
import sys
import threading
from collections import deque
from contextlib import suppress
from typing import IO

MOST_WAITING = 1024 * 1024
"""Bytes that wait for a terminal that takes nothing; what comes then is left out."""

FLUSH_WITHIN = 1.0
"""Seconds that the end of the program waits for a terminal to take what was said."""


class Terminal:
    """Writes to a stream beside the caller; to one without a file descriptor, as tests have, at once."""

    def __init__(self, stream: IO[str] | None) -> None:
        self._stream = stream
        self._encoding = getattr(stream, "encoding", None) or "utf-8"
        self._waiting: deque[bytes] = deque()
        self._size = 0  # bytes that wait, or are being written
        self._left_out = 0  # lines
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        try:
            self._descriptor = -1 if stream is None else os.dup(stream.fileno())
        except (OSError, ValueError, AttributeError):  # it has none
            self._descriptor = -1

    def write(self, text: str) -> int:
        """Say this; never raises, never waits."""
        if self._descriptor < 0:
            say(text, self._stream)
            return len(text)
        data = text.encode(self._encoding, "backslashreplace")
        with self._changed:
            if self._size + len(data) > MOST_WAITING:
                self._left_out += text.count("\n")
                return len(text)
            if self._left_out:
                data = b"! %d lines were left out: nobody took them\n" % self._left_out + data
                self._left_out = 0
            self._waiting.append(data)
            self._size += len(data)
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_on, name="terminal", daemon=True)
                with suppress(RuntimeError):  # no thread is to be had: it is tried again with the next words
                    self._thread.start()
                if not self._thread.is_alive():
                    self._thread = None
            self._changed.notify_all()
        return len(text)

    def flush(self, within: float = FLUSH_WITHIN) -> None:
        """Wait until all is written, but not for long."""
        with self._changed:
            self._changed.wait_for(lambda: not self._size or self._thread is None, within)

    def _write_on(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                data = self._waiting.popleft()
            _put(self._descriptor, data)
            with self._changed:
                self._size -= len(data)
                self._changed.notify_all()


def _put(descriptor: int, data: bytes) -> None:
    """Write all, however long that takes; what can't be written is lost."""
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:  # somebody who shares it has made it so
            select.select([], [descriptor], [])
        except OSError:  # it was closed, or its disk is full
            return


def say(text: str, stream: IO[str] | None) -> bool:
    """Write to a stream, now; what its encoding doesn't know is written in ASCII. Tells whether it could be.

    Who reads no further (`| head`) has had what he wanted: that counts as written.
    """
    if stream is None:
        return False
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except (OSError, ValueError) as error:
        with suppress(OSError, ValueError, AttributeError):  # what it holds back would fail once more, at the end
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
        return isinstance(error, OSError) and error.errno == errno.EPIPE
    return True


def secure_standard_streams() -> None:
    """See that the first three descriptors are open: what is opened next would be taken for them.

    A stream that was closed leads nowhere then.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it gets the lowest number that is free: this one
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
