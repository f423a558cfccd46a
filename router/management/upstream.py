"""Requests of admins that go to an engine as they are, but for what is the router's own business."""

import asyncio
import re
from collections import Counter
from typing import Final
from urllib.parse import quote, unquote

import aiohttp
import structlog
from aiohttp import web
from yarl import URL

from router.core.catalog import Backend
from router.core.errors import BadGatewayError, BadRequestError, ConflictError, NotFoundError
from router.core.paths import is_of_models
from router.core.scopes import Admin
from router.fleet.fleet import Fleet
from router.proxy.heads import for_engines
from router.proxy.plane import Plane
from router.proxy.resolve import Resolver
from router.proxy.unusual import lowered
from router.proxy.watching.asking import NO_ANSWER
from router.telemetry.logs import UPSTREAM

log = structlog.get_logger(UPSTREAM)

PATIENCE: Final = aiohttp.ClientTimeout(total=None, sock_connect=5.0, sock_read=600.0)

_PASSED: Final = frozenset({b"accept-encoding", b"content-type", b"x-request-id"})
"""Headers that the router writes itself where it knows the request; here they are the client's."""

_PASSED_BACK: Final = (
    "cache-control", "content-disposition", "content-encoding", "content-type", "etag", "last-modified", "server"
)  # fmt: skip

_SANDBOX: Final = {"content-security-policy": "sandbox allow-scripts allow-forms", "x-content-type-options": "nosniff"}
"""A page of an engine has an origin of its own then: it can't use the router as its reader could."""

_VIA: Final = ("via", "1.1 router")
"""Shows that a request doesn't come from this machine itself: another router here would let that manage it."""

_SEPARATORS: Final = re.compile(r"[/\\]")

WINDOW: Final = 60.0
"""Seconds in which a GET is logged once. What a page asks for again and again is counted, and told after them."""

MOST_LINES: Final = 32
"""Most GETs that are logged within these: a page has many parts."""


class Visits:
    """Logs who sends what to which backend: each request that may change something, and GETs within bounds."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, str, str]] = set()
        self._counted: Counter[tuple[str, str]] = Counter()

    def note(self, method: str, backend: str, path: str, by: str) -> None:
        """Log or count a request."""
        visit = backend, path.partition("?")[0], by
        if method == "GET" and (visit in self._seen or len(self._seen) >= MOST_LINES):
            self._counted[backend, by] += 1
            return
        if method == "GET":
            if not self._seen:
                asyncio.get_running_loop().call_later(WINDOW, self.tell)
            self._seen.add(visit)
        log.info(f"admin: {method} at {backend}", by=by, path=path)

    def tell(self) -> None:
        """Tell what was counted, and begin anew."""
        for (backend, by), count in self._counted.items():
            log.info(f"admin: {count} more GETs at {backend}", by=by)
        self._seen.clear()
        self._counted.clear()


class Upstream:
    """Answers `router.api.admin.upstream`."""

    def __init__(self, fleet: Fleet, plane: Plane) -> None:
        self._fleet = fleet
        self._plane = plane
        self._visits = Visits()

    async def pass_on(self, request: web.Request, admin: Admin) -> web.StreamResponse:
        """Pass a request on, and its answer back. Raises NotFoundError, ConflictError and BadGatewayError."""
        raw = request.rel_url.raw_path_qs.removeprefix("/upstream/")
        backend, path = self._found(raw)
        pool = self._plane.pool(backend)
        if pool is None:
            raise ConflictError(f"'{backend.name}' isn't there now: {backend.health.reason or 'it has not started'}.")
        address, key = pool.address, self._plane.api_key(backend)
        self._visits.note(request.method, backend.name, path, admin.name)
        headers = _passed(request)
        headers += [_VIA, *address.headers, *([("authorization", f"Bearer {key}")] if key else [])]
        connector = aiohttp.TCPConnector(resolver=Resolver(self._plane.connections.names), force_close=True)
        answered: web.StreamResponse | None = None
        try:
            async with (
                aiohttp.ClientSession(connector=connector, auto_decompress=False, timeout=PATIENCE) as session,
                session.request(
                    request.method,
                    URL(address.url(path), encoded=True),
                    headers=headers,
                    data=await request.read() if request.body_exists else None,
                    allow_redirects=False,
                    **address.secured,
                ) as answer,
            ):
                passed = {name: answer.headers[name] for name in _PASSED_BACK if name in answer.headers}
                place = answer.headers.get("location", "")
                if place.startswith("/") and not place.startswith("//"):
                    passed["location"] = f"/upstream/{quote(backend.name, safe='')}{place}"
                answered = web.StreamResponse(status=answer.status, headers=passed | _SANDBOX)
                await answered.prepare(request)
                async for piece in answer.content.iter_any():
                    await answered.write(piece)
        except NO_ANSWER as error:
            if answered is None:
                raise BadGatewayError(f"'{backend.name}' didn't answer: {address.fault(error)}.") from error
            # The client is told by a body without its end.
            if request.transport is not None:
                request.transport.abort()
        return answered

    def _found(self, said: str) -> tuple[Backend, str]:
        """Tell which backend is meant, whose name may have slashes, and the target there. Raises NotFoundError."""
        path, _, query = said.partition("?")
        parts = path.split("/")
        if not _goes_down(path):
            raise BadRequestError("A path here has no '.' and no '..'.", param="name")
        for count in range(len(parts), 0, -1):
            name, rest = unquote("/".join(parts[:count])), "/" + "/".join(parts[count:])
            backend = self._named(name)
            if backend is not None:
                self._check(backend, rest)
                return backend, f"{rest}?{query}" if query else rest
        raise NotFoundError(f"There is no backend or model '{unquote(parts[0])}'.", param="name")

    def _check(self, backend: Backend, path: str) -> None:
        """Raise NotFoundError for a path of a peer that isn't its models'.

        Whoever may manage this router doesn't manage another one by that, whatever that one would allow.
        """
        member = self._fleet.members.get(backend.name)
        if member is None or member.planned.config.router is None or is_of_models(path.encode()):
            return
        raise NotFoundError(
            f"'{backend.name}' is a model of another router. Of its paths only those for models are reached here, such "
            "as /v1/chat/completions; it is managed by /admin, with the peer's admin_key.",
            param="name",
        )

    def _named(self, name: str) -> Backend | None:
        member = self._fleet.members.get(name)
        if member is not None:
            return member.backend
        return next((each for each in self._plane.backends.values() if name in each.models), None)


def _goes_down(path: str) -> bool:
    """Tell whether a path names no folder above it, in whatever way it is quoted: who reads it next may unquote it."""
    before = ""
    while before != path:
        before, path = path, unquote(path)
    return not {".", ".."}.intersection(_SEPARATORS.split(path))


def _passed(request: web.Request) -> list[tuple[str, str]]:
    """Give the headers that an engine gets."""
    headers = lowered(request)
    own = (each for each in headers if each[0] in _PASSED)
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in (*for_engines(headers), *own)]
