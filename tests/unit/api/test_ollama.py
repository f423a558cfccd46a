"""What the router answers of Ollama's API: lists, descriptions, refusals."""

from datetime import UTC, datetime, timedelta

import ollama as sdk
import pytest
from aiohttp import web

from launchers.abilities import UNKNOWN, Abilities
from launchers.footprints.parts import RAM
from router.api.ollama import Ollama, capabilities, with_tag
from router.core.catalog import Backend, Catalog, Route
from router.core.errors import BadRequestError, ModelNotFoundError

QWEN = Abilities(8192, True, True, False, False, True, "qwen2", "7.6B", "Q4_K_M", 4_700_000_000)
LOADED = {
    "models": ["qwen", "of-yesterday"],
    "engine": "llama_server",
    "state": "loaded",
    "footprint": {RAM: 100, "GPU-1": 4000},
    "expires": 300.0,
}
UNLOADED = {"models": ["org/other"], "engine": "mlx", "state": "unloaded", "footprint": {RAM: 1}, "expires": None}


BACKENDS = [Backend(name, {name: name}) for name in ("qwen", "org/other")]
CATALOG = Catalog(BACKENDS, {"best": Route(("qwen", "org/other"))})


@pytest.fixture
async def asked(aiohttp_client):
    """Give a function that asks such a router: status and content."""

    @web.middleware
    async def told(request, handler):
        try:
            return await handler(request)
        except (BadRequestError, ModelNotFoundError) as error:
            return web.json_response({"error": error.message}, status=error.status)

    async def ask(method, path, json=None, *, loaded=(LOADED, UNLOADED), known=QWEN, data=None):
        app = web.Application(middlewares=[told])

        def abilities_of(name, key):
            ((backend, _),) = CATALOG.resolve(name, key).tiers[0]
            return known if backend.name == "qwen" else UNKNOWN

        handlers = Ollama(lambda: CATALOG, lambda: loaded, abilities_of, started=1)
        app.add_routes(handlers.routes())
        client = await aiohttp_client(app)
        async with client.request(method, path, json=json, data=data) as answer:
            is_json = answer.content_type == "application/json"
            return answer.status, await answer.json() if is_json else await answer.text()

    return ask


async def test_every_model_and_route_is_listed(asked):
    """With a tag, and what is known of its file; the SDK reads it."""
    status, told = await asked("GET", "/api/tags")
    assert status == 200
    assert [model["name"] for model in told["models"]] == ["qwen:latest", "org/other:latest", "best:latest"]
    qwen, other, best = told["models"]
    assert qwen == {
        "name": "qwen:latest",
        "model": "qwen:latest",
        "modified_at": "1970-01-01T00:00:01.000000Z",
        "size": 4_700_000_000,
        "digest": qwen["digest"],
        "details": {
            "parent_model": "",
            "format": "gguf",
            "family": "qwen2",
            "families": ["qwen2"],
            "parameter_size": "7.6B",
            "quantization_level": "Q4_K_M",
        },
    }
    assert best["details"] == qwen["details"]
    assert (other["size"], other["details"]["format"], other["details"]["families"]) == (0, "safetensors", None)
    assert len({len(model["digest"]) for model in told["models"]} | {64}) == 1
    assert len({model["digest"] for model in told["models"]}) == 3
    sdk.ListResponse(**told)


async def test_a_digest_stays(asked):
    """Programs notice by it that a model has changed."""
    first, second = [(await asked("GET", "/api/tags"))[1] for _ in range(2)]
    assert first == second


async def test_a_model_is_shown(asked):
    """With its context length by its architecture, as GitHub Copilot reads it."""
    for body in ({"model": "qwen"}, {"name": "best:latest", "verbose": True}, {"model": "qwen:latest"}):
        status, told = await asked("POST", "/api/show", body)
        assert status == 200
        assert told["model_info"]["general.architecture"] == "qwen2"
        assert told["model_info"]["qwen2.context_length"] == 8192
        assert told["model_info"]["general.basename"] == (body.get("model") or body["name"])
        assert told["capabilities"] == ["completion", "tools", "thinking"]
        assert told["details"]["family"] == "qwen2"
        assert sdk.ShowResponse(**told).modelinfo


async def test_a_model_of_which_nothing_is_known_is_shown(asked):
    """No field that clients need is missing, and none is made up."""
    status, told = await asked("POST", "/api/show", {"model": "qwen"}, known=UNKNOWN, loaded=())
    assert status == 200
    assert told["model_info"] == {"general.architecture": "unknown", "general.basename": "qwen"}
    assert told["capabilities"] == ["completion", "tools"]
    assert told["details"]["format"] == ""


async def test_who_asks_for_nothing_that_is_there_is_told(asked):
    """As Ollama does: 404 for a model, 400 for a body."""
    assert (await asked("POST", "/api/show", {"model": "nope"}))[0] == 404
    for body in (b"", b"{", b"[]", b"{}", b'{"model": 1}', b'{"model": ""}'):
        assert (await asked("POST", "/api/show", data=body))[0] == 400


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (Abilities(completion=False, tools=True, embeddings=True), ["embedding"]),
        (Abilities(tools=False), ["completion"]),
        (Abilities(tools=True, vision=True, reasoning=True), ["completion", "tools", "vision", "thinking"]),
        (Abilities(completion=True, embeddings=True, tools=False), ["completion", "embedding"]),
    ],
)
def test_capabilities_have_ollamas_words(known, expected):
    """A model that can't chat has no tools either."""
    assert capabilities(known) == expected


async def test_loaded_models_are_listed_with_their_memory(asked):
    """Replicas count together; what isn't loaded isn't listed."""
    before = datetime.now(UTC)
    status, told = await asked("GET", "/api/ps", loaded=(LOADED, LOADED, UNLOADED))
    assert status == 200
    (model,) = told["models"]
    assert (model["name"], model["size"], model["size_vram"]) == ("qwen:latest", 8200, 8000)
    assert model["context_length"] == 8192
    (read,) = sdk.ProcessResponse(**told).models
    assert read.expires_at is not None
    assert timedelta(seconds=299) < read.expires_at - before < timedelta(seconds=400)


async def test_a_model_that_stays_expires_in_centuries(asked):
    """As Ollama tells it."""
    _, told = await asked("GET", "/api/ps", loaded=({**LOADED, "expires": None},), known=UNKNOWN)
    (model,) = sdk.ProcessResponse(**told).models
    assert model.expires_at is not None
    assert model.expires_at > datetime.now(UTC) + timedelta(days=365 * 200)
    assert model.context_length == 0


async def test_the_version_is_numeric(asked):
    """Programs compare it: GitHub Copilot wants 0.6.4 or later."""
    for method in ("GET", "HEAD"):
        status, told = await asked(method, "/api/version")
        assert status == 200
        if method == "GET":
            assert tuple(map(int, told["version"].split("."))) >= (0, 6, 4)


@pytest.mark.parametrize(
    ("method", "path", "instead"),
    [
        ("POST", "/api/pull", "launch.model"),
        ("POST", "/api/push", "only serves"),
        ("POST", "/api/create", "router.yaml"),
        ("POST", "/api/copy", "route"),
        ("DELETE", "/api/delete", "router.yaml"),
        ("POST", "/api/blobs/sha256:0", "doesn't take files: give the model's file as launch.model"),
    ],
)
async def test_what_changes_models_is_refused(asked, method, path, instead):
    """The error says what to do instead."""
    status, told = await asked(method, path, {"model": "qwen"})
    assert status == 400
    assert instead in told["error"]
    assert told["error"].endswith(".")


@pytest.mark.parametrize(
    ("name", "names", "tagged"),
    [
        ("qwen", ["qwen"], "qwen:latest"),
        ("qwen:7b", ["qwen:7b"], "qwen:7b"),
        ("hub:org/qwen", ["hub:org/qwen"], "hub:org/qwen:latest"),
        ("qwen", ["qwen", "qwen:latest"], "qwen"),
    ],
)
def test_a_name_has_a_tag(name, names, tagged):
    """Unless that would be another model's name."""
    assert with_tag(name, names) == tagged
