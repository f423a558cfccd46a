"""Which of several backends gets a request: the policies. Pure; ties are broken by a draw.

Each policy gives every candidate a score, and picks one of those with the lowest. `least_latency` is the router's own:
its score is the expected TTFT of `router.core.estimate`, which leaves out the reading of cached prefixes
(`affinity.Prefixes`). The others are those of other balancers. docs/balancing.md explains and compares them.
"""

from collections.abc import Callable, Sequence
from math import inf
from typing import Final, NamedTuple, Protocol

from router.core.affinity import Prefixes
from router.core.catalog import Backend, Candidate
from router.core.decision import MOST_KEPT, NOTHING, Decision, passed_over
from router.core.estimate.ask import Ask
from router.core.load import Load

Draw = Callable[[int], int]
"""A random whole number from 0 to below its argument, such as `random.randrange`."""

NEAR: Final = 1.2
"""Multiple of the least expected TTFT up to which a backend counts as equally good: estimates aren't more exact."""

SOON: Final = 0.001
"""Seconds above the least expected TTFT up to which a backend counts as equally good."""

AT_ONCE: Final = 0.02
"""Seconds of expected TTFT up to which all backends count as equally good, unless a cache has some of the prompt.

Nobody notices the difference, and a few measurements of so short a time show chance rather than speed."""

REREAD_PENALTY: Final = 0.5
"""Penalty for re-reading a prefix that another backend has cached, as a share of the reading's seconds. It is charged
once, and once more for each request expected to wait behind this one (`Estimate.behind`), which is delayed by it."""

_PARTS: Final = 1 << 30
"""Resolution of a weighted draw."""


class Figures(NamedTuple):
    """The figures of one candidate for a request, the same for each policy; times in seconds.

    `expected` is the expected TTFT: the sum of `queue` (until it is this prompt's turn), `reading` (of the prompt,
    without the `cached` bytes of it that are probably in the backend's cache) and `cost` (the penalty for errors).
    `score` is what the policy compares: for least_latency that is `expected`, plus a penalty where another backend has
    more in its cache. `passed_over` is why it isn't picked; empty for those that the pick is drawn from.

    `published` is the load that the engine published last, if it does, and `others` the requests that are probably
    there now and don't come from this router.
    """

    backend: str
    score: float
    passed_over: str
    expected: float
    queue: float
    reading: float
    cost: float
    in_flight: int
    cached: int
    published: Load | None
    others: float


class Policy(Protocol):
    """Picks one of at least one candidates. `decision` is what the latest pick among several has compared."""

    name: str
    decision: Decision | None

    def pick(self, candidates: Sequence[Candidate], ask: Ask, now: float, draw: Draw) -> Candidate:
        """Pick the candidate that gets the request."""

    def explain(self, candidates: Sequence[Candidate], ask: Ask, now: float) -> list[Figures]:
        """Give the figures of each, and why it would be passed over. Changes nothing."""


def least_in_flight(candidates: Sequence[Candidate], draw: Draw) -> Candidate:
    """Pick the candidate with the fewest attempts in flight for its weight; among equals, any.

    Ties are drawn, not taken in order: otherwise the first of the list would get every request of quiet times. The full
    weight counts, even of a backend that has just come back (unlike `Backend.load`): the estimate shows that already.
    """
    if len(candidates) == 1:
        return candidates[0]
    least = min(backend.in_flight / backend.weight for backend, _ in candidates)
    equals = [each for each in candidates if each.backend.in_flight / each.backend.weight == least]
    return equals[draw(len(equals))]


class _Scored:
    """A policy that picks one of those with the lowest score. `unit` is the score's. Here, all scores are equal."""

    unit = ""

    def __init__(self, name: str, prefixes: Prefixes | None) -> None:
        self.name = name
        self.decision: Decision | None = None
        self._prefixes = prefixes

    def scores(self, candidates: Sequence[Candidate], ask: Ask, now: float) -> list[float]:  # noqa: ARG002
        """Score each candidate: the lower, the better."""
        return [0.0] * len(candidates)

    def worst(self, least: float) -> float:
        """Give the highest score that counts as equal to the least."""
        return least

    def pick(self, candidates: Sequence[Candidate], ask: Ask, now: float, draw: Draw) -> Candidate:
        """Choose where the request goes."""
        if len(candidates) == 1:
            return candidates[0]
        scores = self.scores(candidates, ask, now)
        worst = self.worst(min(scores))
        good = [candidates[place] for place, score in enumerate(scores) if score <= worst]
        taken = good[0] if len(good) == 1 else self.among(good, draw)
        self.note(taken, candidates, scores, worst, NOTHING, len(candidates))
        return taken

    def note(
        self,
        taken: Candidate,
        candidates: Sequence[Candidate],
        scores: Sequence[float],
        worst: float,
        cached: dict[Backend, int],
        number: int,
    ) -> None:
        """Remember what was compared, of `number` candidates: of many, the one that is taken and some others."""
        if len(candidates) > MOST_KEPT:
            at = candidates.index(taken)
            places = [at, *(place for place in range(MOST_KEPT) if place != at)][:MOST_KEPT]
            candidates, scores = [candidates[place] for place in places], [scores[place] for place in places]
        self.decision = Decision(self.name, candidates, scores, worst, self.unit, cached, number - len(candidates))

    def among(self, good: Sequence[Candidate], draw: Draw) -> Candidate:
        """Choose among those that are as good."""
        return good[draw(len(good))]

    def explain(self, candidates: Sequence[Candidate], ask: Ask, now: float) -> list[Figures]:
        """Tell what is known of each, and who would be passed over, and why. Changes nothing."""
        scores = self.scores(candidates, ask, now)
        worst = self.worst(min(scores))
        figures: list[Figures] = []
        for (backend, model), score in zip(candidates, scores, strict=True):
            cached = self._prefixes.cached(backend, model, ask.blocks) if self._prefixes is not None else 0
            why = passed_over(score, min(scores), worst, self.unit)
            estimate = backend.estimate
            queue, reading, cost = estimate.queue(now), estimate.reading(ask.size, cached, now), estimate.cost(now)
            figures.append(
                Figures(
                    backend=backend.name,
                    score=score,
                    passed_over=why,
                    expected=queue + reading + cost,
                    queue=queue,
                    reading=reading,
                    cost=cost,
                    in_flight=backend.in_flight,
                    cached=cached,
                    published=estimate.load,
                    others=estimate.others(now),
                )
            )
        return figures


class _Found:
    """How many bytes of a prompt each backend has cached under this model's name, and the most that a usable has."""

    def __init__(self, model: str, holders: dict[Backend, int]) -> None:
        self.model = model
        self.holders = holders
        self.most = 0
        for backend, end in holders.items():
            if end > self.most and backend.health.usable:
                self.most = end


_NOTHING = _Found("", {})


class _LeastLatency(_Scored):
    """The one with the least expected TTFT; among equally good ones, the one with the fewest in flight.

    The tolerance keeps several routers with the same backends from all picking the same one, and lets the load decide
    where the estimates differ by less than their error.
    """

    unit = " s"

    def scores(self, candidates: Sequence[Candidate], ask: Ask, now: float) -> list[float]:
        """Give the expected TTFT of each; an unmeasured one is scaled by its weight."""
        found, scores = _NOTHING, list[float]()
        for backend, model in candidates:
            if model != found.model:
                found = self._find(model, ask.blocks)
            scores.append(self._score(backend, found, ask, now))
        return scores

    def pick(self, candidates: Sequence[Candidate], ask: Ask, now: float, draw: Draw) -> Candidate:
        """Pick as any policy does, but drop scores early that can't be near the least: there may be hundreds."""
        if len(candidates) == 1:
            return candidates[0]
        found, least, worst = _NOTHING, inf, inf
        near, theirs, scores = list[Candidate](), list[float](), list[float]()
        few = len(candidates) <= MOST_KEPT
        for candidate in candidates:
            backend, model = candidate
            if model != found.model:
                found = self._find(model, ask.blocks)
            score = self._score(backend, found, ask, now)
            if few:
                scores.append(score)
            if score <= worst:
                near.append(candidate)
                theirs.append(score)
                if score < least:
                    least, worst = score, self.worst(score)
        good = [candidate for candidate, score in zip(near, theirs, strict=True) if score <= worst]
        if len(good) > 1 and found.most:
            alike = [candidate for candidate, score in zip(near, theirs, strict=True) if score <= least + SOON]
            strict = least * NEAR + SOON
            good = _holding_most(alike, found) or [
                candidate for candidate, score in zip(near, theirs, strict=True) if score <= strict
            ]
        taken = good[0] if len(good) == 1 else self.among(good, draw)
        if few:
            self.note(taken, candidates, scores, worst, found.holders, len(candidates))
        else:
            self.note(taken, near, theirs, worst, found.holders, len(candidates))
        return taken

    def _find(self, model: str, blocks: Sequence[int]) -> "_Found":
        if self._prefixes is None or not blocks:
            return _Found(model, {})
        return _Found(model, self._prefixes.holders(model, blocks))

    def _score(self, backend: Backend, found: "_Found", ask: Ask, now: float) -> float:
        estimate = backend.estimate
        if found.most:
            cached = found.holders.get(backend, 0)
            seconds = estimate.expected(ask, cached, now)
            more = found.most - cached
            if more > 0:
                line = estimate.line
                reread = REREAD_PENALTY * (1 + estimate.behind) * more
                # Another has read these bytes, so there is no need to try whether they are read as fast as hoped.
                beyond = ask.size - cached - line.reach
                if beyond > 0:
                    reread += min(more, beyond)
                seconds += line.slope * reread
        else:
            seconds = estimate.expected(ask, 0, now)
        return seconds if estimate.measured else seconds / backend.weight

    def worst(self, least: float) -> float:
        """Give the highest expected TTFT that counts as equal to the least."""
        return max(least * NEAR + SOON, AT_ONCE)

    def among(self, good: Sequence[Candidate], draw: Draw) -> Candidate:
        """Choose among those that are as good."""
        return least_in_flight(good, draw)


def _holding_most(alike: Sequence[Candidate], found: "_Found") -> list[Candidate]:
    """Give the idle ones that have the most of the prompt in their caches; none if none of them has any.

    Where engines are fast or prompts short, caches make too little difference for the scores.
    """
    idle = [each for each in alike if not each.backend.in_flight]
    most = max([found.holders.get(backend, 0) for backend, _ in idle], default=0)
    return [each for each in idle if found.holders.get(each.backend, 0) == most] if most else []


class _LeastInFlight(_Scored):
    """The one with the fewest attempts in flight for its weight."""

    unit = " in flight"

    def scores(self, candidates: Sequence[Candidate], ask: Ask, now: float) -> list[float]:  # noqa: ARG002
        """Give the attempts in flight of each, relative to its weight."""
        return [backend.load for backend, _ in candidates]


class _LeastResponseTime(_Scored):
    """The one with the least recent TTFT times its attempts in flight, relative to its weight.

    It is like least time of nginx and Traefik. It doesn't know which prompts were long.
    """

    unit = " s"

    def scores(self, candidates: Sequence[Candidate], ask: Ask, now: float) -> list[float]:  # noqa: ARG002
        """Give the recent TTFT of each, times its attempts in flight."""
        return [each.estimate.response * (each.in_flight + 1) / each.weight for each, _ in candidates]


class _RoundRobin(_Scored):
    """The one whose turn was longest ago, whichever the candidates are this time."""

    unit = " turns"

    def __init__(self, name: str, prefixes: Prefixes | None) -> None:
        super().__init__(name, prefixes)
        self._turn = 0
        self._turns: dict[str, int] = {}

    def scores(self, candidates: Sequence[Candidate], ask: Ask, now: float) -> list[float]:  # noqa: ARG002
        """Give the number of each one's last turn."""
        return [float(self._turns.get(backend.name, 0)) for backend, _ in candidates]

    def pick(self, candidates: Sequence[Candidate], ask: Ask, now: float, draw: Draw) -> Candidate:
        """Pick the candidate that gets the request, and note its turn."""
        taken = super().pick(candidates, ask, now, draw)
        self._turn += 1
        self._turns[taken.backend.name] = self._turn
        return taken


class _Weighted(_Scored):
    """Any, each with a probability proportional to its weight."""

    def among(self, good: Sequence[Candidate], draw: Draw) -> Candidate:
        """Draw a point within the sum of all weights, and give the candidate that it belongs to."""
        left = sum(candidate.backend.share for candidate in good) * draw(_PARTS) / _PARTS
        for candidate in good[:-1]:
            left -= candidate.backend.share
            if left < 0:
                return candidate
        return good[-1]


_POLICIES: dict[str, type[_Scored]] = {
    "least_latency": _LeastLatency,
    "least_in_flight": _LeastInFlight,
    "round_robin": _RoundRobin,
    "weighted": _Weighted,
    "random": _Scored,
    "least_response_time": _LeastResponseTime,
}
POLICIES = tuple(_POLICIES)


def policy_of(name: str, prefixes: Prefixes | None = None) -> Policy:
    """Make the policy of this name, one of `POLICIES`. Without `prefixes`, caches don't count."""
    return _POLICIES[name](name, prefixes)
