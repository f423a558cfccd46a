"""Who waits for a backend with room, who goes, and what those are told who can't."""

import asyncio
import gc
import json
from typing import Any

import pytest

from router.core.catalog import Backend
from router.core.estimate.ask import Ask
from router.proxy.dialling import Address
from router.proxy.exchange import Exchange
from router.proxy.waiting import TELL_EVERY, Waiting
from tests.fakes.engine import FakeEngine, expected_stream
from tests.integration.raw import nothing_left, post
from tests.running import eventually

CHAT = "/v1/chat/completions"


def chat(model="demo", *, size=0, **wishes):
    return {
        "model": model,
        "stream": True,
        "messages": [],
        "pad": "x" * size,
        "fake": {"events": 4, "size": 8} | wishes,
    }


def one(fake: FakeEngine, **known):
    return [{"url": fake.url, "models": ["demo"], "name": "b", "max_in_flight": 1, **known}]


async def ask(session, router, *, key="", **wishes) -> dict[str, str]:
    """Stream an answer whole; give its headers."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    async with session.post(router.url + CHAT, json=chat(**wishes), headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        assert await answer.read() == expected_stream(0, 4, 8)
        return dict(answer.headers)


async def waiting(session, router, at_least=0):
    """Tell who waits; with a number, once there are so many."""
    while True:
        async with session.get(f"{router.url}/admin/status") as answer:
            shown = (await answer.json())["queues"].get("demo", [])
        if len(shown) >= at_least:
            return shown
        await asyncio.sleep(0.002)


async def test_no_more_than_its_cap_at_a_time(start_router, fake, session):
    """The others wait, and go one by one; each is told how long it waited."""
    router = await start_router(one(fake, max_in_flight=2))
    asking = [asyncio.create_task(ask(session, router, first_delay=0.05)) for _ in range(8)]
    most = 0
    while not all(each.done() for each in asking):
        most = max(most, fake.stats.in_flight)
        await asyncio.sleep(0.002)
    answered = [await each for each in asking]
    assert most == 2
    assert sum("x-router-queue-ms" in headers for headers in answered) == 6
    assert fake.stats.ended == 8


async def test_a_client_that_leaves_the_queue_leaves_no_trace(start_router, fake, session):
    """Its place is another's, and the engine never hears of it."""
    router = await start_router(one(fake))
    first = asyncio.create_task(ask(session, router, first_delay=0.5))
    await eventually(lambda: fake.stats.in_flight == 1)
    gone, stays = asyncio.create_task(ask(session, router)), asyncio.create_task(ask(session, router))
    await waiting(session, router, 2)
    gone.cancel()
    await first
    await stays
    assert fake.stats.begun == 2
    assert await waiting(session, router) == []
    assert len(router.plane.dispatcher.admission) == 0


async def test_a_full_queue_is_said(start_router, fake, session):
    """With 429, and when to come back."""
    router = await start_router(one(fake), limits={"max_queue": 1})
    asking = [asyncio.create_task(ask(session, router, first_delay=0.3)) for _ in range(2)]
    await waiting(session, router, 1)
    async with session.post(router.url + CHAT, json=chat()) as answer:
        assert answer.status == 429
        assert int(answer.headers["retry-after"]) > 0
        assert (await answer.json())["error"]["code"] == "queue_full"
    await asyncio.gather(*asking)


async def test_the_first_of_a_burst_is_told_truly(start_router, fake, session):
    """Before any of the queue has gone: by what those take that are under way."""
    router = await start_router(one(fake), limits={"max_queue": 1})
    estimate = router.plane.backends["b"].estimate
    sent = estimate.sent(Ask(100), 0, 0.0)
    estimate.first_token(sent, 1.0)
    estimate.ended(sent, 30.0)
    asking = [asyncio.create_task(ask(session, router, first_delay=0.5)) for _ in range(2)]
    await waiting(session, router, 1)
    async with session.post(router.url + CHAT, json=chat()) as answer:
        assert 30 <= int(answer.headers["retry-after"]) < 40
    await asyncio.gather(*asking)


async def test_nobody_waits_longer_than_the_limit(start_router, fake, session):
    """503, and when to come back; the one that is at work goes on."""
    router = await start_router(one(fake), limits={"queue_timeout": "200ms"})
    first = asyncio.create_task(ask(session, router, first_delay=2))
    await eventually(lambda: fake.stats.in_flight == 1)
    async with session.post(router.url + CHAT, json=chat()) as answer:
        assert answer.status == 503
        assert (await answer.json())["error"]["code"] == "queue_timeout"
    await first


async def test_a_key_that_asks_much_does_not_hold_up_another(start_router, fake, session):
    """The one that came last goes next: its key has had no turn yet."""
    keys = {"keys": [{"key": "key-of-many-requests", "name": "many"}, {"key": "key-of-a-single-one", "name": "single"}]}
    router = await start_router(one(fake), auth=keys)
    many = [asyncio.create_task(ask(session, router, key="key-of-many-requests", delay=0.02)) for _ in range(10)]
    await waiting(session, router, 9)
    await ask(session, router, key="key-of-a-single-one")
    assert sum(each.done() for each in many) <= 4
    await asyncio.gather(*many)


async def test_priority(start_router, fake, session):
    """The lowest goes first, as in vLLM's API."""
    keys = {"keys": [{"key": "key-of-the-batch", "priority": 5}, {"key": "key-of-a-person", "priority": 0}]}
    router = await start_router(one(fake), auth=keys)
    batch = [asyncio.create_task(ask(session, router, key="key-of-the-batch", delay=0.02)) for _ in range(6)]
    await waiting(session, router, 5)
    person = asyncio.create_task(ask(session, router, key="key-of-a-person"))
    shown = await waiting(session, router, 2)
    await person
    assert sum(each.done() for each in batch) <= 3
    await asyncio.gather(*batch)
    assert {each["priority"] for each in shown} <= {0, 5}


async def test_priority_in_the_request(start_router, fake, session):
    """Where there are no keys, it counts as it stands."""
    router = await start_router(one(fake))
    first = asyncio.create_task(ask(session, router, first_delay=0.5))
    await eventually(lambda: fake.stats.in_flight == 1)
    went: list[int] = []

    async def wait(priority):
        async with session.post(router.url + CHAT, json={**chat(delay=0.01), "priority": priority}) as answer:
            await answer.read()
        went.append(priority)

    async with asyncio.TaskGroup() as asking:
        for number, priority in enumerate((7, 0, -7), 1):
            asking.create_task(wait(priority))
            await waiting(session, router, number)
        assert [each["priority"] for each in await waiting(session, router, 3)] == [-7, 0, 7]
    assert went == [-7, 0, 7]
    await first


async def test_who_waits_goes_to_the_backend_that_joins(start_router, fake, session):
    """Whoever has room first."""
    async with FakeEngine() as other:
        router = await start_router(one(fake))
        first = asyncio.create_task(ask(session, router, first_delay=3))
        await eventually(lambda: fake.stats.in_flight == 1)
        second = asyncio.create_task(ask(session, router))
        await waiting(session, router, 1)
        router.plane.add(Backend("c", {"demo": "demo"}), Address.of(other.url))
        assert (await second)["x-router-backend"] == "c"
        assert not first.done()
        await first


async def test_a_slow_upload_of_a_large_prompt(start_router, fake, session):
    """Bytes are bounded, too; one that is larger than the bound goes alone."""
    router = await start_router(one(fake, max_in_flight=9, max_prompt_bytes="10KiB"))
    large = asyncio.create_task(ask(session, router, size=20_000, first_delay=0.3))
    await eventually(lambda: fake.stats.in_flight == 1)
    small = asyncio.create_task(ask(session, router))
    await waiting(session, router, 1)
    await large
    assert "x-router-queue-ms" in await small


async def test_why_a_request_went_where_it_went(start_router, fake, session):
    """With the answer, or beforehand; each candidate with its figures."""
    async with FakeEngine() as other:
        backends = [*one(fake), {"url": other.url, "models": ["demo"], "name": "c"}]
        router = await start_router(backends, routes={"alias": "demo"})
        async with session.post(router.url + CHAT, json=chat("alias"), headers={"x-router-explain": "1"}) as answer:
            told = json.loads(answer.headers["x-router-explain"])
            assert {each["backend"] for each in told} == {"b", "c"}
            assert any(each["passed_over"] == "" for each in told)
            assert {"expected", "queue", "reading", "cost", "in_flight", "cached", "score"} <= set(told[0])
            assert "name" not in told[0]
        async with session.get(f"{router.url}/admin/explain?model=alias&size=5000") as answer:
            assert {each["backend"] for each in await answer.json()} == {"b", "c"}
        async with session.get(f"{router.url}/admin/explain?model=nope") as answer:
            assert answer.status == 404
        async with session.get(f"{router.url}/admin/explain") as answer:
            assert answer.status == 400


@pytest.mark.parametrize("policy", ["least_latency", "least_in_flight", "round_robin", "weighted", "random"])
async def test_each_policy_serves(start_router, fake, session, policy):
    """Both backends, when there is enough to do."""
    async with FakeEngine() as other:
        backends = [{"url": each.url, "models": ["demo"], "name": name} for name, each in (("a", fake), ("b", other))]
        router = await start_router(backends, balance={"policy": policy})
        by = await asyncio.gather(*(ask(session, router, delay=0.02) for _ in range(40)))
        assert {headers["x-router-backend"] for headers in by} == {"a", "b"}


async def test_a_conversation_goes_back_to_who_knows_it(start_router, fake, session):
    """Its beginning is in that backend's cache; other conversations go where they will."""
    async with FakeEngine() as other:
        backends = [{"url": each.url, "models": ["demo"], "name": name} for name, each in (("a", fake), ("b", other))]
        router = await start_router(backends)
        for _ in range(30):  # both are measured: 1 ms for each 100 bytes
            await asyncio.gather(*(ask(session, router, size=2000, first_delay=0.02) for _ in range(2)))
        said = "x" * 4000
        for _ in range(3):
            body = {**chat(first_delay=0.02), "messages": [{"role": "user", "content": said}]}
            async with session.post(router.url + CHAT, json=body) as answer:
                await answer.read()
                last = answer.headers["x-router-backend"]
            async with session.post(
                router.url + CHAT,
                json={**body, "messages": [*body["messages"], {"role": "user", "content": "more"}]},
                headers={"x-router-explain": "1"},
            ) as answer:
                told = {each["backend"]: each for each in json.loads(answer.headers["x-router-explain"])}
                assert told[last]["cached"] > 3000
                await answer.read()


# What a client that waits for long is told


@pytest.fixture
def records(monkeypatch):
    """Give a function by which a router's records are kept, too."""

    def of(router):
        kept: list[Any] = []
        monkeypatch.setattr(router.plane, "_on_record", kept.append)
        return kept

    return of


class Busy:
    """Starts a router whose one place is taken, until it is set free."""

    def __init__(self, start, fake, session):
        self.start, self.fake, self.session = start, fake, session
        self.asking: Any = None

    async def __call__(self, **sections):
        """Start it."""
        router = await self.start(one(self.fake), **sections)
        self.asking = asyncio.create_task(ask(self.session, router, first_delay=600))
        await eventually(lambda: self.fake.stats.in_flight == 1)
        return router

    def free(self):
        """Have who takes the place leave."""
        self.asking.cancel()


@pytest.fixture
async def busy(start_router, fake, session):
    """Give what starts a router whose one place is taken."""
    made = Busy(start_router, fake, session)
    yield made
    made.free()
    await asyncio.gather(made.asking, return_exceptions=True)


@pytest.fixture
def queued(raw, session, lane):
    """Give a function that sends a request, waits until it waits, and gives its connection."""

    async def send(router, number=1, target=CHAT, version=b"1.1", **wishes):
        client = await raw(router)
        client.send(post({**chat(), **wishes}, target.encode(), b"x-request-id: mine\r\n", lane=lane, version=version))
        await waiting(session, router, number)
        return client

    return send


def later(router):
    """Have those told their place who will have waited for long, soon."""
    router.plane.queues.tell_places(router.plane.loop.time() + TELL_EVERY)


PLACE = b"17\r\n: queued, %d before you\n\r\n"


async def told(client, ahead, *, first=True):
    """Read a head, if it is the first time, and a comment."""
    async with asyncio.timeout(20):
        head = await client.reader.readuntil(b"\r\n\r\n") if first else b""
        assert await client.reader.readexactly(len(PLACE % 0)) == PLACE % ahead
    return head


def error_in(rest):
    """Read the one event that an answer broke off with."""
    assert not rest.endswith(b"0\r\n\r\n")
    event = rest[rest.rindex(b"data: ") + 6 :]
    return json.loads(event[: event.index(b"\n\n")])["error"]


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
async def test_a_streaming_client_is_told_its_place(busy, queued, framing):
    """In a comment, behind the head of its answer; the stream follows, and then the connection goes on."""
    router = await busy()
    first = await queued(router, fake={"events": 4, "size": 8, "framing": framing, "delay": 0.01})
    second = await queued(router, 2)
    now = router.plane.loop.time() + TELL_EVERY
    router.plane.queues.tell_places(now)
    head = await told(first, 0)
    await told(second, 1)
    assert head.startswith(b"HTTP/1.1 200 OK\r\nserver: router\r\ncontent-type: text/event-stream")
    assert b"x-request-id: mine\r\n" in head
    assert b"cache-control: no-cache\r\n" in head
    assert b"x-router-" not in head
    router.plane.queues.tell_places(now + TELL_EVERY - 0.1)
    router.plane.queues.tell_places(now + TELL_EVERY)
    await told(first, 0, first=False)
    busy.free()
    for client in (first, second):
        async with asyncio.timeout(20):
            body, _ = await client._chunks()
        assert body.endswith(expected_stream(0, 4, 8))
        assert body.count(b"queued") == (client is second)
        client.send(post(chat()))
        assert (await client.answer()).headers[b"x-router-backend"] == b"b"


async def test_it_is_told_by_the_clock(busy, queued):
    """Of those that have waited for long, and of no others."""
    router = await busy()
    client, other = await queued(router), await queued(router, 2)
    long, short = router.plane.dispatcher.admission.order("demo")
    long.entered -= TELL_EVERY
    short.entered += 1000
    await told(client, 0)
    assert not other.reader._buffer


@pytest.mark.parametrize(
    "unlike",
    [{"stream": False}, {"target": "/v1/embeddings"}, {"version": b"1.0"}],
    ids=lambda unlike: next(iter(unlike)),
)
async def test_others_are_told_nothing(busy, queued, unlike):
    """Who asked for no stream of events, or can't be sent chunks, gets its answer as it is."""
    router = await busy()
    client = await queued(router, **unlike)
    later(router)
    busy.free()
    async with asyncio.timeout(20):
        head = await client.reader.readuntil(b"\r\n\r\n")
    assert b"x-router-backend: b\r\n" in head


async def test_a_retry_is_still_possible(busy, queued, records):
    """The head of the answer says nothing of who gives it."""
    router = await busy()
    kept = records(router)
    fault = {"events": 4, "size": 8, "fault": "close_before", "fault_times": 1, "fault_key": "one"}
    client = await queued(router, fake=fault)
    later(router)
    await told(client, 0)
    busy.free()
    async with asyncio.timeout(20):
        body, _ = await client._chunks()
    assert body == expected_stream(0, 4, 8)
    await eventually(lambda: nothing_left(router))
    assert [(each.status, each.attempts) for each in kept if each.id == "mine"] == [(200, 2)]


@pytest.mark.parametrize(
    ("fault", "said", "code", "status"),
    [
        ("status:400", "The engine answered 400: asked for 400", "bad_request", 400),
        ("status:500", "The engine answered 500: asked for 500", "engine_failed", 500),
        ("status:503", "The engine answered 503: asked for 503", "no_backend_available", 503),
        ("close_before", "closed the connection without an answer", "engine_failed", 502),
        ("truncate", "broke off", "engine_failed", 200),
    ],
)
async def test_an_error_behind_the_head(busy, queued, records, fault, said, code, status):
    """It is an event; the connection ends without a proper end of the stream. The record is honest."""
    router = await busy(limits={"retries": 0})
    kept = records(router)
    client = await queued(router, fake={"events": 4, "size": 8, "fault": fault})
    later(router)
    await told(client, 0)
    busy.free()
    error = error_in(await client.rest())
    assert said in error["message"]
    assert error["code"] == code
    await eventually(lambda: nothing_left(router))
    assert [each.status for each in kept if each.id == "mine"] == [status]


async def test_an_error_without_end_behind_the_head(busy, queued, engine, session):
    """Of what an engine says of its error, only so much is read, chunks or not."""

    async def endless(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 500 No\r\ntransfer-encoding: chunked\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"3e8\r\n" + b"e" * 1000 + b"\r\n")
            await writer.drain()

    router = await busy()
    client = await queued(router)
    later(router)
    await told(client, 0)
    router.plane.add(Backend("endless", {"demo": "demo"}), Address.of(await engine(endless)))
    error = error_in(await client.rest())
    assert error["message"] == "The engine answered 500: " + "e" * 4096
    assert await waiting(session, router) == []


async def test_who_waits_too_long_behind_the_head(busy, queued, session):
    """Is told so in an event."""
    router = await busy(limits={"queue_timeout": "300s"})
    client = await queued(router)
    later(router)
    await told(client, 0)
    for ticket in router.plane.dispatcher.admission.order("demo"):
        ticket.since -= 300
    assert error_in(await client.rest())["code"] == "queue_timeout"
    assert await waiting(session, router) == []


async def test_who_has_to_make_room_behind_the_head(busy, queued):
    """Is told so in an event, too."""
    router = await busy(limits={"max_queue": 1})
    client = await queued(router, priority=5)
    later(router)
    await told(client, 0)
    await queued(router, priority=0)
    assert error_in(await client.rest())["code"] == "queue_full"


async def test_the_routers_end_behind_the_head(busy, queued):
    """A stream that never began has not ended properly."""
    router = await busy()
    client = await queued(router)
    later(router)
    await told(client, 0)
    router.plane.close()
    assert "stopped" in error_in(await client.rest())["message"]


async def test_a_client_that_was_told_leaves(busy, queued, fake, session):
    """And leaves no trace."""
    router = await busy()
    client = await queued(router)
    later(router)
    await told(client, 0)
    client.leave()
    while await waiting(session, router):
        pass
    assert len(router.plane.exchanges) == 1
    assert fake.stats.begun == 1


async def test_who_has_waited_leaves_nothing_to_the_collector(start_router, fake, session):
    """It looks seldom: what is let go of must not refer to itself, with its body and all."""
    router = await start_router(one(fake))
    await ask(session, router)
    gc.collect()
    gc.disable()

    def kept() -> set[int]:
        return {id(each) for each in gc.get_objects() if isinstance(each, Exchange | Waiting)}

    others = kept()  # of tests before this one
    try:
        await asyncio.gather(*(ask(session, router, first_delay=0.02) for _ in range(4)))
        await eventually(lambda: nothing_left(router))
        await eventually(lambda: kept() <= others)
    finally:
        gc.enable()
