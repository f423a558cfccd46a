"""What the slow lane makes of requests that aiohttp has read: other forms of a path, upgrades, compressed bodies."""

from collections.abc import Awaitable, Callable

from aiohttp import web
from yarl import URL

from router.core.errors import BadRequestError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_DECODED = frozenset({"", "identity", "gzip", "deflate", "br", "zstd"})
"""Compressions that aiohttp knows; the last two only where their packages are installed, else it says so."""

NOT_DECODED = "The request's body is compressed in a way that can't be read here: send it as it is, or as gzip."


def check_encoding(request: web.Request) -> None:
    """Raise BadRequestError for a body that aiohttp would give as it came, compressed."""
    if request.headers.get("content-encoding", "").lower() not in _DECODED:
        raise BadRequestError(NOT_DECODED)


async def as_meant(request: web.Request, target: bytes) -> tuple[web.Request, Handler]:
    """Give the request as if it had this target, and its handler."""
    meant_one = request.clone(rel_url=URL(target.decode("utf-8", "surrogateescape"), encoded=True))
    match = await request.app.router.resolve(meant_one)
    meant_one._match_info = match  # noqa: SLF001  (aiohttp sets it where it resolves itself)
    return meant_one, match.handler


def offers_upgrade(request: web.Request) -> bool:
    """Tell whether a client offers another protocol: aiohttp reads nothing more of its connection then."""
    return "upgrade" in request.headers
