"""The parts of Ollama's API that the router answers itself: what there is, not what it says.

GET    /api/tags      every model and route
POST   /api/show      one of them: context length, capabilities, architecture
GET    /api/ps        the launched models that are loaded, with their memory and when they unload
GET    /api/version   a version of Ollama whose API this is
GET    /              on server.ollama_port: "Ollama is running", by which programs find it

Names have a tag, as Ollama's do: `qwen` is listed as `qwen:latest`, and answers to both. What is known of a model comes
from its file or its engine; what isn't is left out, or empty where clients need the field. Everything that would change
which models there are (pull, create, delete) is refused: router.yaml says that.
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
from aiohttp import web

from launchers.footprints.parts import RAM
from router.api.surface import DataPlane, json_answer
from router.core.errors import BadRequestError
from router.translate.ollama_answer import time_text

VERSION = "0.13.0"
"""What clients are told. They compare it: GitHub Copilot wants 0.6.4 or later. 0.13 is the first version that has all
of what is answered here; a later one might promise more."""

RUNNING = "Ollama is running"
"""Programs compare this text."""

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
    ("POST", "/api/blobs/{digest}", "blobs: give the model's file as launch.model in router.yaml"),
)


class Known(Protocol):
    """What is known of a model: `launchers.abilities`. None, an empty text or 0: it isn't.

    `context` is in tokens, `size` in bytes; `parameters` is a text such as "7.6B".
    """

    @property
    def context(self) -> int | None:
        """The longest prompt with its answer, in tokens."""

    @property
    def completion(self) -> bool | None:
        """Whether it answers chats."""

    @property
    def tools(self) -> bool | None:
        """Whether it can call tools."""

    @property
    def vision(self) -> bool | None:
        """Whether it can see images."""

    @property
    def embeddings(self) -> bool | None:
        """Whether it answers requests for embeddings."""

    @property
    def reasoning(self) -> bool | None:
        """Whether it thinks before it answers."""

    @property
    def architecture(self) -> str:
        """The name of its architecture, such as `qwen2`."""

    @property
    def parameters(self) -> str:
        """How many parameters it has."""

    @property
    def quantization(self) -> str:
        """How its weights are quantized, such as Q4_K_M."""

    @property
    def size(self) -> int:
        """The bytes of its files."""


KnownOf = Callable[[str], Known | None]


def _nothing(_: str) -> Known | None:
    return None


class Ollama:
    """The handlers. `loaded` describes each launched backend, as /admin/models does.

    `known_of` tells what is known of a model or a route. `started` is the router's start as a Unix time, in seconds.
    `is_ollamas`: whether a request came to server.ollama_port.
    """

    def __init__(
        self,
        state: DataPlane,
        loaded: Callable[[], Sequence[Mapping[str, Any]]],
        is_ollamas: Callable[[web.Request], bool],
        *,
        known_of: KnownOf = _nothing,
        started: float | None = None,
    ) -> None:
        self._state = state
        self._loaded = loaded
        self._is_ollamas = is_ollamas
        self._known_of = known_of
        self._started = time.time() if started is None else started

    async def tags(self, _: web.Request) -> web.Response:
        """List every model and route."""
        names = [each.name for each in self._state.catalog.listing()]
        engines = self._engines()
        return json_answer({"models": [self._listed(name, names, engines) for name in names]})

    async def show(self, request: web.Request) -> web.Response:
        """Show one model or route. Raises BadRequestError and ModelNotFoundError."""
        name = _asked(await request.read())
        known = self._known(name)
        architecture = (known.architecture if known is not None else "") or _UNKNOWN
        info: dict[str, object] = {"general.architecture": architecture, "general.basename": name}
        if known is not None and known.context:
            info[f"{architecture}.context_length"] = known.context
        if known is not None and known.parameters:
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

    async def running(self, _: web.Request) -> web.Response:
        """List the launched models that are loaded."""
        names = [each.name for each in self._state.catalog.listing()]
        engines = self._engines()
        found: dict[str, dict[str, Any]] = {}
        for told in self._loaded():
            if told["state"] != "loaded":
                continue
            taken: Mapping[str, int] = told["footprint"]
            for name in told["models"]:
                if name in found:
                    # Another replica of it.
                    size, vram = found[name]["size"], found[name]["size_vram"]
                else:
                    size = vram = 0
                found[name] = self._listed(name, names, engines) | {
                    "size": size + sum(taken.values()),
                    "size_vram": vram + sum(size for device, size in taken.items() if device != RAM),
                    "expires_at": time_text(time.time() + (NEVER if told["expires"] is None else told["expires"])),
                    "context_length": _context(self._known(name)),
                }
        return json_answer({"models": list(found.values())})

    async def version(self, _: web.Request) -> web.Response:
        """Tell the version."""
        return json_answer({"version": VERSION})

    async def home(self, request: web.Request) -> web.Response:
        """Say that Ollama runs, on its port alone."""
        if not self._is_ollamas(request):
            raise web.HTTPNotFound
        return web.Response(text=RUNNING)

    def _known(self, name: str) -> Known | None:
        """Give what is known of a model or a route. Raises ModelNotFoundError."""
        self._state.catalog.resolve(name)
        return self._known_of(name)

    def _engines(self) -> dict[str, str]:
        """Give the engine of each launched model, by the model's name."""
        return {name: told["engine"] or "" for told in self._loaded() for name in told["models"]}

    def _listed(self, name: str, names: Sequence[str], engines: Mapping[str, str]) -> dict[str, Any]:
        known = self._known(name)
        tagged = with_tag(name, names)
        return {
            "name": tagged,
            "model": tagged,
            "modified_at": time_text(self._started),
            "size": 0 if known is None else known.size,
            "digest": hashlib.sha256(name.encode()).hexdigest(),
            "details": self._details(name, engines),
        }

    def _details(self, name: str, engines: Mapping[str, str]) -> dict[str, Any]:
        known = self._known(name)
        tiers = self._state.catalog.resolve(name).tiers
        # A route is what its first model is.
        served = [model for backend, _ in (tiers[0] if tiers else ()) for model in backend.models]
        family = "" if known is None else known.architecture
        return {
            "parent_model": "",
            "format": next((_FORMATS.get(engines[each], "") for each in (name, *served) if each in engines), ""),
            "family": family,
            "families": [family] if family else None,
            "parameter_size": "" if known is None else known.parameters,
            "quantization_level": "" if known is None else known.quantization,
        }

    def routes(self) -> list[web.RouteDef]:
        """Give the routes, for aiohttp, which answers HEAD wherever it answers GET."""
        return [
            web.get("/", self.home),
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


def capabilities(known: Known | None) -> list[str]:
    """List what a model can do, in Ollama's words.

    Of a model that nothing is known of, tools are expected: programs hide models that have none, and an engine says
    clearly if it can't. Nothing else is.
    """
    if known is None:
        return ["completion", "tools"]
    told = [] if known.completion is False else ["completion"]
    if told and known.tools is not False:
        told.append("tools")
    told += [word for word, can in (("vision", known.vision), ("thinking", known.reasoning)) if can]
    return [*told, "embedding"] if known.embeddings else told


def _context(known: Known | None) -> int:
    return 0 if known is None or known.context is None else known.context


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
