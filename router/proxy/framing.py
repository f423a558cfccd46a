"""HTTP/1.1 as the engines speak it, without I/O: bytes in, heads and bodies out.

What comes from an engine is distrusted as much as what comes from a client: a head is bounded, its lines are
parsed strictly (RFC 9112: no folded lines, no space before the colon, CRLF alone), and how long a body is must be
said in one way only. The three framings that engines use are three small classes with one interface:

    feed(data) -> payload      what of the data belongs to the body; `done` turns true with its last byte
    surplus                    whether bytes came after the end: the connection can't be trusted with another request
    ends_at_eof() -> bool      whether the connection's end is this body's proper end
"""

import re
from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple, Protocol

MAX_HEAD = 64 * 1024
"""Bytes of an answer's head, all its lines; an engine's is a few hundred."""

MAX_LINE = 4 * 1024
"""Bytes of a chunk's size line with its extensions, and of all trailers together."""

_MAX_CHUNK_DIGITS = 15  # hexadecimal: a chunk of 2^60 bytes is a mistake or an attack

Headers = list[tuple[bytes, bytes]]

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*)?")
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_DIGITS = re.compile(rb"[0-9]{1,18}")
_HEX = re.compile(rb"[0-9A-Fa-f]{1,%d}" % _MAX_CHUNK_DIGITS)

HOP_BY_HOP = frozenset({
    b"connection",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
})  # fmt: skip
"""Headers that speak of one connection and not of the message (RFC 9110, 7.6.1). Lower case."""


class ProtocolError(Exception):
    """The peer sent what is no HTTP/1.1, or more of it than is bounded."""


class Framing(Enum):
    """How the end of a body is known."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"


class ResponseHead(NamedTuple):
    """An answer's status and headers, names in lower case, and how its body is framed."""

    status: int
    headers: Headers
    framing: Framing
    length: int  # bytes; 0 unless the framing is LENGTH
    keep_alive: bool

    @property
    def is_event_stream(self) -> bool:
        """Whether the body is server-sent events."""
        return any(n == b"content-type" and v.lower().startswith(b"text/event-stream") for n, v in self.headers)


def end_to_end(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Leave out what is for one connection alone: the hop-by-hop headers, and those that Connection names.

    Names come back in lower case.
    """
    lowered = [(name.lower(), value) for name, value in headers]
    named = {option.strip().lower() for name, value in lowered if name == b"connection" for option in value.split(b",")}
    dropped = HOP_BY_HOP | named
    return [(name, value) for name, value in lowered if name not in dropped]


def request_head(method: bytes, target: bytes, headers: Headers) -> bytes:
    """Serialise a request's head. The values are taken to hold no line ends: they come from a parser."""
    lines = [b"%s %s HTTP/1.1\r\n" % (method, target)]
    lines += [b"%s: %s\r\n" % header for header in headers]
    lines.append(b"\r\n")
    return b"".join(lines)


def parse_head(data: bytes) -> tuple[ResponseHead, int] | None:
    """Parse an answer's head; give it with its length in bytes, or None while it isn't all there.

    Raises ProtocolError.
    """
    end = data.find(b"\r\n\r\n", 0, MAX_HEAD)
    if end < 0:
        if len(data) >= MAX_HEAD:
            raise ProtocolError(f"a head of more than {MAX_HEAD} bytes")
        if not b"HTTP/1.".startswith(data[:7]):
            raise ProtocolError(f"no HTTP/1 answer: {data[:20]!r}")
        return None
    lines = data[:end].split(b"\r\n")
    status_line = _STATUS_LINE.fullmatch(lines[0])
    if status_line is None:
        raise ProtocolError(f"a bad status line: {lines[0][:60]!r}")
    headers = [_header(line) for line in lines[1:]]
    return _framed(int(status_line[2]), headers, http11=status_line[1] == b"1"), end + 4


def _header(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    value = value.strip(b" \t")
    if not colon or not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
        raise ProtocolError(f"a bad header: {line[:60]!r}")
    return name.lower(), value


def _framed(status: int, headers: Headers, *, http11: bool) -> ResponseHead:
    """Tell how the body is framed (RFC 9112, 6.3); what could be read in two ways is refused."""
    lengths = [value for name, value in headers if name == b"content-length"]
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    options = b",".join(value.lower() for name, value in headers if name == b"connection")
    keep_alive = b"close" not in options if http11 else b"keep-alive" in options
    if len(lengths) + len(codings) > 1:
        raise ProtocolError("a body whose length is said twice")
    if status < 200 or status in {204, 304}:
        return ResponseHead(status, headers, Framing.NONE, 0, keep_alive)
    if codings:
        if codings[0].lower() != b"chunked" or not http11:
            raise ProtocolError(f"a transfer coding that isn't known: {codings[0][:60]!r}")
        return ResponseHead(status, headers, Framing.CHUNKED, 0, keep_alive)
    if lengths:
        if not _DIGITS.fullmatch(lengths[0]):
            raise ProtocolError(f"a bad content-length: {lengths[0][:60]!r}")
        return ResponseHead(status, headers, Framing.LENGTH, int(lengths[0]), keep_alive)
    return ResponseHead(status, headers, Framing.CLOSE, 0, keep_alive=False)


class Body(Protocol):
    """The rest of an answer: which bytes belong to it, and when it ends."""

    done: bool
    surplus: bool

    def feed(self, data: bytes) -> bytes:
        """Take what came next; give what of it is payload. Raises ProtocolError."""
        ...

    def ends_at_eof(self) -> bool:
        """Tell whether the body is whole if the connection ends here."""
        ...


def body_of(head: ResponseHead) -> Body:
    """Choose the reader for the body that this head announces."""
    if head.framing is Framing.CHUNKED:
        return ChunkedBody()
    if head.framing is Framing.CLOSE:
        return CloseBody()
    return LengthBody(head.length)


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


class _Part(Enum):
    """Which part of a chunked body comes next."""

    SIZE = 1  # a size line: 1a;extension CRLF
    DATA = 2  # as many bytes as it said
    DATA_END = 3  # CRLF
    TRAILER = 4  # header lines, which are dropped, up to an empty one


class ChunkedBody:
    r"""A body in chunks, each with its size in hexadecimal before it (RFC 9112, 7.1).

    Only sizes are read, never the data: an event whose text holds `0\r\n\r\n` ends nothing. A line that is split
    over two reads is held until it is whole; nothing else is.
    """

    __slots__ = ("_held", "_left", "_part", "_trailers", "done", "surplus")

    def __init__(self) -> None:
        self._part = _Part.SIZE
        self._left = 0  # bytes of the chunk's data still to come
        self._held = b""  # a line that isn't whole yet
        self._trailers = 0  # bytes of trailers so far
        self.done = False
        self.surplus = False

    def feed(self, data: bytes) -> bytes:
        """Take what came, take off the framing."""
        if self._held:
            data, self._held = self._held + data, b""
        payload: list[bytes] = []
        at, end = 0, len(data)
        while at < end and not self.done:
            if self._part is _Part.DATA:
                piece = data[at : at + self._left]
                payload.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if self._left == 0:
                    self._part = _Part.DATA_END
                continue
            stop = data.find(b"\r\n", at)
            if stop < 0 or stop - at > MAX_LINE:
                self._hold(data[at:])
                break
            self._line(data[at:stop])
            at = stop + 2
        self.surplus = self.done and at < end
        return payload[0] if len(payload) == 1 else b"".join(payload)

    def _hold(self, line: bytes) -> None:
        if len(line) > MAX_LINE or (self._part is _Part.DATA_END and not b"\r\n".startswith(line)):
            raise ProtocolError(f"a bad chunk: {line[:60]!r}")
        self._held = line

    def _line(self, line: bytes) -> None:
        if self._part is _Part.SIZE:
            size = line.partition(b";")[0].rstrip(b" \t")
            if not _HEX.fullmatch(size):
                raise ProtocolError(f"a bad chunk size: {line[:60]!r}")
            self._left = int(size, 16)
            self._part = _Part.DATA if self._left else _Part.TRAILER
        elif self._part is _Part.DATA_END:
            if line:
                raise ProtocolError(f"a chunk longer than it said: {line[:60]!r}")
            self._part = _Part.SIZE
        elif line:
            self._trailers += len(line)
            if self._trailers > MAX_LINE:
                raise ProtocolError(f"trailers of more than {MAX_LINE} bytes")
        else:
            self.done = True

    def ends_at_eof(self) -> bool:
        """Tell whether the last chunk has come."""
        return self.done
