"""The last requests with their answers, as their clients see them: in memory alone, and only where that is asked for.

No head of a request is kept, as keys stand there. What is kept is bounded by number and by bytes; of one large request,
and of one large answer, it is the beginning.
"""

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from router.http1.bodies import ChunkedBody
from router.http1.heads import ProtocolError

MOST_OF_EACH: Final = 1024 * 1024
"""Bytes that are kept of a request's body, and of its answer."""

PARTS: Final = 8
"""What is kept of a body, or of an answer, is no larger than such a part of all: a large one leaves room for others."""

_PIECE: Final = 100
"""Bytes that a piece of an answer takes beside its own."""

_HEAD_END: Final = b"\r\n\r\n"
_CHUNKED: Final = b"\r\ntransfer-encoding: chunked\r\n"


class Captured:
    """A request and as much of its answer as has come. `at` is when it came, in seconds since the epoch.

    `cut`: more of them was there than is kept.
    """

    def __init__(
        self, id_: str, path: str, model: str, key: str, body: bytes, at: float, *, most: int, is_whole: bool
    ) -> None:
        self.id: Final = id_
        self.path: Final = path
        self.model: Final = model
        self.key: Final = key
        self.at: Final = at
        self.body: Final = body[:most]
        self.cut = len(body) > most or not is_whole
        self.pieces: list[bytes] = []
        self.size = len(self.body)
        self.is_kept = True

    def answer(self) -> tuple[int, bytes]:
        """Give the status and the body of the answer, so far; 0 while nothing has come."""
        raw = b"".join(self.pieces)
        head, end, body = raw.partition(_HEAD_END)
        status = head[9:12]
        if not end or not status.isdigit():
            return 0, b""
        if _CHUNKED in (head + b"\r\n").lower():
            # Of an engine's own chunks that break a rule, it is told as it came.
            with suppress(ProtocolError):
                body = ChunkedBody().feed(body)
        return int(status), body


class Captures:
    """The last requests, at most `most` of them, and about `size` bytes; of each, a quarter of that at most."""

    def __init__(self, most: int, size: int, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._kept: deque[Captured] = deque()
        self._size = 0
        self._most = most
        self._most_size = size

    @property
    def _most_of_each(self) -> int:
        return min(MOST_OF_EACH, self._most_size // PARTS)

    def set_up(self, most: int, size: int) -> None:
        """Take other bounds."""
        self._most, self._most_size = most, size
        self._drop()

    def begin(
        self, id_: str, path: str, model: str, key: str, body: bytes, *, is_whole: bool
    ) -> Callable[[bytes], None]:
        """Keep a request; give what takes the pieces of its answer. `is_whole`: none of its texts is kept elsewhere."""
        kept = Captured(id_, path, model, key, body, self._clock(), most=self._most_of_each, is_whole=is_whole)
        self._kept.append(kept)
        self._size += kept.size
        self._drop()

        def take(data: bytes) -> None:
            if not kept.is_kept:
                return
            room = len(kept.body) + self._most_of_each - kept.size
            kept.cut = kept.cut or len(data) > room
            if room > 0:
                kept.pieces.append(data[:room])
                size = len(kept.pieces[-1]) + _PIECE
                kept.size += size
                self._size += size
                self._drop()

        return take

    def _drop(self) -> None:
        while self._kept and (len(self._kept) > self._most or self._size > self._most_size):
            gone = self._kept.popleft()
            gone.is_kept = False
            self._size -= gone.size

    def find(self, id_: str) -> Captured | None:
        """Find the last one with this id."""
        return next((each for each in reversed(self._kept) if each.id == id_), None)
