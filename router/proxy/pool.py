"""The kept-alive connections to one backend."""

import asyncio
import errno
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

from router.core.retry import Failure
from router.proxy import resolve
from router.proxy.upstream import Connection

MAX_IDLE = 256
"""Connections kept open to a backend without a cap: as many as servers for many users work on at once, unless told."""

AT_ONCE = 8
"""Connections that are made ahead of need at a time: a server that has a short queue of them drops no more."""

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a backend listens. `base` is what its URL has before /v1, such as "/llm", or nothing."""

    host: str
    port: int
    tls: bool = False
    base: str = ""

    @classmethod
    def of(cls, url: str) -> "Address":
        """Read a backend's URL; a /v1 at its end, as OpenAI's clients are given it, means the same without."""
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


class Pool:
    """Connections to one address, the one used last given out first: it is the least likely to be stale.

    `connect_timeout` is in seconds. `api_key` is what the backend there wants to be shown. `base`, `host_line` and
    `credentials` are what each request's head has of them, serialised.
    """

    def __init__(
        self, address: Address, connect_timeout: float, names: resolve.Names, api_key: str | None = None
    ) -> None:
        self.address = address
        self._names = names
        self.base = address.base.encode("ascii")
        self.host_line = b"host: %s\r\n" % address.authority
        self.credentials = b"authorization: Bearer %s\r\n" % api_key.encode() if api_key else b""
        self._connect_timeout = connect_timeout
        self._tls = ssl.create_default_context() if address.tls else None
        self._idle: list[Connection] = []
        self._all: set[Connection] = set()
        self._closed = False
        self.most_idle = MAX_IDLE  # connections kept while no request uses them
        self.ahead = 0  # connections to have open before they are needed; see `warm`
        self._warming: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Pool {self.address}: {len(self._idle)} idle of {len(self._all)}>"

    @property
    def open(self) -> int:
        """How many there are, idle or not."""
        return len(self._all)

    def take(self) -> Connection | None:
        """Take an idle connection, if there is one."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return None

    async def connect(self) -> Connection:
        """Make a fresh connection. Raises ConnectError."""
        address, patience = self.address, self._connect_timeout
        try:
            async with asyncio.timeout(patience):
                _, connection = await resolve.connect(
                    self._names,
                    lambda: Connection(self._keep, self._forget),
                    address.host,
                    address.port,
                    self._tls,
                    patience * 0.8,
                )
        except TimeoutError as error:
            self._names.doubt(address.host)
            raise ConnectError(Failure.CONNECT_TIMEOUT, f"{address} in {self._connect_timeout:g} s") from error
        except resolve.UnknownNameError as error:
            raise ConnectError(Failure.UNKNOWN, str(error)) from error
        except (OSError, UnicodeError) as error:  # refused, no such host, a certificate that isn't trusted, …
            no_files = isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE}
            raise ConnectError(Failure.NO_FILES if no_files else Failure.REFUSED, f"{address}: {error}") from error
        if connection.usable:  # else it was closed as soon as it was made, which `made` tells
            self._all.add(connection)
        return connection

    def made(self, connecting: "asyncio.Task[Connection]") -> Connection:
        """Give the connection that `connect` made. Raises ConnectError, also where it has been closed again by now."""
        connection = connecting.result()
        if not connection.usable:
            raise ConnectError(Failure.CLOSED, f"{self.address} closed the connection as soon as it was made")
        return connection

    def _keep(self, connection: Connection) -> None:
        if self._closed or len(self._idle) >= self.most_idle:
            connection.abort()
        else:
            self._idle.append(connection)

    def _forget(self, connection: Connection) -> None:
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def warm(self, most: int) -> None:
        """Have `ahead` connections open, busy ones counted, but no more than `most`.

        A server that accepts one connection a turn of its loop takes seconds to accept hundreds once it is busy.
        """
        if self._warming is None and len(self._all) < min(self.ahead, most) and not self._closed:
            self._warming = asyncio.get_running_loop().create_task(self._warm(min(self.ahead, most)))

    async def _warm(self, most: int) -> None:
        try:
            while (missing := most - len(self._all)) > 0 and not self._closed:
                made = await asyncio.gather(
                    *[self.connect() for _ in range(min(missing, AT_ONCE))], return_exceptions=True
                )
                for each in made:
                    if not isinstance(each, Connection) or not each.usable:
                        return  # the next request tells of it, or the next probe
                    each.rest()
                    self._keep(each)
        finally:
            self._warming = None

    def close(self) -> None:
        """Close the idle connections now, and each busy one when its answer has ended."""
        self._closed = True
        if self._warming is not None:
            self._warming.cancel()
        for connection in list(self._idle):
            connection.abort()
