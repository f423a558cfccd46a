"""What holds for requests that pass as they are holds for those that are translated, too."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from router.core.apis import COUNT, MESSAGES, RESPONSES, TRANSLATABLE
from router.proxy.waiting import TELL_EVERY
from tests.fakes.engine import PIECES, FakeEngine, content, error, expected_stream, reply, text
from tests.integration.proxy.test_exchange import no_longer_grows
from tests.integration.raw import lane_of_connections, nothing_left, post
from tests.running import eventually

ASK = [{"role": "user", "content": "Hello"}]
BODIES: dict[str, dict[str, Any]] = {
    MESSAGES: {"messages": ASK, "max_tokens": 50},
    RESPONSES: {"input": "Hello", "store": False},
    "/api/chat": {"messages": ASK},
    "/api/generate": {"prompt": "Hello"},
}
LINES = ("/api/chat", "/api/generate")
CHAT = "/v1/chat/completions"
SAID = "".join(content(0, index, 16) for index in range(8))
WORDS = "".join(PIECES)
KINDS = {
    MESSAGES: "text/event-stream; charset=utf-8",
    RESPONSES: "text/event-stream; charset=utf-8",
    **dict.fromkeys(LINES, "application/x-ndjson"),
}


def request_of(path, *, stream=True, model="demo"):
    return {"model": model, "stream": stream, **BODIES[path]}


def events_of(path, body):
    """Read a stream to its end: each event's data. Nothing but events and comments may be there."""
    if path in LINES:
        assert body.endswith(b"\n")
        return [json.loads(line) for line in body.splitlines()]
    events = []
    for block in body.decode().split("\n\n")[:-1]:
        lines = [line for line in block.split("\n") if not line.startswith(":")]
        if not lines:
            continue
        name, data = lines
        events.append(json.loads(data.removeprefix("data: ")))
        assert events[-1]["type"] == name.removeprefix("event: ")
    assert body.endswith(b"\n\n")
    return events


def said_in(path, body):
    """The text of a stream that has its end."""
    events = events_of(path, body)
    if path == MESSAGES:
        assert events[-1] == {"type": "message_stop"}
        return "".join(each["delta"].get("text", "") for each in events if each["type"] == "content_block_delta")
    if path == RESPONSES:
        assert events[-1]["type"] == "response.incomplete"
        return "".join(each["delta"] for each in events if each["type"] == "response.output_text.delta")
    assert events[-1]["done"]
    return "".join(each["message"]["content"] if path == "/api/chat" else each["response"] for each in events)


def said_whole(path, answer):
    """The text of an answer in one piece."""
    if path == MESSAGES:
        return answer["content"][0]["text"]
    if path == RESPONSES:
        return answer["output"][0]["content"][0]["text"]
    return answer["message"]["content"] if path == "/api/chat" else answer["response"]


def error_in(path, answer):
    """The message of an error, in the path's form."""
    if path in LINES:
        assert set(answer) == {"error"}
        return answer["error"]
    if path == MESSAGES:
        assert answer["type"] == "error"
    return answer["error"]["message"]


def lacking(router, *names):
    """Have it known that these backends speak chat completions alone."""
    for name in names:
        for path in TRANSLATABLE:
            router.plane.ledger.learn_api(router.plane.backends[name], path, speaks=False)
    return router


def backend(fake, name="b", **keys):
    return {"url": fake.url, "name": name, "models": ["demo"], **keys}


async def sent(session, url, body):
    return await session.post(url, json=body)


async def answered(session, router, path, headers=None, **asked):
    async with session.post(router.url + path, json=request_of(path, **asked), headers=headers) as answer:
        return answer, await answer.read()


@pytest.fixture(params=list(BODIES))
def path(request):
    return request.param


@pytest.fixture(params=[MESSAGES, RESPONSES])
def native(request):
    """Give an API that some servers speak, and others don't."""
    return request.param


@pytest.fixture
async def router(start_router, fake):
    return lacking(await start_router([backend(fake)]), "b")


# The answer, and its head


@pytest.mark.parametrize("stream", [True, False])
async def test_the_head_is_that_of_any_answer(router, session, path, stream):
    """Who answered, why, and the request's id; in both lanes."""
    headers = {"x-router-explain": "1", "x-request-id": "mine"}
    answer, body = await answered(session, router, path, headers, stream=stream)
    assert answer.status == 200, body
    assert answer.headers["x-router-backend"] == "b"
    assert answer.headers["x-request-id"] == "mine"
    (why,) = json.loads(answer.headers["x-router-explain"])
    assert why["backend"] == "b"
    assert answer.headers["content-type"] == (KINDS[path] if stream else "application/json")
    assert (said_in(path, body) if stream else said_whole(path, json.loads(body))) == (SAID if stream else WORDS)
    assert ("content-length" in answer.headers) is not stream


async def test_the_engine_gets_a_chat(router, session, fake, path):
    """With the client's headers, and a length that is right."""
    await answered(session, router, path, {"x-mine": "1"})
    asked = fake.stats.last
    assert asked.path == CHAT
    assert asked.header("x-mine") == "1"
    assert asked.header("content-type") == "application/json"
    assert int(asked.header("content-length")) == len(asked.body.encode())
    sent = json.loads(asked.body)
    assert sent["messages"] == ASK
    assert sent["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("split", [1, 7, 100])
async def test_an_answer_cut_anywhere(start_router, session, path, split):
    """Is the same."""
    async with FakeEngine(split=split, framing="close") as fake:
        router = lacking(await start_router([backend(fake)]), "b")
        _, body = await answered(session, router, path)
        assert said_in(path, body) == SAID
        _, body = await answered(session, router, path, stream=False)
        assert said_whole(path, json.loads(body)) == WORDS


async def test_a_connection_serves_on(router, raw, lane, path):
    """After a translated answer comes another request, and its answer."""
    client = await raw(router)
    for stream in (True, False, True):
        client.send(post(request_of(path, stream=stream), path.encode(), lane=lane))
        answer = await client.answer()
        said = said_in(path, answer.body) if stream else said_whole(path, json.loads(answer.body))
        assert said == (SAID if stream else WORDS)
    assert lane_of_connections(router) == ((1, 0) if lane == "fast" else (0, 1))


@pytest.mark.parametrize("stream", [True, False])
async def test_http_1_0(router, raw, path, stream):
    """The connection's end is that of the answer, which isn't in chunks."""
    client = await raw(router)
    client.send(post(request_of(path, stream=stream), path.encode(), version=b"1.0"))
    head, _, body = (await client.rest()).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert (said_in(path, body) if stream else said_whole(path, json.loads(body))) == (SAID if stream else WORDS)


# Who waits


async def test_a_place_in_the_queue(start_router, session, path):
    """Is told in comments where the stream has such; a stream of lines of JSON has none, and is right all the same."""
    async with FakeEngine(first_delay=0.3) as fake:
        router = lacking(await start_router([backend(fake, max_in_flight=1)]), "b")
        first = asyncio.create_task(answered(session, router, path))
        await eventually(lambda: fake.stats.in_flight == 1)
        second = asyncio.create_task(answered(session, router, path))
        await eventually(lambda: len(router.plane.dispatcher.admission) == 1)
        router.plane.queues.tell_places(router.plane.loop.time() + TELL_EVERY)
        answers = [await first, await second]
    assert [said_in(path, body) for _, body in answers] == [SAID] * 2
    answer, body = answers[1]
    if path in LINES:
        assert b"queued" not in body
        assert answer.headers["x-router-backend"] == "b"
        assert int(answer.headers["x-router-queue-ms"]) > 0
    else:
        assert body.startswith(b": queued, 0 before you\n")
    assert answer.headers["content-type"] == KINDS[path]


async def test_an_error_after_a_place_in_the_queue(start_router, session, path):
    """Is an event of the stream that was promised; or, where nothing was told, an answer with its status."""
    async with FakeEngine(first_delay=0.3) as fake:
        router = lacking(await start_router([backend(fake, max_in_flight=1)]), "b")
        first = asyncio.create_task(answered(session, router, path))
        await eventually(lambda: fake.stats.in_flight == 1)
        fake.answers[CHAT] = error(400, "too long")
        second = asyncio.create_task(sent(session, router.url + path, request_of(path)))
        await eventually(lambda: len(router.plane.dispatcher.admission) == 1)
        router.plane.queues.tell_places(router.plane.loop.time() + TELL_EVERY)
        async with await second as answer:
            if path in LINES:
                assert answer.status == 400
                assert error_in(path, await answer.json()) == "too long"
            else:
                body = await read_what_comes(answer)
                assert body.startswith(b": queued, 0 before you\n")
                assert b"event: error\n" in body
                assert b"too long" in body
        await first


async def read_what_comes(answer):
    body = b""
    try:
        async for piece in answer.content.iter_any():
            body += piece
    except aiohttp.ClientPayloadError:
        pass
    return body


# Another attempt


@pytest.mark.parametrize("fault", ["status:503", "close_before", "reset_before", "die"])
@pytest.mark.parametrize("first_speaks", [True, False])
async def test_a_retry_on_another_backend(start_router, session, path, fault, first_speaks):
    """From a backend that speaks the API to one that doesn't, and the other way round."""
    if path in LINES and first_speaks:
        pytest.skip("no backend is asked in this API")
    good, bad = FakeEngine(), FakeEngine(fault=fault, fault_after=0)
    async with good, bad:
        backends = [backend(bad, "bad"), backend(good, "good")]
        router = await start_router(backends, balance={"policy": "round_robin"})
        lacking(router, "good" if first_speaks else "bad")
        for _ in range(2):
            answer, body = await answered(session, router, path)
            assert answer.status == 200, body
            assert answer.headers["x-router-backend"] == "good"
            if first_speaks or path in LINES:
                assert said_in(path, body) == SAID
            else:
                assert body == expected_stream(0, 8, 16)  # whatever a backend says in an API that it speaks
        assert bad.stats.begun > 0
        assert bad.stats.last is not None
        assert bad.stats.last.path == (path if first_speaks else CHAT)
    assert nothing_left(router)


async def test_a_hedge_that_a_translated_backend_wins(start_router, session, path):
    """The silent one is let go of."""
    silent, quick = FakeEngine(fault="hang", fault_after=0), FakeEngine()
    async with silent, quick:
        backends = [backend(silent, "silent"), backend(quick, "quick")]
        router = await start_router(backends, balance={"policy": "round_robin", "hedge_after": "20ms"})
        lacking(router, "quick")
        records: list[Any] = []
        router.plane._on_record = records.append
        answers = [await answered(session, router, path) for _ in range(2)]
        for answer, body in answers:
            assert answer.headers["x-router-backend"] == "quick"
            assert said_in(path, body) == SAID
        await eventually(lambda: nothing_left(router) and len(records) == 2)
        assert "won" in {record.hedge for record in records}
        await eventually(lambda: silent.stats.aborted == silent.stats.begun)


async def test_a_hedge_in_one_piece(start_router, session, path):
    """Is won by a whole answer."""
    silent, quick = FakeEngine(fault="hang", fault_after=0), FakeEngine()
    async with silent, quick:
        backends = [backend(silent, "silent"), backend(quick, "quick")]
        router = await start_router(backends, balance={"policy": "round_robin", "hedge_after": "20ms"})
        lacking(router, "quick", "silent")
        for _ in range(2):
            answer, body = await answered(session, router, path, stream=False)
            assert answer.headers["x-router-backend"] == "quick"
            assert said_whole(path, json.loads(body)) == WORDS
        await eventually(lambda: silent.stats.aborted == silent.stats.begun > 0 and nothing_left(router))


async def test_a_hedge_of_a_count(start_router, session):
    """At a backend that can't count, it is an estimate."""
    silent, quick = FakeEngine(fault="hang", fault_after=0), FakeEngine()
    async with silent, quick:
        backends = [backend(silent, "silent"), backend(quick, "quick")]
        router = await start_router(backends, balance={"policy": "round_robin", "hedge_after": "20ms"})
        lacking(router, "quick")
        for _ in range(2):
            async with session.post(router.url + COUNT, json=COUNTING) as answer:
                assert answer.status == 200, await answer.text()
                assert answer.headers["x-router-estimate"] == "1"
                assert answer.headers["x-router-backend"] == "quick"
        assert quick.stats.begun == 0
        assert nothing_left(router)


# Clients that leave, or are slow


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_frees_the_engine(start_router, session, path, stream):
    """Before its answer has begun."""
    async with FakeEngine(fault="hang", fault_after=0) as fake:
        router = lacking(await start_router([backend(fake)]), "b")
        asking = asyncio.create_task(answered(session, router, path, stream=stream))
        await eventually(lambda: fake.stats.in_flight == 1)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await eventually(lambda: fake.stats.aborted == 1)
        assert nothing_left(router)


async def test_a_client_that_leaves_in_the_middle(start_router, session, path):
    """So is one that left after some events; nobody is at fault."""
    async with FakeEngine(events=10_000, delay=0.001) as fake:
        router = lacking(await start_router([backend(fake)]), "b")
        async with session.post(router.url + path, json=request_of(path)) as answer:
            await answer.content.readuntil(b"plain")
        await eventually(lambda: fake.stats.aborted == 1)
        assert nothing_left(router)
        assert router.plane.backends["b"].health.usable


async def test_an_answer_in_one_piece_that_nobody_waits_for(start_router, session, path):
    """Is not gathered to its end."""
    async with FakeEngine(events=400, fault="hang", fault_after=1) as fake:
        router = lacking(await start_router([backend(fake)]), "b")
        asking = asyncio.create_task(answered(session, router, path, stream=False))
        await eventually(lambda: fake.stats.bytes_written > 0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await eventually(lambda: fake.stats.aborted == 1)
        assert nothing_left(router)


@pytest.mark.parametrize("path", [MESSAGES, RESPONSES, "/api/chat"])
async def test_a_slow_client_stops_the_reading_from_the_engine(start_router, raw, lane, path):
    """Of 40 MB no more is under way than buffers hold; when the client reads on, all of it comes."""
    events, size = 400, 100_000
    async with FakeEngine(events=events, size=size) as fake:
        router = lacking(await start_router([backend(fake)]), "b")
        client = await raw(router, receive_buffer=8192)
        client.send(post(request_of(path), path.encode(), lane=lane))
        await eventually(lambda: fake.stats.bytes_written > 0)
        assert await no_longer_grows(lambda: fake.stats.bytes_written) < 16_000_000
        (exchange,) = router.plane.exchanges
        assert exchange.paused
        if path == RESPONSES:
            return  # whose last events repeat the whole text, each of them
        answer = await client.answer()
        assert said_in(path, answer.body) == "".join(content(0, index, size) for index in range(events))


# What a backend lacks


NO_SUCH_PATH = {
    "404": error(404, "Not Found"),
    "404 of FastAPI": reply(404, {"detail": "Not Found"}),
    "404 of nginx": text("<html><h1>404 Not Found</h1></html>").replace(b"200 OK", b"404 Not Found"),
    "405": error(405, "Method Not Allowed"),
    "501": error(501, "This server has no such API"),
    "LM Studio": reply(200, {"error": "Unexpected endpoint or method. (POST /v1/messages). Returning 200 anyway"}),
}


@pytest.mark.parametrize("says", NO_SUCH_PATH.values(), ids=list(NO_SUCH_PATH))
async def test_what_a_backend_lacks_is_learned(start_router, session, fake, native, says):
    """From its first answer, which the client doesn't see; from then on it isn't asked for it."""
    fake.answers[native] = says
    router = await start_router([backend(fake)])
    for asked, begun in ((native, 2), (native, 3), (native, 4)):
        answer, body = await answered(session, router, asked)
        assert answer.status == 200, body
        assert said_in(native, body) == SAID
        assert fake.stats.begun == begun
        assert fake.stats.last.path == CHAT
    assert nothing_left(router)
    assert router.plane.backends["b"].errors == 0


@pytest.mark.parametrize("stream", [True, False])
async def test_a_404_of_a_model_teaches_nothing(start_router, session, fake, native, stream):
    """The client gets it."""
    fake.answers[native] = error(404, "The model `demo` does not exist")
    router = await start_router([backend(fake)])
    answer, body = await answered(session, router, native, stream=stream)
    assert answer.status == 404
    assert b"does not exist" in body
    assert native not in router.plane.backends["b"].apis.lacks
    del fake.answers[native]
    answer, body = await answered(session, router, native, stream=True)
    assert body == expected_stream(0, 8, 16)
    assert native in router.plane.backends["b"].apis.speaks


async def test_each_path_is_learned_by_itself(start_router, session, fake):
    """A server may have one and not another."""
    fake.answers[RESPONSES] = error(404, "Not Found")
    router = await start_router([backend(fake)])
    await answered(session, router, RESPONSES)
    _, body = await answered(session, router, MESSAGES)
    assert body == expected_stream(0, 8, 16)


async def test_who_asks_meanwhile(start_router, session, fake):
    """Those that are under way when it is learned are translated, too."""
    fake.answers[MESSAGES] = error(404, "Not Found")
    router = await start_router([backend(fake)])
    answers = await asyncio.gather(*(answered(session, router, MESSAGES) for _ in range(20)))
    assert {said_in(MESSAGES, body) for _, body in answers} == {SAID}
    assert nothing_left(router)


# Counting


COUNTING = {"model": "demo", "messages": ASK}


async def test_an_estimate_says_so(start_router, session, fake):
    """A server that has no counter: the count is the router's guess, then and from then on."""
    fake.answers[COUNT] = error(404, "Not Found")
    router = await start_router([backend(fake)])
    for begun in (1, 1):
        async with session.post(router.url + COUNT, json=COUNTING) as answer:
            assert answer.status == 200
            assert answer.headers["x-router-estimate"] == "1"
            assert answer.headers["x-router-backend"] == "b"
            told = await answer.json()
        assert list(told) == ["input_tokens"]
        assert 1 <= told["input_tokens"] <= 20
        assert fake.stats.begun == begun
    assert nothing_left(router)


async def test_a_count_of_the_backends_own(start_router, session, fake):
    """Passes as it is, and is no estimate."""
    fake.answers[COUNT] = reply(200, {"input_tokens": 42})
    router = await start_router([backend(fake)])
    async with session.post(router.url + COUNT, json=COUNTING) as answer:
        assert await answer.json() == {"input_tokens": 42}
        assert "x-router-estimate" not in answer.headers


# Keys


@pytest.mark.parametrize("path", [MESSAGES])
async def test_a_clients_key_becomes_a_bearer(router, session, fake, path):
    """Where the router has no keys of its own, the backend gets the client's, in the form that its API knows."""
    await answered(session, router, path, {"x-api-key": "theirs"})
    assert fake.stats.last.header("authorization") == "bearer theirs"
    assert fake.stats.last.header("x-api-key") == ""
    await answered(session, router, path, {"authorization": "Bearer other"})
    assert fake.stats.last.header("authorization") == "bearer other"


async def test_a_key_of_the_routers_stays_here(start_router, session, fake, path):
    """The backend gets its own, or none."""
    keys = {"keys": [{"key": "key-of-a-person", "name": "person"}]}
    router = lacking(await start_router([backend(fake, api_key="of-the-backend")], auth=keys), "b")
    answer, body = await answered(session, router, path, {"x-api-key": "key-of-a-person"})
    assert answer.status == 200
    assert said_in(path, body) == SAID
    assert fake.stats.last.header("authorization") == "bearer of-the-backend"
    assert fake.stats.last.header("x-api-key") == ""
    answer, body = await answered(session, router, path, {"x-api-key": "no"})
    assert answer.status == 401
    assert error_in(path, json.loads(body))


# Errors


async def test_what_turns_out_to_need_a_translation_that_there_is_none_for(start_router, session, fake, native):
    """The client is told at once, and the backend is well."""
    fake.answers[native] = error(404, "Not Found")
    router = await start_router([backend(fake)])
    wrong = {MESSAGES: {"messages": 5}, RESPONSES: {"input": 5}}[native]
    for _ in range(2):
        async with session.post(router.url + native, json={"model": "demo", **BODIES[native], **wrong}) as answer:
            assert answer.status == 400
            assert next(iter(wrong)) in error_in(native, await answer.json())
    assert nothing_left(router)
    assert router.plane.backends["b"].health.usable


@pytest.mark.parametrize("status", [400, 404, 422, 429, 500])
@pytest.mark.parametrize("stream", [True, False])
async def test_an_engines_error_has_the_paths_form(router, session, fake, path, status, stream):
    """The status and the words are the engine's; Retry-After, too."""
    fake.answers[CHAT] = error(status, "the engine's own words", {"retry-after": "7"})
    answer, body = await answered(session, router, path, stream=stream)
    assert answer.status == status
    assert error_in(path, json.loads(body)) == "the engine's own words"
    assert answer.headers["retry-after"] == "7"
    assert answer.headers["content-type"] == "application/json"


async def test_a_stream_that_breaks_off(start_router, session, path):
    """Ends with an error, and not as if it were whole."""
    async with FakeEngine(fault="die", fault_after=3) as fake:
        router = lacking(await start_router([backend(fake)]), "b")
        async with session.post(router.url + path, json=request_of(path)) as answer:
            body = await read_what_comes(answer)
    last = json.loads(body.rstrip().splitlines()[-1].removeprefix(b"data: "))
    assert last.get("type", "error") == ("response.failed" if path == RESPONSES else "error")
    assert SAID[:32].encode()[:5] in body
    assert nothing_left(router)


async def test_what_cannot_be_translated(router, session, fake, path):
    """Is a 400 that names the field, and the engine isn't asked."""
    wrong = {MESSAGES: {"messages": 5}, RESPONSES: {"input": 5}}.get(path, {"options": 5})
    async with session.post(router.url + path, json={"model": "demo", **BODIES[path], **wrong}) as answer:
        assert answer.status == 400
        assert next(iter(wrong)) in error_in(path, await answer.json())
    assert fake.stats.begun == 0
    assert nothing_left(router)
    assert router.plane.backends["b"].health.usable


async def test_an_answer_that_is_none(router, session, fake, path):
    """Is a 502 that says whose fault it is."""
    fake.answers[CHAT] = reply(200, {"nothing": "known"})
    answer, body = await answered(session, router, path, stream=False)
    assert answer.status == 502
    assert error_in(path, json.loads(body))
    assert nothing_left(router)


# Routes


async def test_what_a_route_says_holds(start_router, session, fake, path):
    """Its fields are in the chat, under their names there, and the engine's name of the model."""
    routes = {"mine": {"to": "demo", "set": {"temperature": 0.5, "top_k": 7}, "at_most": {"max_tokens": 9}}}
    router = lacking(await start_router([backend(fake, models={"demo": "known-as"})], routes=routes), "b")
    answer, body = await answered(session, router, path, model="mine")
    assert answer.status == 200, body
    sent = json.loads(fake.stats.last.body)
    assert (sent["model"], sent["temperature"], sent["top_k"]) == ("known-as", 0.5, 7)
    assert sent.get("max_tokens", 9) <= 9


@pytest.mark.parametrize("given", [-1, 100])
async def test_no_limit_is_more_than_a_routes(start_router, session, fake, path, given):
    """A negative number is none for many engines: a client can't avoid the bound so."""
    routes = {"most": {"to": "demo", "at_most": {"max_tokens": 9}}}
    router = lacking(await start_router([backend(fake)], routes=routes), "b")
    limits = {RESPONSES: {"max_output_tokens": given}, MESSAGES: {"max_tokens": given}}
    more = limits.get(path, {"options": {"num_predict": given}})
    async with session.post(router.url + path, json={**request_of(path, model="most", stream=False), **more}) as answer:
        assert answer.status == 200, await answer.read()
    assert json.loads(fake.stats.last.body)["max_tokens"] == 9


async def test_names_with_latest(router, session, path):
    """Mean the same, and the answer has the client's name."""
    _, body = await answered(session, router, path, model="demo:latest", stream=False)
    assert json.loads(body)["model"] == "demo:latest"


async def test_what_a_route_says_of_the_limit_holds_on_native_paths(start_router, session, fake, native):
    """Under the name that the API has for it; and an answer that ends there is told to."""
    limit = {MESSAGES: "max_tokens", RESPONSES: "max_output_tokens"}[native]
    routes = {
        "most": {"to": "demo", "at_most": {"max_completion_tokens": 8}},
        "set": {"to": "demo", "set": {"max_tokens": 8}},
    }
    router = await start_router([backend(fake)], routes=routes)
    b = router.plane.backends["b"]
    router.plane.ledger.learn_apis(b, replace(b.apis, mends=frozenset({RESPONSES})))
    fake.answers[native] = reply(200, {"output": [], "usage": {"input_tokens": 5, "output_tokens": 8}})
    for model in routes:
        asked = {**request_of(native, model=model, stream=False), limit: 100}
        async with session.post(router.url + native, json=asked) as answer:
            body = await answer.read()
        assert answer.status == 200, body
        assert fake.stats.last.path == native
        sent = json.loads(fake.stats.last.body)
        assert {name: value for name, value in sent.items() if name.startswith("max_")} == {limit: 8}
        if native == RESPONSES:
            assert json.loads(body)["status"] == "incomplete"
