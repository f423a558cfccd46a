"""What must hold of Ollama's API for any request and any stream."""

import contextlib
import json

import ollama as sdk
from hypothesis import given
from hypothesis import strategies as st

from router.core.errors import BadRequestError
from router.translate import ollama
from router.translate.speech import Context

CONTEXT = Context("req-1", "demo", "/api/chat", 1_764_449_400.25, 10.0)
FUNCTIONS = (ollama.chat, ollama.generate, ollama.embed, ollama.embeddings)
BODY = b'{"model":"demo","messages":[{"role":"user","content":"hi"}]}'

NAMES = st.sampled_from([
    "model", "messages", "role", "content", "images", "tool_calls", "function", "name", "arguments", "tool_name", "id",
    "tools", "type", "parameters", "options", "num_predict", "stop", "format", "think", "thinking", "stream", "raw",
    "prompt", "suffix", "system", "template", "keep_alive", "input", "dimensions", "truncate", "chat_template_kwargs",
    "temperature", "response_format",
])  # fmt: skip
texts = st.text(st.characters(codec="utf-8", exclude_characters="<"), min_size=1, max_size=12)
plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
json_values = st.recursive(
    plain | st.just("") | st.just("json"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | texts, inner, max_size=4),
    max_leaves=12,
)
bodies = st.dictionaries(NAMES, json_values, max_size=8)

pieces = st.lists(
    st.tuples(st.just("content"), texts)
    | st.tuples(st.just("reasoning_content"), texts)
    | st.tuples(
        st.just("call"),
        st.dictionaries(texts, st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts, max_size=3),
    ),
    max_size=8,
)


@given(body=bodies)
def test_any_json_is_translated_or_refused(body):
    """No JSON raises anything but BadRequestError."""
    for function in FUNCTIONS:
        with contextlib.suppress(BadRequestError):
            told = json.loads(function(json.dumps(body).encode(), CONTEXT).body)
            assert "keep_alive" not in told


@given(body=st.binary(max_size=40) | st.binary(max_size=20).map(lambda data: b'{"model":"m","messages":' + data))
def test_any_bytes_are_translated_or_refused(body):
    """Bytes that are no JSON are refused, too."""
    for function in FUNCTIONS:
        with contextlib.suppress(BadRequestError):
            function(body, CONTEXT)


def _events(said, data):
    chunks = []
    calls = 0
    for kind, value in said:
        if kind != "call":
            chunks.append({kind: value})
            continue
        written = json.dumps(value, indent=data.draw(st.sampled_from([None, 1])))
        cut = data.draw(st.integers(0, len(written)))
        function = {"name": f"f{calls}", "arguments": written[:cut]}
        chunks.append({"tool_calls": [{"index": calls, "id": f"id{calls}", "function": function}]})
        chunks.append({"tool_calls": [{"index": calls, "function": {"arguments": written[cut:]}}]})
        calls += 1
    events: list[object] = [{"choices": [{"index": 0, "delta": chunk}]} for chunk in chunks]
    events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    events.append({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": len(chunks)}})
    return [b"data: " + json.dumps(event).encode() + b"\n\n" for event in events] + [b"data: [DONE]\n\n"]


@given(said=pieces, data=st.data())
def test_any_stream_cut_anywhere_says_the_same(said, data):
    """The SDK gets every text, call and count of the chat, and each line is whole."""
    events = _events(said, data)
    stream = b": ping\n\n".join(events)
    answer = ollama.chat(BODY, CONTEXT).answer
    told = b""
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        told += answer.feed(stream[:cut], 11.0)
        assert told[-1:] in {b"", b"\n"}
        stream = stream[cut:]
    told += answer.ended(12.0)
    assert answer.done
    lines = [sdk.ChatResponse(**json.loads(line)) for line in told.split(b"\n")[:-1]]
    for kind, field in (("content", "content"), ("reasoning_content", "thinking")):
        got = "".join(getattr(line.message, field) or "" for line in lines)
        assert got == "".join(value for each, value in said if each == kind)
    calls = [call.function for line in lines for call in line.message.tool_calls or ()]
    expected = [value for kind, value in said if kind == "call"]
    assert [(call.name, dict(call.arguments)) for call in calls] == [(f"f{at}", v) for at, v in enumerate(expected)]
    assert [line.done for line in lines] == [False] * (len(lines) - 1) + [True]
    assert (lines[-1].prompt_eval_count, lines[-1].eval_count) == (5, len(events) - 3)
