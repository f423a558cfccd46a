"""What can be asked of the router itself: the models, and whether it is well.

GET /v1/models and /v1/models/{id} answer in the form of OpenAI's API, with two words more: `state` ("ready", or why
not) and, for a route, `targets`.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec
from aiohttp import web

from router.core.catalog import Backend, Catalog, Listing
from router.core.errors import ModelNotFoundError

_encode = msgspec.json.Encoder().encode


def json_answer(content: object, status: int = 200) -> web.Response:
    """Answer with JSON."""
    return web.Response(body=_encode(content), status=status, content_type="application/json")


class DataPlane(Protocol):
    """What is shown: the data plane, as far as the control plane may look into it."""

    @property
    def catalog(self) -> Catalog:
        """Every name that can be asked for."""

    @property
    def backends(self) -> Mapping[str, Backend]:
        """Every backend by name."""


class Surface:
    """The handlers that need no backend. `started` is the router's start as a Unix time, in seconds.

    `may_look` tells who may be told of models and backends, where everybody may ask.
    """

    def __init__(
        self, state: DataPlane, may_look: Callable[[web.Request], bool], *, started: float | None = None
    ) -> None:
        self._state = state
        self._may_look = may_look
        self._started = int(time.time() if started is None else started)

    def _model(self, listing: Listing) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "id": listing.name,
            "object": "model",
            "created": self._started,
            "owned_by": "router",
            "state": "ready" if listing.ready else "unavailable",
        }
        if listing.targets:
            shown["targets"] = listing.targets
        return shown

    async def models(self, _: web.Request) -> web.Response:
        """List every model and route that can be asked for."""
        return json_answer({"object": "list", "data": [self._model(each) for each in self._state.catalog.listing()]})

    async def model(self, request: web.Request) -> web.Response:
        """Show one; a name that only a wildcard matches is shown as that route would be."""
        name = request.match_info["id"]
        for listing in self._state.catalog.listing():
            if listing.name == name:
                return json_answer(self._model(listing))
        tiers = self._state.catalog.resolve(name).tiers  # raises ModelNotFoundError
        if not tiers:
            raise ModelNotFoundError(f"The model '{name}' is not served by any backend now.", param="model")
        ready = any(candidate.backend.health.usable for tier in tiers for candidate in tier)
        return json_answer(self._model(Listing(name, (), ready)))

    async def health(self, _: web.Request) -> web.Response:
        """Say that the process lives."""
        return json_answer({"status": "ok"})

    async def ready(self, request: web.Request) -> web.Response:
        """Say whether at least one model can be served; to whom may know, which, or why none can."""
        served = [listing.name for listing in self._state.catalog.listing() if listing.ready]
        told: dict[str, object] = {"status": "ready" if served else "not ready"}
        if self._may_look(request):
            waiting = {b.name: b.health.reason or "serves no model" for b in self._state.backends.values()}
            told |= {"models": served} if served else {"backends": waiting}
        if served:
            return json_answer(told)
        response = json_answer(told, 503)
        response.headers["retry-after"] = "1"
        return response

    def routes(self) -> list[web.RouteDef]:
        """Give the routes, for aiohttp."""
        return [
            web.get("/v1/models", self.models),
            web.get("/v1/models/{id:.+}", self.model),
            web.get("/health", self.health),
            web.get("/ready", self.ready),
        ]
