"""The queue of each model: which requests may wait, for how long, and which is sent when a backend has room. Pure.

A request that finds room while nobody waits is sent at once and never comes here: `is_empty` and `keeps` are one
look-up each. Any other request gets a `Ticket`. Whenever a backend has room, `take` picks the ticket that is sent
there, by turns (`router.core.turns`).

If the ticket whose turn it is is too large for a backend's room, others may pass it. After `_TOO_SMALL` such offers,
the backend that made the last one is kept for it; all other backends go on. An idle backend has room for any request
(`Cap`), so the ticket waits at most until the requests in flight there have ended.

A full queue makes room for a newcomer with a better claim: one of a class before the last class that waits, or of a
key that has fewer tickets for its weight within that class. Then the newest ticket of the key with the most tickets in
the last class is refused. So no client shuts out others by sending many requests.

A request that waits for a model to be loaded waits for as long as that takes: its clock is stopped (`stop_clock`), and
begins anew when the model is there.

Nothing outlives its tickets: with its last ticket, a queue's classes, keys and measurements are gone.
"""

from collections import OrderedDict
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from math import inf
from typing import Generic, TypeVar

from router.core.errors import QueueFullError, QueueTimeoutError, RouterError
from router.core.turns import Queue, Ticket

T = TypeVar("T")

CLASSES = 10
"""Priorities range from `-CLASSES` to `CLASSES`; others count as the nearest of these."""

_TOO_SMALL = 8
"""Offers of too little room after which a backend is kept for a ticket."""

_LOOKS = 32
"""Tickets at most that are considered for one offer."""

_LIGHTEST = 0.01
"""Least weight of a key: its turn is never more than a hundred turns of others away."""


@dataclass(frozen=True, slots=True)
class Cap:
    """How much a backend may have in flight: `requests`, and `size` bytes of their bodies."""

    requests: float = inf
    size: float = inf

    def room(self, requests: float, size: float) -> float:
        """Give the bytes that one more request may have; below 0: not even an empty one may join."""
        if requests >= self.requests:
            return -1.0
        return self.size - size if requests else inf


UNBOUNDED = Cap()


@dataclass(frozen=True, slots=True)
class Bounds:
    """What bounds the queues.

    `max_queue` is in tickets for each model, `max_queue_bytes` in bytes of the waiting requests of all models, of
    which one alone may be larger. `queue_timeout` is in seconds. Every `ageing`-th turn goes to the class that has
    waited longest for one. `weights` are the shares of keys; a key that isn't in it weighs 1.
    """

    max_queue: int = 512
    max_queue_bytes: float = 256 * 1024 * 1024
    queue_timeout: float = 60.0
    ageing: int = 8
    weights: Mapping[str, float] = field(default_factory=dict)

    def weight(self, key: str) -> float:
        """Give the weight of a key's turns."""
        return max(_LIGHTEST, self.weights.get(key, 1.0))


Refused = tuple[Ticket[T], RouterError]
"""A ticket that waits no longer, and the error for its client."""


class Admission(Generic[T]):
    """The queues of all models. `T` is what the caller keeps for each request that waits.

    `bounds` may be replaced at any time, and hold for those who wait, too. A key's new weight counts once its waiting
    tickets have left.
    """

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        # Bytes of all requests that wait.
        self.size = 0
        # In the order of their latest turns, the oldest first.
        self._queues: OrderedDict[str, Queue[T]] = OrderedDict()
        # In the order in which their clocks began.
        self._waiting: OrderedDict[Ticket[T], None] = OrderedDict()
        # Those whose clocks stand.
        self._untimed: set[Ticket[T]] = set()
        # The tickets that a backend is kept for, by the backend's name.
        self._kept: dict[str, Ticket[T]] = {}

    def __len__(self) -> int:
        return len(self._waiting) + len(self._untimed)

    # What waits

    def is_empty(self, model: str) -> bool:
        """Tell whether nobody waits for a model: then a request that finds room may be sent at once."""
        return model not in self._queues

    def keeps(self, backend: str) -> bool:
        """Tell whether a backend's room is kept for a ticket: then no other request may be sent there."""
        return backend in self._kept

    def is_wide(self, model: str) -> bool:
        """Tell whether anybody who waits for a model may also go to backends of other models."""
        queue = self._queues.get(model)
        return queue is not None and queue.wide > 0

    def waiting(self, model: str) -> int:
        """Give the number of tickets for a model."""
        queue = self._queues.get(model)
        return 0 if queue is None else queue.waiting

    def models(self) -> tuple[str, ...]:
        """Give the models that requests wait for, the one with the oldest latest turn first."""
        return tuple(self._queues)

    def order(self, model: str) -> list[Ticket[T]]:
        """Give the tickets for a model in the order in which they'd go, if none came, all fitted and no class aged."""
        queue = self._queues.get(model)
        return [] if queue is None else queue.order()

    # Entering

    def enter(
        self,
        model: str,
        payload: T,
        key: str,
        priority: int,
        size: int,
        now: float,
        pace: float = 0.0,
        *,
        wide: bool = False,
    ) -> tuple[Ticket[T], Refused[T] | None]:
        """Let a request wait. The second result is the ticket that was refused for it, if one was.

        `wide`: it may also go to backends of other models. `pace` is the expected number of seconds between two
        departures, 0 if unknown; it counts only if the queue is empty. Raises QueueFullError if the queue is full, and
        no ticket has a weaker claim.
        """
        bounds = self.bounds
        ticket = Ticket(model, payload, key, max(-CLASSES, min(CLASSES, priority)), size, now, wide=wide)
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
        """Tell whether a ticket may join those that wait, one of them left out if `without` is given."""
        waiting, size = self.waiting(ticket.model), self.size
        if without is not None:
            waiting, size = waiting - 1, size - without.size
        bounds = self.bounds
        return waiting < bounds.max_queue and (size == 0 or size + ticket.size <= bounds.max_queue_bytes)

    def _full(self, model: str, now: float) -> QueueFullError:
        queue = self._queues.get(model)
        seconds = 1 if queue is None else queue.retry_after(now)
        return QueueFullError(f"Too many requests wait for '{model}'. Try again in {seconds} s.", retry_after=seconds)

    # Going

    def take(
        self, backend: str, models: Container[str], room: float, now: float, may: Callable[[Ticket[T]], bool]
    ) -> Ticket[T] | None:
        """Take the next ticket for a backend with `room` (see `Cap`) that serves `models`; None if none can go.

        Of other models, only wide tickets are looked at.
        `may` tells whether a ticket may be sent there at all, whatever its size; most may. Call this until it gives
        None: there may be room for more. An expired ticket may still go until `expired` is called: better late than
        never.
        """
        if room < 0:
            return None
        kept = self._kept.get(backend)
        if kept is not None:
            return self._go(kept, now) if kept.size <= room else None
        for model, queue in self._queues.items():
            serves = model in models
            if serves or queue.wide:
                tickets = queue.in_turn(self.bounds.ageing)
                if not serves:
                    tickets = _wide(tickets)
                ticket = self._choose(tickets, backend, room, may)
                if ticket is not None:
                    return self._go(ticket, now)
                if self._kept and backend in self._kept:
                    return None
        return None

    def _choose(
        self, tickets: Iterator[Ticket[T]], backend: str, room: float, may: Callable[[Ticket[T]], bool]
    ) -> Ticket[T] | None:
        """Find the first ticket in turn that fits; keep the backend for one that too often didn't fit."""
        first = True
        for ticket in islice(tickets, _LOOKS):
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
        """Keep a backend for nobody, because it went down or serves other models. Its ticket may go to others."""
        ticket = self._kept.pop(backend, None)
        if ticket is not None:
            ticket.kept_at = ""

    # Leaving

    def leave(self, ticket: Ticket[T]) -> None:
        """Forget a ticket. One that doesn't wait any more is ignored."""
        if ticket in self._waiting:
            del self._waiting[ticket]
        elif ticket in self._untimed:
            self._untimed.remove(ticket)
        else:
            return
        self.size -= ticket.size
        if ticket.kept_at:
            del self._kept[ticket.kept_at]
        queue = self._queues[ticket.model]
        queue.remove(ticket)
        if not queue.waiting:
            del self._queues[ticket.model]

    def stop_clock(self, ticket: Ticket[T], now: float) -> None:
        """Let a ticket wait for as long as it takes: something else bounds that."""
        if ticket in self._waiting:
            del self._waiting[ticket]
            self._untimed.add(ticket)
            ticket.since, ticket.stopped = inf, now

    def start_clock(self, ticket: Ticket[T], now: float) -> None:
        """Let a ticket's time count again, from now. A clock that runs stays."""
        if ticket in self._untimed:
            self._untimed.remove(ticket)
            self._waiting[ticket] = None
            ticket.stood += now - ticket.stopped
            ticket.since = now

    def expired(self, now: float) -> list[Refused[T]]:
        """Take out all tickets that have waited too long. If none has, this costs one look at the oldest."""
        refused: list[Refused[T]] = []
        while self._waiting:
            ticket = next(iter(self._waiting))
            if now - ticket.since < self.bounds.queue_timeout:
                break
            seconds = self._queues[ticket.model].retry_after(now)
            within = f"within {self.bounds.queue_timeout:g} s"
            sentence = f"No backend of '{ticket.model}' had room {within}. Try again in {seconds} s."
            refused.append((ticket, QueueTimeoutError(sentence, retry_after=seconds)))
            self.leave(ticket)
        return refused


def _wide(tickets: Iterator[Ticket[T]]) -> Iterator[Ticket[T]]:
    """Leave out tickets that only go to backends of their queue's model."""
    # A function: mypyc makes a whole list of a generator's expression.
    for ticket in tickets:
        if ticket.wide:
            yield ticket
