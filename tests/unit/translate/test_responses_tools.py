from typing import Any

import pytest

from router.core.errors import BadRequestError
from tests.fakes.responses import ask, chat

EMPTY = {"type": "object", "properties": {}}
F = {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}
G = {"type": "function", "name": "g"}
SPACE = {"type": "namespace", "name": "n", "description": "d", "tools": [F, {"type": "custom", "name": "c"}]}


def names(sent):
    return [tool["function"]["name"] for tool in sent["tools"]]


def test_functions_get_an_object_of_their_own():
    """With parameters even where the client gave none: some engines fail without."""
    assert chat(tools=[F, G, {**G, "name": "h", "parameters": None, "strict": None}])["tools"] == [
        {
            "type": "function",
            "function": {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True},
        },
        {"type": "function", "function": {"name": "g", "parameters": EMPTY}},
        {"type": "function", "function": {"name": "h", "parameters": EMPTY}},
    ]


def test_a_function_in_the_form_of_chats_is_taken():
    """Some clients mix the two APIs up."""
    assert chat(tools=[{"type": "function", "function": {"name": "f"}}])["tools"] == [
        {"type": "function", "function": {"name": "f", "parameters": EMPTY}}
    ]


@pytest.mark.parametrize(
    "kind", ["web_search", "mcp", "image_generation", "file_search", "computer", "local_shell", "new", None]
)
def test_tools_that_the_engine_lacks_are_left_out(kind):
    """And with them what speaks of tools, if there are no others."""
    sent = chat(tools=[{"type": kind, "name": "x"}] if kind else None, tool_choice="auto", parallel_tool_calls=True)
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & sent.keys()


def test_a_custom_tool_is_a_function_with_one_text():
    """Chats can't hold its input to a grammar, so the model is told of it."""
    text = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: X"}
    tools: list[dict[str, Any]] = [{"type": "custom", "name": name} for name in "abc"]
    tools[1] |= {"description": "Runs it.", "format": {"type": "text"}}
    tools[2] |= {"description": "Patches.", "format": grammar}
    found = [tool["function"] for tool in chat(tools=[*tools, {"type": "custom", "name": "d", "format": 5}])["tools"]]
    assert all(each["parameters"] == {**text, "additionalProperties": False} for each in found)
    hint = "Its whole input is the text in `input`."
    assert [each["description"] for each in found] == [
        hint,
        f"Runs it.\n\n{hint}",
        f"Patches.\n\n{hint}\n\nIt must follow this grammar:\nstart: X",
        hint,
    ]
    choice = {"type": "custom", "name": "a"}
    assert chat(tools=tools, tool_choice=choice)["tool_choice"] == {"type": "function", "function": {"name": "a"}}
    allowed = {"type": "allowed_tools", "mode": "auto", "tools": [choice]}
    assert names(chat(tools=tools, tool_choice=allowed)) == ["a"]


def test_namespaces_are_flattened():
    """Their functions have both names; a namespace inside another is no tool."""
    assert names(chat(tools=[{**SPACE, "tools": [*SPACE["tools"], SPACE]}, G])) == ["n__f", "n__c", "g"]
    assert "tools" not in chat(tools=[{"type": "namespace", "name": "n"}])


@pytest.mark.parametrize("word", ["auto", "required", "none"])
def test_a_word_as_tool_choice_passes(word):
    """It means the same in both APIs."""
    assert chat(tools=[F], tool_choice=word)["tool_choice"] == word


def test_a_function_that_must_be_called_is_named():
    """With its namespace, if it has one."""
    chosen = {"type": "function", "function": {"name": "f"}}
    assert chat(tools=[F], tool_choice={"type": "function", "name": "f"})["tool_choice"] == chosen
    choice = {"type": "function", "name": "f", "namespace": "n"}
    assert chat(tools=[SPACE], tool_choice=choice)["tool_choice"]["function"] == {"name": "n__f"}


def test_allowed_tools_are_all_that_the_engine_gets():
    """Chats have no such choice."""
    choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]}
    sent = chat(tools=[F, G, SPACE], tool_choice=choice)
    assert (names(sent), sent["tool_choice"]) == (["g"], "required")


@pytest.mark.parametrize(
    "choice",
    [
        "required",
        {"type": "function", "name": "g"},
        {"type": "web_search"},
        {"type": "custom", "name": "c"},
        {"type": "allowed_tools", "mode": "required", "tools": []},
        {},
    ],
)
def test_a_choice_that_cannot_be_met_is_refused(choice):
    """The model would answer without the tool that the client waits for."""
    with pytest.raises(BadRequestError) as raised:
        ask(tools=[{"type": "web_search"}], tool_choice=choice)
    assert raised.value.param == "tool_choice"


def test_parallel_calls_pass_with_tools():
    """Null means nothing."""
    assert chat(tools=[F], parallel_tool_calls=False)["parallel_tool_calls"] is False
    assert "parallel_tool_calls" not in chat(tools=[F], parallel_tool_calls=None)
