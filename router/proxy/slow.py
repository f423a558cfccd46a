"""The slow lane: aiohttp reads everything that isn't an ordinary request.

A POST under /v1/ that is compressed, of HTTP/1.0, or otherwise unusual is read by aiohttp. From then on it is handled
like all others: the same rules make a request of it, the same exchange answers it, and the answer's bytes are the same.
Only the router's own answers (api/) are written by aiohttp.
"""

import asyncio

import aiohttp
import structlog
from aiohttp import web
from aiohttp.http import SERVER_SOFTWARE

from router.core import errors
from router.core.apis import POSTED
from router.core.errors import RouterError
from router.core.gate import OPEN, Right, right_of
from router.core.keys import Key
from router.core.outline import Texts
from router.core.paths import is_of_models, meant
from router.core.scopes import ANYBODY, Admin
from router.http1.heads import Headers
from router.http1.requests import path_of
from router.proxy.exchange import Exchange
from router.proxy.heads import RequestHead, describe_request, usable_id
from router.proxy.plane import Plane
from router.proxy.requests import UNREADABLE, Rules, error_answer, stopping
from router.proxy.slow_connection import BODY_ERRORS, SERVER, error_response
from router.proxy.unusual import Decoder, Handler, as_meant, authority_of, lowered, offers_upgrade, sender_of
from router.proxy.wire import Wire, Written

log = structlog.get_logger("router")

STATE, STOPPING = "x-router-state", "stopping"
"""A header of each answer of ours while the router stops."""

ADMIN = web.RequestKey("admin", Admin)
"""Where a handler with a `scope` finds who asks, who has it."""

ID = web.RequestKey("id", str)
"""Where it finds the request's id."""


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
        # Paths of endpoints that everybody may read, beside OPEN.
        self.opened: tuple[str, ...] = ()

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
        wire, caller = Wire(request), None
        try:
            caller = self._rules.admit(head.headers, head.path, authority_of(request), sender_of(request))
            body, texts = await self._read(request, head.headers, head)
            parsed, body = self._rules.understand(
                head, id_, body, caller, http11=_is_http11(request), keep_alive=self._goes_on(request), texts=texts
            )
        except RouterError as error:
            cors = self._rules.cors(head.headers)
            lines = cors if caller is None else caller.lines(head.path, self._plane.loop.time())
            self._note(error, request, head.path, id_)
            goes_on = self._goes_on(request)
            wire.write(error_answer(error, head.path, id_, keep_alive=goes_on, cors=lines))
            return Written(keep_alive=goes_on)
        return await wire.carry(Exchange(self._plane, parsed, body, wire))

    def _goes_on(self, request: web.Request) -> bool:
        """Whether another request may follow on its connection: not where its body hasn't been read."""
        may = _is_http11(request) and bool(request.keep_alive) and not self._rules.draining
        is_read = request.content.is_eof() and request.content.total_bytes <= self._rules.max_body
        return may and is_read and not offers_upgrade(request)

    async def _read(
        self, request: web.Request, headers: Headers, head: RequestHead | None = None
    ) -> tuple[bytes, Texts | None]:
        self._rules.check_length(request.content_length or 0)
        decoder = Decoder(request.headers.get("content-encoding", ""))
        expected = dict(headers).get(b"expect")
        if expected is not None:
            if expected.lower() != b"100-continue":
                raise errors.BadRequestError("The request expects what this server doesn't do; leave Expect out.")
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            return await self._gather(request.content, decoder, head)
        except BODY_ERRORS as error:
            raise errors.BadRequestError(UNREADABLE) from error

    async def _gather(
        self, content: aiohttp.StreamReader, decoder: Decoder, head: RequestHead | None
    ) -> tuple[bytes, Texts | None]:
        """Read a body to its end; `head` is its head if it is for a model.

        Raises RouterError if it is too large, or refused (`proxy.uploads`).
        """
        loop, owner = asyncio.get_running_loop(), _Reading()
        upload = self._rules.upload(head, owner.refuse, loop.time())
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
        # What is behind /upstream/ is an engine's own path, to be left as it is.
        is_ours = not target.startswith(b"/upstream/")
        if wanted != target and is_ours and not request._message.url.absolute:  # noqa: SLF001  (as in `authority_of`)
            request, handler = await as_meant(request, wanted)
        headers = lowered(request)
        try:
            response = await self._let_in(request, headers, handler)
        except RouterError as error:
            response = self._refuse(error, request)
        except web.HTTPMethodNotAllowed as refused:
            response = self._refuse_method(request, refused.allowed_methods)
        except web.HTTPNotFound:
            response = self._refuse_path(request)
        except web.HTTPException as refused:
            response = self._refuse(errors.BadRequestError(f"{refused.status}: {refused.reason}."), request)
        if self._rules.draining or offers_upgrade(request):
            response.force_close()
        return response

    async def sign(self, request: web.Request, response: web.StreamResponse) -> None:
        """Complete the head of an answer of ours, before it is sent: one that streams is, in its handler."""
        headers = lowered(request)
        response.headers["x-request-id"] = self._id_of(request, headers)
        response.headers["vary"] = "origin"
        if self._rules.draining:
            response.headers[STATE] = STOPPING
        if response.headers.get("server", SERVER_SOFTWARE) == SERVER_SOFTWARE:
            response.headers["server"] = SERVER
        response.headers.update(_fields(self._rules.cors(headers)))

    def _refuse(self, error: RouterError, request: web.Request) -> web.Response:
        self._note(error, request, request.path, self._id_of(request, lowered(request)))
        return error_response(error, request)

    def _refuse_path(self, request: web.Request) -> web.Response:
        where = "/admin/openapi.json" if request.path.startswith("/admin") else "/v1/models, /health, /ready"
        engines = f"; an engine's own {request.path} is at /upstream/NAME{request.path}, for admins"
        is_engines = not request.path.startswith(("/v1", "/api/", "/admin", "/upstream"))
        sentence = f"There is no {request.method} {request.path} here. See {where}{engines * is_engines}."
        return self._refuse(errors.NotFoundError(sentence), request)

    def _refuse_method(self, request: web.Request, methods: set[str]) -> web.Response:
        """Name the methods of a path. Any one under /v1 may be sent a POST, but few are known to take it."""
        path = request.path.encode("utf-8", "surrogateescape")
        known = methods - {"POST"} if is_of_models(path) and request.path not in POSTED else methods
        if not known:
            return self._refuse_path(request)
        allowed = ", ".join(sorted(known))
        sentence = f"{request.path} takes {allowed}, not {request.method}."
        response = self._refuse(errors.MethodNotAllowedError(sentence), request)
        response.headers["allow"] = allowed
        return response

    def _id_of(self, request: web.Request, headers: Headers) -> str:
        """Give a request's id, the same each time."""
        if ID not in request:
            request[ID] = usable_id(headers) or self._rules.new_id()
        return request[ID]

    def _note(self, error: RouterError, request: web.Request, path: str, id_: str) -> None:
        """Leave a trace of a request that is refused before it became an exchange."""
        self._rules.refusals.note(error, sender_of(request), path, self._plane.loop.time(), id_)

    async def _let_in(self, request: web.Request, headers: Headers, handler: Handler) -> web.StreamResponse:
        if request.method == "OPTIONS" and "access-control-request-method" in request.headers:
            return web.Response(status=204, headers=_fields(self._rules.preflight(headers)))
        self._check(request, headers)
        if request.can_read_body:
            # For `handler`, which asks aiohttp for it.
            request._read_bytes, _ = await self._read(request, headers)  # noqa: SLF001
        return await handler(request)

    def _check(self, request: web.Request, headers: Headers) -> None:
        """Ask the gate. Raises RouterError."""
        rules, authority, match = self._rules, authority_of(request), request.match_info
        scope = getattr(match.handler, "scope", None)
        known_as = "" if match.route.resource is None else match.route.resource.canonical
        accept = request.headers.get("accept", "")
        right = right_of(request.method, request.path, accept, known_as, scope, self.opened)
        if right is Right.EVERYBODYS and known_as not in OPEN:
            request[ADMIN] = ANYBODY
            return  # until the end
        if rules.draining and not getattr(match.handler, "lasts", False):
            raise stopping()
        if right is Right.CLIENTS:
            rules.admit(headers, request.path, authority)
        elif right is Right.ADMINS:
            remote, http11 = request.remote or "", request.version >= (1, 1)
            request[ADMIN] = rules.admit_admin(headers, remote, scope, authority, http11=http11)
            self._id_of(request, headers)
        elif right is Right.NOBODYS:
            raise web.HTTPNotFound

    def shows_key(self, request: web.Request) -> bool:
        """Whether a request shows a valid key."""
        return self._rules.shows_key(lowered(request))

    def key_of(self, request: web.Request) -> Key | None:
        """Give the client's key that a request shows, which bounds the models that it is told of."""
        return self._rules.key_of(lowered(request))

    def may_look(self, request: web.Request) -> bool:
        """Whether the answer to an OPEN path may name models and backends."""
        remote, http11 = request.remote or "", request.version >= (1, 1)
        return self._rules.may_look(lowered(request), remote, authority_of(request), http11=http11)


def _is_http11(request: web.Request) -> bool:
    return request.version >= (1, 1)


def _head_of(request: web.Request, target: bytes) -> RequestHead:
    """Give a request's head; its body will have been decoded."""
    headers = tuple(header for header in lowered(request) if header[0] != b"content-encoding")
    return describe_request(target, headers, keep_alive=bool(request.keep_alive))


def _fields(lines: bytes) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in lines.decode("latin-1").splitlines())
