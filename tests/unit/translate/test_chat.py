"""What a stream or an answer of chat completions says, as a writer of another API is told it."""

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.core.errors import BadGatewayError, EngineError
from router.translate.chat import ChatTranslator
from router.translate.speech import EVENT_STREAM, JSON, Context
from router.translate.writer import Call, Usage, WholeAnswer, Writer
from tests.fakes.chat_streams import Said, cut, said

CONTEXT = Context("req-1", "demo", "/v1/messages", 0.0, 0.0)
CALLS = [
    {"index": number, "id": f"c{number}", "function": {"name": "f", "arguments": '{"a": 1}'}} for number in range(2)
]


class Recorder(Writer):
    """Writes down what it is told."""

    def __init__(self, *, streams: bool = True) -> None:
        super().__init__(CONTEXT, streams=streams)
        self.told: list[tuple[Any, ...]] = []

    def comment(self, line: bytes) -> bytes:
        """Note it."""
        self.told.append(("comment", line))
        return b""

    def begin(self, now: float) -> bytes:
        """Note it."""
        self.told.append(("begin", now))
        return b"begin "

    def thinking(self, text: str) -> bytes:
        """Note it."""
        self.told.append(("thinking", text))
        return b""

    def text(self, text: str) -> bytes:
        """Note it."""
        self.told.append(("text", text))
        return text.encode()

    def call(self, id_: str, name: str) -> bytes:
        """Note it."""
        self.told.append(("call", id_, name))
        return b""

    def arguments(self, text: str) -> bytes:
        """Note it."""
        self.told.append(("arguments", text))
        return b""

    def end(self, finish: str, usage: Usage, stopped_by: str | None, now: float) -> bytes:
        """Note it."""
        self.told.append(("end", finish, usage, stopped_by, now))
        return b" end"

    def whole(self, answer: WholeAnswer, now: float) -> bytes:
        """Note it."""
        self.told.append(("whole", answer, now))
        return b"whole"


def event(**chunk: Any) -> bytes:
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def delta(finish: str | None = None, **fields: Any) -> bytes:
    return event(choices=[{"index": 0, "delta": fields, "finish_reason": finish}])


DONE = b"data: [DONE]\n\n"


def streamed(*pieces: bytes) -> list[tuple[Any, ...]]:
    writer = Recorder()
    answer = ChatTranslator(writer)
    for piece in pieces:
        answer.feed(piece, 1.0)
    answer.ended(2.0)
    return writer.told


def kinds(told: list[tuple[Any, ...]]) -> list[str]:
    return [each[0] for each in told]


def whole(**answer: Any) -> WholeAnswer:
    writer = Recorder(streams=False)
    assert ChatTranslator(writer).whole(json.dumps(answer).encode(), 1.0) == b"whole"
    found: WholeAnswer = writer.told[0][1]
    return found


class TestStream:
    def test_a_text(self):
        """A stream begins with its first chunk, and ends with [DONE]."""
        told = streamed(delta(role="assistant", content=""), delta(content="Hi"), delta("stop"), DONE)
        assert told == [("begin", 1.0), ("text", "Hi"), ("end", "stop", Usage(), None, 1.0)]

    def test_the_bytes_come_in_order(self):
        """The client's bytes are those of the writer, as soon as there are any."""
        answer = ChatTranslator(Recorder())
        assert answer.feed(delta(content="a")[:9], 0.0) == b""
        assert answer.feed(delta(content="a")[9:] + delta(content="b"), 0.0) == b"begin ab"
        assert answer.feed(delta("stop") + DONE + delta(content="late"), 0.0) == b" end"
        assert answer.done

    def test_an_end_without_done(self):
        """A stream that ends after its finish reason is whole: some engines send no [DONE]."""
        assert streamed(delta(content="a"), delta("length"))[-1] == ("end", "length", Usage(), None, 2.0)

    def test_an_answer_of_nothing(self):
        """[DONE] alone is an answer, too."""
        assert kinds(streamed(DONE)) == ["begin", "end"]

    def test_it_breaks_off(self):
        """Without either end, nothing is made up."""
        assert kinds(streamed(delta(content="a"))) == ["begin", "text"]

    def test_comments(self):
        """Comments reach the writer, even before the answer begins."""
        assert kinds(streamed(b": 1/2\n\n", delta(content="a"))) == ["comment", "begin", "text"]

    @pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
    def test_reasoning_of_engines_that_part_it(self, name):
        """Where the engine gives reasoning apart, its text isn't parted again."""
        told = streamed(delta(**{name: "hm"}), delta(content="<think>"), delta(content="x</think>"))
        assert told[1:] == [("thinking", "hm"), ("text", "<think>"), ("text", "x</think>")]

    def test_reasoning_in_the_text(self):
        """Where it doesn't, <think> parts it."""
        told = streamed(delta(content="<thi"), delta(content="nk>hm</think>"), delta(content="\nx"))
        assert told[1:] == [("thinking", "hm"), ("text", "x")]

    def test_a_text_that_ends_like_a_tag(self):
        """What was held back comes before a call, and at the end."""
        assert streamed(delta(content="<thi"), delta(tool_calls=CALLS[:1]))[1] == ("text", "<thi")
        assert streamed(delta(content="<thi"), DONE)[1] == ("text", "<thi")

    def test_completions(self):
        """Chunks of /v1/completions have a text, which is as the model wrote it."""
        told = streamed(event(choices=[{"index": 0, "text": "<think>"}]), DONE)
        assert told[1] == ("text", "<think>")

    def test_other_choices_are_left_out(self):
        """Other APIs have one answer."""
        assert kinds(streamed(event(choices=[{"index": 1, "delta": {"content": "b"}}]), DONE)) == ["begin", "end"]

    def test_a_refusal_is_text(self):
        """A refusal stands in a field of its own."""
        assert streamed(delta(refusal="No."))[1] == ("text", "No.")


class TestCalls:
    def test_the_first_call_comes_as_it_does(self):
        """Each piece of the first call is passed on at once."""
        told = streamed(
            delta(tool_calls=[{"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}]),
            delta(tool_calls=[{"index": 0, "function": {"arguments": "{"}}]),
            delta(tool_calls=[{"index": 0, "function": {"arguments": "}"}}]),
        )
        assert told[1:] == [("call", "c", "f"), ("arguments", "{"), ("arguments", "}")]

    def test_the_rest_waits(self):
        """Text between calls, and the second call, come after the first call."""
        told = streamed(
            delta(tool_calls=CALLS[:1]),
            delta(content="a"),
            delta(reasoning_content="b"),
            delta(tool_calls=CALLS[1:]),
            DONE,
        )
        assert told[1:-1] == [
            ("call", "c0", "f"), ("arguments", '{"a": 1}'), ("call", "c1", "f"), ("arguments", '{"a": 1}'),
            ("text", "a"), ("thinking", "b"),
        ]  # fmt: skip

    def test_calls_without_numbers(self):
        """Engines that send each call whole, without a number or an id: each is a call."""
        call = {"function": {"name": "f", "arguments": {"a": 1}}}
        told = streamed(delta(tool_calls=[call, call]), DONE)
        assert told[1:-1] == [
            ("call", "call_req10", "f"), ("arguments", '{"a": 1}'),
            ("call", "call_req11", "f"), ("arguments", '{"a": 1}'),
        ]  # fmt: skip

    def test_a_name_that_comes_late(self):
        """A call begins with its name."""
        told = streamed(
            delta(tool_calls=[{"index": 0, "id": "c", "function": {"arguments": "{"}}]),
            delta(tool_calls=[{"index": 0, "function": {"name": "f", "arguments": "}"}}]),
        )
        assert told[1:] == [("call", "c", "f"), ("arguments", "{}")]

    @pytest.mark.parametrize(("said_", "told"), [("stop", "tool_calls"), ("length", "length"), (None, "tool_calls")])
    def test_the_finish_reason_of_calls(self, said_, told):
        """Engines that called a tool may say `stop`."""
        assert streamed(delta(said_, tool_calls=CALLS[:1]), DONE)[-1][1] == told


class TestUsage:
    @pytest.mark.parametrize(
        ("fields", "usage"),
        [
            ({}, Usage()),
            ({"usage": None}, Usage()),
            ({"usage": {"prompt_tokens": 5, "completion_tokens": 2}}, Usage(5, 2, told=True)),
            (
                {
                    "usage": {
                        "prompt_tokens": 5,
                        "completion_tokens": 2,
                        "prompt_tokens_details": {"cached_tokens": 9},
                        "completion_tokens_details": {"reasoning_tokens": 1},
                    },
                    "timings": {"prompt_ms": 1500, "predicted_ms": 250.0},
                },
                Usage(5, 2, 5, 1, told=True, prompt_seconds=1.5, completion_seconds=0.25),
            ),
            ({"usage": {"prompt_tokens_details": None}}, Usage(told=True)),
        ],
    )
    def test_usage(self, fields, usage):
        """Usage comes with the last chunks, or with the answer; no more is cached than was read."""
        assert streamed(delta("stop"), event(choices=[], **fields), DONE)[-1][2] == usage
        assert whole(choices=[{"message": {"content": "a"}}], **fields).usage == usage

    def test_usage_in_each_chunk(self):
        """The last one counts."""
        chunks = [event(choices=[], usage={"completion_tokens": count}) for count in (1, 2)]
        assert streamed(*chunks, DONE)[-1][2].completion == 2


class TestWhole:
    def test_an_answer(self):
        """An answer in one piece has all at once."""
        message = {"content": "a", "reasoning_content": "b", "tool_calls": [{"function": {"name": "f"}}, CALLS[1]]}
        assert whole(choices=[{"message": message, "finish_reason": "stop", "stop_reason": "END"}]) == WholeAnswer(
            "b", "a", (Call("call_req10", "f", ""), Call("c1", "f", '{"a": 1}')), "tool_calls", Usage(), "END"
        )

    def test_reasoning_in_the_text(self):
        """<think> parts it, unless the engine does, or it is a completion."""
        assert whole(choices=[{"message": {"content": "<think>a</think>b"}}])[:2] == ("a", "b")
        assert whole(choices=[{"message": {"content": "<think>", "reasoning": "a"}}])[:2] == ("a", "<think>")
        assert whole(choices=[{"text": "<think>a</think>b"}])[:2] == ("", "<think>a</think>b")

    def test_a_stream_that_was_not_asked_for(self):
        """Is gathered into one piece, its calls and its usage, too."""
        calls = [
            delta(tool_calls=[{"index": 0, "id": "c0", "function": {"name": "f", "arguments": ""}}]),
            delta(tool_calls=[{"index": 0, "function": {"arguments": '{"a":'}}]),
            delta(tool_calls=[{"index": 0, "function": {"arguments": "1}"}}]),
        ]
        usage = event(choices=[], usage={"prompt_tokens": 2, "completion_tokens": 3})
        pieces = [b": ping\n\n", delta(content="<think>a</think>"), delta(content="b"), *calls, delta("stop"), usage]
        writer = Recorder(streams=False)
        answer = ChatTranslator(writer)
        assert answer.whole(b"".join([*pieces, DONE]), 1.0) == b"whole"
        calls_told = (Call("c0", "f", '{"a":1}'),)
        usage_told = Usage(2, 3, told=True)
        assert writer.told == [("whole", WholeAnswer("a", "b", calls_told, "tool_calls", usage_told), 1.0)]
        assert answer.done

    def test_such_a_stream_that_fails(self):
        """Is its error, or one that says that it broke off."""
        with pytest.raises(EngineError, match="It broke"):
            ChatTranslator(Recorder(streams=False)).whole(event(error={"message": "It broke"}), 0.0)
        with pytest.raises(BadGatewayError, match="broke off"):
            ChatTranslator(Recorder(streams=False)).whole(delta(content="a"), 0.0)

    def test_a_stream_was_asked_for(self):
        """An engine that answers a stream in one piece: the writer streams it."""
        writer = Recorder()
        answer = ChatTranslator(writer)
        body = json.dumps({"choices": [{"message": {"content": "a"}, "finish_reason": "length"}]}).encode()
        assert answer.whole(body, 1.0) == b"begin a end"
        assert answer.done
        assert writer.told[-1][1] == "length"

    @pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"choices": []}', b'{"choices": [{"message": 1}]}', b"\xff"])
    def test_what_is_no_answer(self, body):
        """It is the engine's fault."""
        with pytest.raises(BadGatewayError):
            ChatTranslator(Recorder(streams=False)).whole(body, 0.0)


class TestErrors:
    def test_an_error_in_a_stream(self):
        """It ends the client's stream, in the form of its API."""
        answer = ChatTranslator(Recorder())
        told = answer.feed(event(error={"message": "out of memory"}) + DONE, 0.0)
        assert re.search(rb'event: error\ndata: .*"out of memory"', told)
        assert answer.done
        assert answer.ended(0.0) == b""

    def test_an_error_in_place_of_an_answer(self):
        """It has the form of the client's API; one that claims to be an answer is the engine's fault."""
        answer = ChatTranslator(Recorder(streams=False))
        expected = {"type": "error", "error": {"type": "api_error", "message": "no"}}
        assert json.loads(answer.error(500, b'{"detail": "no"}')) == expected
        with pytest.raises(EngineError, match=r"^out of memory$"):
            answer.whole(b'{"error": {"message": "out of memory"}}', 0.0)


def test_the_content_type():
    """A stream is one of events, and else JSON, whatever the engine sent."""
    assert ChatTranslator(Recorder()).content_type == EVENT_STREAM
    assert ChatTranslator(Recorder(streams=False)).content_type == JSON


ORDER = re.compile(r"B[TX]*(C[A]*)*[TX]*E")
LETTERS = {"begin": "B", "thinking": "T", "text": "X", "call": "C", "arguments": "A", "end": "E"}


@settings(max_examples=80, deadline=None)
@given(st.data(), said(mixed=True))
def test_every_writer_is_told_in_an_order_that_it_can_show(data: st.DataObject, expected: Said) -> None:
    """However an engine mixes texts and calls, a writer gets one after the other, and all of it."""
    told = streamed(*data.draw(cut(expected.stream())))
    assert ORDER.fullmatch("".join(LETTERS[kind] for kind in kinds(told)))
    assert all(each[1] for each in told if each[0] in {"thinking", "text", "arguments"})
    assert "".join(each[1] for each in told if each[0] == "text") == expected.text
    assert "".join(each[1] for each in told if each[0] == "thinking") == expected.thinking
    calls: list[list[str]] = []
    for each in told:
        if each[0] == "call":
            calls.append([each[1], each[2], ""])
        elif each[0] == "arguments":
            calls[-1][2] += each[1]
    assert [(id_, name, json.loads(arguments)) for id_, name, arguments in calls] == expected.calls
