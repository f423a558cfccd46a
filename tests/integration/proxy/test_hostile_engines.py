"""Engines that answer what they shouldn't, or what few do."""

import asyncio
import json
import socket
import struct

import pytest

from router.core import health
from tests.fakes.engine import FakeEngine
from tests.integration.raw import ASK, nothing_left, post
from tests.running import eventually

NOT_FOUND = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def head_of(reader) -> tuple[bytes, int]:
    """Read a request's head; give it with its body's length."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    return head, int(head.split(b"content-length:")[1].split(b"\r\n")[0]) if b"content-length:" in head else 0


def answering(data, *, close=False):
    """Play an engine that answers every POST with these bytes."""

    async def handle(reader, writer):
        while True:
            head, length = await head_of(reader)
            await reader.readexactly(length)
            if head.startswith(b"get"):
                writer.write(NOT_FOUND)
                continue
            writer.write(data)
            await writer.drain()
            if close:
                return

    return handle


@pytest.fixture
def router_of(start_router):
    """Give a function that starts a router in front of one backend, b, and waits until it is known to be up."""

    async def start(url, **sections):
        router = await start_router([{"url": url, "name": "b", "models": {"demo": "demo", "alias": "x"}}], **sections)
        await eventually(lambda: router.plane.backends["b"].health.verdict is health.Verdict.UP)
        return router

    return start


# Answers


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified", b"205 Reset Content"])
async def test_answers_without_a_body(router_of, engine, raw, lane, status):
    """They end with their heads, and the connection goes on. Of OpenAI's API they are no answers."""
    extra = b"content-length: 0\r\n" if status.startswith(b"205") else b""
    router = await router_of(await engine(answering(b"HTTP/1.1 " + status + b"\r\n" + extra + b"\r\n")))
    client = await raw(router)
    for path, told in ((b"/v1/chat/completions", 502), (b"/tokenize", int(status[:3])), (b"/v1/chat/completions", 502)):
        client.send(post(ASK, path, lane=lane))
        assert (await client.answer()).status == told
    assert nothing_left(router)


async def test_interim_answers_are_read_past(router_of, engine, raw, lane):
    """What counts is the one behind them."""
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n"
    router = await router_of(await engine(answering(interim + OK)))
    client = await raw(router)
    for _ in range(3):
        client.send(post(ASK, lane=lane))
        answer = await client.answer()
        assert (answer.status, answer.body) == (200, b"ok")


async def test_header_values_pass_as_they_are(router_of, engine, raw, lane):
    """Bytes beyond ASCII too."""
    odd = b"HTTP/1.1 200 OK\r\nx-odd: caf\xe9\r\ncontent-length: 2\r\n\r\nok"
    router = await router_of(await engine(answering(odd)))
    client = await raw(router)
    client.send(post(ASK, lane=lane))
    assert (await client.answer()).headers[b"x-odd"] == b"caf\xe9"


async def test_a_backend_name_beyond_latin_1(start_router, raw, lane):
    """It stands in a header of every answer, as far as it can."""
    async with FakeEngine() as fake:
        router = await start_router([{"url": fake.url, "name": "\u76d2\u5b50", "models": ["demo"]}])
        client = await raw(router)
        client.send(post(ASK, lane=lane))
        answer = await client.answer()
        assert (answer.status, answer.headers[b"x-router-backend"]) == (200, b"??")


@pytest.mark.parametrize("events", [b"data: [DONE]\n\n", b"data:{}\n\ndata:[DONE]\n\n"], ids=["alone", "no space"])
async def test_a_stream_that_said_done_is_whole(router_of, engine, raw, lane, events):
    """Also where its connection's end is all that frames it."""
    data = b"HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + events
    router = await router_of(await engine(answering(data, close=True)))
    client = await raw(router)
    client.send(post(ASK, lane=lane))
    assert (await client.answer()).body == events


async def test_a_cut_stream_of_a_said_length_does_not_come_out_even(router_of, raw, lane):
    """The error event doesn't fill the missing bytes up to the content-length."""
    async with FakeEngine() as fake:
        router = await router_of(fake.url)
        client = await raw(router)
        cut = {"framing": "length", "fault": "truncate", "fault_after": 8}
        client.send(post({**ASK, "stream": True, "fake": cut}, lane=lane))
        with pytest.raises(asyncio.IncompleteReadError):
            await client.answer()


# Answers before the request has been read

BIG = post(b'{"model":"demo","x":"' + b"a" * 30_000_000 + b'"}')


async def test_an_early_answer_leaves_no_half_sent_request_behind(router_of, engine, raw):
    """An engine answers before it has read the body and keeps the connection: nobody else is sent over that one."""

    async def handle(reader, writer):
        while True:
            head, length = await head_of(reader)
            if head.startswith(b"get"):
                writer.write(NOT_FOUND)
                continue
            if length > 1_000_000:
                writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig")
                await asyncio.Event().wait()  # it keeps the connection, and reads nothing
            await reader.readexactly(length)
            writer.write(OK)

    router = await router_of(await engine(handle))
    first, second = await raw(router), await raw(router)
    first.send(BIG)
    assert (await first.answer()).status == 413
    second.send(post(ASK))
    assert (await second.answer()).status == 200
    assert nothing_left(router)


@pytest.mark.parametrize("lingers", [True, False], ids=["lingers", "closes"])
async def test_an_early_413_reaches_the_client(router_of, engine, raw, lingers):
    """Of an engine that refuses before it has read, and closes: its own words, once, and no blame."""
    begun = []

    async def handle(reader, writer):
        head, _ = await head_of(reader)
        if head.startswith(b"get"):
            writer.write(NOT_FOUND.replace(b"content", b"connection: close\r\ncontent"))
            await writer.drain()
            return
        begun.append(head)
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig")
        await writer.drain()
        if lingers:
            writer.write_eof()
            while await reader.read(65536):
                pass

    router = await router_of(await engine(handle))
    client = await raw(router)
    client.send(BIG)
    assert (await client.answer()).status == 413
    assert len(begun) == 1
    assert router.plane.backends["b"].health.usable


# Blame


async def test_one_bad_request_does_not_take_the_backend_out(router_of, raw, lane):
    """An engine that closes at one odd request is well for all others, however often that one was tried."""
    async with FakeEngine() as fake:
        router = await router_of(fake.url)
        client = await raw(router)
        client.send(post({**ASK, "fake": {"fault": "close_before"}}, lane=lane))
        assert (await client.answer()).status == 502
        assert router.plane.backends["b"].health.usable
        client.send(post(ASK, lane=lane))
        assert (await client.answer()).status == 200


async def test_an_engine_that_resets_at_once(start_router, engine, raw, lane):
    """It closes before the router has said a word: 502, never a hang, and no connection is left behind."""

    async def handle(_, writer):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    router = await start_router([{"url": await engine(handle), "name": "b", "models": ["demo"]}])
    backend = router.plane.backends["b"]
    for _ in range(50):
        backend.health = health.declared(up=True)
        client = await raw(router)
        client.send(post(ASK, lane=lane))
        assert (await client.answer()).status == 502
    await eventually(lambda: nothing_left(router))
    assert not router.plane.pool(backend)._all


# Probes


async def test_models_that_come_in_pieces(start_router, engine):
    """A long list in many chunks is read whole."""
    models = json.dumps({"data": [{"id": f"model-{number}"} for number in range(3000)]}).encode()

    async def handle(reader, writer):
        while True:
            head, _ = await head_of(reader)
            if b"/v1/models" not in head:
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                continue
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            for start in range(0, len(models), 20_000):
                piece = models[start : start + 20_000]
                writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                await writer.drain()
                await asyncio.sleep(0)
            writer.write(b"0\r\n\r\n")

    router = await start_router([{"url": await engine(handle), "name": "b"}])
    await eventually(lambda: len(router.plane.catalog.listing()) == 3000)


ODD_LISTS = {
    "utf8": b'{"data": [{"id": "\xff\xfe"}]}',
    "surrogate": b'{"data": [{"id": "\\ud800"}]}',
    "deep": b'{"data": [], "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "no json": b"<html>",
    "null": b"null",
    "empty": b"",
    "control": b'{"data": [{"id": "a\\nb\\u001b[31m"}]}',
}


@pytest.mark.parametrize("odd", ODD_LISTS.values(), ids=ODD_LISTS)
async def test_odd_lists_of_models_do_not_end_the_probes(start_router, engine, raw, odd):
    """They teach nothing, the next probe asks again, and the router answers all the same."""
    gets = []

    async def handle(reader, writer):
        while True:
            head, _ = await head_of(reader)
            gets.append(head)
            body = odd if b"/v1/models" in head else b"ok"
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))

    router = await start_router([{"url": await engine(handle), "name": "b"}], health={"interval": "100ms"})
    await eventually(lambda: len(gets) >= 5)
    client = await raw(router)
    client.send(b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n" + post({"model": "nope"}))
    assert [(await client.answer()).status for _ in range(2)] == [200, 404]


ODD_ANSWERS = {
    "location": b"HTTP/1.1 302 Found\r\nlocation: http://[bad\r\ncontent-length: 0\r\n\r\n",
    "loop": b"HTTP/1.1 302 Found\r\nlocation: /health\r\ncontent-length: 0\r\n\r\n",
    "gzip": b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nabc",
    "cookie": b"HTTP/1.1 200 OK\r\nset-cookie: \xff\xfe=;;;=\r\ncontent-length: 3\r\n\r\nabc",
    "charset": b"HTTP/1.1 200 OK\r\ncontent-type: x/y; charset=\xff\r\ncontent-length: 3\r\n\r\nabc",
    "garbage": b"\x00\x01\x02\r\n\r\n",
    "scheme": b"HTTP/1.1 302 Found\r\nlocation: gopher://x/\r\ncontent-length: 0\r\n\r\n",
    "idna": b"HTTP/1.1 302 Found\r\nlocation: http://" + b"a" * 70 + b".\xc3\xa9/\r\ncontent-length: 0\r\n\r\n",
    "port": b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:99999/\r\ncontent-length: 0\r\n\r\n",
}


@pytest.mark.parametrize("odd", ODD_ANSWERS.values(), ids=ODD_ANSWERS)
async def test_odd_answers_do_not_end_the_probes(start_router, engine, odd):
    """Whatever came, another probe follows."""
    gets = []

    async def handle(reader, writer):
        while True:
            gets.append(await head_of(reader))
            writer.write(odd)
            if odd.startswith(b"\x00"):
                return

    health_section = {"interval": "100ms", "timeout": "1s"}
    router = await start_router([{"url": await engine(handle), "name": "b"}], health=health_section)
    await eventually(lambda: len(gets) >= 6)
    assert not any(task.done() for task in router._prober._tasks.values())


async def test_an_endless_answer_does_not_end_the_probes(start_router, engine):
    """It is read no longer than a probe may take, and the next one follows."""
    probes = []

    async def handle(reader, writer):
        probes.append(await head_of(reader))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    health_section = {"interval": "100ms", "timeout": "200ms"}
    router = await start_router([{"url": await engine(handle), "name": "b"}], health=health_section)
    await eventually(lambda: len(probes) >= 3)
    assert not any(task.done() for task in router._prober._tasks.values())
