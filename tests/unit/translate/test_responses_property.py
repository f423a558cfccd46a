import contextlib
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from router.core.errors import BadRequestError
from router.translate.mending import mender
from router.translate.responses import responses
from tests.fakes.responses import CONTEXT, DONE, NOW, TYPES, accumulated, ask, call, chunk, events, response

TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
FIELDS = (
    "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "reasoning", "text", "max_output_tokens",
    "stream", "store", "metadata", "temperature",
)  # fmt: skip
KINDS = (
    "message", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output", "reasoning",
    "item_reference", "local_shell_call", "additional_tools", "input_text", "input_image", "input_file", "function",
    "namespace", "refusal", "json_schema", "allowed_tools",
)  # fmt: skip
KEYS = st.sampled_from((
    "role", "content", "summary", "call_id", "name", "namespace", "arguments", "output", "tools", "text", "image_url",
    "file_data", "parameters", "schema", "format", "mode", "function", "action",
))  # fmt: skip
ROLES = st.sampled_from(("user", "assistant", "developer"))


def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(
        lambda kind, role, rest: {**rest, "type": kind} | ({} if role is None else {"role": role}),
        st.sampled_from(KINDS),
        st.none() | ROLES,
        st.dictionaries(KEYS, VALUES | inner | st.lists(inner, max_size=2), max_size=4),
    )


LIKELY = objects(objects(st.just({})))
BODIES = st.dictionaries(st.sampled_from(FIELDS), VALUES | LIKELY | st.lists(LIKELY, max_size=3), max_size=5)


@settings(max_examples=150)
@given(BODIES | VALUES)
def test_any_json_is_translated_or_refused(value):
    """No other error is raised, and what is sent on is JSON."""
    body = json.dumps(value).encode()
    with contextlib.suppress(BadRequestError):
        mender(body, CONTEXT)
    with contextlib.suppress(BadRequestError):
        json.loads(responses(body, CONTEXT).body)


@settings(max_examples=50)
@given(st.binary(max_size=40))
def test_any_bytes_are_translated_or_refused(body):
    """No other error is raised."""
    for translate in (responses, mender):
        with contextlib.suppress(BadRequestError):
            translate(body, CONTEXT)


PIECES = st.one_of(
    st.tuples(st.just("reasoning_content"), TEXTS),
    st.tuples(st.just("content"), TEXTS),
    st.tuples(st.just("tool_calls"), st.tuples(st.integers(0, 2), TEXTS)),
)
FINISHES = st.sampled_from(("stop", "length", "tool_calls", "content_filter"))


@settings(max_examples=100)
@given(st.lists(PIECES, max_size=12), FINISHES, st.integers(0, 10**6), st.booleans(), st.data())
def test_any_chat_says_the_same_translated(pieces, finish, tokens, summarizes, data):
    """The same text, calls and usage, however its bytes are cut."""
    chunks, said = [], {"reasoning_content": "", "content": ""}
    calls: dict[int, list[str]] = {}
    for kind, value in pieces:
        if kind == "tool_calls":
            index, arguments = value
            new = index not in calls
            calls.setdefault(index, [])
            calls[index].append(arguments)
            chunks.append(chunk(tool_calls=call(index, f"c{index}" if new else None, "f" if new else None, arguments)))
        else:
            # An answer that begins with the tag is another test's.
            text = value.replace("<", "")
            said[kind] += text
            chunks.append(chunk(**{kind: text}))
    usage = {"prompt_tokens": tokens, "completion_tokens": 2}
    stream = b"".join([*chunks, chunk(finish), chunk(usage=usage), DONE])
    translation = ask(stream=True, reasoning={"summary": "auto"} if summarizes else None)
    got, at = b"", 0
    for cut in sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6))):
        got += translation.answer.feed(stream[at:cut], NOW)
        at = cut
    got += translation.answer.feed(stream[at:], NOW) + translation.answer.ended(NOW)
    found = events(got)
    last = response(found[-1])
    outputs: list[list[Any]] = [last["output"], [item.to_dict() for item in accumulated(found).output]]
    for output in outputs:
        texts = [item["content"][0]["text"] for item in output if item["type"] == "message"]
        assert "".join(texts) == said["content"]
        made = [item for item in output if item["type"] == "function_call"]
        assert {item["call_id"]: item["arguments"] for item in made} == {
            f"c{index}": "".join(arguments) for index, arguments in calls.items()
        }
    name = "summary" if summarizes else "content"
    thoughts = [item[name][0]["text"] for item in last["output"] if item["type"] == "reasoning"]
    assert "".join(thoughts) == said["reasoning_content"]
    assert (last["usage"]["input_tokens"], last["usage"]["output_tokens"]) == (tokens, 2)
    assert last["status"] == ("incomplete" if finish in {"length", "content_filter"} else "completed")
    assert {event["type"] for event in found} <= TYPES.keys()
