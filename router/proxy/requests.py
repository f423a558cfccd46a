"""A client's request as the data plane has it, and the rules by which both lanes make one.

The lanes differ in how they read; what is asked of a request, and in what order, stands here once: the path, the key,
the size, the body, the id.
"""

import hmac
import random
import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import count
from typing import NamedTuple
from urllib.parse import unquote

from router.core import errors
from router.core.errors import RouterError
from router.core.peek import peek
from router.proxy.heads import Headers, end_to_end, header_lines, response_head

_MAX_REQUEST_ID = 128
_TARGET = re.compile(rb"/v1/[!\"$-~]*")  # no '#': a fragment is not the server's business

_CREDENTIALS = frozenset({b"authorization", b"x-api-key"})

_REWRITTEN = frozenset({
    b"host",
    b"content-length",
    b"content-type",  # the body was read as JSON, whatever curl calls it; engines go by the word
    b"expect",
    b"accept-encoding",  # answers pass as bytes: an event must not wait for a compressor's block
    b"x-request-id",
    b"authorization",
    b"x-api-key",
})  # fmt: skip
"""Request headers that the router writes itself, leaves out, or passes on only where they are a backend's business."""


class Request(NamedTuple):
    """A client's request, read and understood."""

    id: str
    path: str
    target: bytes  # the path with its query, as it came
    headers: bytes  # serialised: the end-to-end ones, without those that the router writes
    credentials: bytes  # serialised: the client's own, where they aren't the router's
    model: str
    stream: bool
    http11: bool = True  # else no chunk may be sent
    keep_alive: bool = True  # whether the client's connection may go on after the answer


class Rules:
    """What every request must meet, whichever lane reads it.

    `keys`: those that a client must show one of; none, and everybody may ask. `max_body` is in bytes.
    """

    def __init__(self, *, max_body: int, keys: Iterable[str] = (), source: random.Random) -> None:
        self.max_body = max_body
        self.draining = False
        self._keys = [key.encode() for key in keys]
        # Our ids are UUIDs in form (RFC 9562, 5.4), the last part counted up: they are names, not secrets.
        bits = f"{source.getrandbits(72):018x}"
        self._own = f"{bits[:8]}-{bits[8:12]}-4{bits[12:15]}-8{bits[15:]}-"
        self._number = count(source.getrandbits(40))

    def admit(self, headers: Headers) -> None:
        """Raise UnavailableError while the router stops, UnauthorizedError for who shows no key."""
        if self.draining:
            raise errors.UnavailableError("The router is stopping. Try again soon.", retry_after=5)
        if not self._keys:
            return
        shown = b""
        for name, value in headers:
            if name == b"authorization" and value[:7].lower() == b"bearer ":
                shown = value[7:].strip()
                break
            if name == b"x-api-key":
                shown = value
        if not sum(hmac.compare_digest(shown, key) for key in self._keys):  # all are compared, in constant time
            raise errors.UnauthorizedError("No valid API key: send one as 'Authorization: Bearer KEY'.")

    def check_length(self, length: int) -> None:
        """Raise BodyTooLargeError for a body of more bytes than may be."""
        if length > self.max_body:
            raise errors.BodyTooLargeError(
                f"The request's body is over {self.max_body} bytes. Send less, or raise limits.max_body."
            )

    def request_id(self, headers: Headers) -> str:
        """Give the client's own id, if it can stand in a header and a log; else a new one, a UUID."""
        for name, value in headers:
            if name == b"x-request-id" and 0 < len(value) <= _MAX_REQUEST_ID and value.isascii():
                theirs = value.decode("ascii")
                if theirs.isprintable():
                    return theirs
        return f"{self._own}{next(self._number):012x}"

    def understand(
        self, id_: str, target: bytes, headers: Headers, body: bytes, *, http11: bool, keep_alive: bool
    ) -> Request:
        """Make a request of what was read. Raises BadRequestError."""
        path = path_of(target)
        doubtful = b".." in target or b"%" in target or not target.startswith(b"/v1/") or not target.isascii()
        if doubtful and (not _TARGET.fullmatch(target) or ".." in unquote(path).split("/")):
            raise errors.BadRequestError("The request's path must begin with /v1/ and name no parent folder.")
        model, stream = peek(body)
        lines, credentials = _serialised(headers)
        return Request(
            id_,
            path,
            target,
            lines,
            b"" if self._keys else credentials,  # the client's key is the router's, then, and no backend's business
            model,
            stream,
            http11,
            keep_alive and http11 and not self.draining,
        )


@lru_cache(maxsize=256)
def _serialised(headers: Headers) -> tuple[bytes, bytes]:
    """Serialise what is passed on of a request's headers: those of the message, and the credentials."""
    credentials = [header for header in headers if header[0] in _CREDENTIALS]
    return header_lines(end_to_end(headers, _REWRITTEN)), header_lines(credentials)


def path_of(target: bytes) -> str:
    """Give the path of a request's target, without its query."""
    return target.partition(b"?")[0].decode("latin-1")


def error_answer(error: RouterError, path: str, request_id: str, *, keep_alive: bool) -> bytes:
    """Write a whole answer that is an error, in the form of the path's API."""
    body = errors.body(error, path)
    lines = b"content-type: application/json\r\ncontent-length: %d\r\nx-request-id: %s\r\n" % (
        len(body),
        request_id.encode("latin-1"),
    )
    if error.retry_after is not None:
        lines += b"retry-after: %d\r\n" % error.retry_after
    if not keep_alive:
        lines += b"connection: close\r\n"
    return response_head(error.status, lines) + body
