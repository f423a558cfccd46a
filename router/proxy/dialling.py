"""Opens connections to backends. Not compiled, as what awaits: compiled coroutines throw in a way that is deprecated.

Python 3.12 warns of it, and a later one will refuse it. A connection is opened once for many requests, so that the
compiler would gain nothing here.
"""

import asyncio
import errno
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from router.core.retry import Failure
from router.proxy import resolve
from router.proxy.upstream import Connection

AT_ONCE = 8
"""Connections opened ahead of need at the same time: few enough for a server with a short listen queue."""

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a backend listens. `base` is its URL's path before /v1, such as "/llm"; it may be empty."""

    host: str
    port: int
    tls: bool = False
    base: str = ""

    @classmethod
    def of(cls, url: str) -> "Address":
        """Read a backend's URL. A /v1 at its end, as OpenAI's clients expect it, makes no difference."""
        parts = urlsplit(url)
        base = parts.path.rstrip("/").removesuffix("/v1")
        return cls(parts.hostname or "", parts.port or _PORTS[parts.scheme], parts.scheme == "https", base)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{self.base}"

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
    tls: ssl.SSLContext | None,
    patience: float,
) -> Connection:
    """Open a connection, within `patience` seconds; it may be closed again when it is here. Raises ConnectError."""
    try:
        async with asyncio.timeout(patience):
            _, connection = await resolve.connect(names, make, address.host, address.port, tls, patience * 0.8)
            return connection
    except TimeoutError as error:
        names.doubt(address.host)
        raise ConnectError(Failure.CONNECT_TIMEOUT, f"{address} in {patience:g} s") from error
    except resolve.UnknownNameError as error:
        raise ConnectError(Failure.UNKNOWN, str(error)) from error
    except (OSError, UnicodeError) as error:
        # Refused, no such host, a certificate that isn't trusted, …
        no_files = isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE}
        raise ConnectError(Failure.NO_FILES if no_files else Failure.REFUSED, f"{address}: {error}") from error


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
