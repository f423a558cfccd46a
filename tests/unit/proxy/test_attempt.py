"""An answer of a peer that loads its model first: what it says meanwhile is no answer."""

from unittest.mock import Mock

import pytest

from router.core.catalog import Backend, Candidate
from router.core.estimate.ask import Ask
from router.core.retry import Failure
from router.http1.bodies import CHUNKED, CLOSE, LENGTH
from router.proxy.attempt import MOST_COMMENT, Attempt, Loads, Owner
from router.proxy.heads import ResponseHead

HEAD = ResponseHead(200, (), CHUNKED, keep_alive=True, is_event_stream=True, odd=False, lines=b"")
EVENTS = b'data: {"a": 1}\n\n: ping\n\ndata: [DONE]\n\n'


class Exchange(Owner):
    """Notes what it hears."""

    def __init__(self) -> None:
        self.heard: list[object] = []
        self.body = b""

    def on_comment(self, _attempt, words):
        """Note it."""
        self.heard.append(words)

    def on_body(self, _attempt, data):
        """Note it."""
        assert data
        self.body += data

    def on_remains(self, _attempt, data):
        """Note it."""
        self.heard.append((b"remains", data))

    def on_end(self, _attempt):
        """Note it."""
        self.heard.append("end")

    def on_failure(self, _attempt, failure, _detail):
        """Note it."""
        self.heard.append(failure)


@pytest.fixture
def exchange() -> Exchange:
    return Exchange()


@pytest.fixture
def attempt(exchange) -> Attempt:
    """Give one whose connection is open."""
    backend = Backend("there/m")
    made = Attempt(exchange, Candidate(backend, "m"), backend.estimate.sent(Ask(1), 0, 0.0), None)
    made._connection = Mock(head_at=1.0)
    return made


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_comments_before_the_first_event_are_told(exchange, attempt, size):
    """However the bytes are cut; all that follows passes as it is, and the framing is the router's."""
    hears = Loads(attempt)
    hears.on_head(HEAD, 0)
    stream = b": loading m: 45%\n\r\n: loading m: 90%\n" + EVENTS
    for at in range(0, len(stream), size):
        hears.on_body(stream[at : at + size])
    hears.on_end()
    assert exchange.heard == [b"loading m: 45%", b"loading m: 90%", "end"]
    assert exchange.body == EVENTS
    assert attempt.head.framing is CLOSE
    assert hears.rest() == b""


def test_a_peer_that_fails_while_it_loads(exchange, attempt):
    """Nothing of an answer has come."""
    hears = Loads(attempt)
    hears.on_head(HEAD, 0)
    hears.on_body(b": loading m\n: load")
    hears.on_remains(b": x")
    hears.on_failure(Failure.CLOSED, "it ended")
    assert exchange.heard == [b"loading m", (b"remains", b""), Failure.CLOSED]
    assert exchange.body == b""


def test_an_answer_in_one_piece(exchange, attempt):
    """It passes as it is, and so does what breaks off."""
    hears = Loads(attempt)
    hears.on_head(HEAD._replace(is_event_stream=False, framing=LENGTH), 9)
    hears.on_body(b": no comment")
    hears.on_remains(b"rest")
    assert (exchange.body, attempt.head.framing, attempt.length) == (b": no comment", LENGTH, 9)
    assert exchange.heard == [(b"remains", b"rest")]


def test_a_comment_without_an_end(exchange, attempt):
    """It isn't gathered for ever."""
    hears = Loads(attempt)
    hears.on_head(HEAD, 0)
    hears.on_body(b":" + b"x" * MOST_COMMENT)
    assert len(exchange.body) == MOST_COMMENT + 1
