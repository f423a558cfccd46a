import base64

import pytest

from router.core.errors import BadRequestError
from tests.fakes.responses import ask, chat

CALL = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": '{"a":1}'}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "sunny"}
IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"}
SHOWN = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}}


def messages(*items, **fields):
    return chat(input=list(items), **fields)["messages"]


def text(said, kind="input_text"):
    return {"type": kind, "text": said}


def user(part):
    return {"role": "user", "content": [part]}


def called(name="f", arguments='{"a":1}', id_="c1"):
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


def test_a_text_is_the_user_s():
    """The shortest form of input."""
    assert chat(input="hi")["messages"] == [{"role": "user", "content": "hi"}]


def test_system_messages_at_the_beginning_are_one():
    """Many templates refuse more than one."""
    assert messages(
        {"role": "system", "content": "b"}, {"role": "developer", "content": [text("c"), text("d")]},
        {"role": "user", "content": "hi"}, instructions="a",
    ) == [{"role": "system", "content": "a\n\nb\n\nc\nd"}, {"role": "user", "content": "hi"}]  # fmt: skip


def test_later_system_messages_are_text_of_the_user_s_turn():
    """Many templates refuse them; moved to the front they would change what engines have cached."""
    assert messages({"role": "user", "content": "hi"}, {"role": "developer", "content": "be brief"}) == [
        {"role": "user", "content": "hi\n\n<system-reminder>\nbe brief\n</system-reminder>"}
    ]
    assert messages({"role": "user", "content": "hi"}, {"role": "system", "content": ""}) == [
        {"role": "user", "content": "hi"}
    ]


def test_the_assistant_s_items_in_a_row_are_one_message():
    """Reasoning, text and calls stand in one message of a chat."""
    assert messages(
        {"role": "user", "content": "hi"},
        {"type": "reasoning", "summary": [], "content": [text("hm", "reasoning_text")]},
        {"type": "message", "role": "assistant", "content": [text("I ", "output_text"), text("look", "output_text")]},
        CALL, {**CALL, "call_id": "c2", "arguments": ""}, OUTPUT, {**OUTPUT, "call_id": "c2"},
        {"role": "assistant", "content": "It is sunny"},
    ) == [
        {"role": "user", "content": "hi"},
        {
            "role": "assistant", "content": "I look", "reasoning_content": "hm",
            "tool_calls": [called(), called(arguments="{}", id_="c2")],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "c2", "content": "sunny"},
        {"role": "assistant", "content": "It is sunny"},
    ]  # fmt: skip


def test_a_call_of_a_namespace_has_the_name_that_the_engine_knows():
    """As in the list of tools."""
    (message,) = messages({**CALL, "namespace": "n"})
    assert message["tool_calls"] == [called("n__f")]


def test_ids_that_are_missing_are_made_up():
    """A call's own id serves, and an output without one belongs to the last call."""
    call, output = {k: v for k, v in CALL.items() if k != "call_id"}, {"type": "function_call_output", "output": "x"}
    assert messages(call, output)[1]["tool_call_id"] == "fc_1"
    del call["id"]
    assert messages(call, output)[1]["tool_call_id"] == "call_1_0"
    assert messages(output)[0]["tool_call_id"] == ""


def test_arguments_may_be_an_object():
    """Some clients write them so."""
    assert messages({**CALL, "arguments": {"a": 1}})[0]["tool_calls"][0]["function"]["arguments"] == '{"a":1}'


def test_a_summary_is_reasoning_where_there_is_no_text():
    """Codex sends back what it got, with content: null."""
    summary = [text("one", "summary_text"), text("two", "summary_text")]
    item = {"type": "reasoning", "id": "rs_1", "summary": summary, "content": None, "encrypted_content": None}
    assert messages(item, item)[0]["reasoning_content"] == "one\n\ntwo\n\none\n\ntwo"


def test_encrypted_reasoning_is_left_out():
    """Only OpenAI's servers can read it."""
    item = {"type": "reasoning", "summary": [], "encrypted_content": "gAAAA"}
    assert messages(item, {"role": "user", "content": "hi"}) == [{"role": "user", "content": "hi"}]


def test_images_stay_among_the_parts():
    """Texts alone become one text."""
    assert messages({"role": "user", "content": [text("see"), IMAGE, text("there")]}) == [
        {"role": "user", "content": [{"type": "text", "text": "see"}, SHOWN, {"type": "text", "text": "there"}]}
    ]
    assert messages({"role": "user", "content": [{"type": "input_image", "image_url": {"url": "http://x/y.png"}}]}) == [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/y.png"}}]}
    ]


def test_texts_of_the_same_turn_follow_its_images():
    """Two messages of the user are one turn."""
    (message,) = messages({"role": "user", "content": [IMAGE]}, {"role": "user", "content": "what is it?"})
    assert message["content"] == [SHOWN, {"type": "text", "text": "what is it?"}]


def test_audio_passes():
    """It has the same form in both APIs."""
    audio = {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}
    assert messages({"role": "user", "content": [audio]})[0]["content"] == [audio]


def test_images_of_a_result_follow_in_a_message_of_the_user():
    """Behind all results of that turn, since engines take images from users alone."""
    output = {**OUTPUT, "output": [IMAGE]}
    assert messages(CALL, output, {**OUTPUT, "output": [text("a"), text("b")]}, {"role": "user", "content": "?"})[
        1:
    ] == [
        {"role": "tool", "tool_call_id": "c1", "content": "The image follows."},
        {"role": "tool", "tool_call_id": "c1", "content": "a\nb"},
        {"role": "user", "content": [SHOWN, {"type": "text", "text": "?"}]},
    ]
    assert messages(CALL, output)[2] == {"role": "user", "content": [SHOWN]}


def test_a_file_of_text_is_shown_with_its_name():
    """The engine reads no files."""
    data = "data:text/plain;base64," + base64.b64encode("größe".encode()).decode()
    file = {"type": "input_file", "filename": "a.txt", "file_data": data}
    assert messages({"role": "user", "content": [file]})[0]["content"] == "a.txt:\ngröße"
    del file["filename"]
    assert messages({"role": "user", "content": [file]})[0]["content"] == "größe"


def test_other_tools_of_the_client_are_shown_as_functions():
    """The model sees what was done, though it can't do it again here."""
    assert messages(
        {"type": "custom_tool_call", "call_id": "c1", "name": "apply_patch", "input": "*** Begin"},
        {"type": "custom_tool_call_output", "call_id": "c1", "output": "ok"},
        {"type": "local_shell_call", "call_id": "c2", "action": {"type": "exec", "command": ["ls"]}},
        {"type": "local_shell_call_output", "call_id": "c2", "id": "x", "output": "a.txt"},
        {"type": "apply_patch_call", "call_id": "c3", "operation": {"type": "delete_file", "path": "a"}},
        {"type": "shell_call_output", "call_id": "c3", "output": [{"stdout": "ok"}]},
    ) == [
        {"role": "assistant", "content": "", "tool_calls": [called("apply_patch", '{"input":"*** Begin"}')]},
        {"role": "tool", "tool_call_id": "c1", "content": "ok"},
        {
            "role": "assistant", "content": "",
            "tool_calls": [called("local_shell", '{"type": "exec", "command": ["ls"]}', "c2")],
        },
        {"role": "tool", "tool_call_id": "c2", "content": "a.txt"},
        {
            "role": "assistant", "content": "",
            "tool_calls": [called("apply_patch", '{"type": "delete_file", "path": "a"}', "c3")],
        },
        {"role": "tool", "tool_call_id": "c3", "content": "ok"},
    ]  # fmt: skip


def test_what_servers_did_themselves_is_left_out():
    """So is what isn't known."""
    assert messages(
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}},
        {"type": "mcp_list_tools", "id": "x", "server_label": "y", "tools": []},
        {"type": "message", "role": "user", "content": None},
        {"role": "user", "content": [{"type": "refusal", "refusal": "no"}, {"text": "hi"}]},
    ) == [{"role": "user", "content": "no\nhi"}]


def test_tools_among_the_items_are_told():
    """As those of the request."""
    tool = {"type": "additional_tools", "role": "developer", "tools": [{"type": "function", "name": "f"}]}
    assert chat(input=[tool, {"role": "user", "content": "hi"}])["tools"][0]["function"]["name"] == "f"


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"type": "item_reference", "id": "msg_1"}, "send the items themselves"),
        ({"id": "msg_1"}, "send the items themselves"),
        ({"type": "compaction", "encrypted_content": "x"}, "send the items themselves"),
        ({"role": "robot", "content": "x"}, "of the role robot"),
        ({"type": "function_call", "call_id": "c"}, "without a name"),
        ({"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}, "send it as a data: URL"),
        ({"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}, "send its text"),
        (user({"type": "input_file", "file_data": "data:application/pdf;base64,AA=="}), "send its text"),
        (user({"type": "input_file", "file_data": "data:text/plain;base64,?"}), "send its text"),
        (user({"type": "input_file", "file_data": "data:text/plain;base64,/w=="}), "send its text"),
        ({"role": "user", "content": [{"type": "input_video"}]}, "is of type input_video"),
        ({"role": "user", "content": [{}]}, "is of type none"),
        ({"type": "reasoning", "content": [{"type": 3}]}, "got `int`"),
    ],
)  # fmt: skip
def test_what_the_engine_could_not_get_is_refused(item, words):
    """With the item's place."""
    with pytest.raises(BadRequestError) as raised:
        ask(input=[{"role": "user", "content": "hi"}, item])
    assert words in raised.value.message
    assert (raised.value.param or "").startswith("input[1]")
