"""An engine that is about to be there is waited for, in the queue; one that isn't, nobody waits for."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from launchers.states import RestartPolicy
from router.app import App
from router.config import Config
from tests.fakes.engine import FakeEngine, expected_body
from tests.fakes.launched import ENGINES, FACTS
from tests.running import dead_url, eventually

CHAT = "/v1/chat/completions"
SOON = RestartPolicy(first_delay=0.05, longest_delay=0.05, give_up_after=2)

StartLaunched = Callable[..., Awaitable[App]]


def launched(replicas: Any = 1, name: Any = "demo", **args: object) -> dict[str, object]:
    return {"name": name, "launch": {"engine": "llama_cpp", "model": "any", "replicas": replicas, "args": args}}


def ask(model: Any = "demo", **more: object) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": "Hi"}], **more}


async def asked(session: aiohttp.ClientSession, app: App, **more: object) -> tuple[int, bytes]:
    async with session.post(app.url + CHAT, json=ask(**more)) as answer:
        return answer.status, await answer.read()


def kill_engines(app: App) -> None:
    for pid in app.fleet.pids.values():
        os.kill(pid, signal.SIGKILL)


def up(app: App) -> int:
    return sum(backend.health.usable for backend in app.plane.backends.values())


def waiting(app: App) -> int:
    return len(app.plane.dispatcher.admission)


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[StartLaunched]:
    """Give a function that starts a router whose engines are fakes that it launches."""
    made: list[App] = []

    async def of(*backends: dict[str, object], policy: RestartPolicy = SOON, **sections: object) -> App:
        sections.setdefault("health", {"interval": "1h"})
        config = Config.model_validate({"server": {"port": 0}, "backends": [*backends], **sections})
        made.append(App(config, tmp_path, engines=ENGINES, facts=FACTS, policy=policy))
        await made[-1].start()
        return made[-1]

    yield of
    for each in made:
        await each.kill()


async def test_right_after_the_start_requests_wait_for_their_engine(start, session):
    """Nobody is refused because a router was restarted; what is told of the model is what is."""
    app = await start(launched(**{"start-delay": 0.5}))
    asking = [asyncio.create_task(asked(session, app)) for _ in range(20)]
    await eventually(lambda: waiting(app) == 20)
    async with session.get(app.url + "/ready") as ready:
        assert ready.status == 503
    async with session.get(app.url + "/v1/models") as models:
        assert [model["state"] for model in (await models.json())["data"]] == ["loading"]
    assert await asyncio.gather(*asking) == [(200, expected_body(0, 8))] * 20


async def test_all_replicas_killed_at_once_cost_nobody_an_answer(start, session):
    """Those whose answers had not begun wait, those that come meanwhile do, too; all are answered by the next."""
    app = await start(launched(3, **{"first-delay": 0.3}))
    await eventually(lambda: up(app) == 3)
    asking = [asyncio.create_task(asked(session, app)) for _ in range(12)]
    await eventually(lambda: sum(backend.in_flight for backend in app.plane.backends.values()) == 12)
    kill_engines(app)
    await eventually(lambda: not up(app))
    asking += [asyncio.create_task(asked(session, app)) for _ in range(12)]
    assert await asyncio.gather(*asking) == [(200, expected_body(0, 8))] * 24


async def test_a_request_that_ends_each_engine_is_not_sent_for_ever(start, session):
    """It gets the attempts that any request gets."""
    app = await start(launched(), policy=RestartPolicy(first_delay=0.01, longest_delay=0.01))
    await eventually(lambda: up(app) == 1)
    wish = {"fault": "exit", "fault_after": 0}
    status, _ = await asked(session, app, fake=wish)
    assert status == 502
    assert (await asked(session, app))[0] == 200


async def test_an_engine_that_has_failed_for_good_is_not_waited_for(start, session):
    """Who waited is told, and who comes is told at once: why, and when to come back."""
    app = await start(launched(**{"fail-start": True}))
    async with session.post(app.url + CHAT, json=ask()) as answer:
        assert answer.status == 503
        assert answer.headers["retry-after"]
        assert "gave up after 2 failed starts" in (await answer.json())["error"]["message"]
    assert not app.plane.backends["demo"].health.coming


async def test_a_next_try_that_is_too_late_is_not_waited_for(start, session):
    """It is beyond `queue_timeout`."""
    never = RestartPolicy(first_delay=1000, longest_delay=1000)
    app = await start(launched(**{"fail-start": True}), policy=never, limits={"queue_timeout": "30s"})
    assert (await asked(session, app))[0] == 503


async def test_the_wait_is_bounded(start, session):
    """By `queue_timeout`, as any wait."""
    app = await start(launched(**{"start-delay": 1000}), limits={"queue_timeout": "200ms"})
    async with session.post(app.url + CHAT, json=ask()) as answer:
        assert answer.status == 503
        assert (await answer.json())["error"]["code"] == "queue_timeout"


async def test_the_queue_is_bounded_meanwhile(start, session):
    """Beyond `max_queue` it is 429, as ever."""
    app = await start(launched(**{"start-delay": 0.5}), limits={"max_queue": 1})
    first = asyncio.create_task(asked(session, app))
    await eventually(lambda: waiting(app) == 1)
    assert (await asked(session, app))[0] == 429
    assert (await first)[0] == 200


async def test_another_backend_of_the_model_is_not_passed_over_for_it(start, session):
    """Who is there answers; nobody waits for who is coming."""
    async with FakeEngine() as fake:
        there = {"name": "there", "url": fake.url, "models": ["demo"]}
        app = await start(launched(**{"start-delay": 1000}), there)
        assert (await asked(session, app))[0] == 200


# Servers elsewhere, that have yet to say what they serve


async def test_right_after_the_start_names_are_waited_for(start, session):
    """The server is asked for its models first; then who waited is sent there, or told that there is none."""
    async with FakeEngine(models=["big"], ready=False) as fake:
        app = await start({"name": "b", "url": fake.url}, health={"interval": "100ms"})
        asking = [asyncio.create_task(asked(session, app, model=name)) for name in ("big", "small")]
        await eventually(lambda: waiting(app) == 2)
        fake.ready = True
        big, small = await asyncio.gather(*asking)
    assert big == (200, expected_body(0, 8))
    assert (small[0], b"Known: big." in small[1]) == (404, True)


async def test_a_server_that_tells_nothing_is_not_waited_for(start, session, monkeypatch):
    """It answers, or it has had its time."""
    monkeypatch.setattr("router.proxy.directory.DISCOVERY_TIMEOUT", 0.3)
    app = await start({"name": "b", "url": dead_url()})
    assert (await asked(session, app, model="big"))[0] == 503  # it may be that server's
    assert waiting(app) == 0
