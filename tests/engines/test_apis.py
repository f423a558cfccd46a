"""The official SDKs of OpenAI, Anthropic and Ollama on each engine, in an API that it speaks or one that is translated.

Each test asks the same of every API as the SDK's user would, and looks at what the SDK makes of the answer.
"""

import asyncio
import json
import math
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import pytest_asyncio
from anthropic import BadRequestError
from ollama import ResponseError

from launchers.engines import ENGINES
from router.core.apis import MESSAGES
from tests.engines.fronts import MODEL, Front, Fronts
from tests.engines.test_contract import config, installed
from tests.engines.test_forms import MORE

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

HELLO = [{"role": "user", "content": "Hello"}]
TURNS = [*HELLO, {"role": "assistant", "content": "the cat"}, {"role": "user", "content": "Go on"}]
WORDS = re.compile(r"[ a-z.,!?]+")
MOST = 12
EMBED = {"llama_cpp", "llama_server"}


@pytest.fixture(scope="module", params=installed())
def name(request: pytest.FixtureRequest) -> str:
    """Name an engine."""
    return str(request.param)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fronts(tmp_path_factory: pytest.TempPathFactory, model: Path, name: str) -> AsyncIterator[Fronts]:
    """Start an engine, and the routers before it."""
    words = config(name, model)
    if name in MORE:
        words = words.replace("args: {", "args: {" + MORE[name] + ", ")
    async with Fronts(tmp_path_factory.mktemp(name), words, name) as started:
        yield started


@pytest.fixture(params=["launched", "a server"])
def front(request: pytest.FixtureRequest, fronts: Fronts, name: str) -> Front:
    """Give the router that has launched the engine, or the one that has to translate; it is the same for some."""
    if request.param == "launched":
        return fronts.native
    if MESSAGES not in ENGINES[name].apis:
        pytest.skip("it is translated anyway")
    return fronts.translated


def inside(text: str) -> str:
    """Give a piece of a text that comes first some words after its beginning."""
    return next(text[at : at + 4] for at in range(8, len(text)) if text.index(text[at : at + 4]) == at)


# Anthropic's SDK


async def test_messages(front):
    """Whole and streamed: the same words, the same usage, and the reason of the end."""
    async with front.anthropic() as client:
        ask = {"model": MODEL, "max_tokens": MOST, "messages": HELLO, "temperature": 0, "system": "Be brief."}
        answer = await client.messages.create(**ask)
        assert answer.type == "message"
        assert answer.role == "assistant"
        assert answer.stop_reason == "max_tokens"
        assert answer.usage.output_tokens == MOST
        assert answer.usage.input_tokens + (answer.usage.cache_read_input_tokens or 0) > 5
        (block,) = answer.content
        assert WORDS.fullmatch(block.text)
        async with client.messages.stream(**ask) as stream:
            text = "".join([piece async for piece in stream.text_stream])
            final = await stream.get_final_message()
        assert text == block.text == final.content[0].text
        assert final.stop_reason == "max_tokens"
        assert final.usage.output_tokens == MOST


async def test_messages_in_a_thread(front):
    """Anthropic's synchronous client, with events as they come."""

    def ask() -> list[str]:
        with front.sync_anthropic() as client:
            client.messages.create(model=MODEL, max_tokens=3, messages=HELLO)
            with client.messages.stream(model=MODEL, max_tokens=3, messages=TURNS) as stream:
                return [event.type for event in stream if event.type not in {"text", "content_block_delta"}]

    assert await asyncio.to_thread(ask) == [
        "message_start", "content_block_start", "content_block_stop", "message_delta", "message_stop",
    ]  # fmt: skip


async def test_tokens_are_counted(front, fronts, name):
    """As many as the usage says of the same messages; an estimate, of a server that can't count, says so."""
    async with front.anthropic() as client:
        counted = await client.messages.with_raw_response.count_tokens(model=MODEL, messages=TURNS, system="Be brief.")
        answer = await client.messages.create(model=MODEL, max_tokens=1, messages=TURNS, system="Be brief.")
    prompt = answer.usage.input_tokens + (answer.usage.cache_read_input_tokens or 0)
    assert prompt > 10
    if front is fronts.translated:
        assert counted.headers["x-router-estimate"] == "1"
        assert counted.parse().input_tokens > 5
    else:
        assert "x-router-estimate" not in counted.headers
        assert counted.parse().input_tokens == prompt, name


async def test_an_error_of_the_messages_api(front):
    """Is the one that the SDK has for it, with one sentence."""
    async with front.anthropic() as client:
        with pytest.raises(BadRequestError) as caught:
            await client.messages.create(model=MODEL, max_tokens=5, messages=[{"role": "user", "content": 5}])
    assert caught.value.type == "invalid_request_error"
    assert "message" in str(caught.value.body)


# OpenAI's SDK


async def test_responses(front):
    """Whole and streamed: the same words, the same usage, and why it isn't complete."""
    async with front.openai() as client:
        ask = {
            "model": MODEL,
            "max_output_tokens": MOST,
            "input": "Hello",
            "temperature": 0,
            "instructions": "Be brief.",
        }
        answer = await client.responses.create(**ask, store=False)
        assert answer.object == "response"
        assert answer.status == "incomplete"
        assert answer.incomplete_details.reason == "max_output_tokens"
        assert answer.usage.output_tokens == MOST
        assert answer.usage.input_tokens > 5
        assert answer.usage.total_tokens == answer.usage.input_tokens + MOST
        assert WORDS.fullmatch(answer.output_text)
        async with client.responses.stream(**ask) as stream:
            events = [event async for event in stream]
        assert "".join(each.delta for each in events if each.type == "response.output_text.delta") == answer.output_text
        assert [each.sequence_number for each in events] == list(range(len(events)))
        assert events[0].type == "response.created"
        final = events[-1]
        assert final.type == "response.incomplete"
        assert final.response.output_text == answer.output_text
        assert final.response.usage.output_tokens == MOST


async def test_responses_of_a_conversation_in_a_thread(front):
    """OpenAI's synchronous client; items in the input."""

    def ask() -> str:
        with front.sync_openai() as client:
            answer = client.responses.create(model=MODEL, max_output_tokens=3, input=TURNS, store=False)
            return str(answer.output_text)

    assert WORDS.fullmatch(await asyncio.to_thread(ask))


async def test_chats(front):
    """As they pass, by the streaming helper."""
    async with front.openai() as client:
        ask = {"model": MODEL, "max_tokens": MOST, "messages": TURNS, "temperature": 0}
        answer = await client.chat.completions.create(**ask)
        stop = inside(answer.choices[0].message.content)
        # The helper takes an answer that reached its limit for a failure.
        async with client.chat.completions.stream(**ask, stop=[stop]) as stream:
            final = await stream.get_final_completion()
    assert final.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.content.startswith(final.choices[0].message.content)


def unit(vector):
    """Bring a vector to a length of 1, as Ollama's newer API has them."""
    return [each / math.hypot(*vector) for each in vector]


async def test_embeddings(front, name):
    """OpenAI's and Ollama's are the same numbers; or a 400 says that this engine has none."""
    texts = ["the cat", "a dog"]
    async with front.ollama() as ollama, front.openai() as openai:
        if name not in EMBED:
            with pytest.raises(ResponseError) as caught:
                await ollama.embed(MODEL, texts)
            assert caught.value.status_code == 400
            return
        expected = [each.embedding for each in (await openai.embeddings.create(model=MODEL, input=texts)).data]
        given = (await ollama.embed(MODEL, texts)).embeddings
        (one,) = (await ollama.embed(MODEL, texts[1])).embeddings
        older = (await ollama.embeddings(MODEL, texts[1])).embedding
        cut = (await ollama.embed(MODEL, texts, dimensions=2)).embeddings
        long = (await ollama.embed(MODEL, [*texts, "the cat " * 4000])).embeddings
        with pytest.raises(ResponseError):
            await ollama.embed(MODEL, "the cat " * 4000, truncate=False)
    assert [*given[0], *given[1]] == pytest.approx([*unit(expected[0]), *unit(expected[1])], rel=1e-5, abs=1e-6)
    assert list(one) == pytest.approx(list(given[1]), rel=1e-5, abs=1e-6)
    assert list(older) == pytest.approx(expected[1], rel=1e-5, abs=1e-6)
    assert len(one) > 2
    assert [len(each) for each in long] == [len(one)] * 3
    assert [*long[0], *long[1]] == pytest.approx([*given[0], *given[1]], rel=1e-3, abs=1e-4)
    assert [math.isclose(math.hypot(*each), 1.0, rel_tol=1e-5) for each in cut] == [True, True]


# Ollama's SDK


async def test_ollamas_chat(front):
    """Whole and streamed: the same words and counts."""
    ask = {"model": MODEL, "messages": TURNS, "options": {"num_predict": MOST, "temperature": 0}}
    async with front.ollama() as client:
        answer = await client.chat(**ask)
        parts = [part async for part in await client.chat(**ask, stream=True)]
    assert (answer.done, answer.done_reason) == (True, "length")
    assert answer.model == MODEL
    assert answer.message.role == "assistant"
    assert WORDS.fullmatch(answer.message.content)
    assert "".join(part.message.content for part in parts) == answer.message.content
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1].done_reason == "length"
    assert parts[-1].total_duration > 0


async def test_what_ollamas_answers_count(front, name):
    """The tokens of the prompt and of the answer, where the engine tells them."""
    ask = {"model": MODEL, "messages": HELLO, "options": {"num_predict": MOST, "temperature": 0}}
    async with front.ollama() as client:
        whole = await client.chat(**ask)
        (last,) = [part async for part in await client.chat(**ask, stream=True) if part.done]
    assert whole.eval_count == MOST
    assert whole.prompt_eval_count > 3
    if ENGINES[name].usage_in_streams:
        assert (last.eval_count, last.prompt_eval_count) == (whole.eval_count, whole.prompt_eval_count)


async def test_ollamas_generate_in_a_thread(front):
    """Ollama's synchronous client; with a system prompt, and raw."""

    def ask() -> tuple[str, str, str]:
        options = {"num_predict": 5, "temperature": 0}
        with front.sync_ollama() as client:
            whole = client.generate(MODEL, "the cat", system="Be brief.", options=options)
            parts = client.generate(MODEL, "the cat", system="Be brief.", options=options, stream=True)
            raw = client.generate(MODEL, "the cat", raw=True, options=options)
            return whole.response, "".join(part.response for part in parts), raw.response

    whole, streamed, raw = await asyncio.to_thread(ask)
    assert WORDS.fullmatch(whole)
    assert streamed == whole
    assert WORDS.fullmatch(raw)


async def test_ollamas_model_is_loaded_and_not_asked(front):
    """A request without messages loads it."""
    async with front.ollama() as client:
        answer = await client.chat(MODEL, [])
        assert (answer.done, answer.done_reason, answer.message.content) == (True, "load", "")
        assert (await client.generate(MODEL)).done_reason == "load"


async def test_what_ollamas_clients_look_up(front, fronts):
    """The list of models, what one is like, what runs, and the version, which no engine is asked."""
    async with front.ollama() as client:
        listed = (await client.list()).models
        shown = await client.show(MODEL)
        running = (await client.ps()).models
    assert MODEL in {each.model.removesuffix(":latest") for each in listed}
    assert "completion" in shown.capabilities
    assert shown.details is not None
    assert shown.modelinfo
    assert bool(running) is (front is fronts.native)  # a server's models are not the router's to load


async def test_an_error_of_ollamas_api(front):
    """A model that isn't there, with words that are no object."""
    async with front.ollama() as client:
        with pytest.raises(ResponseError) as caught:
            await client.chat("nobody", HELLO)
    assert caught.value.status_code == 404
    assert "nobody" in caught.value.error


# All of them


async def test_all_apis_say_the_same(front):
    """The same words in each, and in chat completions, where nothing is left to chance."""
    async with front.openai() as openai, front.anthropic() as anthropic, front.ollama() as ollama:
        chat = await openai.chat.completions.create(model=MODEL, max_tokens=MOST, messages=TURNS, temperature=0)
        message = await anthropic.messages.create(model=MODEL, max_tokens=MOST, messages=TURNS, temperature=0)
        response = await openai.responses.create(model=MODEL, max_output_tokens=MOST, input=TURNS, temperature=0)
        line = await ollama.chat(MODEL, TURNS, options={"num_predict": MOST, "temperature": 0})
    text = chat.choices[0].message.content
    assert [message.content[0].text, response.output_text, line.message.content] == [text] * 3


async def test_a_stop_text(front):
    """Ends an answer in each API, and isn't in it."""
    async with front.openai() as openai, front.anthropic() as anthropic, front.ollama() as ollama:
        chat = await openai.chat.completions.create(model=MODEL, max_tokens=60, messages=TURNS, temperature=0)
        text = chat.choices[0].message.content
        stop = inside(text)
        before = text[: text.index(stop)]
        ask = {"model": MODEL, "max_tokens": 60, "messages": TURNS, "temperature": 0, "stop_sequences": [stop]}
        message = await anthropic.messages.create(**ask)
        async with anthropic.messages.stream(**ask) as stream:
            streamed = await stream.get_final_message()
        options = {"num_predict": 60, "temperature": 0, "stop": [stop]}
        line = await ollama.chat(MODEL, TURNS, options=options)
    assert message.content[0].text.strip() == streamed.content[0].text.strip() == before.strip()
    assert {message.stop_reason, streamed.stop_reason} <= {"end_turn", "stop_sequence"}
    assert (line.message.content.strip(), line.done_reason) == (before.strip(), "stop")


async def test_many_at_once(front):
    """Clients of all APIs together, streamed: each has its own answer."""

    async def of_anthropic(number: int) -> int:
        async with (
            front.anthropic() as client,
            client.messages.stream(model=MODEL, max_tokens=5 + number, messages=HELLO) as stream,
        ):
            return int((await stream.get_final_message()).usage.output_tokens)

    async def of_ollama(number: int) -> int:
        options = {"num_predict": 5 + number}
        async with front.ollama() as client:
            parts = await client.chat(MODEL, HELLO, options=options, stream=True)
            return len([part async for part in parts if part.done])

    counts = await asyncio.gather(*(each(number) for number in range(4) for each in (of_anthropic, of_ollama)))
    assert counts[1::2] == [1] * 4
    assert counts[::2] in ([5, 6, 7, 8], [0] * 4)


# Calls of tools, and answers in a form


SCHEMA = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Rome"]}, "warm": {"type": "boolean"}},
    "required": ["city", "warm"],
    "additionalProperties": False,
}
TOOL = {"name": "weather", "description": "What the weather will be.", "input_schema": SCHEMA}
OTHER = {
    "name": "time",
    "input_schema": {"type": "object", "properties": {"utc": {"type": "boolean"}}, "required": ["utc"]},
}
FUNCTION = {"type": "function", "name": "weather", "parameters": SCHEMA, "strict": True}
SCHEMAS = {"weather": SCHEMA, "time": OTHER["input_schema"]}


def fits(arguments: str | dict[str, Any], schema: Any = SCHEMA) -> None:
    jsonschema.validate(json.loads(arguments) if isinstance(arguments, str) else arguments, schema)


def check_holds(name: str) -> None:
    """Skip an engine that lets a model say what it likes before a call: the demo model never comes to its end."""
    if name != "llama_cpp":
        pytest.skip("its grammar lets text come before a call")


@pytest.mark.parametrize(
    "choice", [{"type": "any"}, {"type": "tool", "name": "weather"}], ids=lambda each: each["type"]
)
async def test_a_call_by_anthropics_sdk(front, name, choice):
    """Is made, and its input fits the schema; whole and streamed."""
    check_holds(name)
    tools = [TOOL] if choice["type"] == "any" else [OTHER, TOOL]
    ask: Any = {"model": MODEL, "max_tokens": 200, "messages": HELLO, "tools": tools, "tool_choice": choice}
    async with front.anthropic() as client:
        answers = [await client.messages.create(**ask)]
        async with client.messages.stream(**ask) as stream:
            answers.append(await stream.get_final_message())
    for answer in answers:
        assert answer.stop_reason == "tool_use"
        calls = [block for block in answer.content if block.type == "tool_use"]
        assert calls
        for call in calls:
            assert call.id
            fits(call.input, SCHEMAS[call.name])
    if choice["type"] == "tool":
        assert {block.name for answer in answers for block in answer.content if block.type == "tool_use"} == {"weather"}


@pytest.mark.parametrize("choice", ["required", {"type": "function", "name": "weather"}], ids=["required", "named"])
async def test_a_call_by_openais_sdk(front, name, choice):
    """The same by /v1/responses."""
    check_holds(name)
    ask: Any = {"model": MODEL, "max_output_tokens": 200, "input": "Hello", "tools": [FUNCTION], "tool_choice": choice}
    async with front.openai() as client:
        answers = [await client.responses.create(**ask)]
        async with client.responses.stream(**ask) as stream:
            answers.append(await stream.get_final_response())
    for answer in answers:
        assert answer.status == "completed"
        calls = [item for item in answer.output if item.type == "function_call"]
        assert calls
        for call in calls:
            assert (call.name, call.status) == ("weather", "completed")
            assert call.call_id
            fits(call.arguments)


async def test_a_call_by_ollamas_sdk(front, name):
    """The same by /api/chat, where the choice is a field of chats."""
    check_holds(name)
    tool = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
    body = {"messages": HELLO, "tools": [tool], "tool_choice": "required", "options": {"num_predict": 200}}
    answer = await front.given("/api/chat", {**body, "stream": False})
    lines = await front.events("/api/chat", body)
    for messages in ([answer["message"]], [line["message"] for line in lines]):
        calls = [call for message in messages for call in message.get("tool_calls") or ()]
        assert calls
        for call in calls:
            assert call["function"]["name"] == "weather"
            fits(call["function"]["arguments"])
    assert answer["done_reason"] == lines[-1]["done_reason"] == "stop"
