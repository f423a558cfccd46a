"""Whose turn it is among the tickets for a model: priority classes, and fair queueing between keys in each. Pure.

  Which class?  The lowest `priority` first, as in vLLM. But every `ageing`-th turn goes to the class that has had none
                for longest, so that each of k classes has at least one turn in any `ageing * k`.
  Which key?    Within a class, by virtual time (start-time fair queueing; Goyal, Vin & Cheng, 1996): a turn takes
                1 / weight of a key's virtual time, and the key that is due first goes. Requests count, not bytes. A new
                key is due one turn from now, so it can't save up turns by waiting, nor jump ahead.
  Which ticket? The key's oldest.

A class is dropped with its last key, and a key with its last ticket. With n waiting keys, all but `weakest` and `order`
cost O(log n).
"""

from bisect import bisect_left, insort
from collections import OrderedDict, deque
from collections.abc import Iterator
from heapq import heappop, heapreplace
from itertools import islice
from math import ceil, inf
from typing import Generic, TypeVar

T = TypeVar("T")

LONGEST_RETRY_AFTER = 300
"""Most seconds that a client is asked to wait, however slowly the queue drains."""

_MEASURED = 32
"""Departures over which the drain rate is measured."""

_Due = tuple[float, int, str]
"""When a key's next turn is due in virtual time, a number that orders equal times by age, and the key."""


class Ticket(Generic[T]):
    """A request that waits. `payload` is the caller's; `size` is in bytes, `entered` in seconds of its clock.

    `kept_at` names the backend that is kept for it, empty if none is. When the ticket leaves, that backend may be
    offered to others. `wide`: it may go to backends that don't serve its queue's model, as a route leads to others.
    `since` is from when on its time counts, infinity while its clock is stopped (`Admission.stop_clock`).
    """

    def __init__(
        self, model: str, payload: T, key: str, priority: int, size: int, entered: float, *, wide: bool = False
    ) -> None:
        self.model = model
        self.wide = wide
        self.payload = payload
        self.key = key
        self.priority = priority
        self.size = size
        self.entered = entered
        self.since = entered
        # When its clock was last stopped, and for how many seconds it stood before that.
        self.stopped = 0.0
        self.stood = 0.0
        self.kept_at = ""
        # Offers of too little room when it was its turn.
        self.offers = 0

    def uncounted(self, now: float) -> float:
        """Give the seconds in which its clock has stood."""
        return self.stood + (now - self.stopped if self.since == inf else 0.0)


class _Line(Generic[T]):
    """One key's tickets of one class, oldest first, and when its next turn is due."""

    def __init__(self, weight: float, due: _Due) -> None:
        self.weight = weight
        self.due = due
        self.tickets: OrderedDict[Ticket[T], None] = OrderedDict()

    def load(self) -> float:
        """Give the number of tickets relative to the key's weight."""
        return len(self.tickets) / self.weight


class _Class(Generic[T]):
    """The lines of one priority, in the order in which they are due. `turn` is the number of its latest turn."""

    def __init__(self, turn: int) -> None:
        self.turn = turn
        self.lines: dict[str, _Line[T]] = {}
        # Sorted.
        self._dues: list[_Due] = []
        # Virtual time: when the latest ticket that went was due.
        self._time = 0.0
        self._number = 0

    def add(self, ticket: Ticket[T], weight: float) -> None:
        """Add a ticket behind its key's others. A key that had none is due one turn from now."""
        line = self.lines.get(ticket.key)
        if line is None:
            line = self.lines[ticket.key] = _Line(weight, self._due(ticket.key, self._time + 1 / weight))
            insort(self._dues, line.due)
        line.tickets[ticket] = None

    def _due(self, key: str, time: float) -> _Due:
        self._number += 1
        return time, self._number, key

    def remove(self, ticket: Ticket[T]) -> None:
        """Forget a ticket, and its line with the last one."""
        line = self.lines[ticket.key]
        del line.tickets[ticket]
        if not line.tickets:
            del self.lines[ticket.key]
            del self._dues[bisect_left(self._dues, line.due)]

    def charge(self, ticket: Ticket[T]) -> None:
        """Count a ticket's departure as its key's turn. Virtual time advances to when that was due, never back."""
        line = self.lines[ticket.key]
        time = line.due[0]
        del self._dues[bisect_left(self._dues, line.due)]
        line.due = self._due(ticket.key, time + 1 / line.weight)
        insort(self._dues, line.due)
        self._time = max(self._time, time)

    def in_turn(self) -> Iterator[Ticket[T]]:
        """Give the oldest ticket of each line, in the order in which the lines are due; then all others."""
        for _, _, key in self._dues:
            yield next(iter(self.lines[key].tickets))
        for _, _, key in self._dues:
            yield from islice(self.lines[key].tickets, 1, None)

    def order(self) -> list[Ticket[T]]:
        """Give all tickets in the order in which they would go, if none came and all fitted."""
        # A sorted list is a heap.
        dues, number = list(self._dues), self._number
        tickets = {key: iter(line.tickets) for key, line in self.lines.items()}
        order: list[Ticket[T]] = []
        while dues:
            time, _, key = dues[0]
            ticket = next(tickets[key], None)
            if ticket is None:
                heappop(dues)
                continue
            order.append(ticket)
            number += 1
            heapreplace(dues, (time + 1 / self.lines[key].weight, number, key))
        return order


class Queue(Generic[T]):
    """The tickets for one model, in classes and lines, and the rate at which they go.

    `pace` is the expected number of seconds between two departures, used until there are some; 0 if unknown.
    """

    def __init__(self, now: float, pace: float = 0.0) -> None:
        self._pace = pace
        self.classes: dict[int, _Class[T]] = {}
        self.waiting = 0
        # How many of these are wide.
        self.wide = 0
        self._turns = 0
        # Times of the last departures; the first entry is the time from which they are counted.
        self._departures = deque([now], _MEASURED + 1)

    def add(self, ticket: Ticket[T], weight: float) -> None:
        """Add a ticket to its class."""
        level = self.classes.get(ticket.priority)
        if level is None:
            level = self.classes[ticket.priority] = _Class(self._turns)
        level.add(ticket, weight)
        self.waiting += 1
        self.wide += ticket.wide

    def remove(self, ticket: Ticket[T]) -> None:
        """Forget a ticket, and its class if it was the last one there."""
        level = self.classes[ticket.priority]
        level.remove(ticket)
        if not level.lines:
            del self.classes[ticket.priority]
        self.waiting -= 1
        self.wide -= ticket.wide

    def charge(self, ticket: Ticket[T], now: float) -> None:
        """Count a ticket's departure as a turn of its class and its key."""
        self._turns += 1
        self._departures.append(now)
        level = self.classes[ticket.priority]
        level.turn = self._turns
        level.charge(ticket)

    def in_turn(self, ageing: int) -> Iterator[Ticket[T]]:
        """Give all tickets in turn, class by class."""
        order = sorted(self.classes)
        if len(order) > 1 and (self._turns + 1) % ageing == 0:
            order.sort(key=lambda priority: self.classes[priority].turn)
        for priority in order:
            yield from self.classes[priority].in_turn()

    def order(self) -> list[Ticket[T]]:
        """Give all tickets in the order in which they would go, if none came, all fitted and no class aged."""
        return [ticket for priority in sorted(self.classes) for ticket in self.classes[priority].order()]

    def retry_after(self, now: float) -> int:
        """Give the seconds in which all tickets will have gone, at the rate of the last departures.

        The expected `pace` counts as one of these. Without it and without departures, one is assumed now.
        """
        departed = max(1, len(self._departures) - (0 if self._pace else 1))
        seconds = self.waiting * (now - self._departures[0] + self._pace) / departed
        return max(1, min(LONGEST_RETRY_AFTER, ceil(seconds)))

    def weakest(self, ticket: Ticket[T], weight: float) -> Ticket[T] | None:
        """Find the ticket with the weakest claim; None if no claim is weaker than the newcomer's."""
        last = max(self.classes)
        lines = self.classes[last].lines
        longest = max(lines.values(), key=_Line.load)
        own = lines.get(ticket.key)
        held = 0 if own is None else len(own.tickets)
        if last < ticket.priority or (last == ticket.priority and longest.load() <= (held + 1) / weight):
            return None
        return next(reversed(longest.tickets))
