"""The head of a request. One that is malformed is no error here: the caller decides what becomes of it."""

import re
from typing import NamedTuple

from router.http1.heads import Headers, has_header_lines, parse_headers, without_length

TLS_HANDSHAKE = b"\x16\x03"
"""How every client that speaks TLS begins."""

_REQUEST_LINE = re.compile(rb"([A-Z]{1,20}) ([!-~]{1,16384}) HTTP/1\.([01])")


class ParsedRequest(NamedTuple):
    """A request's head, except its first Content-Length.

    `target` is the path with its query, as it came. `keep_alive`: another request may follow on the connection.
    """

    method: bytes
    target: bytes
    http11: bool
    headers: Headers
    keep_alive: bool


def is_well_formed(head: bytes) -> bool:
    """Whether a head, without the empty line at its end, is a request of HTTP/1 at all."""
    line = _REQUEST_LINE.match(head)
    return line is not None and has_header_lines(head, line.end())


def without_empty_lines(data: bytes) -> bytes:
    """Give what follows the empty lines before a request's line."""
    begins = 0
    while data.startswith(b"\r\n", begins):
        begins += 2
    return data[begins:]


def parse_request(before: bytes, behind: bytes) -> ParsedRequest | None:
    """Parse a whole head that `split_at_length` has split; None if it is malformed."""
    head = without_length(before, behind)
    line = _REQUEST_LINE.match(head)
    headers = None if line is None else parse_headers(head, line.end())
    if line is None or headers is None:
        return None
    http11 = line[3] == b"1"
    closes = any(name == b"connection" and b"close" in value.lower() for name, value in headers)
    return ParsedRequest(line[1], line[2], http11, headers, http11 and not closes)


def path_of(target: bytes) -> str:
    """Give the path of a request's target, without its query."""
    return target.partition(b"?")[0].decode("latin-1")
