"""What reaches the client of what an engine sends, and what reaches the engine of what a client sends."""

import asyncio
import json
import socket
import uuid

import pytest

from tests.fakes.engine import FakeEngine, expected_body, expected_stream
from tests.integration.raw import nothing_left, post
from tests.running import eventually

CHAT = "/v1/chat/completions"


def chat(stream=False, model="demo", **fake):
    return {"model": model, "messages": [{"role": "user", "content": "Hi"}], "stream": stream, "fake": fake}


def backend(fake: FakeEngine, **keys):
    return {"url": fake.url, "models": ["demo"], "name": f"fake-{fake.port}", **keys}


@pytest.fixture
async def router(start_router, fake):
    return await start_router([backend(fake)])


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
@pytest.mark.parametrize("shape", [{}, {"split": 1}, {"split": 7}, {"coalesce": 3}, {"events": 400, "size": 900}])
async def test_a_stream_passes_byte_for_byte(router, session, framing, shape):
    """Whatever frames the answer and however it is cut into reads, the client gets what the engine said."""
    shape = {"events": 12, "size": 40, **shape}
    async with session.post(router.url + CHAT, json=chat(stream=True, framing=framing, **shape)) as answer:
        assert answer.status == 200
        assert answer.content_type == "text/event-stream"
        assert await answer.read() == expected_stream(0, shape["events"], shape["size"])


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
async def test_a_body_in_one_piece_passes_byte_for_byte(router, session, framing):
    """An answer that isn't streamed passes the same way."""
    async with session.post(router.url + CHAT, json=chat(framing=framing, events=500)) as answer:
        assert await answer.read() == expected_body(0, 500)


async def test_events_arrive_as_they_are_sent(router, session):
    """Nothing is gathered: the first event is here while the engine hasn't said the second."""
    async with session.post(router.url + CHAT, json=chat(stream=True, fault="hang", fault_after=1)) as answer:
        first = await answer.content.readuntil(b"\n\n")
    assert expected_stream(0, 8, 16).startswith(first)


async def test_200_streams_at_once(router, session, fake):
    """None is lost, none garbled, each byte compared."""

    async def one(seed: int) -> bool:
        body = chat(stream=True, seed=seed, events=10, size=30, delay=0.005, split=seed % 23)
        async with session.post(router.url + CHAT, json=body) as answer:
            received: bytes = await answer.read()
        return received == expected_stream(seed, 10, 30)

    assert all(await asyncio.gather(*(one(seed) for seed in range(200))))
    assert fake.stats.ended == 200
    assert not router.plane.exchanges
    assert next(iter(router.plane.backends.values())).in_flight == 0


async def test_the_body_passes_untouched(router, session, fake):
    """Where the engine knows the model by the same name, not a byte of the body changes."""
    body = b'{ "model":"demo",  "x": 1.50, "stream" : false }'
    async with session.post(router.url + CHAT + "?a=b%20c", data=body) as answer:
        await answer.read()
    assert fake.stats.last.body == body.decode()
    assert fake.stats.last.path == CHAT + "?a=b%20c"


async def test_the_model_is_named_as_the_backend_knows_it(start_router, session, fake):
    """An alias leads to a model, and a model to the backend's own name for it."""
    router = await start_router(
        [backend(fake, models={"llama": "meta/Llama-8B"})], routes={"gpt-*": "llama", "best": ["llama"]}
    )
    for name in ("llama", "gpt-4o", "best"):
        async with session.post(router.url + CHAT, json=chat(model=name)) as answer:
            assert answer.status == 200
        assert json.loads(fake.stats.last.body)["model"] == "meta/Llama-8B"


async def test_headers_to_the_engine(start_router, session, fake):
    """End-to-end headers pass, those of the connection don't; the backend's key replaces the client's."""
    router = await start_router([backend(fake, api_key="backend-key")])
    sent = {
        "X-Mine": "yes",
        "Connection": "keep-alive, X-Hop",
        "X-Hop": "1",
        "Authorization": "Bearer client-key",
        "X-Request-ID": "abc-1",
        "Accept-Encoding": "gzip",
    }
    async with session.post(router.url + CHAT, json=chat(), headers=sent) as answer:
        assert answer.headers["x-request-id"] == "abc-1"
    seen = {name.lower(): value for name, value in fake.stats.last.headers}
    assert seen["x-mine"] == "yes"
    assert seen["authorization"] == "Bearer backend-key"
    assert seen["x-request-id"] == "abc-1"
    assert seen["host"] == f"127.0.0.1:{fake.port}"
    assert not seen.keys() & {"connection", "x-hop", "accept-encoding", "transfer-encoding"}


async def test_headers_to_the_client(router, session, fake):
    """Each answer carries an id, a new one where the client gave none that will do, and names its backend."""
    for theirs in ({}, {"x-request-id": "x" * 200}, {"x-request-id": "caf\u00e9"}):
        async with session.post(router.url + CHAT, json=chat(), headers=theirs) as answer:
            assert uuid.UUID(answer.headers["x-request-id"])
            assert answer.headers["x-router-backend"] == f"fake-{fake.port}"


async def test_a_base_path_and_a_v1_in_the_url(start_router, session, fake):
    """A backend's URL may be given as OpenAI's clients are given it."""
    router = await start_router([backend(fake, url=f"{fake.url}/v1")])
    async with session.post(router.url + CHAT, json=chat()) as answer:
        assert answer.status == 200
    assert fake.stats.last.path == CHAT


async def test_connections_are_kept(router, session, fake):
    """Requests one after another share one connection."""
    await eventually(lambda: fake.stats.gets == 1 and fake.stats.connections_open == 0)  # the first probe
    before = fake.stats.connections_opened
    for _ in range(5):
        async with session.post(router.url + CHAT, json=chat(stream=True)) as answer:
            await answer.read()
    assert fake.stats.connections_opened == before + 1


async def test_an_engines_own_error_passes(router, session):
    """A 4xx is the engine's answer, and no reason to try again."""
    async with session.post(router.url + CHAT, json=chat(fault="status:422")) as answer:
        assert answer.status == 422
        assert "error" in await answer.json()


# Clients that leave, or are slow


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_frees_the_engine(router, session, fake, stream):
    """The engine's connection is closed at once, be the answer streamed or not."""
    asking = asyncio.create_task(session.post(router.url + CHAT, json=chat(stream=stream, fault="hang", fault_after=0)))
    await eventually(lambda: fake.stats.in_flight == 1)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await eventually(lambda: fake.stats.aborted == 1)
    await eventually(lambda: not router.plane.exchanges)
    assert next(iter(router.plane.backends.values())).in_flight == 0


async def test_a_client_that_leaves_mid_stream_frees_the_engine(router, session, fake):
    """So is one that left after some events."""
    async with session.post(router.url + CHAT, json=chat(stream=True, events=10_000, delay=0.001)) as answer:
        await answer.content.readuntil(b"\n\n")
    await eventually(lambda: fake.stats.aborted == 1)


async def test_a_client_that_leaves_while_the_router_connects(start_router, session):
    """Nothing is left of it."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):  # the one place in its backlog
            router = await start_router([{"url": f"http://127.0.0.1:{port}", "models": ["demo"]}])
            asking = asyncio.create_task(session.post(router.url + CHAT, json=chat()))
            await eventually(lambda: router.plane.exchanges)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            await eventually(lambda: not router.plane.exchanges)


async def no_longer_grows(value) -> int:
    """Wait until a number stays what it is."""
    before = -1
    while before != value():
        before = value()
        await asyncio.sleep(0.15)
    return before


async def test_a_slow_client_stops_the_reading_from_the_engine(router, fake, raw, lane):
    """Of 40 MB no more is under way than buffers hold; when the client reads on, all of it comes."""
    events, size = 400, 100_000
    client = await raw(router, receive_buffer=8192)
    client.send(post(chat(stream=True, events=events, size=size), lane=lane))
    await eventually(lambda: fake.stats.bytes_written > 0)
    stuck_at = await no_longer_grows(lambda: fake.stats.bytes_written)
    assert stuck_at < events * size  # the kernel alone receives up to 32 MiB for the router, by its settings
    exchange = next(iter(router.plane.exchanges))
    assert exchange.paused
    assert exchange.answer.passed.size < 8_000_000  # passed on: the kernel sends up to 4 MiB, ours is 64 KiB
    answer = await client.answer()
    assert answer.body == expected_stream(0, events, size)
    assert fake.stats.ended == 1


async def test_a_client_that_takes_nothing_is_cut(start_router, fake, raw, lane):
    """It may not hold an engine for ever."""
    router = await start_router([backend(fake)], limits={"idle_timeout": "300ms"})
    client = await raw(router, receive_buffer=8192)
    client.send(post(chat(stream=True, events=400, size=100_000), lane=lane))
    await eventually(lambda: fake.stats.aborted == 1)
    assert nothing_left(router)
    assert next(iter(router.plane.backends.values())).health.usable  # it is not the engine's fault


async def test_the_engine_is_told_that_it_is_json(router, session, fake):
    """A plain `curl -d` calls its body a form; engines go by the word."""
    headers = {"content-type": "application/x-www-form-urlencoded"}
    async with session.post(router.url + CHAT, data=b'{"model": "demo"}', headers=headers) as answer:
        assert answer.status == 200
    assert [value for name, value in fake.stats.last.headers if name.lower() == "content-type"] == ["application/json"]
