"""One connection to a backend: what it tells of an answer, and when it can carry another request. No sockets."""

import ssl

import pytest

from router.core.outline import Texts
from router.core.retry import Failure
from router.proxy import upstream
from router.proxy.upstream import Connection, Receiver

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
REQUEST = b"POST /v1/x HTTP/1.1\r\n\r\n"


class Transport:
    """A transport that keeps what is done with it."""

    def __init__(self):
        self.written = b""
        self.unsent = 0
        self.secured: object = None
        self.done: list[str] = []

    def write(self, data):
        """Keep it."""
        self.written += data

    def writelines(self, pieces):
        """Keep them."""
        self.written += b"".join(pieces)

    def get_write_buffer_size(self):
        """Tell what the test says."""
        return self.unsent

    def get_extra_info(self, name):
        """Tell what the test says of its TLS."""
        return self.secured if name == "ssl_object" else None

    def pause_reading(self):
        """Note it."""
        self.done.append("pause")

    def resume_reading(self):
        """Note it."""
        self.done.append("resume")

    def abort(self):
        """Note it."""
        self.done.append("abort")


class Told(Receiver):
    """A receiver that keeps what it is told; it may leave in the middle."""

    def __init__(self, leaves=None):
        self.told: list[object] = []
        self.detail = ""
        self.leaves = leaves

    def on_head(self, head, length):
        """Keep it."""
        self.told.append((head.status, length))
        if self.leaves is not None:
            self.leaves()

    def on_body(self, data):
        """Keep it."""
        self.told.append(data)

    def on_remains(self, data):
        """Keep it."""
        self.told.append(("remains", data))

    def on_end(self):
        """Keep it."""
        self.told.append("end")

    def on_failure(self, failure, detail):
        """Keep it."""
        self.told.append(failure)
        self.detail = detail


class Line:
    """A connection that is made, and what became of it."""

    def __init__(self):
        self.idle = 0
        self.closed = 0
        self.transport = Transport()
        self.connection = Connection(self._on_idle, self._on_closed)
        self.connection.connection_made(self.transport)  # type: ignore[arg-type]

    def _on_idle(self, _):
        self.idle += 1

    def _on_closed(self, _):
        self.closed += 1

    def ask(self, *, raw=False, leaves=None, texts=None):
        """Send a request; give its receiver."""
        told = Told(leaves)
        self.connection.send(REQUEST, told, raw=raw, texts=texts)
        return told


@pytest.fixture
async def line():
    return Line()


async def test_an_answer_is_told_as_it_comes_and_the_connection_is_kept(line):
    """However it is cut; then it can carry the next."""
    assert line.connection.usable
    for pieces in ([HEAD + b"abcd"], [HEAD, b"ab", b"cd"], [HEAD[:9], HEAD[9:] + b"a", b"bcd"]):
        told = line.ask()
        assert not line.connection.usable
        for piece in pieces:
            line.connection.data_received(piece)
        head, *body, end = told.told
        assert (head, b"".join(body), end) == ((200, 4), b"abcd", "end")
        assert line.connection.usable
    assert (line.idle, line.closed, line.transport.written) == (3, 0, REQUEST * 3)


async def test_who_turns_an_answer_away_at_its_head_hears_nothing_of_its_body(line):
    """Though that came along with it."""
    told = line.ask(leaves=line.connection.abort)
    line.connection.data_received(HEAD + b"abcd")
    assert told.told == [(200, 4)]
    assert (line.idle, line.closed, line.transport.done) == (0, 1, ["abort"])


async def test_who_turns_an_answer_away_at_its_head_hears_of_no_mistake_behind_it(line):
    """Another attempt may have begun to answer the client by then: bytes of this one would get in between."""
    told = line.ask(leaves=line.connection.abort)
    line.connection.data_received(CHUNKED + b"2\r\nab\r\nno chunk\r\n")
    assert told.told == [(200, 0)]


async def test_a_head_without_a_body_is_an_answer(line):
    """Bytes behind it are nobody's: the connection is not kept."""
    head = b"HTTP/1.1 204 No Content\r\n\r\n"
    told = line.ask()
    line.connection.data_received(head)
    assert told.told == [(204, 0), "end"]
    assert (line.idle, line.closed) == (1, 0)
    told = line.ask()
    line.connection.data_received(head + b"more")
    assert told.told == [(204, 0), "end"]
    assert (line.idle, line.closed) == (1, 1)


async def test_interim_heads_are_passed_over(line):
    """But no switch of protocols."""
    told = line.ask()
    line.connection.data_received(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\na: b\r\n\r\n" + HEAD + b"abcd"
    )
    assert told.told == [(200, 4), b"abcd", "end"]
    told = line.ask()
    line.connection.data_received(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    assert told.told == [Failure.GARBLED]


@pytest.mark.parametrize("why", ["connection: close", "surplus", "unsent"])
async def test_a_connection_that_can_not_carry_another_request_is_closed(line, why):
    """The answer is whole all the same."""
    told = line.ask()
    if why == "unsent":
        line.transport.unsent = 1
    lines = b"connection: close\r\n" if why == "connection: close" else b""
    line.connection.data_received(HEAD[:-2] + lines + b"\r\nabcd" + (b"e" if why == "surplus" else b""))
    assert told.told[-1] == "end"
    assert (line.idle, line.closed) == (0, 1)


async def test_bytes_that_nobody_asked_for_end_it(line):
    line.connection.data_received(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    assert (line.closed, line.connection.usable) == (1, False)


@pytest.mark.parametrize(
    ("came", "reused", "late", "failure"),
    [
        (b"", False, False, Failure.CLOSED),
        (b"", True, False, Failure.STALE),
        (b"", True, True, Failure.CLOSED),
        (b"HTTP/1.1", True, False, Failure.CLOSED),
        (HEAD + b"ab", True, False, Failure.BROKEN),
        (CHUNKED + b"2\r\nab\r\n", False, False, Failure.BROKEN),
    ],
    ids=["new", "stale", "late", "in its head", "in its body", "between chunks"],
)
async def test_what_a_lost_connection_means(line, monkeypatch, came, reused, late, failure):
    """One that was kept, and closes at once, had been closed before; an engine that dies later died at work."""
    if late:
        monkeypatch.setattr(upstream, "STALE_WITHIN", 0.0)
    if reused:
        line.connection.rest()
    told = line.ask()
    if came:
        line.connection.data_received(came)
    line.connection.connection_lost(None)
    assert told.told[-1] is failure
    assert line.closed == 1
    line.connection.connection_lost(None)
    assert (told.told.count(failure), line.closed) == (1, 1)


@pytest.mark.parametrize("secured", [False, True])
async def test_a_new_connection_that_closes_at_once_may_lack_a_certificate(line, secured):
    """A server that wants one may close without an alert, or before that is read."""
    line.transport.secured = object() if secured else None
    told = line.ask()
    line.connection.connection_lost(BrokenPipeError(32, "Broken pipe"))
    assert told.told == [Failure.CLOSED]
    assert ("see tls.cert" in told.detail) is secured


async def test_an_alert_instead_of_an_answer_is_a_fault_of_tls(line):
    """It comes once the handshake is whole on this side (TLS 1.3)."""
    told, error = line.ask(), ssl.SSLError(1, "words")
    error.reason = "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    line.connection.connection_lost(error)
    assert told.told == [Failure.INSECURE]
    assert told.detail == "TLS failed: it wants a certificate from its clients: set tls.cert and tls.key"


async def test_a_body_may_end_with_its_connection():
    """Where its head says so by saying nothing; but not with an error."""
    for error, last in ((None, "end"), (OSError("reset"), Failure.BROKEN)):
        made = Line()
        told = made.ask()
        made.connection.data_received(b"HTTP/1.1 200 OK\r\n\r\nabc")
        made.connection.connection_lost(error)
        assert told.told[1:] == [b"abc", last]


async def test_a_mistake_in_the_framing_is_told_behind_what_came_before_it(line):
    told = line.ask()
    line.connection.data_received(CHUNKED)
    line.connection.data_received(b"2\r\nab\r\nno chunk\r\n")
    assert told.told[1:] in ([b"ab", Failure.GARBLED], [("remains", b"ab"), Failure.GARBLED])
    assert line.closed == 1


async def test_it_is_read_again_when_its_answer_has_ended(line):
    """The next to have it doesn't know that it was paused."""
    line.ask()
    line.connection.pause()
    line.connection.pause()
    line.connection.data_received(HEAD + b"abcd")
    assert line.transport.done == ["pause", "resume"]
    line.connection.pause()
    line.connection.resume()
    assert line.transport.done == ["pause", "resume"]


async def test_the_rest_of_an_answer_may_be_heard_by_another(line):
    """Of one that has ended there is none."""
    first, second = line.ask(), Told()
    line.connection.data_received(HEAD)
    line.connection.hand_over(second)
    line.connection.data_received(b"abcd")
    assert (first.told, second.told) == ([(200, 4)], [b"abcd", "end"])
    line.connection.hand_over(second)
    assert line.connection.usable


async def test_an_answer_that_nobody_waits_for_may_end(line):
    """Then the connection is kept; its receiver hears no more."""
    told = line.ask()
    line.connection.data_received(HEAD)
    line.connection.let_end(60.0)
    line.connection.data_received(b"abcd")
    assert (told.told, line.idle) == ([(200, 4)], 1)


async def test_an_answer_that_does_not_end_in_time_is_cut(line):
    """But not the next one on the same connection."""
    line.ask()
    line.connection.data_received(HEAD)
    line.connection.let_end(60.0)
    nobody = line.connection._receiver
    line.connection.data_received(b"abcd")
    line.ask()
    line.connection._end_waiting(nobody)
    assert line.closed == 0
    line.connection.let_end(60.0)
    line.connection._end_waiting(line.connection._receiver)
    assert line.closed == 1


async def test_a_raw_body_keeps_its_chunks(line):
    """Else their data alone is told."""
    for raw, body in ((True, b"2\r\nab\r\n0\r\n\r\n"), (False, b"ab")):
        told = line.ask(raw=raw)
        line.connection.data_received(CHUNKED + b"2\r\nab\r\n0\r\n\r\n")
        assert b"".join(each for each in told.told if isinstance(each, bytes)) == body
        assert told.told[-1] == "end"


async def test_a_body_is_sent_as_it_comes(line):
    """What the backend has no room for waits. Once all of it is sent, the connection can carry another request."""
    texts = Texts(b"5ec4e7")
    texts.expect(6)
    told = line.ask(texts=texts)
    texts.follow(b"ab")
    assert line.transport.written == REQUEST + b"ab"
    line.connection.pause_writing()
    texts.follow(b"cd")
    texts.follow(b"ef")
    assert line.transport.written == REQUEST + b"ab"
    line.connection.resume_writing()
    assert line.transport.written == REQUEST + b"abcdef"
    line.connection.data_received(HEAD + b"abcd")
    assert told.told == [(200, 4), b"abcd", "end"]
    assert line.connection.usable


async def test_an_answer_before_its_request_is_whole(line):
    """It is told, and the connection closes: nobody knows where the next request would begin."""
    texts = Texts(b"5ec4e7")
    texts.expect(6)
    told = line.ask(texts=texts)
    line.connection.data_received(HEAD + b"abcd")
    assert (told.told[-1], line.idle, line.closed) == ("end", 0, 1)
    texts.follow(b"abcdef")
    assert line.transport.written == REQUEST
