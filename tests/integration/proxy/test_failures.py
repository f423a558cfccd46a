"""What a client sees of an engine that fails: another engine's answer, or an honest error."""

import asyncio
import json
import socket
import struct
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from router.core.budget import RetryBudget
from tests.fakes.engine import FakeEngine, expected_body, expected_stream
from tests.running import dead_url, eventually

CHAT = "/v1/chat/completions"


def chat(stream=False, model="demo", **fake):
    return {"model": model, "messages": [{"role": "user", "content": "Hi"}], "stream": stream, "fake": fake}


def backend(fake: FakeEngine, name: str, **keys):
    return {"url": fake.url, "models": ["demo"], "name": name, **keys}


@pytest.fixture
async def good():
    async with FakeEngine() as engine:
        yield engine


@asynccontextmanager
async def bad_before_good(start_router, good, sections=None, **fault):
    """Start a router that asks an engine with this fault first, and then a good one."""
    async with FakeEngine(**fault) as bad:
        router = await start_router([backend(bad, "bad"), backend(good, "good")], **(sections or {}))
        router.plane.backends["good"].in_flight += 1  # it looks busier
        yield router, bad


@asynccontextmanager
async def alone(start_router, sections=None, **fault):
    """Start a router with one backend, an engine with this fault."""
    async with FakeEngine(**fault) as fake:
        yield await start_router([backend(fake, "only")], **(sections or {})), fake


def parsed(events: bytes) -> list[Any]:
    """Parse a stream's events; what is no JSON stays text."""
    data = [line[6:] for line in events.decode().splitlines() if line.startswith("data: ")]
    return [each if each == "[DONE]" else json.loads(each) for each in data]


async def until_cut(answer: aiohttp.ClientResponse) -> bytes:
    """Read what comes of an answer until it breaks off, as it must."""
    received = bytearray()
    try:
        async for data in answer.content.iter_any():
            received += data
    except aiohttp.ClientPayloadError:
        return bytes(received)
    raise AssertionError(f"it ended as if it were whole: {received!r}")


BEFORE_THE_FIRST_BYTE = [
    {"fault": "reset_before"},
    {"fault": "close_before"},
    {"fault": "garbage"},
    {"fault": "two_lengths"},
    {"fault": "big_head"},
    {"fault": "status:502"},
    {"fault": "status:503"},
    {"fault": "status:504"},
    {"fault": "status:429"},
    {"fault": "die", "fault_after": 0},
    {"fault": "truncate", "fault_after": 0},
]


@pytest.mark.parametrize("fault", BEFORE_THE_FIRST_BYTE, ids=lambda fault: fault["fault"])
@pytest.mark.parametrize("stream", [True, False])
async def test_before_the_first_byte_another_backend_answers(start_router, session, good, fault, stream):
    """The client never learns of it, and each backend was asked once."""
    async with bad_before_good(start_router, good, **fault) as (router, bad):
        async with session.post(router.url + CHAT, json=chat(stream)) as answer:
            assert answer.status == 200
            assert answer.headers["x-router-backend"] == "good"
            assert await answer.read() == (expected_stream(0, 8, 16) if stream else expected_body(0, 8))
        assert (bad.stats.begun, good.stats.begun) == (1, 1)
        assert router.plane.backends["bad"].in_flight == 0


async def test_a_backend_that_hangs_is_left_for_another(start_router, session, good):
    """No first byte in time: the next, and the engine that hangs is freed."""
    limits = {"limits": {"first_byte_timeout": "1s"}}  # the other one must begin within it
    async with bad_before_good(start_router, good, limits, fault="hang", fault_after=0) as (router, bad):
        async with session.post(router.url + CHAT, json=chat()) as answer:
            assert answer.headers["x-router-backend"] == "good"
        await eventually(lambda: bad.stats.aborted == 1)


async def test_a_refused_connection_leads_to_another_backend(start_router, session, good):
    """And nobody is asked there again soon: a first word against a backend counts at once."""
    gone = {"url": dead_url(), "models": ["demo"], "name": "bad"}
    router = await start_router([gone, backend(good, "good")])
    async with session.post(router.url + CHAT, json=chat()) as answer:
        assert answer.headers["x-router-backend"] == "good"
    await eventually(lambda: not router.plane.backends["bad"].health.usable)


async def test_what_no_engine_has_read_is_sent_on_whatever_the_budget(start_router, session, good):
    """A refused connection costs nobody anything: not even on a bad day is a request lost of it."""
    backends = [{"url": dead_url(), "models": ["demo"], "name": "bad"}, backend(good, "good")]
    router = await start_router(backends, health={"unhealthy_after": 100})
    router.plane.ledger.budget = RetryBudget(0, reserve=0)
    for _ in range(3):
        router.plane.backends["good"].in_flight = 1  # it looks busier
        async with session.post(router.url + CHAT, json=chat()) as answer:
            assert answer.headers["x-router-backend"] == "good"


async def test_what_an_engine_refuses_is_paid_for(start_router, session, good):
    """It has read the request: with nothing left for retries, what it said is the answer."""
    async with bad_before_good(start_router, good, fault="status:503") as (router, _):
        router.plane.ledger.budget = RetryBudget(0, reserve=0)
        async with session.post(router.url + CHAT, json=chat()) as answer:
            assert answer.status == 503


async def test_the_only_backend_is_tried_again_on_a_broken_connection(start_router, session):
    """A hiccup of the connection is no reason to fail."""
    async with alone(start_router, fault="close_before", fault_times=1) as (router, fake):
        async with session.post(router.url + CHAT, json=chat()) as answer:
            assert await answer.read() == expected_body(0, 8)
        assert fake.stats.begun == 2


async def test_retries_are_bounded(start_router, session):
    """After so many, the client is told."""
    sections = {"limits": {"retries": 2}, "health": {"interval": "1h", "unhealthy_after": 100}}
    async with alone(start_router, sections, fault="close_before") as (router, fake):
        await eventually(lambda: fake.stats.gets)  # so that it is known to be up
        async with session.post(router.url + CHAT, json=chat()) as answer:
            assert answer.status == 502
            assert (await answer.json())["error"]["code"] == "engine_failed"
        assert fake.stats.begun == 3


@pytest.mark.parametrize("status", [429, 503])
async def test_the_only_backends_refusal_is_the_answer(start_router, session, status):
    """There is nobody else to ask, so its own words pass, Retry-After with them."""
    async with alone(start_router, fault=f"status:{status}", retry_after="7") as (router, fake):
        async with session.post(router.url + CHAT, json=chat()) as answer:
            assert answer.status == status
            assert answer.headers["retry-after"] == "7"
            assert "error" in await answer.json()
        assert fake.stats.begun == 1


@pytest.mark.parametrize("fault", ["garbage", "two_lengths", "big_head"])
async def test_a_broken_engine_is_502(start_router, session, fault):
    """What is no HTTP never reaches a client."""
    async with (
        alone(start_router, fault=fault) as (router, _),
        session.post(router.url + CHAT, json=chat()) as answer,
    ):
        assert answer.status == 502
        assert (await answer.json())["error"]["code"] == "engine_failed"
        assert answer.headers["x-request-id"]


async def test_no_first_byte_is_504(start_router, session):
    """A time-out says so, and the engine is freed."""
    limits = {"limits": {"first_byte_timeout": "200ms"}}
    async with alone(start_router, limits, fault="hang", fault_after=0) as (router, fake):
        async with session.post(router.url + CHAT, json=chat()) as answer:
            assert answer.status == 504
            assert (await answer.json())["error"]["code"] == "engine_timeout"
        await eventually(lambda: fake.stats.aborted == 1)


async def test_a_connection_that_never_comes_is_504(start_router, session):
    """Some hosts answer nothing at all."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):  # the one place in its backlog
            backends = [{"url": f"http://127.0.0.1:{port}", "models": ["demo"]}]
            router = await start_router(backends, limits={"connect_timeout": "200ms"})
            async with session.post(router.url + CHAT, json=chat()) as answer:
                assert answer.status == 504
                assert "could not be connected to in time" in (await answer.json())["error"]["message"]


# After the first byte

CUT_SHORT = [
    {"fault": "die"},
    {"fault": "truncate", "framing": "chunked"},
    {"fault": "truncate", "framing": "length"},
    {"fault": "truncate", "framing": "close"},
    {"fault": "hang"},
]


@pytest.mark.parametrize("fault", CUT_SHORT, ids=lambda fault: "-".join(fault.values()))
async def test_a_stream_that_breaks_off_says_so(start_router, session, good, fault):
    """What came is passed on, then an error event; no [DONE], no proper end, and nobody else is asked."""
    limits = {"limits": {"idle_timeout": "300ms" if fault["fault"] == "hang" else "60s"}}
    async with bad_before_good(start_router, good, limits, **fault, fault_after=3) as (router, bad):
        async with session.post(router.url + CHAT, json=chat(stream=True)) as answer:
            assert answer.status == 200
            received = await until_cut(answer)
        *events, last = parsed(received)
        assert events == parsed(expected_stream(0, 8, 16))[:3]
        assert last["error"]["code"] in {"engine_failed", "engine_timeout"}
        assert good.stats.begun == 0
        await eventually(lambda: bad.stats.in_flight == 0)


@pytest.mark.parametrize("fault", ["die", "truncate"])
@pytest.mark.parametrize("framing", ["chunked", "length"])
async def test_a_body_in_one_piece_that_breaks_off_is_seen_to_be_cut(start_router, session, fault, framing):
    """Half an answer is never taken for a whole one, and no words are put into it."""
    async with (
        alone(start_router, fault=fault, framing=framing, fault_after=1, events=50) as (router, _),
        session.post(router.url + CHAT, json=chat()) as answer,
    ):
        received = await until_cut(answer)
    assert expected_body(0, 50).startswith(received)


async def test_anthropic_streams_end_with_anthropics_error(start_router, session):
    """The error event has the form of the path's API."""
    async with alone(start_router, fault="die", fault_after=2) as (router, _):
        async with session.post(router.url + "/v1/messages", json=chat(stream=True)) as answer:
            received = await until_cut(answer)
        assert b'\n\nevent: error\ndata: {"type":"error","error":{"type":"api_error"' in received


# Connections


async def test_a_connection_with_surplus_bytes_is_not_used_again(start_router, session):
    """What came after the end could pass for the next client's answer."""
    async with alone(start_router, fault="surplus") as (router, fake):
        for _ in range(3):
            async with session.post(router.url + CHAT, json=chat()) as answer:
                assert await answer.read() == expected_body(0, 8)
        await eventually(lambda: fake.stats.connections_open <= 1)  # the probe's
        assert fake.stats.begun == 3


class ClosesWhenAsked(asyncio.Protocol):
    """Answers the first request of a connection, and closes at the second: a keep-alive that just ran out."""

    def connection_made(self, transport):
        """Begin with a connection that nothing was asked on."""
        self.transport = transport
        self.asked = False

    def data_received(self, data):
        """Answer, or reset."""
        if self.asked:
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        elif data.startswith(b"POST"):
            self.asked = True
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        else:
            self.transport.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")


async def test_a_stale_connection_costs_the_client_nothing(start_router, session):
    """The request goes out once more on a fresh one, even where no retry is allowed."""
    loop = asyncio.get_running_loop()
    async with await loop.create_server(ClosesWhenAsked, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        backends = [{"url": f"http://127.0.0.1:{port}", "models": ["demo"], "name": "only"}]
        router = await start_router(backends, limits={"retries": 0})
        for _ in range(5):
            async with session.post(router.url + CHAT, json=chat()) as answer:
                assert await answer.read() == b"ok"
        assert router.plane.backends["only"].health.usable
