"""Routers that have other routers as peers: all in the test's own loop, with real sockets between them."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from router.app import App
from router.cluster import peer
from router.config import Config
from tests.certificates import Authority
from tests.fakes.engine import FakeEngine
from tests.fakes.launched import ENGINES, FACTS
from tests.running import dead_url, eventually

CHAT = "/v1/chat/completions"
ADMIN = {"admin_keys": [{"key": "ops", "name": "ops"}]}

Start = Callable[..., Awaitable[App]]


@pytest.fixture
async def launching(tmp_path: Path):
    """Give a function that starts a router whose models are loaded on demand, each a fake engine."""
    started: list[App] = []

    async def start(*names: str, port: int = 0, memory: str = "1GiB", limit: str = "2GiB", **launch: object) -> App:
        folder = tmp_path / f"there{len(started)}"
        folder.mkdir()
        given = {"model": "m", "load": "on_demand", "memory": memory, "gpus": 0, **launch}
        config = Config.model_validate({
            "server": {"port": port},
            "backends": [{"name": name, "launch": given} for name in names],
            "auth": ADMIN,
            "memory": {"limit": {"ram": limit}},
        })  # fmt: skip
        app = App(config, folder, engines=ENGINES, facts=FACTS)
        await app.start()
        started.append(app)
        return app

    yield start
    for app in started:
        await app.kill()


def at(app: App, name: str = "there", **keys: object) -> dict[str, object]:
    """Write the entry of a router as a peer."""
    return {"router": app.url, "name": name, "admin_key": "ops", **keys}


async def ask(session, app: App, model: str, headers: dict[str, str] | None = None, **fake: object) -> Any:
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "fake": fake}
    async with session.post(app.url + CHAT, json=body, headers=headers) as answer:
        return answer.status, answer.headers, await answer.json()


def known(app: App) -> set[str]:
    """Name what clients can ask for."""
    return {each.name for each in app.plane.catalog.listing()}


def states(app: App) -> dict[str, str]:
    return {str(each["name"]): str(each["state"]) for each in app.fleet.models_told()}


@pytest.mark.parametrize("key", ["ops", None])
async def test_a_peers_models_are_served_here(start_router, session, fake, key):
    """By their names, with the peer's before them; known by its events, or by its list of models."""
    there = await start_router([{"url": fake.url, "name": "box"}], auth=ADMIN)
    here = await start_router([at(there, admin_key=key)])
    await eventually(lambda: "demo" in known(here))
    sent = {"x-request-id": "mine", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    status, headers, _ = await ask(session, here, "demo", sent)
    assert (status, headers["x-router-backend"], headers["x-request-id"]) == (200, "there/demo", "mine")
    assert states(here) == {"there/demo": "loaded"}
    seen = {name.lower(): value for name, value in fake.stats.last.headers}
    assert (seen["x-request-id"], seen["traceparent"]) == ("mine", sent["traceparent"])
    assert "x-router-hops" not in seen


async def test_a_model_is_loaded_there_on_demand(launching, start_router, session):
    """One that isn't loaded is known with its load's time; its eviction is seen here."""
    there = await launching("a", "b", limit="1.5GiB")
    here = await start_router([at(there)])
    await eventually(lambda: states(here) == {"there/a": "unloaded", "there/b": "unloaded"})
    assert here.plane.backends["there/a"].estimate.unloaded
    assert (await ask(session, here, "a"))[0] == 200
    await eventually(lambda: states(here)["there/a"] == "loaded")
    assert (await ask(session, here, "b"))[0] == 200
    await eventually(lambda: states(here) == {"there/a": "unloaded", "there/b": "loaded"})


async def test_models_join_and_leave_live(start_router, session, fake):
    """What a reload there adds or takes away is known here at once."""
    there = await start_router([{"url": fake.url, "name": "box"}], auth=ADMIN)
    here = await start_router([at(there)])
    await eventually(lambda: "there/demo" in here.fleet.members)
    more = [{"url": fake.url, "name": "box", "models": {"other": "demo"}}]
    await there.reload(Config.model_validate({"server": {"port": 0}, "backends": more, "auth": ADMIN}))
    await eventually(lambda: set(here.fleet.members) == {"there/other"})
    await eventually(lambda: known(here) == {"other"})
    assert (await ask(session, here, "other"))[0] == 200
    del_ = [{"url": fake.url, "name": "direct"}]
    await here.reload(Config.model_validate({"server": {"port": 0}, "backends": del_, "health": {"interval": "1h"}}))
    await eventually(lambda: set(here.fleet.members) == {"direct"})
    assert here.fleet.peers.by_name == {}


@pytest.mark.parametrize("admin_key", ["ops", None])
async def test_models_that_the_key_may_not_use(start_router, session, fake, monkeypatch, admin_key):
    """Aren't here, as requests for them would be refused; another right there is known here at once."""
    monkeypatch.setattr(peer, "POLL", 0.05)
    monkeypatch.setattr(peer, "LONGEST_PAUSE", 0.05)
    backends = [{"url": fake.url, "name": "box", "models": {"demo": "demo", "other": "demo"}}]

    def keys(**key: object) -> dict[str, object]:
        return {"keys": [{"key": "k", "name": "desk", **key}], **ADMIN}

    async def become(auth: dict[str, object]) -> None:
        await there.reload(Config.model_validate({"server": {"port": 0}, "backends": backends, "auth": auth}))

    there = await start_router(backends, auth=keys(models=["demo"]))
    here = await start_router([at(there, admin_key=admin_key, api_key="k")])
    await eventually(lambda: known(here) == {"demo"})
    assert (await ask(session, here, "demo"))[0] == 200
    await become(keys())
    await eventually(lambda: known(here) == {"demo", "other"})
    await become(keys(key="another"))
    await eventually(lambda: known(here) == set() and here.fleet.silent())
    assert "api_key" in str(here.fleet.silent()[0]["reason"])
    await become(keys(models=["other"]))
    await eventually(lambda: known(here) == {"other"})


async def test_routers_that_list_each_other(start_router, session):
    """Each has the other's own models, and none twice; what comes back in a circle all the same is refused."""
    async with FakeEngine(models=["a"]) as one, FakeEngine(models=["b"]) as two:
        first = await start_router([{"url": one.url, "name": "one"}], auth=ADMIN)
        second = await start_router([{"url": two.url, "name": "two"}, at(first, "first")], auth=ADMIN)
        entries = [{"url": one.url, "name": "one"}, at(second, "second"), at(first, "itself")]
        await first.reload(Config.model_validate({"server": {"port": 0}, "backends": entries, "auth": ADMIN}))
        await eventually(lambda: set(first.fleet.members) == {"one", "second/b"})
        await eventually(lambda: set(second.fleet.members) == {"two", "first/a"})
        await eventually(lambda: known(first) == known(second) == {"a", "b"})
        for app in (first, second):
            for model in "ab":
                assert (await ask(session, app, model))[0] == 200
        passed = {"x-router-hops": first.plane.directory.instance}
        status, _, told = await ask(session, second, "a", passed)
        assert (status, told["error"]["code"]) == (508, "loop_detected")
        status, _, told = await ask(session, first, "a", passed)
        assert "in a circle" in told["error"]["message"]
        assert (await ask(session, second, "b", passed))[0] == 200


async def test_models_of_a_peers_peer(start_router, session, fake):
    """They are reached through it, until their own router is a peer, too; then they are asked there."""
    last = await start_router([{"url": fake.url, "name": "box"}], auth=ADMIN)
    middle = await start_router([at(last, "last")], auth=ADMIN)
    here = await start_router([at(middle, "middle")])
    await eventually(lambda: set(here.fleet.members) == {"middle/demo"})
    status, headers, _ = await ask(session, here, "demo")
    assert (status, headers["x-router-backend"]) == (200, "middle/demo")
    entries = [at(middle, "middle"), at(last, "last")]
    await here.reload(Config.model_validate({"server": {"port": 0}, "backends": entries}))
    await eventually(lambda: set(here.fleet.members) == {"last/demo"})
    await last.kill()
    await eventually(lambda: "can't be reached" in here.plane.backends["last/demo"].health.reason)


async def test_a_peer_that_is_killed_and_comes_back(start_router, session, fake):
    """Its requests go elsewhere at once; it serves again as soon as it is there, with what it has then."""
    there = await start_router([{"url": fake.url, "name": "box"}], auth=ADMIN)
    port = int(there.url.rpartition(":")[2])
    here = await start_router([at(there), {"url": fake.url, "name": "direct"}])
    await eventually(lambda: "demo" in known(here) and len(here.plane.catalog.resolve("demo").tiers[0]) == 2)
    await there.kill()
    for _ in range(10):
        status, headers, _ = await ask(session, here, "demo")
        assert (status, headers["x-router-backend"]) == (200, "direct")
    await eventually(lambda: not here.plane.backends["there/demo"].health.usable)
    entry = [{"url": fake.url, "name": "box"}]
    config = Config.model_validate({"server": {"port": port}, "backends": entry, "auth": ADMIN})
    again = App(config, there.folder)
    await again.start()
    try:
        await eventually(lambda: here.plane.backends["there/demo"].health.usable, within=5)
    finally:
        await again.kill()


async def test_a_peer_that_was_never_there(start_router, session):
    """What it may have is waited for; what router.yaml names is told to be away."""
    here = await start_router(
        [{"router": dead_url(), "name": "there", "models": ["m"]}], limits={"queue_timeout": "1s"}
    )
    status, _, told = await ask(session, here, "m")
    assert status == 503
    assert "there" in told["error"]["message"]
    assert here.fleet.peers.by_name["there"].away


async def test_who_waits_for_a_load_there(launching, start_router, session, fake):
    """Is told of it, is bound by no time for a first byte, and goes elsewhere if the peer is killed meanwhile."""
    there = await launching("a", args={"start-delay": 60})
    direct = {"url": fake.url, "name": "direct", "models": {"a": "demo"}}
    here = await start_router([at(there), direct], limits={"first_byte_timeout": "200ms"})
    await eventually(lambda: "there/a" in here.fleet.members)
    await here.drain("direct", "ops")
    body = {"model": "a", "stream": True, "messages": []}
    async with session.post(here.url + CHAT, json=body) as answer:
        assert (await answer.content.readline()).startswith(b": loading a")
        await eventually(lambda: states(here)["there/a"] == "loading")
        await here.drain("direct", None)
        await there.kill()
        assert (await answer.read()).endswith(b"data: [DONE]\n\n")
    assert fake.stats.begun == 1


async def test_a_stream_waits_for_a_load_there(launching, start_router, session):
    """Its events come whole behind what it was told."""
    there = await launching("a", args={"start-delay": 1.5})
    here = await start_router([at(there)])
    await eventually(lambda: "a" in known(here))
    body = {"model": "a", "stream": True, "messages": []}
    async with session.post(here.url + CHAT, json=body) as answer:
        assert answer.status == 200
        told = await answer.read()
    assert told.startswith(b": loading a")
    assert told.endswith(b"data: [DONE]\n\n")


async def test_a_peer_at_https(start_router, session, fake, tmp_path):
    """Its events, its requests and the question whether it lives go by the CA that the entry names; else none does."""
    ca = Authority(tmp_path)
    files = ca.issue("there", "localhost")
    server = {"port": 0, "tls": files.config}
    there = await start_router([{"url": fake.url, "name": "box"}], server=server, auth=ADMIN)
    url = f"https://localhost:{there.url.rpartition(':')[2]}"
    trusted = {"router": url, "name": "trusted", "admin_key": "ops", "tls": {"ca": str(ca.pem)}}
    here = await start_router([trusted, {"router": url, "name": "strange", "admin_key": "ops"}])
    await eventually(lambda: "demo" in known(here))
    status, headers, _ = await ask(session, here, "demo")
    assert (status, headers["x-router-backend"]) == (200, "trusted/demo")
    assert list(here.fleet.peers.by_name) == ["trusted", "strange"]
    assert "certificate" in here.fleet.peers.by_name["strange"].away
