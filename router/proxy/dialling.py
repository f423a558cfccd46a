"""Opens connections to backends. Not compiled, as what awaits: compiled coroutines throw in a way that is deprecated.

Python 3.12 warns of it, and a later one will refuse it. A connection is opened once for many requests, so that the
compiler would gain nothing here.
"""

import asyncio
import errno
import re
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from router.core.retry import Failure
from router.proxy import resolve
from router.proxy.upstream import Connection
from router.telemetry import unreached
from router.tls.faults import MAY_WANT, TlsError, why_not
from router.tls.trust import SYSTEM, Trust, context_of

AT_ONCE = 8
"""Connections opened ahead of need at the same time: few enough for a server with a short listen queue."""

_CUT = frozenset({errno.EPIPE, errno.ECONNRESET})
_PORTS = {"http": 80, "https": 443}
_V1 = "/v1"
_SHOWS_KEY = re.compile(r"key|token|secret|auth|passw|cookie|credential|signature")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a backend listens, and what each request there has beside what its client sent.

    `base` stands there for the /v1 of clients' paths: "/openai/v1", or "/inference". `query` is added to each target,
    and `headers` to each head; their names are in lower case. With `tls`, `trust` says who may answer. `hop` is this
    router's id, which another router is told.
    """

    host: str
    port: int
    tls: bool = False
    base: str = _V1
    query: str = field(default="", repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    trust: Trust = SYSTEM
    hop: str = ""

    @classmethod
    def of(
        cls, url: str, headers: Mapping[str, str] | None = None, trust: Trust = SYSTEM, *, hop: str = ""
    ) -> "Address":
        """Read a backend's URL. Its path is the base; without one, /v1 is."""
        parts = urlsplit(url)
        port, base = parts.port or _PORTS[parts.scheme], parts.path.rstrip("/") or _V1
        more = tuple((headers or {}).items())
        return cls(parts.hostname or "", port, parts.scheme == "https", base, parts.query, more, trust, hop)

    def __str__(self) -> str:
        return f"{self._place}{self.root}"

    @property
    def _place(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    @property
    def root(self) -> str:
        """The path below which stands what has no /v1, such as /health: the base without a /v1 at its end."""
        return self.base.removesuffix(_V1)

    @property
    def is_plain(self) -> bool:
        """Whether a client's target and headers are right there as they are, behind the root."""
        return self.base.endswith(_V1) and not self.query and not self.headers and not self.hop

    @property
    def shows_key(self) -> bool:
        """Whether one of the headers is a key by its name."""
        return any(_SHOWS_KEY.search(name) for name, _ in self.headers)

    def target(self, asked: str) -> str:
        """Give the target there of a path of clients, with its query. What the URL's query says counts."""
        path, _, query = asked.partition("?")
        path = f"{self.base}{path[len(_V1) :]}" if path.startswith("/v1/") else f"{self.root}{path}"
        if not self.query:
            return f"{path}?{query}" if query else path
        said = {part.partition("=")[0] for part in self.query.split("&")}
        kept = [part for part in query.split("&") if part and part.partition("=")[0] not in said]
        return f"{path}?{'&'.join([*kept, self.query])}"

    def url(self, asked: str) -> str:
        """Give the URL of a path there, as `target` does."""
        return f"{self._place}{self.target(asked)}"

    @property
    def secured(self) -> dict[str, Any]:
        """What aiohttp's client has to know for a request there. Raises TlsError."""
        return {"ssl": context_of(self.trust), "server_hostname": self.trust.name or None} if self.tls else {}

    def fault(self, error: Exception) -> str:
        """Say what an error of a request there shows; a server may also close instead of telling what is wrong."""
        if why := why_not(error):
            return why
        said = unreached.reason(error) if isinstance(error, aiohttp.ClientConnectorError) else str(error)
        said = said or type(error).__name__
        cut = isinstance(error, aiohttp.ServerDisconnectedError) or getattr(error, "errno", None) in _CUT
        return f"{said}; {MAY_WANT}" if cut and self.tls else said

    @property
    def authority(self) -> bytes:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}".encode("idna" if not host.isascii() else "ascii")


class ConnectError(Exception):
    """No connection could be made; `failure` says how."""

    def __init__(self, failure: Failure, detail: str) -> None:
        super().__init__(detail)
        self.failure = failure


async def dial(
    address: Address,
    make: Callable[[], Connection],
    names: resolve.Names,
    patience: float,
) -> Connection:
    """Open a connection, within `patience` seconds; it may be closed again when it is here. Raises ConnectError."""
    try:
        async with asyncio.timeout(patience):
            tls = context_of(address.trust) if address.tls else None
            place, within, name = (address.host, address.port), patience * 0.8, address.trust.name
            _, connection = await resolve.connect(names, make, *place, tls, within, name)
            return connection
    except TimeoutError as error:
        names.doubt(address.host)
        raise ConnectError(Failure.CONNECT_TIMEOUT, f"{address} in {patience:g} s") from error
    except resolve.UnknownNameError as error:
        raise ConnectError(Failure.UNKNOWN, str(error)) from error
    except (OSError, UnicodeError) as error:
        raise ConnectError(_failure_of(error), f"{address}: {why_not(error) or error}") from error


def _failure_of(error: Exception) -> Failure:
    """Tell refused connections from those whose other side isn't trusted, or whose handshake failed."""
    if isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE}:
        return Failure.NO_FILES
    if isinstance(error, ssl.SSLCertVerificationError):
        return Failure.UNTRUSTED
    return Failure.INSECURE if isinstance(error, TlsError) or why_not(error) else Failure.REFUSED


async def dial_ahead(
    missing: Callable[[], int],
    connect: Callable[[], Awaitable[Connection]],
    keep: Callable[[Connection], None],
) -> None:
    """Open connections until none is `missing`, or until one can't be opened."""
    while (wanted := missing()) > 0:
        made = await asyncio.gather(*[connect() for _ in range(min(wanted, AT_ONCE))], return_exceptions=True)
        for each in made:
            if not isinstance(each, Connection) or not each.usable:
                # The next request reports the failure, or the next probe.
                return
            keep(each)
