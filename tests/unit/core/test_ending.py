import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router.core.ending import ending, told_by
from router.core.record import TAIL, Record
from tests.unit.core.streams import APIS, CHAT, DONE, USAGE, chunk_of, chunked, is_whole, kept

NOTHING = (None, None, None, False)


def told(tail: bytes) -> tuple[int | None, int | None, str | None, bool]:
    """What the end of an answer says: its counts, its reason, whether there is an error."""
    said = ending(tail)
    return said.prompt_tokens, said.completion_tokens, said.finish_reason, said.error


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
    assert ending(body).cached_tokens == cached


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
    expected = (12, completion, reason, False)
    for whole in (body, body + b"\n", chunked(body), chunked(body, b"\n")):
        assert told(whole) == expected
    assert told((b"x" * TAIL + body)[-TAIL:]) == expected


# vLLM 0.26 with enable-prompt-tokens-details, as an H200 said it

OF_VLLM = {
    "chat": b'{"choices":[],"usage":{"prompt_tokens":743,"total_tokens":749,"completion_tokens":6,'
    b'"prompt_tokens_details":{"cached_tokens":736,"created_cache_tokens":0,"multimodal_tokens":null}},'
    b'"prompt_logprobs":null}',
    "chat stream": b'data: {"id":"chatcmpl-1","choices":[],"usage":{"prompt_tokens":743,"total_tokens":749,'
    b'"completion_tokens":6,"prompt_tokens_details":{"cached_tokens":736,"created_cache_tokens":0}},'
    b'"system_fingerprint":"vllm-0.26.0"}\n\ndata: [DONE]\n\n',
    "messages": b'{"type":"message","stop_reason":"max_tokens","usage":{"input_tokens":7,"output_tokens":6,'
    b'"cache_creation_input_tokens":0,"cache_read_input_tokens":736}}',
    "messages stream": b'event: message_start\ndata: {"type":"message_start","message":{"usage":{"input_tokens":743,'
    b'"output_tokens":0}}}\n\nevent: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"max_tokens"},'
    b'"usage":{"input_tokens":7,"output_tokens":6,"cache_creation_input_tokens":0,"cache_read_input_tokens":736}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
    "responses": b'{"usage":{"input_tokens":743,"input_tokens_details":{"cached_tokens":736,"input_tokens_per_turn":[],'
    b'"cached_tokens_per_turn":[]},"output_tokens":6,"output_tokens_details":{"reasoning_tokens":0,'
    b'"tool_output_tokens":0,"output_tokens_per_turn":[],"tool_output_tokens_per_turn":[]},"total_tokens":749}}',
}


@pytest.mark.parametrize("said", OF_VLLM.values(), ids=OF_VLLM)
def test_what_vllm_says(said):
    """The cached ones are among the prompt's in each API, wherever it counts them."""
    found = ending(said)
    assert (found.prompt_tokens, found.cached_tokens, found.completion_tokens) == (743, 736, 6)


# Streams


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
TIMINGS = (
    b'"timings":{"cache_n":5,"prompt_n":7,"prompt_ms":4.2,"prompt_per_token_ms":0.6,"prompt_per_second":1666.1,'
    b'"predicted_n":40,"predicted_ms":410.5,"predicted_per_token_ms":10.2,"predicted_per_second":97.4}}\n\n'
)
OF_LLAMA_SERVER = [
    b'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":"Hi"}}],"created":1}\n\n',
    b'data: {"choices":[{"finish_reason":"stop","index":0,"delta":{}}],"object":"chat.completion.chunk",' + TIMINGS,
    DONE,
]
OF_LLAMA_SERVER_OLD = [event.replace(b'"cache_n":5,', b"") for event in OF_LLAMA_SERVER]
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
        (CHAT, (12, 40, "stop", False)),
        (WITHOUT_USAGE, (None, None, "length", False)),
        (IN_EVERY_CHUNK, (12, 40, "stop", False)),
        (OF_LLAMA_SERVER, (12, 40, "stop", False)),
        (OF_LLAMA_SERVER_OLD, (7, 40, "stop", False)),
        (MESSAGES, (None, 40, "max_tokens", False)),
        (RESPONSE_EVENTS, (12, 40, "completed", False)),
        ([CHAT[3], chunk_of("", usage=USAGE), DONE], (12, 40, "stop", False)),
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
        assert told(tail) == expected
        assert told(kept([tail])) == expected
        assert told(kept(tail[at : at + 7] for at in range(0, len(tail), 7))) == expected


def test_what_was_cached_of_a_prompt_that_is_not_told():
    """The prompt stays unknown."""
    said = ending(b'"usage":{"cache_read_input_tokens":3,"output_tokens":5}}')
    assert (said.prompt_tokens, said.completion_tokens, said.cached_tokens) == (None, 5, 3)


def test_what_was_cached_by_llama_server():
    """Apart from what it has read, if it is new enough."""
    assert ending(b"".join(OF_LLAMA_SERVER)).cached_tokens == 5
    assert ending(b"".join(OF_LLAMA_SERVER_OLD)).cached_tokens is None


TOOL_CALLS = (
    b'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"tool_calls":[{"index":1,"id":"x","type":"function"}]'
    b"}}]}\n\n"
)
OF_COMPLETION = (
    b'{"index":%d,"content":"Hi","tokens":[],"stop":true,"timings":{"cache_n":0,"prompt_n":3,"predicted_n":5}}'
)


@pytest.mark.parametrize(
    ("tail", "choices"),
    [
        (OPENAI, 0),
        (OPENAI.replace(b'"index":0', b'"index":3'), 0),
        (LLAMA_CPP, 1),
        (LLAMA_CPP.replace(b'"index":0', b'"index":39'), 40),
        (b"".join(OF_LLAMA_SERVER), 1),
        (b"".join([TOOL_CALLS, *OF_LLAMA_SERVER]), 1),
        (b"".join(OF_LLAMA_SERVER).replace(b'"index":0', b'"index":1', 1), 2),
        (b'{"choices":[{"text":"Hi","index":1,"logprobs":null}],"timings":{"prompt_n":1,"predicted_n":1}}', 2),
        (OF_COMPLETION % 0, 1),
        (b"[%s,%s]" % (OF_COMPLETION % 0, OF_COMPLETION % 6), 7),
        (b'...hidden","timings":{"prompt_n":3,"predicted_n":5}}]\n', 2),
        (chunked(b'...hidden","timings":{"prompt_n":3,"predicted_n":5}}]'), 2),
    ],
)
def test_of_how_many_choices_an_answer_is_of_which_one_was_counted(tail, choices):
    """llama.cpp's server counts one alone, whose count says nothing of the others; others count all."""
    assert ending(tail).choices == choices


@pytest.mark.parametrize("at", range(1, len(USAGE)))
def test_counts_that_two_chunks_part_are_not_misread(at):
    """Where a chunk ends amid the counts, they are those that were said, or none."""
    said = told(chunked(f'{{"usage":{USAGE[:at]}'.encode(), f"{USAGE[at:]}}}".encode()))
    assert said in (NOTHING, (12, 40, None, False))


@pytest.mark.parametrize("events", [CHAT, IN_EVERY_CHUNK, MESSAGES, RESPONSE_EVENTS, [OPENAI], [INDENTED], [DETAILS]])
def test_what_was_cut_off_is_not_misread(events):
    """Wherever a tail begins, what it says is what the whole says, or nothing."""
    whole = b"".join(events)
    expected = told(whole)
    for at in range(len(whole)):
        *said, error = told(whole[at:])
        assert all(figure in {None, of_all} for figure, of_all in zip(said, expected, strict=False))
        assert not error


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
            assert told(tail[at:]) == NOTHING
            assert told(chunked(tail[at:])) == NOTHING
        assert not any(is_whole(path, tail) for path in APIS)


@pytest.mark.parametrize("talk", TALK)
def test_what_an_answer_talks_of_does_not_hide_what_it_says(talk):
    """Before the end of it, or behind."""
    said = chunk_of(f'"content":{json.dumps(talk)}')
    assert told(b"".join([said, *CHAT])) == told(b"".join(CHAT))
    named = f'{OPENAI[:-1].decode()},"note":{json.dumps(talk)}}}'.encode()
    assert told(named) == told(OPENAI)


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
        b'"usage":null,"timings":{"prompt_n":12}}',
        b'"timings":{"prompt_n":-1,"predicted_n":3}}',
        b'"timings":null}',
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
    assert told(tail) == NOTHING


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
        assert told(b'"usage":{"%s":%s,"%s":3}}' % (prompt, number, completion)) == (read, 3, None, False)
        assert told(b'"usage":{"%s":3,"%s":%s}}' % (prompt, completion, number)) == (3, read, None, False)


@pytest.mark.parametrize("number", [b"-", b"01", b"1e400", b"NaN", b"0x1", b"1_000", b"", b"\xb2"])
def test_what_is_no_number_spoils_all(number):
    """It is no JSON: nothing that stands with it is trusted."""
    assert told(b'"usage":{"prompt_tokens":%s,"completion_tokens":3}}' % number) == NOTHING


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
    assert told(b'"usage":' + usage) == (prompt, completion, None, False)


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
    assert told(event[-TAIL:]) == (None, None, "failed", True)
    assert not ending(event.replace(b"failed", b"completed")[-TAIL:]).error


def test_an_error_after_the_counts_hides_them_not():
    """All that was said is told."""
    assert told(b"".join([*CHAT[:5], b'data: {"error":{"message":"x"}}\n\n'])) == (12, 40, "stop", True)


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


def test_no_depth_breaks_the_reading_of_an_end():
    """Brackets within brackets fit into a tail by the thousand."""
    assert told(b'"usage":{"prompt_tokens":' + b"[" * 2000 + b"}") == NOTHING


LAST = b'{"model":"m","done":true,"done_reason":"stop","prompt_eval_count":24,"eval_count":6}\n'


def test_ollamas_counts():
    """They stand at the top of the last line."""
    assert told(b'{"response":"x","done":false}\n' + LAST) == (24, 6, "stop", False)


def test_counts_in_a_line_that_is_cut():
    """Are none."""
    assert told(LAST[9:]) == (None, None, "stop", False)


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
