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
"""Idle connections kept to a backend without a cap: as many as servers for many users work on at once by default."""

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


class Pool:
    """Connections to one address. The one used last is given out first: it is the least likely to be stale.

    `connect_timeout` is in seconds. `api_key` is the key that the backend wants to see. `base`, `host_line` and
    `credentials` are the serialised parts of each request's head. `most_idle` is how many connections are kept while no
    request uses them, and `ahead` how many are opened before requests need them; see `warm`.
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
        self.most_idle = MAX_IDLE
        self.ahead = 0
        self._warming: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Pool {self.address}: {len(self._idle)} idle of {len(self._all)}>"

    @property
    def open(self) -> int:
        """How many connections there are, idle or not."""
        return len(self._all)

    def take(self) -> Connection | None:
        """Take an idle connection; None if there is none."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return None

    async def connect(self) -> Connection:
        """Open a new connection. Raises ConnectError."""
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
        except (OSError, UnicodeError) as error:
            # Refused, no such host, a certificate that isn't trusted, …
            no_files = isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE}
            raise ConnectError(Failure.NO_FILES if no_files else Failure.REFUSED, f"{address}: {error}") from error
        # One that was closed as soon as it was made is reported by `made`.
        if connection.usable:
            self._all.add(connection)
        return connection

    def made(self, connecting: "asyncio.Task[Connection]") -> Connection:
        """Give the connection that `connect` made. Raises ConnectError, also if it has been closed by now."""
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
        """Open connections until there are `ahead`, busy ones included, but no more than `most`.

        A server that accepts one connection in each turn of its loop takes seconds to accept hundreds once it is busy.
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
                        # The next request reports the failure, or the next probe.
                        return
                    each.rest()
                    self._keep(each)
        finally:
            self._warming = None

    def close(self) -> None:
        """Close the idle connections now, and each busy one once its answer has ended."""
        self._closed = True
        if self._warming is not None:
            self._warming.cancel()
        for connection in list(self._idle):
            connection.abort()
