import json
from typing import Any

import pytest

from router.core.progress import Passed
from router.core.retry import Failure
from router.http1.bodies import CHUNKED, ChunkedBody
from router.proxy import usage
from router.proxy.heads import ResponseHead
from router.proxy.upstream import Receiver
from router.proxy.usage import UsageTaker, asking

CHAT = "/v1/chat/completions"
TEXT = b'data: {"choices":[{"delta":{"content":"\\"choices\\":[] \\"usage\\":{}"}}]}\n\n'
LAST = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"id":"1","choices":[],"usage":{"prompt_tokens":12,"completion_tokens":40}}\n\n'
SPACED = USAGE.replace(b":[]", b": []")
FILTERS = b'data: {"choices":[],"prompt_filter_results":[{}]}\n\n'
DONE = b"data: [DONE]\n\n"
STREAM = [FILTERS, TEXT, TEXT, LAST, USAGE, DONE]


def head(status: int = 200, *, streams: bool = True) -> ResponseHead:
    return ResponseHead(status, (), CHUNKED, True, streams, status >= 400, b"")


class _Attempt(Receiver):
    """Notes what an attempt hears."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.body = b""
        self.listens = True
        self.head: ResponseHead | None = None

    def on_head(self, head: ResponseHead, length: int) -> None:
        self.head = head
        self.heard.append((head.status, length))

    def on_body(self, data: bytes) -> None:
        assert data
        self.body += data

    def on_remains(self, data: bytes) -> None:
        self.body += data
        self.heard.append("remains")

    def on_end(self) -> None:
        self.heard.append("end")

    def on_failure(self, failure: Failure, detail: str) -> None:
        self.heard.append((failure, detail))

    def let_go(self) -> None:
        self.listens = False


@pytest.fixture
def attempt():
    return _Attempt()


@pytest.fixture
def passed():
    return Passed(CHAT)


@pytest.fixture
def refusals():
    return []


@pytest.fixture
def taker(attempt, passed, refusals):
    return UsageTaker(attempt, passed, lambda: refusals.append(1))


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def decoded(data: bytes) -> bytes:
    body = ChunkedBody()
    return body.feed(data)


def events(data: bytes) -> list[bytes]:
    """Give the events that a client sees: comments are skipped."""
    lines = [line for line in data.replace(b"\r\n", b"\n").split(b"\n") if not line.startswith(b":")]
    return [event.strip(b"\n") for event in b"\n".join(lines).split(b"\n\n") if event.strip(b"\n")]


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)] if size else [data]


@pytest.mark.parametrize("told", [USAGE, SPACED])
@pytest.mark.parametrize("crlf", [False, True])
@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 50, 64, 100, 333])
@pytest.mark.parametrize("framed", ["plain", "each", "all", "pairs"])
def test_the_client_sees_no_usage(attempt, passed, taker, told, crlf, size, framed):
    """However the stream is cut, and its chunks stay whole; the router knows it."""
    parts = [told if each is USAGE else each for each in STREAM]
    if crlf:
        parts = [each.replace(b"\n", b"\r\n") for each in parts]
    if framed == "each":
        data = b"".join(map(chunk, parts))
    elif framed == "all":
        data = chunk(b"".join(parts))
    elif framed == "pairs":
        data = b"".join(chunk(b"".join(parts[at : at + 2])) for at in range(0, len(parts), 2))
    else:
        data = b"".join(parts)
    taker.on_head(head(), 0)
    for each in pieces(data, size):
        taker.on_body(each)
    taker.on_end()
    assert attempt.heard == [(200, 0), "end"]
    assert len(attempt.body) == len(data)
    seen = attempt.body if framed == "plain" else decoded(attempt.body)
    assert events(seen) == events(b"".join([FILTERS, TEXT, TEXT, LAST, DONE]))
    assert b'"usage":{"prompt_tokens":12,"completion_tokens":40}' in passed.tail.bytes()


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 50, 64, 100, 333])
@pytest.mark.parametrize("framed", [False, True])
@pytest.mark.parametrize("crlf", [False, True])
def test_no_empty_line_is_left_behind_a_comment(attempt, taker, size, framed, crlf):
    """Some clients take one for the end of an event without data."""
    data = LAST + USAGE + DONE
    data = data.replace(b"\n", b"\r\n") if crlf else data
    taker.on_head(head(), 0)
    for each in pieces(chunk(data) if framed else data, 0 if crlf else size):
        taker.on_body(each)
    seen = (decoded(attempt.body) if framed else attempt.body).replace(b"\r\n", b"\n")
    comment = seen[len(LAST) : -len(DONE)]
    assert comment == b":" + b" " * (len(comment) - 2) + b"\n"


@pytest.mark.parametrize(
    "event", [TEXT, LAST, FILTERS, b'data: {"choices":[],"usage":null}\n\n', b'data: "choices":[]\n\n']
)
def test_everything_else_passes_as_it_is(attempt, passed, taker, event):
    taker.on_head(head(), 0)
    taker.on_body(event)
    assert attempt.body == event
    assert passed.tail.bytes() == b""


def test_a_chunk_that_ends_inside_of_it_leaves_the_framing_whole(attempt, taker):
    """Some proxies cut a stream anywhere. Then the client may see it, but nothing is torn."""
    data = LAST + USAGE + DONE
    for at in range(1, len(data)):
        attempt.body = b""
        framed = chunk(data[:at]) + chunk(data[at:])
        taker.on_head(head(), 0)
        taker.on_body(framed)
        assert [each for each in events(decoded(attempt.body)) if b'"usage"' not in each] == events(LAST + DONE)


def test_what_comes_of_an_event_is_told_once_its_end_has_come(attempt, taker):
    """Nobody could read it sooner. What is far too long for a usage isn't held."""
    taker.on_head(head(), 0)
    taker.on_body(TEXT + b"data: {")
    assert attempt.body == TEXT
    assert taker.holds
    taker.on_body(b"}\n\n")
    assert attempt.body == TEXT + b"data: {}\n\n"
    assert not taker.holds
    long = b"data: " + b"x" * usage.MOST_HELD
    taker.on_body(long)
    assert attempt.body.endswith(long)


def test_a_stream_that_breaks_off_gives_what_was_held(attempt, taker):
    """Whichever way it breaks off."""
    taker.on_head(head(), 0)
    taker.on_body(b"data: {")
    assert taker.rest() == b"data: {"
    assert taker.rest() == b""
    taker.on_body(b"data: {")
    taker.on_failure(Failure.BROKEN, "x")
    assert attempt.body == b"data: {"
    taker.on_failure(Failure.BROKEN, "x")
    assert attempt.heard == [(200, 0), "remains", (Failure.BROKEN, "x"), (Failure.BROKEN, "x")]
    taker.on_body(b"data: [")
    taker.on_remains(b"]\n")
    assert attempt.body == b"data: {data: []\n"
    taker.on_body(b"data: {")
    taker.on_end()
    assert attempt.body.endswith(b"data: {")


def test_an_answer_in_one_piece_passes(attempt, taker):
    """Whatever is in it."""
    taker.on_head(head(streams=False), 9)
    taker.on_body(b'data: {"choices":[]')
    assert attempt.body == b'data: {"choices":[]'


@pytest.mark.parametrize("status", [400, 422, 500])
def test_a_refusal_of_the_field_is_asked_without(attempt, taker, refusals, status):
    """Nothing of it is told."""
    taker.on_head(head(status), 40)
    taker.on_body(b'{"error":{"message":"Unknown')
    taker.on_body(b' parameter: stream_options"}}')
    taker.on_end()
    assert (attempt.heard, attempt.body, attempt.listens, refusals) == ([], b"", False, [1])


def test_a_refusal_behind_a_200_is_asked_without(attempt, taker, refusals):
    """Some servers begin a stream, and then say what they refuse."""
    taker.on_head(head(), 0)
    taker.on_body(b'data: {"error":{"message":"Extra inputs are not permitted: stream_options"}}\n\n')
    taker.on_body(DONE)
    taker.on_end()
    assert (attempt.body, attempt.listens, refusals) == (b"", False, [1])
    taker.on_head(head(), 0)


def test_any_other_error_is_told(attempt, taker, refusals):
    """With all that came of it, at once if it is long, or breaks off."""
    taker.on_head(head(400), 5)
    taker.on_body(b"wrong")
    taker.on_end()
    assert (attempt.heard, attempt.body) == ([(400, 5), "end"], b"wrong")
    taker.on_head(head(404), 5)
    taker.on_head(head(400), 9)
    taker.on_body(b"x" * usage.MOST_SAID)
    taker.on_body(b"y")
    assert attempt.heard[2:] == [(404, 5), (400, 9)]
    assert attempt.body == b"wrong" + b"x" * usage.MOST_SAID + b"y"
    taker.on_head(head(400), 9)
    taker.on_body(b"z")
    taker.on_failure(Failure.BROKEN, "x")
    taker.on_head(head(400), 9)
    taker.on_remains(b"!")
    assert attempt.body.endswith(b"yz!")
    assert not refusals


@pytest.mark.parametrize("body", [b'{"model":"m","stream":true}', b' \n{ "model": "m" }'])
def test_a_body_that_asks(body):
    """All else of it stays."""
    asked = asking(body)
    assert asked.replace(b',"stream_options":{"include_usage":true}', b"") == body
    json.loads(asked)


@pytest.mark.parametrize(
    ("said", "written"),
    [
        (b"null", {}),
        (b"{}", {}),
        (b"[]", {}),
        (b'"x"', {}),
        (b" { }", {}),
        (b'{"include_usage":false}', {}),
        (b'{"include_usage":null}', {}),
        (b'{"include_usage":0}', {}),
        (b'{"include_usage":true},"stream_options":{"include_usage":false}', {}),
        (b'{"include_obfuscation":false}', {"include_obfuscation": False}),
    ],
)
def test_a_client_does_not_choose_whether_its_stream_is_counted(said, written):
    """Whatever it says but yes, the stream is asked; what else it says there stays."""
    body = b'{"n":1.50,"stream_options":%s,"stream":true}' % said
    assert not usage._asks_itself(body)
    asked = asking(body)
    assert json.loads(asked)["stream_options"] == {**written, "include_usage": True}
    assert asked.count(b"stream_options") == 1
    assert asked.startswith(b'{"n":1.50,')


@pytest.mark.parametrize(
    ("body", "itself"),
    [
        (b'{"stream_options":{"include_usage":true}}', True),
        (b'{"stream_options":{"include_usage":false},"stream_options":{"include_usage":true}}', True),
        (b'{"a":{"stream_options":{"include_usage":true}}}', False),
        (b'{"stream_options":', True),
        (b'{"stream_options":{"include_usage":1e}}', True),
        (b'{"stream_options":{"a":%s}}' % (b"[" * 5000 + b"]" * 5000), True),
    ],
)
def test_who_asks_gets_it(body, itself):
    """At the top of the request, by the last field; what can't be read is the backend's to refuse."""
    assert usage._asks_itself(body) is itself


def test_a_field_by_an_escaped_name_comes_before_ours():
    """Of two, servers take the last one."""
    asked = asking(b'{"stream\\u005foptions":{"include_usage":false}}')
    assert json.loads(asked) == {"stream_options": {"include_usage": True}}
