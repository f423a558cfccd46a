import json

import pytest

from scripts.instruments.answers import MalformedError
from scripts.instruments.statistics import Histogram
from scripts.stress.answer import WatchedAnswer
from scripts.stress.meter import Meter

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Router-Backend: b-1\r\nx-router-queue-ms: 250\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
USAGE = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 9}}


def event(content):
    return b'data: {"choices":[{"index":0,"delta":{"content":%s}}]}\n\n' % json.dumps(content).encode()


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


EVENTS = [event(""), event("one"), event(" two"), event("data: 3\n\n"), b": ping\n\n", b"data: [DONE]\n\n"]
STREAM = CHUNKED + b"".join(map(chunk, EVENTS)) + b"0\r\n\r\n"


class Feeding:
    """An answer, with what it recorded."""

    def __init__(self, leave_after=0):
        self.meter, self.gaps = Meter(), {}
        self.answer = WatchedAnswer(10.0, self.meter, self._gaps_of, leave_after)

    def _gaps_of(self, backend):
        return self.gaps.setdefault(backend, Histogram()).record

    def feed(self, data, size=0, lost=None):
        """Feed it in reads of this size, a second apart; give whether it was whole, and end it."""
        size = size or len(data)
        whole = [self.answer.feed(data[at : at + size], 11.0 + at // size) for at in range(0, len(data), size)]
        assert not any(whole[:-1])
        self.answer.end(lost)
        return whole[-1]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 0])
def test_a_stream_whatever_the_reads(size):
    """Tokens are events with content; what the backend and its queue were is in the head."""
    it = Feeding()
    assert it.feed(STREAM, size)
    answer = it.answer
    assert (answer.status, answer.tokens, answer.backend, answer.queue_time) == (200, 3, "b-1", 0.25)
    assert (answer.failure, answer.streamed, it.meter.tokens, it.gaps["b-1"].count) == ("", True, 3, 2)


def test_times():
    """TTFT is from when it was due to the first token; gaps lie between tokens, an empty event is none."""
    it = Feeding()
    for at, data in enumerate([CHUNKED, *map(chunk, EVENTS), b"0\r\n\r\n"]):
        it.answer.feed(data, 11.0 + at)
    it.answer.end(None)
    assert (it.answer.head, it.answer.first, it.answer.last) == (11.0, 13.0, 15.0)
    assert it.meter.take_recent() == [3.0]
    assert (it.gaps["b-1"].least, it.gaps["b-1"].most) == (1.0, 1.0)


@pytest.mark.parametrize(
    "content",
    [b'"delta": {"content": "x"}', b'"delta":{"reasoning_content":"x"}', b'"text":"x"', b'"arguments":"{"'],
)
def test_what_is_a_token(content):
    """Words, thoughts and a tool's arguments all are."""
    it = Feeding()
    it.feed(CHUNKED + chunk(b'data: {"choices":[{%s}]}\n\n' % content) + chunk(EVENTS[-1]) + b"0\r\n\r\n")
    assert (it.answer.tokens, it.answer.failure) == (1, "")


@pytest.mark.parametrize("size", [1, 10, 0])
def test_a_whole_answer(size):
    """Its tokens are those of its usage; the connection is as its head says."""
    body = json.dumps({"choices": [{"message": {"content": "Hi"}}], "usage": USAGE["usage"]}).encode()
    it = Feeding()
    assert it.feed(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body, size)
    answer = it.answer
    assert (answer.tokens, answer.usage, answer.prompt_tokens, answer.keep_alive) == (0, 9, 7, False)
    assert (answer.failure, answer.streamed, answer.queue_time) == ("", False, None)


def test_usage_in_a_stream():
    """Its last event may say how many tokens there were."""
    it = Feeding()
    usage = b"data: %s\n\n" % json.dumps(USAGE).encode()
    it.feed(CHUNKED + chunk(event("x")) + chunk(usage) + chunk(EVENTS[-1]) + b"0\r\n\r\n")
    assert (it.answer.tokens, it.answer.usage, it.answer.failure) == (1, 9, "")


def test_leaving():
    """The client has what it wanted after so many tokens."""
    it = Feeding(leave_after=2)
    assert it.answer.feed(CHUNKED + b"".join(map(chunk, EVENTS)), 11.0)
    assert it.answer.left


ERROR = b'{"error": {"message": "no such model"}}'
FAILURES = [
    (b"HTTP/1.1 404 Not Found\r\ncontent-length: %d\r\n\r\n" % len(ERROR) + ERROR, None, "status 404", "no such model"),
    (b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n", None, "status 503", ""),
    (b"HTTP/1.1 204 No\r\n\r\n", None, "status 204", ""),
    (CHUNKED + chunk(b"data: " + ERROR + b"\n\n") + chunk(EVENTS[-1]) + b"0\r\n\r\n", None, "error event", "no such"),
    (CHUNKED + chunk(event("x")) + b"0\r\n\r\n", None, "cut off", "without [DONE]"),
    (CHUNKED + chunk(event("x")), "", "cut off", "closed"),
    (CHUNKED + chunk(event("x")), "reset by peer", "cut off", "reset by peer"),
    (HEAD + b"\r\n" + b"".join(EVENTS), "", "", ""),  # a stream may end with its connection
    (HEAD + b"\r\n" + b"".join(EVENTS), "reset", "cut off", "reset"),
    (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{", "", "cut off", "closed"),
    (b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n<ht>", None, "malformed", "<ht>"),
    (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]", None, "malformed", "[]"),
    (b"HTT", "", "no answer", "closed"),
    (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", None, "", ""),
]


@pytest.mark.parametrize(("data", "lost", "failure", "detail"), FAILURES)
def test_failures_by_kind(data, lost, failure, detail):
    """What went wrong, and what was said first."""
    it = Feeding()
    it.feed(data, lost=lost)
    assert it.answer.failure == failure
    assert detail in it.answer.detail


@pytest.mark.parametrize("data", [b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", CHUNKED + b"zz\r\n"])
def test_what_is_no_answer(data):
    """It is malformed, and says what came."""
    with pytest.raises(MalformedError, match=r"SSH|abc|zz"):
        Feeding().feed(data)


def test_memory_is_bounded():
    """A head that doesn't end isn't kept for ever."""
    it = Feeding()
    for _ in range(16):
        it.answer.feed(b"x" * 2**20, 11.0)
    with pytest.raises(MalformedError, match="doesn't end"):
        it.answer.feed(b"x", 11.0)
