"""A queued request: its place in the queue, what its client is told there, and what that promised it.

    no backend has room → a ticket → (the client is told its place, now and then) → a backend has room: it goes

A streaming client that waits for long is told how many are before it, and with the first such comment it gets the head
of a stream: a promise. From there on all that it gets is a part of this stream: of the engine's own stream the body
alone, and of anything else an event that tells the error.
"""

from contextlib import suppress
from typing import TYPE_CHECKING

from router.core import errors, exchange
from router.core.errors import ModelNotFoundError
from router.http1.bodies import chunk
from router.http1.heads import status_line
from router.proxy.roles import Queued

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.core.catalog import Backend, Candidate, Way
    from router.core.errors import RouterError
    from router.core.turns import Ticket
    from router.proxy.heads import ResponseHead
    from router.proxy.plane import Plane
    from router.proxy.roles import UnderWay
    from router.proxy.sink import Sink

TELL_EVERY = 5.0
"""Seconds that a streaming client waits in the queue until it is told its place, and until it is told again."""

_STREAMS = ("/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses")
"""APIs whose streams are events, whatever the engine."""

_MOST_REFUSAL = 64 * 1024  # bytes that are read of an engine's error

_STREAM_HEAD = (
    status_line(200)
    + b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\ntransfer-encoding: chunked\r\n"
)


class Waiting(Queued):
    """Made when an exchange has to wait; it is its ticket's payload. `lines` go with the head of a promised stream.

    Raises QueueFullError, where it may not even wait.
    """

    def __init__(
        self, exchange: "UnderWay", plane: "Plane", sink: "Sink", way: "Way", queue: str, lines: bytes
    ) -> None:
        super().__init__(exchange, way)
        self.waited = 0.0  # seconds, once it has gone
        self.promised = False  # whether the client has the head of a stream
        self.refuses = False  # whether it was promised one, and the engine gave anything else
        self._plane = plane
        self._sink = sink
        self._lines = lines
        self._told_at = 0.0  # when the client was last told
        self._said = b""  # the beginning of what the engine gave instead
        self._head: ResponseHead | None = None  # of that
        self._catalog = plane.catalog  # that the way is of
        self._ticket: Ticket[Queued] | None = None
        self.enter(way, queue)

    # In the queue

    def enter(self, way: "Way", queue: str) -> None:
        """Wait, at first or once more. Raises QueueFullError."""
        self.way = way
        self._ticket = self._plane.wait(self, way, queue)

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
            with suppress(ModelNotFoundError):  # its route is no more; it may still go where that led
                self.way = catalog.resolve(self.request.model)
        return self.way

    def look(self, now: float) -> None:
        """Wait no longer, if there is nobody left who could come to serve it."""
        if self._ticket is None:
            return
        way, plane, model = self._now(), self._plane, self.request.model
        if plane.dispatcher.may_wait(way) or plane.may_learn(now):
            return
        error: RouterError = exchange.nobody(model, way)
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
        """Tell whether the client should hear of its place: one that streams, and has waited for long."""
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
        words = chunk(b": queued, %d before you\n\n" % ahead)
        if not self.promised:
            self.promised = True
            request_id = self.request.id.encode("ascii")
            words = b"%sx-request-id: %s\r\n%s\r\n%s" % (_STREAM_HEAD, request_id, self._lines, words)
        elif self._sink.unsent():
            return  # it hasn't taken the last yet
        self._sink.write(words)

    # What was promised

    def gather(self, head: "ResponseHead") -> "Callable[[bytes], None]":
        """Refuse an answer that is no stream, when all of it is here; give what takes its bytes."""
        self.refuses, self._head = True, head
        return self._gather

    def _gather(self, data: bytes) -> None:
        self._said += data
        if len(self._said) >= _MOST_REFUSAL:
            self.refuse()

    def refuse(self) -> None:
        """Tell the client what the engine said instead of a stream."""
        assert self._head is not None  # noqa: S101  (`gather` has it)
        self.exchange.break_off(errors.refusal(self._head.status, self._said[:_MOST_REFUSAL]), "answered")

    def break_off(self, error: "RouterError") -> None:
        """Say why there is no more, as an event: the stream doesn't end as if it were whole."""
        self._sink.write(chunk(errors.event(error, self.request.head.path)))
        self._sink.hang_up()
