"""Who chooses a backend in a simulated router: the router's own policies, and three to measure them against.

`affinity` sends a request to the backend that has the longest prefix of it, whatever waits there: what cache hits can
be had at most, and what they cost. `unaware` is least_latency that is told nothing of prefixes.

`oracle` knows what no router can: the engines' true speeds, caches, queues and the lengths of answers yet to come, and
who is stalled or down now. It is greedy: it sends each request where its first token will come soonest. That is no
lower bound. It does not know the requests to come, nor when a fault will begin or end; it takes a free fast engine for
a short prompt a moment before a long one comes, spreads prefixes that were better kept together, and lets first tokens
of others behind wait for what it took. A policy can do better, above all on the mean, and where prefixes are shared.
"""

from collections.abc import Mapping, Sequence
from math import inf
from random import Random
from typing import Protocol

from router.core import balance
from router.core.affinity import Prefixes
from router.core.catalog import Candidate
from scripts.balance.simulation.engine import Engine
from scripts.balance.simulation.traffic import Job

UNAWARE, AFFINITY, ORACLE = "unaware", "affinity", "oracle"

POLICIES = (*balance.POLICIES, UNAWARE, AFFINITY, ORACLE)


class Chooser(Protocol):
    """Chooses among candidates, of which there is at least one. `sees_all`: it needs no health to be kept for it."""

    sees_all: bool

    def choose(self, candidates: Sequence[Candidate], job: Job, now: float) -> Candidate:
        """Choose the backend that gets the job."""


class Real:
    """One of the router's own policies: of a job it sees what the router sees."""

    sees_all = False

    def __init__(self, name: str, prefixes: Prefixes, random: Random) -> None:
        self._policy = balance.policy_of(name, prefixes)
        self._draw = random.randrange

    def choose(self, candidates: Sequence[Candidate], job: Job, now: float) -> Candidate:
        """Ask the policy."""
        return self._policy.pick(candidates, job.ask, now, self._draw)


class Affinity:
    """All to the longest prefix; among equals, and where there is none, the fewest in flight."""

    sees_all = False

    def __init__(self, prefixes: Prefixes, random: Random) -> None:
        self._prefixes = prefixes
        self._random = random

    def choose(self, candidates: Sequence[Candidate], job: Job, now: float) -> Candidate:  # noqa: ARG002
        """Find the longest."""

        def rank(candidate: Candidate) -> tuple[int, float, float]:
            cached = self._prefixes.cached(candidate.backend, candidate.model, job.ask.blocks)
            return -cached, candidate.backend.load, self._random.random()

        return min(candidates, key=rank)


class Oracle:
    """The engine whose first token for this job would come soonest; ties at random."""

    sees_all = True

    def __init__(self, engines: Mapping[str, Engine], random: Random) -> None:
        self._engines = engines
        self._random = random

    def choose(self, candidates: Sequence[Candidate], job: Job, now: float) -> Candidate:
        """Foresee each; where none is well, any will do."""
        order = self._random.sample(candidates, len(candidates))
        chosen, soonest = order[0], inf
        for candidate in order:
            engine = self._engines[candidate.backend.name]
            if engine.well and (at := engine.first_token(job, now, soonest)) < soonest:
                chosen, soonest = candidate, at
        return chosen


def chooser_of(name: str, prefixes: Prefixes, engines: Mapping[str, Engine], random: Random) -> Chooser:
    """Make the chooser of this name, one of `POLICIES`."""
    if name == ORACLE:
        return Oracle(engines, random)
    if name == AFFINITY:
        return Affinity(prefixes, random)
    return Real("least_latency" if name == UNAWARE else name, prefixes, random)
