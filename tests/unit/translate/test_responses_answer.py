import json

import pytest
from openai.types.responses import Response

from router.core import errors
from router.core.errors import GatewayTimeoutError
from router.translate.responses import responses
from tests.fakes.responses import (
    CONTEXT,
    DONE,
    NOW,
    USAGE,
    accumulated,
    ask,
    call,
    chunk,
    events,
    response,
    told,
)

F = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}, "strict": False}
SPACE = {"type": "namespace", "name": "n", "description": "d", "tools": [F]}
THINKING = (chunk(role="assistant", content=None), chunk(reasoning_content="h"), chunk(reasoning_content="m"))
TEXT = (chunk(content="Hel"), chunk(content="lo"))
CALLS = (
    chunk(tool_calls=call(0, "c1", "f", "")),
    chunk(tool_calls=call(0, arguments='{"a":')),
    chunk(tool_calls=call(0, arguments="1}")),
    chunk(tool_calls=call(1, "c2", "n__f", "{}")),
)
END = (chunk("tool_calls", USAGE), DONE)


def kinds(found):
    return [event["type"].removeprefix("response.") for event in found]


def whole(finish="stop", translation=None, usage=USAGE, **message):
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    body = json.dumps({"choices": [choice]} | ({"usage": usage} if usage else {})).encode()
    found = json.loads((translation or ask()).answer.whole(body, NOW))
    Response.model_validate(found)
    return found


def test_a_text_comes_in_the_order_of_the_api():
    """The order, and each field, are those of OpenAI's own stream."""
    found = told(ask(stream=True), *TEXT, chunk("stop"), chunk(usage=USAGE), DONE)
    assert kinds(found) == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip
    assert [event["delta"] for event in found[4:6]] == ["Hel", "lo"]
    assert found[6] == {
        "type": "response.output_text.done", "sequence_number": 6, "item_id": "msg_req1a2b0", "output_index": 0,
        "content_index": 0, "logprobs": [], "text": "Hello",
    }  # fmt: skip
    assert found[8]["item"] == {
        "id": "msg_req1a2b0", "type": "message", "status": "completed", "role": "assistant",
        "content": [{"type": "output_text", "annotations": [], "logprobs": [], "text": "Hello"}],
    }  # fmt: skip


def test_reasoning_text_and_calls_are_items_of_their_own():
    """In the order in which they came; the call of a namespace has both names apart."""
    found = told(ask(stream=True, tools=[F, SPACE]), *THINKING, *TEXT, *CALLS, *END)
    reasoning, message, first, second = response(found[-1])["output"]
    assert reasoning["content"] == [{"type": "reasoning_text", "text": "hm"}]
    assert message["content"][0]["text"] == "Hello"
    assert first == {
        "id": "fc_req1a2b2", "type": "function_call", "status": "completed", "call_id": "c1", "name": "f",
        "arguments": '{"a":1}',
    }  # fmt: skip
    assert (second["name"], second["namespace"], second["arguments"]) == ("f", "n", "{}")
    assert [event["delta"] for event in found if event["type"].endswith("arguments.delta")] == ['{"a":', "1}", "{}"]
    assert [event["delta"] for event in found if event["type"] == "response.reasoning_text.delta"] == ["h", "m"]
    for event in found:
        if "item_id" in event:
            assert event["item_id"] == response(found[-1])["output"][event["output_index"]]["id"]


def test_a_summary_is_given_to_those_who_ask_for_one():
    """Codex shows a summary to its user, and the text of the reasoning not."""
    asked = ask(stream=True, reasoning={"summary": "auto"})
    found = told(asked, *THINKING, *TEXT, *END)
    assert [kind for kind in kinds(found) if "summary" in kind] == [
        "reasoning_summary_part.added", "reasoning_summary_text.delta", "reasoning_summary_text.delta",
        "reasoning_summary_text.done", "reasoning_summary_part.done",
    ]  # fmt: skip
    (item, _) = response(found[-1])["output"]
    assert item["summary"] == [{"type": "summary_text", "text": "hm"}]
    assert "content" not in item


def test_a_name_without_its_namespace_is_understood():
    """Some models leave it out; it is added where only one namespace has such a function."""
    other = {**SPACE, "name": "o"}
    for tools, name, space in (
        ([SPACE], "f", "n"), ([SPACE, F], "f", None), ([SPACE, other], "f", None), ([SPACE], "x", None),
    ):  # fmt: skip
        found = told(ask(stream=True, tools=tools), chunk(tool_calls=call(0, "c", name, "{}")), *END)
        item = response(found[-1])["output"][0]
        assert (item["name"], item.get("namespace")) == (name, space)


def test_what_the_sdk_accumulates_is_the_whole_answer():
    """The same of the deltas, of the stream's last event, and of an answer in one piece."""
    fields = {"tools": [F, SPACE], "instructions": "be", "metadata": {"a": "b"}, "temperature": 0.5}
    found = told(ask(stream=True, **fields), *THINKING, *TEXT, *CALLS, *END)
    calls = [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
        {"id": "c2", "type": "function", "function": {"name": "n__f", "arguments": "{}"}},
    ]
    answer = whole("tool_calls", ask(**fields), reasoning_content="hm", content="Hello", tool_calls=calls)
    assert found[-1]["response"] == answer
    for mine, sdk in zip(answer["output"][1:], accumulated(found).output[1:], strict=True):
        said = sdk.to_dict()
        assert {**mine, "status": "in_progress"} == said


def test_usage_has_its_details():
    """Zeros where the engine tells nothing: some SDKs fail on null."""
    assert whole(content="x")["usage"] == {
        "input_tokens": 7, "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0}, "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 2}, "total_tokens": 12,
    }  # fmt: skip
    assert whole(content="x", usage=None)["usage"]["total_tokens"] == 0


@pytest.mark.parametrize(("finish", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
def test_an_answer_that_was_cut_off_is_incomplete(finish, reason):
    """So is its last item."""
    last = told(ask(stream=True), *THINKING, *TEXT, chunk(finish), DONE)[-1]
    assert last["type"] == "response.incomplete"
    for found in (response(last), whole(finish, reasoning_content="hm", content="Hello", usage=None)):
        assert found["status"] == "incomplete"
        assert found["incomplete_details"] == {"reason": reason}
        assert found["completed_at"] is None
        assert [item["status"] for item in found["output"]] == ["completed", "incomplete"]


def test_an_answer_of_nothing_is_complete():
    """It has no items."""
    found = told(ask(stream=True), chunk("stop"), DONE)
    assert kinds(found) == ["created", "in_progress", "completed"]
    assert response(found[-1])["output"] == whole(content=None)["output"] == []


def test_the_response_has_the_fields_of_its_request():
    """And what the API says where the request has none."""
    fields = {
        "instructions": "be kind", "tools": [F], "tool_choice": "required", "text": {"format": {"type": "json_object"}},
        "reasoning": {"effort": "low"}, "temperature": 0.5, "top_p": 0.9, "parallel_tool_calls": False,
        "max_output_tokens": 9, "metadata": {"a": "b"}, "user": "u",
    }  # fmt: skip
    found = whole(content="x", translation=ask(**fields))
    assert {name: found[name] for name in fields} == fields
    found = whole(content="x")
    assert (found["id"], found["model"], found["store"], found["background"]) == ("resp_req1a2b", "demo", False, False)
    assert (found["created_at"], found["completed_at"]) == (1_800_000_000, 1_800_000_002)
    assert (found["tools"], found["tool_choice"], found["metadata"]) == ([], "auto", {})


def test_a_request_over_several_lines_is_echoed_in_one():
    """A line end would break an event."""
    body = b'{"input": "hi", "stream": true, "metadata": {\r\n  "a": "b"\n}}'
    assert response(told(responses(body, CONTEXT), *TEXT, *END)[-1])["metadata"] == {"a": "b"}


def test_an_error_in_the_stream_is_a_response_that_failed():
    """Codex shows the message of that, but not of an event `error`."""
    data = b'data: {"error": {"message": "out of memory"}}\n\n'
    for before in ((), TEXT):
        translation = ask(stream=True)
        found = told(translation, *before, data)
        assert kinds(found)[-1] == "failed"
        assert kinds(found)[0] == "created"
        assert response(found[-1])["error"] == {"code": "server_error", "message": "out of memory"}
        assert translation.answer.done


def test_an_error_of_the_router_is_a_response_that_failed():
    """The translator ends the stream for whoever reads the engine's answer."""
    translation = ask(stream=True)
    data = translation.answer.feed(b"".join(TEXT), NOW) + translation.answer.fail(GatewayTimeoutError("too late"), NOW)
    assert response(events(data)[-1])["error"]["message"] == "too late"


def test_an_error_behind_a_stream_that_passed_has_what_sdks_need():
    """The router writes it where it has only passed an engine's own events on."""
    (said,) = events(errors.event(GatewayTimeoutError("too late"), CONTEXT.path))
    assert said["message"] == "too late"


@pytest.mark.parametrize(
    ("status", "code"), [(400, "invalid_prompt"), (429, "rate_limit_exceeded"), (500, "server_error")]
)
def test_codes_of_errors_are_those_of_the_api(status, code):
    """Codex asks again after the last two, and not after the first."""
    data = ask(stream=True).answer.fail(errors.of_engine(status, b"no"), NOW)
    assert response(events(data)[-1])["error"] == {"code": code, "message": "no"}


def test_an_answer_in_one_piece_becomes_a_stream_where_one_was_asked_for():
    """Some engines don't stream."""
    body = json.dumps({"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}).encode()
    found = events(ask(stream=True).answer.whole(body, NOW))
    assert kinds(found)[-1] == "completed"
    assert response(found[-1])["output"][0]["content"][0]["text"] == "Hello"
