"""llama_server's own answers in Anthropic's and OpenAI's newer API, and those translated from its chats: one form.

What only one of the two has is listed here, each with its reason. And what a grammar forces is the same in all APIs.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from router.core.apis import COUNT, MESSAGES, RESPONSES
from tests.engines.fronts import MODEL, Front, Fronts, inside
from tests.engines.test_apis_calls import SCHEMA, fits
from tests.engines.test_contract import config

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

HELLO = {"role": "user", "content": "Hello"}
TURNS = [HELLO, {"role": "assistant", "content": "the cat"}, {"role": "user", "content": "Go on"}]
BLOCKS = [{"role": "user", "content": [{"type": "text", "text": "the cat"}, {"type": "text", "text": "a dog"}]}]
PARTS = [{"role": "user", "content": [{"type": "input_text", "text": "the cat"}]}]

ONLY_NATIVE = {
    "timings": "llama.cpp's own figures, which no client asks for",
    "response.timings": "the same, of a stream",
}
"""Fields that llama_server has, and the translator doesn't."""

ONLY_TRANSLATED = {
    "usage.cache_creation_input_tokens": "Anthropic always tells it",
    "message.usage.cache_creation_input_tokens": "the same, at a stream's beginning",
    "usage.input_tokens": "engines tell the prompt's tokens at the end of a stream of chats, so message_delta has them",
    "usage.cache_read_input_tokens": "the same",
}
"""Fields that the translator has, and llama_server doesn't."""

OF_ANY_TYPE = {
    "stop_sequence": "chats don't tell which of the stop texts ended an answer",
    "delta.stop_sequence": "the same, of a stream",
}
"""Fields whose values may be of different types."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fronts(tmp_path_factory: pytest.TempPathFactory, model: Path) -> AsyncIterator[Fronts]:
    """Start llama_server, and the routers before it."""
    async with Fronts(tmp_path_factory.mktemp("alike"), config("llama_server", model), "llama_server") as started:
        yield started


@pytest.fixture(params=["native", "translated"])
def front(request: pytest.FixtureRequest, fronts: Fronts) -> Front:
    """Give each of the two."""
    front: Front = getattr(fronts, request.param)
    return front


def fields(value: Any, place: str = "") -> dict[str, str]:
    """List the places of a JSON value, with the type of what is there."""
    if isinstance(value, dict):
        inner = [fields(each, f"{place}.{name}".lstrip(".")) for name, each in value.items()]
    elif isinstance(value, list):
        inner = [fields(each, f"{place}[{number}]") for number, each in enumerate(value)]
    else:
        return {place: "number" if type(value) in {int, float} else type(value).__name__}
    return {place: type(value).__name__} | {name: kind for each in inner for name, kind in each.items()}


def check_alike(native: Any, translated: Any) -> None:
    """Compare the places and types, but for what is listed above."""
    theirs, ours = fields(native), fields(translated)
    lacking = [place for place in theirs.keys() - ours.keys() if not place.startswith(tuple(ONLY_NATIVE))]
    assert not lacking, f"only native: {sorted(lacking)}"
    added = [place for place in ours.keys() - theirs.keys() if not place.endswith(tuple(ONLY_TRANSLATED))]
    assert not added, f"only translated: {sorted(added)}"
    differ = {place: (theirs[place], ours[place]) for place in theirs.keys() & ours.keys()}
    assert not {place: kinds for place, kinds in differ.items() if kinds[0] != kinds[1] and place not in OF_ANY_TYPE}


FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "messages": (MESSAGES, {"messages": [HELLO]}),
    "messages with a system": (MESSAGES, {"messages": [HELLO], "system": "Be brief."}),
    "messages with system blocks": (MESSAGES, {"messages": [HELLO], "system": [{"type": "text", "text": "Be brief."}]}),
    "messages of turns": (MESSAGES, {"messages": TURNS}),
    "messages of blocks": (MESSAGES, {"messages": BLOCKS}),
    "responses": (RESPONSES, {"input": "Hello"}),
    "responses with instructions": (RESPONSES, {"input": "Hello", "instructions": "Be brief."}),
    "responses of turns": (RESPONSES, {"input": TURNS}),
    "responses of parts": (RESPONSES, {"input": PARTS, "store": False}),
}
LIMIT = {MESSAGES: "max_tokens", RESPONSES: "max_output_tokens"}


def tokens(path: str, answer: dict[str, Any]) -> tuple[int, int]:
    """Give an answer's tokens: the prompt's, cached or not, and its own."""
    usage = answer["usage"]
    cached = usage.get("cache_read_input_tokens", 0) if path == MESSAGES else 0
    return usage["input_tokens"] + cached, usage["output_tokens"]


def text_of(path: str, answer: dict[str, Any]) -> str:
    (item,) = answer["content"] if path == MESSAGES else answer["output"][0]["content"]
    return str(item["text"])


@pytest.mark.parametrize("form", FORMS)
async def test_in_one_piece(fronts, form):
    """The same fields, text, reason and usage."""
    path, body = FORMS[form]
    body = {**body, LIMIT[path]: 9, "temperature": 0}
    native, translated = await fronts.native.given(path, body), await fronts.translated.given(path, body)
    check_alike(native, translated)
    assert text_of(path, translated) == text_of(path, native)
    assert tokens(path, translated) == tokens(path, native)
    for name in ("stop_reason", "stop_sequence", "status", "incomplete_details", "role", "type", "object"):
        assert translated.get(name) == native.get(name), name


@pytest.mark.parametrize("form", FORMS)
async def test_streamed(fronts, form):
    """The same events in the same order, with the same fields, texts, reasons and usage."""
    path, body = FORMS[form]
    body = {**body, LIMIT[path]: 9, "temperature": 0}
    native, translated = await fronts.native.events(path, body), await fronts.translated.events(path, body)
    assert [event["type"] for event in translated] == [event["type"] for event in native]
    for theirs, ours in zip(native, translated, strict=True):
        check_alike(theirs, ours)
    deltas = [
        [event["delta"] for event in events if event["type"].endswith("delta")] for events in (native, translated)
    ]
    assert deltas[0] == deltas[1]
    if path == RESPONSES:
        ends = [events[-1]["response"] for events in (native, translated)]
        assert text_of(path, ends[0]) == text_of(path, ends[1])
        assert tokens(path, ends[0]) == tokens(path, ends[1])
        assert ends[0]["incomplete_details"] == ends[1]["incomplete_details"]
    else:
        counts = [sum_of(events) for events in (native, translated)]
        assert counts[0] == counts[1]


def sum_of(events: list[dict[str, Any]]) -> tuple[int, int]:
    """Give the tokens of a stream of messages, as the SDK adds up what its beginning and its end say."""
    usage = events[0]["message"]["usage"] | events[-2]["usage"]
    return tokens(MESSAGES, {"usage": usage})


@pytest.mark.parametrize("stream", [True, False])
async def test_a_stop_sequence(fronts, stream):
    """Ends both at the same place, with the same words about it."""
    ask = {"messages": TURNS, "max_tokens": 60, "temperature": 0}
    stop = inside(text_of(MESSAGES, await fronts.native.given(MESSAGES, ask)))
    ask["stop_sequences"] = [stop]
    if not stream:
        native, translated = await fronts.native.given(MESSAGES, ask), await fronts.translated.given(MESSAGES, ask)
        check_alike(native, translated)
        assert text_of(MESSAGES, translated) == text_of(MESSAGES, native)
        assert (native["stop_reason"], native["stop_sequence"]) == ("stop_sequence", stop)
        assert translated["stop_reason"] == "end_turn"
        return
    native, translated = await fronts.native.events(MESSAGES, ask), await fronts.translated.events(MESSAGES, ask)
    assert [event["type"] for event in translated] == [event["type"] for event in native]
    check_alike(native[-2], translated[-2])
    assert native[-2]["delta"] == {"stop_reason": "stop_sequence", "stop_sequence": stop}
    assert translated[-2]["delta"]["stop_reason"] == "end_turn"


@pytest.mark.parametrize("messages", [[HELLO], TURNS, BLOCKS], ids=["one", "turns", "blocks"])
async def test_a_count(fronts, messages):
    """Is exact where the engine counts, and in the same form where it is an estimate."""
    native, estimated = [
        await front.given(COUNT, {"messages": messages}) for front in (fronts.native, fronts.translated)
    ]
    check_alike(native, estimated)
    answer = await fronts.native.given(MESSAGES, {"messages": messages, "max_tokens": 1})
    assert native["input_tokens"] == tokens(MESSAGES, answer)[0]


# What a grammar forces


async def test_a_schema_by_anthropics_sdk(front):
    """The answer's text is JSON that fits. The engine's own API has no such field, so it becomes a chat."""
    async with front.anthropic() as client:
        form: Any = {"format": {"type": "json_schema", "schema": SCHEMA}}
        answer = await client.messages.create(model=MODEL, max_tokens=200, messages=[HELLO], output_config=form)
    assert answer.stop_reason == "end_turn"
    fits(answer.content[0].text)


async def test_a_schema_by_openais_sdk(front):
    """By /v1/responses."""
    form: Any = {"format": {"type": "json_schema", "name": "a", "strict": True, "schema": SCHEMA}}
    async with front.openai() as client:
        answer = await client.responses.create(model=MODEL, max_output_tokens=200, input="Hello", text=form)
    assert answer.status == "completed"
    fits(answer.output_text)


async def test_a_schema_by_ollamas_sdk(front):
    """By /api/chat and /api/generate, whole and streamed."""
    async with front.ollama() as client:
        options = {"num_predict": 200}
        chat = await client.chat(MODEL, [HELLO], format=SCHEMA, options=options)
        parts = [part async for part in await client.chat(MODEL, [HELLO], format=SCHEMA, options=options, stream=True)]
        generated = await client.generate(MODEL, "Hello", format=SCHEMA, options=options)
        raw = await client.generate(MODEL, "Hello", format=SCHEMA, options=options, raw=True)
    fits(chat.message.content)
    fits("".join(part.message.content for part in parts))
    fits(generated.response)
    fits(raw.response)
    assert {chat.done_reason, generated.done_reason, raw.done_reason} == {"stop"}
