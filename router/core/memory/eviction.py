"""Which backends make room: the set that costs least and frees enough on each device. Pure.

What an eviction costs is `worth`: the seconds that reloading takes, times the chance of being wanted again. A set must
cover what is lacking on every device, so the problem is a small covering problem, NP-hard in general. Up to `_EXACT`
candidates it is searched wholly (branch and bound); beyond, the cheapest by worth per useful byte are taken in turn
and those that are not needed are given back, as GreedyDual-Size orders its victims (Cao & Irani, 1997). Bytes of
different devices are never added: what counts is the share of what is lacking on each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from router.core.memory.devices import Footprint

_EXACT = 12


@dataclass(frozen=True, slots=True)
class Candidate:
    """A backend that can be evicted: its name, what it holds, and what its eviction costs in seconds."""

    name: str
    holds: Footprint
    worth: float


def choose(lacking: Mapping[str, int], candidates: Sequence[Candidate]) -> tuple[Candidate, ...] | None:
    """Choose the set of least worth that frees what is lacking; None where all together don't. Fewer win ties."""
    lacks = {device: size for device, size in lacking.items() if size > 0}
    useful = [each for each in candidates if _use(each, lacks) > 0]
    if not _covers(useful, lacks):
        return None
    useful.sort(key=lambda each: (each.worth / _use(each, lacks), each.name))
    taken = _greedy(useful, lacks)
    if len(useful) > _EXACT:
        return taken
    search = _Search(useful, taken)
    search.go(0, lacks, [], 0.0)
    return search.best


def _use(candidate: Candidate, lacks: Mapping[str, int]) -> float:
    """Sum the shares of what is lacking on each device that a candidate frees."""
    return sum(min(1.0, candidate.holds.get(device, 0) / size) for device, size in lacks.items())


def _covers(candidates: Sequence[Candidate], lacks: Mapping[str, int]) -> bool:
    return all(sum(each.holds.get(device, 0) for each in candidates) >= size for device, size in lacks.items())


def _greedy(useful: Sequence[Candidate], lacks: Mapping[str, int]) -> tuple[Candidate, ...]:
    """Take in order until it is enough; then give back the costliest that are not needed."""
    taken: list[Candidate] = []
    for each in useful:
        if _covers(taken, lacks):
            break
        taken.append(each)
    for each in sorted(taken, key=lambda one: -one.worth):
        rest = [one for one in taken if one is not each]
        if _covers(rest, lacks):
            taken = rest
    return tuple(taken)


class _Search:
    """A whole search with a bound: nothing is looked at that costs more than the best set so far."""

    def __init__(self, useful: Sequence[Candidate], best: tuple[Candidate, ...]) -> None:
        self._useful = useful
        self.best = best
        self._cost = (sum(each.worth for each in best), len(best))

    def go(self, at: int, lacks: Mapping[str, int], taken: list[Candidate], worth: float) -> None:
        """Try each set that begins with `taken` and goes on with candidates from `at` on."""
        if (worth, len(taken)) >= self._cost:
            return
        if not lacks:
            self.best, self._cost = tuple(taken), (worth, len(taken))
            return
        if not _covers(self._useful[at:], lacks):
            return
        each = self._useful[at]
        left = {device: size - each.holds.get(device, 0) for device, size in lacks.items()}
        self.go(at + 1, {device: size for device, size in left.items() if size > 0}, [*taken, each], worth + each.worth)
        self.go(at + 1, lacks, taken, worth)
