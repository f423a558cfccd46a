"""The backends there are, and what model names mean: the routes and the catalog that both make.

A backend whose models router.yaml doesn't list is asked for them. Until it answers, a name that means nothing may
still come to mean something, so requests for it wait, for `DISCOVERY_TIMEOUT` at most.
"""

import asyncio
from collections.abc import Callable, Mapping
from secrets import token_hex

from launchers.abilities import Abilities
from router.core.catalog import Backend, Catalog, Route, Way, narrowed
from router.core.contexts import Contexts
from router.core.errors import ModelNotFoundError, RouterError, UnavailableError
from router.core.hops import LoopError, passed
from router.core.keys import Key
from router.core.omissions import Omissions

DISCOVERY_TIMEOUT = 10.0
"""Seconds for which requests for unknown names wait while a new backend hasn't said what it serves. It is long enough
for a server that is started along with the router, and a client with a mistyped name still hears of it soon enough."""

REBUILD_AFTER = 0.02
"""Seconds within which changes are gathered into one rebuild: a thousand backends may report at once."""


_NOBODY: frozenset[str] = frozenset()

_NAMES = 3
"""Most names of backends in an error."""


class Directory:
    """What is served under which name. `on_change` is called after each rebuild of the catalog.

    So is `on_news`, and also when a backend has come up or gone down (`tell_news`).

    `backends` are by their names, and `abilities` has what their models can do, by the engines' names; of that,
    `contexts` decides where long prompts go. `omissions` are the fields that backends have refused. `catalog` is
    replaced whole, never changed: a request keeps what it resolved.

    `instance` is this router's own id, from its start to its end. `through` has, for peers' backends, the ids of the
    routers that each request there passes.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self.backends: dict[str, Backend] = {}
        self.abilities: dict[Backend, Mapping[str, Abilities]] = {}
        self.catalog = Catalog((), {})
        self.instance = token_hex(8)
        self.through: dict[Backend, frozenset[str]] = {}
        self.contexts = Contexts()
        self.omissions = Omissions()
        self._routes: Mapping[str, Route] = {}
        # Backends that haven't said what they serve yet, and until when requests wait for that.
        self._undiscovered: dict[Backend, float] = {}
        # Of these, those that have said it since the catalog was built: it doesn't have their models yet.
        self._said: list[Backend] = []
        self._loop = asyncio.get_running_loop()
        self._rebuilding: asyncio.TimerHandle | None = None
        self._on_change = on_change
        self.on_news: Callable[[], None] = lambda: None

    def add(self, backend: Backend, *, discovers: bool) -> None:
        """Add a backend, in the place of one of the same name. `discovers`: it will say what it serves."""
        self.backends[backend.name] = backend
        if discovers:
            self.awaits(backend)
        self.changed()

    def awaits(self, backend: Backend) -> None:
        """Have requests for unknown names wait for what a backend, or a peer of its name, will say that it serves."""
        self._undiscovered[backend] = self._loop.time() + DISCOVERY_TIMEOUT

    def remove(self, backend: Backend) -> None:
        """Remove a backend. Another one of its name stays."""
        self._undiscovered.pop(backend, None)
        if self.has(backend):
            del self.backends[backend.name]
            self.abilities.pop(backend, None)
            self.through.pop(backend, None)
            self.contexts.forget(backend)
            self.omissions.forget(backend)
            self.changed()

    def has(self, backend: Backend) -> bool:
        """Whether this very backend is served, not another one of its name."""
        return self.backends.get(backend.name) is backend

    def tell(self, backend: Backend, abilities: Mapping[str, Abilities]) -> None:
        """Note what a backend's models can do."""
        if self.has(backend):
            self.abilities[backend] = abilities
            self.contexts.describe(backend, {name: each.context for name, each in abilities.items() if each.context})

    def able(self, way: Way, path: str, key: Key | None, hops: bytes) -> Way:
        """Leave out backends that lack the API of a path, and those that lead back to where the request comes from.

        `hops` are the routers that it has passed. Raises ApiMissingError and LoopError.
        """
        able = self.catalog.able(way, path, key)
        return self.onward(able, hops) if hops else able

    def onward(self, way: Way, hops: bytes) -> Way:
        """Leave out the peers that a request comes from, and those that lead back there. Raises LoopError."""
        before, through = passed(hops, self.instance), self.through
        there = narrowed(way, lambda each: not before & through.get(each.backend, _NOBODY))
        if way.tiers and not there.tiers:
            raise LoopError("This router has the model from those alone that the request comes from.")
        return there

    def route(self, routes: Mapping[str, Route]) -> None:
        """Replace the routes."""
        self._routes = routes
        self.changed()

    def discovered(self, backend: Backend) -> None:
        """Note that a backend has said what it serves, or that it won't: nobody waits for that any longer."""
        if self._rebuilding is None:
            self._undiscovered.pop(backend, None)
        else:
            self._said.append(backend)

    def may_learn(self, now: float) -> bool:
        """Whether an unknown name may soon be known, because a backend hasn't said yet what it serves."""
        return bool(self._undiscovered) and any(now < until for until in self._undiscovered.values())

    def unknown(self, error: ModelNotFoundError) -> RouterError:
        """Tell of an unknown name whether it may be that of a backend that hasn't said yet what it serves."""
        if not self._undiscovered:
            return error
        names = sorted(backend.name for backend in self._undiscovered)
        more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
        who = ", ".join(names[:_NAMES]) + more
        return UnavailableError(
            f"{error.message} But {who} can't be asked now what is served there. Try again.", retry_after=5
        )

    def changed(self) -> None:
        """Rebuild the catalog soon, together with what else changes until then."""
        if self._rebuilding is None:
            self._rebuilding = self._loop.call_later(REBUILD_AFTER, self.rebuild)

    def rebuild(self) -> None:
        """Rebuild the catalog now."""
        self.close()
        self.catalog = Catalog(self.backends.values(), self._routes)
        for backend in self._said:
            self._undiscovered.pop(backend, None)
        self._said.clear()
        self._on_change()
        self.tell_news()

    def tell_news(self) -> None:
        """Call `on_news`: another model may be served now."""
        self.on_news()

    def asked_beside(self, backend: Backend) -> int:
        """Count the attempts ever sent to other backends of the same models, by their names or by routes."""
        names = set(backend.models)
        for route in self._routes.values():
            if names.intersection(route.targets):
                names = names.union(route.targets)
        beside = [each for each in self.backends.values() if each is not backend and names.intersection(each.models)]
        return sum(each.ended + each.in_flight for each in beside)

    def close(self) -> None:
        """Cancel a rebuild that is planned."""
        if self._rebuilding is not None:
            self._rebuilding.cancel()
            self._rebuilding = None
