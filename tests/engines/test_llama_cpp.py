"""The main job, on the real engine, through OpenAI's own client.

One router serves the tests that leave it serving.
"""

import asyncio
import re
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest
import pytest_asyncio
from openai import AsyncOpenAI

from tests.engines.conftest import CONFIG
from tests.running import RunningRouter, alive, eventually

HELLO = [{"role": "user", "content": "Hello"}]
WORDS = re.compile(r"[ a-z.,!?]+")

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def router(tmp_path_factory: pytest.TempPathFactory, model: Path) -> AsyncIterator[RunningRouter]:
    """Start the router that they share."""
    async with RunningRouter(tmp_path_factory.mktemp("shared"), CONFIG.replace("MODEL", str(model))) as running:
        yield await running.ready()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(router: RunningRouter) -> AsyncIterator[AsyncOpenAI]:
    """Give OpenAI's own client of it, which doesn't try again by itself."""
    async with AsyncOpenAI(base_url=router.url + "/v1", api_key="none", max_retries=0) as openai:
        yield openai


async def test_models_are_listed(client):
    """By the names that clients use."""
    assert [model.id async for model in client.models.list()] == ["demo", "gpt-4o-mini"]
    assert (await client.models.retrieve("demo")).id == "demo"


@pytest.mark.parametrize("name", ["demo", "gpt-4o-mini"])
async def test_chat(client, name):
    """An answer of so many tokens, in printable words, by its own name and by a route's."""
    answer = await client.chat.completions.create(model=name, messages=HELLO, max_tokens=20)
    assert answer.usage.completion_tokens == 20
    assert answer.choices[0].finish_reason == "length"
    assert WORDS.fullmatch(answer.choices[0].message.content)


async def test_chat_streamed(client):
    """Piece by piece, the same words as in one piece."""
    ask = {"model": "demo", "messages": HELLO, "max_tokens": 20, "temperature": 0}
    whole = (await client.chat.completions.create(**ask)).choices[0].message.content
    stream = await client.chat.completions.create(**ask, stream=True)
    choices = [chunk.choices[0] async for chunk in stream]
    assert "".join(choice.delta.content or "" for choice in choices) == whole
    assert choices[-1].finish_reason == "length"
    assert len(choices) > 20


async def test_completions(client):
    """The older API, in one piece and streamed."""
    ask = {"model": "demo", "prompt": "the cat", "max_tokens": 10, "temperature": 0}
    whole = (await client.completions.create(**ask)).choices[0].text
    stream = await client.completions.create(**ask, stream=True)
    assert "".join([chunk.choices[0].text async for chunk in stream]) == whole
    assert WORDS.fullmatch(whole)


async def test_embeddings(client):
    """One vector for each text."""
    answer = await client.embeddings.create(model="demo", input=["the cat", "the dog"])
    assert [len(each.embedding) for each in answer.data] == [64, 64]
    assert answer.data[0].embedding != answer.data[1].embedding


async def test_an_unknown_model(client):
    """The client's own exception, with the names that would do."""
    with pytest.raises(openai.NotFoundError, match="demo, gpt-4o-mini"):
        await client.chat.completions.create(model="nope", messages=HELLO)


async def test_20_clients_at_once(client):
    """The engine takes one at a time; all are answered, and none cuts off another."""

    async def one(stream: bool) -> int:
        ask = {"model": "demo", "messages": HELLO, "max_tokens": 30}
        if not stream:
            answer = await client.chat.completions.create(**ask)
            return int(answer.usage.completion_tokens)
        chunks = [chunk.choices[0] async for chunk in await client.chat.completions.create(**ask, stream=True)]
        assert chunks[-1].finish_reason == "length"
        return sum(bool(chunk.delta.content) for chunk in chunks)

    assert await asyncio.gather(*(one(number % 2 == 0) for number in range(20))) == [30] * 20


async def served_again(client, router, before: psutil.Process) -> None:
    """Wait until another process than before answers."""
    await eventually(lambda: not alive(before))
    await eventually(lambda: router.engines and router.engines[0].pid != before.pid)
    await router.ready()
    answer = await client.chat.completions.create(model="demo", messages=HELLO, max_tokens=5)
    assert answer.usage.completion_tokens == 5


async def test_kill_9_of_the_idle_engine(client, router):
    """It is started again, and serves."""
    (engine,) = router.engines
    engine.kill()
    await served_again(client, router, engine)


async def test_kill_9_of_the_engine_mid_stream(client, router):
    """The client is told that its answer broke off; then the engine serves again."""
    (engine,) = router.engines
    stream = await client.chat.completions.create(model="demo", messages=HELLO, max_tokens=8000, stream=True)
    await anext(aiter(stream))
    engine.kill()
    with pytest.raises(openai.APIError, match="'demo' broke off"):
        await anext(event async for event in stream if event is None)
    await served_again(client, router, engine)


async def test_kill_9_of_the_router(tmp_path, model):
    """Nothing is left running."""
    async with RunningRouter(tmp_path, CONFIG.replace("MODEL", str(model))) as router:
        (engine,) = (await router.ready()).engines
        router.signal(signal.SIGKILL)
        await router.exit_code()
        await eventually(lambda: not alive(engine))


async def test_ctrl_c_lets_a_stream_end(tmp_path, model):
    """The stream under way ends whole; then the engine stops, and the router with 0."""
    ask: Any = {"model": "demo", "messages": HELLO, "max_tokens": 500, "stream": True}
    async with RunningRouter(tmp_path, CONFIG.replace("MODEL", str(model))) as router:
        (engine,) = (await router.ready()).engines
        async with AsyncOpenAI(base_url=router.url + "/v1", api_key="none", max_retries=0) as client:
            chunks: list[Any] = []
            async for chunk in await client.chat.completions.create(**ask):
                if not chunks:
                    router.signal(signal.SIGINT)
                chunks.append(chunk.choices[0])
        assert chunks[-1].finish_reason == "length"
        assert await router.exit_code() == 0
        assert not alive(engine)


@pytest.mark.long
async def test_an_engine_that_hangs_is_restarted(tmp_path, model):
    """Stopped in mid-stream, it still has its port open: its silence tells.

    `make test` has it in test_stalls.py, with bounds that a busy machine keeps.
    """
    ask: Any = {"model": "demo", "messages": HELLO, "max_tokens": 8000, "stream": True}
    config = CONFIG.replace("MODEL", str(model)) + "health: {interval: 1s, stall_after: 2s}\n"
    async with RunningRouter(tmp_path, config) as router:
        await router.ready()
        (engine,) = router.engines
        async with AsyncOpenAI(base_url=router.url + "/v1", api_key="none", max_retries=0) as client:
            stream = await client.chat.completions.create(**ask)
            await anext(aiter(stream))
            engine.send_signal(signal.SIGSTOP)
            stopped = time.monotonic()
            with pytest.raises(openai.APIError, match="'demo' stopped working"):
                await anext(event async for event in stream if event is None)
            assert time.monotonic() - stopped < 2 + 1
            await served_again(client, router, engine)


async def test_a_request_that_the_engine_must_not_get(client):
    """It would generate to the end of the context: it is told what is missing, and nobody waits for it."""
    with pytest.raises(openai.BadRequestError, match="messages") as caught:
        await client.post("/chat/completions", body={"model": "demo"}, cast_to=object)
    assert caught.value.param == "messages"
