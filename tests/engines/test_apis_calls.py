"""Calls of tools by the official SDKs, on each engine that can hold an answer to one."""

import json
from typing import Any

import anthropic as anthropic_sdk
import jsonschema
import openai as openai_sdk
import pytest

from tests.engines.fronts import HELLO, MODEL

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

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


NEVER = {"llama_server", "mlx"}
"""Engines that can't hold an answer to a call; llama_server can't of this model, whose template shows no tools."""


def check_holds(name: str) -> None:
    """Skip an engine that lets a model say what it likes before a call: the demo model never comes to its end."""
    if name != "llama_cpp":
        pytest.skip("its grammar lets text come before a call")


@pytest.mark.parametrize(
    "choice", [{"type": "any"}, {"type": "tool", "name": "weather"}], ids=lambda each: each["type"]
)
async def test_a_call_that_nothing_can_hold_an_answer_to(fronts, name, choice):
    """Is a 400 that says so, in each API."""
    if name not in NEVER:
        pytest.skip("it can")
    front = fronts.native
    named = {"type": "function", "name": "weather"} if choice["type"] == "tool" else "required"
    tool: Any = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
    async with front.openai() as openai, front.anthropic() as anthropic, front.ollama() as ollama:
        ask: Any = {"max_tokens": 5, "messages": HELLO, "tools": [TOOL], "tool_choice": choice}
        with pytest.raises(anthropic_sdk.BadRequestError, match="wants a call, but"):
            await anthropic.messages.create(model=MODEL, **ask)
        ask = {"max_output_tokens": 5, "input": "Hello", "tools": [FUNCTION], "tool_choice": named}
        with pytest.raises(openai_sdk.BadRequestError, match="wants a call, but"):
            await openai.responses.create(model=MODEL, **ask)
        ask = {"messages": HELLO, "tools": [tool], "tool_choice": named}
        with pytest.raises(openai_sdk.BadRequestError, match="wants a call, but"):
            await openai.chat.completions.create(model=MODEL, **ask)
        assert (await ollama.chat(MODEL, HELLO, tools=[tool], options={"num_predict": 3})).message.content


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
