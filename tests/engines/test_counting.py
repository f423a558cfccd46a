"""Tokens are counted as the engine counts them: by its own template and tokenizer, past the router at its port."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
import pytest_asyncio

from launchers.engines import ENGINES, Engine
from scripts import make_demo_model
from tests.running import RunningRouter

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT = "/v1/chat/completions"
CONFIG = """
server: {port: 0}
backends: [{name: demo, launch: {engine: ENGINE, model: "FOLDER", args: ARGS}}]
"""
ARGS = {"llama_cpp": "{n_ctx: 2048}", "mlx": "{}"}
SHOWS = "{%- if tools -%}{{- '<|im_start|>system\\n' + (tools | tojson) + '<|im_end|>\\n' -}}{%- endif -%}"
CALLS = "{%- for call in message.tool_calls or [] -%}{{- call.function | tojson -}}{%- endfor -%}"
END = "{{- '<|im_end|>\\n' -}}"
SHOWS_TOOLS = SHOWS + make_demo_model.CHAT_TEMPLATE.replace(END, CALLS + END)
USER = {"role": "user", "content": "What is the weather in Århus? 🌦"}
F = {
    "type": "function",
    "function": {
        "name": "f",
        "description": "What the weather is.",
        "parameters": {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]},
    },
}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"q": "Århus"}'}}
TURNS = [
    {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
    USER,
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
]

ALLOWED = {
    "type": "allowed_tools",
    "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]},
}


@dataclass
class Asked:
    """A client of the engine itself, for bodies as the router would send them."""

    engine: Engine
    session: aiohttp.ClientSession

    async def post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """The status and the JSON of an answer."""
        right = self.engine.put_right(path, json.dumps({"model": "demo", **body}).encode())
        async with self.session.post(path, data=right, headers={"content-type": "application/json"}) as answer:
            return answer.status, await answer.json(content_type=None)

    async def count(self, **body: Any) -> int:
        """The tokens of a chat."""
        status, told = await self.post(self.engine.counter, body)
        assert status == 200, told
        assert list(told) == ["input_tokens"]
        return int(told["input_tokens"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the demo model with a template that shows tools and calls."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(make_demo_model, "CHAT_TEMPLATE", SHOWS_TOOLS)
        files = make_demo_model.build_files()
    made = tmp_path_factory.mktemp("tools")
    make_demo_model.write_files(made, files)
    return made


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=list(ARGS))
async def ask(request, tmp_path_factory, folder) -> AsyncIterator[Asked]:
    """Start a router with one engine, which its tests share, and ask the engine itself."""
    words = CONFIG.replace("ENGINE", request.param).replace("FOLDER", str(folder)).replace("ARGS", ARGS[request.param])
    async with RunningRouter(tmp_path_factory.mktemp(request.param), words) as router:
        await router.ready(60)
        connections = [each for process in router.engines for each in process.net_connections("tcp")]
        (port,) = {each.laddr.port for each in connections if each.status == psutil.CONN_LISTEN}
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=router.key()) as session:
            yield Asked(ENGINES[request.param], session)


@pytest.mark.parametrize(
    "chat",
    [
        pytest.param({"messages": [USER]}, id="a question"),
        pytest.param({"messages": [USER], "tools": [F]}, id="tools"),
        pytest.param({"messages": TURNS, "tools": [F, {**F, "function": {"name": "g"}}]}, id="a loop of tools"),
        pytest.param({"messages": TURNS}, id="calls without tools"),
        pytest.param(
            {"messages": [USER], "tools": [F, {**F, "function": {"name": "g"}}], "tool_choice": ALLOWED},
            id="a choice",
        ),
        pytest.param({"messages": [{"role": "user", "content": "the cat " * 500}]}, id="a long text"),
    ],
)
async def test_a_count_is_what_the_chat_is_told_to_have(ask, chat):
    """Of the same body: `usage.prompt_tokens`, in one piece and, as the stream tells it, at its end."""
    status, answer = await ask.post(CHAT, {**chat, "max_tokens": 1})
    assert status == 200, answer
    assert await ask.count(**chat) == answer["usage"]["prompt_tokens"]
    assert await ask.count(**chat, stream=True, max_tokens=5, temperature=0) == answer["usage"]["prompt_tokens"]


async def test_tools_count(ask):
    """The template shows them."""
    assert await ask.count(messages=[USER], tools=[F]) > await ask.count(messages=[USER]) + 20


async def test_what_does_not_fit_is_counted_too(ask):
    """Whoever counts wants to know by how much it is too long."""
    long = {"messages": [{"role": "user", "content": "the cat " * 10_000}]}
    status, told = await ask.post(CHAT, {**long, "max_tokens": 1})
    assert status == 400
    found = await ask.count(**long)
    assert found > 20_000
    assert str(found) in told["error"]["message"]


async def test_nobody_waits_for_an_answer_that_is_generated(ask):
    """A stream runs on meanwhile, and says the same as alone."""
    body = {"messages": [USER], "temperature": 0, "max_tokens": 400, "stream": True}
    right = ask.engine.put_right(CHAT, json.dumps({"model": "demo", **body}).encode())
    said = []
    for counts in (False, True):
        async with ask.session.post(CHAT, data=right, headers={"content-type": "application/json"}) as stream:
            words = await stream.content.readline()
            if counts:
                found = await asyncio.gather(*(ask.count(messages=TURNS, tools=[F]) for _ in range(20)))
                assert len(set(found)) == 1
                assert not stream.content.at_eof()
            words += await stream.read()
        events = [json.loads(line[6:]) for line in words.splitlines() if line.startswith(b"data: {")]
        said.append([event["choices"][0]["delta"].get("content") for event in events if event["choices"]])
    assert said[0] == said[1]
    assert len(said[0]) > 300


async def test_errors_have_the_engines_form(ask):
    """A mistake is a 400 in one sentence; without the key nobody gets anything."""
    headers = {"content-type": "application/json"}
    for body in (b'{"messages": 5}', b"[]", b'{"messages": [{"role": "user", "content": 5}]}'):
        async with ask.session.post(ask.engine.counter, data=body, headers=headers) as answer:
            told = await answer.json(content_type=None)
        assert answer.status == 400, told
        assert told["error"]["message"]
    headers["authorization"] = "Bearer guessed"
    async with ask.session.post(ask.engine.counter, json={"messages": [USER]}, headers=headers) as answer:
        assert answer.status == 401
