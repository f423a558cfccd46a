"""Endpoints that the router answers itself: models, health and readiness.

GET /v1/models and /v1/models/{id} answer as OpenAI's API does, with more fields: a route's `targets`, and `state`:

  ready        it is answered at once
  loading      it is being loaded; `progress` is the share that is done, 0 to 1, where that is known
  unloaded     it is loaded when it is asked for
  asleep       its machine sleeps, and is woken when it is asked for; `loading` while it wakes
  unavailable  nothing can answer now

It is the best state of all backends that the name may lead to, but for those that an admin has drained.

What isn't known of a model is left out:

  context_length  the most tokens of a request with its answer, under OpenRouter's and LM Studio's name;
                  `max_model_len` is the same for clients of vllm
  capabilities    words, of which Ollama's and llama.cpp's listings have `completion`, `tools` and `vision`, and
                  LM Studio's and OpenRouter's `embeddings` and `reasoning`

Where several backends serve a model, its context is the longest that is known, as a long prompt goes to one that holds
it; its capabilities are what can be counted on at each. A route's are its first target's.

Another router, which names itself in a header (`core.hops`), is told who this is, and of each model which routers it is
served `through`. What is served through itself alone is left out.

Codex, which names its version in the query, gets `models` too (`router.api.codex`). Clients of Anthropic's API, which
name its version in a header, get its fields (`router.api.anthropic`).
"""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import msgspec
from aiohttp import web

from launchers.abilities import UNKNOWN, Abilities, common
from router.api import anthropic, codex
from router.core.catalog import Backend, Catalog
from router.core.errors import ModelNotFoundError
from router.core.hops import NAME, ids_of
from router.core.keys import Key
from router.core.memory.states import State

_ON_ITS_WAY = frozenset({State.QUEUED, State.LOADING})
_CAN_LOAD = frozenset({State.UNLOADED, State.DRAINING, State.UNLOADING, State.RELEASING})

_ADDRESS = re.compile(
    r"\w+://[^\s'\",)]+|\[[0-9a-f:.]*:[0-9a-f:.]*\](?::\d+)?|\b\d{1,3}(?:\.\d{1,3}){3}\b(?::\d+)?|[\w.-]+:\d+\b"
    r"|\b[0-9a-f]{1,4}(?::[0-9a-f]{0,4}){2,7}\b|(?<=\bhost )\S+",
    re.IGNORECASE,
)
"""Matches what tells where a backend is: a URL, an IP address, a host with its port."""

_HOST = re.compile(r"[\w-]+(?:\.[\w-]+)*\.[a-z]{2,}", re.IGNORECASE)
"""Matches a host that is a backend's name: qwen2.5 is none."""

HOPS = NAME.decode("ascii")
_NOBODY: frozenset[str] = frozenset()

_encode = msgspec.json.Encoder().encode


def json_answer(content: object, status: int = 200) -> web.Response:
    """Answer with JSON."""
    return web.Response(body=_encode(content), status=status, content_type="application/json")


class Stages(Protocol):
    """The part of the data plane that knows how far models are loaded."""

    def stage(self, backend: Backend) -> tuple[State | None, float]:
        """Tell how far a backend is, and the share of its load that is done; None if memory doesn't know it."""


class KnownModels(Protocol):
    """The part of the directory that is shown here."""

    @property
    def abilities(self) -> Mapping[Backend, Mapping[str, Abilities]]:
        """What the models of each backend can do, by the engine's names for them."""

    @property
    def instance(self) -> str:
        """The id of this router."""

    @property
    def through(self) -> Mapping[Backend, frozenset[str]]:
        """The routers that requests to each backend of a peer's pass."""


class Holds(Protocol):
    """The part of the ledger that knows which backends get nothing."""

    @property
    def held(self) -> Mapping[Backend, str]:
        """The drained ones, each with the admin's name who wants it so."""


class DataPlane(Protocol):
    """The part of the data plane that is shown here."""

    @property
    def ledger(self) -> Holds:
        """What is known of each backend."""

    @property
    def catalog(self) -> Catalog:
        """Every name that clients can ask for."""

    @property
    def backends(self) -> Mapping[str, Backend]:
        """Every backend by name."""

    @property
    def loading(self) -> Stages | None:
        """How far models are loaded; None where none loads or unloads by itself."""


class DescribedPlane(DataPlane, Protocol):
    """The data plane with what is known of models."""

    @property
    def directory(self) -> KnownModels:
        """What is known of models."""


class Shown(NamedTuple):
    """The state of a model or a backend, and the share of its load; the best one is the least."""

    rank: int
    state: str
    progress: float | None = None
    can_serve: bool = False


_READY = Shown(0, "ready", can_serve=True)
_LOADING = Shown(1, "loading", can_serve=True)
_UNLOADED = Shown(2, "unloaded", can_serve=True)
_ASLEEP = Shown(3, "asleep", can_serve=True)
_UNAVAILABLE = Shown(4, "unavailable")


def servable(state: DataPlane) -> list[str]:
    """List the models and routes that are answered at once, or loaded when they are asked for."""
    return [each.name for each in state.catalog.listing() if _shown(state, each.name).can_serve]


def _shown(state: DataPlane, name: str) -> Shown:
    able = [each for tier in state.catalog.resolve(name).tiers for each, _ in tier if each not in state.ledger.held]
    stages = [stage_of(backend, state.loading) for backend in able]
    # Of several that load, the one that is furthest.
    return min(stages, key=lambda each: (each.rank, -(each.progress or 0.0)), default=_UNAVAILABLE)


def stage_of(backend: Backend, loading: Stages | None) -> Shown:
    """Tell how far a backend is."""
    health, estimate = backend.health, backend.estimate
    if health.usable:
        # A peer's is loaded there when it is asked for.
        return _READY if not estimate.unloaded else _LOADING if estimate.loading else _UNLOADED
    if health.asleep:
        return Shown(1, "loading", can_serve=True) if health.coming else _ASLEEP
    if loading is None or not backend.loadable:
        return Shown(1, "loading") if backend.supervised and health.coming else _UNAVAILABLE
    state, share = loading.stage(backend)
    if state in _ON_ITS_WAY:
        return Shown(1, "loading", share or None, can_serve=True)
    if state is State.LOADED:
        # Its engine has crashed, and starts again.
        return Shown(1, "loading") if health.coming else _UNAVAILABLE
    return _UNLOADED if state in _CAN_LOAD else _UNAVAILABLE


def capabilities(found: Abilities) -> list[str]:
    """Give the words for what a model is known to do."""
    words = {
        "completion": found.completion,
        "tools": found.tools,
        "vision": found.vision,
        "embeddings": found.embeddings,
        "reasoning": found.reasoning,
    }
    return [word for word, can in words.items() if can]


class Surface:
    """The handlers of these endpoints. `started` is the router's start as a Unix time, in seconds.

    Everybody may ask /ready; `may_look` decides whether a request gets the names of models and backends there, and
    `shows_key` whether it gets addresses with them. Of models it gets those that the key which it shows, `key_of`, may
    use.
    """

    def __init__(
        self,
        state: DescribedPlane,
        may_look: Callable[[web.Request], bool],
        shows_key: Callable[[web.Request], bool] = lambda _: False,
        key_of: Callable[[web.Request], Key | None] = lambda _: None,
        *,
        started: float | None = None,
    ) -> None:
        self._state = state
        self._may_look = may_look
        self._shows_key = shows_key
        self._key_of = key_of
        self._started = int(time.time() if started is None else started)

    def _model(self, name: str, targets: tuple[str, ...] = ()) -> dict[str, Any]:
        shown = _shown(self._state, name)
        told: dict[str, Any] = {
            "id": name,
            "object": "model",
            "created": self._started,
            "owned_by": "router",
            "state": shown.state,
        }
        if shown.progress is not None:
            told["progress"] = round(shown.progress, 3)
        if targets:
            told["targets"] = targets
        found = self.abilities_of(name)
        if found.context is not None:
            told["context_length"] = told["max_model_len"] = found.context
        told["capabilities"] = capabilities(found)
        return told

    def abilities_of(self, name: str, key: Key | None = None) -> Abilities:
        """Tell what a model can do, or a route's first target that is served.

        Raises ModelNotFoundError, and ForbiddenError for what the `key` may not use.
        """
        way = self._state.catalog.resolve(name, key)
        told = self._state.directory.abilities
        found = [told.get(backend, {}).get(known, UNKNOWN) for tier in way.tiers[:1] for backend, known in tier]
        return replace(common(found), context=max((each.context for each in found if each.context), default=None))

    async def models(self, request: web.Request) -> web.Response:
        """List every model and route that the client can ask for."""
        listing = self._state.catalog.listing(self._key_of(request))
        found = [self._model(each.name, each.targets) for each in listing]
        told: dict[str, object] = {"object": "list", "data": found}
        if HOPS in request.headers:
            told |= self._for_router(found, frozenset(ids_of(request.headers[HOPS].encode("utf-8", "replace"))))
        if anthropic.ASKS in request.headers:
            told |= anthropic.page(found)
        if codex.ASKS in request.query:
            told["models"] = codex.models({each.name: self.abilities_of(each.name) for each in listing})
        return json_answer(told)

    def _for_router(self, found: list[dict[str, Any]], hops: frozenset[str]) -> dict[str, object]:
        """Tell another router who this is, and what is served here, but for what is served through itself alone."""
        directory, resolve = self._state.directory, self._state.catalog.resolve
        kept = []
        for each in found:
            there = [backend for tier in resolve(each["id"]).tiers for backend, _ in tier]
            ways = [directory.through.get(backend, _NOBODY) for backend in there]
            others = [ids for ids in ways if not ids & hops]
            if others:
                kept.append({**each, "through": sorted(frozenset.intersection(*others))})
        return {"instance": directory.instance, "data": kept}

    async def model(self, request: web.Request) -> web.Response:
        """Show one model or route; a name that matches a wildcard is shown as if it were a route of its own."""
        name, key = request.match_info["id"], self._key_of(request)
        for listing in self._state.catalog.listing(key):
            if listing.name == name:
                return self._one(request, name, listing.targets)
        # Raises ModelNotFoundError for a name that nothing matches, and ForbiddenError.
        if not self._state.catalog.resolve(name, key).tiers:
            raise ModelNotFoundError(f"The model '{name}' is not served by any backend now.", param="model")
        return self._one(request, name)

    def _one(self, request: web.Request, name: str, targets: tuple[str, ...] = ()) -> web.Response:
        told = self._model(name, targets)
        return json_answer(anthropic.model(told) if anthropic.ASKS in request.headers else told)

    async def health(self, _: web.Request) -> web.Response:
        """Answer that the process is alive."""
        return json_answer({"status": "ok"})

    async def ready(self, request: web.Request) -> web.Response:
        """Answer whether a model can be served; and, if the client may know, which ones, or why none.

        One that is loaded when it is asked for can be.
        """
        served = servable(self._state)
        key = self._key_of(request)
        named = served if key is None else [name for name in served if key.may_use(name)]
        told: dict[str, object] = {"status": "ready" if served else "not ready"}
        if self._may_look(request):
            told |= {"models": named} if served else {"backends": self._waiting(whole=self._shows_key(request))}
        if served:
            return json_answer(told)
        response = json_answer(told, 503)
        response.headers["retry-after"] = "1"
        return response

    def _waiting(self, *, whole: bool) -> dict[str, str]:
        """Tell why no backend can serve; of servers elsewhere without their addresses, unless it is told as a whole."""
        told = {}
        for number, backend in enumerate(self._state.backends.values(), 1):
            name, reason = backend.name, backend.health.reason or "serves no model"
            if backend in self._state.ledger.held:
                reason = "is drained"
            if not whole and not backend.supervised:
                # One without a name of its own is named after its address.
                name = f"backend {number}" if _ADDRESS.search(name) or _HOST.fullmatch(name) else name
                reason = _ADDRESS.sub("…", reason)
            told[name] = reason
        return told

    def routes(self) -> list[web.RouteDef]:
        """Give the routes, for aiohttp."""
        return [
            web.get("/v1/models", self.models),
            web.get("/v1/models/{id:.+}", self.model),
            web.get("/health", self.health),
            web.get("/ready", self.ready),
        ]
