from itertools import product

import pytest

from router.core.apis import RESPONSES
from router.core.errors import UnavailableError
from router.http1.bodies import CHUNKED, CLOSE, LAST_CHUNK, LENGTH, NONE, chunk
from router.proxy.answer import (
    BODY_CAME,
    DONE,
    ENDED,
    EVENT_CAME,
    MOST_GATHERED,
    OTHER_CAME,
    PINGING,
    PINGS_CAME,
    PLACE_TOLD,
    PROMISED,
    REFUSING,
    STREAMING,
    TRANSITIONS,
    WAITING,
    Answer,
    AnswerState,
    IllegalMomentError,
    Moment,
)
from router.proxy.caller import Caller
from router.proxy.heads import RequestHead, ResponseHead
from router.proxy.requests import Request
from tests.fakes.client import Client

CHAT = "/v1/chat/completions"
EVENT = b'data: {"a": 1}\n\n'
ERROR = UnavailableError("It stopped.", retry_after=5)


def framed(frame: bytes):
    """Frame last words behind a body that broke off: as a connection does it."""
    return lambda words: frame % words if b"%s" in frame else frame


def request(*, http11: bool = True, keep_alive: bool = True, path: str = CHAT) -> Request:
    head = RequestHead(
        target=path.encode(), path=path, headers=(), keep_alive=keep_alive, id="", lines=b"", credentials=b"",
        well_addressed=True, explain=False, translatable=False, streams=False, counts=False,
    )  # fmt: skip
    return Request(
        head, "id-1", "m", Caller(), 0, stream=True, credentials=b"", http11=http11, keep_alive=keep_alive
    )  # fmt: skip


def head(framing=CHUNKED, status: int = 200, *, stream: bool = True) -> ResponseHead:
    return ResponseHead(
        status=status, headers=(), framing=framing, keep_alive=True, is_event_stream=stream, odd=False,
        lines=b"HTTP/1.1 %d X\r\n" % status,
    )  # fmt: skip


def begun(framing=CHUNKED, status: int = 200, *, stream: bool = True, pings: bool = False, length: int = 0, **asked):
    """An answer of the engine's that has begun, and its wire."""
    wire = Client()
    answer = Answer(request(**asked), wire)
    answer.begin(head(framing, status, stream=stream), length, "b", b"", 1.0, pings=pings)
    return answer, wire


def in_state(state: AnswerState) -> Answer:
    answer = Answer(request(), Client())
    answer.state = state
    return answer


# The table


@pytest.mark.parametrize(("state", "moment"), [*product(AnswerState, Moment)])
def test_each_moment_in_each_state(state, moment):
    """It leads where the table says; what the table doesn't have is an error, and changes nothing."""
    answer, after = in_state(state), TRANSITIONS[state].get(moment)
    if after is None:
        with pytest.raises(IllegalMomentError, match=f"{state.name} can't meet {moment.name}"):
            answer._move(moment)
    else:
        answer._move(moment)
    assert answer.state is (state if after is None else after)


def test_the_table():
    """All that can happen to an answer."""
    assert {state: set(moments.items()) for state, moments in TRANSITIONS.items()} == {
        WAITING: {(PLACE_TOLD, PROMISED), (PINGS_CAME, PINGING), (BODY_CAME, STREAMING), (ENDED, DONE)},
        PROMISED: {
            (PLACE_TOLD, PROMISED), (PINGS_CAME, PINGING), (BODY_CAME, STREAMING), (OTHER_CAME, REFUSING),
            (ENDED, DONE),
        },
        PINGING: {(EVENT_CAME, STREAMING), (ENDED, DONE)},
        STREAMING: {(ENDED, DONE)},
        REFUSING: {(ENDED, DONE)},
        DONE: set(),
    }  # fmt: skip


def test_it_shows_its_state():
    """In a log, or a debugger."""
    answer, _ = begun()
    answer.pass_on(EVENT)
    assert repr(answer) == f"<Answer STREAMING: {len(EVENT)} bytes>"


# The engine's answer


def test_the_head_goes_with_the_first_piece():
    """And with that alone."""
    answer, wire = begun(LENGTH, stream=False, length=7)
    assert not wire.got
    answer.pass_on(b"abc")
    answer.pass_on(b"defg")
    lines = b"HTTP/1.1 200 X\r\nx-request-id: id-1\r\nx-router-backend: b\r\ncontent-length: 7\r\n\r\n"
    assert wire.got == lines + b"abcdefg"


@pytest.mark.parametrize(
    ("framing", "stream", "http11", "line", "body"),
    [
        (CHUNKED, True, True, b"transfer-encoding: chunked\r\n", b"x"),
        (CLOSE, True, True, b"transfer-encoding: chunked\r\n", b"1\r\nx\r\n"),
        (LENGTH, True, True, b"transfer-encoding: chunked\r\n", b"1\r\nx\r\n"),
        (LENGTH, False, True, b"content-length: 1\r\n", b"x"),
        (CHUNKED, True, False, b"", b"x"),
        (CLOSE, False, False, b"", b"x"),
    ],
)
def test_how_a_client_knows_the_end(framing, stream, http11, line, body):
    """The engine's own chunks pass; a stream that comes in none is put into chunks here; HTTP/1.0 knows none."""
    answer, wire = begun(framing, stream=stream, length=1, http11=http11)
    answer.pass_on(b"x")
    begins, _, rest = wire.got.partition(b"x-router-backend: b\r\n")
    assert begins.endswith(b"x-request-id: id-1\r\n")
    assert rest == line + b"\r\n" + body


def test_a_connection_that_ends_is_told():
    """Before what frames the body."""
    answer, wire = begun(LENGTH, stream=False, length=1, keep_alive=False)
    answer.pass_on(b"x")
    assert b"\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx" in wire.got


def test_pings_are_no_beginning():
    """The first event is."""
    answer, _ = begun(pings=True)
    assert (answer.state, answer.first_byte_at, answer.begun_at) == (PINGING, 1.0, None)
    answer.speak(2.0)
    assert (answer.state, answer.first_byte_at, answer.begun_at) == (STREAMING, 1.0, 2.0)


@pytest.mark.parametrize(
    ("framing", "stream", "end"), [(CLOSE, True, b"0\r\n\r\n"), (CHUNKED, True, b""), (LENGTH, False, b"")]
)
def test_the_end_of_a_whole_answer(framing, stream, end):
    """What is framed here gets its last chunk; the engine's own framing has ended itself."""
    answer, wire = begun(framing, stream=stream, length=1)
    answer.pass_on(b"x")
    sent = wire.got
    answer.complete()
    assert (wire.got[len(sent) :], wire.ended) == (end, "kept")


def test_an_answer_without_a_body():
    """Its head goes alone."""
    answer, wire = begun(NONE, 204, stream=False)
    answer.complete()
    assert wire.got.endswith(b"x-router-backend: b\r\n\r\n")


@pytest.mark.parametrize(
    ("framing", "http11", "frame", "end", "ended"),
    [
        (CLOSE, True, b"", b"0\r\n\r\n", "kept"),  # framed here
        (CHUNKED, True, b"\n\r\n0\r\n\r\n", b"\n\r\n0\r\n\r\n", "kept"),  # the engine's chunk, filled up
        (CHUNKED, True, b"", b"", "closed"),  # one that can't be
        (CHUNKED, False, b"", b"", "kept"),  # decoded for HTTP/1.0
    ],
)
def test_the_end_of_a_message_that_is_whole(framing, http11, frame, end, ended):
    """The client gets a proper end of the framing; where none can be given, the connection can't go on."""
    answer, wire = begun(framing, http11=http11)
    answer.pass_on(EVENT)
    sent = wire.got
    answer.complete_message(frame)
    assert (wire.got[len(sent) :], wire.ended) == (end, ended)


# A promise


def test_a_place_in_the_queue():
    """With the first comes the head of a stream, and a client that hasn't taken that gets no other."""
    wire = Client()
    answer = Answer(request(), wire)
    answer.tell_place(b"queued, 3 before you", b"a: b\r\n")
    begins, _, comment = wire.got.partition(b"\r\n\r\n")
    assert begins.startswith(b"HTTP/1.1 200 OK\r\nserver: router\r\ncontent-type: text/event-stream; charset=utf-8\r\n")
    assert begins.endswith(b"x-request-id: id-1\r\na: b")
    assert comment == b"17\r\n: queued, 3 before you\n\r\n"
    assert b"\r\nx-accel-buffering: no\r\n" in begins
    wire.waits, before = 1, wire.got
    answer.tell_place(b"queued, 2 before you", b"a: b\r\n")
    assert wire.got == before
    wire.waits = 0
    answer.tell_place(b"queued, 2 before you", b"a: b\r\n")
    assert wire.got[len(before) :] == b"17\r\n: queued, 2 before you\n\r\n"


def promised(path: str = CHAT) -> tuple[Answer, Client]:
    wire = Client()
    answer = Answer(request(path=path), wire)
    answer.tell_place(b"queued, 3 before you", b"")
    wire.got = b""
    return answer, wire


def test_the_promised_stream():
    """Its body alone follows, put into chunks."""
    answer, wire = promised()
    answer.begin(head(), 0, "b", b"a: b\r\n", 1.0, pings=False)
    answer.pass_on(EVENT)
    answer.complete()
    assert wire.got == b"%x\r\n%s\r\n0\r\n\r\n" % (len(EVENT), EVENT)


@pytest.mark.parametrize(("status", "stream"), [(200, False), (500, True), (404, False)])
def test_what_is_not_the_promised_stream_is_gathered(status, stream):
    """And told as the error that the stream breaks off with."""
    answer, wire = promised()
    answer.begin(head(status=status, stream=stream), 0, "b", b"", 1.0, pings=True)
    assert answer.state is REFUSING
    assert not answer.gather(b'{"error": {"message": "no"}}')
    assert answer.gather(b" " * MOST_GATHERED)
    assert not wire.got
    error = answer.refusal()
    assert f"The engine answered {status}" in error.message
    assert answer.break_off(error, None) == status
    # No empty line before it: that would be an event without data.
    assert wire.got.partition(b"\r\n")[2].startswith(b"data: ")
    assert wire.ended == "hung up"


# Breaking off


def test_broken_off_before_anything():
    """The client gets a whole answer, and keeps its connection."""
    wire = Client()
    answer = Answer(request(), wire)
    assert answer.break_off(ERROR, None) == 503
    assert wire.got.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 5\r\n" in wire.got
    assert wire.ended == "kept"


def test_broken_off_after_a_promise():
    """The error is an event, and the stream doesn't end as if it were whole."""
    answer, wire = promised()
    assert answer.break_off(ERROR, None) == 503
    assert b"data: " in wire.got
    assert b"It stopped." in wire.got
    assert not wire.got.endswith(b"0\r\n\r\n")
    assert wire.ended == "hung up"


@pytest.mark.parametrize(
    ("framing", "stream", "frame", "says", "chunks"),
    [
        (CHUNKED, True, b"framed:%s", True, False),  # in the engine's own chunks
        (CLOSE, True, b"%s", True, True),  # in one that is made here
        (CHUNKED, True, b"", False, False),  # a chunk that can't be filled up
        (LENGTH, False, b"%s", False, False),  # no stream: nothing can be said
    ],
)
def test_broken_off_behind_a_part_of_the_engines_answer(framing, stream, frame, says, chunks):
    """The status is what the head said."""
    answer, wire = begun(framing, stream=stream, length=9)
    answer.pass_on(EVENT)
    sent = wire.got
    assert answer.break_off(ERROR, framed(frame)) == 200
    words = wire.got[len(sent) :]
    assert (b"It stopped." in words) is says
    assert (words[-2:] == b"\r\n") is chunks
    assert wire.ended == "hung up"


@pytest.mark.parametrize("path", [RESPONSES, "/v1/messages"])
@pytest.mark.parametrize("promise", [False, True])
def test_the_words_of_a_stream_that_is_translated(path, promise):
    """Those of /v1/responses are its proper end, and the connection is kept."""
    if promise:
        answer, wire = promised(path)
    else:
        answer, wire = begun(CLOSE, stream=True, path=path)
        answer.pass_on(EVENT)
    sent = wire.got
    assert answer.break_off(ERROR, framed(b"%s"), b"event: response.failed\n\n") == (503 if promise else 200)
    ends = path == RESPONSES
    assert wire.got[len(sent) :] == chunk(b"event: response.failed\n\n") + LAST_CHUNK * ends
    assert wire.ended == ("kept" if ends else "hung up")


def test_the_error_behind_a_stream_that_passed_as_it_came_has_the_next_number():
    """SDKs want one."""
    answer, wire = begun(CLOSE, stream=True, path=RESPONSES)
    for _ in range(5):
        answer.pass_on(b"event: x\ndata: {}\n\n")
    answer.break_off(ERROR, framed(b"%s"))
    assert b'"sequence_number":5,' in wire.got


def test_what_takes_nothing_is_abandoned():
    """Its connection is closed at once."""
    answer, wire = begun()
    wire.waits = 5
    assert answer.unsent == 5
    answer.abandon()
    assert wire.ended == "aborted"
