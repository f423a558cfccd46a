"""Every form that current clients send, to every engine that is installed here, through the router.

The bodies are those of openai-python and openai-node, LangChain, pydantic-ai, DSPy, smolagents, openai-agents, LiteLLM,
the Vercel AI SDK, Continue, aider and Open WebUI, made small. What counts is the answer: a form that says the same as
another one in other words has the same answer, to the token; a limit limits, numbers are those numbers. What an engine
can't do is a 400 in one sentence.
"""

import base64
import json
import re
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.engines.test_contract import CASES, STARTS_WITHIN, config, installed
from tests.running import RunningRouter

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
USER = {"role": "user", "content": "Hello"}
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "required": ["a"],
    "additionalProperties": False,
}
F = {
    "type": "function",
    "function": {
        "name": "f",
        "description": "What the weather is.",
        "parameters": {"type": "object", "properties": {"q": {"type": "boolean"}}, "required": ["q"]},
        "strict": True,
    },
}
G = {"type": "function", "function": {"name": "g"}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"q": true}'}}
CALLED = {"role": "assistant", "content": "", "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}
THE_CALL = {"type": "function", "function": {"name": "f"}}
LONG = "the cat " * 20_000

MORE = {
    "llama_cpp": "embedding: true",
    "llama_server": "embeddings: true, pooling: mean",
    "vllm": "enable-auto-tool-choice: true, tool-call-parser: hermes",
}
"""Arguments beside those of the contract: what these tests are about."""
EMBED = {"llama_cpp", "llama_server"}


@pytest.fixture(scope="module", params=installed())
def name(request: pytest.FixtureRequest) -> str:
    """Name an engine."""
    return str(request.param)


class Asked:
    """A client that sends bodies as they are."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def raw(self, path: str, body: dict[str, Any]) -> tuple[int, str]:
        """The status and the words of an answer."""
        async with self._session.post(path, json={"model": "public", **body}) as answer:
            return answer.status, await answer.text()

    async def given(self, path: str, body: dict[str, Any]) -> Any:
        """A good answer."""
        status, words = await self.raw(path, body)
        assert status == 200, words
        return json.loads(words)

    async def chat(self, *messages: Any, **more: Any) -> tuple[str, dict[str, Any]]:
        """The text of an answer that has nothing of chance, and its usage."""
        body = {"messages": list(messages) or [USER], "max_tokens": 5, "temperature": 0, **more}
        answer = await self.given(CHAT, body)
        assert answer["model"] == "demo"
        assert len(answer["choices"]) == 1
        return answer["choices"][0]["message"]["content"], answer["usage"]

    async def events(self, path: str, body: dict[str, Any]) -> list[Any]:
        """The events of a whole stream."""
        status, words = await self.raw(path, {**body, "stream": True})
        assert status == 200, words
        events = [line.removeprefix("data: ") for line in words.splitlines() if line.startswith("data: ")]
        assert events.pop() == "[DONE]"
        return [json.loads(event) for event in events]

    async def refused(self, path: str, body: dict[str, Any]) -> str:
        """The one sentence of a 400."""
        status, words = await self.raw(path, body)
        assert status == 400, words
        message: str = json.loads(words)["error"]["message"]
        assert 5 < len(message) < 400, message
        assert "\n" not in message
        assert not re.search(r"site-packages|\.py\b|Traceback|File \"|validation error", message), message
        return message


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ask(tmp_path_factory: pytest.TempPathFactory, model: Path, name: str) -> AsyncIterator[Asked]:
    """Start the router that an engine's tests share; give a client of it."""
    folder = tmp_path_factory.mktemp(name)
    words = config(name, model).replace("stall_after: 8s", "stall_after: 60s")  # vllm compiles what is asked for first
    assert "60s" in words
    if name in MORE:
        words = words.replace(CASES[name].args, CASES[name].args[:-1] + f", {MORE[name]}}}")
        assert MORE[name] in words
    async with RunningRouter(folder, words) as router:
        await router.ready(STARTS_WITHIN)
        async with aiohttp.ClientSession(router.url) as session:
            yield Asked(session)


# The same in other words


@pytest.mark.parametrize(
    ("messages", "plain"),
    [
        pytest.param(
            [USER, {**CALLED, "content": None}, RESULT], [USER, CALLED, RESULT], id="the second turn of a tool loop"
        ),
        pytest.param(
            [USER, {"role": "assistant", "tool_calls": [CALL]}, RESULT], [USER, CALLED, RESULT], id="no content at all"
        ),
        pytest.param(
            [
                USER,
                {
                    **CALLED,
                    "content": None,
                    "refusal": None,
                    "annotations": [],
                    "audio": None,
                    "function_call": None,
                    "tool_calls": [{**CALL, "index": 0}],
                },
                {**RESULT, "name": "f", "content": [{"type": "text", "text": "sunny"}]},
            ],
            [USER, CALLED, RESULT],
            id="model_dump of a call, and its result in parts",
        ),
        pytest.param(
            [USER, {"role": "assistant", "content": "Hi", "refusal": None, "audio": None, "tool_calls": None}, USER],
            [USER, {"role": "assistant", "content": "Hi"}, USER],
            id="model_dump of an answer",
        ),
        pytest.param(
            [USER, CALLED, {**RESULT, "content": None}],
            [USER, CALLED, {**RESULT, "content": ""}],
            id="a result of nothing",
        ),
        pytest.param([{**USER, "content": None}], [{**USER, "content": ""}], id="a user who says nothing"),
        pytest.param(
            [{"role": "developer", "content": "Be kind."}, USER],
            [{"role": "system", "content": "Be kind."}, USER],
            id="the developer",
        ),
        pytest.param(
            [
                {"role": "system", "content": [{"type": "text", "text": "Be kind."}]},
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "Hello", "cache_control": {"type": "ephemeral"}}],
                },
                {"role": "assistant", "content": [{"type": "text", "text": "Hi"}]},
                {"role": "user", "content": [{"type": "text", "text": "the cat"}, {"type": "text", "text": "the dog"}]},
            ],
            [
                {"role": "system", "content": "Be kind."},
                USER,
                {"role": "assistant", "content": "Hi"},
                {"role": "user", "content": "the cat\nthe dog"},
            ],
            id="parts of text for everybody",
        ),
        pytest.param(
            [USER, {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}, USER],
            [USER, {"role": "assistant", "content": "No."}, USER],
            id="a refusal",
        ),
        pytest.param([{**USER, "name": "bob"}], [USER], id="a name"),
    ],
)
async def test_messages_in_other_words_have_the_same_answer(ask, name, messages, plain):
    """The prompt has as many tokens, and the answer is the same. vllm leaves it to the template where parts begin."""
    answer, usage = await ask.chat(*messages)
    if name == "vllm" and any("\n" in each["content"] for each in plain):
        return
    expected, expected_usage = await ask.chat(*plain)
    assert answer == expected
    assert usage["prompt_tokens"] == expected_usage["prompt_tokens"]


@pytest.mark.parametrize(
    "more",
    [
        pytest.param(
            dict.fromkeys(("top_p", "n", "stop", "tools", "tool_choice", "response_format", "seed")), id="nulls"
        ),
        pytest.param(
            dict.fromkeys(
                ("user", "logit_bias", "logprobs", "top_logprobs", "stream", "stream_options", "functions", "store")
            ),
            id="more nulls",
        ),
        pytest.param(
            {"n": 1, "top_p": 1, "presence_penalty": 0, "frequency_penalty": 0, "seed": 42, "stop": []}, id="defaults"
        ),
        pytest.param(
            {
                "user": "u",
                "metadata": {"a": "b"},
                "store": False,
                "service_tier": "auto",
                "reasoning_effort": "low",
                "modalities": ["text"],
                "prediction": {"type": "content", "content": "x"},
                "verbosity": "low",
                "safety_identifier": "s",
                "prompt_cache_key": "k",
                "web_search_options": {},
                "num_ctx": 2048,
                "keep_alive": "5m",
            },
            id="what is for other services",
        ),
        pytest.param({"tools": [], "tool_choice": "auto", "parallel_tool_calls": False}, id="no tools"),
        pytest.param({"tool_choice": "none"}, id="no choice"),
        pytest.param({"response_format": {"type": "text"}}, id="any form"),
        pytest.param({"stop": [""]}, id="an empty stop word"),
        pytest.param({"stop": "zzz"}, id="a stop word that never comes"),
        pytest.param({"logit_bias": {}}, id="no bias"),
        pytest.param({"stream_options": {"include_usage": True}}, id="stream options without a stream"),
        pytest.param({"max_completion_tokens": 5}, id="two limits"),
        pytest.param({"max_tokens": None, "max_completion_tokens": 5}, id="the new limit, and no old one"),
    ],
)
async def test_fields_that_say_nothing_change_nothing(ask, more):
    """Whatever a client fills in by itself."""
    answer, usage = await ask.chat(**more)
    expected, expected_usage = await ask.chat()
    assert answer == expected
    assert usage["completion_tokens"] == expected_usage["completion_tokens"] == 5


@pytest.mark.parametrize(
    ("given", "whole"),
    [
        (G, {"type": "function", "function": {"name": "g", "parameters": {"type": "object", "properties": {}}}}),
        (
            {"type": "function", "function": {"name": "g", "description": None, "parameters": None, "strict": None}},
            {"type": "function", "function": {"name": "g", "parameters": {"type": "object", "properties": {}}}},
        ),
    ],
)
async def test_a_tool_without_parameters_is_one_that_takes_none(ask, given, whole):
    """As agents declare them."""
    assert (await ask.chat(tools=[given]))[0] == (await ask.chat(tools=[whole]))[0]


async def test_a_query_behind_the_path(ask):
    """As Azure's clients send it."""
    body = {"messages": [USER], "max_tokens": 5, "temperature": 0}
    answer = await ask.given(f"{CHAT}?api-version=2025-01-01", body)
    assert answer["choices"][0]["message"]["content"] == (await ask.chat())[0]


# Limits, and ends


@pytest.mark.parametrize(
    "limits", [{"max_completion_tokens": 7}, {"max_tokens": 7}, {"max_completion_tokens": 7, "max_tokens": 7}]
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_limit_limits_by_either_name(ask, limits, stream):
    """In one piece and as a stream: the usage is told by the stream's last event, and by no other."""
    body = {"messages": [USER], "temperature": 0, **limits}
    if not stream:
        answer = await ask.given(CHAT, body)
        assert answer["choices"][0]["finish_reason"] == "length"
        usage = answer["usage"]
    else:
        *events, last = await ask.events(CHAT, {**body, "stream_options": {"include_usage": True}})
        assert last["choices"] == []
        assert not any(event.get("usage") for event in events)
        assert [event["choices"][0]["finish_reason"] for event in events][-1] == "length"
        usage = last["usage"]
    assert usage["completion_tokens"] == 7
    assert usage["total_tokens"] == usage["prompt_tokens"] + 7


async def test_usage_is_the_same_however_it_is_told(ask):
    """In one piece and at a stream's end, of a chat and of a prompt; an end by a stop word, too."""
    for path, body in (
        (CHAT, {"messages": [USER], "max_tokens": 9}),
        (CHAT, {"messages": [USER], "max_tokens": 40, "stop": ["e"]}),
        (COMPLETIONS, {"prompt": "the cat", "max_tokens": 9}),
    ):
        whole = await ask.given(path, {**body, "temperature": 0})
        events = await ask.events(path, {**body, "temperature": 0, "stream_options": {"include_usage": True}})
        names = ("prompt_tokens", "completion_tokens", "total_tokens")
        assert {name: events[-1]["usage"][name] for name in names} == {name: whole["usage"][name] for name in names}


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"include_usage": False, "extra": 1}])
async def test_usage_has_no_event_of_its_own_where_nobody_asks(ask, options):
    """Many clients take the first of an event's choices unseen. It may stand in the last one, beside the reason."""
    events = await ask.events(CHAT, {"messages": [USER], "max_tokens": 5, "stream_options": options})
    assert events[-1]["choices"][0]["finish_reason"] == "length"
    assert all(event["choices"] for event in events)
    assert not any(event.get("usage") for event in events[:-1])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "body"), [(CHAT, {"messages": [{**USER, "content": LONG}]}), (COMPLETIONS, {"prompt": LONG})]
)
async def test_a_prompt_that_is_too_long(ask, path, body, stream):
    """It is said at once, as a 400, of a stream, too."""
    assert re.search(r"context|token", await ask.refused(path, {**body, "max_tokens": 5, "stream": stream}))


# Tools and forms


async def called(ask: Asked, body: dict[str, Any], *, stream: bool) -> list[Any]:
    """The calls of an answer; those of a stream put together as clients do."""
    if not stream:
        return (await ask.given(CHAT, body))["choices"][0]["message"].get("tool_calls") or []
    calls: dict[int, Any] = {}
    for event in await ask.events(CHAT, body):
        for choice in event["choices"]:
            for piece in choice["delta"].get("tool_calls") or ():
                call = calls.setdefault(piece["index"], {"id": "", "function": {"name": "", "arguments": ""}})
                call["id"] += piece.get("id") or ""
                for part in ("name", "arguments"):
                    call["function"][part] += piece["function"].get(part) or ""
    return list(calls.values())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("choice", ["required", THE_CALL, {"type": "function", "name": "f"}])
async def test_a_call_that_is_asked_for(ask, name, choice, stream):
    """llama_cpp holds the model to it; then its next turn is answered, the call as it came.

    mlx holds no answer to a call, and llama_server none of a model like this one, whose template shows no tools.
    """
    body = {"messages": [USER], "tools": [F], "tool_choice": choice, "max_tokens": 100, "temperature": 0}
    if name in {"llama_server", "mlx"}:
        assert "wants a call, but" in await ask.refused(CHAT, body)
        return
    calls = await called(ask, body, stream=stream)
    if name != "llama_cpp":  # what this model says is no call that they know, or has no end
        return
    (call,) = calls
    assert call["function"]["name"] == "f"
    assert call["id"]
    assert set(json.loads(call["function"]["arguments"])) == {"q"}
    again = {"role": "assistant", "content": None, "tool_calls": [{**call, "type": "function"}]}
    result = {"role": "tool", "tool_call_id": call["id"], "content": "sunny"}
    answer, _ = await ask.chat(USER, again, result, tools=[F])
    assert answer


@pytest.mark.parametrize(
    "choice",
    [
        "auto",
        "none",
        {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [THE_CALL]}},
    ],
)
async def test_a_choice_of_tools(ask, choice):
    """Of whichever kind."""
    body = {"messages": [USER], "tools": [F, G], "tool_choice": choice, "max_tokens": 5, "temperature": 0}
    assert (await ask.given(CHAT, body))["usage"]["completion_tokens"] == 5


async def test_a_schema(ask, name):
    """The answer is JSON of that form, or it is said that it can't be had."""
    form = {"type": "json_schema", "json_schema": {"name": "A", "strict": True, "schema": SCHEMA}}
    body = {"messages": [USER], "response_format": form, "max_tokens": 200, "temperature": 0}
    if name == "mlx":
        assert "response_format" in await ask.refused(CHAT, body)
        return
    answer = await ask.given(CHAT, body)
    content = answer["choices"][0]["message"]["content"]
    if answer["choices"][0]["finish_reason"] == "stop":
        assert set(json.loads(content)) == {"a"}
    assert re.match(r'\s*{\s*("a"|$)', content), content


async def test_a_schema_that_contains_itself(ask, name):
    """As pydantic writes it."""
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}, "additionalProperties": False}
    schema = {"$ref": "#/$defs/Node", "$defs": {"Node": node}}
    form = {"type": "json_schema", "json_schema": {"name": "Node", "schema": schema}}
    body = {"messages": [USER], "response_format": form, "max_tokens": 60, "temperature": 0}
    if name == "mlx":
        await ask.refused(CHAT, body)
        return
    content = (await ask.given(CHAT, body))["choices"][0]["message"]["content"]
    assert re.match(r'\s*{\s*("next"|}|$)', content), content


@pytest.mark.parametrize(
    "schema",
    [
        {"enum": []},
        {"anyOf": []},
        {"type": "string", "maxLength": 100_000},
        {"type": "array", "items": {"type": "string"}, "minItems": 100_000},
        {"type": "string", "pattern": "^(["},
        {"$ref": "#/$defs/nowhere"},
        {"$ref": "https://example.com/schema.json"},
        {"type": "object", "properties": {'a "b"\n': {"type": "string"}}, "required": ['a "b"\n']},
        {"type": "object", "properties": [1]},
    ],
    ids=lambda schema: json.dumps(schema)[:40],
)
async def test_a_schema_does_no_harm(ask, schema):
    """Whatever is in it: it is answered or refused, and so is the next request."""
    form = {"type": "json_schema", "json_schema": {"name": "A", "schema": schema}}
    status, words = await ask.raw(CHAT, {"messages": [USER], "response_format": form, "max_tokens": 10})
    assert status in {200, 400}, words
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    status, words = await ask.raw(
        CHAT, {"messages": [USER], "tools": [tool], "tool_choice": THE_CALL, "max_tokens": 10}
    )
    assert status in {200, 400}, words
    await ask.chat()


async def test_json(ask, name):
    """The older way to ask for it."""
    body = {"messages": [USER], "response_format": {"type": "json_object"}, "max_tokens": 20, "temperature": 0}
    if name == "mlx":
        await ask.refused(CHAT, body)
        return
    content = (await ask.given(CHAT, body))["choices"][0]["message"]["content"].strip()
    assert content[:1] in {"{", ""}  # it may begin with white space


async def test_functions(ask, name):
    """What tools were before: llama_cpp knows them still."""
    body = {"messages": [USER], "functions": [F["function"]], "function_call": {"name": "f"}, "max_tokens": 100}
    if name != "llama_cpp":
        assert "tools" in await ask.refused(CHAT, body)
        return
    message = (await ask.given(CHAT, {**body, "temperature": 0}))["choices"][0]["message"]
    assert message["function_call"]["name"] == "f"


async def test_log_probabilities(ask):
    """Of as many tokens as there are, each with its words."""
    for more in ({}, {"top_logprobs": 2}, {"top_logprobs": 0}):
        body = {"messages": [USER], "max_tokens": 3, "logprobs": True, "temperature": 0, **more}
        content = (await ask.given(CHAT, body))["choices"][0]["logprobs"]["content"]
        assert len(content) == 3
        assert all(isinstance(each["token"], str) and each["logprob"] <= 0 for each in content)
        assert all(len(each["top_logprobs"]) >= more.get("top_logprobs", 0) for each in content)


# Completions


async def test_a_prompt_in_a_list(ask):
    """One is one; several are several, or refused."""
    body = {"max_tokens": 5, "temperature": 0}
    one = await ask.given(COMPLETIONS, {**body, "prompt": "the cat", "suffix": None, "echo": None, "best_of": None})
    assert one["usage"]["completion_tokens"] == 5
    of_a_list = await ask.given(COMPLETIONS, {**body, "prompt": ["the cat"], "suffix": ""})
    assert of_a_list["choices"][0]["text"] == one["choices"][0]["text"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_stop_word_ends_the_answer_wherever_it_stands(ask, stream):
    """In the midst of a token, over two of them, and at an end; it isn't cut out of a text that goes on."""
    body = {"messages": [USER], "max_tokens": 8, "temperature": 0, "stream": stream}
    whole, _ = await ask.chat(max_tokens=8)
    word = whole.split()[1]
    for stop in ([word[1:3]], [f"{word[-1]} "], ["nowhere", f"{word} "], word):
        if stream:
            choices = [event["choices"][0] for event in await ask.events(CHAT, body | {"stop": stop})]
            given, reason = (
                "".join(each["delta"].get("content") or "" for each in choices),
                choices[-1]["finish_reason"],
            )
        else:
            (choice,) = (await ask.given(CHAT, body | {"stop": stop}))["choices"]
            given, reason = choice["message"]["content"], choice["finish_reason"]
        last = stop if isinstance(stop, str) else stop[-1]
        assert (given.lstrip(), reason) == (whole.partition(last)[0].lstrip(), "stop"), stop
    await ask.chat()


async def test_a_completions_limit_by_its_newer_name(ask):
    """Which vllm would leave out."""
    body = {"prompt": "the cat", "max_completion_tokens": 3, "temperature": 0}
    assert (await ask.given(COMPLETIONS, body))["usage"]["completion_tokens"] == 3


@pytest.mark.parametrize(
    "more", [{"echo": True}, {"logprobs": 1}, {"logprobs": 0}, {"best_of": 2}, {"prompt": ""}, {"max_tokens": 0}]
)
async def test_a_completion_is_what_was_asked_for_or_a_400(ask, name, more):
    """llama_server would leave out most of these."""
    body = {"prompt": "the cat", "max_tokens": 3, "temperature": 0, **more}
    status, words = await ask.raw(COMPLETIONS, body)
    if status != 200:
        assert await ask.refused(COMPLETIONS, body)
        return
    (choice,) = json.loads(words)["choices"]
    assert name in {"llama_cpp", "vllm"}
    assert "echo" not in more or choice["text"].startswith("the cat")
    assert "logprobs" not in more or len(choice["logprobs"]["tokens"]) == 3
    assert more.keys() <= {"echo", "logprobs"}


@pytest.mark.parametrize("more", [{"prompt": ["the cat", "the dog"]}, {"n": 2}, {"best_of": 2, "n": 2}])
async def test_several_completions(ask, name, more):
    """As many as were asked for, or a 400."""
    body = {"prompt": "the cat", "max_tokens": 5, **more}
    if name in {"llama_cpp", "mlx"}:
        assert re.match("prompt|n |best_of", await ask.refused(COMPLETIONS, body))
        return
    assert len((await ask.given(COMPLETIONS, body))["choices"]) == 2


async def test_several_answers(ask, name):
    """Of a chat."""
    body = {"messages": [USER], "max_tokens": 5, "n": 2}
    if name in {"llama_cpp", "mlx"}:
        assert "n must be 1" in await ask.refused(CHAT, body)
        return
    assert len((await ask.given(CHAT, body))["choices"]) == 2


# Embeddings


def numbers(text: str) -> list[float]:
    """What openai-node makes of base64."""
    data = base64.b64decode(text, validate=True)
    return list(struct.unpack(f"<{len(data) // 4}f", data))


@pytest.mark.parametrize("given", ["the cat", ["the cat", "the dog"]])
async def test_embeddings_are_the_same_numbers_in_either_form(ask, name, given):
    """openai-node asks for base64, and decodes whatever it gets."""
    if name not in EMBED:
        assert "/v1/embeddings" in (await ask.raw(EMBEDDINGS, {"input": given}))[1] or name == "vllm"
        return
    as_floats = await ask.given(EMBEDDINGS, {"input": given, "encoding_format": "float"})
    as_base64 = await ask.given(EMBEDDINGS, {"input": given, "encoding_format": "base64"})
    by_default = await ask.given(
        EMBEDDINGS, {"input": given, "encoding_format": None, "dimensions": None, "user": None}
    )
    assert len(as_floats["data"]) == (1 if isinstance(given, str) else 2)
    for floats, text, default in zip(as_floats["data"], as_base64["data"], by_default["data"], strict=True):
        assert len(floats["embedding"]) == 64
        assert numbers(text["embedding"]) == pytest.approx(floats["embedding"], abs=1e-5)
        assert default["embedding"] == pytest.approx(floats["embedding"], abs=1e-5)
    assert as_base64["usage"] == as_floats["usage"]


@pytest.mark.parametrize("body", [{"input": ""}, {"input": []}, {"input": ["a", ""]}, {}, {"input": {"a": 1}}])
async def test_what_can_not_be_embedded(ask, name, body):
    """A 400."""
    if name in EMBED:
        await ask.refused(EMBEDDINGS, body)


@pytest.mark.parametrize("body", [{"input": "the cat", "dimensions": 16}, {"input": [5, 6, 7]}, {"input": LONG[:8000]}])
async def test_what_llama_cpp_would_embed_otherwise_than_asked(ask, name, body):
    """It would give all dimensions, and those of the beginning of a text."""
    if name == "llama_cpp":
        await ask.refused(EMBEDDINGS, body)
        assert len((await ask.given(EMBEDDINGS, {"input": "a", "dimensions": 64}))["data"][0]["embedding"]) == 64


async def test_dimensions_are_those_of_the_model(ask, name):
    """llama_server would leave out what was asked for."""
    if name == "llama_server":
        assert "dimensions" in await ask.refused(EMBEDDINGS, {"input": "the cat", "dimensions": 16})


# Other APIs


async def test_a_form_of_a_response(ask, name):
    """It has that form."""
    form = {"type": "json_schema", "name": "A", "strict": True, "schema": SCHEMA}
    body = {"input": "Hello", "max_output_tokens": 60, "temperature": 0, "text": {"format": form}}
    if name == "mlx":
        assert "form" in await ask.refused("/v1/responses", body)
        return
    (item, *_) = (await ask.given("/v1/responses", body))["output"]
    assert re.match(r'\s*{\s*("a"|$)', item["content"][0]["text"]), item


# Mistakes


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"messages": []},
        {"messages": "hi"},
        {"messages": [{"content": "no role"}]},
        {"messages": [{**USER, "content": 5}]},
        {"messages": [{**USER, "content": [{"type": "text", "text": "a"}, IMAGE]}]},
        {"messages": [{**USER, "content": [{"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}]}]},
        {"messages": [{**USER, "content": [{"type": "file", "file": {"file_id": "x"}}]}]},
        {"messages": [USER], "tools": [{"type": "custom", "custom": {"name": "x"}}]},
        {"messages": [USER], "tools": [F], "tool_choice": {"type": "function", "function": {"name": "nobody"}}},
        {"messages": [USER], "tools": [{"type": "function", "function": {}}]},
        {"messages": [USER], "response_format": {"type": "grammar"}},
        {"messages": [USER], "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "wat"}}}},
        {"messages": [USER], "temperature": "warm"},
        {"messages": [USER], "temperature": [1]},
        {"messages": [USER], "top_p": "most"},
        {"messages": [USER], "seed": "x"},
        {"messages": [USER], "stop": [1]},
        {"messages": [USER], "max_tokens": "many"},
        {"messages": [USER], "max_completion_tokens": {}},
        {"messages": [USER], "stream": "perhaps"},
        {"messages": [USER], "max_tokens": 0},
        {"messages": [USER], "modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}},
        {"messages": [USER], "tool_choice": "required"},
        {"messages": [USER], "top_logprobs": 2},
        {"messages": [USER], "response_format": "json"},
        {"messages": [USER], "response_format": {"type": "json_schema", "name": "A", "schema": SCHEMA}},
        {"messages": [{**USER, "name": 5}]},
        {"messages": [USER, {**CALLED, "tool_calls": [{**CALL, "function": {"arguments": "{}"}}]}, RESULT]},
        {"messages": [USER], "tools": [{"type": "function", "function": {"name": "f", "parameters": "{}"}}]},
    ],
    ids=lambda body: json.dumps(body)[:60],
)
async def test_a_mistake_is_a_400_in_one_sentence(ask, body):
    """It says nothing of the server's files."""
    await ask.refused(CHAT, {"max_tokens": 5, **body})
