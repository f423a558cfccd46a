"""The management API; it needs an admin key, or a client on this machine.

GET /admin/status    every backend with its state, the queues, and the result of the last reload
GET /admin/explain   ?model=NAME: where a request for the model would go now, and why; &size=BYTES: of that length
GET /admin/config    the configuration in force, without its secrets
POST /admin/reload   read router.yaml again, now: 200 with the steps taken, 422 with the mistakes in it

/admin/models, to load and unload: `router.api.models`.
"""

from typing import Protocol

from aiohttp import web

from router.api.surface import json_answer
from router.core.errors import BadRequestError

_MOST_DIGITS = 12


class Managed(Protocol):
    """The part of the router that the management API uses."""

    def status(self) -> object:
        """Describe every backend, the queues, and the last reload."""

    def explain(self, model: str, size: int) -> object:
        """Tell where a request of `size` bytes would go now, and why. Raises ModelNotFoundError."""

    def configuration(self) -> object:
        """Give the configuration in force, without its secrets."""

    async def read_again(self) -> tuple[bool, object]:
        """Read router.yaml again. Give whether it was taken over, and the steps taken or the mistakes found."""


class Admin:
    """The handlers."""

    def __init__(self, managed: Managed) -> None:
        self._managed = managed

    async def status(self, _: web.Request) -> web.Response:
        """Describe every backend, the queues, and the last reload."""
        return json_answer(self._managed.status())

    async def explain(self, request: web.Request) -> web.Response:
        """Tell where a request would go now, and why."""
        model, size = request.query.get("model", ""), request.query.get("size", "1000")
        if not model or not size.isdecimal() or len(size) > _MOST_DIGITS:
            raise BadRequestError("Ask as /admin/explain?model=NAME, perhaps with &size=BYTES.", param="model")
        return json_answer(self._managed.explain(model, int(size)))

    async def config(self, _: web.Request) -> web.Response:
        """Give the configuration in force."""
        return json_answer(self._managed.configuration())

    async def reload(self, _: web.Request) -> web.Response:
        """Read router.yaml again."""
        taken, told = await self._managed.read_again()
        return json_answer(told, 200 if taken else 422)

    def routes(self) -> list[web.RouteDef]:
        """Give the routes, for aiohttp."""
        return [
            web.get("/admin/status", self.status),
            web.get("/admin/explain", self.explain),
            web.get("/admin/config", self.config),
            web.post("/admin/reload", self.reload),
        ]
