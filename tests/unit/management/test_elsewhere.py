"""What is asked of a peer's model is asked at the peer; tests/integration/test_peers_levers.py has two routers."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web

from router.api.admin.backends import DRAIN, RESTART, SCALE
from router.api.admin.models import LOAD, UNLOAD, ModelTold
from router.cluster.remote import NoAdminKeyError, PeerTimeoutError
from router.core.errors import ConflictError, RouterError, UnavailableError
from router.management import elsewhere as module
from router.management.elsewhere import Elsewhere, together
from router.proxy.dialling import Address
from router.proxy.resolve import Names
from tests.running import dead_url, eventually

CONFIG = SimpleNamespace(wake_timeout=20.0)


class Peers:
    """The peer `mac`, which has a key, with a model that is run by these backends; and `nas`, which has none."""

    def __init__(self, url, *backends):
        shared = {"qwen": SimpleNamespace(backends=backends)}
        address = Address.of(url)
        self.woken: list[str] = []
        self.by_name = {
            name: SimpleNamespace(name=name, address=address, admin_key=key, models=shared, away="", config=CONFIG)
            for name, key in (("mac", "key"), ("nas", None), ("mac/up", "key"))
        }

    def wakes(self, name):
        """Have it woken."""
        self.woken.append(name)
        return True

    def of(self, name):
        """Find the model of a peer."""
        peer, _, own = name.rpartition("/")
        return (self.by_name[peer], own) if peer in self.by_name and own == "qwen" else None


@pytest.fixture
async def asked():
    return []


@pytest.fixture
async def elsewhere(aiohttp_server, asked):
    """Give a function that gives what asks such peers."""

    async def said(request):
        asked.append(request.path)
        name = request.match_info["name"]
        told = {"health": "up", "reason": "", "models": [], "in_flight": 0, "answered": 0, "weight": 1.0}
        told |= {"max_in_flight": None, "bytes_in_flight": 0, "expected_ttft": 0.0, "name": name}
        if name == "no":
            return web.json_response({"error": {"message": "No.", "type": "t", "code": "conflict"}}, status=409)
        return web.json_response({"models": [{"name": name, "state": "loaded"}], "backends": [told]})

    async def all_models(request):
        asked.append(request.path)
        return web.json_response({"models": [{"name": "qwen-1", "state": "loaded", "reserved": {"ram": 5}}]})

    app = web.Application()
    app.router.add_get("/admin/models", all_models)
    app.router.add_route("*", "/admin/{kind}/{name}/{what}", said)
    server = await aiohttp_server(app)
    here = f"http://127.0.0.1:{server.port}"
    return lambda *backends, url=here: Elsewhere(cast("Any", Peers(url, *backends)), Names())


async def test_whose_a_name_is(elsewhere):
    """That of the peer whose name it begins with: the longest one."""
    it = elsewhere("qwen")
    names = ("mac/qwen", "mac/qwen-2", "mac/up/qwen", "mac/up/x", "mac", "qwen", "macs/qwen", "nas/qwen")
    assert [it.peer(each) for each in names] == ["mac", "mac", "mac/up", "mac/up", None, None, None, "nas"]
    assert [it.is_managed(each) for each in names] == [True, True, True, True, False, False, False, False]


async def test_a_model_is_asked_for_by_its_own_name(elsewhere, asked):
    """All at once."""
    found = await elsewhere("qwen-1").models(LOAD, ["mac/qwen", "mac/up/qwen"], wait="false")
    assert {name: reply.told.models[0].name for name, reply in found.items()} == dict.fromkeys(
        ("mac/qwen", "mac/up/qwen"), "qwen"
    )
    assert asked == ["/admin/models/qwen/load"] * 2


async def test_a_backend_is_asked_for_by_its_own_name(elsewhere, asked):
    """What is told of it has the names of here."""
    told = await elsewhere("qwen-1").backends(RESTART, "mac/qwen")
    assert [(each.name, each.peer) for each in told.backends] == [("mac/qwen-1", "mac")]
    await elsewhere("qwen-1").backends(RESTART, "mac/other")
    await elsewhere().backends(RESTART, "mac/qwen")
    assert asked == [f"/admin/backends/{each}/restart" for each in ("qwen-1", "other", "qwen")]


async def test_a_model_that_several_backends_run(elsewhere, asked):
    """What concerns one needs its name; what concerns the model is done with each."""
    it = elsewhere("qwen-1", "qwen-2")
    with pytest.raises(ConflictError, match="several backends there: name one of mac/qwen-1, mac/qwen-2"):
        await it.backends(RESTART, "mac/qwen")
    with pytest.raises(ConflictError):
        await it.lines("mac/qwen", 10)
    with pytest.raises(ConflictError):
        await it.log("mac/qwen")
    assert len((await it.backends(DRAIN, "mac/qwen", single=False)).backends) == 2
    assert asked == ["/admin/backends/qwen-1/drain", "/admin/backends/qwen-2/drain"]


async def test_without_a_key_nothing_is_asked(elsewhere, asked):
    """It is said which line is missing."""
    it = elsewhere("qwen")
    for asking in (
        it.models(LOAD, ["nas/qwen"]),
        it.backends(RESTART, "nas/qwen"),
        it.lines("nas/x", 1),
        it.log("nas/x"),
    ):
        with pytest.raises(NoAdminKeyError):
            await asking
    assert asked == []


async def test_what_is_refused_or_gone(elsewhere):
    """The peer's own words, and ours where it isn't a peer's any more."""
    with pytest.raises(RouterError) as caught:
        await elsewhere("no").backends(RESTART, "mac/qwen")
    assert (caught.value.status, caught.value.message) == (409, "'mac' says: No.")
    with pytest.raises(ConflictError, match="'mac/gone' is not there any more"):
        await elsewhere("no").models(LOAD, ["mac/gone", "mac/qwen"])


async def test_all_are_looked_at_while_somebody_looks(elsewhere, asked):
    """Once a second for all who do, and anew after a change; a peer without a key isn't asked."""
    it = elsewhere("qwen-1")
    found = await asyncio.gather(it.looked(), it.looked())
    assert found[0] == found[1]
    assert {name: each.get("reserved") for name, each in found[0].items()} == {
        "mac/qwen": {"ram": 5}, "mac/up/qwen": {"ram": 5},
    }  # fmt: skip
    await it.looked()
    assert asked == ["/admin/models"] * 2
    await it.models(LOAD, ["mac/qwen"])
    await it.looked()
    assert asked == ["/admin/models", "/admin/models", "/admin/models/qwen/load", "/admin/models"]


async def test_a_peer_that_is_slow_keeps_nobody_waiting(elsewhere, monkeypatch):
    """What is known is told."""
    monkeypatch.setattr("router.management.elsewhere.PATIENCE", 0.0)
    it = elsewhere("qwen-1")
    assert await it.looked() == {"mac/qwen": {}, "mac/up/qwen": {}}
    await eventually(lambda: "mac" in it._looks._told)
    assert (await it.looked())["mac/qwen"]["reserved"] == {"ram": 5}


async def test_a_peer_that_is_away_tells_nothing(elsewhere):
    """It is no error of who looks."""
    assert (await elsewhere("qwen-1", url=dead_url()).looked())["mac/qwen"] == {}


async def test_a_machine_that_sleeps_is_woken_for_a_load(elsewhere, asked):
    """Who waits has it loaded there; who doesn't is told that it comes. Nothing else wakes it."""
    it = elsewhere("qwen-1")
    mac = it._peers.by_name["mac"]
    mac.away = "nobody is there"
    await it.models(UNLOAD, ["mac/qwen"])
    assert it._peers.woken == []
    with pytest.raises(UnavailableError, match="'mac' sleeps, and is being woken"):
        await it.models(LOAD, ["mac/qwen"], wait="false")
    loading = asyncio.create_task(it.models(LOAD, ["mac/qwen"], wait="true"))
    await eventually(lambda: it._peers.woken == ["mac/qwen"] * 2)
    assert asked == ["/admin/models/qwen/unload"]
    mac.away = ""
    assert (await loading)["mac/qwen"].status == 200
    mac.away, mac.config = "nobody is there", SimpleNamespace(wake_timeout=0.0)
    # It didn't come in time: the peer is asked all the same, and the error says what is wrong.
    assert (await it.models(LOAD, ["mac/qwen"]))["mac/qwen"].status == 200


def test_several_backends_as_one_model():
    """It is loaded if any is; what they hold counts together, and it stays only if all do."""
    assert together(()) == {}
    told = together([
        ModelTold(name="a", state="unloaded", pinned=True, footprint={"ram": 1, "GPU 0": 2}, in_flight=1, expires=9.0),
        ModelTold(name="b", state="loaded", footprint={"ram": 3}, reserved={"ram": 3}, in_flight=2, idle=4.0),
    ])  # fmt: skip
    assert (told["state"], told["pinned"], told["in_flight"]) == ("loaded", False, 3)
    assert (told["footprint"], told["reserved"]) == ({"ram": 4, "GPU 0": 2}, {"ram": 3})
    assert (told["expires"], told["idle"]) == (9.0, 4.0)
    assert together([ModelTold(name="a", state="new word")])["state"] == "new word"


async def test_an_exact_name_of_a_backend_goes_before_its_models(elsewhere, asked):
    """Which has the name of the first of its processes."""
    await elsewhere("qwen", "qwen-2").backends(SCALE, "mac/qwen", replicas=1)
    await elsewhere("qwen", "qwen-2").backends(RESTART, "mac/qwen")
    assert asked == ["/admin/backends/qwen/scale", "/admin/backends/qwen/restart"]


async def test_a_load_at_a_peer_that_hangs_ends(monkeypatch):
    """Once it has been away for a while; one that takes its time is waited for."""
    monkeypatch.setattr(module, "LOOK_EVERY", 0.001)
    monkeypatch.setattr(module, "ANSWER_WITHIN", 0.005)
    peer = cast("Any", SimpleNamespace(name="mac", address="http://mac:1", away=""))

    async def slow() -> str:
        await asyncio.sleep(0.05)
        return "loaded"

    assert await module._heard(peer, slow()) == "loaded"
    peer.away = "no answer in 2 s"
    with pytest.raises(PeerTimeoutError, match="'mac' at http://mac:1 doesn't answer any more: no answer in 2 s"):
        await module._heard(peer, asyncio.sleep(60))
