"""The two lanes: one promise. Whatever a request says, both answer it with the same bytes."""

import asyncio
import json
import resource

import pytest

from tests.fakes.engine import Script, expected_body, expected_stream
from tests.integration.raw import ASK, CHAT, LANES, chunked, connect, lane_of_connections, nothing_left, post
from tests.running import eventually

ID = b"x-request-id: the-same\r\n"
KEY = b"authorization: Bearer one\r\n"


@pytest.fixture
async def router(start_router, fake):
    return await start_router([{"url": fake.url, "name": "b", "models": ["demo"]}])


# Which lane


async def test_each_lane_is_used(router, raw):
    """A request that says its length stays in the fast lane, anything else takes its connection to the slow one."""
    fast, slow = await raw(router), await raw(router)
    fast.send(post(ASK, lane="fast"))
    slow.send(post(ASK, lane="slow"))
    assert (await fast.answer()).bytes.partition(b"x-request-id")[0] == (await slow.answer()).bytes.partition(
        b"x-request-id"
    )[0]
    assert lane_of_connections(router) == (1, 1)


async def test_the_tests_of_both_lanes_use_them(router, asking, lane):
    """What the other tests ask with goes where they think."""
    async with asking.post(router.url + CHAT.decode(), json=ASK) as answer:
        assert answer.status == 200
    assert lane_of_connections(router) == ((1, 0) if lane == "fast" else (0, 1))


async def test_a_connection_that_was_handed_over_serves_on(router, raw):
    """Both kinds of requests, and GETs between them, for as long as it is kept."""
    client = await raw(router)
    get = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"
    for lane in ("fast", "slow", "fast", "fast", "slow"):
        client.send(post(ASK, lane=lane))
        assert (await client.answer()).body == expected_body(0, 8)
        client.send(post({**ASK, "stream": True}, lane=lane))
        assert (await client.answer()).body == expected_stream(0, 8, 16)
        if lane == "slow":
            client.send(get)
            assert (await client.answer()).status == 200
    assert lane_of_connections(router) == (0, 1)


# The same bytes


def wishing(stream=False, **fake) -> bytes:
    """Write a body that asks for an answer of this kind, in one write: what frames it anew goes by the reads."""
    fake = {"coalesce": 1000, **fake}
    return json.dumps({**ASK, "stream": stream, "fake": fake}).encode()


FRAMINGS = ("chunked", "length", "close")
BODIES = {
    "whole": wishing(),
    "empty list": json.dumps({**ASK, "messages": []}).encode(),
    **{f"whole {framing}": wishing(framing=framing, events=300) for framing in FRAMINGS},
    **{f"stream {framing}": wishing(stream=True, framing=framing) for framing in FRAMINGS},
    "stream split": wishing(stream=True, split=3, coalesce=1),
    "no json": b"{",
    "nothing": b"",
    "no object": b"[]",
    "no model": b"{}",
    "null": b'{"model": null}',
    "number": b'{"model": 3}',
    "stream of text": b'{"model": "demo", "stream": "yes"}',
    "surrogate": b'{"model": "\\ud800"}',
    "no text": b'{"model": "\xff"}',
    "long name": b'{"model": "' + b"x" * 600 + b'"}',
    "unknown model": b'{"model": "none"}',
    "odd model": '{"model": "caf\u00e9\\n"}'.encode(),
    "too large": b'{"model": "demo", "x": "' + b"x" * 20_000 + b'"}',
    **{f"engine {code}": wishing(fault=f"status:{code}", retry_after="7") for code in (400, 404, 422, 429, 500, 503)},
    "garbage": wishing(fault="garbage"),
    "two lengths": wishing(fault="two_lengths"),
    "big head": wishing(fault="big_head"),
    "surplus": wishing(fault="surplus"),
    "closed": wishing(fault="close_before"),
    "reset": wishing(fault="reset_before"),
    "hang": wishing(fault="hang", fault_after=0),
    "stream reset": wishing(stream=True, fault="reset_before"),
    "wishes of no kind": wishing(nonsense=1),
}
BROKEN = {
    f"{fault} {framing}{' stream' if stream else ''}": wishing(
        stream=stream, fault=fault, framing=framing, fault_after=3 if stream else 1
    )
    for fault in ("truncate", "hang")
    for framing in FRAMINGS
    for stream in (True, False)
    if (fault, framing, stream) != ("truncate", "close", False)  # that one can't be told from a whole answer
}
TARGETS = (CHAT, b"/v1/messages", b"/v1/responses", CHAT + b"?a=b%20c", b"/v1/", b"/v1/../x")


@pytest.fixture
async def severe(start_router, fake, request):
    """Start a router that refuses much, and is soon tired of waiting for an engine that hangs."""
    patience = "300ms" if b'"hang"' in request.node.callspec.params.get("body", b"") else "60s"
    return await start_router(
        [{"url": fake.url, "name": "b", "models": ["demo"]}],
        auth={"keys": ["one"]},
        limits={"max_body": "10KiB", "first_byte_timeout": patience, "idle_timeout": patience, "retries": 0},
        health={"interval": "1h", "unhealthy_after": 100},
    )


async def in_each_lane(router, raw, body, *, target=CHAT, headers=KEY, keep=True) -> list[bytes]:
    """Ask the same in each lane; give all that came."""
    came = []
    for lane in LANES:
        client = await raw(router)
        client.send(post(body, target, ID + headers + (b"" if keep else b"connection: close\r\n"), lane=lane))
        came.append((await client.answer()).bytes if keep else await client.cut())
        await eventually(lambda: nothing_left(router))
    return came


@pytest.mark.parametrize("keep", [True, False], ids=["keep", "close"])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_every_answer_is_the_same_in_both_lanes(severe, raw, body, keep):
    """Head and body, byte for byte, be it the engine's answer or the router's own."""
    fast, slow = await in_each_lane(severe, raw, body, keep=keep)
    assert fast.startswith(b"HTTP/1.1 ")
    assert b"\r\nx-request-id: the-same\r\n" in fast
    assert fast == slow


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
async def test_every_answer_that_breaks_off_is_the_same_in_both_lanes(severe, raw, body):
    """As far as it came, with the same last words."""
    fast, slow = await in_each_lane(severe, raw, body, keep=False)
    assert fast.startswith(b"HTTP/1.1 200 ")
    assert fast == slow


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", ["stream chunked", "no json", "unknown model"])
async def test_every_path_is_the_same_in_both_lanes(severe, raw, fake, target, kind):
    """The form of an error, and what the engine is asked."""
    fast, slow = await in_each_lane(severe, raw, BODIES[kind], target=target)
    assert fast == slow
    assert fake.stats.last is None or fake.stats.last.path == target.decode()


@pytest.mark.parametrize("headers", [b"", b"authorization: Bearer no\r\n", b"x-api-key: one\r\n"])
@pytest.mark.parametrize("kind", ["whole", "too large"])
async def test_every_key_is_the_same_in_both_lanes(severe, raw, headers, kind):
    """Who has none is told so before anything else is looked at."""
    fast, slow = await in_each_lane(severe, raw, BODIES[kind], headers=headers)
    assert fast == slow


async def test_the_engine_is_asked_the_same_in_both_lanes(router, raw, fake):
    """To the header."""
    asked = []
    for lane in LANES:
        client = await raw(router)
        more = b"X-Mine: a,  b\r\nConnection: X-Hop\r\nX-Hop: 1\r\nCookie: a=b\r\nAccept: */*\r\n"
        client.send(post(b'{ "model":"demo" }', CHAT + b"?x=%C3%A9&y", ID + more, lane=lane))
        assert (await client.answer()).status == 200
        asked.append(fake.stats.last)
    assert asked[0] == asked[1]


# Pipelined requests


@pytest.mark.parametrize("lanes", [["fast"], ["slow"], ["fast", "slow"], ["slow", "fast"], ["fast"] * 7 + ["slow"]])
async def test_pipelined_requests_are_answered_in_order(router, raw, lanes):
    """Also where the first takes longest, and where the connection changes lanes in the middle."""
    count = 40
    requests = [
        post({**ASK, "stream": seed % 3 == 0, "fake": {"seed": seed, "first_delay": 0.1 * (seed == 0)}}, lane=lane)
        for seed, lane in zip(range(count), lanes * count, strict=False)
    ]
    client = await raw(router)
    client.send(b"".join(requests))
    for seed in range(count):
        expected = expected_body(seed, 8) if seed % 3 else expected_stream(seed, 8, 16)
        assert (await client.answer()).body == expected
    assert nothing_left(router)


@pytest.mark.parametrize("size", [1, 3, 50])
async def test_requests_that_come_in_pieces(router, raw, fake, lane, size):
    """However the network cuts them: as many answers as requests."""
    client = await raw(router)
    data = 3 * post(ASK, lane=lane)
    for start in range(0, len(data), size):
        client.send(data[start : start + size])
        await asyncio.sleep(0)
    assert [(await client.answer()).status for _ in range(3)] == [200, 200, 200]
    assert fake.stats.begun == 3


# Smuggling

INNER = b"POST /v1/smuggled HTTP/1.1\r\nhost: localhost\r\ncontent-length: 16\r\n\r\n" + b'{"model":"demo"}'
LENGTH = b"content-length: %d" % len(chunked(b""))  # of a body that is empty by its chunks, and five bytes by this
CODING = b"transfer-encoding: chunked"
SMUGGLED_IN_HEAD = {
    "length and coding": [LENGTH, CODING],
    "coding and length": [CODING, LENGTH],
    "two lengths": [b"content-length: 5", b"content-length: 0"],
    "two equal lengths": [b"content-length: 5", b"content-length: 5"],
    "list of lengths": [b"content-length: 5, 5"],
    "no digits": [b"content-length: 5x"],
    "plus": [b"content-length: +5"],
    "minus": [b"content-length: -5"],
    "hex": [b"content-length: 0x5"],
    "underscore": [b"content-length: 0_5"],
    "empty length": [b"content-length:"],
    "space before colon": [b"content-length : 5", b"content-length: 0"],
    "coding with a space before colon": [b"transfer-encoding : chunked", LENGTH],
    "folded": [b"x: a\r\n content-length: 0", LENGTH],
    "folded coding": [b"transfer-encoding:\r\n chunked", LENGTH],
    "bare line feed": [b"x: a\ncontent-length: 0", LENGTH],
    "bare carriage return": [b"x: a\rcontent-length: 0", LENGTH],
    "nul": [b"x: a\0b", LENGTH],
    "no colon": [b"nonsense", LENGTH],
    "no name": [b": nonsense", LENGTH],
    "odd name": [b"content\xa0length: 0", LENGTH],
    "coding twice": [CODING, CODING],
    "coding that is none": [b"transfer-encoding: xchunked"],
    "coding list": [b"transfer-encoding: chunked, identity"],
    "coding then identity": [CODING, b"transfer-encoding: identity"],
    "coding with a vertical tab": [b"transfer-encoding: \x0bchunked", LENGTH],
    "quoted coding": [b'transfer-encoding: "chunked"', LENGTH],
    "two hosts": [b"host: y", LENGTH],
    "no length": [],
}


@pytest.mark.parametrize("lines", SMUGGLED_IN_HEAD.values(), ids=SMUGGLED_IN_HEAD)
async def test_a_length_that_could_be_read_in_two_ways(router, raw, fake, lines):
    """It is 400 or read in one way, and the engine never sees what was hidden behind it."""
    await smuggles_nothing(
        router, raw, fake, b"\r\n".join([b"host: localhost", *lines, b"", b""]) + b"0\r\n\r\n" + INNER
    )


SMUGGLED_IN_CHUNKS = {
    "bare line feed": b"10\n" + b'{"model":"demo"}' + b"\r\n0\r\n\r\n",
    "no line feed": b"10\r\r" + b'{"model":"demo"}' + b"\r\n0\r\n\r\n",
    "hex prefix": b"0x10\r\n" + b'{"model":"demo"}' + b"\r\n0\r\n\r\n",
    "minus": b"-10\r\n" + b'{"model":"demo"}' + b"\r\n0\r\n\r\n",
    "space before": b" 10\r\n" + b'{"model":"demo"}' + b"\r\n0\r\n\r\n",
    "too many digits": b"1" + b"0" * 16 + b"10\r\n" + b'{"model":"demo"}' + b"\r\n0\r\n\r\n",
    "longer than said": b"10\r\n" + b'{"model":"demo"}...\r\n0\r\n\r\n',
    "line feed in extension": b"10;\n\r\n" + b'{"model":"demo"}' + b"\r\n0\r\n\r\n",
    "empty line": b"\r\n10\r\n" + b'{"model":"demo"}' + b"\r\n0\r\n\r\n",
    "trailer of no kind": b"10\r\n" + b'{"model":"demo"}' + b"\r\n0\r\nnonsense\r\n\r\n",
    "trailing length": b"10\r\n" + b'{"model":"demo"}' + b"\r\n0\r\ncontent-length: 0\r\n\r\n",
}


@pytest.mark.parametrize("body", SMUGGLED_IN_CHUNKS.values(), ids=SMUGGLED_IN_CHUNKS)
async def test_chunks_that_could_be_read_in_two_ways(router, raw, fake, body):
    """They are 400 or read in one way."""
    await smuggles_nothing(router, raw, fake, b"host: localhost\r\ntransfer-encoding: chunked\r\n\r\n" + body + INNER)


async def smuggles_nothing(router, raw, fake, rest) -> None:
    """Send this behind a request line, and then leave: no request line within it was taken for one."""
    client = await raw(router)
    client.send(b"POST %s HTTP/1.1\r\n%s" % (CHAT, rest))
    answer = await client.answer()
    if answer.status == 400:
        assert await client.cut() == b""  # nothing more is read of it
        assert fake.stats.begun == 0
    else:
        assert answer.status == 200
        assert fake.stats.last.path == CHAT.decode()
    assert fake.stats.begun <= 1
    await eventually(lambda: nothing_left(router))


# What a connection costs


async def test_a_thousand_idle_connections_cost_no_task(router, fake):
    """Nor a timer each: one sweep looks at all of them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 3000:
        pytest.skip("this system allows too few file descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 3000), hard))
    await eventually(lambda: fake.stats.gets == 1 and fake.stats.connections_open == 0)  # the one probe
    before = len(asyncio.all_tasks())
    clients = [await connect(router.url) for _ in range(1000)]
    try:
        await eventually(lambda: lane_of_connections(router) == (1000, 0))
        assert len(asyncio.all_tasks()) <= before
        clients[-1].send(post(ASK))
        assert (await clients[-1].answer()).status == 200
    finally:
        for client in clients:
            client.leave()
    await eventually(lambda: lane_of_connections(router) == (0, 0))


def test_the_table_of_wishes_is_understood():
    """A fault that the engine doesn't know would test nothing."""
    for name, body in {**BODIES, **BROKEN}.items():
        if b'"fake"' in body and name != "wishes of no kind":
            Script().revised(json.loads(body)["fake"])
