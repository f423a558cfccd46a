import json
from typing import Any

import pytest
from openai.types.responses import Response

from router.core.errors import BadGatewayError, BadRequestError, EngineError, GatewayTimeoutError
from router.translate.mending import Mender, mender
from tests.fakes.responses import CONTEXT, NOW, accumulated, events, response

ID, MESSAGE = "resp_aa", "msg_bb"
PART = {"type": "output_text", "annotations": [], "logprobs": [], "text": "Hello"}
ITEM = {"type": "message", "status": "completed", "id": MESSAGE, "content": [PART], "role": "assistant"}
USAGE = {"input_tokens": 7, "output_tokens": 2, "total_tokens": 9, "input_tokens_details": {"cached_tokens": 3}}
ENDED: dict[str, Any] = {
    "id": ID, "object": "response", "created_at": 5, "status": "completed", "model": "/m.gguf", "output": [ITEM],
    "usage": USAGE,
}  # fmt: skip
THINKING = {"id": "rs_cc", "summary": [], "type": "reasoning", "encrypted_content": "", "status": "in_progress"}
CALL = {"arguments": "", "call_id": "fc_dd", "name": "f", "type": "function_call", "status": "in_progress"}


def event(kind, **fields):
    said = json.dumps({"type": f"response.{kind}", **fields}, separators=(",", ":"))
    return f"event: response.{kind}\ndata: {said}\n\n".encode()


BEGUN = {"id": ID, "object": "response", "status": "in_progress"}
BEGIN = event("created", response=BEGUN) + event("in_progress", response=BEGUN)
TEXT = (
    event("output_item.added", item={**ITEM, "content": [], "status": "in_progress"})
    + event("content_part.added", item_id=MESSAGE, part={"type": "output_text", "text": ""})
    + event("output_text.delta", item_id=MESSAGE, delta="Hel")
    + event("output_text.delta", item_id=MESSAGE, delta="lo")
)
TEXT_DONE = (
    event("output_text.done", item_id=MESSAGE, text="Hello")
    + event("content_part.done", item_id=MESSAGE, part=PART)
    + event("output_item.done", item=ITEM)
)
END = event("completed", response=ENDED)
"""What llama_server sent, its ids shortened."""


def tried(**fields) -> Mender | None:
    return mender(json.dumps({"model": "m", "input": "hi"} | fields).encode(), CONTEXT)


def ask(**fields) -> Mender:
    answer = tried(**fields)
    assert answer is not None
    return answer


def told(answer, *data):
    return events(b"".join(answer.feed(each, NOW) for each in data) + answer.ended(NOW))


def test_the_type_of_an_answer():
    """As it was asked for."""
    assert ask().content_type == b"application/json"
    assert ask(stream=True).content_type.startswith(b"text/event-stream")


def test_a_stream_gets_the_fields_that_it_lacks():
    """Each event then has all that the SDK declares, and it accumulates to the same."""
    answer = ask(stream=True, instructions="be kind")
    found = told(answer, BEGIN, TEXT, TEXT_DONE, END)
    assert answer.done
    assert {event["output_index"] for event in found if "output_index" in event} == {0}
    assert found[4] == {
        "type": "response.output_text.delta", "item_id": MESSAGE, "delta": "Hel", "output_index": 0, "content_index": 0,
        "logprobs": [], "sequence_number": 4,
    }  # fmt: skip
    for place in (0, 1, -1):
        whole = response(found[place])
        assert (whole["id"], whole["model"], whole["instructions"]) == (ID, "demo", "be kind")
    assert accumulated(found).output_text == "Hello"
    assert response(found[-1])["usage"] == {
        **USAGE,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }


def test_bytes_may_be_cut_anywhere():
    """An event is passed on when it is whole."""
    data = BEGIN + TEXT + TEXT_DONE + END
    expected = told(ask(stream=True), data)
    assert told(ask(stream=True), *(data[i : i + 1] for i in range(len(data)))) == expected


def test_several_items_have_places_of_their_own():
    """Their ends come last, and a call's id is the one that its events name."""
    thinking = event("output_item.added", item={**THINKING, "content": []})
    thinking += event("reasoning_text.delta", item_id="rs_cc", delta="hm")
    call = event("output_item.added", item=CALL)
    call += event("function_call_arguments.delta", item_id="fc_dd", delta="{}")
    ends = event("reasoning_text.done", item_id="rs_cc", text="hm") + event("output_item.done", item=THINKING)
    ends += TEXT_DONE + event("function_call_arguments.done", item_id="fc_dd", arguments="{}")
    done = {**CALL, "arguments": "{}", "status": "completed"}
    ends += event("output_item.done", item=done)
    end = event("completed", response={**ENDED, "output": [THINKING, ITEM, done]})
    found = told(ask(stream=True), BEGIN, thinking, TEXT, call, ends, end)
    places = {event["item_id"]: event["output_index"] for event in found if "item_id" in event}
    assert places == {"rs_cc": 0, MESSAGE: 1, "fc_dd": 2}
    assert [item["id"] for item in response(found[-1])["output"]] == ["rs_cc", MESSAGE, "fc_dd"]
    assert accumulated(found).output[2].to_dict()["arguments"] == "{}"


def test_what_an_engine_numbers_itself_is_kept():
    """A later version may lack nothing."""
    numbers = {"output_index": 4, "sequence_number": 9}
    data = event("output_item.added", item=ITEM, **numbers)
    data += event(
        "content_part.added", item_id=MESSAGE, part={"type": "refusal", "refusal": ""}, content_index=2, **numbers
    )
    data += event("output_text.delta", item_id=MESSAGE, delta="x", content_index=2, logprobs=[], sequence_number=9)
    data += event("reasoning_summary_text.delta", item_id=MESSAGE, delta="x", summary_index=3, **numbers)
    data += event("reasoning_summary_text.delta", item_id=MESSAGE, delta="x", **numbers)
    said = ask(stream=True).feed(data, NOW).decode()
    found = [json.loads(line[6:]) for line in said.split("\n") if line.startswith("data: ")]
    assert {(each["output_index"], each["sequence_number"]) for each in found} == {(4, 9)}
    assert [each.get("content_index", each.get("summary_index")) for each in found] == [None, 2, 2, 3, 0]


@pytest.mark.parametrize("limit", [{"max_output_tokens": 2}, {"max_tokens": 2, "max_output_tokens": 9}])
def test_an_answer_at_the_token_limit_is_incomplete(limit):
    """llama_server calls it completed."""
    last = told(ask(stream=True, **limit), BEGIN, TEXT, TEXT_DONE, END)[-1]
    whole = json.loads(ask(**limit).whole(json.dumps(ENDED).encode(), NOW))
    assert last["type"] == "response.incomplete"
    for found in (response(last), whole):
        assert found["status"] == "incomplete"
        assert found["incomplete_details"] == {"reason": "max_output_tokens"}


def test_an_answer_below_the_token_limit_is_complete():
    """It ended by itself."""
    assert told(ask(stream=True, max_output_tokens=3), BEGIN, TEXT, TEXT_DONE, END)[-1]["type"] == "response.completed"


def test_an_answer_in_one_piece_gets_the_fields_that_it_lacks():
    """All that the SDK declares."""
    call = {**CALL, "arguments": "{}", "status": "completed"}
    answer = ask(metadata={"a": "b"})
    found = json.loads(answer.whole(json.dumps({**ENDED, "output": [call], "timings": {"a": 1.5}}).encode(), NOW))
    Response.model_validate(found)
    assert answer.done
    assert (found["created_at"], found["metadata"], found["timings"]) == (5, {"a": "b"}, {"a": 1.5})
    assert found["output"] == [{**call, "id": "fc_dd"}]
    assert json.loads(ask().whole(b"{}", NOW))["id"] == "resp_req1a2b"


def test_an_error_in_the_stream_is_a_response_that_failed():
    """With the engine's message; nothing comes after it."""
    for error in (b'data: {"error": {"message": "no"}}\n\n', b'data: {"type": "error", "message": "no"}\n\n'):
        found = told(ask(stream=True), BEGIN, TEXT, error, END)
        assert found[-1]["type"] == "response.failed"
        assert response(found[-1])["error"]["message"] == "no"


def test_an_error_of_the_router_ends_the_stream():
    """With the number that comes next."""
    answer = ask(stream=True)
    data = answer.feed(BEGIN, NOW) + answer.fail(GatewayTimeoutError("too late"), NOW)
    assert response(events(data)[-1])["error"]["message"] == "too late"


def test_errors_get_the_form_of_the_api():
    """Whatever the engine calls them."""
    body = b'{"error":{"code":400,"message":"no","type":"invalid_request_error"}}'
    expected = {"message": "no", "type": "invalid_request_error", "param": None, "code": "bad_request"}
    assert json.loads(ask().error(400, body)) == {"error": expected}
    with pytest.raises(EngineError, match=r"^no$"):
        ask().whole(body, NOW)


def test_comments_pass():
    """They show that the engine works."""
    assert ask(stream=True).feed(b": ping\n\n", NOW) == b": ping\n\n"


@pytest.mark.parametrize("data", [b"data: x\n\n", b"data: []\n\n", b'data: {"type": "a", "item": 3}\n\n'])
def test_an_answer_of_another_kind_is_an_error(data):
    """The engine doesn't speak the API."""
    with pytest.raises(BadGatewayError):
        ask(stream=True).feed(data, NOW)
    with pytest.raises(BadGatewayError):
        ask().whole(data, NOW)


F = {"type": "function", "name": "f"}


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{"type": "namespace", "name": "n", "tools": [F]}]},
        {"tools": [{"type": "custom", "name": "n"}]},
        {"tools": [F], "tool_choice": "required"},
        {"tools": [F], "tool_choice": {"type": "function", "name": "f"}},
        {"input": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "x"}], "content": None}] * 2},
        {"input": [{"type": "custom_tool_call", "call_id": "c", "name": "f", "input": "x"}]},
        {"input": [{"type": "function_call", "call_id": "c", "name": "f", "namespace": "n", "arguments": "{}"}]},
    ],
)
def test_what_the_engine_would_answer_otherwise_goes_to_its_chats(fields):
    """llama_server ignores the first, may ignore the second, and refuses the rest."""
    assert tried(**fields) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [F, {"type": "web_search"}], "tool_choice": "auto"},
        {"tools": None, "tool_choice": None},
        {"tool_choice": "none"},
        {"input": [{"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "x"}]}]},
        {"input": [{"role": "user", "content": "hi"}, {"type": "function_call", "name": "f", "arguments": "{}"}]},
    ],
)
def test_what_the_engine_can_answer_passes(fields):
    """Native answers are preferred."""
    assert tried(**fields) is not None


@pytest.mark.parametrize("fields", [{"store": True}, {"previous_response_id": "r"}, {"background": True}, {"input": 3}])
def test_what_is_stored_is_refused(fields):
    """llama_server would ignore most of these."""
    with pytest.raises(BadRequestError):
        ask(**fields)
