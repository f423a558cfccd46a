r"""The bodies of responses: bytes in, and out the bytes to pass on; and where a body ends.

There are three framings, and four ways to read them. All readers have one interface:

    feed(data) -> bytes        the part of the data to pass on; `done` turns true with the body's last byte
    surplus                    whether bytes came after the end: the connection must not carry another request
    ends_at_eof() -> bool      whether the body is whole if the connection ends now
    interrupt(words) -> bytes  the words, framed to follow the bytes passed on so far of a body that broke off;
                               with no words: the end of that body, if its own framing was passed on

A chunked body can be decoded, or passed on raw, framing included, to a client of HTTP/1.1. Either way only the sizes
are read, never the data: an event whose text holds `0\r\n\r\n` ends nothing.
"""

import re
from enum import Enum
from functools import lru_cache
from typing import Protocol

from router.http1.heads import ProtocolError

MAX_LINE = 4 * 1024
"""Bytes of a chunk's size line with its extensions; of the last chunk with all trailers."""

MAX_PADDING = 64 * 1024
"""Bytes, at most, that fill up an interrupted chunk so that words can follow it."""

SMALL = 16
"""Chunks of fewer bytes are crumbs: each takes more time than its bytes are worth. Runs of them are taken at once."""

LAST_CHUNK = b"0\r\n\r\n"

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?")
"""Sizes have 15 digits at most: 2^60 bytes are a mistake."""


class Framing(Enum):
    """How the end of a body is known."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"


NONE, LENGTH, CHUNKED, CLOSE = Framing


def chunk(data: bytes) -> bytes:
    """Frame data, which must not be empty, as a chunk."""
    return b"%x\r\n%s\r\n" % (len(data), data)


class Body(Protocol):
    """The reader of a body."""

    done: bool
    surplus: bool

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes; give those to pass on. Raises ProtocolError."""
        ...

    def ends_at_eof(self) -> bool:
        """Whether the body is whole if the connection ends here."""
        ...

    def interrupt(self, words: bytes) -> bytes:
        """Frame words to follow the bytes passed on; b"" where nothing can follow them."""
        ...


def body_of(framing: Framing, length: int, *, raw: bool) -> Body:
    """Make the reader of a body; `raw` leaves chunks as they are. The length counts only if the framing is LENGTH."""
    if framing is CHUNKED:
        return ChunkedBody(raw=raw)
    if framing is CLOSE:
        return CloseBody()
    return LengthBody(length if framing is LENGTH else 0)


def payload(data: bytes, position: tuple[int, int]) -> bytes:
    """Decode bytes of a raw chunked body that begin at a position (`ChunkedBody.position`)."""
    body = ChunkedBody()
    body._left, body._crlf = position  # noqa: SLF001  (the class is of this module)
    return body.feed(data)


class LengthBody:
    """A body of a known number of bytes, which may be 0."""

    __slots__ = ("_left", "done", "surplus")

    def __init__(self, length: int) -> None:
        self._left = length
        self.done = length == 0
        self.surplus = False

    def feed(self, data: bytes) -> bytes:
        """Take bytes up to the length."""
        if len(data) > self._left:
            self.surplus = True
            data = data[: self._left]
        self._left -= len(data)
        self.done = self._left == 0
        return data

    def ends_at_eof(self) -> bool:
        """Whether all announced bytes have come."""
        return self.done

    def interrupt(self, words: bytes) -> bytes:
        """Give the words as they are: where words may follow, the sender has framed the body anew."""
        return words


class CloseBody:
    """A body that ends with its connection, as HTTP/1.0 servers send: a break looks like its end."""

    __slots__ = ("done", "surplus")

    def __init__(self) -> None:
        self.done = False
        self.surplus = False

    def feed(self, data: bytes) -> bytes:
        """Take all bytes."""
        return data

    def ends_at_eof(self) -> bool:
        """Nothing else could end it."""
        return True

    def interrupt(self, words: bytes) -> bytes:
        """Give the words as they are."""
        return words


class _BadChunkError(ProtocolError):
    """Data that is not a chunk; `at` counts the good bytes before it."""

    def __init__(self, words: str, at: int) -> None:
        super().__init__(words)
        self.at = at


class ChunkedBody:
    """A body in chunks, each with its size in hexadecimal before it (RFC 9112, 7.1).

    `raw` passes on the bytes as they came, without a copy; else the payload. An incomplete size line is held back until
    it is whole. So is the last chunk, which is passed on without its trailers. Hence the client is always inside a
    chunk or between two, where words can still follow. With `raw`, `crumbs` counts those of fewer than SMALL bytes.
    """

    __slots__ = ("_crlf", "_held", "_left", "_raw", "crumbs", "done", "rest", "surplus")

    def __init__(self, *, raw: bool = False) -> None:
        self._raw = raw
        # Bytes that still have to come of a chunk's data, and of the CRLF after it.
        self._left = 0
        self._crlf = 0
        self._held = b""
        self.crumbs = 0
        self.done = False
        self.surplus = False
        # The bytes after the end.
        self.rest = b""

    @property
    def position(self) -> tuple[int, int]:
        """Where in the framing the passed-on bytes end: bytes that the chunk still lacks, and that its CRLF lacks."""
        return self._left, self._crlf

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes; give those to pass on. The error of bad data has the good bytes before the mistake."""
        if self._held:
            data = self._held + data
        position = self._left, self._crlf
        try:
            return self._feed(data)
        except _BadChunkError as error:
            self._left, self._crlf = position
            error.before = self._feed(data[: error.at])
            raise

    def _feed(self, data: bytes) -> bytes:  # noqa: C901, PLR0912  (one loop: calls would cost a third more)
        self._held = b""
        payload: list[bytes] = []
        at, end, raw = 0, len(data), self._raw
        while at < end:
            # 1. Inside a chunk's data.
            if self._left:
                begins, at = at, min(at + self._left, end)
                self._left -= at - begins
                self._crlf = 0 if self._left else 2
                if not raw:
                    payload.append(data[begins:at])
            # 2. In the CRLF behind it.
            elif self._crlf:
                if data[at] != (13 if self._crlf == 2 else 10):
                    raise _BadChunkError(f"a chunk longer than it said: {data[at : at + 60]!r}", at)
                self._crlf -= 1
                at += 1
            # 3. At a size line.
            else:
                stop = data.find(b"\r\n", at, at + MAX_LINE)
                if stop < 0:
                    self._hold(data, at)
                    break
                size, begins = _size(data[at:stop]), stop + 2
                if size < 0:
                    raise _BadChunkError(f"a bad chunk size: {data[at:stop][:60]!r}", at)
                if size == 0:
                    return self._finish(data, at, begins, payload)
                if raw and size < SMALL:
                    self.crumbs += 1
                at = begins + size + 2
                # The common case: all of the chunk is here.
                if at <= end and data[at - 2 : at] == b"\r\n":
                    if not raw:
                        payload.append(data[begins : at - 2])
                        if size < SMALL:
                            at = _take_crumbs(data, at, size, payload)
                else:
                    self._left, at = size, begins
        if raw:
            return data if at == end else data[:at]
        return b"".join(payload)

    def _finish(self, data: bytes, at: int, begins: int, payload: list[bytes]) -> bytes:
        """Take the last chunk, which begins at `at`; its trailers begin at `begins`, and may be incomplete."""
        stop = begins - 2 + data[begins - 2 :].find(b"\r\n\r\n")
        if stop < begins - 2:
            self._hold(data, at)
        else:
            self.done = True
            self.surplus = stop + 4 < len(data)
            if self.surplus:
                self.rest = data[stop + 4 :]
        if self._raw:
            return data[:at] + LAST_CHUNK if self.done else data[:at]
        return b"".join(payload)

    def _hold(self, data: bytes, at: int) -> None:
        if len(data) - at >= MAX_LINE:
            raise _BadChunkError(f"a chunk's line of more than {MAX_LINE} bytes", at)
        self._held = data[at:]

    def ends_at_eof(self) -> bool:
        """Whether the last chunk has come."""
        return self.done

    def interrupt(self, words: bytes) -> bytes:
        """Put the words in a chunk of their own, after line ends that fill up the chunk that broke off."""
        if self.done:
            return b""
        if not self._raw:
            return words
        if self._left > MAX_PADDING:
            return b""
        rest = b"\n" * self._left + b"\r\n" if self._left else b"\r\n"[2 - self._crlf :]
        return rest + chunk(words)


def _take_crumbs(data: bytes, at: int, size: int, payload: list[bytes]) -> int:
    """Take chunks of this size as long as they follow one another, 8, 16, 32 … at once; give where they end.

    Chunks of one size stand at equal distances, and so do their sizes and line ends: slices with a step compare all.
    """
    step, count, digit = size + 5, 8, b"%x" % size
    while True:
        run = data[at : at + count * step]
        returns, feeds = b"\r" * count, b"\n" * count
        if (
            len(run) < count * step
            or run[::step] != digit * count
            or run[1::step] != returns
            or run[2::step] != feeds
            or run[3 + size :: step] != returns
            or run[4 + size :: step] != feeds
        ):
            return at
        taken = bytearray(size * count)
        for place in range(size):
            taken[place::size] = run[3 + place :: step]
        payload.append(bytes(taken))
        at += count * step
        count *= 2


@lru_cache(maxsize=8192)
def _size(line: bytes) -> int:
    """Read a size line: hexadecimal digits, then extensions, which are ignored; -1 if it is malformed."""
    read = _SIZE_LINE.fullmatch(line)
    return -1 if read is None else int(read[1], 16)
