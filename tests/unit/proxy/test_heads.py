from contextlib import suppress
from itertools import permutations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.proxy.heads import (
    MAX_HEAD,
    Framing,
    Headers,
    ProtocolError,
    end_to_end,
    header_lines,
    is_well_formed,
    parse_request,
    parse_response,
    request_head,
    response_head,
)

# Answers


def head_of(*lines: str):
    parsed = parse_response("\r\n".join([*lines, "", ""]).encode("latin-1"))
    assert parsed is not None
    return parsed


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


def test_parse_response_gives_headers_and_length():
    """Names in lower case, values trimmed, and where the body begins."""
    data = b"HTTP/1.1 200 OK\r\nX-One:  1 \r\nx-TWO:\t2: 3\r\nx-empty:\r\n\r\nbody"
    parsed = parse_response(data)
    assert parsed is not None
    head, length = parsed
    assert head.status == 200
    assert head.headers == ((b"x-one", b"1"), (b"x-two", b"2: 3"), (b"x-empty", b""))
    assert data[length:] == b"body"


def test_an_answers_lines_are_those_that_go_on_to_the_client():
    """The end-to-end headers, but for those that the router writes itself."""
    head, _ = head_of(
        "HTTP/1.1 200 OK",
        "Server: x",
        "Connection: x-hop",
        "X-Hop: 1",
        "Content-Length: 3",
        "X-Request-ID: 1",
        "X-Router-Backend: evil",
        "Content-Type:  text/plain ",
    )
    assert head.lines == b"server: x\r\ncontent-type: text/plain\r\n"


def test_parse_response_waits_for_the_whole():
    """Every beginning of a head is a beginning."""
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    assert [parse_response(data[:i]) for i in range(len(data))] == [None] * len(data)
    assert parse_response(data) is not None


@pytest.mark.parametrize("data", [b"\x15\x03\x01", b"HTTP/2", b"Segmentation fault"])
def test_what_is_no_http_is_refused_at_its_first_bytes(data):
    """Garbage isn't waited for."""
    with pytest.raises(ProtocolError, match="no HTTP/1 answer"):
        parse_response(data)


@pytest.mark.parametrize("end", [b"", b"\r\n"])
def test_a_head_without_end_is_refused(end):
    """A head is bounded, whether its end has come by then or not."""
    with pytest.raises(ProtocolError, match="more than"):
        parse_response(b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * MAX_HEAD + end)


def test_an_error_shows_only_the_beginning_of_a_head():
    """What an engine sent goes into an error, and from there into a log: it is bounded."""
    with pytest.raises(ProtocolError) as caught:
        head_of("HTTP/1.1 200 OK", "x" * 10_000)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("value", "expected"),
    [("text/event-stream", True), ("Text/Event-Stream; charset=utf-8", True), ("application/json", False)],
)
def test_is_event_stream(value, expected):
    """A stream of events is known by its type."""
    head, _ = head_of("HTTP/1.1 200 OK", f"Content-Type: {value}")
    assert head.is_event_stream is expected


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reading_of_an_answer(data):
    """Whatever comes is read, waited for, or refused: never a crash."""
    for whole in (data, b"HTTP/1.1 " + data + b"\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + data + b"\r\n\r\n"):
        with suppress(ProtocolError):
            parse_response(whole)


# Requests

FIRST = "POST /v1/chat/completions HTTP/1.1"
HOST = "Host: a:1"
LENGTH = "Content-Length: 2"


def raw(*lines: str) -> bytes:
    return "\r\n".join(lines).encode("latin-1")


def test_an_ordinary_request():
    """Its target, its headers but for the length, names in lower case, and how many bytes are its body."""
    for lines in permutations([HOST, "X-One:  1\t2 ", "x-empty: ", "CONTENT-LENGTH:\t2 "]):
        head = parse_request(raw("POST /v1/x?y=1 HTTP/1.1", *lines))
        assert head is not None
        assert (head.target, head.length, head.keep_alive) == (b"/v1/x?y=1", 2, True)
        assert sorted(head.headers) == [(b"host", b"a:1"), (b"x-empty", b""), (b"x-one", b"1\t2")]


def test_requests_that_differ_in_their_length_alone_are_told_apart():
    """What is remembered of a head is not its body's length."""
    lengths = [2, 30, 2, 0, 999_999_999_999_999_999]
    parsed = [parse_request(raw(FIRST, HOST, f"Content-Length: {length}")) for length in lengths]
    assert [head and head.length for head in parsed] == lengths


def test_a_long_head_is_ordinary_too():
    """It is only not remembered."""
    head = parse_request(raw(FIRST, HOST, LENGTH, *[f"x-{i}: {i}" for i in range(1000)]))
    assert head is not None
    assert head.headers[-1] == (b"x-999", b"999")


@pytest.mark.parametrize(
    ("lines", "keep_alive"),
    [
        (["Connection: keep-alive"], True),
        (["Connection: close"], False),
        (["Connection: X-A, Close"], False),
        (["Connection: close", "Connection: keep-alive"], False),
    ],
)
def test_a_request_says_whether_its_connection_goes_on(lines, keep_alive):
    """It does, unless any Connection says close."""
    head = parse_request(raw(FIRST, HOST, LENGTH, *lines))
    assert head is not None
    assert head.keep_alive is keep_alive


@pytest.mark.parametrize(
    "lines",
    [
        ["GET /v1/models HTTP/1.1", HOST],
        ["PUT /v1/x HTTP/1.1", HOST, LENGTH],
        ["OPTIONS * HTTP/1.1", HOST],
        ["POST /health HTTP/1.1", HOST, LENGTH],
        ["POST /v1 HTTP/1.1", HOST, LENGTH],
        ["POST /v1/a#b HTTP/1.1", HOST, LENGTH],
        ["POST http://a:1/v1/x HTTP/1.1", HOST, LENGTH],
        ["POST /v1/x HTTP/1.0", HOST, LENGTH],
        [FIRST, LENGTH],  # no Host
        [FIRST, HOST, HOST, LENGTH],
        [FIRST, HOST],  # no length
        [FIRST, HOST, LENGTH, LENGTH],
        [FIRST, HOST, LENGTH, "Content-Length: 3"],
        [FIRST, HOST, LENGTH, "content-length: 3"],
        [FIRST, HOST, "Content-Length: 2, 3", LENGTH],
        [FIRST, HOST, LENGTH, "Content-Length:"],
        [FIRST, HOST, "Content-Length:", LENGTH],
        [FIRST, HOST, "Content-Length:"],
        [FIRST, HOST, "Content-Length: 2, 2"],
        [FIRST, HOST, "Content-Length: +2"],
        [FIRST, HOST, "Content-Length: -2"],
        [FIRST, HOST, "Content-Length: 0x2"],
        [FIRST, HOST, "Content-Length: 2_0"],
        [FIRST, HOST, "Content-Length: \xb2"],
        [FIRST, HOST, "Content-Length: 9999999999999999999"],
        [FIRST, HOST, LENGTH, "Transfer-Encoding: chunked"],
        [FIRST, HOST, "Transfer-Encoding: chunked", LENGTH],
        [FIRST, HOST, LENGTH, "transfer-encoding: identity"],
        [FIRST, HOST, "Transfer-Encoding: chunked"],
        [FIRST, HOST, LENGTH, "Expect: 100-continue"],
        [FIRST, HOST, LENGTH, "Connection: upgrade", "Upgrade: h2c"],
        [FIRST, HOST, LENGTH, "Content-Encoding: gzip"],
        [FIRST, HOST, LENGTH, "Trailer: x"],
        [FIRST, HOST, LENGTH, "Content-Type: Multipart/form-data; boundary=x"],
    ],
)
def test_an_unusual_request_is_left_to_the_slow_lane(lines):
    """It isn't read here, but it is HTTP."""
    assert parse_request(raw(*lines)) is None
    assert is_well_formed(raw(*lines))


@pytest.mark.parametrize(
    "lines",
    [
        [""],
        ["", FIRST, HOST, LENGTH],
        ["post /v1/x HTTP/1.1", HOST, LENGTH],
        ["POST  /v1/x HTTP/1.1", HOST, LENGTH],
        ["POST /v1/x  HTTP/1.1", HOST, LENGTH],
        ["POST\t/v1/x HTTP/1.1", HOST, LENGTH],
        ["POST /v1/a b HTTP/1.1", HOST, LENGTH],
        ["POST /v1/x", HOST, LENGTH],
        ["POST /v1/x HTTP/1.1 ", HOST, LENGTH],
        ["POST /v1/x HTTP/1.11", HOST, LENGTH],
        ["POST /v1/x HTTP/2.0", HOST, LENGTH],
        ["POST /v1/\xfc HTTP/1.1", HOST, LENGTH],
        ["POST /v1/\x7f HTTP/1.1", HOST, LENGTH],
        ["POST /v1/x\n HTTP/1.1", HOST, LENGTH],
        [f"{FIRST}\nX: y", HOST, LENGTH],  # a bare LF
        [FIRST, f"{HOST}\n{LENGTH}"],
        [FIRST, HOST, LENGTH, "X: y\nTransfer-Encoding: chunked"],
        [FIRST, HOST, LENGTH, "X: y\rTransfer-Encoding: chunked"],
        [FIRST, HOST, LENGTH, "X: y\r"],
        [FIRST, HOST, LENGTH, "X: y", " folded"],
        [FIRST, HOST, LENGTH, "X: y", "\tfolded"],
        [FIRST, " X: y", HOST, LENGTH],
        [FIRST, HOST, LENGTH, " folded"],  # behind the line that is taken out
        [FIRST, HOST, f" {LENGTH}"],
        [FIRST, HOST, f"X: y\n{LENGTH}"],
        [LENGTH, FIRST, HOST],
        [FIRST, HOST, "Content-Length : 2"],
        [FIRST, HOST, LENGTH, "Transfer-Encoding\t: chunked"],
        [FIRST, HOST, LENGTH, "Transfer-Encoding\x0b: chunked"],
        [FIRST, HOST, LENGTH, "Transfer\x00-Encoding: chunked"],
        [FIRST, HOST, LENGTH, "(X): y"],
        [FIRST, HOST, LENGTH, "\xfc: y"],
        [FIRST, HOST, LENGTH, ": y"],
        [FIRST, HOST, LENGTH, "no colon"],
        [FIRST, HOST, LENGTH, "X: \x00"],
        [FIRST, HOST, LENGTH, "X: \x1b[2J"],
        [FIRST, HOST, LENGTH, "X: \x7f"],
        [FIRST, HOST, LENGTH, ""],
    ],
)
def test_what_is_no_http_is_neither_ordinary_nor_well_formed(lines):
    """What one parser might read otherwise than the next is for neither lane."""
    assert parse_request(raw(*lines)) is None
    assert not is_well_formed(raw(*lines))


def test_a_request_line_is_bounded():
    """A target of more than 16 KiB is no request's."""
    assert is_well_formed(b"GET /" + b"a" * 16_383 + b" HTTP/1.1")
    assert not is_well_formed(b"GET /" + b"a" * 16_384 + b" HTTP/1.1")


harmless = st.sampled_from(["X-One", "Accept", "Connection", "Content-Type", "!#$%&'*+-.^_`|~"])
telling = st.sampled_from(["Host", "Content-Length", "Transfer-Encoding", "Expect"])
texts = st.text(st.sampled_from('ab:; ,\t"\xa0\xfc'), max_size=8)
values = st.sampled_from(["", "a:1", "2", "007", "close", "keep-alive, x", "chunked", "a  b"]) | texts
spaces = st.sampled_from(["", " ", "\t "])
lines_of_headers = st.lists(st.builds("{}:{}{}{}".format, harmless, spaces, values, spaces), max_size=5)
telling_lines = st.lists(st.builds("{}: {}".format, telling, values), max_size=1)
targets = st.text(st.sampled_from('ab/.?=&%"!~'), max_size=10).map("/v1/{}".format)
lengths = st.builds("{}:{}{}{}".format, st.just("content-LENGTH"), spaces, st.integers(0, 2000), spaces)
heads = st.builds(
    lambda target, before, length, after, odd: raw(f"POST {target} HTTP/1.1", *before, HOST, length, *after, *odd),
    targets,
    lines_of_headers,
    lengths,
    lines_of_headers,
    telling_lines,
)
edits = st.lists(
    st.tuples(st.integers(0, 200), st.integers(0, 2), st.sampled_from(b" \t\r\n\0:,;#1aHT\x7f\xff")), max_size=2
)


def edited(head: bytes, places: list[tuple[int, int, int]]) -> bytes:
    """Put a byte at each of these places, in the stead of none, one or two of those there."""
    for place, removed, byte in places:
        at = place % (len(head) + 1)
        head = head[:at] + bytes([byte]) + head[at + removed :]
    return head


@given(heads, edits)
def test_what_is_ordinary_is_read_by_another_parser_in_the_same_way(head, places):
    """Target, headers, the body's end, and whether the connection ends: h11 has no other opinion."""
    mine = parse_request(edited(head, places))
    if mine is None:
        return
    assert is_well_formed(edited(head, places))
    body = b"x" * min(mine.length, 1000)
    server = h11.Connection(h11.SERVER)
    server.receive_data(edited(head, places) + b"\r\n\r\n" + body)
    theirs = server.next_event()
    assert isinstance(theirs, h11.Request)
    assert (theirs.method, theirs.target, theirs.http_version) == (b"POST", mine.target, b"1.1")
    assert tuple(header for header in theirs.headers if header[0] != b"content-length") == mine.headers
    if body:
        assert server.next_event() == h11.Data(body)
    assert (type(server.next_event()) is h11.EndOfMessage) == (mine.length <= 1000)
    if server.our_state is h11.MUST_CLOSE:  # it takes "close" alone for close; we, anything that has it
        assert not mine.keep_alive


@given(st.binary(max_size=60), lines_of_headers)
def test_an_ordinary_head_is_a_well_formed_one(data, lines):
    """What the fast lane takes, the slow lane would take too."""
    for head in (data, raw(FIRST, HOST, LENGTH) + b"\r\n" + data, raw(FIRST, *lines, HOST, LENGTH)):
        assert parse_request(head) is None or is_well_formed(head)


# Headers, and what we write


def table(said: str) -> Headers:
    """Read `name: value, name: value`; a semicolon is a comma of a value's own."""
    pairs = [pair.split(": ", 1) for pair in said.split(", ") if pair]
    return tuple((name.encode(), value.replace(";", ",").encode()) for name, value in pairs)


@pytest.mark.parametrize(
    ("headers", "kept"),
    [
        ("x-kept: 1, x-kept: 2", "x-kept: 1, x-kept: 2"),
        ("connection: keep-alive, keep-alive: timeout=5, x-kept: 1", "x-kept: 1"),
        ("te: trailers, transfer-encoding: chunked, upgrade: h2c, trailer: x", ""),
        ("x-hop: 1, connection: close;X-Hop, x-kept: 1", "x-kept: 1"),
        ("connection: x-a, x-a: 1, connection:  ;X-B\t, x-b: 1", ""),
        ("x-own: 1, x-kept: 1", "x-kept: 1"),
        ("connection: x-hop, x-own: 1, te: , x-kept: 1", "x-kept: 1"),
    ],
)
def test_end_to_end(headers, kept):
    """Hop-by-hop headers go, those that Connection names, and those that are dropped; the others keep their order."""
    assert end_to_end(table(headers), frozenset({b"x-own"})) == table(kept)


def test_request_head_is_read_by_another_parser():
    """h11 reads what we write."""
    server = h11.Connection(h11.SERVER)
    server.receive_data(request_head(b"/v1/x?y=1", header_lines([(b"host", b"a:1"), (b"content-length", b"0")])))
    request = server.next_event()
    assert isinstance(request, h11.Request)
    assert (request.method, request.target) == (b"POST", b"/v1/x?y=1")
    assert list(request.headers) == [(b"host", b"a:1"), (b"content-length", b"0")]


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (200, b"HTTP/1.1 200 OK"),
        (404, b"HTTP/1.1 404 Not Found"),
        (599, b"HTTP/1.1 599 "),  # one that nobody has named
    ],
)
def test_response_head_is_read_back(status, line):
    """What we write as an answer's head, we read, whatever the status."""
    data = response_head(status, header_lines([(b"x-one", b"1"), (b"content-length", b"3")]))
    assert data.startswith(line + b"\r\n")
    parsed = parse_response(data)
    assert parsed is not None
    head, length = parsed
    assert (head.status, head.headers, head.length) == (status, ((b"x-one", b"1"), (b"content-length", b"3")), 3)
    assert length == len(data)
