"""What all connections of the fast lane share, and the look at all of them."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from router.core.errors import RouterError
from router.proxy.plane import Plane
from router.proxy.requests import Rules
from router.telemetry.tasks import unharmed

SWEEP_EVERY = 1.5
"""Seconds between two looks at all connections."""


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
        self._sweeper = self.loop.call_later(SWEEP_EVERY, self.sweep)

    def sweep(self) -> None:
        """Cut the connections that make no progress, and plan the next sweep."""
        unharmed("the look at all connections", self._cut_overdue)
        self._sweeper = self.loop.call_later(SWEEP_EVERY, self.sweep)

    def _cut_overdue(self) -> None:
        now = self.loop.time()
        self.rules.uploads.sweep(now)
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

    def left(self) -> None:
        """Note that a connection has ended."""
        self.room += 1

    def close(self) -> None:
        """Close every connection once the bytes written to it are sent."""
        self._sweeper.cancel()
        for connection in list(self.connections):
            connection.hang_up()
