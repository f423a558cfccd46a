"""When an answer is over: the numbered cases of router.proxy.exchange, in each API, framing and lane."""

import asyncio
import socket
import struct
from itertools import product
from typing import TYPE_CHECKING

import pytest

from router.core import health
from router.http1.bodies import chunk
from tests.integration.proxy.test_hostile_engines import NOT_FOUND, head_of
from tests.integration.raw import ASK, LANES, WITHIN, nothing_left, post
from tests.running import eventually

if TYPE_CHECKING:
    from router.core.record import Record

EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}\n\n'
DONE = b"data: [DONE]\n\n"
PING = b": ping\n\n"
STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
COMPLETED = b'event: response.completed\ndata: {"type":"response.completed","response":{"output":"%s"}}\n\n' % (
    b"x" * 9000
)
MARKS = {
    b"/v1/chat/completions": DONE,
    b"/v1/completions": DONE,
    b"/v1/messages": STOP,
    b"/v1/responses": COMPLETED,
}
APIS = pytest.mark.parametrize("path", MARKS, ids=lambda path: path.decode().rpartition("/")[2])
FRAMINGS = pytest.mark.parametrize("framing", ["chunked", "length", "close"])


def in_each_lane(*framings: str) -> pytest.MarkDecorator:
    """Give each lane with each framing, and each API, but not their product: for tests that wait for seconds."""
    first, *others = MARKS
    cases = [*product(LANES, [first], framings), *product(["fast"], others, framings[:1])]
    ids = [f"{lane}-{path.decode().rpartition('/')[2]}-{framing}" for lane, path, framing in cases]
    return pytest.mark.parametrize(("lane", "path", "framing"), cases, ids=ids, indirect=["lane"])


HEADS = {
    "chunked": b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
    "length": b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n",
    "close": b"HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\n",
}
MISSING = 5  # bytes of a said length that never come


class Engine:
    """Sends a stream's events in a framing; what comes then, or never, is `end`'s to say."""

    def __init__(self, framing: str, events: list[bytes], end: str) -> None:
        self.finish = asyncio.Event()  # the end "late" waits for it
        self._framing, self._events, self._end = framing, events, end

    async def __call__(self, reader, writer):
        """Play one connection."""
        while True:
            head, length = await head_of(reader)
            await reader.readexactly(length)
            if head.startswith(b"get"):
                writer.write(NOT_FOUND)
                continue
            stream = b"".join(self._events)
            begins = (
                HEADS[self._framing] % (len(stream) + MISSING) if self._framing == "length" else HEADS[self._framing]
            )
            pieces = [chunk(event) if self._framing == "chunked" else event for event in self._events]
            if self._end in {"garbage with it", "all at once"}:
                pieces[-1] += b"no size\r\n" if self._framing == "chunked" else b""
            if self._end == "all at once":
                begins, pieces = begins + b"".join(pieces), []
            for piece in (begins, *pieces):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            if await self._ends(writer):
                return

    async def _ends(self, writer) -> bool:
        if self._end == "late":
            await self.finish.wait()
            writer.write(b"0\r\n\r\n" if self._framing == "chunked" else b"\n" * MISSING)
            return self._framing == "close"
        if self._end == "silence":
            await asyncio.Event().wait()
        while self._end == "pings":
            writer.write(chunk(PING) if self._framing == "chunked" else PING)
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.02)  # a reset overtakes what was sent
        if self._end == "garbage":
            writer.write(b"no size\r\n" if self._framing == "chunked" else b"")
            await writer.drain()
        if self._end == "reset":
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return True


@pytest.fixture
def started(start_router, engine):
    """Give a function that starts a router in front of such an engine; with the records of what it answers."""

    async def start(framing, events, end, **sections):
        playing = Engine(framing, events, end)
        url = await engine(playing)
        router = await start_router([{"url": url, "name": "b", "models": ["demo"]}], **sections)
        await eventually(lambda: router.plane.backends["b"].health.verdict is health.Verdict.UP)
        records: list[Record] = []
        router.plane._on_record = records.append
        return router, playing, records

    return start


def patience(end) -> dict[str, str]:
    """Give the limits: an engine that falls silent is soon given up, any other one must not be on a busy machine."""
    return {"idle_timeout": "600ms" if end == "silence" else "60s"}


def untouched(router) -> bool:
    """Tell whether nothing speaks against the backend."""
    backend = router.plane.backends["b"]
    return backend.health is health.WELL and not backend.stalled


def ask(path, lane, version=b"1.1") -> bytes:
    """Ask for a stream."""
    return post({**ASK, "stream": True}, path, lane=lane, version=version)


# 2 and 3: the mark has passed, and the engine breaks off, or says nothing more


@APIS
@FRAMINGS
@pytest.mark.parametrize("end", ["reset", "shut", "garbage", "garbage with it", "all at once"])
async def test_what_comes_after_the_mark_is_no_failure(started, raw, lane, path, framing, end):
    """The client gets the whole message and a proper end, and goes on; the backend has answered, and is well."""
    await goes_on_after_the_mark(started, raw, lane, path, framing, end)


@in_each_lane("chunked", "length", "close")
async def test_silence_after_the_mark_is_no_failure(started, raw, lane, path, framing):
    """The same where each request takes as long as silence is allowed."""
    await goes_on_after_the_mark(started, raw, lane, path, framing, "silence")


async def goes_on_after_the_mark(started, raw, lane, path, framing, end) -> None:
    events = [EVENT, EVENT, MARKS[path]]
    router, _, records = await started(framing, events, end, limits=patience(end))
    client = await raw(router)
    for _ in range(2):
        client.send(ask(path, lane))
        answer = await client.answer()
        assert (answer.status, answer.body) == (200, b"".join(events))
    assert [(each.status, each.outcome, each.attempts) for each in records] == [(200, "answered", 1)] * 2
    assert router.plane.backends["b"].answered == 2
    assert untouched(router)
    assert nothing_left(router)


@in_each_lane("chunked", "close")
async def test_pings_behind_the_mark_hold_no_client_up(started, raw, lane, path, framing):
    """An engine that goes on with nothing but them says nothing more."""
    router, _, records = await started(framing, [EVENT, MARKS[path]], "pings")
    client = await raw(router)
    client.send(ask(path, lane))
    answer = await client.answer()
    assert answer.body.replace(PING, b"") == EVENT + MARKS[path]
    assert [(each.status, each.outcome) for each in records] == [(200, "answered")]
    assert untouched(router)
    await eventually(lambda: nothing_left(router))


FAILED = b'data: {"error": {"message": "out of memory", "code": 500}}\n\n'


@pytest.mark.parametrize("end", ["late", "shut"])
@pytest.mark.parametrize(("events", "errors"), [([EVENT, DONE], 0), ([EVENT, FAILED, DONE], 2)])
async def test_an_error_before_the_mark_is_no_success(started, raw, lane, events, errors, end):
    """The client gets it as it came; that the engine was done with it speaks for nothing."""
    router, engine, records = await started("chunked", events, end)
    engine.finish.set()
    backend = router.plane.backends["b"]
    backend.errors = 2
    client = await raw(router)
    client.send(ask(b"/v1/chat/completions", lane))
    assert (await client.answer()).body == b"".join(events)
    assert [(each.status, each.outcome) for each in records] == [(200, "answered")]
    assert (backend.answered, backend.errors) == (1, errors)


@pytest.mark.parametrize("end", ["garbage with it", "all at once"])
async def test_garbage_with_less_than_the_mark_is_a_failure(started, raw, lane, end):
    """As it is when it comes behind."""
    router, _, records = await started("chunked", [EVENT, EVENT], end)
    client = await raw(router)
    client.send(ask(b"/v1/chat/completions", lane))
    if end == "all at once":  # nothing has reached the client: it could have been tried elsewhere
        assert (await client.answer()).status == 502
        assert records[0].sent == 0
    else:
        received = await client.cut()
        assert received.count(EVENT) == 2
        assert b'"engine_failed"' in received
    assert not untouched(router)


# What isn't events, and ends with its connection

JSON = b'{"id":"x","choices":[{"index":0,"message":{"role":"assistant","content":"%s"}}]}\n'


@pytest.mark.parametrize("size", [5, 9000])
async def test_json_that_ends_with_its_connection_is_whole_with_its_last_bracket(start_router, engine, raw, lane, size):
    """Half of it isn't passed for the whole: its client sees its connection break off."""
    body, kind = JSON % (b"x" * size), b"HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n"
    ends = [len(body), -4 if size < 9 else -9, -7]

    async def play(reader, writer):
        head, length = await head_of(reader)
        await reader.readexactly(length)
        writer.write(NOT_FOUND if head.startswith(b"get") else kind + body[: ends.pop(0)])

    router = await start_router([{"url": await engine(play), "name": "b", "models": ["demo"]}])
    await eventually(lambda: router.plane.backends["b"].health.verdict is health.Verdict.UP)
    client = await raw(router)
    client.send(post(ASK, lane=lane))
    assert (await client.answer()).body == body
    assert untouched(router)
    for _ in range(2):
        client = await raw(router)
        client.send(post(ASK, lane=lane))
        with pytest.raises(asyncio.IncompleteReadError):
            await client.answer()
    assert not untouched(router)


@FRAMINGS
@pytest.mark.parametrize("end", ["reset", "shut", "silence"])
async def test_a_client_of_http_1_0_gets_a_proper_end_too(started, raw, framing, end):
    """Its end is that of the connection, and no reset."""
    events = [EVENT, DONE]
    router, _, records = await started(framing, events, end, limits=patience(end))
    client = await raw(router)
    client.send(ask(b"/v1/chat/completions", "fast", b"1.0"))
    assert (await client.rest()).endswith(b"\r\n\r\n" + b"".join(events))
    assert [each.outcome for each in records] == ["answered"]
    assert untouched(router)


async def test_a_mark_in_the_middle_of_a_chunk_ends_the_message(start_router, engine, raw, lane):
    """A chunk that breaks off behind it is filled up, as the client must be able to read on."""

    async def handle(reader, writer):
        head, length = await head_of(reader)
        await reader.readexactly(length)
        cut = HEADS["chunked"] + b"%x\r\n" % (len(EVENT + DONE) + 3) + EVENT + DONE
        writer.write(NOT_FOUND if head.startswith(b"get") else cut)
        await writer.drain()
        await asyncio.sleep(0.02)  # a reset overtakes what was sent

    router = await start_router([{"url": await engine(handle), "name": "b", "models": ["demo"]}])
    client = await raw(router)
    for _ in range(2):
        client.send(ask(b"/v1/chat/completions", lane))
        answer = await client.answer()
        assert answer.body == EVENT + DONE + b"\n\n\n"
    assert router.plane.backends["b"].answered == 2
    assert untouched(router)


async def test_a_router_that_stops_does_not_break_off_a_whole_answer(started, raw, lane):
    """Nothing of it is missing."""
    router, _, records = await started("chunked", [EVENT, DONE], "late", limits={"idle_timeout": "1h"})
    client = await raw(router)
    client.send(ask(b"/v1/chat/completions", lane))
    assert DONE in await client.reader.readuntil(DONE)
    router.plane.close()
    async with asyncio.timeout(WITHIN):
        assert await client.reader.readuntil(b"0\r\n\r\n") == b"\r\n0\r\n\r\n"
    assert [each.outcome for each in records] == ["answered"]


# 4: the mark has passed, and the client leaves


@APIS
@pytest.mark.parametrize("framing", ["chunked", "length"])
async def test_a_client_that_leaves_at_the_mark_has_its_answer(started, raw, lane, path, framing):
    """It is answered; the engine's connection is kept, as the rest of the framing comes soon."""
    router, playing, records = await started(framing, [EVENT, MARKS[path]], "late", limits={"idle_timeout": "1h"})
    pool = router.plane.pool(router.plane.backends["b"])
    client = await raw(router)
    client.send(ask(path, lane))
    await client.reader.readuntil(MARKS[path])
    client.leave()
    await eventually(lambda: records)
    assert [(each.status, each.outcome) for each in records] == [(200, "answered")]
    assert router.plane.backends["b"].answered == 1
    assert nothing_left(router)
    assert not pool._idle
    playing.finish.set()
    await eventually(lambda: len(pool._idle) == 1)
    another = await raw(router)
    another.send(ask(path, lane))
    await another.answer()
    assert len(pool._all) == 1
    assert untouched(router)


@pytest.mark.parametrize(("events", "outcome"), [([EVENT, DONE], "answered"), ([EVENT], "the client left")])
async def test_a_client_that_closes_its_half_has_left(started, raw, lane, events, outcome):
    """That it still reads can't be told: with the whole message it is answered, before that the engine is free."""
    router, _, records = await started("chunked", events, "late", limits={"idle_timeout": "1h"})
    client = await raw(router)
    client.send(ask(b"/v1/chat/completions", lane))
    await client.reader.readuntil(events[-1])
    client._writer.write_eof()
    await eventually(lambda: records)
    assert [each.outcome for each in records] == [outcome]
    assert untouched(router)


async def test_an_engine_that_never_ends_its_framing_is_not_waited_for(started, raw, lane):
    """Its connection is closed, and that is all."""
    router, _, records = await started("chunked", [EVENT, DONE], "silence", limits={"idle_timeout": "1h"})
    pool = router.plane.pool(router.plane.backends["b"])
    client = await raw(router)
    client.send(ask(b"/v1/chat/completions", lane))
    await client.reader.readuntil(DONE)
    client.leave()
    await eventually(lambda: records)
    assert pool._all
    await eventually(lambda: not pool._all)
    assert [each.outcome for each in records] == ["answered"]
    assert untouched(router)


async def test_what_an_engine_says_behind_the_mark_is_read_to_its_end(started, raw, lane):
    """Some say how many tokens it were, or ping: it is dropped, and the connection is kept."""
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n'
    router, playing, records = await started("chunked", [EVENT, DONE, usage, b": ping\n\n"], "late")
    client = await raw(router)
    client.send(ask(b"/v1/chat/completions", lane))
    await client.reader.readuntil(DONE)
    client.leave()
    await eventually(lambda: records)
    playing.finish.set()
    pool = router.plane.pool(router.plane.backends["b"])
    await eventually(lambda: len(pool._idle) == 1)
    assert [each.outcome for each in records] == ["answered"]


# 1, 5 and 6: no mark has passed


@APIS
async def test_a_client_that_leaves_before_the_mark_frees_the_engine(started, raw, lane, path):
    """All but the last bytes are no whole message."""
    events = [EVENT, MARKS[path][:-4]]
    router, _, records = await started("chunked", events, "late", limits={"idle_timeout": "1h"})
    client = await raw(router)
    client.send(ask(path, lane))
    await client.reader.readuntil(events[-1])
    client.leave()
    await eventually(lambda: records)
    assert [(each.status, each.outcome) for each in records] == [(499, "the client left")]
    pool = router.plane.pool(router.plane.backends["b"])
    assert not pool._all
    assert router.plane.backends["b"].answered == 0


@APIS
@FRAMINGS
async def test_a_stream_that_breaks_off_before_its_mark_is_told(started, raw, lane, path, framing):
    """Its framing may look as if it had ended well."""
    router, _, records = await started(framing, [EVENT, EVENT], "shut")
    client = await raw(router)
    client.send(ask(path, lane))
    received = await client.cut()
    assert b'"engine_failed"' in received or b'"api_error"' in received
    assert not received.endswith(b"\r\n0\r\n\r\n")
    assert [each.outcome.partition(" (")[0] for each in records] == ["broke off in the middle of its answer"]
    assert not untouched(router)


async def test_framing_that_ends_well_needs_no_mark(started, raw, lane):
    """Some engines end a stream that they can't fill with nothing at all, and others know of no mark."""
    router, playing, records = await started("chunked", [EVENT], "late")
    playing.finish.set()
    client = await raw(router)
    client.send(ask(b"/v1/chat/completions", lane))
    assert (await client.answer()).body == EVENT
    assert [each.outcome for each in records] == ["answered"]
    assert untouched(router)
