"""The heads of HTTP/1.1 messages, read strictly and written whole. No I/O.

A head is distrusted, whoever sent it: it is bounded, its lines end with CRLF and nothing else, none is folded, a name
is followed by its colon at once, and how long the body is must be said in one way only (RFC 9112). An engine's head
that breaks a rule is an error. A client's head that isn't *ordinary* (see `parse_request`) is no error here: it is left
to the slow lane, whose parser knows the rest of HTTP.
"""

import re
from collections.abc import Iterable
from enum import Enum
from functools import lru_cache
from http import HTTPStatus
from typing import Generic, NamedTuple, TypeVar
from urllib.parse import unquote

from router.core.access import is_forwarded

MAX_HEAD = 64 * 1024
"""Bytes of an answer's head, all its lines; an engine's is a few hundred."""

MAX_REQUEST_HEAD = 32 * 1024
"""Bytes of a request's head on the fast lane; a client's is a few hundred."""

_CACHED_HEAD = 4 * 1024
"""Bytes of a head up to which it is kept, parsed, for the next one like it."""

Headers = tuple[tuple[bytes, bytes], ...]
"""Names in lower case, values without the white space around them."""

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*)?")
_REQUEST_LINE = re.compile(rb"POST (/v1/[!\"$-~]*) HTTP/1\.1")
_ANY_REQUEST_LINE = re.compile(rb"[A-Z]{1,20} [!-~]{1,16384} HTTP/1\.[01]")
_HEADER_LINES = re.compile(rb"(?:\r\n[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*)*")
_HEADER = re.compile(rb"\r\n([^:]+):[\t ]*((?:[^\r\t ]+(?:[\t ]+(?=[^\r\t ]))?)*)")
_LENGTH_LINE = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*(?=\r\n)", re.IGNORECASE)
_ORDINARY_TARGET = re.compile(rb"/v1/[!\"$-~]*")  # no '#': a fragment is not the server's business

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
"""Headers that speak of one connection and not of the message (RFC 9110, 7.6.1)."""

_NOT_ORDINARY = frozenset({
    b"content-length",  # a second one
    b"transfer-encoding",
    b"expect",
    b"upgrade",
    b"content-encoding",
    b"trailer",
})  # fmt: skip


_WRITTEN_TO_CLIENTS = frozenset({
    b"content-length",
    b"x-request-id",
    b"x-router-backend",
    b"x-router-queue-ms",
    b"x-router-explain",
    b"location",
    b"content-location",
    b"refresh",
    b"set-cookie",
    b"clear-site-data",
    b"strict-transport-security",
    b"alt-svc",
    b"timing-allow-origin",
    b"www-authenticate",  # a browser would ask for a password, in the router's name
    b"service-worker-allowed",
    b"report-to",
    b"nel",
})  # fmt: skip
"""Answer headers that the router writes itself, or that would tell a browser of the engine what holds of the router.

Which pages may read an answer is the router's word alone, so access-control-* and cross-origin-* go with these."""

_CREDENTIALS = frozenset({b"authorization", b"x-api-key"})

_WRITTEN_TO_ENGINES = _CREDENTIALS | frozenset({
    b"host",
    b"content-length",
    b"content-type",  # the body was read as JSON, whatever curl calls it; engines go by the word
    b"expect",
    b"accept-encoding",  # answers pass as bytes: an event must not wait for a compressor's block
    b"x-request-id",
    b"x-router-explain",
    b"origin",
    b"referer",
    b"cookie",
    b"cookie2",
    b"api-key",
})  # fmt: skip
"""Request headers that the router writes itself, leaves out, or passes on only where they are a backend's business.

What a browser says of its page (access-control-*, sec-*) and a proxy of its client isn't, either: the router has judged
by it, and an engine would judge again, by rules of its own."""

_MAX_REQUEST_ID = 128
_MAX_DIGITS = 18


class ProtocolError(Exception):
    """The peer sent what is no HTTP/1.1, or more of it than is bounded.

    `before` is what is to be passed on of what came with it: all before the mistake.
    """

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.before = b""  # no class attribute: compiled, an exception wouldn't have it


class Framing(Enum):
    """How the end of a body is known."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"


NONE, LENGTH, CHUNKED, CLOSE = Framing


class ResponseHead(NamedTuple):
    """What an answer's head says, but for the length of its body."""

    status: int
    headers: Headers
    framing: Framing
    keep_alive: bool
    is_event_stream: bool  # whether the body is server-sent events
    odd: bool  # whether it is no good answer: an error, a redirection, nothing, a web page
    lines: bytes  # its status line and its end-to-end headers, serialised, without those that the router writes


class RequestHead(NamedTuple):
    """What a request's head says, but for the length of its body, and what can be made of it once and for all."""

    target: bytes  # the path with its query, as it came
    path: str
    headers: Headers
    keep_alive: bool
    id: str  # the client's own X-Request-ID, if it can stand in a header and a log
    lines: bytes  # its end-to-end headers, serialised, without those that the router writes
    credentials: bytes  # serialised: those that the client shows
    well_addressed: bool  # whether its path is under /v1/ and names no parent folder
    explain: bool  # whether the answer is to tell why this backend was taken


Head = TypeVar("Head", ResponseHead, RequestHead)


class Known(Generic[Head]):
    """A head that was parsed, parted where it says how long its body is: the next from its peer is nearly always alike.

    `before` ends at the digits of the length, `behind` begins after them and ends with the head; where no length is
    said, all is `before`.
    """

    head: Head

    def __init__(self, before: bytes, behind: bytes, head: Head) -> None:
        self.before = before
        self.behind = behind
        self.head = head

    def recall(self, data: bytes) -> tuple[int, bytes] | None:
        """If data begins with a head like this one, give its body's length, and what came behind it."""
        before, behind = self.before, self.behind
        if not data.startswith(before):
            return None
        begins = len(before)
        if not behind:
            return 0, data[begins:]
        ends = data.find(b"\r", begins, begins + _MAX_DIGITS + 1)
        if ends < 0 or not data.startswith(behind, ends):
            return None
        digits = data[begins:ends]
        return (int(digits), data[ends + len(behind) :]) if digits.isdigit() else None


def _parted(head: bytes) -> tuple[bytes, bytes, bytes]:
    """Part a whole head at the first Content-Length that is well-formed: before it, its digits, behind it."""
    said = _LENGTH_LINE.search(head)
    return (head, b"", b"") if said is None else (head[: said.start(1)], said[1], head[said.end(1) :])


def _joined(before: bytes, behind: bytes) -> bytes:
    """Give a parted head without its Content-Length line, and without the empty line at its end."""
    return (before[: before.rindex(b"\r\n")] + behind.lstrip(b" \t") if behind else before)[:-4]


def parse_response(data: bytes) -> tuple[Known[ResponseHead], int, bytes] | None:
    """Parse an answer's head; give it with its body's length in bytes, and what came behind it.

    None while the head isn't all there; the length is 0 unless one is said. Raises ProtocolError.
    """
    end = data.find(b"\r\n\r\n", 0, MAX_HEAD) + 4
    if end < 4:
        if len(data) >= MAX_HEAD:
            raise ProtocolError(f"a head of more than {MAX_HEAD} bytes")
        if not b"HTTP/1.".startswith(data[:7]):
            raise ProtocolError(f"no HTTP/1 answer: {data[:20]!r}")
        return None
    before, digits, behind = _parted(data[:end])
    known = _parse_response(before, behind) if end <= _CACHED_HEAD else _parse_response.__wrapped__(before, behind)
    return known, int(digits or 0), data[end:]


@lru_cache(maxsize=256)
def _parse_response(before: bytes, behind: bytes) -> Known[ResponseHead]:
    """Parse a whole head that was parted."""
    head = _joined(before, behind)
    status_line = _STATUS_LINE.match(head)
    if status_line is None or head[status_line.end() : status_line.end() + 2] not in {b"", b"\r\n"}:
        raise ProtocolError(f"a bad status line: {head[:60]!r}")
    headers = _headers(head, status_line.end())
    if headers is None:
        raise ProtocolError(f"a bad header in {head[:200]!r}")
    framed = _framed(int(status_line[2]), headers, http11=status_line[1] == b"1", has_length=bool(behind))
    return Known(before, behind, framed)


def _headers(head: bytes, at: int) -> Headers | None:
    """Parse the header lines that begin at the end of the first line; None if one of them is bad."""
    if not _HEADER_LINES.fullmatch(head, at):
        return None
    return tuple([(name.lower(), value) for name, value in _HEADER.findall(head, at)])


def _framed(status: int, headers: Headers, *, http11: bool, has_length: bool) -> ResponseHead:
    """Tell how the body is framed (RFC 9112, 6.3); what could be read in two ways is refused."""
    lengths = [value for name, value in headers if name == b"content-length"]
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    if lengths and not has_length:
        raise ProtocolError(f"a bad content-length: {lengths[0][:60]!r}")
    if len(lengths) + len(codings) + has_length > 1:
        raise ProtocolError("a body whose length is said twice")
    if status < 200 or status in {204, 304}:
        framing = NONE
    elif codings:
        if codings[0].lower() != b"chunked" or not http11:
            raise ProtocolError(f"a transfer coding that isn't known: {codings[0][:60]!r}")
        framing = CHUNKED
    else:
        framing = LENGTH if has_length else CLOSE
    connection = b",".join([value.lower() for name, value in headers if name == b"connection"])
    keep_alive = b"close" not in connection if http11 else b"keep-alive" in connection
    return ResponseHead(
        status,
        headers,
        framing,
        keep_alive and framing is not CLOSE,
        any(name == b"content-type" and value[:17].lower() == b"text/event-stream" for name, value in headers),
        not 200 <= status < 300
        or status in {204, 205}
        or any(name == b"content-type" and value[:9].lower() == b"text/html" for name, value in headers),
        status_line(status) + header_lines(end_to_end(headers, _WRITTEN_TO_CLIENTS)),
    )


def is_well_formed(head: bytes) -> bool:
    """Tell whether a client's head, without the empty line at its end, is HTTP/1 at all."""
    line = _ANY_REQUEST_LINE.match(head)
    return line is not None and _HEADER_LINES.fullmatch(head, line.end()) is not None


def parse_request(head: bytes) -> tuple[Known[RequestHead], int] | None:
    """Parse a client's head, with the empty line at its end; give it with its body's length in bytes.

    None if it isn't ordinary. Ordinary is: POST of a path under /v1/, HTTP/1.1, one Content-Length, one Host, nothing
    encoded, nothing expected, no upgrade, every line well-formed. A request that isn't is not refused here.
    """
    before, digits, behind = _parted(head)
    if not digits:
        return None
    known = _parse_request(before, behind) if len(head) <= _CACHED_HEAD else _parse_request.__wrapped__(before, behind)
    return None if known is None else (known, int(digits))


@lru_cache(maxsize=256)
def _parse_request(before: bytes, behind: bytes) -> Known[RequestHead] | None:
    """Parse a request's whole head that was parted."""
    head = _joined(before, behind)
    request_line = _REQUEST_LINE.match(head)
    headers = None if request_line is None else _headers(head, request_line.end())
    if request_line is None or headers is None:
        return None
    names = [name for name, _ in headers]
    if names.count(b"host") != 1 or not _NOT_ORDINARY.isdisjoint(names):
        return None
    if any(name == b"content-type" and value[:10].lower() == b"multipart/" for name, value in headers):
        return None
    closes = any(name == b"connection" and b"close" in value.lower() for name, value in headers)
    return Known(before, behind, describe_request(request_line[1], headers, keep_alive=not closes))


def describe_request(target: bytes, headers: Headers, *, keep_alive: bool) -> RequestHead:
    """Make all of a request's head that its target and its headers say."""
    path = path_of(target)
    credentials = [header for header in headers if header[0] in _CREDENTIALS]
    return RequestHead(
        target,
        path,
        headers,
        keep_alive,
        usable_id(headers),
        header_lines(end_to_end(headers, _WRITTEN_TO_ENGINES)),
        header_lines(credentials),
        _ORDINARY_TARGET.fullmatch(target) is not None and ".." not in unquote(path).split("/"),
        (b"x-router-explain", b"1") in headers,
    )


def usable_id(headers: Headers) -> str:
    """Give the client's own id for a request, if it can stand in a header and a log; else nothing."""
    for name, value in headers:
        if name == b"x-request-id" and 0 < len(value) <= _MAX_REQUEST_ID and value.isascii():
            theirs = value.decode("ascii")
            if theirs.isprintable():
                return theirs
    return ""


def path_of(target: bytes) -> str:
    """Give the path of a request's target, without its query."""
    return target.partition(b"?")[0].decode("latin-1")


def end_to_end(headers: Headers, dropped: frozenset[bytes]) -> Headers:
    """Leave out `dropped`, and what is for one connection alone: the hop-by-hop headers, and what Connection names."""
    without = _without(dropped)
    for name, value in headers:
        if name == b"connection":
            without |= {option.strip().lower() for option in value.split(b",")}
    return tuple([header for header in headers if header[0] not in without and not _is_between_others(header[0])])


def _is_between_others(name: bytes) -> bool:
    """Tell whether a header is between a browser, or a proxy, and one server: not for the next behind that."""
    return name.startswith((b"access-control-", b"cross-origin-", b"sec-")) or is_forwarded(name)


@lru_cache(maxsize=16)
def _without(dropped: frozenset[bytes]) -> frozenset[bytes]:
    return HOP_BY_HOP | dropped


def header_lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Serialise headers. Their values are taken to hold no line ends: they come from a parser."""
    return b"".join([b"%s: %s\r\n" % header for header in headers])


@lru_cache(maxsize=512)
def status_line(status: int) -> bytes:
    """Serialise the first line of an answer."""
    try:
        reason = HTTPStatus(status).phrase
    except ValueError:
        reason = ""
    return f"HTTP/1.1 {status} {reason}\r\n".encode()
