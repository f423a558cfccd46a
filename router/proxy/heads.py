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
from typing import NamedTuple

MAX_HEAD = 64 * 1024
"""Bytes of an answer's head, all its lines; an engine's is a few hundred."""

MAX_REQUEST_HEAD = 32 * 1024
"""Bytes of a request's head on the fast lane; a client's is a few hundred."""

_CACHED_HEAD = 4 * 1024
"""Bytes of a request's head up to which it is kept, parsed, for the next one like it."""

Headers = tuple[tuple[bytes, bytes], ...]
"""Names in lower case, values without the white space around them."""

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*)?")
_REQUEST_LINE = re.compile(rb"POST (/v1/[!\"$-~]*) HTTP/1\.1")
_ANY_REQUEST_LINE = re.compile(rb"[A-Z]{1,20} [!-~]{1,16384} HTTP/1\.[01]")
_HEADER_LINES = re.compile(rb"(?:\r\n[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*)*")
_HEADER = re.compile(rb"\r\n([^:]+):[\t ]*((?:[^\r\t ]+(?:[\t ]+(?=[^\r\t ]))?)*)")
_LENGTH_LINE = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*(?=\r\n|\Z)", re.IGNORECASE)
_DIGITS = re.compile(rb"[0-9]{1,18}")

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


WRITTEN_HERE = frozenset({b"content-length", b"x-request-id", b"x-router-backend"})
"""Answer headers that the router writes itself."""


class ProtocolError(Exception):
    """The peer sent what is no HTTP/1.1, or more of it than is bounded."""


class Framing(Enum):
    """How the end of a body is known."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"


class ResponseHead(NamedTuple):
    """An answer's status and headers, and how its body is framed."""

    status: int
    headers: Headers
    framing: Framing
    length: int  # bytes; 0 unless the framing is LENGTH
    keep_alive: bool
    is_event_stream: bool  # whether the body is server-sent events
    lines: bytes  # its end-to-end headers, serialised, without those that the router writes


class RequestHead(NamedTuple):
    """An ordinary request's head: POST /v1/…, HTTP/1.1, a body of a known length."""

    target: bytes
    headers: Headers
    length: int  # bytes of the body
    keep_alive: bool


def parse_response(data: bytes) -> tuple[ResponseHead, int] | None:
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
    return _parse_response(data[:end]), end + 4


@lru_cache(maxsize=1024)
def _parse_response(head: bytes) -> ResponseHead:
    """Parse a whole head. An engine's heads are much alike: under load most are the same as one before."""
    status_line = _STATUS_LINE.match(head)
    if status_line is None or head[status_line.end() : status_line.end() + 2] not in {b"", b"\r\n"}:
        raise ProtocolError(f"a bad status line: {head[:60]!r}")
    headers = _headers(head, status_line.end())
    if headers is None:
        raise ProtocolError(f"a bad header in {head[:200]!r}")
    return _framed(int(status_line[2]), headers, http11=status_line[1] == b"1")


def _headers(head: bytes, at: int) -> Headers | None:
    """Parse the header lines that begin at the end of the first line; None if one of them is bad."""
    if not _HEADER_LINES.fullmatch(head, at):
        return None
    return tuple([(name.lower(), value) for name, value in _HEADER.findall(head, at)])


def _framed(status: int, headers: Headers, *, http11: bool) -> ResponseHead:  # noqa: C901  (a table of RFC cases)
    """Tell how the body is framed (RFC 9112, 6.3); what could be read in two ways is refused."""
    length = coding = None
    connection = content_type = b""
    for name, value in headers:
        if name == b"content-length" or name == b"transfer-encoding":  # noqa: PLR1714  (faster than a set)
            if length is not None or coding is not None:
                raise ProtocolError("a body whose length is said twice")
            if name == b"content-length":
                length = value
            else:
                coding = value
        elif name == b"connection":
            connection += b"," + value.lower()
        elif name == b"content-type":
            content_type = value.lower()
    keep_alive = b"close" not in connection if http11 else b"keep-alive" in connection
    framing, size = Framing.CLOSE, 0
    if status < 200 or status in {204, 304}:
        framing = Framing.NONE
    elif coding is not None:
        if coding.lower() != b"chunked" or not http11:
            raise ProtocolError(f"a transfer coding that isn't known: {coding[:60]!r}")
        framing = Framing.CHUNKED
    elif length is not None:
        if not _DIGITS.fullmatch(length):
            raise ProtocolError(f"a bad content-length: {length[:60]!r}")
        framing, size = Framing.LENGTH, int(length)
    return ResponseHead(
        status,
        headers,
        framing,
        size,
        keep_alive and framing is not Framing.CLOSE,
        content_type.startswith(b"text/event-stream"),
        header_lines(end_to_end(headers, WRITTEN_HERE)),
    )


def is_well_formed(head: bytes) -> bool:
    """Tell whether a client's head, without the empty line at its end, is HTTP/1 at all."""
    line = _ANY_REQUEST_LINE.match(head)
    return line is not None and _HEADER_LINES.fullmatch(head, line.end()) is not None


def parse_request(head: bytes) -> RequestHead | None:
    """Parse a client's head, without the empty line at its end; None if it isn't ordinary.

    Ordinary is: POST of a path under /v1/, HTTP/1.1, one Content-Length, one Host, nothing encoded, nothing expected,
    no upgrade, every line well-formed. A request that isn't is not refused here.

    A client's heads differ in the body's length and in little else. So that line is taken out first, and the rest is
    looked up among those parsed before.
    """
    said = _LENGTH_LINE.search(head)
    if said is None:
        return None
    rest = head[: said.start()] + head[said.end() :]
    parsed = _parse_rest(rest) if len(rest) <= _CACHED_HEAD else _parse_rest.__wrapped__(rest)
    if parsed is None:
        return None
    target, headers, keep_alive = parsed
    return RequestHead(target, headers, int(said[1]), keep_alive)


@lru_cache(maxsize=1024)
def _parse_rest(head: bytes) -> tuple[bytes, Headers, bool] | None:
    """Parse a request's head that has no Content-Length any more: its target, headers, and whether it is to be kept."""
    request_line = _REQUEST_LINE.match(head)
    headers = None if request_line is None else _headers(head, request_line.end())
    if request_line is None or headers is None:
        return None
    names = [name for name, _ in headers]
    if names.count(b"host") != 1 or not _NOT_ORDINARY.isdisjoint(names):
        return None
    keep_alive = True
    for name, value in headers:
        if name == b"connection":
            keep_alive = keep_alive and b"close" not in value.lower()
        elif name == b"content-type" and value[:10].lower() == b"multipart/":
            return None
    return request_line[1], headers, keep_alive


def end_to_end(headers: Headers, dropped: frozenset[bytes]) -> Headers:
    """Leave out `dropped`, and what is for one connection alone: the hop-by-hop headers, and what Connection names."""
    without = _without(dropped)
    for name, value in headers:
        if name == b"connection":
            without |= {option.strip().lower() for option in value.split(b",")}
    return tuple([header for header in headers if header[0] not in without])


@lru_cache(maxsize=16)
def _without(dropped: frozenset[bytes]) -> frozenset[bytes]:
    return HOP_BY_HOP | dropped


def header_lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Serialise headers. Their values are taken to hold no line ends: they come from a parser."""
    return b"".join([b"%s: %s\r\n" % header for header in headers])


def request_head(target: bytes, lines: bytes) -> bytes:
    """Serialise the head of a POST, its header lines ready."""
    return b"POST %s HTTP/1.1\r\n%s\r\n" % (target, lines)


def response_head(status: int, lines: bytes) -> bytes:
    """Serialise the head of an answer, its header lines ready."""
    return b"%s%s\r\n" % (_status_line(status), lines)


@lru_cache(maxsize=512)
def _status_line(status: int) -> bytes:
    try:
        reason = HTTPStatus(status).phrase
    except ValueError:
        reason = ""
    return f"HTTP/1.1 {status} {reason}\r\n".encode()
