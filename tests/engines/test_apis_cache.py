"""Claude Code's conversations on llama_server: what the engine has read already, it doesn't read again.

The line at the beginning of its system prompt is another one in each request. The router takes it out.
"""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from router.core.apis import MESSAGES
from tests.engines.fronts import Front
from tests.running import RunningRouter

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

CONFIG = """
server: {port: 0}
backends:
  - {name: one, models: [demo, single], launch: {engine: llama_server, model: "MODEL", args: ARGS}}
  - {name: two, models: [demo], launch: {engine: llama_server, model: "MODEL", args: ARGS}}
routes:
  both: demo
  public: single
  kept: {to: single, keep_billing_line: true}
"""
ARGS = "{ctx-size: 16384, threads: 1}"
WORDS = ["the cat", "a house", "this time", "much water"]
LAST = 100
"""Tokens of the last messages, and then some."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def front(tmp_path_factory: pytest.TempPathFactory, model: Path) -> AsyncIterator[Front]:
    """Start two engines of one model, and a router before them."""
    words = CONFIG.replace("MODEL", str(model)).replace("ARGS", ARGS)
    async with RunningRouter(tmp_path_factory.mktemp("cache"), words) as router:
        await router.ready(180)
        yield Front(router.url)


def request_of(model: str, number: int, words: str, messages: list[Any]) -> dict[str, Any]:
    """Write a request as Claude Code does, with the line that is another one each time."""
    line = f"x-anthropic-billing-header: cc_version=2.1.197.{number:03x}; cc_entrypoint=cli; cch={number:05x};"
    ephemeral = {"cache_control": {"type": "ephemeral"}}
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "properties": {}}
    return {
        "model": model,
        "max_tokens": 8,
        "system": [{"type": "text", "text": line}, {"type": "text", "text": f"{words} " * 200, **ephemeral}],
        "tools": [{"name": "Bash", "description": "Runs a command.", "input_schema": schema}],
        "thinking": {"type": "adaptive"},
        "metadata": {"user_id": "nobody"},
        "messages": messages,
    }


class Turn(NamedTuple):
    """The headers of an answer, the tokens of its prompt, and those of them that were cached."""

    headers: Any
    prompt: int
    cached: int


async def two_turns(front: Front, model: str, words: str) -> list[Turn]:
    """Ask, go on with what was said, and give what is known of both turns."""
    reminder = f"<system-reminder>{f'{words} ' * 400}</system-reminder>"
    texts = [{"type": "text", "text": reminder}, {"type": "text", "text": "Say hello"}]
    messages: list[Any] = [{"role": "user", "content": texts}]
    turns = []
    async with front.anthropic() as client:
        for number in (1, 2):
            body = request_of(model, number, words, messages)
            explain = {"x-router-explain": "1"}
            told = await client.messages.with_raw_response.create(**body, extra_headers=explain)
            answer = told.parse()
            cached = answer.usage.cache_read_input_tokens or 0
            turns.append(Turn(told.headers, answer.usage.input_tokens + cached, cached))
            messages += [
                {"role": "assistant", "content": [{"type": "text", "text": answer.content[0].text}]},
                {"role": "user", "content": [{"type": "text", "text": "Go on"}]},
            ]
    return turns


@pytest.mark.parametrize("words", WORDS)
async def test_the_second_turn_is_cached(front, words):
    """All but its last messages."""
    first, second = await two_turns(front, "public", words)
    assert second.prompt > first.prompt > 800
    assert second.cached > first.prompt - LAST


async def test_that_line_defeats_the_cache(front):
    """Where a route keeps it, the second turn is read anew."""
    _, second = await two_turns(front, "kept", "small stars")
    assert second.prompt > 800
    assert second.cached < LAST


@pytest.mark.parametrize("words", ["you and me", "there and then"])
async def test_of_two_backends_the_router_knows_which_has_it(front, words):
    """The line of the day doesn't hide it. What it weighs is the time that this engine takes to read it again."""
    first, second = await two_turns(front, "both", words)
    known = {each["backend"]: each["cached"] for each in json.loads(second.headers["x-router-explain"])}
    mine = first.headers["x-router-backend"]
    assert known.pop(mine) > 2000
    assert set(known.values()) == {0}
    if second.headers["x-router-backend"] == mine:
        assert second.cached > first.prompt - LAST


async def test_other_apis_find_it_too(front):
    """A stream of messages in the same words is served from the same cache."""
    body = request_of("public", 7, "blue water", [{"role": "user", "content": "Say hello"}])
    await front.given(MESSAGES, body)
    events = await front.events(MESSAGES, {**body, **request_of("public", 8, "blue water", body["messages"])})
    assert events[0]["message"]["usage"]["cache_read_input_tokens"] > 400
