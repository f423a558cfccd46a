import json
from unittest.mock import Mock

import pytest

from scripts.instruments.engine import EngineConnection, chunk, event, header, reply, stream_head

POST = b"POST /v1/x HTTP/1.1\r\nHost: x\r\nX-Job:  [1, [2]] \r\nContent-Length: 2\r\n\r\n{}"


class Recording(EngineConnection):
    """Keeps what was asked."""

    def __init__(self):
        super().__init__()
        self.requests = []
        self.writes = Mock()
        self.connection_made(Mock(write=self.writes))

    def asked(self, head, body):
        """Keep a request."""
        self.requests.append((head.split(b"\r\n")[0], body))


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(
    ("request_", "body"),
    [
        (POST, b"{}"),
        (b"POST /v1/x HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", b"2\r\n{}\r\n0\r\n\r\n"),
        (b"POST /v1/x HTTP/1.1\r\nHost: x\r\n\r\n", b""),
    ],
)
def test_a_request_is_handed_over_once_it_is_whole(request_, body, size):
    """By its length, its last chunk, or without a body; the next one follows on the same connection."""
    connection = Recording()
    for _ in range(2):
        for at in range(0, len(request_), size):
            connection.data_received(request_[at : at + size])
    assert connection.requests == [(b"post /v1/x http/1.1", body)] * 2


def test_a_client_that_waits_to_send_its_body_is_told_to():
    """Once, before the body."""
    connection = Recording()
    head, _, body = POST.replace(b"Host: x", b"Expect: 100-continue").partition(b"\r\n\r\n")
    connection.data_received(head + b"\r\n\r\n")
    connection.writes.assert_called_once_with(b"HTTP/1.1 100 Continue\r\n\r\n")
    connection.data_received(body)
    assert [body for _, body in connection.requests] == [b"{}"]
    connection.writes.assert_called_once()


def test_a_client_that_leaves():
    """The engine knows, and needs not write any more."""
    connection = Recording()
    assert not connection.gone
    connection.connection_lost(None)
    assert connection.gone


def test_headers_are_found_by_name():
    """Without the spaces around their values."""
    head = POST.partition(b"\r\n\r\n")[0].lower()
    assert (header(head, b"x-job"), header(head, b"host"), header(head, b"x-other")) == (b"[1, [2]]", b"x", b"")


def test_pieces_of_answers():
    """Bytes of HTTP/1.1."""
    assert chunk(b"x" * 17) == b"11\r\n" + b"x" * 17 + b"\r\n"
    assert json.loads(event({"a": 1}).split(b"data: ")[1].split(b"\n")[0]) == {"a": 1}
    assert reply(b"{}", b"503 Busy").startswith(b"HTTP/1.1 503 Busy\r\n")
    assert b"\r\nx-cached: 7\r\n" in stream_head(b"x-cached: %d\r\n") % 7
