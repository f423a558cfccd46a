"""Endpoints that the router answers itself: models, health and readiness.

GET /v1/models and /v1/models/{id} answer as OpenAI's API does, with two more fields: `state` ("ready" or "unavailable")
and, for a route, `targets`.
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
    """The part of the data plane that is shown here."""

    @property
    def catalog(self) -> Catalog:
        """Every name that clients can ask for."""

    @property
    def backends(self) -> Mapping[str, Backend]:
        """Every backend by name."""


class Surface:
    """The handlers of these endpoints. `started` is the router's start as a Unix time, in seconds.

    Everybody may ask /ready; `may_look` decides whether a request gets the names of models and backends there.
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
        """List every model and route that clients can ask for."""
        return json_answer({"object": "list", "data": [self._model(each) for each in self._state.catalog.listing()]})

    async def model(self, request: web.Request) -> web.Response:
        """Show one model or route; a name that matches a wildcard is shown as if it were a route of its own."""
        name = request.match_info["id"]
        for listing in self._state.catalog.listing():
            if listing.name == name:
                return json_answer(self._model(listing))
        # Raises ModelNotFoundError for a name that nothing matches.
        tiers = self._state.catalog.resolve(name).tiers
        if not tiers:
            raise ModelNotFoundError(f"The model '{name}' is not served by any backend now.", param="model")
        ready = any(candidate.backend.health.usable for tier in tiers for candidate in tier)
        return json_answer(self._model(Listing(name, (), ready)))

    async def health(self, _: web.Request) -> web.Response:
        """Answer that the process is alive."""
        return json_answer({"status": "ok"})

    async def ready(self, request: web.Request) -> web.Response:
        """Answer whether a model can be served; and, if the client may know, which ones, or why none."""
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
