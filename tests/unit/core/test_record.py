from itertools import accumulate, pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router.core.record import (
    TAIL,
    Tail,
    has_event,
    is_cut,
    needs_mark,
    says_error,
    tail_of,
    tokens_in,
)
from tests.unit.core.streams import CHAT, chunked, is_whole, kept

# What is kept

sizes = st.integers(0, 600) | st.sampled_from([1, 255, 256, 257, TAIL - 1, TAIL, TAIL + 1, 3 * TAIL])


@given(st.lists(st.tuples(sizes, st.integers(1, 40)), max_size=8))
@example([(1, 3 * TAIL)])
@example([(255, 40)])
@example([(256, 40)])
@example([(257, 40), (1, 1)])
@example([(TAIL, 40), (255, 1)])
def test_the_last_bytes_are_kept(runs):
    """All of a short answer; of a longer one nearly as many as are wanted, and never more."""
    edges = [0, *accumulate(size for size, times in runs for _ in range(times))]
    whole = (bytes(range(251)) * (edges[-1] // 251 + 1))[: edges[-1]]
    tail = kept(whole[begin:end] for begin, end in pairwise(edges))
    assert whole.endswith(tail)
    assert min(len(whole), TAIL * 3 // 4) <= len(tail) <= TAIL


def test_what_is_kept_can_be_looked_at_before_the_end():
    """It changes nothing."""
    tail = Tail()
    assert tail.bytes() == b""
    for number in range(5 * TAIL):
        tail.add(b"%c" % (number % 251))
        assert tail.bytes()[-1] == number % 251
    assert len(tail.bytes()) <= TAIL


def test_little_is_held_for_it():
    """However many pieces an answer has, and however small or large they are."""
    for size in (1, 255, 256, TAIL, 100 * TAIL):
        tail = Tail()
        for _ in range(1000):
            tail.add(b"x" * size)
        assert sum(map(len, tail._pieces)) <= 10 * TAIL


# [DONE]


@pytest.mark.parametrize(
    ("tail", "done"),
    [
        (b"data: [DONE]\n\n", True),
        (b"data: [DONE]\n", True),
        (b"data: [DONE]", True),
        (b"data:[DONE]\n\n", True),
        (b"data: [DONE]\r\n\r\n", True),
        (b"data: [DONE]\r\n\r\n\n  \n", True),
        (b"data: {}\n\ndata: [DONE]\n\n", True),
        (b"data: {}\r\n\r\ndata: [DONE]\r\n\r\n", True),
        (b"event: end\ndata: [DONE]\n\n", True),
        (b"", False),
        (b"data: {}\n\n", False),
        (b"data: [DONE", False),
        (b"data: [D", False),
        (b"[DONE]\n\n", False),
        (b"data: DONE\n\n", False),
        (b"data: [DONE]]\n\n", False),
        (b"data: [DONE]\n\ndata: {}\n\n", True),  # what comes behind the mark is no part of the message
        (b"data: [DONE]\n\n: ping\n\n", True),
        (b"data: {}data: [DONE]\n\n", False),
        (b': "data: [DONE]\n\n', False),
        (b'data: "data: [DONE]"\n\n', False),
        (b'data: "\\ndata: [DONE]\\n\\n"\n\n', False),
    ],
)
def test_the_mark_of_openais_older_apis(tail, done):
    """It is a line of its own; nothing behind it counts."""
    for path in ("/v1/chat/completions", "/v1/completions"):
        assert is_whole(path, tail) is done
        assert is_whole(path, chunked(tail)[: -len(b"0\r\n\r\n")] if tail else b"") is done


@given(
    st.lists(st.sampled_from([*CHAT[:5], b": ping\n\n", b"\n"])),
    st.sampled_from(["", "\n", "\n\n", "\r\n\r\n"]),
    st.integers(1, 3000),
)
@example(CHAT[:5] * 4, "\n\n", 1)
@example(CHAT[:5] * 4, "\n\n", 256)
def test_a_stream_is_whole_with_its_mark(events, end, size):
    """Whatever events came before, in pieces of whatever size: with the mark it is whole, and not a byte sooner."""
    stream = b"".join(events)
    for mark, done in (
        (b"data: [DONE]" + end.encode(), True),
        (b"data: [DONE", False),
        (b"data:", False),
        (b"", False),
    ):
        whole = stream + mark
        pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
        assert is_whole("/v1/chat/completions", *pieces) is done
        if size >= 7:  # a chunk that is nothing but hexadecimal digits looks like the size of one
            assert is_whole("/v1/chat/completions", chunked(*pieces)[: -len(b"0\r\n\r\n")]) is done


STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
RESPONSE = b'{"id":"resp_1","output":"%s"}' % (b"x" * 3 * TAIL)
COMPLETED = b'event: response.completed\ndata: {"type":"response.completed","response":%s}\n\n' % RESPONSE


@pytest.mark.parametrize(
    ("path", "last", "whole"),
    [
        ("/v1/messages", STOP, True),
        ("/v1/messages", STOP.replace(b"\n", b"\r\n"), True),
        ("/v1/messages", STOP + b"data: [DONE]\n\n", True),  # as vllm does
        ("/v1/messages", STOP.split(b"\n", 1)[1], True),
        ("/v1/messages", b'event: error\ndata: {"type":"error","error":{}}\n\n', True),
        ("/v1/messages", STOP[:-3], False),
        ("/v1/messages", b'event: message_delta\ndata: {"type":"message_delta"}\n\n', False),
        ("/v1/messages", b'event: x\ndata: {"t":"\\"type\\":\\"message_stop\\""}\n\n', False),
        ("/v1/responses", COMPLETED, True),
        ("/v1/responses", COMPLETED.replace(b"\n", b"\r\n"), True),
        ("/v1/responses", COMPLETED.replace(b"completed", b"incomplete"), True),
        ("/v1/responses", COMPLETED.replace(b"completed", b"failed"), True),
        ("/v1/responses", COMPLETED + b": ping\n\n", True),
        ("/v1/responses", COMPLETED.split(b"\n", 1)[1], True),
        ("/v1/responses", b'event: error\ndata: {"type":"error"}\n\n', True),
        ("/v1/responses", b"data: [DONE]\n\n", True),
        ("/v1/responses", COMPLETED[:-2], False),
        ("/v1/responses", COMPLETED.replace(b"response.completed", b"response.created"), False),
        ("/v1/audio/transcriptions", b"data: [DONE]\n\n", True),  # of no API of its own: OpenAI's clients stop there
        ("/v1/audio/transcriptions", b"data: {}\n\n", False),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 64, 1500, 10**6])
def test_each_api_has_its_own_mark(path, last, whole, size):
    """However the stream is cut into pieces, and into chunks."""
    stream = b'event: ping\ndata: {"type": "ping"}\n\n' * 3 + last
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert is_whole(path, *pieces) is whole
    if size >= 7:
        framed = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces]
        assert is_whole(path, *framed) is whole


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses"])
def test_which_streams_have_a_mark(path):
    """All that are events whatever the engine; of no other is it known."""
    assert needs_mark(path)
    assert not needs_mark("/v1/audio/speech")


@pytest.mark.parametrize(
    ("tail", "length", "cut"),
    [
        (b'{"a": [1]}\n', 11, False),
        (b'{"a":\n{"b": 1}}\n{"c": 2}', 25, False),  # several
        (b"[]", 2, False),
        (b'{"a": {"b": 1}', 14, True),
        (b'{"a": "b', 8, True),
        (b"\xff", 1, True),
        (b"[" * 2000, 2000, True),
        (b'b": 1}}\n', 4000, False),
        (b"1, 2]", 4000, False),
        (b'b": 1', 4000, True),
    ],
)
def test_json_that_is_cut(tail, length, cut):
    """What isn't kept whole is known by its last bracket."""
    assert is_cut(tail, length) is cut


ERROR = b'{"error": {"message": "no"}}'


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (ERROR, True),
        (b"\n" + ERROR, True),
        (b'{"error":"no"}', True),
        (b'{"object":"error","message":"no"}', True),
        (b'{"type": "error", "error": {}}', True),
        (b"data: " + ERROR + b"\n\n", True),
        (b"data:" + ERROR, True),
        (b"event: error\r\ndata: " + ERROR, True),
        (b"2a\r\ndata: " + ERROR, True),
        (b"2a;x=y\r\nevent: error\ndata: " + ERROR, True),
        (b"", False),
        (b'{"error": null, "choices": []}', False),
        (b'{"id": "x", "error": {}}', False),
        (b'data: {"choices":[{"delta":{"content":"{\\"error\\": {}}"}}]}', False),
        (b'data: {"id":"1"}\n\ndata: ' + ERROR, False),
        (b": ping\n\n", False),
        (b"event: error", False),
    ],
)
def test_an_answer_that_begins_with_an_error(data, expected):
    """In any form that engines have for it; what comes later, or within a text, is none."""
    assert says_error(data) is expected


# How it begins


@pytest.mark.parametrize(
    ("data", "has"),
    [
        (b"", False),
        (b": ping\n\n", False),
        (b"8\r\n: ping\n\n\r\n", False),
        (b": data: none\n\n", False),
        (b"event: message_start\n", False),
        (b"data: x", True),
        (b": ping\n\ndata:x", True),
        (b"event: message_start\ndata: {}\n\n", True),
        (b"8\r\n: ping\n\n\r\n9\r\ndata: x\n\n\r\n", True),
        (b'{"model":"m","done":false}\n', True),
    ],
)
def test_an_event_is_told_from_pings(data, has):
    """With the size of a chunk before it or not."""
    assert has_event(data) is has


# Lines of JSON

LAST = b'{"model":"m","done":true,"done_reason":"stop","prompt_eval_count":24,"eval_count":6}\n'


@pytest.mark.parametrize(
    ("data", "whole"),
    [
        (LAST, True),
        (b'{"response":"x","done":false}\n' + LAST, True),
        (b'{"done":false}\n{"error":"It broke."}\n', True),
        (b'{"response":"\\"done\\":true}","done":false}\n', False),
        (LAST[:-1], False),
        (b'{"done":false}\n', False),
    ],
)
def test_the_end_of_ollamas_streams(data, whole):
    """Its last line says that it is done, or it is an error."""
    for path in ("/api/chat", "/api/generate"):
        tail = tail_of(path)
        tail.add(data)
        assert tail.is_whole(path) is whole
        assert needs_mark(path)


def test_the_events_that_open_a_stream_are_no_tokens():
    assert [tokens_in("/v1/messages", events) for events in (0, 2, 3)] == [0, 0, 1]
