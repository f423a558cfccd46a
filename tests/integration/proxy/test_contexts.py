"""A prompt that is too long for one backend goes to one that holds it."""

import json
import re
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from router.core.contexts import MOST_BYTES
from tests.running import eventually

CHAT = "/v1/chat/completions"
LLAMA = (
    '{{"error":{{"code":400,"type":"exceed_context_size_error","message":"request ({asked} tokens) exceeds the '
    'available context size ({context} tokens), try increasing it"}}}}'
)
VLLM = (
    '{{"error":{{"message":"This model\'s maximum context length is {context} tokens. However, you requested {asked} '
    'tokens","type":"BadRequestError","param":null,"code":400}}}}'
)
SILENT = (
    '{{"error":{{"message":"Please shorten it.","type":"invalid_request_error","code":"context_length_exceeded"}}}}'
)
PLAIN = '{{"error":{{"message":"The temperature is wrong.","type":"invalid_request_error"}}}}'


class Engine:
    """An engine with a context, in tokens of four bytes; `listed` is what its list of models says of it."""

    def __init__(self, context, words=LLAMA, *, listed=0, status=400, chunked=False) -> None:
        self.context, self.words, self.listed, self.status, self.chunked = context, words, listed, status, chunked
        self.asked = 0
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """List the model, answer a prompt, or refuse it."""
        if request.method == "GET":
            entry = {"id": "demo"} | ({"context_length": self.listed} if self.listed else {})
            return web.json_response({"object": "list", "data": [entry]})
        self.asked += 1
        tokens = len(await request.read()) // 4
        if tokens <= self.context:
            return web.json_response({"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]})
        said = self.words.format(asked=tokens, context=self.context)
        response = web.Response(text=said, status=self.status, content_type="application/json")
        if self.chunked:
            response.enable_chunked_encoding()
        return response


@asynccontextmanager
async def serving(*engines):
    runners = []
    for engine in engines:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_route("*", "/{tail:.*}", engine.answer)
        runners.append(web.AppRunner(app))
        await runners[-1].setup()
        await web.TCPSite(runners[-1], "127.0.0.1", 0).start()
        engine.url = f"http://127.0.0.1:{runners[-1].addresses[0][1]}"
    try:
        yield engines
    finally:
        for runner in runners:
            await runner.cleanup()


def chat(tokens, **more):
    return {"model": "demo", "messages": [{"role": "user", "content": "x" * 4 * tokens}], **more}


async def started(start_router, *engines, **sections):
    """Start a router that prefers the engines in their order; it has asked for lists that tell contexts."""
    backends = [
        {"url": each.url, "name": f"b{number}"} | ({} if each.listed else {"models": ["demo"]})
        for number, each in enumerate(engines)
    ]
    router = await start_router(backends, balance={"policy": "least_in_flight"}, **sections)
    for number in range(len(engines)):
        router.plane.backends[f"b{number}"].in_flight += number  # it looks busier
    told = {f"b{number}" for number, each in enumerate(engines) if each.listed}
    await eventually(lambda: told == {backend.name for backend in router.plane.directory.abilities})
    router.plane.directory.rebuild()
    return router


@pytest.mark.parametrize("words", [LLAMA, VLLM, SILENT])
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("stream", [False, True])
async def test_it_goes_to_one_that_holds_it(start_router, session, words, chunked, stream):
    """The first one is right, so nothing is held against it; and short prompts still go there."""
    async with serving(Engine(1000, words, chunked=chunked), Engine(9000, words)) as (small, large):
        router = await started(start_router, small, large)
        for _ in range(3):
            async with session.post(router.url + CHAT, json=chat(2000, stream=stream)) as answer:
                assert (answer.status, answer.headers["x-router-backend"]) == (200, "b1")
        async with session.post(router.url + CHAT, json=chat(10)) as answer:
            assert answer.headers["x-router-backend"] == "b0"
        assert router.plane.backends["b0"].errors == 0
        assert router.plane.backends["b0"].health.usable
        assert [each.in_flight for each in router.plane.backends.values()] == [0, 1]


async def test_one_that_is_surely_too_short_is_not_asked(start_router, session):
    """Its own refusal has told its context."""
    async with serving(Engine(1000), Engine(90_000)) as (small, large):
        router = await started(start_router, small, large)
        for _ in range(3):
            async with session.post(router.url + CHAT, json=chat(1000 * MOST_BYTES)) as answer:
                assert answer.status == 200
        assert (small.asked, large.asked) == (1, 3)


async def test_the_next_model_of_a_route_is_asked(start_router, session):
    """Its first one is too short for the prompt."""
    async with serving(Engine(1000), Engine(9000)) as (small, large):
        backends = [
            {"url": small.url, "name": "b0", "models": ["s"]},
            {"url": large.url, "name": "b1", "models": ["l"]},
        ]
        router = await start_router(backends, routes={"demo": ["s", "l"]})
        async with session.post(router.url + CHAT, json=chat(2000)) as answer:
            assert (answer.status, answer.headers["x-router-backend"]) == (200, "b1")


@pytest.mark.parametrize("path", [CHAT, "/v1/messages", "/v1/responses", "/api/chat"])
async def test_where_none_holds_it_the_longest_is_told(start_router, session, path):
    """In each API's form, with the code that clients look for; shorter ones aren't asked."""
    async with serving(Engine(3000, SILENT, listed=3000), Engine(1000, listed=1000)) as (longest, shorter):
        router = await started(start_router, longest, shorter)
        body = {"input": "x" * 20_000, "model": "demo"} if path.endswith("responses") else chat(5000, max_tokens=10)
        async with session.post(router.url + path, json=body) as answer:
            status, said = answer.status, json.loads(await answer.read())
        error = said["error"]
        message = error if isinstance(error, str) else error["message"]
        assert (status, message.endswith("The longest context of 'demo' here is 3000 tokens.")) == (400, True), said
        if path in {CHAT, "/v1/responses"}:
            assert error["code"] == "context_length_exceeded"
        if path == "/v1/messages":
            assert (said["type"], error["type"]) == ("error", "invalid_request_error")
            assert message.startswith("prompt is too long")
        assert (longest.asked > 0, shorter.asked) == (True, 0)


async def test_words_that_tell_the_longest_pass_as_they_are(start_router, session):
    """Byte for byte; each backend was asked once."""
    async with serving(Engine(1000), Engine(3000)) as (small, large):
        router = await started(start_router, small, large)
        async with session.post(router.url + CHAT, json=chat(5000)) as answer:
            assert answer.status == 400
            assert answer.headers["x-router-backend"] == "b1"
            assert json.loads(await answer.read())["error"]["message"].endswith("(3000 tokens), try increasing it")
        assert (small.asked, large.asked) == (1, 1)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("words", [LLAMA, VLLM])
async def test_a_backend_alone_gets_the_code_that_clients_look_for(start_router, session, words, chunked):
    """In OpenAI's API; nothing else of what it says is changed."""
    async with serving(Engine(1000, words, chunked=chunked)) as (engine,):
        router = await started(start_router, engine)
        for _ in range(3):
            async with session.post(router.url + CHAT, json=chat(2000)) as answer:
                told = json.loads(await answer.read())
                assert (answer.status, answer.headers["x-router-backend"]) == (400, "b0")
            (asked,) = re.findall(r"20\d\d", told["error"]["message"])
            said = json.loads(words.format(asked=asked, context=1000))
            assert told == {"error": {**said["error"], "code": "context_length_exceeded"}}


@pytest.mark.parametrize("words", [PLAIN, SILENT])
async def test_another_refusal_is_the_clients_at_once(start_router, session, words):
    """And with one backend alone, or no retries, so is this one."""
    async with serving(Engine(1000, words), Engine(9000)) as (small, large):
        limits = {"retries": 0} if words is SILENT else {}
        router = await started(start_router, small, large, limits=limits)
        async with session.post(router.url + CHAT, json=chat(2000)) as answer:
            assert (answer.status, answer.headers["x-router-backend"]) == (400, "b0")
            assert await answer.text() == words.format()
        assert (small.asked, large.asked) == (1, 0)


async def test_it_waits_for_one_that_is_about_to_be_there(start_router, session):
    """A backend with a longer context starts; the one that is there is not asked twice."""
    async with serving(Engine(1000), Engine(9000)) as (small, large):
        router = await started(start_router, small, large)
        plane, starting = router.plane, router.plane.backends["b1"]
        address = plane.connections.address(starting)
        plane.withdraw(starting, "starts", due=1.0)
        plane.loop.call_later(0.2, plane.serve, starting, address)
        async with session.post(router.url + CHAT, json=chat(2000)) as answer:
            assert (answer.status, answer.headers["x-router-backend"]) == (200, "b1")
        assert (small.asked, large.asked) == (1, 1)
