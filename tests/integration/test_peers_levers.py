"""What admins do with a peer's models through this router: two of them, and engines at the peer."""

import asyncio
import json
from contextlib import suppress

import aiohttp
import pytest

from launchers.states import RestartPolicy
from router.app import App
from router.cli.main import main
from router.config import Config
from tests.fakes.launched import ENGINES, FACTS
from tests.running import dead_url, eventually

SOON = RestartPolicy(first_delay=0.05, longest_delay=0.05, give_up_after=1)
OPS = {"admin_keys": [{"key": "ops", "name": "upstairs", "scopes": ["read", "manage"]}]}
KEYS = {"admin_keys": [{"key": "looks", "name": "looks", "scopes": ["read"]}, {"key": "does", "name": "does"}]}

pytestmark = pytest.mark.usefixtures("logs_as_at_work")


def launched(name: str, **more: object) -> dict[str, object]:
    """Launch a model of a GiB on demand."""
    launch = {"engine": "llama_cpp", "model": "any", "load": "on_demand", "memory": "1GiB", **more}
    return {"name": name, "models": [f"{name}-model"], "launch": launch}


@pytest.fixture
async def start(tmp_path):
    """Give a function that starts a router; one of its models fits into memory."""
    made: list[App] = []

    async def of(*backends: dict[str, object], **sections: object) -> App:
        folder = tmp_path / f"router-{len(made)}"
        folder.mkdir()
        config = Config.model_validate({
            "server": {"port": 0}, "health": {"interval": "1h"}, "memory": {"limit": {"ram": "1GiB"}},
            "backends": backends, **sections,
        })  # fmt: skip
        made.append(App(config, folder, engines=ENGINES, facts=FACTS, policy=SOON))
        await made[-1].start()
        return made[-1]

    yield of
    for each in reversed(made):
        await each.kill()


@pytest.fixture
async def mac(start):
    """Give a router with models."""
    return await start(launched("qwen"), launched("llama", pinned=True), auth=OPS)


@pytest.fixture
async def front(start, mac):
    """Give a router before it, once that knows the peer's models."""
    app = await start({"router": mac.url, "name": "mac", "admin_key": "ops"})
    await eventually(lambda: "mac/qwen-model" in app.fleet.members)
    return app


@pytest.fixture
async def keyless(start, mac):
    """Give one that has no admin key for it."""
    app = await start({"router": mac.url, "name": "mac"})
    await eventually(lambda: "mac/qwen-model" in app.fleet.members)
    return app


@pytest.fixture
def ask(session):
    """Give a function that asks a router's management API: the answer's status and content."""

    async def of(app: App, path: str, method: str = "post", key: str = ""):
        headers = {"authorization": f"Bearer {key}"} if key else {}
        async with session.request(method, f"{app.url}/admin/{path}", headers=headers) as answer:
            return answer.status, await answer.json()

    return of


async def state(ask, app: App, name: str) -> str:
    """Tell a model's state there."""
    return str((await ask(app, f"models/{name}", "get", "ops"))[1]["models"][0]["state"])


@pytest.mark.parametrize("name", ["mac/qwen-model", "qwen-model"])
async def test_a_model_is_loaded_and_unloaded_there(front, mac, session, ask, name):
    """By the peer's name and its own, or as clients call it. What is told of it is as it is now."""
    status, told = await ask(front, f"models/{name}/load")
    (qwen,) = told["models"]
    assert (status, qwen["name"], qwen["peer"], qwen["state"]) == (200, "mac/qwen-model", "mac", "loaded")
    assert qwen["reserved"] == {"ram": 1 << 30}
    assert await state(ask, mac, "qwen") == "loaded"
    await eventually(lambda: front.fleet.peers.states()["mac/qwen-model"]["state"] == "loaded")
    # Ollama's clients see it, too.
    async with session.get(front.url + "/api/ps") as answer:
        assert [each["size"] for each in (await answer.json())["models"]] == [1 << 30]
    status, told = await ask(front, f"models/{name}/unload")
    assert (status, told["models"][0]["state"], await state(ask, mac, "qwen")) == (200, "unloaded", "unloaded")


async def test_who_does_not_wait_is_told_at_once(front, ask):
    """And sees how it goes on."""
    assert (await ask(front, "models/mac/qwen-model/load?wait=false"))[0] == 202
    await eventually(lambda: front.fleet.peers.states()["mac/qwen-model"]["state"] == "loaded")


async def test_what_it_refuses_is_told_in_its_words(front, mac, ask):
    """With its figures."""
    assert (await ask(mac, "models/llama/load", key="ops"))[0] == 200
    status, told = await ask(front, "models/qwen-model/load")
    assert (status, told["error"]["code"]) == (503, "insufficient_memory")
    assert told["error"]["message"].startswith("'mac' says: 'qwen' ")
    assert told["error"]["shortages"][0]["held"]["llama"] == 1 << 30
    assert told["models"][0]["name"] == "mac/qwen-model"


async def test_a_model_is_pinned_there(front, mac, ask):
    """Until it is unpinned; its router says who did it."""
    status, told = await ask(front, "models/mac/qwen-model/pin")
    assert (status, told["models"][0]["pinned"]) == (200, True)
    assert (await ask(mac, "status", "get", "ops"))[1]["overrides"][0]["by"] == "upstairs"
    assert (await ask(front, "models/mac/qwen-model/unpin"))[1]["models"][0]["pinned"] is False
    assert (await ask(mac, "status", "get", "ops"))[1]["overrides"] == []


async def test_a_model_is_drained_here_and_there(front, mac, ask):
    """For everybody, until it is undrained; both say by whom."""
    status, told = await ask(front, "backends/mac/qwen-model/drain")
    (qwen,) = told["backends"]
    assert (status, qwen["name"], qwen["peer"]) == (200, "mac/qwen-model", "mac")
    assert (qwen["drained"], qwen["drained_by"]) == (True, "this machine")
    assert [(each.backend, each.by) for each in mac.overrides.drained] == [("qwen", "upstairs")]
    assert [each.backend for each in front.overrides.drained] == ["mac/qwen-model"]
    assert front.plane.ledger.held
    assert (await ask(front, "backends/mac/qwen-model/undrain"))[1]["backends"][0].get("drained", False) is False
    assert (mac.overrides.drained, front.overrides.drained) == ((), ())


async def test_all_models_of_a_peer_are_drained_by_its_name(front, mac, ask):
    """One that has told of none is said to be away, and shown with the reason."""
    status, told = await ask(front, "backends/mac/drain")
    assert (status, {each["name"] for each in told["backends"]}) == (200, {"mac/qwen-model", "mac/llama-model"})
    assert {each.backend for each in front.overrides.drained} == {"mac/qwen-model", "mac/llama-model"}
    assert {each.backend for each in mac.overrides.drained} == {"qwen", "llama"}
    assert (await ask(front, "backends/mac/undrain"))[0] == 200
    assert (mac.overrides.drained, front.overrides.drained) == ((), ())


async def test_a_peer_that_has_told_nothing_is_shown(start, session, ask):
    """In what is told of backends, with the reason, and in metrics."""
    app = await start({"router": dead_url(), "name": "nas"})
    await eventually(lambda: app.fleet.silent()[0]["health"] == "down")
    (nas,) = (await ask(app, "status", "get"))[1]["backends"]
    assert (nas["name"], nas["peer"], nas["health"], nas["reason"].startswith("its router can't be reached: ")) == (
        "nas", "nas", "down", True,
    )  # fmt: skip
    peers = (await ask(app, "models", "get"))[1]["peers"]
    assert peers == [{"name": "nas", "health": "down", "reason": nas["reason"]}]
    status, told = await ask(app, "explain?model=qwen", "get")
    assert status == 404
    assert told["error"]["message"].endswith(f" Peers that have no model here: nas: {nas['reason']}.")
    status, told = await ask(app, "backends/nas/drain")
    assert (status, told["error"]["message"]) == (409, f"No model of 'nas' is known here: {nas['reason']}.")
    async with session.get(f"{app.url}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    assert [each for each in lines if "nas" in each] == [
        'router_backend_up{backend="nas"} 0.0', 'router_backend_health{backend="nas",health="down"} 1.0',
    ]  # fmt: skip


@pytest.mark.parametrize("front_drains", [True, False])
async def test_requests_for_what_is_drained_there_wait(start, mac, ask, session, *, front_drains):
    """Wherever that was asked for; clients aren't told by whom."""
    app = await start({"router": mac.url, "name": "mac", "admin_key": "ops"}, limits={"queue_timeout": "0.3s"})
    await eventually(lambda: "mac/qwen-model" in app.fleet.members)
    where, name, key = (app, "mac/qwen-model", "") if front_drains else (mac, "qwen", "ops")
    assert (await ask(where, f"backends/{name}/drain", key=key))[0] == 200
    backend = app.fleet.members["mac/qwen-model"].backend
    await eventually(lambda: backend.health.reason == "is drained there")
    began = asyncio.get_running_loop().time()
    async with session.post(f"{app.url}/v1/chat/completions", json={"model": "qwen-model", "messages": []}) as answer:
        said = (await answer.json())["error"]["message"]
    assert asyncio.get_running_loop().time() - began > 0.25
    assert (answer.status, "drained" in said, "upstairs" in said, "machine" in said) == (503, True, False, False), said


async def test_a_drain_lasts_while_its_model_is_away(front, mac, ask):
    """It comes back as it went."""
    await ask(front, "backends/mac/qwen-model/drain")
    both = mac.overrides.written
    await mac.reload(both.model_copy(update={"backends": both.backends[1:]}))
    await eventually(lambda: "mac/qwen-model" not in front.fleet.members)
    await front.reload(front.overrides.written)
    await mac.reload(both)
    await eventually(lambda: "mac/qwen-model" in front.fleet.members)
    assert [each.name for each in front.plane.ledger.held] == ["mac/qwen-model"]
    assert (await ask(front, "status", "get"))[1]["overrides"][0]["backend"] == "mac/qwen-model"


async def test_a_lever_does_not_go_round(front, session):
    """A request that has come back is refused; the peer is told which routers it has passed."""
    path = f"{front.url}/admin/models/mac/qwen-model/load"
    async with session.post(path, headers={"x-router-hops": front.plane.directory.instance}) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (508, "loop_detected")
    async with session.get(f"{front.url}/admin/models", headers={"x-router-hops": "0" * 16}) as answer:
        assert "its model is not on this disk" not in await answer.text()


async def test_who_looks_sees_what_the_peer_alone_knows(front, mac, ask):
    """When it leaves, what it holds, who has pinned it."""
    await ask(mac, "models/qwen-model/pin", key="ops")
    told = (await ask(front, "models", "get"))[1]["models"]
    assert [(each["name"], each["pinned"], each["state"]) for each in told] == [
        ("mac/qwen-model", True, "unloaded"), ("mac/llama-model", True, "unloaded"),
    ]  # fmt: skip


async def test_an_engine_is_restarted_and_scaled_there(front, mac, ask):
    """By the model's name, or the backend's there."""
    status, told = await ask(front, "backends/mac/qwen-model/restart")
    assert (status, told["error"]["message"]) == (409, "'mac' says: 'qwen' isn't running: there is nothing to restart.")
    await ask(front, "models/qwen-model/load")
    pid = mac.fleet.pids["qwen"]
    status, told = await ask(front, "backends/mac/qwen/restart")
    assert (status, told["backends"][0]["name"]) == (200, "mac/qwen")
    await eventually(lambda: mac.fleet.pids.get("qwen", pid) != pid)
    status, told = await ask(front, "backends/mac/llama-model/scale?replicas=2")
    assert (status, {each["peer"] for each in told["backends"]}) == (200, {"mac"})
    assert mac.overrides.kept[0].value == 2
    # Nobody else serves this model.
    status, told = await ask(front, "backends/llama-model/scale?replicas=1")
    assert (status, next(each["name"] for each in told["backends"])) == (200, "mac/llama")
    status, told = await ask(front, "backends/mac/nothing/restart")
    assert (status, told["error"]["message"].startswith("'mac' says: There is no backend 'nothing'.")) == (404, True)


async def test_its_logs_are_read_and_followed(front, mac, session, ask):
    """As the engine there writes them."""
    await ask(front, "models/qwen-model/load")
    (log,) = mac.folder.rglob("qwen.log")
    log.write_text("before\n")
    assert (await ask(front, "backends/mac/qwen-model/logs?limit=5", "get"))[1] == {"lines": ["before"]}
    streams = [await session.get(f"{front.url}/admin/backends/mac/qwen-model/logs/stream") for _ in range(2)]
    lines = [asyncio.create_task(_first(each)) for each in streams]
    async with asyncio.timeout(30):
        while not all(each.done() for each in lines):
            with log.open("a") as file:
                file.write("it goes on\n")
            await asyncio.sleep(0.2)
    assert {each.result()["line"] for each in lines} == {"it goes on"}
    for each in streams:
        each.close()


async def _first(answer: aiohttp.ClientResponse) -> dict[str, object]:
    async for line in answer.content:
        if line.startswith(b"data: "):
            found: dict[str, object] = json.loads(line[6:])
            return found
    raise AssertionError("it has ended")


async def test_the_scopes_of_this_router_count(start, mac, ask):
    """A key that may only look here does nothing there, though the peer's key may."""
    front = await start({"router": mac.url, "name": "mac", "admin_key": "ops"}, auth=KEYS)
    await eventually(lambda: "mac/qwen-model" in front.fleet.members)
    assert (await ask(front, "models/mac/qwen-model/load", key="looks"))[0] == 403
    assert await state(ask, mac, "qwen") == "unloaded"
    assert (await ask(front, "models/mac/qwen-model/load", key="does"))[0] == 200


async def test_without_an_admin_key(keyless, mac, ask):
    """It says which line is missing; a drain is this router's own business."""
    levers = ("models/mac/qwen-model/load", "models/qwen-model/pin", "backends/mac/qwen-model/restart")
    for path, method in (*((each, "post") for each in levers), ("backends/mac/qwen-model/logs", "get")):
        status, told = await ask(keyless, path, method)
        assert (status, told["error"]["code"]) == (409, "no_admin_key")
        assert "needs admin_key in router.yaml for this peer" in told["error"]["message"]
    assert (await ask(keyless, "backends/mac/qwen-model/drain"))[0] == 200
    assert (mac.overrides.drained, len(keyless.overrides.drained)) == ((), 1)
    assert (await ask(keyless, "backends/mac/qwen-model/undrain"))[0] == 200


async def test_a_peer_that_is_gone(front, mac, ask):
    """Whose answer is missing; a drain holds here all the same, and says so."""
    await mac.kill()
    status, told = await ask(front, "models/mac/qwen-model/load")
    assert (status, told["error"]["code"]) == (502, "peer_failed")
    assert told["error"]["message"].startswith("'mac' can't be asked at http://127.0.0.1:")
    status, told = await ask(front, "backends/mac/qwen-model/drain")
    assert (status, told["error"]["message"].endswith("This router sends it nothing more.")) == (502, True)
    assert [each.backend for each in front.overrides.drained] == ["mac/qwen-model"]


async def test_the_commands(front, capsys):
    """They show on which machine it is."""

    async def said(*words: str) -> str:
        with suppress(SystemExit):
            assert await asyncio.to_thread(main, [words[0], "--url", front.url, *words[1:]]) in {0, None}
        return str(capsys.readouterr().out)

    assert "mac/qwen-model is loaded: 1.0 GiB" in await said("load", "mac/qwen-model")
    for command in ("ps", "status"):
        (head, *rows) = [line for line in (await said(command)).splitlines() if "MACHINE" in line or "mac/" in line]
        assert "MACHINE" in head
        assert "  mac  " in next(each for each in rows if "mac/qwen-model" in each)
    assert await said("unload", "--all") == "Nothing is loaded.\n"
    assert await said("unload", "mac/qwen-model") == "mac/qwen-model is unloaded\n"
    assert await said("drain", "mac/qwen-model") == "mac/qwen-model gets nothing more\n"
