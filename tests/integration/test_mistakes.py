"""A mistake of ours in what goes on for ever: it is told, and nothing else ends for it."""

import asyncio
import threading

import pytest
from structlog.testing import capture_logs

from router.app import App
from router.config import Config, Loaded, load
from router.fleet import reload
from router.fleet.reload import Reloader
from router.proxy import downstream, plane
from router.proxy import lane as lane_module
from tests.fakes.engine import expected_body
from tests.integration.raw import ASK, nothing_left, post
from tests.running import eventually


def fails(*_: object, **__: object) -> None:
    """Fail, as a mistake would."""
    raise ZeroDivisionError


@pytest.fixture
async def router(start_router, fake):
    """Give a router in front of one fake engine."""
    return await start_router([{"url": fake.url, "name": "b", "models": ["demo"]}], limits={"idle_timeout": "300ms"})


def told(logs, words: str) -> bool:
    """Tell whether an error of these words was logged."""
    return any(words in each["event"] and each["log_level"] == "error" for each in logs)


async def test_a_look_that_fails_at_one_request_ends_that_one_alone(router, raw):
    """It is answered with an error; the others are looked at, and cut where they are late, as ever."""
    one, two = await raw(router), await raw(router)
    with capture_logs() as logs:
        one.send(post({**ASK, "fake": {"fault": "hang", "fault_after": 0}}))
        await eventually(lambda: len(router.plane.exchanges) == 1)
        (first,) = router.plane.exchanges
        first.look = fails
        two.send(post({**ASK, "stream": True, "fake": {"fault": "hang", "fault_after": 2}}))
        assert (await one.answer()).status == 500
        assert b"engine_timeout" in await two.cut()
    assert told(logs, "a request failed because of a bug in the router")
    assert nothing_left(router)


@pytest.mark.parametrize("part", ["queues", "stalls"])
async def test_a_look_that_fails_is_taken_again(router, raw, monkeypatch, part):
    """Each time: late requests are cut all the same."""
    monkeypatch.setattr(getattr(router.plane, part), "look", fails)
    router.plane.limits = plane.ExchangeLimits(idle_timeout=0.3, stall_after=60)
    client = await raw(router)
    with capture_logs() as logs:
        for _ in range(2):
            client.send(post({**ASK, "stream": True, "fake": {"fault": "hang", "fault_after": 2}}))
            assert b"engine_timeout" in await client.cut()
            client = await raw(router)
    assert told(logs, "the look at all requests failed because of a bug in the router")
    assert nothing_left(router)


async def test_a_look_at_connections_that_fails_is_taken_again(router, raw, monkeypatch):
    """An idle one is cut in the end."""
    monkeypatch.setattr(lane_module, "SWEEP_EVERY", 0.01)
    lane = router.listener._lane
    client = await raw(router)
    with capture_logs() as logs:
        with monkeypatch.context() as patch:
            patch.setattr(downstream.Client, "overdue", fails)
            lane.sweep()
            await eventually(lambda: told(logs, "the look at all connections failed"))
        monkeypatch.setattr(downstream, "HEAD_TIMEOUT", 0.0)
        client.send(b"POST /v1/cha")
        assert (await client.cut()).startswith(b"HTTP/1.1 408 ")


async def test_probes_that_fail_come_again(start_router, fake):
    """A backend that nobody watches any more would stay what it was for ever."""
    with capture_logs() as logs:
        router = await start_router([{"url": fake.url, "name": "b", "models": ["demo"]}], health={"interval": "100ms"})
        chance, router._prober._uniform = router._prober._uniform, fails
        await eventually(lambda: told(logs, "the watch over b failed because of a bug in the router"))
        router._prober._uniform = chance
        before = fake.stats.gets
        await eventually(lambda: fake.stats.gets > before + 3)
    assert router.plane.backends["b"].health.usable


async def test_a_record_that_can_not_be_taken_costs_no_request(router, raw, monkeypatch):
    """What is done with it is nobody's answer."""
    monkeypatch.setattr(router.plane, "_on_record", fails)
    client = await raw(router)
    with capture_logs() as logs:
        for _ in range(2):
            client.send(post(ASK))
            assert (await client.answer()).body == expected_body(0, 8)
    assert told(logs, "a request could not be recorded")
    assert nothing_left(router)


async def test_a_reading_that_hangs_holds_up_neither_the_next_nor_the_end(tmp_path, fake, monkeypatch):
    """A server of files that is away: the reload fails, and what was before goes on."""
    monkeypatch.setattr(reload, "READ_WITHIN", 0.1)
    (tmp_path / "router.yaml").write_text(f"server: {{port: 0}}\nbackends: [{{url: '{fake.url}', models: [demo]}}]\n")
    loaded, hangs, go_on = load(tmp_path / "router.yaml", {}), True, threading.Event()

    def read() -> Loaded:
        if hangs:
            go_on.wait(60)
        return loaded

    reloader = Reloader(loaded, read)
    app = App(loaded.config, tmp_path, reloader=reloader)
    await app.start()
    try:
        assert "could not be read within 0.1 s" in str((await reloader.reload()).problems[0])
        hangs = False
        assert (await reloader.reload()).problems == ()
        hangs = True
        assert (await reloader.reload()).problems
    finally:
        async with asyncio.timeout(10):
            await app.stop()
        go_on.set()


async def test_what_is_done_at_the_end_of_a_backend_is_told_if_it_fails(router, fake, monkeypatch):
    """Its engine, if it has one, is ended all the same, and it is forgotten."""
    monkeypatch.setattr(router.plane, "drop", fails)
    other = {"server": {"port": 0}, "backends": [{"url": fake.url, "name": "c", "models": ["demo"]}]}
    with capture_logs() as logs:
        await router.reload(Config.model_validate(other))
        await eventually(lambda: not router.fleet._life.ending)
    assert told(logs, "the end of b's requests failed because of a bug in the router")
