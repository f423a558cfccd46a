"""What the heads of requests and of responses share: header lines read and written, and heads recognised again."""

import re
from collections.abc import Iterable
from functools import lru_cache
from http import HTTPStatus
from typing import Generic, TypeVar

Headers = tuple[tuple[bytes, bytes], ...]
"""Names in lower case, values without the white space around them."""

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
"""Headers about one connection rather than the message (RFC 9110, 7.6.1)."""

_HEADER_LINES = re.compile(rb"(?:\r\n[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*)*")
_HEADER = re.compile(rb"\r\n([^:]+):[\t ]*((?:[^\r\t ]+(?:[\t ]+(?=[^\r\t ]))?)*)")
_LENGTH_LINE = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*(?=\r\n)", re.IGNORECASE)

_MAX_DIGITS = 18
"""Digits of a Content-Length; more would be over 2^60 bytes, which is a mistake."""

Head = TypeVar("Head")


class ProtocolError(Exception):
    """The peer sent something that is not HTTP/1.1, or that is over a bound.

    `before` holds the bytes that came with the mistake, and before it, and are to be passed on.
    """

    def __init__(self, words: str) -> None:
        super().__init__(words)
        # Not a class attribute: a compiled exception would not have it.
        self.before = b""


class Known(Generic[Head]):
    """A parsed head, split at its Content-Length digits, to recognise the next one: most differ in these alone.

    `before` ends at the digits; `behind` begins after them and ends with the head. Without a Content-Length all of the
    head is `before`.
    """

    head: Head

    def __init__(self, before: bytes, behind: bytes, head: Head) -> None:
        self.before = before
        self.behind = behind
        self.head = head

    def recall(self, data: bytes) -> tuple[int, bytes] | None:
        """If data begins with a head like this one, give the length of its body, and the bytes after the head."""
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


def split_at_length(head: bytes) -> tuple[bytes, bytes, bytes]:
    """Split a whole head at its first well-formed Content-Length: the bytes before its digits, these, the rest.

    Without a Content-Length all of it is the first part.
    """
    found = _LENGTH_LINE.search(head)
    return (head, b"", b"") if found is None else (head[: found.start(1)], found[1], head[found.end(1) :])


def without_length(before: bytes, behind: bytes) -> bytes:
    """Give a split head without its Content-Length line, and without the empty line at its end."""
    return (before[: before.rindex(b"\r\n")] + behind.lstrip(b" \t") if behind else before)[:-4]


def has_header_lines(head: bytes, at: int) -> bool:
    """Whether a head, without the empty line at its end, consists of well-formed header lines from `at` on."""
    return _HEADER_LINES.fullmatch(head, at) is not None


def parse_headers(head: bytes, at: int) -> Headers | None:
    """Parse the header lines that begin at the end of the first line; None if one of them is malformed."""
    if not has_header_lines(head, at):
        return None
    return tuple([(name.lower(), value) for name, value in _HEADER.findall(head, at)])


def end_to_end(headers: Headers, dropped: frozenset[bytes]) -> Headers:
    """Leave out `dropped` and the headers of one connection alone: hop-by-hop ones, and those that Connection names."""
    without = _without(dropped)
    for name, value in headers:
        if name == b"connection":
            without |= {option.strip().lower() for option in value.split(b",")}
    return tuple([header for header in headers if header[0] not in without])


@lru_cache(maxsize=16)
def _without(dropped: frozenset[bytes]) -> frozenset[bytes]:
    return HOP_BY_HOP | dropped


def header_lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Serialise headers. The caller makes sure that values hold no line ends; a parser's never do."""
    return b"".join([b"%s: %s\r\n" % header for header in headers])


@lru_cache(maxsize=512)
def status_line(status: int) -> bytes:
    """Serialise the first line of a response."""
    try:
        reason = HTTPStatus(status).phrase
    except ValueError:
        reason = ""
    return f"HTTP/1.1 {status} {reason}\r\n".encode()
