"""The kept-alive connections to one backend."""

import asyncio
from collections.abc import Coroutine

from router.core.retry import Failure
from router.proxy import resolve
from router.proxy.dialling import Address, ConnectError, dial, dial_ahead
from router.proxy.upstream import Connection

MAX_IDLE = 256
"""Idle connections kept to a backend without a cap: as many as servers for many users work on at once by default."""


class Pool:
    """Connections to one address. The one used last is given out first: it is the least likely to be stale.

    `connect_timeout` is in seconds. `api_key` is the key that the backend wants to see. `base`, `host_line` and
    `credentials` are the serialised parts of each request's head; unless it `is_plain`, `adapted` gives the others.
    Another router is told the id `hop` of this one. `most_idle` is how many connections are kept while no request uses
    them, and `ahead` how many are opened before requests need them; see `warm`.
    """

    def __init__(
        self, address: Address, connect_timeout: float, names: resolve.Names, api_key: str | None = None
    ) -> None:
        self.address = address
        self._names = names
        self.base = address.root.encode("ascii") if address.is_plain else b""
        self.is_plain = address.is_plain
        own = b"".join(b"%s: %s\r\n" % (name.encode(), value.encode()) for name, value in address.headers)
        self._own = tuple(b"%s:" % name.encode() for name, _ in address.headers)
        self.hop = address.hop.encode("ascii")
        self.host_line = b"host: %s\r\n" % address.authority
        self.credentials = b"authorization: Bearer %s\r\n" % api_key.encode() if api_key else b""
        # A client's own key is for a backend that is shown no other.
        if self.credentials or address.shows_key:
            self.credentials += own
        else:
            self.host_line += own
        self._connect_timeout = connect_timeout
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

    def adapted(self, target: bytes, lines: bytes) -> tuple[bytes, bytes]:
        """Give a client's target and header lines as this backend is to have them."""
        if self._own:
            kept = [line for line in lines.splitlines(keepends=True) if not line.startswith(self._own)]
            lines = b"".join(kept)
        return self.address.target(target.decode("ascii")).encode("ascii"), lines

    def take(self) -> Connection | None:
        """Take an idle connection; None if there is none."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return None

    def connect(self) -> Coroutine[object, object, Connection]:
        """Open a new connection. The awaited raises ConnectError."""
        return dial(self.address, lambda: Connection(self._keep, self._forget), self._names, self._connect_timeout)

    def made(self, connecting: "asyncio.Task[Connection]") -> Connection:
        """Give the connection that `connect` made. Raises ConnectError, also if it has been closed by now."""
        connection = connecting.result()
        if not connection.usable:
            raise ConnectError(Failure.CLOSED, f"{self.address} closed the connection as soon as it was made")
        self._all.add(connection)
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
            most = min(self.ahead, most)
            warming = dial_ahead(lambda: 0 if self._closed else most - len(self._all), self.connect, self._keep_ahead)
            self._warming = asyncio.get_running_loop().create_task(warming)
            self._warming.add_done_callback(self._warmed)

    def _keep_ahead(self, connection: Connection) -> None:
        self._all.add(connection)
        connection.rest()
        self._keep(connection)

    def _warmed(self, _: object) -> None:
        self._warming = None

    def close(self) -> None:
        """Close the idle connections now, and each busy one once its answer has ended."""
        self._closed = True
        if self._warming is not None:
            self._warming.cancel()
        for connection in list(self._idle):
            connection.abort()
