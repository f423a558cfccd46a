"""Backends that publish their load, and those that don't, or do it badly."""

import asyncio
import json
from collections import Counter

import aiohttp
import pytest

from router.core.load import Load
from router.proxy.watching import listen, probe
from tests.fakes.engine import FakeEngine
from tests.integration.proxy.test_failures import CHAT, chat
from tests.running import eventually

OFTEN = {"health": {"interval": "0.1s", "timeout": "2s"}}
"""The time-out is as long as a busy machine may take for an answer."""

HEAD = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Look more often than an engine would be looked at."""
    monkeypatch.setattr(listen, "EVERY", 0.05)
    monkeypatch.setattr(listen, "SETTLES", 0.01)


@pytest.fixture
async def session():
    """Ask in one lane alone, and the engines, too: what is asked beside requests is the same for both lanes."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:
        yield client


class Pages:
    """An engine of probes alone, which plays what a test says for /metrics, and counts what it is asked for."""

    def __init__(self, page):
        self.page = page
        self.health = b"200 OK"
        self.asked: Counter[str] = Counter()

    async def __call__(self, reader, writer):
        """Answer one request."""
        head = await reader.readuntil(b"\r\n\r\n")
        path = head.split(b" ")[1].decode()
        self.asked[path] += 1
        if path == "/metrics":
            await self.page(writer, head)
        else:
            writer.write(b"HTTP/1.1 %b\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % self.health)


async def none(writer, _):
    writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")


async def of_a_router(writer, _):
    writer.write(HEAD + b'router_requests_in_flight{backend="b"} 3\n')


async def endless(writer, _):
    writer.write(HEAD)
    while True:
        writer.write(b"tgi_queue_size 1\n" * 4096)
        await writer.drain()


async def late(*_):
    await asyncio.sleep(60)


async def broken(writer, _):
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\ntgi_queue_size 1\n")


async def held(url, session):
    """Have an engine work on a stream, past any router."""
    body = chat(stream=True, fault="hang", fault_after=1)
    return await session.post(url + CHAT, json=body)


async def test_what_others_send_to_an_engine_is_known_and_avoided(start_router, session):
    """Explained with each choice, told in the status; a router's own requests are none of it."""
    async with FakeEngine(publishes=True) as shared, FakeEngine(publishes=True) as own:
        urls = {"shared": shared.url, "own": own.url}
        backends = [{"url": url, "models": ["demo"], "name": name} for name, url in urls.items()]
        router = await start_router(backends, **OFTEN)
        estimates = {name: router.plane.backends[name].estimate for name in urls}
        for url in (shared.url, router.url):  # four streams of others, and four of ours
            assert all([(await held(url, session)).status == 200 for _ in range(4)])
        ours = {name: router.plane.backends[name].in_flight for name in urls}
        assert sum(ours.values()) == 4
        await eventually(lambda: estimates["shared"].load == Load(4 + ours["shared"], 0))
        await eventually(lambda: estimates["own"].load == Load(ours["own"], 0))
        async with session.get(f"{router.url}/admin/status") as answer:
            status = {each["name"]: each for each in (await answer.json())["backends"]}
        assert status["shared"]["published"] == {"running": 4 + ours["shared"], "waiting": 0}
        asked = session.post(router.url + CHAT, json=chat(), headers={"x-router-explain": "1"})
        async with asked as answer:
            told = {each["backend"]: each for each in json.loads(answer.headers["x-router-explain"])}
        assert told["shared"]["published"] == [4 + ours["shared"], 0]
        assert 0 < told["shared"]["others"] <= 4
        assert told["own"]["others"] == 0


@pytest.mark.parametrize("page", [none, of_a_router, endless])
async def test_a_page_that_tells_nothing_is_seldom_asked_for(start_router, engine, page, monkeypatch):
    """After some probes again; at once, when the backend has been down."""
    monkeypatch.setattr(listen, "SKIPPED_PROBES", 8)
    pages = Pages(page)
    router = await start_router([{"url": await engine(pages), "models": ["demo"], "name": "b"}], **OFTEN)
    await eventually(lambda: pages.asked["/health"] >= 15)
    assert 1 <= pages.asked["/metrics"] <= 1 + pages.asked["/health"] // 9
    assert router.plane.backends["b"].health.usable
    assert router.plane.backends["b"].estimate.load is None
    monkeypatch.setattr(listen, "SKIPPED_PROBES", 10_000)
    await eventually(lambda: pages.asked["/metrics"] >= 2)
    pages.health = b"503 No"
    await eventually(lambda: not router.plane.backends["b"].health.usable)
    asked, pages.health = pages.asked["/metrics"], b"200 OK"
    await eventually(lambda: pages.asked["/metrics"] > asked)


@pytest.mark.parametrize("page", [late, broken])
async def test_a_page_that_does_not_come_says_nothing_of_health(start_router, engine, page, monkeypatch):
    """And one that takes its time is left alone for longer, while the probes go on."""
    monkeypatch.setattr(listen, "SLOW_READ_FACTOR", 1e6 if page is late else 0.0)
    pages = Pages(page)
    router = await start_router([{"url": await engine(pages), "models": ["demo"], "name": "b"}], **OFTEN)
    await eventually(lambda: pages.asked["/health"] >= 10)
    assert router.plane.backends["b"].health.usable
    assert router.plane.backends["b"].estimate.load is None
    assert (pages.asked["/metrics"] == 1) is (page is late)


async def test_without_requests_a_page_is_read_once_a_probe(start_router, session):
    """And with requests as often as is of use, where there is a choice between backends alone."""
    async with (
        FakeEngine(publishes=True) as one,
        FakeEngine(publishes=True) as other,
        FakeEngine(publishes=True) as third,
    ):
        backends = [{"url": each.url, "models": ["demo"]} for each in (one, other)]
        router = await start_router([*backends, {"url": third.url, "models": ["alone"]}])
        await eventually(lambda: all(each.stats.gets == 2 for each in (one, other, third)))  # its health, and this
        await asyncio.sleep(0.3)
        assert [each.stats.gets for each in (one, other, third)] == [2, 2, 2]

        async def more() -> bool:
            async with session.post(router.url + CHAT, json=chat()) as answer:
                assert answer.status == 200
            return one.stats.gets >= 4 and other.stats.gets >= 4

        async with asyncio.timeout(20):
            while not await more():
                pass
        assert third.stats.gets == 2


async def test_an_engine_that_publishes_nothing_is_not_asked(start_router, engine):
    """Its launcher says so."""
    pages = Pages(none)
    router = await start_router([{"url": await engine(pages), "models": ["demo"], "name": "b"}])
    await eventually(lambda: pages.asked["/metrics"] == 1)
    prober = probe.Prober(router.plane, probe.ProbeTiming(interval=0.05), uniform=lambda: 0.5)
    prober.watch(probe.Target(router.plane.backends["b"], publishes=False))
    await eventually(lambda: pages.asked["/health"] >= 4)
    await prober.stop()
    assert pages.asked["/metrics"] == 1


async def test_it_is_shown_the_key_and_need_not_compress(start_router, engine):
    """As with every request to it."""
    heads = []

    async def page(writer, head):
        heads.append(head.lower())
        await none(writer, head)

    await start_router([{"url": await engine(Pages(page)), "models": ["demo"], "name": "b", "api_key": "secret"}])
    await eventually(lambda: heads)
    assert b"authorization: bearer secret" in heads[0]
    assert b"accept-encoding: identity" in heads[0]


async def test_it_is_shown_the_key_of_the_engine_that_runs_by_then(start_router, engine, monkeypatch):
    """One that was started since the probe; refused, its page would pass for one that tells nothing, for minutes."""
    monkeypatch.setattr(listen, "SETTLES", 0.3)

    async def page(writer, head):
        if b"authorization: bearer of-now" in head.lower():
            writer.write(HEAD + b"vllm:num_requests_running 1\n")
        else:
            writer.write(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")

    pages = Pages(page)
    router = await start_router([{"url": await engine(pages), "models": ["demo"], "name": "b", "api_key": "of-before"}])
    plane, backend = router.plane, router.plane.backends["b"]
    await eventually(lambda: pages.asked["/health"] == 1)
    plane.serve(backend, plane.connections.address(backend), "of-now")
    await eventually(lambda: backend.estimate.load == Load(1, 0))
    assert pages.asked["/metrics"] == 1


async def test_who_left_while_the_page_was_read_is_none_of_others(start_router, engine, session, monkeypatch):
    """The engine may still count it, as one that it hasn't noticed to be gone."""
    monkeypatch.setattr(listen, "SKIPPED_PROBES", 1)
    asked, reading, gone = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def play(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"POST"):
            asked.set()
            await reader.read()  # until the router lets go of it
        elif b"/metrics" not in head:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        elif not asked.is_set():
            await none(writer, head)
        elif not reading.is_set():
            reading.set()
            await gone.wait()
            writer.write(HEAD + b"vllm:num_requests_running 1\n")
        else:
            await late()

    health = {"interval": "0.1s", "timeout": "30s"}
    router = await start_router([{"url": await engine(play), "models": ["demo"], "name": "b"}], health=health)
    backend = router.plane.backends["b"]
    asking = asyncio.create_task(session.post(router.url + CHAT, json=chat(stream=True)))
    await asyncio.wait_for(reading.wait(), 20)
    asking.cancel()
    await eventually(lambda: backend.in_flight == 0)
    gone.set()
    await eventually(lambda: backend.estimate.load == Load(1, 0))
    assert backend.estimate.others(router.plane.loop.time()) == 0
