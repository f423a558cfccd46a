"""aiohttp's side of a connection: it is fed one message after another, so that it never mixes up two of them.

aiohttp forgets a whole request if what follows it in the same read is no request, and can't tell a head that has begun
from an idle connection. So the bytes of each request are told apart first: a head is passed on once it is whole, and
what comes behind a body waits until it is known to be a head. What isn't understood here is aiohttp's to refuse.
"""

import asyncio
import re
from collections.abc import Callable, Iterator

import aiohttp
import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import _ErrInfo

from router.core import errors
from router.core.errors import BadRequestError, RouterError
from router.http1.bodies import ChunkedBody
from router.http1.heads import ProtocolError, split_at_length
from router.http1.requests import is_well_formed
from router.proxy.heads import MAX_HEADERS, MAX_REQUEST_HEAD, path_in
from router.proxy.requests import UNREADABLE, Rules, address_of, error_answer, late_head
from router.proxy.wire import IDLE_TIMEOUT, Written

log = structlog.get_logger("router")

HEAD_TIMEOUT = 11.0
"""Seconds that a request's head may take to arrive."""

LINGER_TIMEOUT = 5.0
"""Seconds for which a refused client may go on sending its body."""

BODY_ERRORS = (web.RequestPayloadError, aiohttp.ClientError, HttpProcessingError)
"""What aiohttp raises for a body that isn't as its head says."""

SERVER = "router"
"""The Server header of the router's own answers."""

MOST_CRUMBS = 8192
"""Chunks of a few bytes that a body may have: each takes aiohttp 2 µs, and the fast lane has no such bound."""

_HEAD_ENDS = re.compile(rb"\r?\n\r?\n")
_CHUNKED = re.compile(rb"\ntransfer-encoding:[^\r\n]*chunked", re.IGNORECASE)

_TOO_FINE = BadRequestError(
    f"The request's body comes in more than {MOST_CRUMBS} chunks of a few bytes each: send larger ones, or its length."
)


class Messages:
    """Tells where the requests on a connection begin and end.

    `held` is the beginning of a head; `path` is that of the head that came last, as far as it can be read.
    """

    def __init__(self) -> None:
        self.held = b""
        self.path = ""
        # Bytes that the body lacks, and what reads it if it is in chunks.
        self._missing = 0
        self._chunks: ChunkedBody | None = None
        # Whether something isn't understood: from then on all of it is passed on.
        self._lost = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take the next bytes; give those to pass on, in pieces of one request each. Raises BadRequestError."""
        if self.held:
            data, self.held = self.held + data, b""
        at = 0
        while at < len(data):
            if self._lost:
                ends = len(data)
            elif self._chunks is not None:
                yield self._in_chunks(data[at:], self._chunks)
                data, at = self._chunks.rest, 0
                if self._chunks.done:
                    self._chunks = None
                continue
            elif self._missing:
                ends = min(len(data), at + self._missing)
                self._missing -= ends - at
            elif data.startswith(b"\r\n", at):
                at += 2
                continue
            else:
                ends = self._in_head(data, at)
                if not ends:
                    self.held = data[at:]
                    break
            yield data[at:ends]
            at = ends

    def _in_head(self, data: bytes, at: int) -> int:
        """Tell where the head ends that begins there; 0: it isn't whole."""
        found = _HEAD_ENDS.search(data, at, at + MAX_REQUEST_HEAD)
        if found is None:
            self._lost = len(data) - at >= MAX_REQUEST_HEAD
            self.path = path_in(data[at : at + MAX_REQUEST_HEAD])
            return len(data) if self._lost else 0
        head = data[at : found.end()]
        self.path = path_in(head)
        digits = split_at_length(head)[1]
        if _CHUNKED.search(head):
            self._chunks = ChunkedBody(raw=True)
        else:
            self._missing = int(digits or 0)
            # Who posts nothing may mean what follows for a body.
            self._lost = not digits and head.startswith(b"POST ")
        self._lost |= not is_well_formed(data[at : found.start()])
        return len(data) if self._lost else found.end()

    def _in_chunks(self, data: bytes, chunks: ChunkedBody) -> bytes:
        """Take bytes of a body in chunks; give those of whole chunks' lines and their data."""
        try:
            whole = chunks.feed(data)
        except ProtocolError as error:
            raise BadRequestError(UNREADABLE) from error
        if chunks.crumbs > MOST_CRUMBS:
            raise _TOO_FINE
        return whole


class SlowConnection(web.RequestHandler):
    """aiohttp's side of a connection, with errors in the API's form instead of an HTML page."""

    def __init__(self, server: web.Server, rules: Rules, on_lost: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        # aiohttp writes no access log if this is None, which its types don't allow.
        super().__init__(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]
            keepalive_timeout=IDLE_TIMEOUT,
            lingering_time=LINGER_TIMEOUT,
            max_line_size=MAX_REQUEST_HEAD,
            max_field_size=MAX_REQUEST_HEAD,
            max_headers=MAX_HEADERS,
            auto_decompress=False,
        )
        self._rules = rules
        self._on_lost = on_lost
        # The path of the head that came last, for errors of heads that aiohttp can't read.
        self._path = ""
        self._incoming = Messages()
        # Runs while a head has begun and isn't whole; and once the rest of a request isn't read.
        self._late_head: asyncio.TimerHandle | None = None
        self._refused = False

    def data_received(self, data: bytes) -> None:
        """Have aiohttp read these bytes; if a head begins with them, it has to end in time."""
        if self._refused:
            return
        if not data:  # what aiohttp has put aside
            super().data_received(data)
            return
        try:
            for piece in self._incoming.feed(data):
                self._path = self._incoming.path
                super().data_received(piece)
        except RouterError as error:
            self._stop_reading(error)
            return
        if self._messages and isinstance(self._messages[-1][0], _ErrInfo):
            self._end_body()
        if not self._incoming.held.strip(b"\r\n"):
            self._forget_head()
        elif self._late_head is None:
            self._late_head = self._loop.call_later(HEAD_TIMEOUT, self._refuse_head)

    def _stop_reading(self, error: RouterError) -> None:
        """Answer instead of reading on, and let the client read that before the connection closes."""
        self._refused = True
        self._forget_head()
        transport = self.transport
        if len(self._messages) + (self._current_request is not None) > 1:
            # An earlier request has no answer yet: this one would be taken for it.
            self.force_close()
        elif transport is not None:
            self._messages.clear()
            self._refuse(error, self._path)
            if transport.can_write_eof():
                transport.write_eof()
        self._late_head = self._loop.call_later(LINGER_TIMEOUT, self.force_close)

    def _end_body(self) -> None:
        """Tell whoever reads a body that what has come of it is no part of one: aiohttp tells only who asks next."""
        request = self._current_request
        if request is not None and not request.content.is_eof():
            request.content.set_exception(web.RequestPayloadError(UNREADABLE))

    def _forget_head(self) -> None:
        if self._late_head is not None:
            self._late_head.cancel()
            self._late_head = None

    def _refuse_head(self) -> None:
        if self._waiter is None or self._waiter.done():
            # The request before it isn't answered: its client may wait for that.
            self._late_head = self._loop.call_later(HEAD_TIMEOUT, self._refuse_head)
            return
        self._refuse(late_head(HEAD_TIMEOUT), path_in(self._incoming.held))
        self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Report the end to the lane that the connection came from, too."""
        self._forget_head()
        super().connection_lost(exc)
        self._on_lost()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  (aiohttp's, for its page)
    ) -> web.StreamResponse:
        """Answer a request that aiohttp couldn't read, or that a bug of ours broke; then the connection is closed."""
        if status < 500:
            self._refuse(BadRequestError("This is no well-formed HTTP request."), self._path)
        else:
            log.error("a request failed because of a bug in the router", path=request.path, exc_info=exc)
            self._refuse(RouterError(errors.BUG), request.path)
        return Written(keep_alive=False)

    def _refuse(self, error: RouterError, path: str) -> None:
        if self.transport is not None:
            id_ = self._rules.new_id()
            if error.status < 500:
                self._rules.refusals.note(error, address_of(self.transport), path, self._loop.time(), id_)
            self.transport.write(error_answer(error, path, id_, keep_alive=False))

    def log_exception(self, *args: object, **more: object) -> None:
        """Log what aiohttp meets, but not that a body isn't as its head says: its client has been told."""
        if not isinstance(more.get("exc_info"), BODY_ERRORS):
            super().log_exception(*args, **more)


def error_response(error: RouterError, request: web.BaseRequest) -> web.Response:
    """Make an error's response, in the form of the path's API."""
    headers = {"server": SERVER} | ({} if error.retry_after is None else {"retry-after": str(error.retry_after)})
    body = errors.body(error, request.path)
    return web.Response(status=error.status, body=body, content_type="application/json", headers=headers)
