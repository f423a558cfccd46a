"""What every chat is put right by; what is one engine's own stands in its tests."""

import json

import pytest

from launchers.engines import bodies, chats, usual
from launchers.engines.tools import put_tools_right
from launchers.errors import UnfitRequestError

HELLO = {"role": "user", "content": "Hello"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"q": 1}'}}
F = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
G = {"type": "function", "function": {"name": "g", "parameters": {"type": "object"}}}
NONE = {"type": "object", "properties": {}}
ANY = chats.Takes("it")


def fields(**body):
    found, _ = bodies.fields(json.dumps(body).encode())
    return found


def right(*messages, takes=ANY):
    found = fields(messages=messages)
    chats.put_messages_right(found, takes)
    return bodies.value(found["messages"])


def with_tools(tools, choice=None):
    found = fields(tools=tools, tool_choice=choice)
    put_tools_right(found, "it")
    return {name: bodies.value(value) for name, value in found.items()}


# Most chats


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"stream": True, "temperature": 0, "max_tokens": 5, "seed": 1, "stop": ["a"], "user": "u", "top_p": 0.9},
        {"stream": True, "stream_options": {"include_usage": True}, "tools": [F], "tool_choice": "auto"},
    ],
)
def test_a_usual_chat_is_known_by_one_look(more):
    body = json.dumps({"model": "m", "messages": [{"role": "system", "content": "s"}, HELLO], **more}).encode()
    assert usual.usual(body, native=False)
    assert usual.usual(body, native=True)


@pytest.mark.parametrize(
    "message",
    [
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        {"role": "user", "name": "bob", "content": [{"type": "text", "text": "a", "cache_control": {}}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None},
    ],
)
def test_some_engines_take_more(message):
    body = json.dumps({"model": "m", "messages": [message], "max_completion_tokens": 5}).encode()
    assert usual.usual(body, native=True)
    assert usual.usual(body, native=False) is None


@pytest.mark.parametrize(
    "more",
    [
        {"messages": []},
        {"messages": [{"role": "developer", "content": "a"}]},
        {"messages": [{"role": "user", "content": None}]},
        {"messages": [{**HELLO, "refusal": None}]},
        {"messages": [{"role": "tool", "tool_call_id": "c1", "content": None}]},
        {"messages": [{"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}]},
        {"messages": [{"role": "assistant", "content": "", "tool_calls": [{**CALL, "function": {"name": "f"}}]}]},
        {"max_completion_tokens": 0},
        {"max_tokens": 0},
        {"max_tokens": -1},
        {"stop": ""},
        {"stop": ["a", ""]},
        {"stop": ["a", "b", "c", "d", "e"]},
        {"n": 2},
        {"seed": -1},
        {"response_format": {"type": "text"}},
        {"stream_options": {"include_usage": True}},
        {"stream": True, "stream_options": {}},
        {"tool_choice": "auto"},
        {"tools": []},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"tools": [F], "tool_choice": "required"},
    ],
)
@pytest.mark.parametrize("native", [False, True])
def test_all_others_are_looked_at_closely(more, native):
    body = json.dumps({"model": "m", "messages": [HELLO], **more}).encode()
    assert usual.usual(body, native=native) is None


# Messages


def test_messages_that_need_nothing_are_not_touched():
    found = fields(messages=[HELLO, {"role": "assistant", "content": "", "tool_calls": [CALL]}])
    was = found["messages"]
    chats.put_messages_right(found, ANY)
    assert found["messages"] is was


def test_nulls_in_messages_are_left_out_and_a_content_is_empty():
    dumped = {"role": "assistant", "content": None, "refusal": None, "audio": None, "tool_calls": [CALL]}
    assert right(HELLO, dumped) == [HELLO, {"role": "assistant", "content": "", "tool_calls": [CALL]}]
    assert right({"role": "tool", "tool_call_id": "c1"}) == [{"role": "tool", "tool_call_id": "c1", "content": ""}]


def test_the_developer_is_the_system():
    assert right({"role": "developer", "content": "a"}) == [{"role": "system", "content": "a"}]


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant", "tool"])
@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ([{"type": "text", "text": "a"}], "a"),
        (
            [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "b"}],
            "a\nb",
        ),
        ([{"type": "refusal", "refusal": "no"}], "no"),
        ([{"type": "input_text", "text": "a"}, {"type": "output_text", "text": "b"}], "a\nb"),
        ([{"type": "thinking", "thinking": "hm", "signature": ""}, {"type": "text", "text": "a"}], "a"),
        (["a", "b"], "a\nb"),
        ([], ""),
    ],
)
def test_parts_that_are_text_are_one_text(role, parts, text):
    (message,) = right({"role": role, "content": parts})
    assert message["content"] == text


def test_parts_that_are_more_than_text_stay_for_an_engine_that_takes_them():
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "data:"}}]
    assert right({"role": "user", "content": parts}) == [{"role": "user", "content": parts}]
    images = chats.Takes("it", parts=frozenset({"image_url"}))
    assert right({"role": "user", "content": parts}, takes=images) == [{"role": "user", "content": parts}]


@pytest.mark.parametrize(
    ("calls", "sent"),
    [
        ([], None),
        ([{**CALL, "index": 0}], [{**CALL, "index": 0}]),
        ([{"id": "c1", "function": {"name": "f", "arguments": {"q": 1}}}], '{"q":1}'),
        ([{**CALL, "function": {"name": "f", "arguments": ""}}], "{}"),
        ([{**CALL, "function": {"name": "f", "arguments": None}}], "{}"),
        ([{**CALL, "function": {"name": "f"}}], "{}"),
        ([{"function": CALL["function"]}], [{**CALL, "id": "call_0"}]),
    ],
)
def test_a_call_has_its_id_its_type_and_its_arguments_as_a_text(calls, sent):
    (message,) = right({"role": "assistant", "content": "a", "tool_calls": calls})
    if isinstance(sent, str):
        sent = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": sent}}]
    assert message.get("tool_calls") == sent


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        (None, "The request has no messages; messages must be"),
        ([], "messages must be a list of one message or more"),
        ("hi", "messages must be a list"),
        (["hi"], "messages must be a list"),
        ([{"content": "a"}], "each an object with its role"),
        ([{"role": 5, "content": "a"}], "each an object with its role"),
        ([{"role": None, "content": "a"}], "each an object with its role"),
        ([HELLO, {"role": "user", "content": 5}], r"messages\[1\]\.content must be a text or a list of parts"),
        ([{"role": "user", "content": {"a": 1}}], r"messages\[0\]\.content must be"),
        ([{"role": "user", "content": [5]}], "each an object with its type"),
        ([{"role": "user", "content": [{"text": "a"}]}], "each an object with its type"),
        ([{"role": "user", "content": [{"type": "text"}]}], r"content\[0\]\.text must be a text"),
        ([{"role": "assistant", "content": "", "tool_calls": {}}], r"tool_calls must be a list of objects"),
        ([{"role": "assistant", "content": "", "tool_calls": [{"id": "x"}]}], r"each with its function"),
        ([{"role": "assistant", "content": "", "tool_calls": [{"function": {}}]}], r"the function's name"),
        ([{"role": "user", "content": "a", "name": 5}], r"messages\[0\]\.name must be a text"),
        ([{"role": "tool", "content": "a", "tool_call_id": 5}], r"tool_call_id must be a text"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], r"content\[0\]\.image_url must be an object with the"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": 5}}]}], "with the image's url"),
    ],
)
def test_messages_that_nobody_understands_are_refused(messages, words):
    with pytest.raises(UnfitRequestError, match=words) as caught:
        chats.put_messages_right(fields(messages=messages), ANY)
    assert caught.value.param == "messages"


def test_functions_are_tools_now():
    """Templates know tools alone."""
    call = {"name": "f", "arguments": "{}"}
    messages: list[dict[str, object]] = [
        {"role": "assistant", "function_call": call},
        {"role": "function", "name": "f", "content": "a"},
    ]
    assert right(*messages) == [
        {"role": "assistant", "content": "", "tool_calls": [{"id": "call_f", "type": "function", "function": call}]},
        {"role": "tool", "name": "f", "tool_call_id": "call_f", "content": "a"},
    ]
    old = chats.Takes("it", functions=True)
    assert right(*messages, takes=old) == [{**messages[0], "content": ""}, messages[1]]
    assert right({"role": "assistant", "content": "a", "function_call": None}) == [
        {"role": "assistant", "content": "a"}
    ]
    with pytest.raises(UnfitRequestError, match=r"messages\[0\]\.name must be that of the function"):
        right({"role": "function", "content": "a"})
    with pytest.raises(UnfitRequestError, match=r"function_call must be an object with the function's name"):
        right({"role": "assistant", "function_call": "f"})


def test_an_image_may_be_its_url_alone():
    part = {"type": "image_url", "image_url": "data:,"}
    (message,) = right({"role": "user", "content": [{"type": "text", "text": "a"}, part]})
    assert message["content"][1] == {"type": "image_url", "image_url": {"url": "data:,"}}


@pytest.mark.parametrize("arguments", ["{bad", "[1]", "5"])
def test_an_engine_that_reads_arguments_gets_json_objects_alone(arguments):
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": arguments}}]}
    assert right(call)
    with pytest.raises(
        UnfitRequestError, match=r"tool_calls\[0\]\.function\.arguments must be a JSON object in a text"
    ):
        right(call, takes=chats.Takes("it", reads_arguments=True))


def test_what_an_engine_does_not_take_is_named():
    takes = chats.Takes("it", frozenset({"user", "system"}), frozenset({"image_url"}))
    with pytest.raises(UnfitRequestError, match=r"messages\[0\]\.role is wizard; it knows developer, system, user\."):
        right({"role": "wizard", "content": "a"}, takes=takes)
    with pytest.raises(UnfitRequestError, match=r"content\[0\] is of type file; it takes text, image_url\."):
        right({"role": "user", "content": [{"type": "file"}]}, takes=takes)


# Tools


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"type": "function", "function": {"name": "f"}}, NONE),
        ({"type": "function", "function": {"name": "f", "parameters": None, "description": None}}, NONE),
        ({"type": "function", "function": {"name": "f", "parameters": {}}}, NONE),
        ({"function": {"name": "f"}}, NONE),
        ({"type": "function", "name": "f", "parameters": {"a": 1}}, {"a": 1}),
    ],
)
def test_a_tool_has_its_parameters(given, sent):
    assert with_tools([given])["tools"][0]["function"] == {"name": "f", "parameters": sent}


def test_tools_that_are_whole_are_not_touched():
    found = fields(tools=[F])
    was = found["tools"]
    put_tools_right(found, "it")
    assert found["tools"] is was


def test_no_tools_are_none():
    assert with_tools([], "auto") == {}


@pytest.mark.parametrize(
    ("choice", "tools", "sent"),
    [
        ("auto", [F, G], "auto"),
        ({"type": "function", "function": {"name": "g"}}, [F, G], {"type": "function", "function": {"name": "g"}}),
        ({"type": "function", "name": "g"}, [F, G], {"type": "function", "function": {"name": "g"}}),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [G]}}, [G], "required"),
        ({"type": "allowed_tools", "allowed_tools": {"tools": [F]}}, [F], "auto"),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]}, [F], "auto"),
    ],
)
def test_what_may_be_called(choice, tools, sent):
    assert with_tools([F, G], choice) == {"tools": tools, "tool_choice": sent}


@pytest.mark.parametrize(
    ("tools", "choice", "param", "words"),
    [
        ([{"type": "custom"}], None, "tools", r"tools\[0\] is of type custom; it takes tools of type function only"),
        ([F, {"type": "function", "function": {}}], None, "tools", r"tools\[1\]\.function must be an object with"),
        ([{"type": "function", "function": 5}], None, "tools", "with the function's name"),
        ("f", None, "tools", "tools must be a list of objects"),
        ([F], {"type": "function", "function": {"name": "x"}}, "tool_choice", "names x, which is none of the tools"),
        ([F], {"type": "function"}, "tool_choice", "an object that names a function"),
        ([F], 5, "tool_choice", "must be auto, none or required"),
        ([F], {"type": "allowed_tools", "allowed_tools": {"tools": [5]}}, "tool_choice", "names a function"),
        ([F], {"type": "allowed_tools"}, "tool_choice", "none of the tools"),
        (None, {"type": "function", "function": {"name": "x"}}, "tool_choice", "names x, which is none of the tools"),
        (None, "required", "tool_choice", "required, but there are no tools"),
        ([], "required", "tool_choice", "required, but there are no tools"),
        ([F], "any", "tool_choice", "must be auto, none or required"),
        ([{"function": {"name": "f", "parameters": "{}"}}], None, "tools", r"\.parameters must be an object"),
    ],
)
def test_tools_that_nobody_understands_are_refused(tools, choice, param, words):
    with pytest.raises(UnfitRequestError, match=words) as caught:
        with_tools(tools, choice)
    assert caught.value.param == param


# The end


@pytest.mark.parametrize(
    ("stop", "left"),
    [("", None), ([], None), ([""], None), (["a", ""], ["a"]), ("a", "a"), (["a", "b"], ["a", "b"]), (None, None)],
)
def test_words_that_are_empty_end_nothing(stop, left):
    found = fields(stop=stop)
    chats.put_stop_right(found)
    assert (bodies.value(found["stop"]) if "stop" in found else None) == left


def test_a_stop_that_is_no_text_is_refused():
    with pytest.raises(UnfitRequestError, match="stop must be a text or a list of texts"):
        chats.put_stop_right(fields(stop=[1]))
