"""Requests for models that load and unload by themselves, at a router that launches them: fakes of a GiB each."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from launchers.states import RestartPolicy
from router.app import App
from router.config import Config
from tests.fakes.engine import expected_body, expected_stream
from tests.fakes.launched import ENGINES, FACTS
from tests.running import eventually

CHAT = "/v1/chat/completions"
SOON = RestartPolicy(first_delay=0.05, longest_delay=0.05, give_up_after=1)

StartLoading = Callable[..., Awaitable[App]]


def launched(name: str, *, memory: Any = "1GiB", **args: object) -> dict[str, object]:
    """Launch a model on demand, of which a person told what it takes."""
    launch = {"engine": "llama_cpp", "model": "any", "load": "on_demand", "memory": memory, "args": args}
    return {"name": name, "launch": launch}


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[StartLoading]:
    """Give a function that starts a router; so many of its models fit into memory."""
    made: list[App] = []

    async def of(*backends: dict[str, object], fits: int = 1, **sections: object) -> App:
        sections.setdefault("health", {"interval": "1h"})
        limit = {"limit": {"ram": f"{fits}GiB"}}
        config = Config.model_validate({"server": {"port": 0}, "memory": limit, "backends": [*backends], **sections})
        made.append(App(config, tmp_path, engines=ENGINES, facts=FACTS, policy=SOON))
        await made[-1].start()
        return made[-1]

    yield of
    for each in made:
        await each.kill()


def ask(model: str, **more: object) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": "Hi"}], **more}


async def asked(session: aiohttp.ClientSession, app: App, model: str, **more: object) -> tuple[int, bytes]:
    async with session.post(app.url + CHAT, json=ask(model, **more)) as answer:
        return answer.status, await answer.read()


async def streamed(session: aiohttp.ClientSession, app: App, model: str, **wishes: object) -> bytes:
    """Stream an answer, comments included."""
    async with session.post(app.url + CHAT, json=ask(model, stream=True, fake=wishes)) as answer:
        assert answer.status == 200
        return await answer.read()


def states(app: App) -> dict[object, object]:
    return {told["name"]: told["state"] for told in app.fleet.models_told()}


def waiting(app: App) -> int:
    return len(app.plane.dispatcher.admission)


async def test_a_router_whose_models_load_on_demand_is_ready(start, session):
    """Nothing has to run for that; each model tells whether it does."""
    app = await start(launched("a"), launched("b"), routes={"any": ["a", "b"]})
    assert (await asked(session, app, "a"))[0] == 200
    async with session.get(app.url + "/v1/models") as models:
        told = {model["id"]: model["state"] for model in (await models.json())["data"]}
    assert told == {"a": "ready", "b": "unloaded", "any": "ready"}
    async with session.get(app.url + "/v1/models/b") as model:
        assert (await model.json())["state"] == "unloaded"
    async with session.get(app.url + "/ready") as ready:
        assert (ready.status, (await ready.json())["models"]) == (200, ["a", "b", "any"])


async def test_two_hundred_requests_at_once_start_a_model_once(start, session):
    """All are answered, and nothing ran before."""
    app = await start(launched("a", **{"start-delay": 0.5}))
    assert (states(app), app.fleet.pids) == ({"a": "unloaded"}, {})
    asking = [asyncio.create_task(asked(session, app, "a")) for _ in range(200)]
    await eventually(lambda: waiting(app) == 200 and app.fleet.pids)
    (pid,) = app.fleet.pids.values()
    assert await asyncio.gather(*asking) == [(200, expected_body(0, 8))] * 200
    assert list(app.fleet.pids.values()) == [pid]
    assert states(app) == {"a": "loaded"}


async def test_a_load_whose_clients_have_left_is_cancelled(start, session):
    """Its engine is gone; who asks anew gets another."""
    app = await start(launched("a", **{"start-delay": 1000}), launched("b"))
    asking = [asyncio.create_task(asked(session, app, "a")) for _ in range(3)]
    await eventually(lambda: waiting(app) == 3 and app.fleet.pids)
    for each in asking:
        each.cancel()
    await eventually(lambda: states(app) == {"a": "unloaded", "b": "unloaded"})
    assert (waiting(app), app.fleet.pids) == (0, {})
    assert (await asked(session, app, "b"))[0] == 200


async def explained(session: aiohttp.ClientSession, app: App, model: str) -> list[dict[str, Any]]:
    async with session.get(f"{app.url}/admin/explain?model={model}") as answer:
        return list(await answer.json())


async def test_explain_says_what_a_request_would_load(start, session):
    """And in how many seconds it would be sent; once that is loaded, it goes there as to any other."""
    app = await start(launched("a"), launched("b", memory="2GiB"), routes={"any": ["b", "a"]})
    (told,) = await explained(session, app, "a")
    assert (told["backend"], told["passed_over"], told["loads_in"] > 0) == ("a", "", True)
    large, small = await explained(session, app, "any")
    assert "It needs 2.0 GiB of ram" in large["passed_over"]
    assert (small["backend"], small["passed_over"], small["loads_in"] > 0) == ("a", "", True)
    assert states(app) == {"a": "unloaded", "b": "unloaded"}
    assert (await asked(session, app, "a"))[0] == 200
    (told,) = await explained(session, app, "a")
    assert (told["passed_over"], "loads_in" in told) == ("", False)


async def test_explain_says_why_a_model_is_not_loaded(start, session):
    """While a failed load rests, requests are refused: so says explain."""
    app = await start(launched("a", **{"fail-start": True}))
    assert (await asked(session, app, "a"))[0] == 503
    (told,) = await explained(session, app, "a")
    assert told["passed_over"].startswith("could not be loaded: ")


async def hold(session: aiohttp.ClientSession, app: App, lever: str, name: str) -> None:
    async with session.post(f"{app.url}/admin/backends/{name}/{lever}") as answer:
        assert answer.status == 200


async def test_a_drained_model_is_not_loaded_and_clients_are_told(start, session):
    """Not for those who wait already, either. Another that can serve is loaded for them."""
    app = await start(
        launched("a", **{"start-delay": 1000}), launched("b"),
        routes={"any": ["a", "b"]}, limits={"queue_timeout": "0.5s"},
    )  # fmt: skip
    asking = [asyncio.create_task(asked(session, app, name)) for name in ("a", "any")]
    await eventually(lambda: waiting(app) == 2 and states(app)["a"] == "loading")
    await hold(session, app, "drain", "a")
    status, body = await asking[0]
    assert (status, json.loads(body)["error"]["message"]) == (
        503, "No backend of 'a' had room within 0.5 s. 'a' is drained: undrain it first."
    )  # fmt: skip
    assert (await asking[1])[0] == 200
    assert states(app) == {"a": "unloaded", "b": "loaded"}
    (told,) = await explained(session, app, "a")
    assert (told["passed_over"], "loads_in" in told) == ("it is drained by this machine", False)
    assert (await asked(session, app, "a"))[0] == 503
    assert states(app)["a"] == "unloaded"
    waits = asyncio.create_task(asked(session, app, "a"))
    await eventually(lambda: waiting(app) == 1)
    await hold(session, app, "undrain", "a")
    await eventually(lambda: states(app)["a"] in {"queued", "loading"})
    waits.cancel()


async def test_a_model_that_does_not_load_is_told_to_all_who_wait(start, session):
    """With the reason, and when it is tried again."""
    app = await start(launched("a", **{"fail-start": True}))
    for answer in await asyncio.gather(*(asked(session, app, "a") for _ in range(5))):
        error = json.loads(answer[1])["error"]
        assert (answer[0], error["code"]) == (503, "load_failed")
        assert "'a' could not be loaded" in error["message"]
    async with session.post(app.url + CHAT, json=ask("a")) as answer:
        assert (answer.status, int(answer.headers["retry-after"]) > 0) == (503, True)


async def test_a_model_that_can_never_fit_is_told_with_the_figures(start, session):
    app = await start(launched("a", memory="3GiB"), fits=2)
    status, body = await asked(session, app, "a")
    error = json.loads(body)["error"]
    assert (status, error["code"]) == (503, "insufficient_memory")
    assert "3.0 GiB" in error["message"]


async def test_a_client_that_streams_hears_of_the_load(start, session):
    """After a second or two; then its answer follows in the same stream."""
    app = await start(launched("a", **{"start-delay": 3.5}))
    got = await streamed(session, app, "a", events=4, size=8)
    comment, _, _ = got.partition(b"\n\n")
    assert comment.startswith(b": loading a")
    assert got.endswith(expected_stream(0, 4, 8))
    async with session.get(f"{app.url}/admin/status") as status:
        assert (await status.json())["queues"] == {}


async def test_the_status_tells_who_waits_for_which_load(start, session):
    app = await start(launched("a", **{"start-delay": 1000}))
    asking = asyncio.create_task(asked(session, app, "a"))
    await eventually(lambda: states(app) == {"a": "loading"})
    async with session.get(f"{app.url}/admin/status") as status:
        (told,) = (await status.json())["queues"]["a"]
    assert (told["loading"]["backend"], told["loading"]["stage"]) == ("a", "loading")
    asking.cancel()


async def test_a_load_does_not_count_against_the_queues_timeout(start, session):
    """What is counted are the seconds in the queue, all of them."""
    app = await start(launched("a", **{"start-delay": 1.5}), limits={"queue_timeout": "200ms"})
    async with session.post(app.url + CHAT, json=ask("a")) as answer:
        assert answer.status == 200
        assert int(answer.headers["x-router-queue-ms"]) > 1400


async def test_no_running_answer_is_cut_for_another_model(start, session, held):
    """Nor is anything sent to an engine that is to end: each request is answered, whatever came between."""
    app = await start(launched("a"), launched("b"))
    long = asyncio.create_task(streamed(session, app, "a", events=40, size=8, held_by=str(held)))
    await eventually(lambda: app.plane.backends["a"].in_flight == 1)
    other = asyncio.create_task(asked(session, app, "b"))
    await eventually(lambda: waiting(app) == 1)
    later = [asyncio.create_task(asked(session, app, "a")) for _ in range(5)]
    await eventually(lambda: waiting(app) + sum(each.done() for each in later) == 6)
    held.unlink()
    got = await long
    assert got.endswith(expected_stream(0, 40, 8))
    assert await other == (200, expected_body(0, 8))
    assert await asyncio.gather(*later) == [(200, expected_body(0, 8))] * 5


async def test_models_take_turns_where_few_of_them_fit(start, session):
    """Six models, of which two fit, asked for at random: all are answered, and memory is never overbooked."""
    names = "abcdef"
    app = await start(*(launched(name) for name in names), fits=2)
    most = 0

    async def look() -> None:
        nonlocal most
        while True:
            most = max(most, len(app.fleet.pids))
            await asyncio.sleep(0.005)

    looking = asyncio.create_task(look())
    order = [names[(7 * number * number + number) % 6] for number in range(60)]
    answers = await asyncio.gather(*(asked(session, app, name) for name in order))
    looking.cancel()
    assert answers == [(200, expected_body(0, 8))] * 60
    assert most == 2
    assert waiting(app) == 0


@pytest.mark.parametrize("wish", [{"keep_alive": 0}, {"ttl": 0}, {"keep_alive": "100ms"}], ids=str)
async def test_a_request_may_say_how_long_its_model_stays(start, session, wish):
    app = await start(launched("a"))
    assert (await asked(session, app, "a", **wish))[0] == 200
    await eventually(lambda: states(app) == {"a": "unloaded"} and not app.fleet.pids)
    assert (await asked(session, app, "a"))[0] == 200
    assert states(app) == {"a": "loaded"}


@pytest.mark.parametrize("path", ["/api/generate", "/api/chat"])
async def test_a_request_that_only_unloads_a_model(start, session, path):
    """Loads nothing, and leaves the other model where it is; what the model has to answer, it answers."""
    app = await start(launched("a"), launched("b"), routes={"first": ["a", "b"]})

    async def unload(model: str) -> None:
        async with session.post(app.url + path, json={"model": model, "keep_alive": 0, "stream": False}) as answer:
            assert (answer.status, (await answer.json())["done_reason"]) == (200, "unload")

    await unload("a")
    assert (states(app), app.fleet.pids) == ({"a": "unloaded", "b": "unloaded"}, {})
    assert (await asked(session, app, "b"))[0] == 200
    await unload("first")
    assert states(app) == {"a": "unloaded", "b": "loaded"}
    answers = asyncio.create_task(streamed(session, app, "b", events=8, delay=0.1))
    await eventually(lambda: app.plane.backends["b"].in_flight)
    await unload("b")
    assert await answers == expected_stream(0, 8, 16)
    await eventually(lambda: states(app)["b"] == "unloaded" and not app.fleet.pids)


async def test_ollamas_durations_have_the_load(start, session):
    """The time that it took, and all of the time."""
    app = await start(launched("a", **{"start-delay": 0.5}))
    async with session.post(app.url + "/api/chat", json=ask("a", stream=False)) as answer:
        told = await answer.json()
    assert 500_000_000 < told["load_duration"] <= told["total_duration"]


async def test_a_stay_that_means_nothing_is_refused(start, session):
    """And nothing is loaded for it."""
    app = await start(launched("a"))
    status, body = await asked(session, app, "a", keep_alive="soon")
    assert (status, json.loads(body)["error"]["param"]) == (400, "keep_alive")
    assert states(app) == {"a": "unloaded"}


async def test_an_engine_that_dies_while_it_serves_costs_only_the_answers_that_had_begun(start, session):
    """It is started again; its memory stays its own meanwhile."""
    app = await start(launched("a"))
    assert (await asked(session, app, "a"))[0] == 200
    status, _ = await asked(session, app, "a", fake={"fault": "exit", "fault_after": 0})
    assert status in {200, 502, 503}
    assert await asked(session, app, "a") == (200, expected_body(0, 8))
