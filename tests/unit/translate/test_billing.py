"""The line of a system prompt that is another in each request."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.translate.billing import without_billing_line

LINE = "x-anthropic-billing-header: cc_version=2.1.197.e51; cc_entrypoint=cli; cch=a5145;"
BLOCK = {"type": "text", "text": LINE}
CACHED = {"type": "text", "text": "You are", "cache_control": {"type": "ephemeral"}}
TURN = {"role": "user", "content": "Hello"}


def cleaned(system: Any, **fields: Any) -> Any:
    body = json.dumps({"model": "m", "system": system, "messages": [TURN], **fields}).encode()
    found = without_billing_line(body)
    rest = json.loads(found)
    assert {**json.loads(body), "system": rest["system"]} == rest
    return rest["system"]


@pytest.mark.parametrize(
    ("system", "left"),
    [
        (LINE, []),
        (f"{LINE}\nYou are", "You are"),
        (f"You are\n{LINE}\nkind", "You are\nkind"),
        (f"You are\n{LINE}", "You are\n"),
        (f'{LINE} "quoted" \\n \\\\', []),
        ([BLOCK], []),
        ([BLOCK, CACHED], [CACHED]),
        ([CACHED, BLOCK], [CACHED]),
        ([CACHED, BLOCK, CACHED], [CACHED, CACHED]),
        ([BLOCK, BLOCK], []),
        ([{**CACHED, "text": f"{LINE}\nYou are"}], [CACHED]),
        ([1, None, "x", {"type": "image"}, BLOCK], [1, None, "x", {"type": "image"}]),
    ],
)
def test_the_line_is_removed(system, left):
    """A text loses the line; a block with nothing else goes; all else stays."""
    assert cleaned(system) == left


@pytest.mark.parametrize(
    "system",
    [
        "You are kind.",
        f"Never say {LINE}",
        f"a literal \\n{LINE}",
        [CACHED],
        [{"type": "text", "text": f"see {LINE}"}],
        [{"type": "text", "note": LINE}],
        {"text": LINE},
        None,
    ],
)
def test_what_has_no_such_line_stays(system):
    """Only a line that begins so counts, in the system prompt's text; without one, the same object comes back."""
    body = json.dumps({"system": system, "messages": [{"role": "user", "content": LINE}]}).encode()
    assert without_billing_line(body) is body


def test_all_else_stays_byte_for_byte():
    """Spaces, escapes and the order of fields are those of the client."""
    body = b'{ "system" : [{"text":"%b","type":"text"} , {"type":"text", "text":"\\u00fc\\/"} ],"a":1.50}'
    left = b'{ "system" : [  {"type":"text", "text":"\\u00fc\\/"} ],"a":1.50}'
    assert without_billing_line(body % LINE.encode()) == left


def test_the_same_bytes_in_a_message_stay():
    """What a message has of the same is the user's."""
    message = {"role": "user", "content": [{"type": "tool_use", "input": {"system": [BLOCK]}}, {"x": [BLOCK]}]}
    body = json.dumps({"messages": [message], "system": [BLOCK]}).encode()
    found = json.loads(without_billing_line(body))
    assert found == {"messages": [message], "system": []}


@pytest.mark.parametrize(
    "body", [b"x-anthropic-billing-header:", b'{"system": "x-anthropic-billing-header:', b"[]", b""]
)
def test_what_is_no_json_stays(body):
    """The engine, or the translation, says what is wrong with it."""
    assert without_billing_line(body) is body


PIECES = st.sampled_from((LINE, "\n", "\\n", '"', "\\", "ü", "x-anthropic-billing-header:", "text", " "))
TEXTS = st.lists(PIECES, max_size=6).map("".join)


def by_lines(text: str) -> str:
    """Do the same to a text, plainly."""
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if line.startswith("x-anthropic-billing-header:"):
            return "\n".join([*lines[:number], *(lines[number + 1 :] or [""][: number > 0])])
    return text


@settings(max_examples=100, deadline=None)
@given(TEXTS, TEXTS, st.booleans())
def test_any_text(first: str, second: str, ascii_only: bool) -> None:
    """For any texts, the bytes that are left say what is left of the texts."""
    system = [{"type": "text", "text": first}, {"type": "text", "text": second}]
    body = json.dumps({"system": system, "x": system}, ensure_ascii=ascii_only).encode()
    kept = [{"type": "text", "text": left} for text in (first, second) if (left := by_lines(text)) == text or left]
    assert json.loads(without_billing_line(body)) == {"system": kept, "x": system}
