"""The management API of models that load and unload: a part of `router.api.admin`.

GET  /admin/models                 each launched backend: its state, its memory, who uses it, when it unloads
POST /admin/models/{name}/load     load it: 200 once it is loaded, or the error that it failed with
POST /admin/models/{name}/unload   unload it: 200 once its process is gone and its memory is free

`name` is a model's name, a route's, or a backend's. With ?wait=false both answer at once: 202, as it has begun. To load
what is loaded, or to unload what is not, changes nothing and is no error.
"""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import asdict
from typing import Protocol

from aiohttp import web

from router.api.surface import json_answer
from router.core import errors
from router.core.errors import BadRequestError, RouterError
from router.core.memory.refusals import MemoryShortageError

Act = Callable[[Collection[str]], Awaitable[RouterError | None]]

_WAITS = {"true": True, "1": True, "": True, "false": False, "0": False}


class ManagedModels(Protocol):
    """The part of the router that loads and unloads."""

    def models(self, names: Collection[str] | None = None) -> list[dict[str, object]]:
        """Describe each launched backend, or those of these names, as plain data."""

    def launched(self, name: str) -> tuple[str, ...]:
        """Find the launched backends that a name means. Raises ModelNotFoundError and ConflictError."""

    async def load(self, names: Collection[str]) -> RouterError | None:
        """Load launched backends, and wait until they are; give the first error."""

    async def unload(self, names: Collection[str]) -> RouterError | None:
        """Unload launched backends, and wait until they are gone; give the first error."""

    def begin(self, work: Awaitable[RouterError | None]) -> None:
        """Let a load or an unload go on by itself."""


class Models:
    """The handlers."""

    def __init__(self, managed: ManagedModels) -> None:
        self._managed = managed

    async def models(self, _: web.Request) -> web.Response:
        """Describe each launched backend."""
        return json_answer({"models": self._managed.models()})

    async def load(self, request: web.Request) -> web.Response:
        """Load the backends that a name means."""
        return await self._do(self._managed.load, request)

    async def unload(self, request: web.Request) -> web.Response:
        """Unload them."""
        return await self._do(self._managed.unload, request)

    async def _do(self, act: Act, request: web.Request) -> web.Response:
        waits = _WAITS.get(request.query.get("wait", ""))
        if waits is None:
            raise BadRequestError("Say wait=true or wait=false.", param="wait")
        names = self._managed.launched(request.match_info["name"])
        if not waits:
            self._managed.begin(act(names))
            return json_answer({"models": self._managed.models(names)}, 202)
        error = await act(names)
        told: dict[str, object] = {"models": self._managed.models(names)}
        if error is None:
            return json_answer(told)
        answer = json_answer({"error": _described(error), **told}, error.status)
        if error.retry_after is not None:
            answer.headers["retry-after"] = str(error.retry_after)
        return answer

    def routes(self) -> list[web.RouteDef]:
        """Give the routes, for aiohttp."""
        return [
            web.get("/admin/models", self.models),
            web.post("/admin/models/{name:.+}/load", self.load),
            web.post("/admin/models/{name:.+}/unload", self.unload),
        ]


def _described(error: RouterError) -> dict[str, object]:
    """Describe an error; a lack of memory with its figures, in bytes."""
    told: dict[str, object] = errors.told(error)
    if isinstance(error, MemoryShortageError):
        told["shortages"] = [asdict(each) for each in error.shortages]
    return told
