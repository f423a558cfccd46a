"""Backends that answer every probe, and do no work.

What a client is told differs by lane, and is tried in both. Whether a backend counts as stalled doesn't.
"""

import asyncio
import time
from contextlib import suppress
from itertools import product

import pytest

from router.core.budget import RetryBudget
from router.proxy.watching import probe
from tests.fakes.engine import FakeEngine, expected_stream
from tests.integration.proxy.test_failures import CHAT, chat, parsed, until_cut
from tests.running import eventually

in_one_lane = pytest.mark.parametrize("lane", ["fast"], indirect=True)
STALL = {"health": {"interval": "0.1s", "stall_after": "1s"}}


async def asked(reader, writer) -> bytes:
    """Answer probes at once; of a POST begin a stream, and give its head."""
    head: bytes = await reader.readuntil(b"\r\n\r\n")
    if head.startswith(b"GET"):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await reader.read()
        return b""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    return head


async def pinging(reader, writer) -> None:
    """Of a stream say a first event if it is told to, and then nothing but pings."""
    head = await asked(reader, writer)
    if not head:
        return
    if b"/v1/completions" in head:
        writer.write(b'16\r\ndata: {"choices":[]}\n\n\r\n')
    while True:
        writer.write(b"8\r\n: ping\n\n\r\n")
        await asyncio.sleep(0.1)


async def test_a_stream_of_pings_is_no_progress(start_router, engine, session):
    """A stream that has begun and gets nothing but pings is cut, honestly, and the backend is out."""
    router = await start_router([{"url": await engine(pinging), "models": ["demo"], "name": "b"}], **STALL)
    began = time.monotonic()
    async with session.post(f"{router.url}/v1/completions", json=chat(stream=True)) as answer:
        received = await until_cut(answer)
    assert time.monotonic() - began < 2 + 5
    assert parsed(received)[-1]["error"]["message"].startswith("The backend 'b' stopped working.")
    backend = router.plane.backends["b"]
    assert (backend.stalled, backend.health.usable) == (True, False)
    await asyncio.sleep(0.5)  # probes go on, and say that all is well
    assert not backend.health.usable


EVENT = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'


def cut_inside_data(said: bytes) -> list[bytes]:
    """Every piece ends inside of an event's first word."""
    return [piece + b"dat" for piece in (b"dat" + said).split(b"dat")[1:-1]]


def one_by_one(said: bytes) -> list[bytes]:
    return [said[at : at + 1] for at in range(len(said))]


CUTS = {
    "inside": cut_inside_data(EVENT * 30),
    "bytes": one_by_one(EVENT * 2),
    "crlf": [piece.replace(b"\n", b"\r\n") for piece in cut_inside_data(EVENT * 30)],
    "named": [b"a: x\n\nevent: token\ndat"] * 30,
    "json": [b'"a"}\n{"response": '] * 30,
}


def in_pieces(pieces, kind, *, chunked, end):
    """Make an engine that sends such pieces for 3 s, each in a chunk, or with none to the connection's end."""

    async def handle(reader, writer) -> None:
        head: bytes = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET"):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            await reader.read()
            return
        version, framing = (b"1.1", b"transfer-encoding: chunked\r\n") if chunked else (b"1.0", b"")
        writer.write(b"HTTP/%s 200 OK\r\ncontent-type: %s\r\n%s\r\n" % (version, kind, framing))
        for piece in pieces:
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
            await asyncio.sleep(3 / len(pieces))
        writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(end), end) if chunked else end)

    return handle


def kind_and_end(cut: str) -> tuple[bytes, bytes]:
    """Give what such a stream is, and what it ends with."""
    end = b"a: [DONE]\n\n" if cut in {"inside", "named"} else b"\n\ndata: [DONE]\n\n"
    return b"application/x-ndjson" if cut == "json" else b"text/event-stream", end


@in_one_lane
async def test_content_is_seen_however_it_is_cut(start_router, engine, session):
    """A stream of which no piece holds the beginning of an event in one is no silence; it has a first token, too.

    Each way of cutting has two backends of its own, one of which sends chunks. All are asked at once.
    """
    backends, ways = [], list(product(CUTS, [True, False]))
    for cut, chunked in ways:
        kind, end = kind_and_end(cut)
        url = await engine(in_pieces(CUTS[cut], kind, chunked=chunked, end=end))
        backends.append({"url": url, "models": [f"{cut} {chunked}"], "name": f"{cut}-{chunked}"})
    router = await start_router(backends, **STALL)

    async def ask(cut: str, chunked: bool) -> tuple[bytes, int]:
        estimate = router.plane.backends[f"{cut}-{chunked}"].estimate
        async with session.post(router.url + CHAT, json=chat(stream=True, model=f"{cut} {chunked}")) as answer:
            received, begun = b"", 0
            while piece := await answer.content.readany():
                received += piece
                begun = max(begun, estimate.begun)
        return received, begun

    answers = await asyncio.gather(*(ask(*way) for way in ways))
    for (cut, chunked), (received, begun) in zip(ways, answers, strict=True):
        assert received == b"".join(CUTS[cut]) + kind_and_end(cut)[1], (cut, chunked)
        assert begun == (cut != "json"), (cut, chunked)
        assert not router.plane.backends[f"{cut}-{chunked}"].stalled, (cut, chunked)


@in_one_lane
@pytest.mark.parametrize("chunked", [True, False])
async def test_pings_are_none_however_they_are_cut(start_router, engine, session, chunked):
    """Not even in chunks of one byte."""
    pieces = one_by_one(b": ping\r\n\r\n" * 20)
    url = await engine(in_pieces(pieces, b"text/event-stream", chunked=chunked, end=b"data: [DONE]\n\n"))
    router = await start_router([{"url": url, "models": ["demo"], "name": "b"}], **STALL)
    async with session.post(router.url + CHAT, json=chat(stream=True)) as answer:
        assert b"stopped working" in await until_cut(answer)
    assert router.plane.backends["b"].stalled


def reading(steps):
    """Make an engine that says of a long prompt how far it has come, and then answers."""

    async def handle(reader, writer) -> None:
        if not await asked(reader, writer):
            return
        for read in steps:
            said = b": keepalive %d/1000\n\n" % read
            writer.write(b"%x\r\n%s\r\n" % (len(said), said))
            await asyncio.sleep(0.25)
        said = b'data: {"choices":[]}\n\ndata: [DONE]\n\n'
        writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(said), said))
        await reader.read()

    return handle


@in_one_lane
async def test_progress_in_reading_a_prompt_is_work(start_router, engine, session):
    """Several times longer than anybody may be silent."""
    router = await start_router([{"url": await engine(reading(range(14))), "models": ["demo"], "name": "b"}], **STALL)
    async with session.post(f"{router.url}{CHAT}", json=chat(stream=True)) as answer:
        assert (await answer.read()).endswith(b"data: [DONE]\n\n")


@in_one_lane
async def test_progress_that_does_not_advance_is_none(start_router, engine, session):
    """The same number again and again is a ping like any other."""
    router = await start_router([{"url": await engine(reading([7] * 60)), "models": ["demo"], "name": "b"}], **STALL)
    async with session.post(f"{router.url}{CHAT}", json=chat(stream=True)) as answer:
        assert b"stopped working" in await until_cut(answer)


async def test_what_has_not_begun_goes_elsewhere(start_router, fake, session):
    """Requests that wait at a stuck backend are answered by another; one that it works on meanwhile is not."""
    async with FakeEngine(fault="hang", fault_after=0, fault_times=1) as stuck:
        backends = [
            {"url": stuck.url, "models": ["demo"], "name": "stuck"},
            {"url": fake.url, "models": ["demo"], "name": "good"},
        ]
        router = await start_router(backends, **STALL)
        router.plane.backends["good"].in_flight += 1  # it looks busier
        router.plane.ledger.budget = RetryBudget(0, reserve=0)  # the stuck one is out: this is no further load
        async with session.post(router.url + CHAT, json=chat(stream=True)) as answer:
            assert answer.headers["x-router-backend"] == "good"
            assert await answer.read() == expected_stream(0, 8, 16)
        assert stuck.stats.begun > 0
        # It has answered the one token that it was asked for: it is back.
        await eventually(lambda: router.plane.backends["stuck"].health.usable)
        assert not router.plane.backends["stuck"].stalled


def counting(count):
    """Make an engine that begins no answer, answers probes, and counts what it has done: it calls `count` for that."""

    async def handle(reader, writer) -> None:
        head: bytes = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET"):
            page = b"vllm:generation_tokens_total %d\n" % count()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s" % (len(page), page))
        await reader.read()

    return handle


@pytest.mark.parametrize(("lane", "stream"), [("fast", True), ("slow", False)], indirect=["lane"])
async def test_what_has_no_byte_leaves_a_silent_backend_before_it_counts_as_stalled(
    start_router, engine, fake, session, stream
):
    """Where its own counters stand still, and another has room; that is paid for."""
    backends = [
        {"url": await engine(counting(lambda: 7)), "models": ["demo"], "name": "still"},
        {"url": fake.url, "models": ["demo"], "name": "good"},
    ]
    router = await start_router(backends, health={"interval": "0.1s", "stall_after": "4s"})
    router.plane.backends["good"].in_flight += 1  # it looks busier
    tokens = router.plane.ledger.budget.tokens
    began = time.monotonic()
    async with session.post(router.url + CHAT, json=chat(stream=stream)) as answer:
        assert answer.headers["x-router-backend"] == "good"
        assert answer.status == 200
    assert 4 / 3 <= time.monotonic() - began < 4
    assert router.plane.ledger.budget.tokens < tokens
    # It has nothing in flight any more, and is found all the same.
    await eventually(lambda: router.plane.backends["still"].stalled)


async def test_one_whose_counters_stand_still_is_stalled_whatever_is_in_flight(start_router, engine, session):
    """An answer in one piece, too."""
    url = await engine(counting(lambda: 7))
    router = await start_router([{"url": url, "models": ["demo"], "name": "b"}], **STALL)
    async with session.post(router.url + CHAT, json=chat()) as answer:
        assert answer.status == 504
    assert router.plane.backends["b"].health.reason.startswith("stalled: its own counters stand still for ")


@in_one_lane
async def test_one_whose_counters_grow_works(start_router, engine, session):
    """For several times as long as anybody may be silent."""
    count = iter(range(10_000))
    url = await engine(counting(lambda: next(count)))
    router = await start_router([{"url": url, "models": ["demo"], "name": "b"}], **STALL)
    with suppress(TimeoutError):
        async with asyncio.timeout(3.5), session.post(router.url + CHAT, json=chat(stream=True)):
            pass
    assert not router.plane.backends["b"].stalled


@in_one_lane
async def test_a_backend_that_falls_silent_is_not_expected_to_answer_soon(start_router, engine, session):
    """Long before it counts as stalled, and before any request has waited there; with its next word it is."""
    silent, over = asyncio.Event(), asyncio.Event()

    async def handle(reader, writer) -> None:
        if not await asked(reader, writer):
            return
        while not over.is_set():
            if not silent.is_set():
                writer.write(b'16\r\ndata: {"choices":[]}\n\n\r\n')
            await asyncio.sleep(0.02)
        writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
        await reader.read()

    router = await start_router([{"url": await engine(handle), "models": ["demo"], "name": "b"}])
    estimate, clock = router.plane.backends["b"].estimate, router.plane.loop.time
    async with session.post(router.url + CHAT, json=chat(stream=True)) as answer:
        await answer.content.readany()
        silent.set()
        await eventually(lambda: estimate.queue(clock()) > 2)
        silent.clear()
        await eventually(lambda: estimate.queue(clock()) < 2)
        over.set()
        assert (await answer.read()).endswith(b"data: [DONE]\n\n")
    await eventually(lambda: not router.plane.hearing.running)  # nothing is under way: nobody listens


@in_one_lane
async def test_a_backend_that_works_on_others_is_not_stalled(start_router, session):
    """While one stream gets its events, another may wait for its turn."""
    async with FakeEngine(max_concurrent=1) as slow:
        router = await start_router([{"url": slow.url, "models": ["demo"], "name": "b"}], **STALL)

        async def ask(events: int) -> bytes:
            async with session.post(router.url + CHAT, json=chat(stream=True, events=events, delay=0.2)) as answer:
                body: bytes = await answer.read()
                return body

        long, short = await asyncio.gather(ask(15), ask(2))
        assert (long, short) == (expected_stream(0, 15, 16), expected_stream(0, 2, 16))
        assert not router.plane.backends["b"].stalled


@in_one_lane
async def test_an_answer_that_does_not_stream_may_take_its_time(start_router, session):
    """It is silent to its end."""
    async with FakeEngine(first_delay=2.5) as slow:
        router = await start_router([{"url": slow.url, "models": ["demo"], "name": "b"}], **STALL)
        async with session.post(router.url + CHAT, json=chat()) as answer:
            assert answer.status == 200


async def test_an_idle_engine_is_asked_for_a_token(start_router, engine):
    """A launched one that is well by its own word, and gives none, is out, and whoever can restart it is told."""
    router = await start_router([{"url": await engine(pinging), "models": ["demo"], "name": "b"}], **STALL)
    backend, told = router.plane.backends["b"], list[object]()
    router.plane._on_stall = told.append
    prober = probe.Prober(
        router.plane, probe.ProbeTiming(interval=0.1, timeout=1.0, stall_after=0.3), uniform=lambda: 0.5
    )
    prober.watch(probe.Target(backend, launched=True))
    await eventually(lambda: told == [backend])
    await prober.stop()
    assert backend.health.reason == "stalled: no token in 0.3 s"


@in_one_lane
async def test_one_that_nobody_waits_for_long_is_found_too(start_router, session):
    """Each client gives up before anything could be told of it; so it is asked for a token."""
    async with FakeEngine(fault="hang", fault_after=0) as stuck:
        router = await start_router([{"url": stuck.url, "models": ["demo"], "name": "b"}], **STALL)
        backend = router.plane.backends["b"]
        backend.estimate.slowest.note(1024, 0.001)  # it reads fast: what others have there is no reason to wait
        while not backend.stalled:
            with suppress(TimeoutError):
                async with asyncio.timeout(0.2), session.post(router.url + CHAT, json=chat(stream=True)):
                    pass
        assert backend.health.reason.startswith("stalled: no content for ")


@in_one_lane
@pytest.mark.parametrize("stream", [False, True])
async def test_one_that_works_for_others_is_asked_and_left_alone(start_router, session, stream):
    """Its token waits behind one that is answered, be it in one piece at the end."""
    async with FakeEngine(max_concurrent=1) as slow:
        router = await start_router([{"url": slow.url, "models": ["demo"], "name": "b"}], **STALL)
        backend = router.plane.backends["b"]
        backend.estimate.slowest.note(1024, 0.001)  # it reads fast
        wishes = {"events": 30, "delay": 0.1} if stream else {"first_delay": 3}
        long = asyncio.create_task(session.post(router.url + CHAT, json=chat(stream=stream, **wishes)).__aenter__())
        await eventually(lambda: slow.stats.in_flight == 1)
        while slow.stats.begun < 2:
            backend.estimate.unheard = probe.SUSPECT
            await asyncio.sleep(0.005)
        answer = await long
        assert (await answer.read()).endswith(b"[DONE]\n\n" if stream else b"}")
        assert answer.status == 200
        await eventually(lambda: slow.stats.in_flight == 0 and not backend.estimate.unheard)
        assert not backend.stalled
