"""Who may wait, for how long, and who goes where there is room: a bounded queue for each model. Pure.

A request that finds room where nobody waits goes at once, and never comes here: `is_empty` and `keeps` are a look-up
each. Else it gets a `Ticket`; whenever a backend has room, `take` tells who goes there, by turns (`router.core.turns`).

While the ticket whose turn it is is too large for the room that a backend has, others may pass it; but after
`_TOO_SMALL` such offers the backend that made the last is kept for it. All other backends go on. An idle backend has
room for any (`Cap`), so it waits for what is in flight there, and for no more.

A queue that is full makes room for a newcomer whose claim is better: of a class before the last that waits, or, within
that, of a key that has fewer there for its weight. Then the newest ticket of the key that has most in the last class
has to go, so that nobody shuts out others by asking much.

Nothing here outlives its tickets: with a queue's last one go its classes, its keys, and what was measured of it.
"""

from collections import OrderedDict
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from itertools import islice
from math import inf
from typing import Generic, TypeVar

from router.core.errors import QueueFullError, QueueTimeoutError, RouterError
from router.core.turns import Queue, Ticket

T = TypeVar("T")

CLASSES = 10
"""Priorities from `-CLASSES` to `CLASSES` are told apart; those beyond count as the nearest."""

_TOO_SMALL = 8  # offers of too little room, after which a backend is kept
_LOOKS = 32  # tickets that are asked, at one offer, whether they can go
_LIGHTEST = 0.01  # a lower weight counts as this: a turn is never more than a hundred others' away


@dataclass(frozen=True, slots=True)
class Cap:
    """How much a backend may have in flight: requests, and bytes of their bodies."""

    requests: float = inf
    size: float = inf

    def room(self, requests: float, size: float) -> float:
        """Tell how many bytes may join those in flight, as one request; below 0: none, not even an empty one."""
        if requests >= self.requests:
            return -1.0
        return self.size - size if requests else inf


UNBOUNDED = Cap()


@dataclass(frozen=True, slots=True)
class Bounds:
    """What bounds the waiting, and who waits how long. A key that `weights` doesn't name weighs 1."""

    max_queue: int = 512  # tickets for each model
    max_queue_bytes: float = 256 * 1024 * 1024  # of the waiting requests of all models; one alone may be larger
    queue_timeout: float = 60.0  # seconds
    ageing: int = 8  # each so many-th turn goes to the class that has waited longest for one
    weights: Mapping[str, float] = field(default_factory=dict)

    def weight(self, key: str) -> float:
        """Give the share of a key's turns, beside the others'."""
        return max(_LIGHTEST, self.weights.get(key, 1.0))


Refused = tuple[Ticket[T], RouterError]
"""Who waits no longer, and what its client is to be told."""


class Admission(Generic[T]):
    """The queues of all models. `T` is what the caller keeps for each request that waits.

    `bounds` may be replaced at any time, for those who wait, too; only a key's weight counts from its next line on.
    """

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.size = 0  # bytes of all that wait
        self._queues: OrderedDict[str, Queue[T]] = OrderedDict()  # by their latest turn, the oldest first
        self._waiting: OrderedDict[Ticket[T], None] = OrderedDict()  # by their entry
        self._kept: dict[str, Ticket[T]] = {}  # by the backend's name

    def __len__(self) -> int:
        return len(self._waiting)

    # Who waits

    def is_empty(self, model: str) -> bool:
        """Tell whether nobody waits for a model: then whoever finds room may go at once."""
        return model not in self._queues

    def keeps(self, backend: str) -> bool:
        """Tell whether a backend's room is kept for one who waits: then nobody else may be sent there."""
        return backend in self._kept

    def waiting(self, model: str) -> int:
        """Tell how many wait for a model."""
        queue = self._queues.get(model)
        return 0 if queue is None else queue.waiting

    def models(self) -> tuple[str, ...]:
        """Name the models that are waited for; the one whose latest turn was longest ago comes first."""
        return tuple(self._queues)

    def order(self, model: str) -> list[Ticket[T]]:
        """Give all that wait for a model, who would go next first: if nobody came, all fitted, and none aged."""
        queue = self._queues.get(model)
        return [] if queue is None else queue.order()

    # Who comes

    def enter(
        self, model: str, payload: T, key: str, priority: int, size: int, now: float, pace: float = 0.0
    ) -> tuple[Ticket[T], Refused[T] | None]:
        """Let a request wait; the second is who had to go for it, if anybody had.

        `pace` counts for who comes first: in how many seconds one is believed to go, 0 where nothing is known. Raises
        QueueFullError, where nobody had to go.
        """
        bounds = self.bounds
        ticket = Ticket(model, payload, key, max(-CLASSES, min(CLASSES, priority)), size, now)
        queue = self._queues.get(model)
        refused: Refused[T] | None = None
        if not self._has_room(ticket, None):
            error = self._full(model, now)
            weakest = None if queue is None else queue.weakest(ticket, bounds.weight(key))
            if weakest is None or not self._has_room(ticket, weakest):
                raise error
            self.leave(weakest)
            refused = weakest, error
            queue = self._queues.get(model)
        if queue is None:
            queue = self._queues[model] = Queue(now, pace)
        queue.add(ticket, bounds.weight(key))
        self._waiting[ticket] = None
        self.size += size
        return ticket, refused

    def _has_room(self, ticket: Ticket[T], without: Ticket[T] | None) -> bool:
        """Tell whether a ticket may join those that wait, or all of them but one."""
        waiting, size = self.waiting(ticket.model), self.size
        if without is not None:
            waiting, size = waiting - 1, size - without.size
        bounds = self.bounds
        return waiting < bounds.max_queue and (size == 0 or size + ticket.size <= bounds.max_queue_bytes)

    def _full(self, model: str, now: float) -> QueueFullError:
        queue = self._queues.get(model)
        seconds = 1 if queue is None else queue.retry_after(now)
        return QueueFullError(f"Too many requests wait for '{model}'. Try again in {seconds} s.", retry_after=seconds)

    # Who goes

    def take(
        self, backend: str, models: Container[str], room: float, now: float, may: Callable[[Ticket[T]], bool]
    ) -> Ticket[T] | None:
        """Let go who is next at a backend with `room` (see `Cap`) that serves `models`; None, where nobody can go.

        `may` tells whether a ticket may be sent there at all, whatever the room; most do. Ask again until it's None:
        there may be room for more. One whose time is up may go too, until `expired` is asked: better late than never.
        """
        if room < 0:
            return None
        kept = self._kept.get(backend)
        if kept is not None:
            return self._go(kept, now) if kept.size <= room else None
        for model, queue in self._queues.items():
            if model in models:
                ticket = self._choose(queue, backend, room, may)
                if ticket is not None:
                    return self._go(ticket, now)
                if self._kept and backend in self._kept:
                    return None
        return None

    def _choose(self, queue: Queue[T], backend: str, room: float, may: Callable[[Ticket[T]], bool]) -> Ticket[T] | None:
        """Find the first in turn that can go; keep the backend for one that was offered too little room too often."""
        first = True
        for ticket in islice(queue.in_turn(self.bounds.ageing), _LOOKS):
            if not may(ticket):
                continue
            if ticket.size <= room:
                return ticket
            if first and not ticket.kept_at:
                ticket.offers += 1
                if ticket.offers >= _TOO_SMALL:
                    ticket.kept_at = backend
                    self._kept[backend] = ticket
                    return None
            first = False
        return None

    def _go(self, ticket: Ticket[T], now: float) -> Ticket[T]:
        self._queues[ticket.model].charge(ticket, now)
        self._queues.move_to_end(ticket.model)
        self.leave(ticket)
        return ticket

    def forget(self, backend: str) -> None:
        """Keep a backend for nobody: it went down, or serves other models. Its ticket is offered others."""
        ticket = self._kept.pop(backend, None)
        if ticket is not None:
            ticket.kept_at = ""

    # Who leaves

    def leave(self, ticket: Ticket[T]) -> None:
        """Forget a ticket whose client left; one that doesn't wait any more is left alone."""
        if ticket not in self._waiting:
            return
        del self._waiting[ticket]
        self.size -= ticket.size
        if ticket.kept_at:
            del self._kept[ticket.kept_at]
        queue = self._queues[ticket.model]
        queue.remove(ticket)
        if not queue.waiting:
            del self._queues[ticket.model]

    def expired(self, now: float) -> list[Refused[T]]:
        """Let go of all that have waited for too long, at the cost of a look at the one that waits longest."""
        refused: list[Refused[T]] = []
        while self._waiting:
            ticket = next(iter(self._waiting))
            waited = now - ticket.entered
            if waited < self.bounds.queue_timeout:
                break
            seconds = self._queues[ticket.model].retry_after(now)
            sentence = f"No backend of '{ticket.model}' had room within {waited:.0f} s. Try again in {seconds} s."
            refused.append((ticket, QueueTimeoutError(sentence, retry_after=seconds)))
            self.leave(ticket)
        return refused
