from itertools import pairwise

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.proxy.framing import (
    MAX_HEAD,
    MAX_LINE,
    ChunkedBody,
    CloseBody,
    Framing,
    LengthBody,
    ProtocolError,
    body_of,
    end_to_end,
    parse_head,
    request_head,
)


def head_of(*lines: str):
    parsed = parse_head("\r\n".join([*lines, "", ""]).encode("latin-1"))
    assert parsed is not None
    return parsed


@pytest.mark.parametrize(
    ("lines", "framing", "length", "keep_alive"),
    [
        (["HTTP/1.1 200 OK", "Content-Length: 12"], Framing.LENGTH, 12, True),
        (["HTTP/1.1 200 OK", "Content-Length: 12", "Connection: close"], Framing.LENGTH, 12, False),
        (["HTTP/1.1 200 OK", "Transfer-Encoding: Chunked"], Framing.CHUNKED, 0, True),
        (["HTTP/1.1 200 OK"], Framing.CLOSE, 0, False),
        (["HTTP/1.1 200"], Framing.CLOSE, 0, False),  # no reason at all
        (["HTTP/1.0 200 OK"], Framing.CLOSE, 0, False),
        (["HTTP/1.0 200 OK", "Content-Length: 3"], Framing.LENGTH, 3, False),
        (["HTTP/1.0 200 OK", "Content-Length: 3", "Connection: Keep-Alive"], Framing.LENGTH, 3, True),
        (["HTTP/1.1 204 No Content"], Framing.NONE, 0, True),
        (["HTTP/1.1 204 No Content", "Content-Length: 3"], Framing.NONE, 0, True),
        (["HTTP/1.1 304 Not Modified"], Framing.NONE, 0, True),
        (["HTTP/1.1 100 Continue"], Framing.NONE, 0, True),
    ],
)
def test_framing(lines, framing, length, keep_alive):
    """How the body ends is told by the head alone."""
    head, _ = head_of(*lines)
    assert (head.framing, head.length, head.keep_alive) == (framing, length, keep_alive)


@pytest.mark.parametrize(
    "lines",
    [
        ["HTTP/2 200 OK"],
        ["HTTP/1.1 2000 OK"],
        ["HTTP/1.1 99 OK"],
        ["HTTP/1.1  200 OK"],
        ["HTTP/1.1 200 O\x00K"],
        ["ICY 200 OK"],
        ["HTTP/1.1 200 OK", "no colon"],
        ["HTTP/1.1 200 OK", "name : value"],
        ["HTTP/1.1 200 OK", ": value"],
        ["HTTP/1.1 200 OK", "a: b", " folded"],
        ["HTTP/1.1 200 OK", "a: b\x00c"],
        ["HTTP/1.1 200 OK", "a: b\nc: d"],
        ["HTTP/1.1 200 OK", "Content-Length: 1", "Content-Length: 1"],
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
def test_a_head_that_could_be_read_in_two_ways_is_refused(lines):
    """Nothing is guessed."""
    with pytest.raises(ProtocolError):
        head_of(*lines)


def test_parse_head_gives_headers_and_length():
    """Names in lower case, values trimmed, and where the body begins."""
    data = b"HTTP/1.1 200 OK\r\nX-One:  1 \r\nx-TWO:2\r\nx-empty:\r\n\r\nbody"
    parsed = parse_head(data)
    assert parsed is not None
    head, length = parsed
    assert head.headers == [(b"x-one", b"1"), (b"x-two", b"2"), (b"x-empty", b"")]
    assert data[length:] == b"body"


def test_parse_head_waits_for_the_whole():
    """Every beginning of a head is a beginning."""
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    assert [parse_head(data[:i]) for i in range(len(data))] == [None] * len(data)
    assert parse_head(data) is not None


def test_what_is_no_http_is_refused_at_its_first_bytes():
    """Garbage isn't waited for."""
    with pytest.raises(ProtocolError, match="no HTTP/1 answer"):
        parse_head(b"\x15\x03\x01")


def test_a_head_without_end_is_refused():
    """A head is bounded."""
    with pytest.raises(ProtocolError, match="more than"):
        parse_head(b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * MAX_HEAD)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("text/event-stream", True), ("Text/Event-Stream; charset=utf-8", True), ("application/json", False)],
)
def test_is_event_stream(value, expected):
    """A stream of events is known by its type."""
    head, _ = head_of("HTTP/1.1 200 OK", f"Content-Type: {value}")
    assert head.is_event_stream is expected


def test_end_to_end():
    """Hop-by-hop headers go, and those that Connection names."""
    headers = [
        (b"Connection", b"close, X-Hop"),
        (b"X-Hop", b"1"),
        (b"Keep-Alive", b"timeout=5"),
        (b"TE", b"trailers"),
        (b"Transfer-Encoding", b"chunked"),
        (b"X-Kept", b"1"),
    ]
    assert end_to_end(headers) == [(b"x-kept", b"1")]


def test_request_head_is_read_by_another_parser():
    """h11 reads what we write."""
    server = h11.Connection(h11.SERVER)
    server.receive_data(request_head(b"POST", b"/v1/x?y=1", [(b"host", b"a:1"), (b"content-length", b"0")]))
    request = server.next_event()
    assert isinstance(request, h11.Request)
    assert (request.method, request.target) == (b"POST", b"/v1/x?y=1")
    assert list(request.headers) == [(b"host", b"a:1"), (b"content-length", b"0")]


# Bodies


def fed(body, pieces):
    return b"".join(body.feed(piece) for piece in pieces)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Cut the data at these places, wherever they fall."""
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(edges) if a < b]


chunks = st.lists(
    st.binary(min_size=1, max_size=40) | st.sampled_from([b"0\r\n\r\n", b"\r\n", b"data: x\n\n", b"5\r\n"]),
    max_size=8,
)
extensions = st.sampled_from([b"", b";a=b", b' ; a="b"', b"  "])
trailers = st.sampled_from([b"", b"X-A: b\r\n", b"X-A: b\r\nX-C: d\r\n"])


@given(chunks, extensions, trailers, st.lists(st.integers(0, 500), max_size=12), st.booleans())
def test_chunked_body_split_anywhere(parts, extension, trailer, places, upper):
    """Whatever the chunks hold and wherever reads split them, the payload is what was sent, and the end is seen."""
    number = (lambda n: b"%X" % n) if upper else (lambda n: b"%x" % n)
    wire = b"".join(number(len(part)) + extension + b"\r\n" + part + b"\r\n" for part in parts)
    wire += b"0" + extension + b"\r\n" + trailer + b"\r\n"
    body = ChunkedBody()
    pieces = cut(wire, places)
    assert fed(body, pieces[:-1]) + body.feed(pieces[-1]) == b"".join(parts)
    assert body.done
    assert body.ends_at_eof()
    assert not body.surplus


@given(chunks, st.lists(st.integers(0, 500), max_size=12))
def test_chunked_body_without_its_last_chunk_is_not_done(parts, places):
    """A body that stops before its end hasn't ended, however it is cut."""
    wire = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    body = ChunkedBody()
    assert fed(body, cut(wire, places)) == b"".join(parts)
    assert not body.done
    assert not body.ends_at_eof()


@pytest.mark.parametrize(
    "wire",
    [
        b"x\r\n",
        b"\r\n",
        b" 5\r\nhello\r\n",
        b"-5\r\n",
        b"+5\r\n",
        b"0x5\r\n",
        b"5_0\r\n",
        b"1" * 16 + b"\r\n",
        b"5\r\nhelloX\r\n",
        b"5\r\nhelloX",
        b"5\nhello\n",
        b"5" * (MAX_LINE + 1),
        b"5;" + b"x" * (MAX_LINE + 1) + b"\r\n",
        b"0\r\n" + b"a: b\r\n" * MAX_LINE,
    ],
)
def test_a_bad_chunk_is_refused(wire):
    """Sizes are hexadecimal digits and nothing else; data is as long as it said; lines are bounded."""
    with pytest.raises(ProtocolError):
        fed(ChunkedBody(), [wire[i : i + 7] for i in range(0, len(wire), 7)] + [b"\r\n"])


def test_bytes_after_the_last_chunk_are_surplus():
    """They belong to no answer."""
    body = ChunkedBody()
    assert body.feed(b"2\r\nhi\r\n0\r\n\r\nHTTP/1.1") == b"hi"
    assert body.done
    assert body.surplus


@pytest.mark.parametrize(
    ("pieces", "payload", "done", "surplus"),
    [
        ([b"abc"], b"abc", True, False),
        ([b"a", b"bc"], b"abc", True, False),
        ([b"ab"], b"ab", False, False),
        ([b"abcd"], b"abc", True, True),
    ],
)
def test_length_body(pieces, payload, done, surplus):
    """As many bytes as were announced, no more."""
    body = LengthBody(3)
    assert fed(body, pieces) == payload
    assert (body.done, body.surplus, body.ends_at_eof()) == (done, surplus, done)


def test_an_empty_body_is_done_before_it_begins():
    """A length of nothing needs no byte."""
    assert LengthBody(0).done


def test_close_body():
    """All bytes belong to it, and only the connection's end ends it."""
    body = CloseBody()
    assert body.feed(b"abc") == b"abc"
    assert not body.done
    assert body.ends_at_eof()


@pytest.mark.parametrize(
    ("lines", "kind"),
    [
        (["HTTP/1.1 200 OK", "Transfer-Encoding: chunked"], ChunkedBody),
        (["HTTP/1.1 200 OK", "Content-Length: 3"], LengthBody),
        (["HTTP/1.1 204 No Content"], LengthBody),
        (["HTTP/1.0 200 OK"], CloseBody),
    ],
)
def test_body_of(lines, kind):
    """Each framing has its reader."""
    head, _ = head_of(*lines)
    assert isinstance(body_of(head), kind)


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
def test_no_bytes_break_the_readers(data, places):
    """Whatever comes is read or refused, never a crash."""
    body = ChunkedBody()
    try:
        parse_head(data)
        fed(body, cut(data, places))
    except ProtocolError:
        pass
