"""The parts of Ollama's API that the router answers itself: what there is, not what it says.

GET    /api/tags      every model and route
POST   /api/show      one of them: context length, capabilities, architecture
GET    /api/ps        the launched models that are loaded, with their memory and when they unload
GET    /api/version   a version of Ollama whose API this is

Names have a tag, as Ollama's do: `qwen` is listed as `qwen:latest`, and answers to both. What is known of a model comes
from its file or its engine; what isn't is left out, or empty where clients need the field. Everything that would change
which models there are (pull, create, delete) is refused: router.yaml says that.
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web

from launchers.abilities import Abilities
from launchers.footprints.parts import RAM
from router.api.surface import json_answer
from router.core.catalog import Catalog
from router.core.errors import BadRequestError
from router.core.keys import Key
from router.translate.ollama_answer import time_text

VERSION = "0.13.0"
"""What clients are told. They compare it: GitHub Copilot wants 0.6.4 or later. 0.13 is the first version that has all
of what is answered here; a later one might promise more."""

RUNNING = "Ollama is running"
"""What Ollama answers at /, by which programs find it (`router.api.page`): they compare this text."""

NEVER = 292 * 365 * 86400.0
"""Seconds until a model unloads that never does: Ollama's own, the longest time that Go can express."""

_FORMATS = {"llama_cpp": "gguf", "llama_server": "gguf", "mlx": "safetensors", "vllm": "safetensors"}
_UNKNOWN = "unknown"
_REFUSALS = (
    ("POST", "/api/pull", "pull: give its file or its hub id as launch.model in router.yaml, and the router gets it"),
    ("POST", "/api/push", "push: the router only serves models"),
    ("POST", "/api/create", "create: add a backend or a route to router.yaml; a route's set has a system's parameters"),
    ("POST", "/api/copy", "copy: a route in router.yaml gives a model a second name"),
    ("DELETE", "/api/delete", "delete: take the model out of router.yaml, and remove its files yourself"),
    ("POST", "/api/blobs/{digest}", "take files: give the model's file as launch.model in router.yaml"),
)


class Ollama:
    """The handlers.

    `loaded` describes each launched backend, as /admin/models does. `abilities_of` tells what a model can do, by its
    name, to who has this key; it raises ModelNotFoundError, and ForbiddenError. `key_of` gives the key that a request
    shows, which bounds what is listed. `started` is the router's start as a Unix time, in seconds.
    """

    def __init__(
        self,
        catalog: Callable[[], Catalog],
        loaded: Callable[[], Sequence[Mapping[str, Any]]],
        abilities_of: Callable[[str, Key | None], Abilities],
        key_of: Callable[[web.Request], Key | None] = lambda _: None,
        *,
        started: float | None = None,
    ) -> None:
        self._catalog = catalog
        self._loaded = loaded
        self._abilities_of = abilities_of
        self._key_of = key_of
        self._started = time.time() if started is None else started

    async def tags(self, request: web.Request) -> web.Response:
        """List every model and route."""
        names, own = self._names(request)
        engines = self._engines()
        return json_answer({"models": [self._listed(name, names, engines) for name in own]})

    def _names(self, request: web.Request) -> tuple[list[str], list[str]]:
        """Give all names that can be asked for, and those that this client's key may use."""
        catalog = self._catalog()
        names = [each.name for each in catalog.listing()]
        return names, [each.name for each in catalog.listing(self._key_of(request))]

    async def show(self, request: web.Request) -> web.Response:
        """Show one model or route. Raises BadRequestError and ModelNotFoundError."""
        name = _asked(await request.read())
        known = self._abilities_of(name, self._key_of(request))
        architecture = known.architecture or _UNKNOWN
        info: dict[str, object] = {"general.architecture": architecture, "general.basename": name}
        if known.context is not None:
            info[f"{architecture}.context_length"] = known.context
        if known.parameters:
            info["general.size_label"] = known.parameters
        return json_answer({
            "license": "",
            "modelfile": "",
            "parameters": "",
            "template": "",
            "details": self._details(name, self._engines()),
            "model_info": info,
            "capabilities": capabilities(known),
            "modified_at": time_text(self._started),
        })  # fmt: skip

    async def running(self, request: web.Request) -> web.Response:
        """List the launched models that are loaded."""
        names, own = self._names(request)
        engines = self._engines()
        found: dict[str, dict[str, Any]] = {}
        for told in self._loaded():
            if told["state"] != "loaded":
                continue
            taken: Mapping[str, int] = told["footprint"]
            # An engine that is about to be replaced may serve what has no name any more.
            for name in filter(own.__contains__, told["models"]):
                if name in found:
                    # Another replica of it.
                    size, vram = found[name]["size"], found[name]["size_vram"]
                else:
                    size = vram = 0
                found[name] = self._listed(name, names, engines) | {
                    "size": size + sum(taken.values()),
                    "size_vram": vram + sum(size for device, size in taken.items() if device != RAM),
                    "expires_at": time_text(time.time() + (NEVER if told["expires"] is None else told["expires"])),
                    "context_length": self._abilities_of(name, None).context or 0,
                }
        return json_answer({"models": list(found.values())})

    async def version(self, _: web.Request) -> web.Response:
        """Tell the version."""
        return json_answer({"version": VERSION})

    def _engines(self) -> dict[str, str]:
        """Give the engine of each launched model, by the model's name."""
        return {name: told["engine"] or "" for told in self._loaded() for name in told["models"]}

    def _listed(self, name: str, names: Sequence[str], engines: Mapping[str, str]) -> dict[str, Any]:
        known = self._abilities_of(name, None)
        tagged = with_tag(name, names)
        return {
            "name": tagged,
            "model": tagged,
            "modified_at": time_text(self._started),
            "size": known.size,
            "digest": hashlib.sha256(name.encode()).hexdigest(),
            "details": self._details(name, engines),
        }

    def _details(self, name: str, engines: Mapping[str, str]) -> dict[str, Any]:
        known = self._abilities_of(name, None)
        tiers = self._catalog().resolve(name).tiers
        # A route is what its first model is.
        served = [model for backend, _ in (tiers[0] if tiers else ()) for model in backend.models]
        return {
            "parent_model": "",
            "format": next((_FORMATS.get(engines[each], "") for each in (name, *served) if each in engines), ""),
            "family": known.architecture,
            "families": [known.architecture] if known.architecture else None,
            "parameter_size": known.parameters,
            "quantization_level": known.quantization,
        }

    def routes(self) -> list[web.RouteDef]:
        """Give the routes, for aiohttp, which answers HEAD wherever it answers GET."""
        return [
            web.get("/api/tags", self.tags),
            web.post("/api/show", self.show),
            web.get("/api/ps", self.running),
            web.get("/api/version", self.version),
            *(web.route(method, path, _refusal(why)) for method, path, why in _REFUSALS),
        ]


def with_tag(name: str, names: Sequence[str]) -> str:
    """Give a name with a tag; a name alone, where the one with the tag is another model's."""
    if ":" in name.rpartition("/")[2]:
        return name
    tagged = f"{name}:latest"
    return name if tagged in names else tagged


def capabilities(known: Abilities) -> list[str]:
    """List what a model can do, in Ollama's words.

    Where nothing is known of tools, they are expected: programs hide models that have none, and an engine says clearly
    if it can't. Nothing else is.
    """
    told = [] if known.completion is False else ["completion"]
    if told and known.tools is not False:
        told.append("tools")
    words = (("vision", known.vision), ("thinking", known.reasoning), ("embedding", known.embeddings))
    return told + [word for word, can in words if can]


class _Show(msgspec.Struct):
    """What is asked for; older clients say `name`."""

    model: str | None = None
    name: str | None = None


_read_show = msgspec.json.Decoder(_Show).decode


def _asked(body: bytes) -> str:
    try:
        asked = _read_show(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequestError(f"The request's body is not as expected: {error}.") from error
    name = asked.model or asked.name
    if not name:
        raise BadRequestError('The request names no model: give its name as "model".', param="model")
    return name


def _refusal(why: str) -> Callable[[web.Request], Any]:
    what, _, instead = why.partition(": ")

    async def refuse(_: web.Request) -> web.Response:
        raise BadRequestError(f"This is a router, not Ollama itself, and doesn't {what}: {instead}.")

    return refuse
