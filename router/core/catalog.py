"""From the name that a client asks for to the backends that could answer, in the order to try them.

A `Backend` is the live record of one place that requests can be sent; the ledger is its one writer. A `Catalog`
is an immutable view over all of them: a request resolves its name once, and holds what it got to its end, whatever
is reloaded meanwhile.

A name means, in this order: a model, a route of exactly that name, the same with or without `:latest`, the longest
wildcard that matches it. Ollama's clients add `:latest` to a name without a tag, or leave it out.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from router.core.admission import UNBOUNDED, Cap
from router.core.apis import UNKNOWN, Apis
from router.core.errors import ApiMissingError, ForbiddenError, ModelNotFoundError
from router.core.estimate.estimate import Estimate
from router.core.health import Health
from router.core.keys import Key
from router.core.reshape import Reshape
from router.core.stall import Progress
from router.core.wildcards import few, matches, other_name

DOUBT = 2
"""Errors in a row from which on a backend is in doubt, even if their statuses blame the requests. The price: a client
that sends nonsense again and again has every third of its requests sent twice."""

_MOST_REMEMBERED = 4096
"""Names whose meaning is remembered: names that clients make up must not fill the memory."""


@dataclass(slots=True, eq=False)
class Backend:
    """One place that requests can be sent: a launched engine's replica, or a URL.

    `models` maps the names that clients use to the names that the engine knows. `weight` is its capacity relative to
    the others. `in_flight` counts attempts sent and not yet ended, `ended` those that have ended, `answered` those that
    were answered whole, and `errors` its latest answers in a row that were errors.

    `supervised`: the router launches it, and restarts it if it ends. `resident`: its name in `router.core.memory`,
    where it is loaded and unloaded as requests want it and memory allows; empty: it isn't.

    `uuid_request_ids`: the engine refuses an X-Request-ID that is no UUID, so it gets no other. `put_right` turns a
    path and a request's body into the body that the engine must get, and raises RouterError for a request that would
    crash it; None if any body will do. `apis` is what is known of the APIs that it speaks.

    `stalled`: it stopped working, whatever its probes say, and hasn't been seen at work since. `progress` holds its
    signs of work.

    `estimate` predicts how soon it answers. `spoke`: an answer has brought content that wasn't reported to the estimate
    yet. `cap` bounds its requests in flight, and `size` is the bytes of their bodies. `ramp` is the share of its weight
    that it carries while it comes back.
    """

    name: str
    models: Mapping[str, str] = field(default_factory=dict)
    weight: float = 1.0
    health: Health = field(default_factory=Health)
    in_flight: int = 0
    ended: int = 0
    answered: int = 0
    errors: int = 0
    uuid_request_ids: bool = False
    put_right: Callable[[str, bytes], bytes] | None = None
    apis: Apis = UNKNOWN
    supervised: bool = False
    resident: str = ""
    stalled: bool = False
    spoke: bool = False
    progress: Progress = field(default_factory=Progress)
    estimate: Estimate = field(default_factory=Estimate)
    cap: Cap = UNBOUNDED
    size: int = 0
    ramp: float = 1.0

    @property
    def worked_at(self) -> float:
        """When it last gave a sign of work, in seconds of the loop's clock."""
        return self.progress.at

    @property
    def loadable(self) -> bool:
        """Whether it is loaded and unloaded as requests want it and memory allows."""
        return self.resident != ""

    @property
    def share(self) -> float:
        """The weight that it carries already."""
        return self.weight * self.ramp

    @property
    def load(self) -> float:
        """Attempts in flight, relative to the weight that it carries already."""
        return self.in_flight / (self.weight * self.ramp)


class Candidate(NamedTuple):
    """A backend that could answer, and its name for the model."""

    backend: Backend
    model: str


Tier = tuple[Candidate, ...]
"""Candidates of equal standing. A route over several models has one tier for each, in order."""


@dataclass(frozen=True, slots=True)
class Route:
    """Where a name leads: to the models `targets`, in order. `reshape` changes the request's body on the way.

    After an answer with a status in `next_on`, the next model is tried. `policy` is the balancing policy; empty: the
    router's own. A `hidden` route is served, but not listed. `keep_billing_line`: see `router.translate.messages`.
    """

    targets: tuple[str, ...]
    reshape: Reshape | None = None
    next_on: frozenset[int] = frozenset()
    policy: str = ""
    hidden: bool = False
    keep_billing_line: bool = False


DIRECT = Route(())
"""The route of a model's own name."""

UNTOLD = "a model that is not known yet"
"""The queue of all unknown names while a backend hasn't said yet what it serves."""


class Way(NamedTuple):
    """What a name means: the tiers to try in order, none of them empty, and the route that led there.

    `chooses`: whether there is more than one candidate. `loads`: whether any of them loads and unloads by itself.
    """

    tiers: tuple[Tier, ...]
    route: Route
    chooses: bool = False
    loads: bool = False


NOWHERE = Way((), DIRECT)
"""The way of a name that means nothing yet."""


def _way(tiers: tuple[Tier, ...], route: Route) -> Way:
    loads = any(backend.loadable for tier in tiers for backend, _ in tier)
    return Way(tiers, route, sum(map(len, tiers)) > 1, loads)


def narrowed(way: Way, may: Callable[[Candidate], bool]) -> Way:
    """Leave out the candidates that may not be asked; the way itself if all of them may."""
    tiers = tuple(tuple(each for each in tier if may(each)) for tier in way.tiers)
    return way if tiers == way.tiers else _way(tuple(tier for tier in tiers if tier), way.route)


class Listing(NamedTuple):
    """A name that can be asked for, as /v1/models shows it. `targets` is empty for a model."""

    name: str
    targets: tuple[str, ...]


class Catalog:
    """Every name that can be asked for, as of one moment's models and routes.

    Wildcards are indexed by the text before their first asterisk, so thousands of them cost no more than a few.
    """

    def __init__(self, backends: Iterable[Backend], routes: Mapping[str, Route]) -> None:
        models: dict[str, list[Candidate]] = {}
        for backend in backends:
            for public, known in backend.models.items():
                models.setdefault(public, []).append(Candidate(backend, known))
        self._models: dict[str, Tier] = {name: tuple(tier) for name, tier in models.items()}
        self._routes = dict(routes)
        # By the text before the first asterisk; the longest wildcards first.
        self._wildcards: dict[str, list[tuple[str, list[str]]]] = {}
        for name in sorted(routes, key=len, reverse=True):
            if "*" in name:
                parts = name.split("*")
                self._wildcards.setdefault(parts[0], []).append((name, parts))
        self._beginnings = sorted({len(beginning) for beginning in self._wildcards})
        self._remembered: dict[str, Way] = {}

    def resolve(self, name: str, key: Key | None = None) -> Way:
        """Find what a name means. There is no tier to try if no backend serves the models that it leads to.

        Raises ForbiddenError if the `key` that asks may not use it, whether it is there or not; and ModelNotFoundError,
        which lists the known names that it may use, if the name means nothing.
        """
        if key is not None and not key.may_use(name):
            raise ForbiddenError(
                f"The key '{key.name}' may not use the model '{name}'. It may use: {key.models}.", param="model"
            )
        way = self._remembered.get(name)
        if way is None:
            way = self._find(name, key)
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            self._remembered[name] = way
        return way

    def able(self, way: Way, path: str, key: Key | None = None) -> Way:
        """Leave out the backends that lack the API of this path.

        Raises ApiMissingError, which names models that have it, if all of them do; of these, what `key` may use.
        """
        able = narrowed(way, lambda each: each.backend.apis.has_path(path) is not False)
        if way.tiers and not able.tiers:
            raise ApiMissingError(f"{_why_not(way, path)} {self._that_have(path, key)}")
        return able

    def _that_have(self, path: str, key: Key | None) -> str:
        """Name the models that have the API of a path, and those of which only an answer can tell; none that is out."""
        has: dict[bool | None, list[str]] = {True: [], None: [], False: []}
        for name, tier in self._models.items():
            if key is not None and not key.may_use(name):
                continue
            there = [each.backend for each in tier if each.backend.health.usable or each.backend.health.coming]
            found = {each.apis.has_path(path) for each in there}
            has[True if True in found else None if None in found else False].append(name)
        known = f"Models that have it: {few(has[True])}." if has[True] else ""
        maybe = f"Models that may have it: {few(has[None])}." if has[None] else ""
        return f"{known} {maybe}".strip() or "No model here has it."

    def nameless(self) -> str:
        """Give the name that requests without one mean: the route `*`, or the only model; empty if there is neither."""
        if "*" in self._routes:
            return "*"
        return next(iter(self._models)) if len(self._models) == 1 else ""

    def has_rivals(self, backend: Backend) -> bool:
        """Tell whether another backend serves a model of this one, so that there is a choice between them."""
        return any(len(self._models.get(name, ())) > 1 for name in backend.models)

    def meant(self, name: str) -> Listing:
        """Give the model or the route that a name means, as it is written here. Raises ModelNotFoundError."""
        name = self._own(name)
        if name in self._models:
            return Listing(name, ())
        route = self._route(name)
        return Listing(route, self._routes[route].targets)

    def _find(self, name: str, key: Key | None) -> Way:
        name = self._own(name)
        tier = self._models.get(name)
        if tier is not None:
            return _way((tier,), DIRECT)
        route = self._routes[self._route(name, key)]
        return _way(tuple(tier for target in route.targets if (tier := self._models.get(target))), route)

    def _own(self, name: str) -> str:
        """Give a name as it is written here: Ollama's may have `:latest` at its end, or lack it."""
        if name in self._models or name in self._routes:
            return name
        other = other_name(name)
        return other if other in self._models or other in self._routes else name

    def _route(self, name: str, key: Key | None = None) -> str:
        exact = name if name in self._routes else max(self._matching(name), key=len, default=None)
        if exact is None:
            raise ModelNotFoundError(f"The model '{name}' does not exist. {self._known(key)}", param="model")
        return exact

    def _matching(self, name: str) -> Iterator[str]:
        """Give, for each beginning, the longest wildcard that matches."""
        for length in self._beginnings:
            if length > len(name):
                return
            for wildcard, parts in self._wildcards.get(name[:length], ()):
                if matches(parts, name):
                    yield wildcard
                    break

    def _known(self, key: Key | None) -> str:
        names = [each.name for each in self.listing(key)]
        if names or key is not None:
            return f"Known: {few(names)}." if names else "There is none now that the key may use."
        return "No model is known yet: no backend has said what it serves."

    def _shown(self) -> Iterator[tuple[str, Route]]:
        for name, route in self._routes.items():
            if not (route.hidden or "*" in name or name in self._models):
                yield name, route

    def listing(self, key: Key | None = None) -> list[Listing]:
        """List each model, then each route of an exact name; with a key, what it may use, and nothing else."""
        routes = [Listing(name, route.targets) for name, route in self._shown()]
        found = [Listing(name, ()) for name in self._models] + routes
        if key is None:
            return found
        return [
            Listing(each.name, tuple([name for name in each.targets if key.may_use(name)]))
            for each in found
            if key.may_use(each.name)
        ]


def _why_not(way: Way, path: str) -> str:
    """Say why no backend of a way has the API of a path."""
    apis = [each.backend.apis for tier in way.tiers for each in tier]
    needs = sorted({each.needs[path] for each in apis if path in each.needs})
    if needs:
        return f"This model is launched without {path}: it needs {' or '.join(needs)} in its launch.args."
    return f"This model runs on {' and '.join(sorted({each.engine for each in apis}))}, which has no {path}."
