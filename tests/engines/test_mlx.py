"""What is mlx's own: how it fails, and what it must not get. Asked past the router, at the engine's port."""

import importlib.util
import json
import shutil
from contextlib import suppress
from typing import Any

import aiohttp
import openai
import psutil
import pytest
import pytest_asyncio
from openai import AsyncOpenAI

from launchers.engines import ENGINES
from launchers.errors import UnfitRequestError
from tests.running import RunningRouter, alive, eventually

ENGINE = ENGINES["mlx"]
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
HELLO = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec(ENGINE.module) is None, reason="mlx-lm is not installed"),
    pytest.mark.asyncio(loop_scope="module"),
]

CONFIG = """
server: {port: 0}
backends:
  - name: demo
    launch: {engine: mlx, model: "MODEL"}
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def router(tmp_path_factory, model):
    """Start the router that most of the tests share."""
    async with RunningRouter(tmp_path_factory.mktemp("mlx"), CONFIG.replace("MODEL", str(model))) as running:
        yield await running.ready()


def ports_of(router) -> list[int]:
    """Where the engines listen now; one that is just ending listens nowhere."""
    with suppress(psutil.Error):
        connections = [each for process in router.engines for each in process.net_connections("tcp")]
        return [each.laddr.port for each in connections if each.status == psutil.CONN_LISTEN]
    return []


@pytest_asyncio.fixture(loop_scope="module")
async def ask(router):
    """Ask the engine of now, past the router; give the answer's status, and 0 where there is none."""

    async def asked(path: str, body: bytes) -> int:
        await eventually(lambda: len(ports_of(router)) == 1)  # the last test may have ended it
        (port,) = ports_of(router)
        headers = {"content-type": "application/json", **router.key()}
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=headers) as session:
            with suppress(aiohttp.ClientError):
                answer = await session.post(path, data=body)
                await answer.read()
                return answer.status
        return 0

    return asked


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (COMPLETIONS, {"prompt": ["a", "b"]}),
        (CHAT, {**HELLO, "logit_bias": {"999999": 5}}),
    ],
)
async def test_what_would_end_it_is_refused_and_it_does_not_stay_dead(router, ask, path, body):
    """Its description refuses what the engine dies of; should it die all the same, another takes its place."""
    (before,) = router.engines
    body = json.dumps(body).encode()
    with pytest.raises(UnfitRequestError):
        ENGINE.put_right(path, body)
    assert await ask(path, body) in {0, 503}  # on a busy machine it still says that it is about to end
    await eventually(lambda: not alive(before))
    await eventually(lambda: router.engines and router.engines[0].pid != before.pid)
    await router.ready()
    assert await ask(CHAT, ENGINE.put_right(CHAT, json.dumps(HELLO).encode())) == 200


async def test_a_stop_word_that_is_none_costs_its_own_request_alone(router, ask):
    """Its description refuses that, too; past the router it gets no answer, and the engine goes on."""
    (before,) = router.engines
    body = json.dumps({**HELLO, "stop": [1]}).encode()
    with pytest.raises(UnfitRequestError):
        ENGINE.put_right(CHAT, body)
    assert await ask(CHAT, body) == 0
    assert await ask(CHAT, json.dumps(HELLO).encode()) == 200
    assert alive(before)


async def test_an_empty_prompt_does_no_harm_past_the_router_either(router, ask):
    """A chat's template may make one of a chat that isn't empty; the program around the server refuses it."""
    (before,) = router.engines
    assert await ask(COMPLETIONS, b'{"prompt": ""}') == 400
    assert await ask(CHAT, json.dumps(HELLO).encode()) == 200
    assert alive(before)


async def test_what_is_put_right_is_answered(ask):
    """Another's model, nulls, and options that say nothing."""
    bodies: tuple[dict[str, object], ...] = (
        {"model": "nobody/knows-it", "adapters": None, "draft_model": None},
        {"temperature": None, "stop": None, "max_completion_tokens": None, "logit_bias": {}},
        {"stream": True, "stream_options": {}},
        {"seed": -1},
        {"top_k": 500, "temperature": 1, "xtc_probability": 0.5, "xtc_threshold": 0.5},
        {"stop": [""], "repetition_penalty": 2, "repetition_context_size": 1_000_000},
    )
    for more in bodies:
        assert await ask(CHAT, ENGINE.put_right(CHAT, json.dumps({**HELLO, **more}).encode())) == 200, more


async def test_an_answer_ends_with_the_context_and_has_the_models_name(tmp_path, model):
    """Where nobody says how long it may be; a prompt that fills the context is refused before it is read."""
    folder = tmp_path / "small"
    shutil.copytree(model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 100}))
    async with RunningRouter(tmp_path, CONFIG.replace("MODEL", str(folder))) as running:
        await running.ready()
        async with AsyncOpenAI(base_url=running.url + "/v1", api_key="none", max_retries=0) as client:
            ask: dict[str, Any] = {"model": "demo", "messages": HELLO["messages"], "temperature": 0}
            answer = await client.chat.completions.create(**ask)
            assert answer.usage is not None
            assert (answer.usage.total_tokens, answer.choices[0].finish_reason) == (100, "length")
            assert answer.model == "demo"
            bounded = await client.chat.completions.create(**ask, max_tokens=5)
            assert bounded.usage is not None
            assert bounded.usage.completion_tokens == 5
            ask["messages"] = [{"role": "user", "content": "the cat " * 100}]
            with pytest.raises(openai.BadRequestError, match="maximum context length is 100 tokens"):
                await client.chat.completions.create(**ask)
