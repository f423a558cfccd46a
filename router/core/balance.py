"""Which of several backends gets a request: a pure choice over what is known of them, ties broken by a draw.

Each policy gives every candidate a score, and takes one of the lowest. `least_latency` is the router's own: the time
until the backend is expected to begin its answer, which is `latency.Estimate`'s sum, less the reading of what
`affinity.Prefixes` believes to be in its cache. The others are what other balancers have. docs/balancing.md tells why,
and measures them beside each other.
"""

from collections.abc import Callable, Sequence
from math import inf
from typing import Final, NamedTuple, Protocol

from router.core.affinity import Prefixes
from router.core.catalog import Backend, Candidate
from router.core.estimate.ask import Ask
from router.core.load import Load

Draw = Callable[[int], int]
"""A random whole number from 0 to below its argument, such as `random.randrange`."""

NEAR: Final = 1.2
"""Times the least that is expected, up to which a backend is as good: more exact than that is no expectation."""

SOON: Final = 0.001
"""Seconds above the least, up to which a backend is as good."""

AGAIN: Final = 0.5
"""Times its seconds, that reading what another has in its cache counts more, once and once for each who comes to wait
behind it (`Estimate.behind`): they pay for it."""

_PARTS: Final = 1 << 30  # of a sum of weights, in a weighted draw


class Figures(NamedTuple):
    """What is known of one candidate for a request, whatever the policy; times in seconds.

    `expected` is the time until its first token, the sum of `queue` (until it would be this prompt's turn), `reading`
    (of the prompt, less the `cached` bytes of it that are believed to be in its cache) and `cost` (what its errors are
    taken for). `score` is what the policy goes by: for least_latency that is `expected`, and more where another has
    more in its cache. `passed_over` is why it isn't taken; empty for those that it would be drawn from.

    `published` is what the engine said last of its load, if it says anything, and `others` how many requests are
    believed of that to be there now and not from here.
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
    """Chooses among candidates, of which there is at least one."""

    name: str

    def pick(self, candidates: Sequence[Candidate], ask: Ask, now: float, draw: Draw) -> Candidate:
        """Choose where the request goes."""

    def explain(self, candidates: Sequence[Candidate], ask: Ask, now: float) -> list[Figures]:
        """Tell what is known of each, and who would be passed over, and why. Changes nothing."""


def least_in_flight(candidates: Sequence[Candidate], draw: Draw) -> Candidate:
    """Take the candidate with the fewest attempts in flight for its weight; among equals, any.

    Ties are drawn, not taken in order: else every quiet moment's request goes to the first of the list. The weight is
    all of it, of one that has just come back, too (unlike `Backend.load`): who asks here knows that by its estimate.
    """
    if len(candidates) == 1:
        return candidates[0]
    least = min(backend.in_flight / backend.weight for backend, _ in candidates)
    equals = [each for each in candidates if each.backend.in_flight / each.backend.weight == least]
    return equals[draw(len(equals))]


class _Scored:
    """A policy that takes one of those with the lowest score. By itself, all have the same: any is taken."""

    unit = ""  # of the score

    def __init__(self, name: str, prefixes: Prefixes | None) -> None:
        self.name = name
        self._prefixes = prefixes

    def scores(self, candidates: Sequence[Candidate], ask: Ask, now: float) -> list[float]:  # noqa: ARG002
        """Score each: the lower, the better."""
        return [0.0] * len(candidates)

    def worst(self, least: float) -> float:
        """Tell the score that is as good as the least."""
        return least

    def pick(self, candidates: Sequence[Candidate], ask: Ask, now: float, draw: Draw) -> Candidate:
        """Choose where the request goes."""
        if len(candidates) == 1:
            return candidates[0]
        scores = self.scores(candidates, ask, now)
        worst = self.worst(min(scores))
        good = [candidates[place] for place, score in enumerate(scores) if score <= worst]
        return good[0] if len(good) == 1 else self.among(good, draw)

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
            why = "" if score <= worst else f"{score:.4g}{self.unit}, and another has {min(scores):.4g}{self.unit}"
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
    """Who has how many bytes of a prompt cached that they know by this model, and how many have those with the most."""

    def __init__(self, model: str, holders: dict[Backend, int]) -> None:
        self.model = model
        self.holders = holders
        self.most = max(holders.values()) if holders else 0


_NOTHING = _Found("", {})


class _LeastLatency(_Scored):
    """The one expected to begin its answer soonest; among those that are as good, the one with the fewest in flight.

    That some are as good keeps several routers before the same backends from all taking the same one, and leaves a
    difference that is too small to be known to the load.
    """

    unit = " s"

    def scores(self, candidates: Sequence[Candidate], ask: Ask, now: float) -> list[float]:
        """Tell the seconds that are expected of each; where nothing was measured, its weight counts."""
        found, scores = _NOTHING, list[float]()
        for backend, model in candidates:
            if model != found.model:
                found = self._find(model, ask.blocks)
            scores.append(self._score(backend, found, ask, now))
        return scores

    def pick(self, candidates: Sequence[Candidate], ask: Ask, now: float, draw: Draw) -> Candidate:
        """Choose where the request goes: as any policy, but among hundreds no score is kept that can't be near."""
        if len(candidates) == 1:
            return candidates[0]
        found, least, worst = _NOTHING, inf, inf
        near, theirs = list[Candidate](), list[float]()
        for candidate in candidates:
            backend, model = candidate
            if model != found.model:
                found = self._find(model, ask.blocks)
            score = self._score(backend, found, ask, now)
            if score <= worst:
                near.append(candidate)
                theirs.append(score)
                if score < least:
                    least, worst = score, self.worst(score)
        good = [candidate for candidate, score in zip(near, theirs, strict=True) if score <= worst]
        return good[0] if len(good) == 1 else self.among(good, draw)

    def _find(self, model: str, blocks: Sequence[int]) -> "_Found":
        if self._prefixes is None or not blocks:
            return _Found(model, {})
        return _Found(model, self._prefixes.holders(model, blocks))

    def _score(self, backend: Backend, found: "_Found", ask: Ask, now: float) -> float:
        estimate = backend.estimate
        if found.most:
            cached = found.holders.get(backend, 0)
            again = AGAIN * (1 + estimate.behind) * estimate.line.slope * (found.most - cached)
            seconds = estimate.expected(ask, cached, now) + again
        else:
            seconds = estimate.expected(ask, 0, now)
        return seconds if estimate.measured else seconds / backend.weight

    def worst(self, least: float) -> float:
        """Tell up to what is as good as the least."""
        return least * NEAR + SOON

    def among(self, good: Sequence[Candidate], draw: Draw) -> Candidate:
        """Choose among those that are as good."""
        return least_in_flight(good, draw)


class _LeastInFlight(_Scored):
    """The one with the fewest attempts in flight for its weight."""

    unit = " in flight"

    def scores(self, candidates: Sequence[Candidate], ask: Ask, now: float) -> list[float]:  # noqa: ARG002
        """Tell what each has in flight for its weight."""
        return [backend.load for backend, _ in candidates]


class _LeastResponseTime(_Scored):
    """The one whose first tokens took least of late, times what it has in flight, for its weight.

    So do nginx's and Traefik's least time. Which prompts were long it doesn't know.
    """

    unit = " s"

    def scores(self, candidates: Sequence[Candidate], ask: Ask, now: float) -> list[float]:  # noqa: ARG002
        """Tell the seconds of each, in each other's way."""
        return [each.estimate.response * (each.in_flight + 1) / each.weight for each, _ in candidates]


class _RoundRobin(_Scored):
    """The one whose turn was the longest ago, whoever else may be a candidate this time."""

    unit = " turns"

    def __init__(self, name: str, prefixes: Prefixes | None) -> None:
        super().__init__(name, prefixes)
        self._turn = 0
        self._turns: dict[str, int] = {}

    def scores(self, candidates: Sequence[Candidate], ask: Ask, now: float) -> list[float]:  # noqa: ARG002
        """Tell when each had its turn."""
        return [float(self._turns.get(backend.name, 0)) for backend, _ in candidates]

    def pick(self, candidates: Sequence[Candidate], ask: Ask, now: float, draw: Draw) -> Candidate:
        """Choose where the request goes, and note its turn."""
        taken = super().pick(candidates, ask, now, draw)
        self._turn += 1
        self._turns[taken.backend.name] = self._turn
        return taken


class _Weighted(_Scored):
    """Any, each as often as its weight is of the sum."""

    def among(self, good: Sequence[Candidate], draw: Draw) -> Candidate:
        """Draw a point on the sum of all weights, and tell whose it is."""
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
    """Make the policy of this name, one of `POLICIES`. Without `prefixes` nothing is known of caches."""
    return _POLICIES[name](name, prefixes)
