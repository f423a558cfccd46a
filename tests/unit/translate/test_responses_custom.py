"""Calls of custom tools: the input is read out of the arguments of a function's call, however they come."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.translate.responses_custom import InputReader
from tests.fakes.responses import DONE, NOW, USAGE, accumulated, ask, call, chunk, response, told

PATCH = {"type": "custom", "name": "patch"}
SPACE = {"type": "namespace", "name": "n", "description": "d", "tools": [PATCH]}


def read(*pieces: str) -> list[str]:
    """Give what is told of each piece, and at the end."""
    reader = InputReader()
    return [*(reader.feed(piece) for piece in pieces), reader.end()]


@given(st.text(st.characters(codec="utf-8")), st.booleans(), st.integers(1, 9))
def test_any_text_comes_as_it_was_written(text, ascii_alone, size):
    """Cut anywhere; nothing comes twice."""
    arguments = json.dumps({"input": text}, ensure_ascii=ascii_alone)
    found = read(*(arguments[at : at + size] for at in range(0, len(arguments), size)))
    assert "".join(found) == text


def test_it_comes_with_the_pieces():
    """But for an escape that isn't whole."""
    pieces = ['{"in', 'put": "a', "b\\", "n\\u00e", "9\\ud83e", "\\udd8ac", '"}', "x"]
    assert read(*pieces) == ["", "a", "b", "\n", "é", "🦊c", "", "", ""]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ('{"input": "cut o', "cut o"),  # at the limit of tokens
        ('{"input": "a\nb"}', "a\nb"),  # a line end that isn't escaped
        ('{"input": "\\ud83ex-------"}', "?x-------"),
        ('{"input": "\\ud83e"}', "?"),
        ('{"input": "a\\x"}', "a"),
        ('{"patch": "a"}', "a"),
        ('{"why": "x", "input": "a"}', "a"),
        ('{"why": "x", "patch": "a"}', '{"why": "x", "patch": "a"}'),
        ('"a"', "a"),
        ("*** Begin Patch", "*** Begin Patch"),
        ("x" * 200, "x" * 200),
        ("[" * 100_000, "[" * 100_000),
        ('{"input": 5}', '{"input": 5}'),
        ('{"patch": "\\ud83e"}', "?"),
        ("", ""),
    ],
)
def test_arguments_of_another_form(arguments, text):
    """A client gets what the model wrote, as nearly as it can be told."""
    assert "".join(read(arguments)) == text
    assert "".join(read(*arguments)) == text


@pytest.mark.parametrize("space", [None, "n"])
def test_a_stream(space):
    """All its events, and what the SDK makes of them."""
    name = f"{space}__patch" if space else "patch"
    translation = ask(tools=[SPACE if space else PATCH, {"type": "function", "name": "f"}], stream=True)
    found = told(
        translation,
        chunk(tool_calls=call(0, "c1", name, '{"input":"*** ')),
        chunk(tool_calls=call(0, arguments='Begin\\n"}')),
        chunk(tool_calls=call(1, "c2", "f", "{}")),
        chunk("tool_calls", USAGE),
        DONE,
    )
    named = {"namespace": space} if space else {}
    item = {"type": "custom_tool_call", "call_id": "c1", "name": "patch", **named, "id": found[2]["item"]["id"]}
    assert found[2]["item"] == {**item, "status": "in_progress", "input": ""}
    assert [(each["type"], each.get("delta", each.get("input"))) for each in found[3:6]] == [
        ("response.custom_tool_call_input.delta", "*** "),
        ("response.custom_tool_call_input.delta", "Begin\n"),
        ("response.custom_tool_call_input.done", "*** Begin\n"),
    ]
    assert {each["item_id"] for each in found[3:6]} == {item["id"]}
    done = {**item, "status": "completed", "input": "*** Begin\n"}
    assert found[6]["item"] == done
    assert [each["type"] for each in response(found[-1])["output"]] == ["custom_tool_call", "function_call"]
    assert response(found[-1])["output"][0] == done
    assert accumulated(found).output[0].to_dict()["call_id"] == "c1"


def test_an_input_without_json_comes_at_the_end():
    """In one piece."""
    calls = chunk(tool_calls=call(0, "c1", "patch", "*** Begin"))
    found = told(ask(tools=[PATCH], stream=True), calls, chunk("tool_calls"), DONE)
    assert [each["delta"] for each in found if each["type"].endswith("input.delta")] == ["*** Begin"]
    assert response(found[-1])["output"][0]["input"] == "*** Begin"


def test_an_answer_in_one_piece():
    """The same item."""
    function = {"name": "patch", "arguments": '{"input": "a"}'}
    message = {"content": None, "tool_calls": [{"id": "c1", "type": "function", "function": function}]}
    said = json.dumps({"choices": [{"message": message, "finish_reason": "tool_calls"}]}).encode()
    (item,) = json.loads(ask(tools=[PATCH]).answer.whole(said, NOW))["output"]
    assert (item["type"], item["input"], item["name"]) == ("custom_tool_call", "a", "patch")


def test_it_comes_back_in_the_history():
    """As the function that it was, with its result."""
    said = [
        {"type": "custom_tool_call", "call_id": "c1", "name": "patch", "input": "a"},
        {"type": "custom_tool_call_output", "call_id": "c1", "output": "done"},
    ]
    asking, answered = json.loads(ask(tools=[PATCH], input=said).body)["messages"]
    assert asking["tool_calls"][0]["function"] == {"name": "patch", "arguments": '{"input":"a"}'}
    assert answered == {"role": "tool", "content": "done", "tool_call_id": "c1"}
