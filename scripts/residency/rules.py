"""The rules of other programs, to compare with: one at a time, Ollama's, llama-swap's; and evictions to compare with.

They are told what a machine really has: each engine's true size, and its exit at once. That favours them a little.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from router.core.errors import UnavailableError
from router.core.memory.actions import Load, Refuse, Unload
from router.core.memory.devices import Footprint
from router.core.memory.footprints import Placement
from router.core.memory.resident import Resident
from router.core.memory.rounds import Worth
from scripts.residency.machine import DEVICE, Engine, Job, Said, Send


@dataclass
class _Model:
    """A model as these rules see it: how far it is, its requests, and when it was last used."""

    engine: Engine
    state: str = "unloaded"
    busy: set[Hashable] = field(default_factory=set)
    waiting: deque[Hashable] = field(default_factory=deque)
    used: float = 0.0

    @property
    def size(self) -> int:
        """Bytes on the one device that these rules know."""
        return self.engine.size[DEVICE]


class _Rule:
    """What these rules have in common. `go` is what differs."""

    def __init__(self, engines: Sequence[Engine], limit: int) -> None:
        self._models = {each.name: _Model(each) for each in engines}
        self._limit = limit
        self._of: dict[Hashable, _Model] = {}
        self._out: list[Said] = []

    def wanted(
        self,
        request: Hashable,
        backend: str,
        now: float,
        *,
        key: str = "",  # noqa: ARG002
        keep_alive: float | None = None,  # noqa: ARG002
    ) -> Sequence[Said]:
        """A request comes."""
        self._of[request] = self._models[backend]
        self._of[request].waiting.append(request)
        self.come(request)
        return self._decide(now)

    def ended(self, request: Hashable, now: float) -> Sequence[Said]:
        """A request has ended, or left."""
        model = self._of.pop(request)
        model.busy.discard(request)
        if request in model.waiting:
            model.waiting.remove(request)
        model.used = now
        return self._decide(now)

    def loaded(self, backend: str, now: float, measured: Footprint | None = None) -> Sequence[Said]:  # noqa: ARG002
        """A model is ready."""
        self._models[backend].state = "loaded"
        self._models[backend].used = now
        return self._decide(now)

    def failed(self, backend: str, reason: str, now: float, *, oom: str | None = None) -> Sequence[Said]:  # noqa: ARG002
        """A load failed: those who wait for it are refused."""
        model = self._models[backend]
        model.state = "leaving"
        while model.waiting:
            request = model.waiting.popleft()
            del self._of[request]
            self._out.append(Refuse(backend, request, UnavailableError(reason)))
        return [*self._decide(now), Unload(backend, reason)]

    def exited(self, backend: str, now: float) -> Sequence[Said]:
        """A model is gone."""
        self._models[backend].state = "unloaded"
        return self._decide(now)

    def figures(self, device: str, free: int, now: float, own: Mapping[str, int] | None = None) -> Sequence[Said]:  # noqa: ARG002
        """Figures of devices are not used."""
        return []

    def tick(self, now: float) -> Sequence[Said]:  # noqa: ARG002
        """Time changes nothing."""
        return []

    def wake(self, now: float) -> float:  # noqa: ARG002
        """There is nothing to wait for."""
        return inf

    def come(self, request: Hashable) -> None:
        """Take note of a request."""

    def go(self, now: float) -> None:
        """Decide."""
        raise NotImplementedError

    def _decide(self, now: float) -> Sequence[Said]:
        self.go(now)
        done, self._out = self._out, []
        return done

    def send(self, model: _Model, request: Hashable) -> None:
        """Send a request that waits."""
        model.waiting.remove(request)
        model.busy.add(request)
        self._out.append(Send(model.engine.name, request))

    def load(self, model: _Model) -> bool:
        """Load a model if it fits; tell whether it did."""
        held = sum(each.size for each in self._models.values() if each.state != "unloaded")
        if held + model.size > self._limit:
            return False
        model.state = "loading"
        self._out.append(Load(model.engine.name, Placement(model.engine.name, {}), {}))
        return True

    def evict(self, model: _Model) -> None:
        """Have a model leave."""
        model.state = "leaving"
        self._out.append(Unload(model.engine.name, ""))

    def idle(self) -> list[_Model]:
        """Name the models that are loaded and have nothing to do."""
        return [each for each in self._models.values() if each.state == "loaded" and not each.busy]

    def is_leaving(self) -> bool:
        """Tell whether memory is on its way."""
        return any(each.state == "leaving" for each in self._models.values())


class OneByOne(_Rule):
    """Requests in the order of their arrival: whoever's model isn't loaded has it loaded, and all behind wait.

    With `by_name`, as Ollama does: an idle model leaves by its name, where all are kept equally long. Else the one that
    was used longest ago.
    """

    def __init__(self, engines: Sequence[Engine], limit: int, *, by_name: bool = False) -> None:
        super().__init__(engines, limit)
        self._by_name = by_name
        self._line: deque[Hashable] = deque()

    def come(self, request: Hashable) -> None:
        """Queue behind all others."""
        self._line.append(request)

    def go(self, now: float) -> None:  # noqa: ARG002 - time changes nothing
        """Serve the first of the queue, and those behind it whose turn that makes it."""
        while self._line:
            model = self._of.get(self._line[0])
            if model is None or self._line[0] not in model.waiting:
                self._line.popleft()
            elif model.state == "loaded":
                self.send(model, self._line.popleft())
            else:
                self._make_room(model)
                return

    def _make_room(self, model: _Model) -> None:
        if model.state != "unloaded" or self.load(model) or self.is_leaving():
            return
        idle = self.idle()
        if idle:
            self.evict(min(idle, key=lambda each: each.engine.name if self._by_name else f"{each.used:020.6f}"))


class Gathering(_Rule):
    """As llama-swap does: requests for loaded models go on, others are gathered by model, without a bound.

    The model whose first request is the oldest is loaded next, when enough others are idle.
    """

    def go(self, now: float) -> None:  # noqa: ARG002 - time changes nothing
        """Serve what is loaded, then load what waits longest."""
        for model in self._models.values():
            while model.state == "loaded" and model.waiting:
                self.send(model, model.waiting[0])
        waiting = [each for each in self._models.values() if each.waiting and each.state == "unloaded"]
        if not waiting:
            return
        first = min(waiting, key=lambda each: str(each.waiting[0]).zfill(12))
        if self.load(first) or self.is_leaving():
            return
        idle = sorted(self.idle(), key=lambda each: each.engine.name)
        if idle:
            self.evict(idle[0])


def least_recently_used(resident: Resident, now: float, away: float) -> float:  # noqa: ARG001 - as `Worth` has it
    """Rank victims as LRU does, under the router's own gathering."""
    return 1e9 if not resident.is_unused else 1 / (resident.idle_for(now) + 1e-9)


def belady(jobs: Sequence[Job]) -> Worth:
    """Rank victims by when they are wanted next, which only a simulator knows (Belady, 1966)."""
    times: dict[str, list[float]] = {}
    for job in jobs:
        times.setdefault(job.backend, []).append(job.at)

    def worth(resident: Resident, now: float, away: float) -> float:  # noqa: ARG001 - as `Worth` has it
        if not resident.is_unused:
            return 1e9
        wanted = times.get(resident.name, [])
        at = bisect_right(wanted, now)
        return 1 / (wanted[at] - now + 1e-9) if at < len(wanted) else 0.0

    return worth
