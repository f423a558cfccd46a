"""From the name that a client asks for to the backends that could answer, in the order to try them.

A `Backend` is the live record of one place that requests can be sent; the data plane is its one writer. A `Catalog`
is an immutable view over all of them: a request resolves its name once, and holds what it got to its end, whatever
is reloaded meanwhile.

A name means, in this order: a model, a route of exactly that name, the longest wildcard that matches it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from router.core.errors import ModelNotFoundError
from router.core.health import Health
from router.core.latency import Estimate
from router.core.stall import Prefill

_NAMES_IN_AN_ERROR = 20


@dataclass(slots=True, eq=False)
class Backend:
    """One place that requests can be sent: a launched engine's replica, or a URL.

    `models` maps the names that clients use to the names that the engine knows. `weight` is its capacity beside
    the others'. `in_flight` counts attempts sent and not yet ended, `answered` those that were answered whole.
    `uuid_request_ids`: the engine refuses an X-Request-ID that is no UUID, so it gets none other.

    `stalled`: it stopped working, whatever its probes say, and has not been seen at work since. `worked_at` is when it
    was last seen at work, in seconds of the loop's clock, and `counted` how many it had answered by then.

    `estimate` is what is known of how soon it answers. `max_in_flight` is the most attempts that it is to have at a
    time; None: as many as come.

    `put_right` makes of a path and a request's body the body that the engine must get, and raises RouterError for a
    request that would end it; None where any will do.
    """

    name: str
    models: Mapping[str, str] = field(default_factory=dict)
    weight: float = 1.0
    health: Health = field(default_factory=Health)
    in_flight: int = 0
    answered: int = 0
    uuid_request_ids: bool = False
    put_right: Callable[[str, bytes], bytes] | None = None
    stalled: bool = False
    worked_at: float = 0.0
    counted: int = 0
    prefill: Prefill = field(default_factory=Prefill)
    estimate: Estimate = field(default_factory=Estimate)
    max_in_flight: int | None = None

    @property
    def load(self) -> float:
        """Attempts in flight for the weight that it carries."""
        return self.in_flight / self.weight


class Candidate(NamedTuple):
    """A backend that could answer, and the name that it knows the model by."""

    backend: Backend
    model: str


Tier = tuple[Candidate, ...]
"""Candidates of equal standing. A route over several models has one tier for each, in order."""


class Listing(NamedTuple):
    """A name that can be asked for, as /v1/models shows it."""

    name: str
    targets: tuple[str, ...]  # empty for a model
    ready: bool


class Catalog:
    """Every name that can be asked for, as of one moment's models and routes."""

    def __init__(self, backends: Iterable[Backend], routes: Mapping[str, tuple[str, ...]]) -> None:
        models: dict[str, list[Candidate]] = {}
        for backend in backends:
            for public, known in backend.models.items():
                models.setdefault(public, []).append(Candidate(backend, known))
        self._models: dict[str, Tier] = {name: tuple(tier) for name, tier in models.items()}
        self._routes = {name: targets for name, targets in routes.items() if "*" not in name}
        patterns = sorted((name for name in routes if "*" in name), key=len, reverse=True)
        self._wildcards = [(name.split("*"), routes[name]) for name in patterns]

    def resolve(self, name: str) -> tuple[Tier, ...]:
        """Find the tiers to try, in order; none of them is empty, but there may be none.

        Raises ModelNotFoundError, which names what could be asked for, where the name means nothing.
        """
        tier = self._models.get(name)
        if tier is not None:
            return (tier,)
        targets = self._targets(name)
        return tuple(tier for target in targets if (tier := self._models.get(target)))

    def _targets(self, name: str) -> tuple[str, ...]:
        if name in self._routes:
            return self._routes[name]
        for parts, targets in self._wildcards:
            if _matches(parts, name):
                return targets
        raise ModelNotFoundError(f"The model '{name}' does not exist. {self._known()}", param="model")

    def _known(self) -> str:
        names = [*self._models, *self._routes]
        if not names:
            return "No model is known yet: no backend has said what it serves."
        shown = ", ".join(names[:_NAMES_IN_AN_ERROR])
        more = len(names) - _NAMES_IN_AN_ERROR
        return f"Known: {shown} and {more} more." if more > 0 else f"Known: {shown}."

    def listing(self) -> list[Listing]:
        """Tell each model, then each route of an exact name, with whether it could be served now."""
        models = [Listing(name, (), _ready((tier,))) for name, tier in self._models.items()]
        routes = [
            Listing(name, targets, _ready(self.resolve(name)))
            for name, targets in self._routes.items()
            if name not in self._models
        ]
        return models + routes


def _ready(tiers: Iterable[Tier]) -> bool:
    return any(candidate.backend.health.usable for tier in tiers for candidate in tier)


def _matches(parts: Sequence[str], name: str) -> bool:
    """Tell whether a wildcard, split at its asterisks, fits a name: each part in its order, the outer ones at the ends.

    In time that grows with the name alone: an asterisk never needs to take more than it must.
    """
    first, *middle, last = parts
    if len(name) < len(first) + len(last) or not name.startswith(first) or not name.endswith(last):
        return False
    at, end = len(first), len(name) - len(last)
    for part in middle:
        found = name.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True
