r"""The bodies of an engine's answers, without I/O: bytes in, payload or the same bytes out, and when they end.

Three framings are in use, and four ways to read them. All have one interface:

    feed(data) -> bytes        what of the data is to be passed on; `done` turns true with the body's last byte
    surplus                    whether bytes came after the end: the connection can't be trusted with another request
    ends_at_eof() -> bool      whether the connection's end is this body's proper end
    interrupt(words) -> bytes  what can still be said behind what was passed on, where the body has broken off;
                               no words: what ends the body, if it passes on framing of its own

Chunked bodies can be decoded, or passed on raw, framing and all, to a client that speaks HTTP/1.1 too. Either way only
the sizes are read, never the data: an event whose text holds `0\r\n\r\n` ends nothing.
"""

import re
from functools import lru_cache
from typing import Protocol

from router.proxy.heads import CHUNKED, CLOSE, LENGTH, ProtocolError, ResponseHead

MAX_LINE = 4 * 1024
"""Bytes of a chunk's size line with its extensions, and of the last one with all trailers."""

MAX_PADDING = 64 * 1024
"""Bytes that an interrupted chunk is filled up with, at most, so that something can be said behind it."""

LAST_CHUNK = b"0\r\n\r\n"

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?")  # 2^60 bytes are a mistake


def has_event(data: bytes) -> bool:
    """Tell whether an event begins in the first bytes of a stream, in chunks or not: if none does, they are pings."""
    return b"\ndata:" in data or data.startswith(b"data:")


def chunk(data: bytes) -> bytes:
    """Frame data, which isn't empty, as a chunk."""
    return b"%x\r\n%s\r\n" % (len(data), data)


class Body(Protocol):
    """The rest of an answer."""

    done: bool
    surplus: bool

    def feed(self, data: bytes) -> bytes:
        """Take what came next; give what is to be passed on. Raises ProtocolError."""
        ...

    def ends_at_eof(self) -> bool:
        """Tell whether the body is whole if the connection ends here."""
        ...

    def interrupt(self, words: bytes) -> bytes:
        """Frame some last words behind what was passed on; b"" where nothing can be said any more."""
        ...


def body_of(head: ResponseHead, length: int, *, raw: bool) -> Body:
    """Choose the reader for the body that this head announces; `raw` leaves chunks as they are."""
    if head.framing is CHUNKED:
        return ChunkedBody(raw=raw)
    if head.framing is CLOSE:
        return CloseBody()
    return LengthBody(length if head.framing is LENGTH else 0)


def payload(data: bytes, position: tuple[int, int]) -> bytes:
    """Give the data in bytes of a raw body in chunks, from this position on (ChunkedBody.position)."""
    body = ChunkedBody()
    body._left, body._crlf = position  # noqa: SLF001  (its own kind)
    return body.feed(data)


class LengthBody:
    """A body of so many bytes, none included."""

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
        """Tell whether all that was announced has come."""
        return self.done

    def interrupt(self, words: bytes) -> bytes:
        """Say the words as they are: a body that words may be added to has been framed anew."""
        return words


class CloseBody:
    """A body that ends with its connection, as HTTP/1.0 servers send: its end and a break look the same."""

    __slots__ = ("done", "surplus")

    def __init__(self) -> None:
        self.done = False
        self.surplus = False

    def feed(self, data: bytes) -> bytes:
        """Take all."""
        return data

    def ends_at_eof(self) -> bool:
        """Say yes: nothing else could end it."""
        return True

    def interrupt(self, words: bytes) -> bytes:
        """Say the words as they are."""
        return words


class _BadChunkError(ProtocolError):
    """What is no chunk, so many bytes into what came."""

    def __init__(self, words: str, at: int) -> None:
        super().__init__(words)
        self.at = at


class ChunkedBody:
    """A body in chunks, each with its size in hexadecimal before it (RFC 9112, 7.1).

    Raw, it passes on what came as it came, without a copy; else the payload. A size line that isn't whole is held until
    it is, and so is the last chunk, which goes on without its trailers: the client is always either inside a chunk or
    between two, and something can still be said to it.
    """

    __slots__ = ("_crlf", "_held", "_left", "_raw", "done", "surplus")

    def __init__(self, *, raw: bool = False) -> None:
        self._raw = raw
        self._left = 0  # bytes still to come of a chunk's data
        self._crlf = 0  # and of the CRLF behind it
        self._held = b""
        self.done = False
        self.surplus = False

    @property
    def position(self) -> tuple[int, int]:
        """Where in its framing is what has been passed on so far: bytes that a chunk still lacks, and of its CRLF."""
        return self._left, self._crlf

    def feed(self, data: bytes) -> bytes:
        """Take what came; give what of it is to be passed on. What is refused is taken up to its mistake."""
        if self._held:
            data = self._held + data
        position = self._left, self._crlf
        try:
            return self._feed(data)
        except _BadChunkError as error:
            self._left, self._crlf = position
            error.before = self._feed(data[: error.at])
            raise

    def _feed(self, data: bytes) -> bytes:  # noqa: C901, PLR0912  (one loop; calls would cost a third)
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
                at = begins + size + 2
                if at <= end and data[at - 2 : at] == b"\r\n":  # all of the chunk is here: the common case
                    if not raw:
                        payload.append(data[begins : at - 2])
                else:
                    self._left, at = size, begins
        if raw:
            return data if at == end else data[:at]
        return b"".join(payload)

    def _finish(self, data: bytes, at: int, begins: int, payload: list[bytes]) -> bytes:
        """Take the last chunk, from `at`, if the empty line behind its trailers, from `begins`, is here."""
        stop = begins - 2 + data[begins - 2 :].find(b"\r\n\r\n")
        if stop < begins - 2:
            self._hold(data, at)
        else:
            self.done = True
            self.surplus = stop + 4 < len(data)
        if self._raw:
            return data[:at] + LAST_CHUNK if self.done else data[:at]
        return b"".join(payload)

    def _hold(self, data: bytes, at: int) -> None:
        if len(data) - at >= MAX_LINE:
            raise _BadChunkError(f"a chunk's line of more than {MAX_LINE} bytes", at)
        self._held = data[at:]

    def ends_at_eof(self) -> bool:
        """Tell whether the last chunk has come."""
        return self.done

    def interrupt(self, words: bytes) -> bytes:
        """Say the words in a chunk of their own, the one that broke off filled up with line ends before it."""
        if self.done:
            return b""
        if not self._raw:
            return words
        if self._left > MAX_PADDING:
            return b""
        rest = b"\n" * self._left + b"\r\n" if self._left else b"\r\n"[2 - self._crlf :]
        return rest + chunk(words)


@lru_cache(maxsize=8192)
def _size(line: bytes) -> int:
    """Read a size line: hexadecimal digits, and extensions, which are ignored; -1: it is none."""
    read = _SIZE_LINE.fullmatch(line)
    return -1 if read is None else int(read[1], 16)
