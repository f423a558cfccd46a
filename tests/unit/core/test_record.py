import json
from itertools import accumulate, pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router.core.record import (
    TAIL,
    Ending,
    Record,
    Tail,
    cached_tokens,
    ending,
    has_event,
    is_cut,
    needs_mark,
    says_error,
    tail_of,
    tokens_in,
    told_by,
)

APIS = ("/v1/chat/completions", "/v1/messages", "/v1/responses")
NOTHING = Ending(None, None, None, error=False)


def chunked(*parts: bytes) -> bytes:
    """Put each part into a chunk, and end: so a body is kept that passes with its framing."""
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def is_whole(path: str, *pieces: bytes) -> bool:
    """Tell whether a stream of these pieces has said its end mark."""
    tail = tail_of(path)
    for piece in pieces:
        tail.add(piece)
    return tail.is_whole(path)


def kept(pieces) -> bytes:
    """Give what is kept of an answer that came in these pieces."""
    tail = Tail()
    for piece in pieces:
        tail.add(piece)
    return tail.bytes()


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


# Answers that are one JSON object

OPENAI = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"demo","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"Hi!","refusal":null},"logprobs":null,"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":12,"completion_tokens":40,"total_tokens":52}}'
)
DETAILS = (
    b'{"choices":[{"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":12,"completion_tokens":40,"total_tokens":52,'
    b'"prompt_tokens_details":{"cached_tokens":8,"audio":{"tokens":1}},"completion_tokens_details":'
    b'{"reasoning_tokens":20,"accepted_prediction_tokens":0}},"service_tier":"default","system_fingerprint":"fp_1"}'
)
DETAILS_FIRST = (
    b'{"usage":{"completion_tokens_details":{"reasoning_tokens":20},"prompt_tokens_details":{"cached_tokens":8},'
    b'"completion_tokens":40,"prompt_tokens":12}}'
)
INDENTED = json.dumps(json.loads(DETAILS), indent=2).encode()
LLAMA_CPP = (
    b'{"choices":[{"finish_reason":"length","index":0,"message":{"role":"assistant","content":"Hi"}}],"created":1,'
    b'"usage":{"completion_tokens":40,"prompt_tokens":12,"total_tokens":52},"id":"chatcmpl-1",'
    b'"timings":{"prompt_n":12,"prompt_ms":31.5,"predicted_n":40,"predicted_per_second":97.4}}'
)
VLLM = (
    b'{"choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop","stop_reason":null}],'
    b'"usage":{"prompt_tokens":12,"total_tokens":52,"completion_tokens":40,"prompt_tokens_details":null},'
    b'"prompt_logprobs":null,"kv_transfer_params":null}'
)
EMBEDDINGS = b'{"object":"list","data":[{"embedding":[0.1,-2e-05]}],"usage":{"prompt_tokens":12,"total_tokens":12}}'
RESPONSES = (
    b'{"id":"resp_1","object":"response","status":"completed","error":null,"incomplete_details":null,"output":[],'
    b'"usage":{"input_tokens":12,"input_tokens_details":{"cached_tokens":0},"output_tokens":40,'
    b'"output_tokens_details":{"reasoning_tokens":0},"total_tokens":52},"user":null,"metadata":{}}'
)
ANTHROPIC = (
    b'{"id":"msg_1","type":"message","role":"assistant","content":[{"type":"text","text":"Hi!"}],'
    b'"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":12,"output_tokens":40}}'
)

CUT_RESPONSES = (
    b'{"id":"resp_1","object":"response","output":[{"type":"message","status":"incomplete"}],"tools":[],"error":null,'
    b'"usage":{"input_tokens":12,"output_tokens":40},"incomplete_details":{"reason":"max_output_tokens"},'
    b'"status":"incomplete"}'
)
ANTHROPIC_CACHED = ANTHROPIC.replace(
    b'"input_tokens":12', b'"input_tokens":1,"cache_creation_input_tokens":3,"cache_read_input_tokens":8'
)


@pytest.mark.parametrize(
    ("body", "cached"),
    [
        (OPENAI.replace(b'"usage":{', b'"usage":{"prompt_tokens_details":{"cached_tokens":7},'), 7),
        (RESPONSES.replace(b'"cached_tokens":0', b'"cached_tokens":11'), 11),
        (ANTHROPIC_CACHED, 8),
        (ANTHROPIC, None),
        (VLLM, None),
        (b"{}", None),
    ],
)
def test_what_was_cached(body, cached):
    """Wherever each API has it."""
    assert cached_tokens(body) == cached


@pytest.mark.parametrize(
    ("body", "reason", "completion"),
    [
        (OPENAI, "stop", 40),
        (DETAILS, "tool_calls", 40),
        (DETAILS_FIRST, None, 40),
        (INDENTED, "tool_calls", 40),
        (LLAMA_CPP, "length", 40),
        (VLLM, "stop", 40),
        (EMBEDDINGS, None, None),
        (RESPONSES, "completed", 40),
        (CUT_RESPONSES, "max_output_tokens", 40),
        (ANTHROPIC, "end_turn", 40),
        (ANTHROPIC_CACHED, "end_turn", 40),
    ],
)
def test_a_json_answer(body, reason, completion):
    """Whoever's form it has, and with or without its chunks, its tail alone too."""
    json.loads(body)
    expected = Ending(12, completion, reason, error=False)
    for whole in (body, body + b"\n", chunked(body), chunked(body, b"\n")):
        assert ending(whole) == expected
    assert ending((b"x" * TAIL + body)[-TAIL:]) == expected


# Streams


def chunk_of(delta: str, reason: str = "null", usage: str = "null") -> bytes:
    """Write an event of a chat's stream that was asked for its usage."""
    return (
        f'data: {{"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[{{"index":0,"delta":{{{delta}}},'
        f'"logprobs":null,"finish_reason":{reason}}}],"usage":{usage}}}\n\n'
    ).encode()


DONE = b"data: [DONE]\n\n"
USAGE = '{"prompt_tokens":12,"completion_tokens":40,"total_tokens":52,"prompt_tokens_details":{"cached_tokens":0}}'
CHAT = [
    chunk_of('"role":"assistant"'),
    chunk_of('"content":"Hi"'),
    chunk_of('"content":"!"'),
    chunk_of("", '"stop"'),
    f'data: {{"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[],"usage":{USAGE}}}\n\n'.encode(),
    DONE,
]
WITHOUT_USAGE = [
    b'data: {"choices":[{"delta":{"content":"Hi"},"finish_reason":null}]}\n\n',
    b'data: {"choices":[{"delta":{},"finish_reason":"length"}]}\n\n',
    DONE,
]
IN_EVERY_CHUNK = [
    chunk_of('"content":"a"', usage='{"prompt_tokens":12,"completion_tokens":1}'),
    chunk_of('"content":"b"', '"stop"', usage='{"prompt_tokens":12,"completion_tokens":40}'),
    DONE,
]
MESSAGE_START = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","type":"message","content":[],'
    b'"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":12,"output_tokens":1}}}\n\n'
)
MESSAGE_DELTA = (
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"max_tokens","stop_sequence":null},'
    b'"usage":{"output_tokens":40}}\n\n'
)
MESSAGES = [
    MESSAGE_START,
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"text":"Hi"}}\n\n',
    b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n',
    MESSAGE_DELTA,
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
]
RESPONSE_EVENTS = [
    b'event: response.output_text.done\ndata: {"type":"response.output_text.done","text":"Hi"}\n\n',
    b'event: response.completed\ndata: {"type":"response.completed","response":' + RESPONSES + b"}\n\n",
]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (CHAT, Ending(12, 40, "stop", error=False)),
        (WITHOUT_USAGE, Ending(None, None, "length", error=False)),
        (IN_EVERY_CHUNK, Ending(12, 40, "stop", error=False)),
        (MESSAGES, Ending(None, 40, "max_tokens", error=False)),
        (RESPONSE_EVENTS, Ending(12, 40, "completed", error=False)),
        ([CHAT[3], chunk_of("", usage=USAGE), DONE], Ending(12, 40, "stop", error=False)),
        (CHAT[:3], NOTHING),  # it broke off
    ],
)
@pytest.mark.parametrize("spaced", [False, True])
def test_a_stream(events, expected, spaced):
    """The latest counts, the latest reason that is one: plain, with CRLF, in chunks of one event, of all, of halves."""
    if spaced:
        events = [event.replace(b'":', b'": ') for event in events]
    crlf = [event.replace(b"\n", b"\r\n") for event in events]
    halves = [piece for event in events for piece in (event[:9], event[9:])]
    for tail in (
        b"".join(events),
        b"".join(crlf),
        chunked(*events),
        chunked(*crlf),
        chunked(b"".join(events)),
        chunked(*halves),
    ):
        assert ending(tail) == expected
        assert ending(kept([tail])) == expected
        assert ending(kept(tail[at : at + 7] for at in range(0, len(tail), 7))) == expected


@pytest.mark.parametrize("at", range(1, len(USAGE)))
def test_counts_that_two_chunks_part_are_not_misread(at):
    """Where a chunk ends amid the counts, they are those that were said, or none."""
    said = ending(chunked(f'{{"usage":{USAGE[:at]}'.encode(), f"{USAGE[at:]}}}".encode()))
    assert said in (NOTHING, Ending(12, 40, None, error=False))


@pytest.mark.parametrize("events", [CHAT, IN_EVERY_CHUNK, MESSAGES, RESPONSE_EVENTS, [OPENAI], [INDENTED], [DETAILS]])
def test_what_was_cut_off_is_not_misread(events):
    """Wherever a tail begins, what it says is what the whole says, or nothing."""
    whole = b"".join(events)
    expected = ending(whole)
    for at in range(len(whole)):
        said = ending(whole[at:])
        assert said.prompt_tokens in {None, expected.prompt_tokens}
        assert said.completion_tokens in {None, expected.completion_tokens}
        assert said.finish_reason in {None, expected.finish_reason}
        assert not said.error


# What only looks like an end

TALK = [
    'the "usage":{"prompt_tokens":7,"completion_tokens":8} of it',
    '"usage": {"input_tokens": 7, "output_tokens": 8}}',
    '{"finish_reason":"stop","stop_reason":"end_turn"}',
    'data: {"error": {"message": "no"}}\n\ndata: {"error":"no"}',
    '\n{"error": "no"}',
    '\n{"type": "error", "error": {}}\n',
    'event: error\ndata: {"type": "error", "error": {}}\n\n',
    "data: [DONE]\n\n",
]


@pytest.mark.parametrize("talk", TALK)
def test_an_answer_may_talk_of_all_that(talk):
    """A string's words are no fields, whatever they say."""
    text = json.dumps(talk)
    body = f'{{"choices":[{{"message":{{"content":{text}}}}}]}}'.encode()
    event = f'data: {{"choices":[{{"delta":{{"content":{text}}}}}]}}\n\n'.encode()
    arguments = f'data: {{"delta":{{"arguments":{json.dumps(text)}}}}}\n\n'.encode()  # JSON in JSON: escaped twice
    for tail in (body, event, arguments):
        for at in range(len(tail)):
            assert ending(tail[at:]) == NOTHING
            assert ending(chunked(tail[at:])) == NOTHING
        assert not any(is_whole(path, tail) for path in APIS)


@pytest.mark.parametrize("talk", TALK)
def test_what_an_answer_talks_of_does_not_hide_what_it_says(talk):
    """Before the end of it, or behind."""
    said = chunk_of(f'"content":{json.dumps(talk)}')
    assert ending(b"".join([said, *CHAT])) == ending(b"".join(CHAT))
    named = f'{OPENAI[:-1].decode()},"note":{json.dumps(talk)}}}'.encode()
    assert ending(named) == ending(OPENAI)


@pytest.mark.parametrize(
    "tail",
    [
        b"",
        b"\n",
        b"OK",
        b"<html><body>Bad gateway</body></html>",
        b"\x00\xff\xfe\x80",
        b"null",
        b"{}",
        b"[]",
        b'"usage"',
        b'"usage":',
        b'"usage":{',
        b'"usage":{"prompt_tokens":12',
        b'"usage":{"prompt_tokens":12,"prompt_tokens_details":{"cached_tokens":0}',
        b'"usage":null',
        b'"usage":null,"timings":{"prompt_tokens":12}}',
        b'"usage":[]',
        b'"usage":"{}"',
        b'"usage":12}',
        b'"usage":}{',
        b'"usage":{}',
        b'"usage":{"prompt_tokens":null,"completion_tokens":null}',
        b'"usage":{"\xff":12}',
        b'"usage":{"prompt_tokens":12,,}',
        b'"Usage":{"prompt_tokens":12}',
        b'{"usage_of_words":{"prompt_tokens":12}}',
        b'"finish_reason"',
        b'"finish_reason":',
        b'"finish_reason":null',
        b'"finish_reason":"',
        b'"finish_reason":"sto',
        b'"finish_reason":""',
        b'"finish_reason":{"type":"stop"}',
        b'"finish_reason":"no word"',
        b'"finish_reason":"\x1b[2J"',
        b'"finish_reason":"%s"' % (b"a" * 41),
        b'"error"',
        b'{"error":null}',
        b'{"error":false}',
        b'{"state":"completed","error":{}}',
    ],
)
def test_nothing_is_said(tail):
    """Garbage says nothing, and neither does what is empty, or only begins."""
    assert ending(tail) == NOTHING


@pytest.mark.parametrize(
    ("number", "read"),
    [
        (b"0", 0),
        (b"12", 12),
        (b"999999999999", 999_999_999_999),
        (b"1000000000000", None),  # what is more is a mistake
        (b"-1", None),
        (b"9" * 30, None),
        (b"9" * 1500, None),
        (b"12.5", None),
        (b"null", None),
        (b"true", None),
        (b'"12"', None),
        (b"[12]", None),
        (b'{"tokens":12}', None),
    ],
)
def test_an_odd_number(number, read):
    """What can be no count is none; what stands beside it counts."""
    for prompt, completion in ((b"prompt_tokens", b"completion_tokens"), (b"input_tokens", b"output_tokens")):
        assert ending(b'"usage":{"%s":%s,"%s":3}}' % (prompt, number, completion)) == Ending(read, 3, None, error=False)
        assert ending(b'"usage":{"%s":3,"%s":%s}}' % (prompt, completion, number)) == Ending(3, read, None, error=False)


@pytest.mark.parametrize("number", [b"-", b"01", b"1e400", b"NaN", b"0x1", b"1_000", b"", b"\xb2"])
def test_what_is_no_number_spoils_all(number):
    """It is no JSON: nothing that stands with it is trusted."""
    assert ending(b'"usage":{"prompt_tokens":%s,"completion_tokens":3}}' % number) == NOTHING


@pytest.mark.parametrize(
    ("usage", "prompt", "completion"),
    [
        (b'{"prompt_tokens":1,"input_tokens":2}', 1, None),
        (b'{"output_tokens":2,"completion_tokens":1}', None, 1),
        (b'{"prompt_tokens":null,"input_tokens":2,"completion_tokens":-1,"output_tokens":3}', 2, 3),
    ],
)
def test_a_count_that_is_said_by_two_names(usage, prompt, completion):
    """The older name goes first, where it says something."""
    assert ending(b'"usage":' + usage) == Ending(prompt, completion, None, error=False)


# Errors


@pytest.mark.parametrize(
    "said",
    [
        b'{"error":{"message":"out of memory","type":"server_error","code":500}}',
        b'{"error": {"message": "out of memory"}}',
        b'{ "error" : "out of memory" }',
        b'{\n  "error": {\n    "message": "out of memory"\n  }\n}\n',
        b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_1"}',
        b'{"type": "error", "error": {"type": "overloaded_error"}}',
    ],
)
def test_an_answer_that_ends_with_an_error(said):
    """As a body of JSON, and as a stream's event after others, whatever its status was."""
    event = b"data: " + said.replace(b"\n", b"") + b"\n\n"
    named = b"event: error\n" + event
    for tail in (
        said,
        chunked(said),
        event,
        b"".join([*CHAT[:3], event]),
        b"".join([*CHAT[:3], event, DONE]),
        b"".join([*CHAT[:3], event]).replace(b"\n", b"\r\n"),
        b"".join([*MESSAGES[:2], named]),
        b"".join([*CHAT[:3], event.replace(b"data: ", b"data:")]),
        chunked(*CHAT[:3], event),
        chunked(*CHAT[:3], event, DONE),
        chunked(*MESSAGES[:2], named),
    ):
        assert ending(tail).error
        assert ending(tail).finish_reason is None


@pytest.mark.parametrize("number", [b"", b',"sequence_number":7'])
def test_a_response_that_failed(number):
    """The event that says so may be longer than what is kept of it."""
    failed = b'"usage":null,"incomplete_details":null,"status":"failed"}' + number + b"}\n\n"
    event = b'event: response.failed\ndata: {"response":{"tools":["' + b"x" * TAIL + b'"],' + failed
    assert ending(event[-TAIL:]) == Ending(None, None, "failed", error=True)
    assert not ending(event.replace(b"failed", b"completed")[-TAIL:]).error


def test_an_error_after_the_counts_hides_them_not():
    """All that was said is told."""
    assert ending(b"".join([*CHAT[:5], b'data: {"error":{"message":"x"}}\n\n'])) == Ending(12, 40, "stop", error=True)


# Whatever comes

words = st.sampled_from([
    b'"usage"', b'"finish_reason"', b'"stop_reason"', b'"error"', b'"type"', b'"prompt_tokens"', b'"output_tokens"',
    b"data: ", b"[DONE]", b"\n", b"\r\n", b"{", b"}", b"[", b"]", b":", b",", b"null", b"12", b"-", b"\\", b'"',
])  # fmt: skip


@given(st.binary(max_size=TAIL) | st.lists(words, max_size=60).map(b"".join))
@example(b'"usage":{' + b"{" * 1000 + b"}" * 1000)
@example(b'"usage":' + b"{}" * 1000)
@example(b'"usage":{"prompt_tokens":' + b"9" * 2000 + b"}")
@example(b'"finish_reason":' * 128)
@example(b"\n{" + b" " * 2000 + b'"error"')
@example(b"\ndata: [DONE]" + b" " * 2000 + b"x")
def test_no_bytes_break_the_reading_of_an_end(tail):
    """Whatever an engine sends is read, or says nothing."""
    said = ending(tail)
    assert all(isinstance(count, int | None) for count in (said.prompt_tokens, said.completion_tokens))
    assert said.finish_reason is None or said.finish_reason.replace("_", "").isalpha()
    assert all(isinstance(is_whole(path, tail), bool) for path in APIS)


def test_no_depth_breaks_the_reading_of_an_end():
    """Brackets within brackets fit into a tail by the thousand."""
    assert ending(b'"usage":{"prompt_tokens":' + b"[" * 2000 + b"}") == NOTHING


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


def test_ollamas_counts():
    """They stand at the top of the last line."""
    assert ending(b'{"response":"x","done":false}\n' + LAST) == Ending(24, 6, "stop", error=False)


def test_counts_in_a_line_that_is_cut():
    """Are none."""
    assert ending(LAST[9:]) == Ending(None, None, "stop", error=False)


# What is told of an exchange


def record(**known: Any) -> Record:
    said: dict[str, Any] = {
        "id": "r", "path": "/v1/messages", "model": "m", "backend": "b", "status": 200, "outcome": "answered",
        "attempts": 1, "ttft": 0.5, "duration": 2.5, "sent": 100, "events": 5, "tail": b"",
    }  # fmt: skip
    return Record(**(said | known))


BEGUN = b'data: {"type":"message_start","message":{"usage":{"input_tokens":%d,"output_tokens":%d}}}\n\n'


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({"tail": BEGUN % (9, 40)}, (9, 40)),
        # What a message begins with is no count.
        ({"tail": BEGUN % (0, 0), "outcome": "the client left"}, (None, 3)),
        ({"tail": BEGUN % (9, 1), "outcome": "the client left"}, (9, 3)),
        ({"tail": BEGUN % (9, 40), "outcome": "the client left"}, (9, 40)),
        ({"events": 2, "outcome": "the client left"}, (None, 0)),
        ({"path": "/v1/responses", "outcome": "it broke off"}, (None, 1)),
        ({"path": "/v1/chat/completions", "outcome": "it broke off"}, (None, 5)),
        # An answer in one piece.
        ({"events": 0, "outcome": "the client left"}, (None, None)),
    ],
)
def test_the_tokens_of_an_answer_that_was_cut(known, expected):
    """About as many as its events; its prompt's are unknown, unless the engine has said them at the beginning."""
    said = told_by(record(**known))
    assert (said.prompt_tokens, said.completion_tokens) == expected


@pytest.mark.parametrize(("outcome", "reason"), [("answered", "stop"), ("cancelled by an admin", None)])
def test_what_was_cut_has_no_reason_of_the_engines(outcome, reason):
    """Least of all that it is in progress."""
    assert told_by(record(tail=b'{"finish_reason":"stop"}', outcome=outcome)).finish_reason == reason


def test_the_events_that_open_a_stream_are_no_tokens():
    assert [tokens_in("/v1/messages", events) for events in (0, 2, 3)] == [0, 0, 1]
