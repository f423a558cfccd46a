"""A queued request: its place in the queue, and what its client is told there.

    no backend has room → a ticket → (the client is told its place, now and then) → a backend has room: it goes

A streaming client that waits for long is told how many requests are before its own. The first such comment brings it
the head of a stream, which promises one (`proxy.answer`).
"""

from contextlib import suppress
from typing import TYPE_CHECKING

from router.core import retry
from router.core.errors import ModelNotFoundError
from router.proxy.roles import Queued

if TYPE_CHECKING:
    from router.core.catalog import Backend, Candidate, Catalog, Way
    from router.core.errors import RouterError
    from router.core.turns import Ticket
    from router.proxy.plane import Plane
    from router.proxy.roles import UnderWay

TELL_EVERY = 5.0
"""Seconds that a streaming client waits in the queue until it is told its place, and until it is told again."""

_STREAMS = ("/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses")
"""APIs whose streams are events, whatever the engine."""


class Waiting(Queued):
    """Made when an exchange has to wait; it is its ticket's payload. `lines` go into the head of a promised stream.

    Raises QueueFullError if it may not even wait.
    """

    def __init__(self, exchange: "UnderWay", plane: "Plane", way: "Way", queue: str, lines: bytes) -> None:
        super().__init__(exchange, way)
        self._plane = plane
        self._lines = lines
        # When the client was last told its place.
        self._told_at = 0.0
        # The catalog that `way` was found in, if it is known.
        self._catalog: Catalog | None = None
        self._ticket: Ticket[Queued] | None = None
        self.enter(way, queue)

    def enter(self, way: "Way", queue: str) -> None:
        """Wait, at first or once more. Raises QueueFullError."""
        # The way may be that of an attempt, which is older than the catalog.
        self.way, self._catalog = way, None
        self._ticket = self._plane.wait(self, self._now(), queue)

    def candidate_at(self, backend: "Backend") -> "Candidate | None":
        """Give the name by which a backend knows what this request waits for, if it may serve it."""
        plane = self._plane
        return plane.dispatcher.candidate_for(self._now(), backend, self.exchange.ask, plane.loop.time())

    def _now(self) -> "Way":
        """Tell what the request's name means now.

        What was reloaded meanwhile counts: a backend that has joined may be the one with room.
        """
        catalog = self._plane.catalog
        if catalog is not self._catalog:
            self._catalog = catalog
            # Without its route it may still go where that led.
            with suppress(ModelNotFoundError):
                self.way = catalog.resolve(self.request.model)
        return self.way

    def look(self, now: float) -> None:
        """Wait no longer, if there is nobody left who could come to serve it."""
        if self._ticket is None:
            return
        way, plane, model = self._now(), self._plane, self.request.model
        if plane.dispatcher.may_wait(way) or plane.may_learn(now):
            return
        error: RouterError = retry.nobody(model, way)
        try:
            plane.catalog.resolve(model)
        except ModelNotFoundError as unknown:
            error = unknown
        self.exchange.break_off(error, "waited for nobody")

    def go(self, candidate: "Candidate") -> None:
        """Wait no longer: this backend has room."""
        if self._ticket is not None:
            self.waited += self._plane.loop.time() - self._ticket.entered
            self._ticket = None
        self.exchange.go(self.way, candidate)

    def leave(self) -> None:
        """Wait no longer: the exchange is over."""
        if self._ticket is not None:
            self._plane.leave(self._ticket)
            self._ticket = None

    @property
    def queue(self) -> str:
        """The queue that it waits in; empty: none any more."""
        return "" if self._ticket is None else self._ticket.model

    def due(self, now: float) -> bool:
        """Whether the client should hear of its place: one that streams, and has waited for long."""
        ticket, request = self._ticket, self.request
        return (
            ticket is not None
            and now >= max(ticket.entered, self._told_at) + TELL_EVERY
            and request.stream
            and request.http11
            and request.head.path in _STREAMS
        )

    def tell(self, ahead: int, now: float) -> None:
        """Tell the client how many are before it, in a comment that every reader of events passes over."""
        self._told_at = now
        self.exchange.answer.tell_place(ahead, self._lines)
