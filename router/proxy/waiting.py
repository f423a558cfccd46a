"""A queued request: its place in the queue, and what its client is told there.

    no backend has room → a ticket → (the client is told its place, now and then) → a backend has room: it goes

A streaming client that waits for long is told how many requests are before its own; or how far the load of its model
is, or that a machine is being woken, if it waits for that. The first such comment brings it the head of a stream, which
promises one (`proxy.answer`).
"""

from contextlib import suppress
from typing import TYPE_CHECKING

from router.core import retry, waking
from router.core.errors import ApiMissingError, ModelNotFoundError
from router.core.hops import LoopError
from router.core.timeline import Wait
from router.proxy.roles import Queued

if TYPE_CHECKING:
    from router.core.catalog import Backend, Candidate, Catalog, Way
    from router.core.errors import RouterError
    from router.core.turns import Ticket
    from router.proxy.plane import Plane
    from router.proxy.roles import UnderWay

TELL_EVERY = 5.0
"""Seconds that a streaming client waits in the queue until it is told its place, and until it is told again."""

TELL_OF_LOAD = 1.0
"""Seconds until a streaming client is first told of the load that it waits for: a load takes long, and it may think
that nobody is there."""

_STREAMS = ("/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses")
"""APIs whose streams are events, whatever the engine."""


class Waiting(Queued):
    """Made when an exchange has to wait; it is its ticket's payload. `lines` go into the head of a promised stream."""

    def __init__(self, exchange: "UnderWay", plane: "Plane", way: "Way", lines: bytes) -> None:
        super().__init__(exchange, way)
        self._plane = plane
        self._lines = lines
        # When the client was last told its place.
        self._told_at = 0.0
        # The catalog that `way` was found in, if it is known.
        self._catalog: Catalog | None = None

    def enter(self, way: "Way", queue: str, unfit: "tuple[Backend, ...]" = ()) -> None:
        """Wait, at first or once more, but for none that is `unfit`. Raises QueueFullError if it may not even wait."""
        # The way may be that of an attempt, which is older than the catalog.
        self.way, self._catalog, self.unfit = way, None, unfit
        way = self.way_now()
        self.ticket = self._plane.wait(self, way, queue)
        self._ask_for_load(way)
        self._see_who_wakes(way)

    def _see_who_wakes(self, way: "Way") -> None:
        """Let its time not count while a machine is woken for it, as nobody else serves; `wake_timeout` bounds that."""
        ticket, plane = self.ticket, self._plane
        if ticket is None or self.registered is not None:
            return
        backends = [each for tier in way.tiers for each, _ in tier]
        found = None if any(each.health.usable for each in backends) else waking.first(backends)
        if found is not None:
            plane.dispatcher.admission.stop_clock(ticket, plane.loop.time())
        elif self.waking is not None:
            plane.dispatcher.admission.start_clock(ticket, plane.loop.time())
        self.waking = found

    def _ask_for_load(self, way: "Way") -> None:
        loading = self._plane.loading
        if loading is not None and way.loads and self.registered is None:
            loading.wanted(self, way)

    def _forget_load(self) -> None:
        loading = self._plane.loading
        if loading is not None and self.registered is not None:
            loading.left(self)

    def candidate_at(self, backend: "Backend") -> "Candidate | None":
        """Give the name by which a backend knows what this request waits for, if it may serve it."""
        plane = self._plane
        if self.unfit and backend in self.unfit:
            return None
        return plane.dispatcher.candidate_for(self.way_now(), backend, self.exchange.ask, plane.loop.time())

    def way_now(self) -> "Way":
        """Tell what the request's name means now.

        What was reloaded meanwhile counts: a backend that has joined may be the one with room.
        """
        catalog = self._plane.catalog
        if catalog is not self._catalog:
            self._catalog, self.refused = catalog, ()
            # Without its route it may still go where that led.
            with suppress(ModelNotFoundError, ApiMissingError, LoopError):
                way, head = catalog.resolve(self.request.model), self.request.head
                self.way = self._plane.directory.able(way, head.path, None, head.hops) if head.elective else way
        return self.way

    def look(self, now: float) -> None:
        """Wait no longer, if there is nobody left who could come to serve it."""
        if self.ticket is None:
            return
        way, plane, model = self.way_now(), self._plane, self.request.model
        self._ask_for_load(way)
        # Memory refuses those whose model can't be loaded; the last of these has left.
        if self.registered is not None or self.ticket is None:
            return
        if plane.dispatcher.may_wait(way, self.unfit) or plane.may_learn(now) or plane.revive(way, sleepers=True):
            self._see_who_wakes(way)
            return
        error: RouterError = retry.nobody(model, way)
        try:
            plane.catalog.resolve(model, self.request.caller.key)
        except ModelNotFoundError as unknown:
            error = plane.directory.unknown(unknown)
        self.exchange.break_off(error, "waited for nobody")

    def go(self, candidate: "Candidate") -> None:
        """Wait no longer: this backend has room."""
        ticket, self.ticket = self.ticket, None
        if ticket is not None:
            self._note(ticket)
        if not candidate.backend.loadable:
            self._forget_load()
        self.exchange.go(self.way, candidate)

    def leave(self) -> None:
        """Wait no longer: the exchange is over."""
        if self.ticket is not None:
            self._note(self.ticket)
        self._forget_load()
        if self.ticket is not None:
            self._plane.leave(self.ticket)
            self.ticket = None

    def _note(self, ticket: "Ticket[Queued]") -> None:
        """Note a time in the queue that ends now."""
        now, began, backend = self._plane.loop.time(), self.exchange.began, self.registered or self.waking
        loading = ticket.uncounted(now)
        self.waited += now - ticket.entered
        self.uncounted += loading
        loaded = backend.name if backend is not None and loading else ""
        self.waits = (*self.waits, Wait(ticket.entered - began, now - began, loading, loaded))

    def due(self, now: float) -> bool:
        """Whether the client should hear of its place: one that streams, and has waited for long."""
        ticket, request = self.ticket, self.request
        return (
            ticket is not None
            and now >= self._tell_at(ticket.entered)
            and request.stream
            and request.http11
            and request.head.path in _STREAMS
        )

    def _tell_at(self, entered: float) -> float:
        loading = self._plane.loading
        if self._told_at <= entered and (self.waking or (loading is not None and loading.is_awaited(self))):
            return entered + TELL_OF_LOAD
        return max(entered, self._told_at) + TELL_EVERY

    def tell(self, ahead: int, now: float) -> None:
        """Tell the client how many are before it, or of the load: in a comment, which readers of events pass over."""
        self._told_at = now
        loading = self._plane.loading
        words = None if loading is None else loading.words(self, now)
        if words is None and self.waking is not None:
            words = waking.comment(self.waking, now)
        self.exchange.answer.tell_place(words or b"queued, %d before you" % ahead, self._lines)

    def told(self, now: float) -> dict[str, object] | None:
        """Describe the load, or the machine, that it waits for; None: it waits for neither."""
        loading = self._plane.loading
        told = None if loading is None else loading.told(self, now)
        return waking.told(self.waking, now) if told is None and self.waking is not None else told
