"""The client's side, on aiohttp: read a request whole, begin its exchange, and write the answer as it comes.

The exchange speaks in callbacks and the handler is a coroutine; `HandlerSink` stands between them. It holds at most
`HIGH_WATER` bytes and what one read brought: above that the engine isn't read from until the client has taken them.
"""

import asyncio
import hmac
import uuid
from collections.abc import Awaitable, Callable, Iterable

from aiohttp import web

from router.core import errors
from router.core.errors import RouterError
from router.core.peek import peek
from router.proxy.framing import Headers, end_to_end
from router.proxy.plane import Plane
from router.proxy.relay import Exchange, Request

HIGH_WATER = 64 * 1024
"""Bytes that wait for a slow client before the engine is paused."""

_MAX_REQUEST_ID = 128
_ID = web.RequestKey("id", str)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def request_id(request: web.Request) -> str:
    """Give the client's own id, if it is one that can stand in a header and a log, or a new one; always the same."""
    if _ID in request:
        return request[_ID]
    theirs = request.headers.get("x-request-id", "")
    if 0 < len(theirs) <= _MAX_REQUEST_ID and theirs.isascii() and theirs.isprintable():
        request[_ID] = theirs
    else:
        request[_ID] = str(uuid.uuid4())
    return request[_ID]


def error_response(error: RouterError, request: web.Request) -> web.Response:
    """Answer with an error in the form of the path's API."""
    response = web.Response(status=error.status, body=errors.body(error, request.path), content_type="application/json")
    response.headers["x-request-id"] = request_id(request)
    if error.retry_after is not None:
        response.headers["retry-after"] = str(error.retry_after)
    return response


class HandlerSink:
    """Takes an answer in callbacks, and writes it in a coroutine."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._exchange: Exchange | None = None
        self._head: asyncio.Future[web.StreamResponse | RouterError] = asyncio.get_running_loop().create_future()
        self._wake = asyncio.Event()
        self._pieces: list[bytes] = []
        self._waiting = 0  # bytes in pieces
        self._paused = False
        self._ended = False
        self._cut = False

    # What the exchange tells (relay.Sink)

    def start(self, status: int, headers: Headers, length: int | None) -> None:
        """Make the response, not yet sent."""
        response = web.StreamResponse(status=status)
        for name, value in headers:
            response.headers.add(name.decode("latin-1"), value.decode("latin-1"))
        response.content_length = length
        self._head.set_result(response)

    def body(self, data: bytes) -> None:
        """Keep a piece until it is written; pause the engine if there are too many."""
        self._pieces.append(data)
        self._waiting += len(data)
        if self._waiting > HIGH_WATER and not self._paused and self._exchange is not None:
            self._paused = True
            self._exchange.pause()
        self._wake.set()

    def end(self) -> None:
        """Note the end."""
        self._ended = True
        self._wake.set()

    def refuse(self, error: RouterError) -> None:
        """Keep the error for the answer."""
        self._head.set_result(error)

    def cut(self, last_words: bytes) -> None:
        """Say the last words, then close the connection without the body's proper end."""
        if last_words:
            self._pieces.append(last_words)
        elif self._request.transport is not None:  # nothing to say, and perhaps nobody reads: don't wait
            self._request.transport.abort()
        self._cut = True
        self._wake.set()

    # What the handler does

    async def serve(self, exchange: Exchange) -> web.StreamResponse:
        """Write the answer as it comes, to its end. Raises the RouterError that is the answer instead."""
        self._exchange = exchange
        response = await self._head
        if isinstance(response, RouterError):
            raise response
        await response.prepare(self._request)
        while True:
            await self._wake.wait()
            self._wake.clear()
            ended, cut = self._ended, self._cut
            pieces, self._pieces, self._waiting = self._pieces, [], 0
            if pieces:
                await response.write(b"".join(pieces))
            if cut:
                self._hang_up(response)
                return response
            if ended:
                await response.write_eof()
                return response
            if self._paused:
                self._paused = False
                exchange.resume()

    def _hang_up(self, response: web.StreamResponse) -> None:
        """Flush what was said, then close: a body without its proper end is seen to be cut."""
        response.force_close()
        if self._request.transport is not None:
            self._request.transport.close()


class Downstream:
    """The handler of everything that is proxied.

    `keys`: those that a client must show one of; none, and everybody may ask. `max_body` is in bytes.
    """

    def __init__(self, plane: Plane, *, max_body: int, keys: Iterable[str] = ()) -> None:
        self._plane = plane
        self._max_body = max_body
        self._keys = [key.encode() for key in keys]
        self.draining = False

    async def proxy(self, request: web.Request) -> web.StreamResponse:
        """Route a POST by the model that its body names."""
        body = await self._read(request)
        model, stream = peek(body)
        headers = end_to_end(request.raw_headers)
        if self._keys:  # the client's key is the router's, and no backend's business
            headers = [header for header in headers if header[0] not in {b"authorization", b"x-api-key"}]
        parsed = Request(request_id(request), request.path, request.raw_path, headers, body, model, stream)
        sink = HandlerSink(request)
        exchange = self._plane.begin(parsed, sink)
        try:
            return await sink.serve(exchange)
        finally:
            exchange.cancel()  # nothing, unless the client has left

    async def _read(self, request: web.Request) -> bytes:
        too_large = errors.BodyTooLargeError(
            f"The request's body is over {self._max_body} bytes. Send less, or raise limits.max_body."
        )
        if request.content_length is not None and request.content_length > self._max_body:
            raise too_large
        try:
            return await request.read()
        except web.HTTPRequestEntityTooLarge as error:
            raise too_large from error

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Turn away who has no key, and everybody while the router stops; give every error its API's form."""
        try:
            if self.draining:
                raise errors.UnavailableError("The router is stopping. Try again soon.", retry_after=5)
            if request.path.startswith("/v1/"):
                self._authorize(request)
            response = await handler(request)
        except RouterError as error:
            response = error_response(error, request)
        except web.HTTPMethodNotAllowed as refused:
            allowed = ", ".join(sorted(refused.allowed_methods))
            sentence = f"{request.path} takes {allowed}, not {request.method}."
            response = error_response(errors.MethodNotAllowedError(sentence), request)
            response.headers["allow"] = allowed
        except web.HTTPNotFound:
            sentence = f"There is no {request.method} {request.path} here. See /v1/models, /health, /ready."
            response = error_response(errors.NotFoundError(sentence), request)
        if not response.prepared:
            response.headers.setdefault("x-request-id", request_id(request))
            if self.draining:
                response.force_close()
        return response

    def _authorize(self, request: web.Request) -> None:
        if not self._keys:
            return
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        shown = bearer.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")
        given = shown.encode("utf-8", "surrogateescape")
        if not sum(hmac.compare_digest(given, key) for key in self._keys):  # all are compared, in constant time
            raise errors.UnauthorizedError("No valid API key: send one as 'Authorization: Bearer KEY'.")
