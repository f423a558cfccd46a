from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.http1.bodies import Framing
from router.http1.heads import ProtocolError, header_lines, split_at_length, status_line
from router.http1.responses import MAX_HEAD, ParsedResponse, head_ends, parse_response
from tests.heads import END, raw


def read(data: bytes) -> tuple[ParsedResponse, int, bytes] | None:
    """Read a response's head: it, the length of its body, and the bytes behind it."""
    end = head_ends(data)
    if not end:
        return None
    before, digits, behind = split_at_length(data[:end])
    return parse_response(before, behind), int(digits or 0), data[end:]


def head_of(*lines: str) -> tuple[ParsedResponse, int]:
    parsed = read(raw(*lines) + END)
    assert parsed is not None
    head, length, rest = parsed
    assert rest == b""
    return head, length


@pytest.mark.parametrize(
    ("lines", "framing", "length", "keep_alive"),
    [
        (["HTTP/1.1 200 OK", "Content-Length: 12"], Framing.LENGTH, 12, True),
        (["HTTP/1.1 200 OK", "Content-Length: 12", "Connection: close"], Framing.LENGTH, 12, False),
        (["HTTP/1.1 200 OK", "Content-Length: 12", "Connection: a", "Connection: Close"], Framing.LENGTH, 12, False),
        (["HTTP/1.1 200 OK", "Transfer-Encoding: Chunked"], Framing.CHUNKED, 0, True),
        (["HTTP/1.1 200 OK"], Framing.CLOSE, 0, False),
        (["HTTP/1.1 200"], Framing.CLOSE, 0, False),  # no reason at all
        (["HTTP/1.1 200 "], Framing.CLOSE, 0, False),
        (["HTTP/1.1 200 gr\xfcn"], Framing.CLOSE, 0, False),
        (["HTTP/1.0 200 OK"], Framing.CLOSE, 0, False),
        (["HTTP/1.0 200 OK", "Content-Length: 3"], Framing.LENGTH, 3, False),
        (["HTTP/1.0 200 OK", "Content-Length: 3", "Connection: Keep-Alive"], Framing.LENGTH, 3, True),
        (["HTTP/1.1 204 No Content"], Framing.NONE, 0, True),
        (["HTTP/1.1 204 No Content", "Content-Length: 3"], Framing.NONE, 3, True),  # it says so, but has none
        (["HTTP/1.1 304 Not Modified"], Framing.NONE, 0, True),
        (["HTTP/1.1 100 Continue"], Framing.NONE, 0, True),
    ],
)
def test_framing(lines, framing, length, keep_alive):
    """How the body ends is told by the head alone."""
    head, said = head_of(*lines)
    assert (head.framing, said, head.keep_alive) == (framing, length, keep_alive)


@pytest.mark.parametrize(
    "lines",
    [
        ["HTTP/2 200 OK"],
        ["HTTP/1.1 2000 OK"],
        ["HTTP/1.1 200OK"],
        ["HTTP/1.1 99 OK"],
        ["HTTP/1.1 600 OK"],
        ["HTTP/1.1  200 OK"],
        ["HTTP/1.1 200 O\x00K"],
        ["HTTP/1.1 200 OK\rX: y"],
        ["ICY 200 OK"],
        ["HTTP/1.1 200 OK", "no colon"],
        ["HTTP/1.1 200 OK", "name : value"],
        ["HTTP/1.1 200 OK", ": value"],
        ["HTTP/1.1 200 OK", "a: b", " folded"],
        ["HTTP/1.1 200 OK", "a: b\x00c"],
        ["HTTP/1.1 200 OK", "a: b\rc: d"],
        ["HTTP/1.1 200 OK", "a: b\nc: d"],
        ["HTTP/1.1 200 OK", "Content-Length: 1", "Content-Length: 1"],
        ["HTTP/1.1 200 OK", "Content-Length: 1", "X: y", "content-length: 2"],
        ["HTTP/1.1 200 OK", "Content-Length: 1", "Content-Length:"],
        ["HTTP/1.1 200 OK", "Content-Length: 1", " folded"],
        ["HTTP/1.1 200 OK", "Content-Length : 1"],
        ["Content-Length: 1", "HTTP/1.1 200 OK"],
        ["HTTP/1.1 204 No Content", "Content-Length: 1", "Content-Length: 1"],
        ["HTTP/1.1 204 No Content", "Content-Length: x"],
        ["HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "Content-Length: 1"],
        ["HTTP/1.1 200 OK", "Content-Length:", "Content-Length: 1"],
        ["HTTP/1.1 200 OK", "Content-Length: 1", "Transfer-Encoding: chunked"],
        ["HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
        ["HTTP/1.1 200 OK", "Transfer-Encoding: gzip, chunked"],
        ["HTTP/1.0 200 OK", "Transfer-Encoding: chunked"],
        ["HTTP/1.1 200 OK", "Content-Length: -1"],
        ["HTTP/1.1 200 OK", "Content-Length: 1, 1"],
        ["HTTP/1.1 200 OK", "Content-Length: 0x1"],
        ["HTTP/1.1 200 OK", "Content-Length: "],
        ["HTTP/1.1 200 OK", "Content-Length: 9999999999999999999"],
    ],
)
def test_an_answers_head_that_could_be_read_in_two_ways_is_refused(lines):
    """Nothing is guessed."""
    with pytest.raises(ProtocolError):
        head_of(*lines)


def test_parse_response_gives_headers_and_what_came_behind():
    """Names in lower case, values trimmed, the length's line taken out, and the beginning of the body."""
    parsed = read(b"HTTP/1.1 200 OK\r\nX-One:  1 \r\nCONTENT-length:\t9 \r\nx-TWO:\t2: 3\r\nx-empty:\r\n\r\nbody")
    assert parsed is not None
    head, length, rest = parsed
    assert head.status == 200
    assert head.headers == ((b"x-one", b"1"), (b"x-two", b"2: 3"), (b"x-empty", b""))
    assert (length, rest) == (9, b"body")


def test_parse_response_waits_for_the_whole():
    """Every beginning of a head is a beginning."""
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    assert [read(data[:i]) for i in range(len(data))] == [None] * len(data)
    assert read(data) is not None


@pytest.mark.parametrize("data", [b"\x15\x03\x01", b"HTTP/2", b"Segmentation fault"])
def test_what_is_no_http_is_refused_at_its_first_bytes(data):
    """Garbage isn't waited for."""
    with pytest.raises(ProtocolError, match="no HTTP/1 answer"):
        read(data)


@pytest.mark.parametrize("end", [b"", b"\r\n"])
def test_a_head_without_end_is_refused(end):
    """A head is bounded, whether its end has come by then or not."""
    with pytest.raises(ProtocolError, match="more than"):
        read(b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * MAX_HEAD + end)


def test_an_error_shows_only_the_beginning_of_a_head():
    """What an engine sent goes into an error, and from there into a log: it is bounded."""
    with pytest.raises(ProtocolError) as caught:
        head_of("HTTP/1.1 200 OK", "x" * 10_000)
    assert len(str(caught.value)) < 300


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reading_of_an_answer(data):
    """Whatever comes is read, waited for, or refused: never a crash."""
    for whole in (data, b"HTTP/1.1 " + data + b"\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + data + b"\r\n\r\n"):
        with suppress(ProtocolError):
            read(whole)


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (200, b"HTTP/1.1 200 OK"),
        (404, b"HTTP/1.1 404 Not Found"),
        (599, b"HTTP/1.1 599 "),  # one that nobody has named
    ],
)
def test_status_line_is_read_back(status, line):
    """What we write as an answer's head, we read, whatever the status."""
    assert status_line(status) == line + b"\r\n"
    parsed = read(status_line(status) + header_lines([(b"x-one", b"1"), (b"content-length", b"3")]) + b"\r\n")
    assert parsed is not None
    head, length, rest = parsed
    assert (head.status, head.headers, length, rest) == (status, ((b"x-one", b"1"),), 3, b"")
