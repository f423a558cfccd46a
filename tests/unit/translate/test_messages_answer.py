"""Answers in the form of Anthropic's Messages API, as its SDK reads them, and as llama_server writes them."""

import json
from typing import Any

import pytest

from router.core.errors import BadGatewayError, EngineError, GatewayTimeoutError
from router.translate.chat import ChatTranslator
from router.translate.events import MOST
from router.translate.messages_answer import MessagesMender, MessagesWriter
from router.translate.speech import Context

CONTEXT = Context("req-1", "demo", "/v1/messages", 0.0, 0.0)
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"a": 1}'}}
USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}


def translator(*, streams: bool) -> ChatTranslator:
    return ChatTranslator(MessagesWriter(CONTEXT, streams=streams))


def whole(message: dict[str, Any], finish: str = "stop", **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": message, "finish_reason": finish, **more}
    said = json.dumps({"choices": [choice], "usage": USAGE}).encode()
    told: dict[str, Any] = json.loads(translator(streams=False).whole(said, 0.0))
    return told


def events(stream: bytes) -> list[dict[str, Any]]:
    """Read a stream's events; each has its type twice."""
    found = []
    for event in stream.decode().split("\n\n"):
        if event.strip() and not event.startswith(":"):
            first, second = event.strip().split("\n")
            said = json.loads(second.removeprefix("data: "))
            assert first == f"event: {said['type']}"
            found.append(said)
    return found


def streamed(*deltas: dict[str, Any], finish: str = "stop", usage: Any = USAGE, **more: Any) -> list[dict[str, Any]]:
    chunks: list[dict[str, Any]] = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish, **more}]})
    chunks.append({"choices": [], "usage": usage})
    said = b"".join(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in chunks) + b"data: [DONE]\n\n"
    return events(translator(streams=True).feed(said, 0.0))


class TestWhole:
    def test_a_text(self):
        """An answer has its text, why it ended, and its usage, in which input tokens are those that weren't cached."""
        assert whole({"content": "Hello"}) == {
            "id": "msg_req1",
            "type": "message",
            "role": "assistant",
            "model": "demo",
            "content": [{"type": "text", "text": "Hello"}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {
                "input_tokens": 5,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 4,
                "output_tokens": 3,
            },
        }

    def test_reasoning_and_calls(self):
        """Reasoning, text and calls are blocks in this order."""
        told = whole({"reasoning_content": "hm", "content": "I", "tool_calls": [CALL]}, "tool_calls")
        assert told["content"] == [
            {"type": "thinking", "thinking": "hm", "signature": ""},
            {"type": "text", "text": "I"},
            {"type": "tool_use", "id": "c1", "name": "look", "input": {"a": 1}},
        ]
        assert told["stop_reason"] == "tool_use"

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            ("", {}),
            ('{"a": ', {"INVALID_JSON": '{"a": '}),
            ("[1]", {"INVALID_JSON": "[1]"}),
            ({"a": 1}, {"a": 1}),
            ('{"a": "\\ud800"}', {"INVALID_JSON": '{"a": "\\ud800"}'}),
        ],
    )
    def test_arguments(self, arguments, told):
        """Arguments are an object, whatever the model wrote."""
        call = {"id": "c1", "function": {"name": "look", "arguments": arguments}}
        assert whole({"tool_calls": [call]})["content"][0]["input"] == told

    @pytest.mark.parametrize(
        ("finish", "reason"),
        [("stop", "end_turn"), ("length", "max_tokens"), ("content_filter", "refusal"), ("new", "end_turn")],
    )
    def test_reasons(self, finish, reason):
        """Each finish reason has its stop reason."""
        assert whole({"content": "x"}, finish)["stop_reason"] == reason
        assert streamed({"content": "x"}, finish=finish)[-2]["delta"]["stop_reason"] == reason

    def test_a_stop_sequence(self):
        """An engine that says which stop text ended the answer is believed; one that names a token isn't."""
        told = whole({"content": "x"}, stop_reason="END")
        assert (told["stop_reason"], told["stop_sequence"]) == ("stop_sequence", "END")
        told = whole({"content": "x"}, stop_reason=128001)
        assert (told["stop_reason"], told["stop_sequence"]) == ("end_turn", None)

    def test_nothing(self):
        """An empty answer has no blocks."""
        assert whole({"content": ""})["content"] == []


class TestStream:
    def test_the_order_of_events(self):
        """Each block begins and ends, and the message ends with its reason and usage."""
        told = streamed(
            {"role": "assistant", "content": None}, {"reasoning_content": "hm"}, {"content": "Hel"}, {"content": "lo"},
            {"tool_calls": [{"index": 0, **CALL}]}, finish="tool_calls",
        )  # fmt: skip
        assert [(event["type"], event.get("index")) for event in told] == [
            ("message_start", None),
            ("content_block_start", 0),
            ("content_block_delta", 0),
            ("content_block_delta", 0),
            ("content_block_stop", 0),
            ("content_block_start", 1),
            ("content_block_delta", 1),
            ("content_block_delta", 1),
            ("content_block_stop", 1),
            ("content_block_start", 2),
            ("content_block_delta", 2),
            ("content_block_stop", 2),
            ("message_delta", None),
            ("message_stop", None),
        ]
        assert told[0]["message"]["content"] == []
        assert [event["delta"]["type"] for event in told if event["type"] == "content_block_delta"] == [
            "thinking_delta", "signature_delta", "text_delta", "text_delta", "input_json_delta",
        ]  # fmt: skip
        assert told[-2]["usage"] == {
            "input_tokens": 5,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 4,
            "output_tokens": 3,
        }

    def test_usage_that_isnt_told(self):
        """An engine that tells no usage: the end has only the count that SDKs demand."""
        assert streamed({"content": "x"}, usage=None)[-2]["usage"] == {"output_tokens": 0}

    def test_calls_one_after_the_other(self):
        """Calls that come in turns are blocks one after the other."""
        told = streamed(
            {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}}]},
            {"tool_calls": [{"index": 1, "id": "b", "function": {"name": "g", "arguments": "{"}}]},
            {"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]},
            {"tool_calls": [{"index": 1, "function": {"arguments": "}"}}]},
        )
        blocks = [event["content_block"] for event in told if event["type"] == "content_block_start"]
        assert [(block["id"], block["name"]) for block in blocks] == [("a", "f"), ("b", "g")]
        deltas = [event for event in told if event["type"] == "content_block_delta"]
        assert [(event["index"], event["delta"]["partial_json"]) for event in deltas] == [(0, "{"), (0, "}"), (1, "{}")]

    def test_a_comment_is_passed_on(self):
        """Comments show a client that the engine works."""
        assert translator(streams=True).feed(b": 1/2\n\n", 0.0) == b": 1/2\n\n"

    def test_an_error_within_a_stream(self):
        """An error is the last event, in Anthropic's form."""
        answer = translator(streams=True)
        told = answer.feed(b'data: {"error": {"message": "out of memory"}}\n\ndata: [DONE]\n\n', 0.0)
        assert events(told) == [{"type": "error", "error": {"type": "api_error", "message": "out of memory"}}]
        assert answer.done

    def test_an_answer_in_one_piece_for_a_stream(self):
        """An engine that answers a stream in one piece: the client gets events all the same."""
        said = json.dumps({"choices": [{"message": {"content": "x"}, "finish_reason": "length"}], "usage": USAGE})
        told = events(translator(streams=True).whole(said.encode(), 0.0))
        assert [event["type"] for event in told][-2:] == ["message_delta", "message_stop"]
        assert told[-2]["delta"]["stop_reason"] == "max_tokens"

    def test_a_stream_that_breaks_off(self):
        """Without an end, a stream isn't done, and no end is made up."""
        answer = translator(streams=True)
        answer.feed(b'data: {"choices": [{"delta": {"content": "x"}}]}\n\n', 0.0)
        assert answer.ended(0.0) == b""
        assert not answer.done

    def test_what_is_no_chunk(self):
        """It is the engine's fault."""
        with pytest.raises(BadGatewayError):
            translator(streams=True).feed(b"data: [1]\n\n", 0.0)


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields}, separators=(',', ':'))}\n\n".encode()


BEGUN = event("message_start", message={"role": "assistant", "stop_reason": None, "stop_sequence": None})
TALK = event("content_block_delta", index=0, delta={"text": '"stop_reason":"end_turn", message_stop'})
ENDED = event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": "a\n\n"})
STOPPED = event("message_stop")
RIGHT = ENDED.replace(b"end_turn", b"stop_sequence")


class TestNative:
    """What llama_server writes itself."""

    def test_the_reason_of_a_stop_sequence(self):
        """Wherever the stream is cut; what comes before is passed on as it is."""
        said = BEGUN + b": ping\n\n" + TALK + ENDED + STOPPED
        expected = BEGUN + b": ping\n\n" + TALK + RIGHT + STOPPED
        for size in (1, 7, len(TALK), len(said)):
            mender = MessagesMender(CONTEXT, streams=True)
            found = [mender.feed(said[at : at + size], 0.0) for at in range(0, len(said), size)]
            assert mender.done
            assert b"".join(found) + mender.ended(0.0) == expected

    @pytest.mark.parametrize("size", [1, 7, 1000])
    def test_the_end_repeats_what_the_prompt_had(self, size):
        """Where the engine's doesn't: clients and the router read it there."""
        usage = {"cache_read_input_tokens": 23, "input_tokens": 1, "output_tokens": 0}
        begun = event("message_start", message={"id": "m", "usage": usage, "stop_reason": None})
        ended = event("message_delta", delta={"stop_reason": "max_tokens"}, usage={"output_tokens": 7})
        said = begun + TALK + ended + STOPPED
        mender = MessagesMender(CONTEXT, streams=True)
        found = events(b"".join([mender.feed(said[at : at + size], 0.0) for at in range(0, len(said), size)]))
        assert found[-2]["usage"] == {"cache_read_input_tokens": 23, "input_tokens": 1, "output_tokens": 7}
        assert found[:-2] == events(begun + TALK)
        whole = event("message_delta", delta={"stop_reason": "max_tokens"}, usage={"input_tokens": 9})
        assert mender.feed(whole, 0.0) == whole

    def test_an_event_is_passed_on_when_it_is_whole(self):
        """And a stream isn't over before its end."""
        mender = MessagesMender(CONTEXT, streams=True)
        assert mender.feed(BEGUN + TALK + ENDED[:9], 0.0) == BEGUN + TALK
        assert not mender.done
        assert mender.ended(0.0) == ENDED[:9]
        assert mender.content_type.startswith(b"text/event-stream")

    @pytest.mark.parametrize("reason", ["end_turn", "max_tokens", "tool_use"])
    def test_other_reasons_stay(self, reason):
        """Nothing is changed in them."""
        told = {"content": [], "stop_reason": reason, "stop_sequence": None, "usage": {}}
        said = json.dumps(told, separators=(",", ":")).encode()
        assert MessagesMender(CONTEXT, streams=False).whole(said, 0.0) == said

    def test_an_answer_in_one_piece(self):
        """What a tool's input says is none of it."""
        call = {"type": "tool_use", "input": {"stop_reason": "end_turn", "stop_sequence": "x"}}
        mender = MessagesMender(CONTEXT, streams=False)
        told = {"content": [call], "stop_reason": "end_turn", "stop_sequence": "b", "usage": {}}
        assert json.loads(mender.whole(json.dumps(told).encode(), 0.0)) == {**told, "stop_reason": "stop_sequence"}
        assert (mender.done, mender.content_type) == (True, b"application/json")

    def test_errors_have_the_form_of_the_api(self):
        """In a stream, in one piece, with the status 200, and the router's own."""
        theirs = b'event: error\ndata: {"code":500,"message":"no room","type":"server_error"}\n\n'
        mine = {"type": "error", "error": {"type": "api_error", "message": "no room"}}
        mender = MessagesMender(CONTEXT, streams=True)
        assert events(mender.feed(TALK + theirs, 0.0))[-1] == mine
        assert mender.done
        assert json.loads(mender.error(500, b'{"error":{"message":"no room"}}')) == mine
        with pytest.raises(EngineError, match=r"^no room$"):
            mender.whole(b'{"error":{"message":"no room"}}', 0.0)
        mender = MessagesMender(CONTEXT, streams=True)
        mine["error"] = {"type": "timeout_error", "message": "too late"}
        assert events(mender.fail(GatewayTimeoutError("too late"), 0.0).lstrip()) == [mine]
        assert mender.done

    def test_an_event_without_end(self):
        """Is an error, before it fills the memory."""
        mender = MessagesMender(CONTEXT, streams=True)
        with pytest.raises(BadGatewayError, match="more than"):
            mender.feed(b"x" * (MOST + 1), 0.0)
