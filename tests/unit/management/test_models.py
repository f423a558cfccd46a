import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web

from launchers.abilities import Abilities
from router.api.admin import models
from router.core.errors import ModelNotFoundError, RouterError
from router.core.memory.refusals import LoadFailedError, MemoryShortageError, Shortage
from router.core.scopes import LOCAL
from router.management.elsewhere import Elsewhere
from router.management.models import Models
from router.management.serving import routes
from router.proxy.resolve import Names
from router.proxy.slow import ADMIN
from tests.running import eventually

NO_PEERS: Any = SimpleNamespace(by_name={})
LOADED = {"name": "qwen", "state": "loaded"}
TOLD = LOADED | {"context": 8192, "capabilities": ["completion", "tools"]}
SHORT = MemoryShortageError("qwen", (Shortage("GPU-1", 6 << 30, 2 << 30, {"llama": 1 << 30}),))


class Managed:
    """The backends of a router with one model, which fails to load as it is told to."""

    def __init__(self, error: RouterError | None = None):
        self.error = error
        self.asked: list[tuple[str, str]] = []
        self.may_end = asyncio.Event()
        self.peers: list[dict[str, object]] = []
        self.members = dict.fromkeys(["qwen", "org/qwen"], SimpleNamespace(supervisor=object(), backend="qwen"))

    def silent(self):
        """Describe peers without a model."""
        return self.peers

    def models_told(self):
        """Describe it."""
        return [LOADED]

    async def load(self, name):
        """Load, once that may end."""
        self.asked.append(("load", name))
        await self.may_end.wait()
        if self.error is not None:
            raise self.error

    async def unload(self, name):
        """Unload at once."""
        self.asked.append(("unload", name))


class NoModels:
    """A catalog without a model: names are those of backends. What `qwen` can do is known."""

    directory = SimpleNamespace(abilities={"qwen": {"qwen": Abilities(8192, completion=True, tools=True)}})

    @property
    def catalog(self):
        """Itself."""
        return self

    def resolve(self, name):
        """Find none."""
        raise ModelNotFoundError(f"There is no '{name}'.")


@pytest.fixture
async def asked(aiohttp_client):
    """Give a function that asks such a router: its answer's status, headers and content."""

    @web.middleware
    async def let_in(request, handler):
        request[ADMIN] = LOCAL
        return await handler(request)

    async def ask(managed, method, path):
        app = web.Application(middlewares=[let_in])
        part = Models(cast("Any", managed), cast("Any", NoModels()), cast("Any", None), Elsewhere(NO_PEERS, Names()))
        app.add_routes(routes(models.ENDPOINTS, part))
        client = await aiohttp_client(app)
        async with client.request(method, path) as answer:
            return answer.status, answer.headers, await answer.json()

    return ask


async def test_the_models_are_listed(asked):
    """As the router describes them."""
    assert (await asked(Managed(), "GET", "/admin/models"))[2] == {"models": [TOLD]}


async def test_peers_without_a_model_are_listed_with_them(asked):
    """With the reason, as in /admin/status; who asks for one model isn't told of them."""
    managed = Managed()
    managed.peers = [{"name": "nas", "health": "down", "reason": "it is away", "models": []}]
    peers = [{"name": "nas", "health": "down", "reason": "it is away"}]
    assert (await asked(managed, "GET", "/admin/models"))[2] == {"models": [TOLD], "peers": peers}
    assert (await asked(managed, "GET", "/admin/models/qwen"))[2] == {"models": [TOLD]}


async def test_one_of_them_is_described(asked):
    """By any name that means it."""
    status, _, told = await asked(Managed(), "GET", "/admin/models/qwen")
    assert (status, told) == (200, {"models": [TOLD]})


@pytest.mark.parametrize("wait", ["", "?wait=true", "?wait=1"])
async def test_a_load_is_answered_when_it_is_done(asked, wait):
    """With the state that it has then."""
    managed = Managed()
    asking = asyncio.create_task(asked(managed, "POST", f"/admin/models/qwen/load{wait}"))
    await eventually(lambda: managed.asked)
    assert not asking.done()
    managed.may_end.set()
    status, _, told = await asking
    assert (status, told) == (200, {"models": [TOLD]})


async def test_a_load_that_is_not_waited_for_goes_on(asked):
    """It is answered at once, as accepted."""
    managed = Managed()
    status, _, told = await asked(managed, "POST", "/admin/models/qwen/load?wait=false")
    assert (status, told) == (202, {"models": [TOLD]})
    managed.may_end.set()
    assert managed.asked == [("load", "qwen")]


async def test_a_name_may_have_slashes(asked):
    """Written as they are, or encoded."""
    for written in ("org/qwen", "org%2Fqwen"):
        managed = Managed()
        assert (await asked(managed, "POST", f"/admin/models/{written}/unload"))[0] == 200
        assert managed.asked == [("unload", "org/qwen")]


async def test_a_lack_of_memory_is_told_with_its_figures(asked):
    """In words, and in bytes for programs."""
    managed = Managed(SHORT)
    managed.may_end.set()
    status, _, told = await asked(managed, "POST", "/admin/models/qwen/load")
    assert status == 503
    assert told["error"]["code"] == "insufficient_memory"
    assert (
        "It needs 6.0 GiB of GPU-1, of which 2.0 GiB can be free (1.0 GiB by llama stays)" in told["error"]["message"]
    )
    assert told["error"]["shortages"] == [
        {"device": "GPU-1", "needs": 6 << 30, "free": 2 << 30, "held": {"llama": 1 << 30}}
    ]
    assert told["models"] == [TOLD]


async def test_a_load_that_failed_says_when_to_try_again(asked):
    """In its header, as for requests."""
    managed = Managed(LoadFailedError("qwen", "no such file", 5))
    managed.may_end.set()
    status, headers, told = await asked(managed, "POST", "/admin/models/qwen/load")
    assert (status, headers["retry-after"], told["error"]["code"]) == (503, "5", "load_failed")
    assert told["error"]["message"] == "'qwen' could not be loaded: no such file"
