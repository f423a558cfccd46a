"""Whatever an engine streams, Anthropic's SDK reads the same from the translation; and nothing breaks a translator."""

import contextlib
import json
from typing import Any

import anthropic
import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from router.core.errors import BadGatewayError, BadRequestError, EngineError
from router.translate.billing import without_billing_line
from router.translate.chat import ChatTranslator
from router.translate.counting import estimate
from router.translate.messages import count_tokens, messages
from router.translate.messages_answer import CountTranslator, MessagesWriter
from router.translate.speech import Context
from tests.fakes.chat_streams import JSON, Said, cut, said

CONTEXT = Context("req-1", "demo", "/v1/messages", 0.0, 0.0)
REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "end_turn"}


def translator(*, streams: bool) -> ChatTranslator:
    return ChatTranslator(MessagesWriter(CONTEXT, streams=streams))


def client_of(answer: bytes, content_type: bytes) -> anthropic.Anthropic:
    """Give the SDK's client of a server that answers so."""

    def respond(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": content_type.decode()}, content=answer)

    return anthropic.Anthropic(
        api_key="x", max_retries=0, http_client=httpx.Client(transport=httpx.MockTransport(respond))
    )


ASKED: dict[str, Any] = {"model": "demo", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}


def check(message: anthropic.types.Message, expected: Said) -> None:
    """Compare what the SDK reads with what the engine said."""
    assert "".join(block.thinking for block in message.content if block.type == "thinking") == expected.thinking
    assert "".join(block.text for block in message.content if block.type == "text") == expected.text
    calls = [(block.id, block.name, block.input) for block in message.content if block.type == "tool_use"]
    assert calls == expected.calls
    reason = "tool_use" if expected.calls and expected.finish != "length" else REASONS[expected.finish]
    assert message.stop_reason == reason
    usage = message.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens) == (expected.prompt - expected.cached, expected.cached)
    assert usage.output_tokens == expected.completion


@settings(max_examples=60, deadline=None)
@given(st.data(), said(), st.sampled_from((b"\n", b"\r\n", b"\r")), st.booleans())
def test_a_stream_says_the_same(data: st.DataObject, expected: Said, line_end: bytes, done: bool) -> None:
    """Cut at any byte, a stream gives the SDK the same thinking, text, calls and usage."""
    answer = translator(streams=True)
    pieces = data.draw(cut(expected.stream(line_end=line_end, done=done)))
    told = b"".join(answer.feed(piece, 0.0) for piece in pieces) + answer.ended(0.0)
    assert answer.done
    with client_of(told, answer.content_type).messages.stream(**ASKED) as stream:
        check(stream.get_final_message(), expected)


@settings(max_examples=40, deadline=None)
@given(said())
def test_an_answer_in_one_piece_says_the_same(expected: Said) -> None:
    """An answer in one piece gives the SDK the same; so does a stream of it."""
    calls = [
        {"id": id_, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        for id_, name, arguments in expected.calls
    ]
    message = {"content": expected.text or None, "reasoning_content": expected.thinking, "tool_calls": calls or None}
    body = json.dumps({
        "choices": [{"index": 0, "message": message, "finish_reason": expected.finish}],
        "usage": expected.chunks[-1]["usage"],
    }).encode()  # fmt: skip
    answer = translator(streams=False)
    told = answer.whole(body, 0.0)
    check(client_of(told, answer.content_type).messages.create(**ASKED), expected)
    answer = translator(streams=True)
    with client_of(answer.whole(body, 0.0), answer.content_type).messages.stream(**ASKED) as stream:
        check(stream.get_final_message(), expected)


TYPES = ("text", "image", "tool_use", "tool_result", "thinking", "document", "search_result", "x")
BLOCKS: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {"type": st.sampled_from(TYPES)},
    optional={
        name: JSON | st.just("text") | st.just({}) | st.just([{"type": "text", "text": "x"}])
        for name in ("text", "source", "id", "name", "input", "tool_use_id", "content", "is_error", "thinking", "title")
    },
)
CONTENT = st.one_of(st.text(max_size=5), st.lists(BLOCKS, max_size=3), JSON)
ROLES = st.sampled_from(("user", "assistant", "system", "x"))
MESSAGES = st.lists(st.fixed_dictionaries({"role": ROLES, "content": CONTENT}), max_size=3)
OBJECTS = ("tool_choice", "thinking", "output_config", "output_format", "stop_sequences", "stream", "stop")
REQUESTS = st.fixed_dictionaries(
    {"messages": MESSAGES | JSON},
    optional={
        "system": CONTENT,
        "tools": JSON | st.lists(st.fixed_dictionaries({"name": JSON, "input_schema": JSON}), max_size=2),
        **{
            name: JSON | st.just({"type": "tool"}) | st.just({"type": "enabled"}) | st.just({"type": "json_schema"})
            for name in OBJECTS
        },
    },
)


@settings(max_examples=150, deadline=None)
@given(REQUESTS | JSON)
@example({"messages": [{"role": "user", "content": "x"}], "temperature": {"a": [1e300, -0.0, 2**70]}})
def test_no_request_breaks_it(body: Any) -> None:
    """Any JSON is a chat or a 400; the estimate and the billing line take any, too."""
    said_ = json.dumps(body).encode()
    without_billing_line(said_.replace(b"x", b"x-anthropic-billing-header: y", 1))
    assert json.loads(estimate(said_))["input_tokens"] >= 1
    for function in (messages, count_tokens):
        with contextlib.suppress(BadRequestError):
            assert json.loads(function(said_, CONTEXT).body)["messages"]


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=40))
def test_no_bytes_break_it(body: bytes) -> None:
    """What is no JSON is a 400."""
    assert without_billing_line(body) is body
    for function in (messages, count_tokens):
        with pytest.raises(BadRequestError):
            function(body, CONTEXT)


CHUNKS = JSON | st.fixed_dictionaries(
    {},
    optional={
        "choices": JSON
        | st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "index": JSON | st.just(0),
                    "delta": JSON | st.fixed_dictionaries({}, optional={
                        "content": JSON | st.text(),
                        "reasoning_content": JSON | st.text(),
                        "tool_calls": JSON | st.lists(st.fixed_dictionaries({}, optional={
                            "index": JSON | st.integers(-1, 2),
                            "id": JSON | st.just("c"),
                            "function": JSON | st.fixed_dictionaries({"name": JSON | st.just("f"), "arguments": JSON}),
                        }), max_size=3),
                    }),
                    "finish_reason": JSON | st.just("stop"),
                    "stop_reason": JSON,
                },
            ),
            max_size=2,
        ),
        "usage": JSON | st.fixed_dictionaries({}, optional={"prompt_tokens": JSON, "prompt_tokens_details": JSON}),
        "timings": JSON | st.fixed_dictionaries({"prompt_ms": JSON}),
        "error": JSON,
    },
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(CHUNKS, min_size=1, max_size=4))
def test_no_answer_breaks_it(chunks: list[Any]) -> None:
    """Any JSON is an answer or the engine's fault, as an event, in one piece, as an error and as a count."""
    stream = b"".join(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in chunks)
    answer = translator(streams=True)
    with contextlib.suppress(BadGatewayError, EngineError):
        answer.feed(stream, 0.0)
        answer.ended(0.0)
    for chunk in chunks:
        body = json.dumps(chunk).encode()
        for streams in (True, False):
            with contextlib.suppress(BadGatewayError, EngineError):
                translator(streams=streams).whole(body, 0.0)
        json.loads(translator(streams=False).error(500, body))
        with contextlib.suppress(BadGatewayError, EngineError):
            CountTranslator(CONTEXT).whole(body, 0.0)
