"""/admin/models and the commands, at a router whose models load and unload by themselves."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress

import aiohttp
import pytest

from launchers.states import RestartPolicy
from router.app import App
from router.cli.main import main
from router.config import Config
from tests.fakes.launched import ENGINES, FACTS
from tests.running import eventually

SOON = RestartPolicy(first_delay=0.05, longest_delay=0.05, give_up_after=1)


def launched(name: str, *, pinned: bool = False, args: Mapping[str, object] | None = None) -> dict[str, object]:
    """Launch a model of a GiB on demand."""
    launch = {"engine": "llama_cpp", "model": "any", "load": "on_demand", "memory": "1GiB", "pinned": pinned}
    return {"name": name, "models": [f"{name}-model"], "launch": launch | {"args": args or {}}}


@pytest.fixture
async def start(tmp_path):
    """Give a function that starts a router; so many of its models fit into memory."""
    made: list[App] = []

    async def of(*backends: dict[str, object], fits: int = 1) -> App:
        limit = {"limit": {"ram": f"{fits}GiB"}}
        config = Config.model_validate({
            "server": {"port": 0}, "health": {"interval": "1h"}, "memory": limit, "backends": backends,
        })  # fmt: skip
        made.append(App(config, tmp_path, engines=ENGINES, facts=FACTS, policy=SOON))
        await made[-1].start()
        return made[-1]

    yield of
    for each in made:
        await each.kill()


async def asked(session: aiohttp.ClientSession, app: App, what: str, method: str = "post"):
    async with session.request(method, f"{app.url}/admin/models{what}") as answer:
        return answer.status, await answer.json()


async def states(session: aiohttp.ClientSession, app: App) -> dict[str, str]:
    return {told["name"]: told["state"] for told in (await asked(session, app, "", "get"))[1]["models"]}


async def test_load_and_unload_by_name(start, session):
    """A model's name or a backend's; each as often as anybody likes. A process runs from one to the other."""
    app = await start(launched("a"))
    assert await states(session, app) == {"a": "unloaded"}
    for name in ("a-model", "a"):
        status, told = await asked(session, app, f"/{name}/load")
        (a,) = told["models"]
        assert (status, a["state"], a["pid"]) == (200, "loaded", app.fleet.pids["a"])
        assert sum(a["reserved"].values()) == 1 << 30
    for name in ("a", "a-model"):
        status, told = await asked(session, app, f"/{name}/unload")
        (a,) = told["models"]
        assert (status, a["state"], a["pid"], a["reserved"]) == (200, "unloaded", None, {})
        # One word for it everywhere: it isn't down.
        backend = next(each for each in app.fleet.told() if each["name"] == "a")
        assert (backend["health"], backend["state"], backend["reason"]) == ("unloaded", "unloaded", "is not loaded")
        assert app.fleet.pids == {}


async def test_an_idle_model_leaves_for_one_that_is_loaded_by_name(start, session):
    """A pinned one stays: then it is said what is lacking, and who holds it."""
    app = await start(launched("a"), launched("b", pinned=True))
    assert (await asked(session, app, "/a/load"))[0] == 200
    assert (await asked(session, app, "/b/load"))[0] == 200
    assert await states(session, app) == {"a": "unloaded", "b": "loaded"}
    status, told = await asked(session, app, "/a/load")
    assert (status, told["error"]["code"], told["models"][0]["state"]) == (503, "insufficient_memory", "unloaded")
    (shortage,) = told["error"]["shortages"]
    assert (shortage["needs"], shortage["free"], shortage["held"]["b"]) == (1 << 30, 0, 1 << 30)
    assert (await asked(session, app, "/b/unload"))[0] == 200
    assert (await asked(session, app, "/a/load"))[0] == 200


async def test_a_load_that_fails(start, session):
    """The reason, and the state that it has since."""
    app = await start(launched("a", args={"fail-start": True}))
    status, told = await asked(session, app, "/a/load")
    assert (status, told["error"]["code"]) == (503, "load_failed")
    assert "model file not found" in told["error"]["message"]
    # Its memory is given back first.
    assert told["models"][0]["state"] in {"releasing", "failed"}
    assert told["models"][0]["failure"]["reason"] in told["error"]["message"]


async def test_an_unload_lets_a_running_answer_end(start, session, held):
    """It is answered when that is over and the process is gone."""
    app = await start(launched("a"))
    assert (await asked(session, app, "/a/load"))[0] == 200
    body = {"model": "a-model", "messages": [], "stream": True, "fake": {"held_by": str(held)}}
    async with session.post(f"{app.url}/v1/chat/completions", json=body) as answer:
        said = await answer.content.readany()
        unloading = asyncio.create_task(asked(session, app, "/a/unload"))
        await eventually(lambda: app.fleet.models_told()[0]["state"] == "draining")
        held.unlink()
        said += await answer.read()
    assert b"[DONE]" in said
    status, told = await unloading
    assert (status, told["models"][0]["state"], app.fleet.pids) == (200, "unloaded", {})


async def test_what_is_told_while_it_loads(start, session):
    """How far it is, in each list; an unload cancels it, and who waits for it is told."""
    app = await start(launched("a", args={"start-delay": 1000}))
    waiting = asyncio.create_task(asked(session, app, "/a/load"))
    await eventually(lambda: app.fleet.pids)
    assert (await asked(session, app, "/a/load?wait=false"))[0] == 202
    assert await states(session, app) == {"a": "loading"}
    async with session.get(f"{app.url}/v1/models/a-model") as answer:
        assert (await answer.json())["state"] == "loading"
    async with session.get(f"{app.url}/ready") as answer:
        assert answer.status == 200
    assert (await asked(session, app, "/a/unload"))[0] == 200
    status, told = await waiting
    assert (status, told["error"]["code"]) == (409, "conflict")
    async with session.get(f"{app.url}/v1/models/a-model") as answer:
        assert (await answer.json())["state"] == "unloaded"


async def test_a_client_that_leaves_does_not_end_a_load(start, session):
    """It was asked for, and others may want it."""
    app = await start(launched("a", args={"start-delay": 0.5}))
    leaving = asyncio.create_task(asked(session, app, "/a/load"))
    await eventually(lambda: app.fleet.pids)
    leaving.cancel()
    with suppress(asyncio.CancelledError):
        await leaving
    assert (await asked(session, app, "/a/load"))[1]["models"][0]["state"] == "loaded"


async def test_a_router_that_stops_is_not_held_up_by_a_load(start, session):
    """Who waits for it is told, or cut off; its engine is gone."""
    app = await start(launched("a", args={"start-delay": 1000}))
    waiting = asyncio.create_task(asked(session, app, "/a/load"))
    await eventually(lambda: app.fleet.pids)
    async with asyncio.timeout(60):
        await app.stop()
        with suppress(aiohttp.ClientError):
            status, _ = await waiting
            assert status >= 400
    assert app.fleet.pids == {}


async def test_the_commands(start, session, capsys):
    """As a person uses them."""
    app = await start(launched("a"), launched("b"), fits=2)

    async def command(*words: str) -> tuple[int, str]:
        capsys.readouterr()
        code = await asyncio.to_thread(main, [*words, "--url", app.url])
        return code, capsys.readouterr().out

    code, said = await command("load", "a-model", "b")
    assert code == 0
    assert "a is loaded: 1.0 GiB\nb is loaded: 1.0 GiB\n" in said
    code, said = await command("ps")
    rows = [line.split() for line in said.splitlines() if "-model" in line]
    assert [(row[:5]) for row in rows] == [
        ["a-model", "a", "loaded", "1.0", "GiB"],
        ["b-model", "b", "loaded", "1.0", "GiB"],
    ]
    code, said = await command("unload", "--all")
    assert code == 0
    assert "a is unloaded\nb is unloaded\n" in said
    code, said = await command("ps", "--json")
    told = json.loads(said[said.index("{") :])
    assert [each["state"] for each in told["models"]] == ["unloaded", "unloaded"]
    assert await states(session, app) == {"a": "unloaded", "b": "unloaded"}
