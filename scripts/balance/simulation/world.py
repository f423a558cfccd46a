"""The simulation's clock: jobs come, engines step, faults begin and end, routers probe. Each run is repeatable.

What is at the same moment happens in the order in which it was planned.
"""

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from itertools import count, pairwise
from math import inf
from random import Random
from typing import Any

from router.core import health
from router.core.catalog import Backend, Candidate
from router.core.estimate.estimate import Estimate
from router.core.estimate.hearing import HEAR
from router.core.ledger import Ledger
from router.core.load import Load
from router.core.retry import Failure
from router.proxy.watching.listen import EVERY, SETTLES
from scripts.balance.simulation.choosing import sender_of
from scripts.balance.simulation.engine import Outage, Spec
from scripts.balance.simulation.readers import engine_of
from scripts.balance.simulation.routing import PROBE_EVERY, STALL_AFTER, SimulatedRequest, SimulatedRouter
from scripts.balance.simulation.traffic import MODEL, Conversation, Job

_REFUSED_AFTER = 0.001
"""Seconds until a router knows that a connection is refused, or reads a 503 that was said at once."""

_PROBE_JITTER = 0.1
_SWEEP_EVERY = 1.0


class World:
    """One run: these engines behind so many routers, each with this policy, asked these conversations.

    `starts` says when each conversation begins, in seconds. `random` is for the routers alone: draws and the jitter of
    probes. `weights` are the capacities that router.yaml would tell, as far as a policy looks at them. `supervised`:
    the routers hear of an engine's end, and of its return, at once. `guests` is the share of the requests that go to
    the first engine directly: here, by a router that knows no other.
    """

    def __init__(
        self,
        specs: Sequence[Spec],
        policy: str,
        conversations: Sequence[Conversation],
        starts: Sequence[float],
        random: Random,
        routers: int = 1,
        weights: Sequence[float] | None = None,
        *,
        supervised: bool = True,
        guests: float = 0.0,
    ) -> None:
        self.now = 0.0
        self._supervised = supervised
        self.requests: list[SimulatedRequest] = []
        self._engines = [engine_of(spec) for spec in specs]
        self._armed = [inf] * len(specs)
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = count()
        self._random = random
        self._left = sum(map(len, conversations))
        self._by_job: dict[int, SimulatedRequest] = {}
        self._probes: dict[tuple[SimulatedRouter, int], float] = {}  # when a router probes an engine next
        self._behind = {turn.number: after for each in conversations for turn, after in pairwise(each)}
        weights = weights or [1.0] * len(specs)
        self._routers = [self._router(policy, weights) for _ in range(routers)]
        self._guests = guests
        self._direct = self._router(policy, weights[:1]) if guests else self._routers[0]
        for engine in self._engines:
            engine.on_read = self._on_read
        for conversation, start in zip(conversations, starts, strict=True):
            self._at(start, self._arrive, conversation[0])
        for index, spec in enumerate(specs):
            self._plan_faults(index, spec)

    def _router(self, policy: str, weights: Sequence[float]) -> SimulatedRouter:
        engines = {f"engine-{index}": engine for index, engine in enumerate(self._engines[: len(weights)])}
        backends = [
            Backend(name, weight=weight, estimate=Estimate(engine.spec.parallel if engine.spec.told else None))
            for (name, engine), weight in zip(engines.items(), weights, strict=True)
        ]
        ledger, candidates = Ledger(), [Candidate(backend, MODEL) for backend in backends]
        sender = sender_of(policy, candidates, ledger, engines, self._random)
        router = SimulatedRouter(candidates, ledger, sender, self._send, self._finished)
        router.on_doubt = lambda index: self._hurry(router, index)
        for index in range(len(backends)):
            self._probe(router, index)
            self._hear(router, index, self.now)
            if self._engines[index].spec.publishes:
                self._look(router, index)
        return router

    def run(self) -> list[SimulatedRequest]:
        """Run until every job has ended. Gives all requests, in the order of their arrival."""
        while self._left:
            self.now, _, action, arguments = heappop(self._events)
            action(*arguments)
        return self.requests

    def _at(self, time: float, action: Callable[..., None], *arguments: object) -> None:
        heappush(self._events, (time, next(self._order), action, arguments))

    # Jobs

    def _arrive(self, job: Job) -> None:
        guest = job.is_guest(self._guests)
        router = self._direct if guest else self._routers[job.lane % len(self._routers)]
        request = SimulatedRequest(job, router, self.now)
        self._by_job[job.number] = request
        self.requests.append(request)
        request.router.start(request, self.now)

    def _finished(self, request: SimulatedRequest) -> None:
        self._left -= 1
        after = self._behind.get(request.job.number)
        if after is not None:
            self._at(self.now + after.think, self._arrive, after)

    def _send(self, index: int, request: SimulatedRequest) -> None:
        engine = self._engines[index]
        if not engine.up or engine.spec.refuses:
            failure = Failure.STATUS if engine.up else Failure.REFUSED
            self._at(self.now + _REFUSED_AFTER, self._fail, request, failure)
            return
        engine.offer(request.job, self.now)
        self._arm(index)

    def _fail(self, request: SimulatedRequest, failure: Failure) -> None:
        request.router.on_failure(request, failure, self.now)

    def _on_read(self, job: Job, cached: int) -> None:
        request = self._by_job[job.number]
        request.read += job.prompt
        request.cached += cached

    # Engines

    def _arm(self, index: int) -> None:
        """See to it that an engine is woken; an alarm that no longer fits is let go by when it rings."""
        wake = self._engines[index].wake
        if wake not in {inf, self._armed[index]}:
            self._armed[index] = wake
            self._at(wake, self._ring, index)

    def _ring(self, index: int) -> None:
        engine = self._engines[index]
        if engine.wake != self.now:
            return
        begun, ended = engine.advance()
        self._armed[index] = inf
        self._arm(index)
        for job in begun:
            request = self._by_job[job.number]
            request.router.on_first_token(request, self.now)
        for job in ended:
            request = self._by_job[job.number]
            request.router.on_end(request, self.now)

    # Faults

    def _plan_faults(self, index: int, spec: Spec) -> None:
        if spec.stalls is not None:
            self._at(spec.stalls.first, self._stall, index, spec.stalls)
        if spec.restarts is not None:
            self._at(spec.restarts.first, self._end, index, spec.restarts)

    def _stall(self, index: int, outage: Outage) -> None:
        self._engines[index].stall(self.now)
        if outage.lasts >= STALL_AFTER:
            self._sweep(index, self.now)
        if outage.lasts < inf:
            self._at(self.now + outage.lasts, self._thaw, index)
            self._at(self.now + outage.every, self._stall, index, outage)

    def _thaw(self, index: int) -> None:
        self._engines[index].thaw(self.now)
        self._arm(index)

    def _sweep(self, index: int, since: float) -> None:
        """Have the routers look at a stalled engine. Others would be looked at in vain: one that works shows it."""
        engine = self._engines[index]
        if engine.stalled_at != since:
            return
        lost = [each for router in self._routers for each in router.finds_stalled(index, since, self.now)]
        engine.forget({each.job for each in lost})
        for each in lost:
            each.router.on_failure(each, Failure.STALLED, self.now)
        self._at(self.now + _SWEEP_EVERY, self._sweep, index, since)

    def _end(self, index: int, outage: Outage) -> None:
        lost = self._engines[index].end()
        self._declare(index, up=False)
        for job in lost:
            self._fail(self._by_job[job.number], Failure.BROKEN)
        self._at(self.now + outage.lasts, self._begin, index)
        self._at(self.now + outage.every, self._end, index, outage)

    def _begin(self, index: int) -> None:
        self._engines[index].begin()
        self._declare(index, up=True)

    def _declare(self, index: int, *, up: bool) -> None:
        for router in self._routers if self._supervised else ():
            router.declared(index, self.now, up=up)

    def _hear(self, router: SimulatedRouter, index: int, last: float) -> None:
        """Have a router hear whether an engine has written anything since the last time."""
        if self._engines[index].spoke(self.now) > last:
            router.ledger.spoke(router.backends[index])
            router.ledger.hear(router.backends, self.now)
        self._at(self.now + HEAR, self._hear, router, index, self.now)

    def _probe(self, router: SimulatedRouter, index: int) -> None:
        """Probe: a stalled engine says that it is well, one that refuses all requests too; one that is down can't."""
        engine = self._engines[index]
        router.probed(index, self.now, answered=engine.up, works=engine.stalled_at is None)
        jitter = 1 + _PROBE_JITTER * (2 * self._random.random() - 1)
        self._probe_at(router, index, self.now + router.pause(index, self.now) * jitter)

    def _probe_at(self, router: SimulatedRouter, index: int, when: float) -> None:
        """Have a router probe an engine then, and not at another time."""
        self._probes[router, index] = when
        self._at(when, self._probe_if, router, index, when)

    def _probe_if(self, router: SimulatedRouter, index: int, when: float) -> None:
        if self._probes[router, index] == when:
            self._probe(router, index)

    def _hurry(self, router: SimulatedRouter, index: int) -> None:
        soon = self.now + health.pause(router.backends[index].health, PROBE_EVERY, 0.0)
        if soon < self._probes[router, index]:
            self._probe_at(router, index, soon)

    def _look(self, router: SimulatedRouter, index: int) -> None:
        """Have a router read what an engine publishes: it comes as late as the router takes it to come at most."""
        backend, engine = router.backends[index], self._engines[index]
        if engine.up:
            self._at(self.now + SETTLES, self._published, router, backend, engine.load, backend.ended)
        self._at(self.now + EVERY, self._look, router, index)

    def _published(self, router: SimulatedRouter, backend: Backend, load: Load, ended: int) -> None:
        router.ledger.published(backend, load, backend.in_flight + backend.ended - ended, self.now)
