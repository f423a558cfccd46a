"""What the slow lane makes of requests that aiohttp has read: other forms of a path, upgrades, compressed bodies."""

import zlib
from collections.abc import Awaitable, Callable

from aiohttp import web
from yarl import URL

from router.core.errors import BadRequestError, UnknownEncodingError
from router.http1.heads import Headers

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_AS_IT_IS = frozenset({"", "identity"})
_DEFLATED = frozenset({"gzip", "x-gzip", "deflate"})
_ANY_HEADER = 32 + zlib.MAX_WBITS
_NO_HEADER = -zlib.MAX_WBITS


class Decoder:
    """Decodes a body of this `content-encoding`, piece by piece. Raises UnknownEncodingError if it isn't known."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding.strip().lower()
        if self._encoding not in _AS_IT_IS | _DEFLATED:
            raise UnknownEncodingError(
                f"The request's body is compressed as {self._encoding[:100]}, which isn't read here: send it as it is, "
                "or as gzip."
            )
        self._inflater: zlib._Decompress | None = None

    def feed(self, data: bytes, most: int) -> bytes:
        """Decode the next bytes: to `most` bytes, or more where there are more. Raises BadRequestError."""
        if self._encoding in _AS_IT_IS or not data:
            return data
        if self._inflater is None:
            # Some clients send deflate without the header that it should have.
            bare = self._encoding == "deflate" and data[0] & 15 != zlib.DEFLATED
            self._inflater = zlib.decompressobj(_NO_HEADER if bare else _ANY_HEADER)
        try:
            told = self._inflater.decompress(data, most + 1)
        except zlib.error as error:
            raise self._wrong() from error
        if self._inflater.unused_data:
            raise self._wrong()
        return told

    def end(self) -> None:
        """Raise BadRequestError if the body has ended before its compression says so."""
        if self._inflater is not None and not self._inflater.eof:
            raise self._wrong()

    def _wrong(self) -> BadRequestError:
        return BadRequestError(f"The request's body isn't {self._encoding}, as its content-encoding says.")


async def as_meant(request: web.Request, target: bytes) -> tuple[web.Request, Handler]:
    """Give the request as if it had this target, and its handler."""
    meant_one = request.clone(rel_url=URL(target.decode("utf-8", "surrogateescape"), encoded=True))
    match = await request.app.router.resolve(meant_one)
    meant_one._match_info = match  # noqa: SLF001  (aiohttp sets it where it resolves itself)
    return meant_one, match.handler


async def expect(_: web.Request) -> None:
    """Don't answer `Expect: 100-continue` yet: the handler does, once it knows that it wants the body."""


def offers_upgrade(request: web.Request) -> bool:
    """Tell whether a client offers another protocol: aiohttp reads nothing more of its connection then."""
    return "upgrade" in request.headers


def authority_of(request: web.Request) -> str:
    """Give the authority in the request's target; it has one only in the form that is meant for proxies."""
    url = request._message.url  # noqa: SLF001  (what request.rel_url leaves out)
    return url.raw_authority if url.absolute else ""


def sender_of(request: web.BaseRequest) -> str:
    """Give the address of the connection's other end."""
    return (request.remote or "").removeprefix("::ffff:")


def lowered(request: web.Request) -> Headers:
    """Give a request's headers as http1.heads.Headers, with names in lower case."""
    return tuple((name.lower(), value) for name, value in request.raw_headers)
