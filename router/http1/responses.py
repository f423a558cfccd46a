"""The head of a response, with the framing of its body (RFC 9112, 6.3). What breaks a rule is a ProtocolError."""

import re
from typing import NamedTuple

from router.http1.bodies import CHUNKED, CLOSE, LENGTH, NONE, Framing
from router.http1.heads import Headers, ProtocolError, parse_headers, without_length

MAX_HEAD = 64 * 1024
"""Bytes of a response's head, all lines together; an engine's has a few hundred."""

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*)?")


class ParsedResponse(NamedTuple):
    """A response's head, except the length of its body.

    `keep_alive`: another response may follow on the connection.
    """

    status: int
    headers: Headers
    framing: Framing
    keep_alive: bool


def head_ends(data: bytes) -> int:
    """Give the length of the head that data begins with; 0 while it is incomplete.

    Raises ProtocolError as soon as the bytes can't become a head, or are too many.
    """
    end = data.find(b"\r\n\r\n", 0, MAX_HEAD) + 4
    if end >= 4:
        return end
    if len(data) >= MAX_HEAD:
        raise ProtocolError(f"a head of more than {MAX_HEAD} bytes")
    if not b"HTTP/1.".startswith(data[:7]):
        raise ProtocolError(f"no HTTP/1 answer: {data[:20]!r}")
    return 0


def parse_response(before: bytes, behind: bytes) -> ParsedResponse:
    """Parse a whole head that `split_at_length` has split. Raises ProtocolError."""
    head = without_length(before, behind)
    line = _STATUS_LINE.match(head)
    if line is None or head[line.end() : line.end() + 2] not in {b"", b"\r\n"}:
        raise ProtocolError(f"a bad status line: {head[:60]!r}")
    headers = parse_headers(head, line.end())
    if headers is None:
        raise ProtocolError(f"a bad header in {head[:200]!r}")
    status, http11 = int(line[2]), line[1] == b"1"
    framing = _framing(status, headers, http11=http11, has_length=bool(behind))
    connection = b",".join([value.lower() for name, value in headers if name == b"connection"])
    keep_alive = b"close" not in connection if http11 else b"keep-alive" in connection
    return ParsedResponse(status, headers, framing, keep_alive and framing is not CLOSE)


def _framing(status: int, headers: Headers, *, http11: bool, has_length: bool) -> Framing:
    """Find how the end of the body is known; refuse a head that could be read in two ways."""
    lengths = [value for name, value in headers if name == b"content-length"]
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    if lengths and not has_length:
        raise ProtocolError(f"a bad content-length: {lengths[0][:60]!r}")
    if len(lengths) + len(codings) + has_length > 1:
        raise ProtocolError("a body whose length is said twice")
    if status < 200 or status in {204, 304}:
        return NONE
    if codings:
        if codings[0].lower() != b"chunked" or not http11:
            raise ProtocolError(f"a transfer coding that isn't known: {codings[0][:60]!r}")
        return CHUNKED
    return LENGTH if has_length else CLOSE
