"""The requests that wait for a backend with room, and the offers that backends with room make to them.

`router.core.admission` decides whose turn it is. Whatever may give a backend room (an attempt's end, a backend that
joins or comes back, a changed catalog) has that backend offered here to those who wait.
"""

import asyncio
from collections.abc import Callable

from router.core.catalog import Backend, Way
from router.core.dispatch import Dispatcher
from router.core.retry import waited_in_vain
from router.core.turns import Ticket
from router.proxy.directory import Directory
from router.proxy.roles import Queued, UnderWay

MOST_SHOWN = 100
"""Requests of one queue that `told` describes."""


class Queues:
    """Those who wait, of all models. `on_doubt` is called for a backend that they wait for and that looks bad."""

    def __init__(
        self,
        dispatcher: Dispatcher[Queued],
        directory: Directory,
        exchanges: set[UnderWay],
        on_doubt: Callable[[Backend], None],
    ) -> None:
        self._dispatcher = dispatcher
        self._admission = dispatcher.admission
        self._directory = directory
        self._exchanges = exchanges
        self._on_doubt = on_doubt
        self._loop = asyncio.get_running_loop()

    def enter(self, waiting: Queued, way: Way, queue: str) -> Ticket[Queued]:
        """Have a request wait until a backend has room for it. Raises QueueFullError."""
        request, admission = waiting.request, self._admission
        pace = self._dispatcher.pace(way) if admission.is_empty(queue) else 0.0
        ticket, refused = admission.enter(
            queue,
            waiting,
            request.caller.name,
            request.priority,
            waiting.size,
            self._loop.time(),
            pace,
            wide=not way.tiers or any(queue not in backend.models for tier in way.tiers for backend, _ in tier),
        )
        if refused is not None:
            refused[0].payload.exchange.break_off(refused[1], "had to make room in the queue")
        for tier in way.tiers:
            for candidate in tier:
                # The newcomer may fit where those before it don't.
                self.offer_soon(candidate.backend)
                health = candidate.backend.health
                # One that is loaded for it first isn't there to be probed.
                if not health.usable and not (candidate.backend.loadable and health.absent):
                    self._on_doubt(candidate.backend)
        return ticket

    def leave(self, ticket: Ticket[Queued]) -> None:
        """Forget one who waited; a backend that was kept for it is offered to others."""
        kept = self._directory.backends.get(ticket.kept_at)
        self._admission.leave(ticket)
        if kept is not None:
            self.offer_soon(kept)

    # Offers

    def offer_soon(self, backend: Backend) -> None:
        """Offer a backend's room in the loop's next turn, if anybody waits."""
        if len(self._admission):
            self._loop.call_soon(self._offer, backend)

    def offer_all(self) -> None:
        """Offer the room of all backends now."""
        if len(self._admission):
            for backend in list(self._directory.backends.values()):
                self._offer(backend, everybody=True)

    def _offer(self, backend: Backend, *, everybody: bool = False) -> None:
        """Send a backend those who wait for it, as far as it has room; `everybody`: see Dispatcher.next_for."""
        if self._dispatcher.ledger.is_retired(backend) or not self._directory.has(backend):
            return
        now = self._loop.time()

        def may_go(ticket: Ticket[Queued]) -> bool:
            return ticket.payload.candidate_at(backend) is not None

        while ticket := self._dispatcher.next_for(backend, now, may_go, everybody=everybody):
            candidate = ticket.payload.candidate_at(backend)
            assert candidate is not None  # noqa: S101  (`may_go` has asked)
            ticket.payload.go(candidate)

    # What the clock tells

    def look(self, now: float) -> None:
        """Refuse those who have waited too long or for nobody, send those who can go, tell clients their places."""
        for ticket, error in self._admission.expired(now):
            waiting = ticket.payload
            why = waited_in_vain(error, waiting.way.tiers, self._dispatcher.ledger.held)
            waiting.exchange.break_off(why, "waited too long for a backend with room")
        self.offer_all()
        if len(self._admission):
            for waiting in [each.queued for each in self._exchanges if each.queued is not None]:
                waiting.look(now)
            self.tell_places(now)

    def tell_places(self, now: float) -> None:
        """Tell the streaming clients that have waited for long how many requests are before theirs."""
        models = {each.queued.queue for each in self._exchanges if each.queued is not None and each.queued.due(now)}
        for model in models:
            for ahead, ticket in enumerate(self._admission.order(model)):
                if ticket.payload.due(now):
                    ticket.payload.tell(ahead, now)

    def told(self) -> dict[str, list[dict[str, object]]]:
        """Describe who waits for each model, the next to go first; of a long queue its beginning."""
        now = self._loop.time()
        return {
            model: [
                {
                    "request_id": ticket.payload.request.id,
                    "key": ticket.key,
                    "priority": ticket.priority,
                    "seconds": round(now - ticket.entered, 3),
                    "bytes": ticket.size,
                    **_loading(ticket.payload.told(now)),
                }
                for ticket in self._admission.order(model)[:MOST_SHOWN]
            ]
            for model in self._admission.models()
        }


def _loading(told: dict[str, object] | None) -> dict[str, object]:
    """Describe the load that a request waits for, if it waits for one."""
    return {} if told is None else {"loading": told}
