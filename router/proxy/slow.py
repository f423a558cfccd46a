"""The slow lane: aiohttp reads everything that isn't an ordinary request.

A POST under /v1/ that is compressed, of HTTP/1.0, or otherwise unusual is read by aiohttp. From then on it is handled
like all others: the same rules make a request of it, the same exchange answers it, and the answer's bytes are the same.
Only the router's own answers (api/) are written by aiohttp.
"""

import asyncio
from collections.abc import Callable

import aiohttp
import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import _ErrInfo

from router.core import errors
from router.core.errors import RouterError
from router.core.paths import is_of_models, meant
from router.core.scopes import Admin
from router.http1.heads import Headers
from router.http1.requests import path_of
from router.proxy.exchange import Exchange
from router.proxy.heads import MAX_HEADERS, MAX_REQUEST_HEAD, RequestHead, describe_request, path_in, usable_id
from router.proxy.plane import Plane
from router.proxy.requests import UNREADABLE, Rules, address_of, error_answer, late_head
from router.proxy.unusual import Decoder, Handler, as_meant, authority_of, lowered, offers_upgrade, sender_of
from router.proxy.uploads import Upload
from router.proxy.wire import IDLE_TIMEOUT, Wire, Written

log = structlog.get_logger("router")

HEAD_TIMEOUT = 11.0
"""Seconds that a request's head may take to arrive."""

LINGER_TIMEOUT = 5.0
"""Seconds for which a refused client may go on sending its body."""

BODY_ERRORS = (web.RequestPayloadError, aiohttp.ClientError, HttpProcessingError)
"""What aiohttp raises for a body that isn't as its head says."""

SERVER = "router"
"""The Server header of the router's own answers."""

OPEN = ("/health", "/ready")
"""Paths that answer every client, whatever the Host, for load balancers. They name models only to those who may use
them."""


ADMIN = web.RequestKey("admin", Admin)
"""Where a handler with a `scope` finds who asks, who has it."""


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
        # Runs while a head has begun and isn't whole.
        self._late_head: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        """Have aiohttp read these bytes; if a head begins with them, it has to end in time."""
        if self._late_head is None:
            self._path = path_in(data)
        super().data_received(data)
        if self._messages and isinstance(self._messages[-1][0], _ErrInfo):
            self._end_body()
        if self._waiter is None or self._waiter.done():
            # A request is being handled, or is about to be.
            self._forget_head()
        elif self._late_head is None and data.strip(b"\r\n"):
            self._late_head = self._loop.call_later(HEAD_TIMEOUT, self._refuse_head)

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
        self._refuse(late_head(HEAD_TIMEOUT), self._path)
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
            self._refuse(errors.BadRequestError("This is no well-formed HTTP request."), self._path)
        else:
            log.error("a request failed because of a bug in the router", path=request.path, exc_info=exc)
            self._refuse(RouterError(errors.BUG), request.path)
        return Written(keep_alive=False)

    def _refuse(self, error: RouterError, path: str) -> None:
        if self.transport is not None:
            if error.status < 500:
                self._rules.refusals.note(error, address_of(self.transport), path, self._loop.time())
            self.transport.write(error_answer(error, path, self._rules.new_id(), keep_alive=False))

    def log_exception(self, *args: object, **more: object) -> None:
        """Log what aiohttp meets, but not that a body isn't as its head says: its client has been told."""
        if not isinstance(more.get("exc_info"), BODY_ERRORS):
            super().log_exception(*args, **more)


class _Reading:
    """The task that reads a body, as the one who hears that it is refused."""

    def __init__(self) -> None:
        self.deadline = asyncio.timeout(None)
        self.refused: RouterError | None = None

    def refuse(self, error: RouterError) -> None:
        """Wake the task, if it waits for more."""
        self.refused = error
        self.deadline.reschedule(0)


class SlowLane:
    """aiohttp's handlers, and its middleware."""

    def __init__(self, plane: Plane, rules: Rules) -> None:
        self._plane = plane
        self._rules = rules
        # Requests under way.
        self.under_way = 0

    async def proxy(self, request: web.Request) -> web.StreamResponse:
        """Answer a POST through an exchange, by the model that its body names."""
        self.under_way += 1
        try:
            return await self._proxy(request)
        except ConnectionResetError:
            # The client left; the exchange has been told.
            return Written(keep_alive=False)
        finally:
            self.under_way -= 1

    async def _proxy(self, request: web.Request) -> web.StreamResponse:
        target = request.rel_url.raw_path_qs.encode("utf-8", "surrogateescape")
        head = _head_of(request, target)
        id_ = head.id or self._rules.new_id()
        http11 = request.version >= (1, 1)
        wire, goes_on = Wire(request), False
        try:
            caller = self._rules.admit(head.headers, authority_of(request), sender_of(request))
            body = await self._read(request, head.headers)
            goes_on = http11 and request.keep_alive and not self._rules.draining and not offers_upgrade(request)
            parsed, body = self._rules.understand(head, id_, body, caller, http11=http11, keep_alive=goes_on)
        except RouterError as error:
            cors = self._rules.cors(head.headers)
            self._note(error, request, head.path)
            wire.write(error_answer(error, head.path, id_, keep_alive=goes_on, cors=cors))
            return Written(keep_alive=goes_on)
        return await wire.carry(Exchange(self._plane, parsed, body, wire))

    async def _read(self, request: web.Request, headers: Headers) -> bytes:
        self._rules.check_length(request.content_length or 0)
        decoder = Decoder(request.headers.get("content-encoding", ""))
        expected = dict(headers).get(b"expect")
        if expected is not None:
            if expected.lower() != b"100-continue":
                raise errors.BadRequestError("The request expects what this server doesn't do; leave Expect out.")
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            return await self._gather(request.content, decoder)
        except BODY_ERRORS as error:
            raise errors.BadRequestError(UNREADABLE) from error

    async def _gather(self, content: aiohttp.StreamReader, decoder: Decoder) -> bytes:
        """Read a body to its end. Raises RouterError if it is too large, or refused (`proxy.uploads`)."""
        loop, owner = asyncio.get_running_loop(), _Reading()
        upload = Upload(self._rules.uploads, owner.refuse, loop.time())
        try:
            async with asyncio.timeout(None) as owner.deadline:
                async for piece in content.iter_any():
                    upload.add(decoder.feed(piece, self._rules.max_body), loop.time())
                    self._rules.check_length(upload.size)
                    if owner.refused is not None:
                        break
            if owner.refused is None:
                decoder.end()
                return upload.whole(b"")
        except TimeoutError:
            if owner.refused is None:
                raise
        finally:
            upload.close()
        raise owner.refused

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse requests that aren't allowed, and all while the router stops; give every error its API's form.

        Everything but OPEN is checked, paths that don't exist included.
        """
        # `proxy` checks the same, and writes its errors as bytes.
        target = request.rel_url.raw_path_qs.encode("utf-8", "surrogateescape")
        wanted = meant(target).target
        if request.method == "POST" and (is_of_models(wanted) or path_of(wanted) in self._rules.beside):
            return await self.proxy(request)
        if wanted != target and not request._message.url.absolute:  # noqa: SLF001  (as in `authority_of`)
            request, handler = await as_meant(request, wanted)
        headers = lowered(request)
        try:
            response = await self._let_in(request, headers, handler)
        except RouterError as error:
            response = self._refuse(error, request)
        except web.HTTPMethodNotAllowed as refused:
            allowed = ", ".join(sorted(refused.allowed_methods))
            sentence = f"{request.path} takes {allowed}, not {request.method}."
            response = self._refuse(errors.MethodNotAllowedError(sentence), request)
            response.headers["allow"] = allowed
        except web.HTTPNotFound:
            sentence = f"There is no {request.method} {request.path} here. See /v1/models, /health, /ready."
            response = self._refuse(errors.NotFoundError(sentence), request)
        except web.HTTPException as refused:
            response = self._refuse(errors.BadRequestError(f"{refused.status}: {refused.reason}."), request)
        response.headers["x-request-id"] = usable_id(headers) or self._rules.new_id()
        response.headers["vary"], response.headers["server"] = "origin", SERVER
        response.headers.update(_fields(self._rules.cors(headers)))
        if self._rules.draining or offers_upgrade(request):
            response.force_close()
        return response

    def _refuse(self, error: RouterError, request: web.Request) -> web.Response:
        self._note(error, request, request.path)
        return _error_response(error, request)

    def _note(self, error: RouterError, request: web.Request, path: str) -> None:
        """Leave a trace of a request that is refused before it became an exchange."""
        self._rules.refusals.note(error, sender_of(request), path, self._plane.loop.time())

    async def _let_in(self, request: web.Request, headers: Headers, handler: Handler) -> web.StreamResponse:
        if request.method == "OPTIONS" and "access-control-request-method" in request.headers:
            return web.Response(status=204, headers=_fields(self._rules.preflight(headers)))
        rules, authority, remote = self._rules, authority_of(request), request.remote or ""
        scope = getattr(request.match_info.handler, "scope", None)
        if rules.draining or not (scope or request.path in OPEN or request.path.startswith("/admin")):
            rules.admit(headers, authority)
        elif request.path not in OPEN:
            admin = request[ADMIN] = rules.admit_admin(headers, remote, authority, http11=request.version >= (1, 1))
            if scope:
                admin.check(scope)
        if request.can_read_body:
            # For `handler`, which asks aiohttp for it.
            request._read_bytes = await self._read(request, headers)  # noqa: SLF001
        return await handler(request)

    def shows_key(self, request: web.Request) -> bool:
        """Whether a request shows a valid key."""
        return self._rules.shows_key(lowered(request))

    def may_look(self, request: web.Request) -> bool:
        """Whether the answer to an OPEN path may name models and backends."""
        remote, http11 = request.remote or "", request.version >= (1, 1)
        return self._rules.may_look(lowered(request), remote, authority_of(request), http11=http11)


def _head_of(request: web.Request, target: bytes) -> RequestHead:
    """Give a request's head; its body will have been decoded."""
    headers = tuple(header for header in lowered(request) if header[0] != b"content-encoding")
    return describe_request(target, headers, keep_alive=bool(request.keep_alive))


def _fields(lines: bytes) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in lines.decode("latin-1").splitlines())


def _error_response(error: RouterError, request: web.BaseRequest) -> web.Response:
    headers = {"server": SERVER} | ({} if error.retry_after is None else {"retry-after": str(error.retry_after)})
    body = errors.body(error, request.path)
    return web.Response(status=error.status, body=body, content_type="application/json", headers=headers)
