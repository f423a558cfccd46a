"""Where a simulated router sends a request: what the router's own code decides, and three to measure it against.

`affinity` sends a request to the backend that has the longest prefix of it cached, whatever waits there: how many cache
hits can be had at most, and what they cost. `unaware` is least_latency that is told nothing of prefixes.

`oracle` knows what no router can: the engines' true speeds, caches, queues and the lengths of answers to come, and
which engines are stalled or down now. It is greedy: it sends each request where its first token will come soonest. That
is no lower bound. The oracle knows neither the requests to come nor when a fault will begin or end. It takes a free
fast engine for a short prompt a moment before a long one comes, spreads prefixes that were better kept together, and
delays the first tokens of requests that it queues others before. A policy can do better, above all on the mean, and
where prefixes are shared.
"""

from collections.abc import Mapping, Sequence
from math import inf
from random import Random
from typing import Protocol

from router.core import retry
from router.core.admission import Bounds
from router.core.affinity import Prefixes
from router.core.balance import POLICIES as ROUTER_POLICIES
from router.core.balance import Draw, Figures
from router.core.catalog import DIRECT, Candidate, Way
from router.core.decision import Decision
from router.core.dispatch import Dispatcher
from router.core.estimate.ask import Ask
from router.core.ledger import Ledger
from router.core.retry import RETRY_SAME, Failure
from scripts.balance.simulation.engine import ModelEngine
from scripts.balance.simulation.traffic import Job

UNAWARE, AFFINITY, ORACLE = "unaware", "affinity", "oracle"

POLICIES = (*ROUTER_POLICIES, UNAWARE, AFFINITY, ORACLE)

RETRIES = 2
"""Attempts after the first one, as `retries` is by default."""


class Sender(Protocol):
    """Says to which backend a request goes."""

    def first(self, job: Job, now: float) -> Candidate:
        """Choose the backend of the first attempt."""

    def after(self, failure: Failure, tried: Sequence[Candidate], job: Job, now: float) -> Candidate | None:
        """Choose the backend of the next attempt after a failed one; None: there is none."""


class RouterSender:
    """The router's own code: its dispatcher, with one of its policies, and its rules of retries."""

    def __init__(self, candidates: Sequence[Candidate], dispatcher: Dispatcher[object], draw: Draw) -> None:
        self._way = Way((tuple(candidates),), DIRECT, chooses=len(candidates) > 1)
        self._dispatcher = dispatcher
        self._draw = draw

    def first(self, job: Job, now: float) -> Candidate:
        """Choose among those that have room; where there are none, a request doesn't wait, as it would in a router."""
        choose, way = self._dispatcher.choose, self._way
        chosen = choose(way, (), job.ask, now) or choose(way, (), job.ask, now, full=True)
        return chosen or self._dispatcher.policy(way).pick(way.tiers[0], job.ask, now, self._draw)

    def after(self, failure: Failure, tried: Sequence[Candidate], job: Job, now: float) -> Candidate | None:
        """Retry as a router does."""
        return retry.after(failure, self._way, tried, RETRIES, job.ask, self._dispatcher, now)


class Affinity:
    """A policy: all to the longest prefix; among equals, and where there is none, the fewest in flight."""

    name = AFFINITY
    decision: Decision | None = None

    def __init__(self, prefixes: Prefixes, random: Random) -> None:
        self._prefixes = prefixes
        self._random = random

    def pick(self, candidates: Sequence[Candidate], ask: Ask, _now: float, _draw: Draw) -> Candidate:
        """Find the longest."""

        def rank(candidate: Candidate) -> tuple[int, float, float]:
            cached = self._prefixes.cached(candidate.backend, candidate.model, ask.blocks)
            return -cached, candidate.backend.load, self._random.random()

        return candidates[0] if len(candidates) == 1 else min(candidates, key=rank)

    def explain(self, _candidates: Sequence[Candidate], _ask: Ask, _now: float) -> list[Figures]:
        """Tell nothing: a simulation doesn't ask."""
        return []


class Oracle:
    """The engine whose first token for this job would come soonest; ties at random. It needs no health."""

    def __init__(self, candidates: Sequence[Candidate], engines: Mapping[str, ModelEngine], random: Random) -> None:
        self._candidates = candidates
        self._engines = engines
        self._random = random

    def first(self, job: Job, now: float) -> Candidate:
        """Foresee each engine; where none is well, any will do."""
        return self._soonest(self._candidates, job, now)

    def after(self, failure: Failure, tried: Sequence[Candidate], job: Job, now: float) -> Candidate | None:
        """Retry as often as a router does, at any backend that wasn't tried."""
        if len(tried) > RETRIES:
            return None
        untried = [each for each in self._candidates if each not in tried]
        if untried:
            return self._soonest(untried, job, now)
        usable = (each for each in reversed(tried) if each.backend.health.usable)
        return next(usable, None) if failure in RETRY_SAME else None

    def _soonest(self, candidates: Sequence[Candidate], job: Job, now: float) -> Candidate:
        if len(candidates) == 1:
            return candidates[0]
        order = self._random.sample(candidates, len(candidates))
        chosen, soonest = order[0], inf
        for candidate in order:
            engine = self._engines[candidate.backend.name]
            if engine.well and (at := engine.first_token(job, now, soonest)) < soonest:
                chosen, soonest = candidate, at
        return chosen


def sender_of(
    name: str, candidates: Sequence[Candidate], ledger: Ledger, engines: Mapping[str, ModelEngine], random: Random
) -> Sender:
    """Make what sends requests by the policy of this name, one of `POLICIES`."""
    if name == ORACLE:
        return Oracle(candidates, engines, random)
    dispatcher: Dispatcher[object] = Dispatcher(ledger, random.randrange)
    dispatcher.set_up("least_latency" if name == UNAWARE else name, Bounds(), affinity=True)
    if name == AFFINITY:
        # The dispatcher is compiled, so a subclass of ours could not add a policy.
        dispatcher._policies[name] = Affinity(ledger.prefixes, random)  # noqa: SLF001
    return RouterSender(candidates, dispatcher, random.randrange)
