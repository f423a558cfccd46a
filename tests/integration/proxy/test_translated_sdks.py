"""Each SDK on an engine that speaks chat completions alone: loops of tools, forms, reasoning, limits, errors."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import ollama
import openai
import pytest

from tests.fakes.scripted import Called, Say, Scripted

QUESTION = "What is the weather in Århus and Rome?"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
RESULT = {
    "type": "object",
    "properties": {"warm": {"type": "boolean"}},
    "required": ["warm"],
    "additionalProperties": False,
}
PARALLEL = (Called("weather", '{"city": "Århus 🦊"}'), Called("weather", '{"city": "Rome"}'))
CITIES = [{"city": "Århus 🦊"}, {"city": "Rome"}]
LAST = Say(text="Rain in Århus, sun in Rome.")
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n and the rest").decode()
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
WAYS = [
    pytest.param(Say(text="Let me look.", thinks="Two calls.", calls=PARALLEL), id="one after the other"),
    pytest.param(Say(text="Let me look.", thinks="Two calls.", calls=PARALLEL, in_turns=True), id="in turns"),
    pytest.param(Say(text="<think>Two calls.</think>\n\nLet me look.", calls=PARALLEL), id="thinking in the text"),
]


@pytest.fixture
async def engine() -> AsyncIterator[Scripted]:
    """Start the engine."""
    async with Scripted() as scripted:
        yield scripted


@pytest.fixture
async def url(start_router, engine):
    """Give the address of a router before it, which isn't told what the engine speaks."""
    return (await start_router([{"url": engine.url, "models": ["demo"]}])).url.removesuffix("/v1")


@pytest.fixture
async def of_anthropic(url):
    async with anthropic.AsyncAnthropic(base_url=url, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
async def of_openai(url):
    async with openai.AsyncOpenAI(base_url=url + "/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
async def of_ollama(url):
    async with ollama.AsyncClient(url) as client:
        yield client


# Loops of tools


@pytest.mark.parametrize("say", WAYS)
@STREAMED
async def test_a_loop_by_anthropics_sdk(engine, of_anthropic, say, stream):
    """Two calls at once, a result and an error, and the answer: each as the other side needs it."""
    engine.says(say, LAST)
    tools: Any = [{"name": "weather", "description": "The weather.", "input_schema": CITY}]
    messages: Any = [{"role": "user", "content": QUESTION}]

    async def turn():
        ask: Any = {"model": "demo", "max_tokens": 100, "tools": tools, "messages": messages}
        if not stream:
            return await of_anthropic.messages.create(**ask)
        async with of_anthropic.messages.stream(**ask) as events:
            return await events.get_final_message()

    answer = await turn()
    assert answer.stop_reason == "tool_use"
    assert [(block.type, block.thinking) for block in answer.content if block.type == "thinking"] == [
        ("thinking", "Two calls.")
    ]
    assert "".join(block.text for block in answer.content if block.type == "text") == "Let me look."
    calls = [block for block in answer.content if block.type == "tool_use"]
    assert [call.input for call in calls] == CITIES
    assert [call.id for call in calls] == ["call_0", "call_1"]
    assert (answer.usage.input_tokens, answer.usage.cache_read_input_tokens, answer.usage.output_tokens) == (5, 16, 7)
    messages += [
        {"role": "assistant", "content": answer.content},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": calls[0].id, "content": [{"type": "text", "text": "rain"}]},
            {"type": "tool_result", "tool_use_id": calls[1].id, "content": "no network", "is_error": True},
            {"type": "text", "text": "And now?"},
        ]},
    ]  # fmt: skip
    final = await turn()
    assert (final.content[0].text, final.stop_reason) == (LAST.text, "end_turn")
    sent = engine.asked[1]["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "tool", "user"]
    check_calls(sent[1])
    assert sent[1]["content"] == "Let me look."
    assert [(message["tool_call_id"], message["content"]) for message in sent[2:4]] == [
        ("call_0", "rain"), ("call_1", "Error: no network"),
    ]  # fmt: skip
    assert sent[4]["content"] == "And now?"
    assert engine.asked[0]["tools"] == [
        {"type": "function", "function": {"name": "weather", "description": "The weather.", "parameters": CITY}}
    ]


def check_calls(message, ids=("call_0", "call_1")):
    calls = message["tool_calls"]
    assert [json.loads(call["function"]["arguments"]) for call in calls] == CITIES
    assert [call["id"] for call in calls] == list(ids)
    assert {(call["type"], call["function"]["name"]) for call in calls} == {("function", "weather")}


@pytest.mark.parametrize("say", WAYS)
@STREAMED
async def test_a_loop_by_openais_sdk(engine, of_openai, say, stream):
    """The same by /v1/responses, stateless: the input has what was said."""
    engine.says(say, LAST)
    tools: Any = [
        {"type": "function", "name": "weather", "description": "The weather.", "parameters": CITY, "strict": True}
    ]
    said: Any = [{"role": "user", "content": QUESTION}]

    async def turn():
        ask: Any = {"model": "demo", "input": said, "tools": tools, "store": False}
        if not stream:
            return await of_openai.responses.create(**ask)
        async with of_openai.responses.stream(**ask) as events:
            seen = [event async for event in events]
            assert [each.sequence_number for each in seen] == list(range(len(seen)))
            return await events.get_final_response()

    answer = await turn()
    assert answer.status == "completed"
    assert answer.output_text == "Let me look."
    assert [item.type for item in answer.output].count("reasoning") == 1
    calls = [item for item in answer.output if item.type == "function_call"]
    assert [json.loads(call.arguments) for call in calls] == CITIES
    usage = answer.usage
    assert (usage.input_tokens, usage.input_tokens_details.cached_tokens, usage.output_tokens) == (21, 16, 7)
    said += [item.model_dump(exclude_none=True) for item in answer.output]
    said += [
        {"type": "function_call_output", "call_id": calls[0].call_id, "output": "rain"},
        {"type": "function_call_output", "call_id": calls[1].call_id, "output": "Error: no network"},
    ]
    final = await turn()
    assert (final.output_text, final.status) == (LAST.text, "completed")
    sent = engine.asked[1]["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "tool"]
    check_calls(sent[1], [call.call_id for call in calls])
    assert [message["content"] for message in sent[2:]] == ["rain", "Error: no network"]


@pytest.mark.parametrize("say", WAYS)
@STREAMED
async def test_a_loop_by_ollamas_sdk(engine, of_ollama, say, stream):
    """The same by /api/chat, whose calls need no ids, and whose arguments are objects."""
    engine.says(say, LAST)
    tools: Any = [
        {"type": "function", "function": {"name": "weather", "description": "The weather.", "parameters": CITY}}
    ]
    messages: Any = [{"role": "user", "content": QUESTION}]

    async def turn():
        ask: Any = {"model": "demo", "messages": messages, "tools": tools}
        if not stream:
            answer = await of_ollama.chat(**ask)
            return [answer]
        return [part async for part in await of_ollama.chat(**ask, stream=True)]

    parts = await turn()
    assert "".join(part.message.content or "" for part in parts) == "Let me look."
    assert "".join(part.message.thinking or "" for part in parts) == "Two calls."
    calls = [call for part in parts for call in part.message.tool_calls or ()]
    assert [call.function.arguments for call in calls] == CITIES
    assert (parts[-1].done_reason, parts[-1].prompt_eval_count, parts[-1].eval_count) == ("stop", 21, 7)
    messages += [
        {"role": "assistant", "content": "Let me look.", "tool_calls": [call.model_dump() for call in calls]},
        {"role": "tool", "tool_name": "weather", "content": "rain"},
        {"role": "tool", "tool_name": "weather", "content": "Error: no network"},
    ]
    final = await turn()
    assert "".join(part.message.content or "" for part in final) == LAST.text
    sent = engine.asked[1]["messages"]
    ids = [call["id"] for call in sent[1]["tool_calls"]]
    check_calls(sent[1], ids)
    assert [(message["tool_call_id"], message["content"]) for message in sent[2:]] == [
        (ids[0], "rain"), (ids[1], "Error: no network"),
    ]  # fmt: skip


# Answers in a form

WARM = Say(text='{"warm": true}')


async def test_a_schema(engine, of_anthropic, of_openai, of_ollama):
    """Is the engine's response format, whichever API it came by; the answer is what it was asked for."""
    engine.says(WARM, WARM, WARM)
    hello: Any = [{"role": "user", "content": "Hi"}]
    form: Any = {"format": {"type": "json_schema", "schema": RESULT}}
    message = await of_anthropic.messages.create(model="demo", max_tokens=9, messages=hello, output_config=form)
    text: Any = {"format": {"type": "json_schema", "name": "a", "strict": True, "schema": RESULT}}
    response = await of_openai.responses.create(model="demo", input="Hi", text=text)
    chat = await of_ollama.chat("demo", hello, format=RESULT)
    assert [message.content[0].text, response.output_text, chat.message.content] == [WARM.text] * 3
    forms = [asked["response_format"] for asked in engine.asked]
    assert [each["type"] for each in forms] == ["json_schema"] * 3
    assert [each["json_schema"]["schema"] for each in forms] == [RESULT] * 3


# What goes in


async def test_images(engine, of_anthropic, of_openai, of_ollama):
    """Come to the engine as parts with a data URL, beside their text."""
    engine.says(LAST, LAST, LAST)
    source: Any = {"type": "base64", "media_type": "image/png", "data": PNG}
    content: Any = [{"type": "image", "source": source}, {"type": "text", "text": "What is it?"}]
    await of_anthropic.messages.create(model="demo", max_tokens=9, messages=[{"role": "user", "content": content}])
    parts = [
        {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "auto"},
        {"type": "input_text", "text": "What is it?"},
    ]
    await of_openai.responses.create(model="demo", input=[{"role": "user", "content": parts}])
    await of_ollama.chat("demo", [{"role": "user", "content": "What is it?", "images": [PNG]}])
    for asked in engine.asked:
        said = {part["type"]: part for part in asked["messages"][0]["content"]}
        assert said["image_url"]["image_url"]["url"] == f"data:image/png;base64,{PNG}"
        assert said["text"]["text"] == "What is it?"


# Limits


@STREAMED
async def test_the_limit_of_tokens(engine, of_anthropic, of_openai, of_ollama, stream):
    """Is told as each API tells it."""
    cut = Say(text="Once upon", finish="length")
    engine.says(cut, cut, cut)
    ask: Any = {"model": "demo", "max_tokens": 2, "messages": [{"role": "user", "content": "Hi"}]}
    if stream:
        async with of_anthropic.messages.stream(**ask) as events:
            message = await events.get_final_message()
        async with of_openai.responses.stream(model="demo", input="Hi", max_output_tokens=2) as seen:
            response = [event async for event in seen][-1].response
        chat = [part async for part in await of_ollama.chat("demo", ask["messages"], stream=True)][-1]
    else:
        message = await of_anthropic.messages.create(**ask)
        response = await of_openai.responses.create(model="demo", input="Hi", max_output_tokens=2)
        chat = await of_ollama.chat("demo", ask["messages"])
    assert message.stop_reason == "max_tokens"
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert response.output_text == "Once upon"
    assert chat.done_reason == "length"
    assert [asked.get("max_tokens") for asked in engine.asked][:2] == [2, 2]


@STREAMED
async def test_arguments_that_the_limit_cut_off(engine, of_anthropic, of_openai, of_ollama, stream):
    """Harm no SDK."""
    cut = Say(calls=(Called("weather", '{"city": "Å'),), finish="length")
    engine.says(cut, cut, cut)
    hello: Any = [{"role": "user", "content": "Hi"}]
    tools: Any = [{"name": "weather", "input_schema": CITY}]
    functions: Any = [{"type": "function", "name": "weather", "parameters": CITY}]
    if stream:
        async with of_anthropic.messages.stream(model="demo", max_tokens=2, messages=hello, tools=tools) as events:
            reason = (await events.get_final_message()).stop_reason
        async with of_openai.responses.stream(model="demo", input="Hi", tools=functions) as seen:
            response = [event async for event in seen][-1].response
        chat = [part async for part in await of_ollama.chat("demo", hello, stream=True)][-1]
    else:
        message = await of_anthropic.messages.create(model="demo", max_tokens=2, messages=hello, tools=tools)
        reason = message.stop_reason
        response = await of_openai.responses.create(model="demo", input="Hi", tools=functions)
        chat = await of_ollama.chat("demo", hello)
    assert reason == "max_tokens"
    assert response.status == "incomplete"
    assert chat.done_reason == "length"


# Errors

STATUSES = {
    400: (anthropic.BadRequestError, openai.BadRequestError),
    404: (anthropic.NotFoundError, openai.NotFoundError),
    429: (anthropic.RateLimitError, openai.RateLimitError),
    500: (anthropic.InternalServerError, openai.InternalServerError),
}


async def whole_chat(client, messages, *, stream):
    """Read an answer of Ollama's to its end; a stream's error comes when it is read."""
    answer = await client.chat("demo", messages, stream=stream)
    return [part async for part in answer] if stream else [answer]


@pytest.mark.parametrize("status", STATUSES)
@STREAMED
async def test_an_engines_error(engine, of_anthropic, of_openai, of_ollama, status, stream):
    """Is the exception that each SDK has for it, with the engine's words, and when to come back."""
    wrong = Say(status=status, message="the model is on holiday", retry_after="7" if status == 429 else "")
    engine.says(*[wrong] * 9)
    hello: Any = [{"role": "user", "content": "Hi"}]
    theirs, ours = STATUSES[status]
    with pytest.raises(theirs, match="on holiday") as of_messages:
        await of_anthropic.messages.create(model="demo", max_tokens=2, messages=hello, stream=stream)
    with pytest.raises(ours, match="on holiday") as of_responses:
        await of_openai.responses.create(model="demo", input="Hi", stream=stream)
    with pytest.raises(ollama.ResponseError, match="on holiday") as of_chats:
        await whole_chat(of_ollama, hello, stream=stream)
    assert of_chats.value.status_code == status
    assert of_chats.value.error == "the model is on holiday"
    waits = [caught.value.response.headers.get("retry-after") for caught in (of_messages, of_responses)]
    assert waits == (["7", "7"] if status == 429 else [None, None])


@pytest.mark.parametrize("message", ["the model fell ill", ""], ids=["an error event", "the connection"])
async def test_a_stream_that_breaks_off(engine, of_anthropic, of_openai, of_ollama, message):
    """Raises: what came is no whole answer. The engine's words are told, if there are any."""
    broken = Say(text="Once upon a time", breaks=3, message=message)
    engine.says(*[broken] * 3)
    hello: Any = [{"role": "user", "content": "Hi"}]
    words = message or "."
    with pytest.raises(anthropic.APIError, match=words):
        async with of_anthropic.messages.stream(model="demo", max_tokens=9, messages=hello) as events:
            await events.get_final_message()
    # The last event of a response that failed; this SDK hands it on.
    seen = [event async for event in await of_openai.responses.create(model="demo", input="Hi", stream=True)]
    last: Any = seen[-1]
    assert last.type == "response.failed"
    assert (message or "broke off") in last.response.error.message
    assert [event.sequence_number for event in seen] == list(range(len(seen)))
    with pytest.raises(ollama.ResponseError, match=words):
        async for _ in await of_ollama.chat("demo", hello, stream=True):
            pass


async def test_what_no_engine_can_do(engine, of_openai):
    """State on the server: a 400 that says so, and the engine isn't asked."""
    for more in ({"previous_response_id": "resp_1"}, {"background": True}):
        with pytest.raises(openai.BadRequestError, match=next(iter(more))):
            await of_openai.responses.create(model="demo", input="Hi", **more)
    assert engine.asked == []
