"""The queue in front of `Residency` in the simulator and the tests, in the place of the router's queues.

Whenever a backend is offered, requests that wait there are sent, by rank and then by arrival, as long as they may go.
"""

from collections import deque
from collections.abc import Hashable, Mapping, Sequence

from router.core.memory.actions import Offer
from router.core.memory.devices import Footprint
from router.core.memory.residency import Residency
from scripts.residency.machine import Said, Send


class Pulling:
    """A scheduler that sends what `Residency` offers."""

    def __init__(self, residency: Residency) -> None:
        self.residency = residency

    def pull(self, actions: Sequence[Said], now: float) -> list[Said]:
        """Put what is sent in place of each offer, and what follows from that behind."""
        done: list[Said] = []
        left = deque(actions)
        while left:
            action = left.popleft()
            if isinstance(action, Offer):
                left.extend(self._send(action.backend, now, done))
            else:
                done.append(action)
        return done

    def _send(self, backend: str, now: float, done: list[Said]) -> list[Said]:
        resident, follows = self.residency.residents()[backend], list[Said]()
        while self.residency.may_go(backend):
            first = resident.first()
            if first is None:
                break
            done.append(Send(backend, first.request))
            follows.extend(self.residency.sent(first.request, backend, now, waiting=first.request))
        return follows

    # As `Residency` has them

    def wanted(
        self, request: Hashable, backend: str, now: float, *, key: str = "", keep_alive: float | None = None
    ) -> Sequence[Said]:
        """A request wants a backend."""
        return self.pull(self.residency.wanted(request, backend, now, key=key, keep_alive=keep_alive), now)

    def ended(self, request: Hashable, now: float) -> Sequence[Said]:
        """A request has ended, or left."""
        return self.pull(self.residency.ended(request, now), now)

    def loaded(self, backend: str, now: float, measured: Footprint | None = None) -> Sequence[Said]:
        """A backend is ready."""
        return self.pull(self.residency.loaded(backend, now, measured), now)

    def failed(self, backend: str, reason: str, now: float, *, oom: str | None = None) -> Sequence[Said]:
        """A load failed."""
        return self.pull(self.residency.failed(backend, reason, now, oom=oom), now)

    def exited(self, backend: str, now: float) -> Sequence[Said]:
        """A backend's process is gone."""
        return self.pull(self.residency.exited(backend, now), now)

    def figures(self, device: str, free: int, now: float, own: Mapping[str, int] | None = None) -> Sequence[Said]:
        """A device tells its free bytes."""
        return self.pull(self.residency.figures(device, free, now, own), now)

    def tick(self, now: float) -> Sequence[Said]:
        """Time has passed."""
        return self.pull(self.residency.tick(now), now)

    def wake(self, now: float) -> float:
        """When to tick next."""
        return self.residency.wake(now)
