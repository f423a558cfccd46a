"""Ollama's API as its official Python client speaks it, before an engine of chat completions and embeddings alone."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import suppress

import aiohttp
import ollama
import pytest
from aiohttp import web

from router.app import App
from router.config import Config
from router.fleet.launches import StartError
from tests.fakes.engine import FakeEngine, content

UNIT = pytest.approx([0.8944, 0.4472], abs=1e-4)
"""The engine's [1, 0.5], of length 1."""

MOST = 1000
"""Letters that the engine embeds."""

HI = [{"role": "user", "content": "hi"}]


class Engine:
    """An engine that calls the tool it is offered, then tells its result; and embeds. `bodies` are what it was sent."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, object]] = []
        self.url = ""

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """Answer a chat."""
        body = await request.json()
        self.bodies.append(body)
        last = body["messages"][-1]
        message: dict[str, object]
        if body.get("tools") and last["role"] != "tool":
            function = {"name": body["tools"][0]["function"]["name"], "arguments": '{"a": 1, "b": 2}'}
            message = {
                "content": None,
                "tool_calls": [{"index": 0, "id": "x1", "type": "function", "function": function}],
            }
            finish = "tool_calls"
        else:
            message, finish = {"content": f"It is {last['content']}.", "reasoning_content": "Easy."}, "stop"
        usage = {"prompt_tokens": 5, "completion_tokens": 3}
        if not body.get("stream"):
            return web.json_response(
                {"choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": usage}
            )
        answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await answer.prepare(request)
        for event in (
            {"choices": [{"index": 0, "delta": message}]},
            {"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]},
            {"choices": [], "usage": usage},
        ):
            await answer.write(b": a comment\n\ndata: " + json.dumps(event).encode() + b"\n\n")
        await answer.write(b"data: [DONE]\n\n")
        return answer

    async def embed(self, request: web.Request) -> web.Response:
        """Embed each text as its length."""
        body = await request.json()
        self.bodies.append(body)
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        for text in texts:
            if len(text) > MOST:
                words = f"input ({len(text)} tokens) is too large to process (current batch size: {MOST})"
                return web.json_response({"error": {"message": words, "code": 500}}, status=500)
        data = [{"index": at, "embedding": [float(len(text)), 0.5]} for at, text in enumerate(texts)]
        return web.json_response({"data": data, "usage": {"prompt_tokens": 7}})


@pytest.fixture
async def scripted() -> AsyncIterator[Engine]:
    engine, app = Engine(), web.Application()
    app.router.add_post("/v1/chat/completions", engine.chat)
    app.router.add_post("/v1/embeddings", engine.embed)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    engine.url = site.name
    yield engine
    await runner.cleanup()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@pytest.fixture
async def router(start_router, scripted):
    return await start_router(
        [{"url": scripted.url, "models": ["demo"], "name": "scripted"}],
        routes={"best": ["demo"], "cold": {"to": ["demo"], "set": {"temperature": 0}, "at_most": {"max_tokens": 9}}},
        server={"port": 0, "ollama_port": 0},
    )


@pytest.fixture
async def client(router):
    async with ollama.AsyncClient(router.listener.ollama_url) as client:
        yield client


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def test_a_chat(client, scripted):
    """Text, thinking, counts, times; options and names with a tag are understood."""
    got = await client.chat("demo:latest", HI, options={"num_predict": 4, "num_ctx": 99}, keep_alive="5m", think=True)
    assert (got.message.content, got.message.thinking, got.done_reason) == ("It is hi.", "Easy.", "stop")
    assert (got.prompt_eval_count, got.eval_count) == (5, 3)
    assert got.total_duration > 0
    (body,) = scripted.bodies
    assert (body["model"], body["max_tokens"]) == ("demo", 4)
    assert not {"options", "keep_alive", "think", "num_ctx"} & body.keys()


async def test_a_stream(client):
    """Every line is the SDK's, and the last one has the counts."""
    lines = [line async for line in await client.chat("best", HI, stream=True)]
    assert "".join(line.message.content or "" for line in lines) == "It is hi."
    assert "".join(line.message.thinking or "" for line in lines) == "Easy."
    assert [line.done for line in lines] == [False] * (len(lines) - 1) + [True]
    assert lines[-1].eval_count == 3


@pytest.mark.parametrize("stream", [False, True])
async def test_a_tool_loop(client, scripted, stream):
    """A call comes with an object, and its result finds the call."""
    messages = [ollama.Message(role="user", content="1 + 2?")]
    answer = await client.chat("demo", messages, tools=[add], stream=stream)
    said = [line.message async for line in answer] if stream else [answer.message]
    (call,) = [call for message in said for call in message.tool_calls or ()]
    assert (call.function.name, call.function.arguments) == ("add", {"a": 1, "b": 2})
    result = add(**call.function.arguments)
    messages += [
        ollama.Message(role="assistant", tool_calls=[call]),
        ollama.Message(role="tool", content=str(result), tool_name="add"),
    ]
    got = await client.chat("demo", messages, tools=[add])
    assert got.message.content == "It is 3."
    made, told = scripted.bodies[-1]["messages"][-2:]
    assert made["tool_calls"][0]["id"] == told["tool_call_id"]
    assert json.loads(made["tool_calls"][0]["function"]["arguments"]) == {"a": 1, "b": 2}


async def test_generate(client, scripted):
    """A prompt with its system prompt and an image; in one piece and as a stream."""
    got = await client.generate("demo", "1?", system="Be kind.", images=[b"\x89PNG\r\n\x1a\n..."])
    assert got.response
    assert [message["role"] for message in scripted.bodies[0]["messages"]] == ["system", "user"]
    lines = [line async for line in await client.generate("demo", "why", stream=True)]
    assert "".join(line.response for line in lines) == "It is why."
    assert lines[-1].done_reason == "stop"


async def test_an_empty_request_loads(client):
    """As people warm up a model."""
    assert (await client.generate("demo")).done_reason == "load"
    assert (await client.chat("demo")).message.content == ""


async def test_a_server_elsewhere_is_not_asked_to_unload(client, scripted):
    """It might take money for the question."""
    assert (await client.generate("demo", keep_alive=0)).done_reason == "unload"
    (line,) = [line async for line in await client.chat("best", keep_alive=0, stream=True)]
    assert (line.done_reason, line.model) == ("unload", "best")
    assert scripted.bodies == []
    assert (await client.generate("demo", "hi", keep_alive=0)).response == "It is hi."


async def test_embeddings(client):
    """One or many, the new way and the old."""
    got = await client.embed("demo", ["a", "four"], truncate=True)
    assert got.embeddings == [UNIT, pytest.approx([0.9923, 0.124], abs=1e-4)]
    assert got.prompt_eval_count == 7
    assert (await client.embed("demo", "a")).embeddings == [UNIT]
    assert (await client.embeddings("demo", "abc")).embedding == [3.0, 0.5]


async def test_a_text_that_is_too_long_is_cut(client, scripted, router):
    """Once the engine has said so, which counts for nothing; unless the client wants an error."""
    got = await client.embed("demo", ["a" * 5000, "b"])
    assert len(got.embeddings) == 2
    first, second = scripted.bodies
    assert (len(first["input"][0]), first["input"][1]) == (5000, "b")
    assert MOST * 0.9 < len(second["input"][0]) <= MOST
    assert second["input"][1] == "b"
    assert router.plane.backends["scripted"].errors == 0
    with pytest.raises(ollama.ResponseError, match="too large to process"):
        await client.embed("demo", "a" * 5000, truncate=False)
    with pytest.raises(ollama.ResponseError, match="too large to process"):
        await client.embeddings("demo", "a" * 5000)


async def test_what_there_is(client):
    """Lists and descriptions, by names with and without a tag."""
    names = [model.model for model in (await client.list()).models]
    assert names == ["demo:latest", "best:latest", "cold:latest"]
    for name in (*names, "demo"):
        shown = await client.show(name)
        assert "completion" in shown.capabilities
        assert shown.modelinfo
    assert (await client.ps()).models == []


async def test_a_routes_rules_hold(client, scripted):
    """Whatever Ollama's names of the fields are."""
    await client.chat("cold", HI, options={"temperature": 1, "num_predict": 100})
    assert (scripted.bodies[-1]["temperature"], scripted.bodies[-1]["max_tokens"]) == (0, 9)


@pytest.mark.parametrize("given", [-1, -2, 0, 2**60, 9.5])
async def test_no_limit_is_more_than_a_routes(client, scripted, given):
    """A client that says so is bounded as one that asks for too much; where no route bounds it, none is sent."""
    for asked in (
        client.chat("cold", HI, options={"num_predict": given}),
        client.generate("cold", "a", options={"num_predict": given}),
    ):
        await asked
        assert scripted.bodies[-1]["max_tokens"] == 9
    await client.chat("demo", HI, options={"num_predict": given})
    assert scripted.bodies[-1].get("max_tokens") == (None if given != 9.5 else 9)


async def test_errors_are_texts(client, router, asking):
    """The SDK shows them as they are; pulls are refused, and so is what can't be said."""
    with pytest.raises(ollama.ResponseError, match="'nope' does not exist") as failed:
        await client.chat("nope", HI)
    assert failed.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match=r"router\.yaml"):
        await client.pull("qwen")
    with pytest.raises(ollama.ResponseError, match="suffix isn't supported"):
        await client.generate("demo", "a", suffix="b")
    for path in ("/api/chat", "/api/embed", "/api/show"):
        async with asking.post(router.url + path, data=b"{") as answer:
            assert answer.status == 400
            assert isinstance((await answer.json())["error"], str)


async def test_a_stream_in_each_lane(router, asking):
    """It is one without being asked for, of lines alone."""
    async with asking.post(f"{router.url}/api/chat", json={"model": "demo", "messages": HI}) as answer:
        assert answer.status == 200
        assert answer.content_type == "application/x-ndjson"
        assert answer.headers["x-router-backend"] == "scripted"
        lines = [json.loads(line) for line in (await answer.read()).splitlines()]
    assert lines[-1]["done"]


async def test_the_engine_that_breaks_off(start_router, session):
    """Its stream ends with an error, and never as if it were whole."""
    async with FakeEngine(fault="die", fault_after=2) as fake:
        router = await start_router([{"url": fake.url, "models": ["demo"]}])
        got = b""
        async with session.post(f"{router.url}/api/chat", json={"model": "demo", "messages": HI}) as answer:
            with suppress(aiohttp.ClientError):
                async for piece in answer.content.iter_any():
                    got += piece
    *said, last = [json.loads(line) for line in got.splitlines()]
    assert "".join(line["message"]["content"] for line in said) == content(0, 0, 16) + content(0, 1, 16)
    assert not any(line["done"] for line in said)
    assert last.keys() == {"error"}


async def test_awkward_texts_arrive(start_router, fake):
    """Text that looks like the framing, quotes, and letters of two to four bytes."""
    router = await start_router([{"url": fake.url, "models": ["demo"]}])
    async with ollama.AsyncClient(router.url) as client:
        lines = [line async for line in await client.chat("demo", HI, stream=True)]
    assert "".join(line.message.content or "" for line in lines) == "".join(content(0, at, 16) for at in range(8))
    assert lines[-1].done_reason == "length"


async def test_the_sync_client(router):
    """The other half of the SDK, in a thread."""

    def talk():
        with ollama.Client(router.listener.ollama_url) as client:
            text = "".join(line.message.content or "" for line in client.chat("demo", HI, stream=True))
            return text, client.embed("demo", "a").embeddings, [model.model for model in client.list().models]

    text, embeddings, names = await asyncio.to_thread(talk)
    assert (text, embeddings, names[0]) == ("It is hi.", [UNIT], "demo:latest")


async def test_ollamas_port(router, session):
    """Both ports answer alike, and say that Ollama runs."""
    at = router.listener.ollama_url
    assert at != router.url
    for url in (at, router.url):
        async with session.get(url) as answer:
            assert (answer.status, await answer.text()) == (200, "Ollama is running")
        async with session.head(url) as answer:
            assert answer.status == 200
        async with session.get(f"{url}/api/version") as answer:
            assert (await answer.json())["version"]
        async with session.get(f"{url}/v1/models") as answer:
            assert answer.status == 200


async def test_keys_hold_at_ollamas_port(start_router, scripted, session):
    """The same rules at both ports."""
    router = await start_router(
        [{"url": scripted.url, "models": ["demo"]}], server={"port": 0, "ollama_port": 0}, auth={"keys": ["secret"]}
    )
    at = router.listener.ollama_url
    for path in ("/", "/api/tags", "/api/version"):
        async with session.get(at + path) as answer:
            assert answer.status == 401
        async with session.get(at + path, headers={"authorization": "Bearer secret"}) as answer:
            assert answer.status == 200


async def test_one_port_for_both(tmp_path, scripted, session):
    """Who runs the router at Ollama's port has one port."""
    port = free_port()
    config = Config.model_validate({
        "server": {"port": port, "ollama_port": port},
        "backends": [{"url": scripted.url, "models": ["demo"]}],
    })  # fmt: skip
    app = App(config, tmp_path)
    await app.start()
    try:
        assert app.listener.ollama_url == ""
        async with session.get(app.url) as answer:
            assert await answer.text() == "Ollama is running"
    finally:
        await app.kill()


async def test_a_port_that_ollama_has(tmp_path, scripted):
    """The error says what to do; nothing is left listening."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port, own = taken.getsockname()[1], free_port()
        config = Config.model_validate({
            "server": {"port": own, "ollama_port": port},
            "backends": [{"url": scripted.url, "models": ["demo"]}],
        })  # fmt: skip
        app = App(config, tmp_path)
        with pytest.raises(StartError, match=f"server.ollama_port: {port} is in use .* perhaps by Ollama itself"):
            await app.start()
        await app.kill()
    socket.create_server(("127.0.0.1", own)).close()
