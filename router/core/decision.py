"""Why a request goes where it goes: what was compared when its backend was chosen, as it was at that moment. Pure.

It is noted for each choice, and few are asked for. So a decision keeps what the choice had in its hands anyway, and is
put into words only for whoever asks.
"""

from collections.abc import Sequence
from typing import Final

from router.core.catalog import Backend, Candidate
from router.core.health import Health

MOST_KEPT: Final = 64
"""Candidates of a decision that are kept, of each kind: those that could take the request, and those that couldn't."""

TRIED: Final = "it was tried before"
NO_ROOM: Final = "it has no room"
JUST_REFUSED: Final = "it has just refused such a request"
HELD: Final = "it is drained"
MAKES_ROOM: Final = "it makes room for other models"

NOTHING: Final[dict[Backend, int]] = {}


class Other:
    """A candidate that couldn't take the request: its health if that is why, else the words for it.

    `tier` is the place of its model in the route.
    """

    def __init__(self, tier: int, candidate: Candidate, why: Health | str) -> None:
        self.tier: Final = tier
        self.candidate: Final = candidate
        self.why: Final = why


class Decision:
    """What was known when one of the `candidates` was chosen.

    `scores` are the policy's, in its `unit`: the lower, the better, and up to `worst` they are equally good. Without
    them, there was no choice. `in_flight` is what each candidate had, and `cached` the bytes of the prompt that were
    probably in its cache, 0 where it isn't named. All candidates are of the model at the place `tier` of the route;
    `others` could not take the request. `left_out` counts those that aren't kept.
    """

    def __init__(
        self,
        policy: str,
        candidates: Sequence[Candidate],
        scores: Sequence[float] = (),
        worst: float = 0.0,
        unit: str = "",
        cached: dict[Backend, int] = NOTHING,
        left_out: int = 0,
    ) -> None:
        self.policy: Final = policy
        self.candidates: Final = candidates
        self.scores: Final = scores
        self.worst: Final = worst
        self.unit: Final = unit
        self.cached: Final = cached
        self.in_flight: Final = [backend.in_flight for backend, _ in candidates]
        self.tier = 0
        self.others: Sequence[Other] = ()
        self.left_out = left_out


def why_not(candidate: Candidate, why: Health | str) -> str:
    """Say why a candidate couldn't take a request."""
    if isinstance(why, str):
        return why
    # One that is loaded on demand isn't down.
    return why.reason if candidate.backend.loadable and why.coming else f"{why.verdict.value}: {why.reason}"


def figures(decision: Decision, taken: str) -> list[dict[str, object]]:
    """Describe each candidate as `Dispatcher.explain` does; `taken` is the backend that was chosen."""
    policy, least = decision.policy, min(decision.scores, default=0.0)
    told: list[dict[str, object]] = []
    for place, (backend, _) in enumerate(decision.candidates):
        known: dict[str, object] = {"backend": backend.name, "tier": decision.tier, "policy": policy, "passed_over": ""}
        known["in_flight"] = decision.in_flight[place]
        if decision.scores:
            score = decision.scores[place]
            known["score"], known["cached"] = score, decision.cached.get(backend, 0)
            if backend.name != taken:
                known["passed_over"] = passed_over(score, least, decision.worst, decision.unit) or "as good"
        told.append(known)
    for each in decision.others:
        name = each.candidate.backend.name
        told.append(
            {"backend": name, "tier": each.tier, "policy": policy, "passed_over": why_not(each.candidate, each.why)}
        )
    return told


def passed_over(score: float, least: float, worst: float, unit: str) -> str:
    """Say why a candidate of this score isn't chosen; nothing if it may be."""
    return "" if score <= worst else f"{score:.4g}{unit}, and another has {least:.4g}{unit}"


def summary(decision: Decision, taken: str) -> str:
    """Say in a line why this backend was chosen."""
    known = [(score, backend.name) for (backend, _), score in zip(decision.candidates, decision.scores, strict=False)]
    own = [score for score, name in known if name == taken]
    if not own:
        return "the only one that could take it"
    others = [each for each in known if each[1] != taken]
    said = f"{decision.policy}: {own[0]:.4g}{decision.unit}"
    alike = [name for score, name in others if score <= decision.worst]
    if alike:
        more = f" and {len(alike) - 3} more" if len(alike) > 3 else ""
        return f"{said}, as good as {', '.join(alike[:3])}{more}"
    if not others:
        return said
    score, name = min(others)
    return f"{said}; next is {name} with {score:.4g}{decision.unit}"
