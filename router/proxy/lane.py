"""What all connections of the fast lane share, and the look at all of them."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from router.core.errors import RouterError
from router.proxy.plane import Plane
from router.proxy.requests import Rules, address_of, error_answer
from router.telemetry.tasks import unharmed

HIGH_WATER = 64 * 1024
"""Bytes waiting for a slow client above which its engine isn't read from."""

MAX_PIPELINED = 64 * 1024
"""Most bytes of the next requests that are kept while one is under way."""

GUEST_TIMEOUT = 1.0
"""Seconds that a connection may stay for which there is no room."""

HEALTH = (b"GET /health ", b"HEAD /health ")
"""How requests begin that are answered whether there is room or not: a router that is full is alive."""

SWEEP_EVERY = 1.5
"""Seconds between two looks at all connections."""

MOST_GUESTS = 32
"""Connections beyond `room` that may be open for a moment, so that their clients are told, and /health is answered."""


class Connection(Protocol):
    """The part of a client's connection that its lane knows (downstream.Client)."""

    @property
    def busy(self) -> bool:
        """Whether a request is under way, or comes, or the last bytes of its answer are sent."""

    def overdue(self, now: float) -> bool:
        """Whether the current state has lasted too long."""

    def give_up(self) -> None:
        """Cut a client that is overdue."""

    def refuse_unread(self, error: RouterError) -> None:
        """Refuse the request that has begun to come and isn't whole, if there is one."""

    def hang_up(self) -> None:
        """Close once all is sent."""

    def make_way(self) -> None:
        """Close at once, for another guest."""


class Lane:
    """What all connections of the fast lane share.

    `slow_lane` makes an aiohttp protocol, which calls `left` when its connection ends. `room` is how many more
    connections may be opened; those handed over to the slow lane count, too.
    """

    def __init__(
        self, plane: Plane, rules: Rules, slow_lane: Callable[[Callable[[], None]], asyncio.Protocol], room: int
    ) -> None:
        self.plane = plane
        self.rules = rules
        self.slow_lane = slow_lane
        self.room = room
        self.loop = asyncio.get_running_loop()
        self.connections: set[Connection] = set()
        # Those beyond `room`, the oldest first.
        self.guests: dict[Connection, None] = {}
        self._sweeper = self.loop.call_later(SWEEP_EVERY, self.sweep)

    def sweep(self) -> None:
        """Cut the connections that make no progress, and plan the next sweep."""
        unharmed("the look at all connections", self._cut_overdue)
        self._sweeper = self.loop.call_later(SWEEP_EVERY, self.sweep)

    def _cut_overdue(self) -> None:
        now = self.loop.time()
        self.rules.uploads.sweep(now)
        self.rules.refusals.tell(now)
        for connection in [each for each in self.connections if each.overdue(now)]:
            connection.give_up()

    @property
    def busy(self) -> bool:
        """Whether a request is under way on any connection, or comes, or the last bytes of its answer are sent."""
        return any(connection.busy for connection in self.connections)

    def refuse_unread(self, error: RouterError) -> None:
        """Refuse every request that has begun to come and isn't whole."""
        for connection in list(self.connections):
            connection.refuse_unread(error)

    def note_refusal(
        self, error: RouterError, path: str, transport: asyncio.BaseTransport, request_id: str = ""
    ) -> None:
        """Leave a trace of a request that is refused before it became an exchange."""
        self.rules.refusals.note(error, address_of(transport), path, self.loop.time(), request_id)

    def refusal(
        self,
        error: RouterError,
        path: str,
        transport: asyncio.BaseTransport,
        request_id: str,
        cors: bytes,
        *,
        keep_alive: bool = False,
    ) -> bytes:
        """Give the answer to such a request, and leave its trace; one without an id gets one."""
        request_id = request_id or self.rules.new_id()
        self.note_refusal(error, path, transport, request_id)
        return error_answer(error, path, request_id, keep_alive=keep_alive, cors=cors)

    def receive(self, guest: Connection) -> None:
        """Take a connection for which there is no room; if there are too many such, the oldest makes way."""
        if len(self.guests) >= MOST_GUESTS:
            oldest = next(iter(self.guests))
            del self.guests[oldest]
            oldest.make_way()
        self.guests[guest] = None

    def left(self) -> None:
        """Note that a connection has ended."""
        self.room += 1

    def close(self) -> None:
        """Close every connection once the bytes written to it are sent."""
        self._sweeper.cancel()
        for connection in list(self.connections):
            connection.hang_up()
