import re
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
    Known,
    ProtocolError,
    RequestHead,
    ResponseHead,
    describe_request,
    end_to_end,
    header_lines,
    is_well_formed,
    parse_request,
    parse_response,
    path_of,
    status_line,
    usable_id,
)

END = b"\r\n\r\n"

# Answers


def raw(*lines: str) -> bytes:
    return "\r\n".join(lines).encode("latin-1")


def head_of(*lines: str) -> tuple[ResponseHead, int]:
    parsed = parse_response(raw(*lines) + END)
    assert parsed is not None
    known, length, rest = parsed
    assert rest == b""
    return known.head, length


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
    parsed = parse_response(
        b"HTTP/1.1 200 OK\r\nX-One:  1 \r\nCONTENT-length:\t9 \r\nx-TWO:\t2: 3\r\nx-empty:\r\n\r\nbody"
    )
    assert parsed is not None
    known, length, rest = parsed
    assert known.head.status == 200
    assert known.head.headers == ((b"x-one", b"1"), (b"x-two", b"2: 3"), (b"x-empty", b""))
    assert (length, rest) == (9, b"body")


def test_an_answers_lines_are_those_that_go_on_to_the_client():
    """A status line of our own, and the end-to-end headers, but for those that the router writes itself."""
    head, _ = head_of(
        "HTTP/1.0 200 Okay",
        "Server: x",
        "Connection: x-hop",
        "X-Hop: 1",
        "Content-Length: 3",
        "X-Request-ID: 1",
        "X-Router-Backend: evil",
        "Content-Type:  text/plain ",
    )
    assert head.lines == b"HTTP/1.1 200 OK\r\nserver: x\r\ncontent-type: text/plain\r\n"


@pytest.mark.parametrize(
    "line",
    [
        "Access-Control-Allow-Origin: *",
        "Access-Control-Allow-Credentials: true",
        "access-control-expose-headers: *",
        "Cross-Origin-Resource-Policy: cross-origin",
        "Timing-Allow-Origin: *",
        "Location: http://127.0.0.1:8000/v1/x",
        "Content-Location: /x",
        "Refresh: 0; url=http://evil.test",
        "Set-Cookie: session=1",
        "Clear-Site-Data: *",
        "Strict-Transport-Security: max-age=1",
        "Alt-Svc: h3",
    ],
)
def test_what_an_engine_tells_browsers_does_not_go_on(line):
    """Which pages may read, where they go next, what they keep: they speak with the router, not with the engine."""
    head, _ = head_of("HTTP/1.1 200 OK", "X-One: 1", line, "Content-Length: 2", "X-Two: 2")
    assert head.lines == b"HTTP/1.1 200 OK\r\nx-one: 1\r\nx-two: 2\r\n"


def test_answers_that_differ_in_their_length_alone_are_told_apart():
    """What is remembered of a head is not its body's length."""
    lengths = [2, 30, 2, 0, 999_999_999_999_999_999]
    assert [head_of("HTTP/1.1 200 OK", f"Content-Length: {length}", "X: y")[1] for length in lengths] == lengths


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
    ("line", "value", "expected"),
    [
        ("HTTP/1.1 200 OK", "application/json", False),
        ("HTTP/1.1 201 Created", "audio/mpeg", False),
        ("HTTP/1.1 200 OK", "Text/HTML; charset=utf-8", True),
        ("HTTP/1.1 204 No Content", "application/json", True),
        ("HTTP/1.1 302 Found", "application/json", True),
        ("HTTP/1.1 404 Not Found", "application/json", True),
        ("HTTP/1.1 500 No", "text/event-stream", True),
    ],
)
def test_what_is_no_good_answer_is_odd(line, value, expected):
    """Errors, redirections, nothing, web pages."""
    assert head_of(line, f"Content-Type: {value}")[0].odd is expected


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


def request_of(*lines: str) -> tuple[RequestHead, int]:
    parsed = parse_request(raw(*lines) + END)
    assert parsed is not None
    known, length = parsed
    return known.head, length


def test_an_ordinary_request():
    """Its target, its headers but for the length, names in lower case, and how many bytes are its body."""
    for lines in permutations([HOST, "X-One:  1\t2 ", "x-empty: ", "CONTENT-LENGTH:\t2 "]):
        head, length = request_of("POST /v1/x?y=1 HTTP/1.1", *lines)
        assert (head.target, head.path, length, head.keep_alive) == (b"/v1/x?y=1", "/v1/x", 2, True)
        assert (head.id, head.credentials, head.well_addressed) == ("", b"", True)
        assert sorted(head.headers) == [(b"host", b"a:1"), (b"x-empty", b""), (b"x-one", b"1\t2")]


def test_requests_that_differ_in_their_length_alone_are_told_apart():
    """What is remembered of a head is not its body's length."""
    lengths = [2, 30, 2, 0, 999_999_999_999_999_999]
    assert [request_of(FIRST, HOST, f"Content-Length: {length}")[1] for length in lengths] == lengths


def test_what_is_remembered_of_a_request_is_not_anothers():
    """The same head again, the same lines, id and credentials; another, others."""
    values = ["1", "2", "1"]
    heads = [request_of(FIRST, HOST, LENGTH, f"x: {v}", f"x-request-id: {v}", f"x-api-key: {v}")[0] for v in values]
    assert [head.lines for head in heads] == [b"x: 1\r\n", b"x: 2\r\n", b"x: 1\r\n"]
    assert [head.id for head in heads] == values
    assert [head.credentials for head in heads] == [b"x-api-key: %s\r\n" % value.encode() for value in values]


def test_a_long_head_is_ordinary_too():
    """It is only not remembered."""
    many = [f"x-{i}: {i}" for i in range(1000)]
    head, length = request_of(FIRST, HOST, LENGTH, *many)
    assert (head.headers[-1], length) == ((b"x-999", b"999"), 2)
    assert parse_request(raw(FIRST, HOST, LENGTH, *many, "Expect: 100-continue") + END) is None


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
    head, _ = request_of(FIRST, HOST, LENGTH, *lines)
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
    assert parse_request(raw(*lines) + END) is None
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
    assert parse_request(raw(*lines) + END) is None
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
digits = st.integers(0, 2000).map(str) | st.sampled_from(["007", "000000000000000000"])
lengths = st.builds("{}:{}{}{}".format, st.just("content-LENGTH"), spaces, digits, spaces)
heads = st.builds(
    lambda target, before, length, after, odd: raw(f"POST {target} HTTP/1.1", *before, HOST, length, *after, *odd),
    targets,
    lines_of_headers,
    lengths,
    lines_of_headers,
    telling_lines,
)
first_lines = st.sampled_from(["HTTP/1.1 200 OK", "HTTP/1.0 404", "HTTP/1.1 599 x", "HTTP/1.1 204 No Content"])
answers = st.builds(
    lambda first, before, length, after, odd: raw(first, *before, *length, *after, *odd),
    first_lines,
    lines_of_headers,
    st.lists(lengths | st.just("Transfer-Encoding: chunked"), max_size=1),
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
    parsed = parse_request(edited(head, places) + END)
    if parsed is None:
        return
    assert is_well_formed(edited(head, places))
    mine, length = parsed[0].head, parsed[1]
    body = b"x" * min(length, 1000)
    server = h11.Connection(h11.SERVER)
    server.receive_data(edited(head, places) + END + body)
    theirs = server.next_event()
    assert isinstance(theirs, h11.Request)
    assert (theirs.method, theirs.target, theirs.http_version) == (b"POST", mine.target, b"1.1")
    assert tuple(header for header in theirs.headers if header[0] != b"content-length") == mine.headers
    if body:
        assert server.next_event() == h11.Data(body)
    assert (type(server.next_event()) is h11.EndOfMessage) == (length <= 1000)
    if server.our_state is h11.MUST_CLOSE:  # it takes "close" alone for close; we, anything that has it
        assert not mine.keep_alive


@given(st.binary(max_size=60), lines_of_headers)
def test_an_ordinary_head_is_a_well_formed_one(data, lines):
    """What the fast lane takes, the slow lane would take too."""
    for head in (data, raw(FIRST, HOST, LENGTH) + b"\r\n" + data, raw(FIRST, *lines, HOST, LENGTH)):
        assert parse_request(head + END) is None or is_well_formed(head)


# What a request's head says


@pytest.mark.parametrize(
    ("target", "path"),
    [(b"/v1/x", "/v1/x"), (b"/v1/x?y=1?z", "/v1/x"), (b"/v1/x?", "/v1/x"), (b"/v1/\xfc", "/v1/ü"), (b"", "")],
)
def test_path_of(target, path):
    """All before the query."""
    assert path_of(target) == path
    assert describe_request(target, (), keep_alive=True).path == path


@pytest.mark.parametrize("theirs", ["1", "my request", "a" * 128, "5f0c7a52-12f1-4a5c-a9a2-1f9f8b1f2f10", "\"'<>;%"])
def test_a_clients_own_id_is_kept(theirs):
    """Whatever can stand in a header and in a log's line."""
    assert usable_id(((b"host", b"a"), (b"x-request-id", theirs.encode()))) == theirs
    assert request_of(FIRST, HOST, LENGTH, f"X-Request-ID: {theirs}")[0].id == theirs


@pytest.mark.parametrize("theirs", [b"", b"a" * 129, b"\xc3\xbc", b"\xff", b"a\tb", b"a\x1b[2J", b"a\x7f", b"a\nb"])
def test_an_odd_id_is_none(theirs):
    """One that is empty, too long, or could steer a terminal."""
    headers = ((b"host", b"a"), (b"x-request-id", theirs))
    assert usable_id(headers) == ""
    assert describe_request(b"/v1/x", headers, keep_alive=True).id == ""


def test_no_id_is_none():
    """And of two, the first that can be used is taken."""
    assert usable_id(()) == ""
    assert usable_id(((b"x-request-id", b""), (b"x-request-id", b"b"), (b"x-request-id", b"c"))) == "b"


def test_both_lanes_describe_a_request_alike():
    """A head that was parsed here says what describe_request makes of another parser's target and headers."""
    lines = ["X-API-Key: k", "X-Request-ID: 1", "Connection: x-hop", "x-hop: 1", "x-one: 1"]
    head, _ = request_of("POST /v1/a/../b?c HTTP/1.1", HOST, LENGTH, *lines)
    assert head == describe_request(head.target, head.headers, keep_alive=True)
    assert (head.id, head.credentials, head.lines) == ("1", b"x-api-key: k\r\n", b"x-one: 1\r\n")
    assert not head.well_addressed


# What is recalled of a head


LENGTH_SAID = re.compile(rb"(\r\ncontent-length:[\t ]*)[0-9]+([\t ]*)", re.IGNORECASE)


def relengthed(head: bytes, said: str) -> bytes:
    """Give a head with another length."""
    return LENGTH_SAID.sub(lambda found: found[1] + said.encode() + found[2], head, count=1)


def read_request(data: bytes) -> tuple[Known[RequestHead], int, bytes] | None:
    """Read a request as a connection does that remembers nothing."""
    end = data.find(END) + 4
    parsed = None if end < 4 else parse_request(data[:end])
    return None if parsed is None else (*parsed, data[end:])


def read_answer(data: bytes) -> tuple[Known[ResponseHead], int, bytes] | None:
    """Read an answer as a connection does that remembers nothing."""
    with suppress(ProtocolError):
        return parse_response(data)
    return None


SOME_LENGTHS = st.integers(0, 10**18 - 1).map(str) | st.sampled_from(
    ["0", "00", "0" * 18, "9" * 18, "000000000000000042"]
)
BODIES = st.binary(max_size=20) | st.sampled_from(
    [b"\r\n", END, b"HTTP/1.1 200 OK\r\n\r\n", raw(FIRST, HOST, LENGTH) + END]
)


@given(st.tuples(st.just(read_request), heads) | st.tuples(st.just(read_answer), answers), SOME_LENGTHS, BODIES)
def test_a_head_like_the_last_one_is_recalled(case, said, body):
    """Another length, another body: what is recalled is what would be read."""
    read, head = case
    before = read(head + END)
    if before is None:
        return
    data = relengthed(head, said) + END + body
    known, length, rest = read(data)
    assert known.head == before[0].head
    recalled = before[0].recall(data)
    line = LENGTH_SAID.search(head)
    assert (length, rest) == (0 if line is None else int(said), body)
    if line is None or not line[2]:
        assert recalled == (length, rest)
    else:  # with spaces behind the length it is read anew each time
        assert recalled is None


@given(
    st.tuples(st.just(read_request), heads) | st.tuples(st.just(read_answer), answers),
    SOME_LENGTHS
    | st.sampled_from(["", "-1", "+1", "1_0", "1 0", "\t1", "0x1", "9" * 19, "\xb2", "1\r\nx: y", "1\n", "1\r"]),
    BODIES,
    edits,
    st.none() | st.integers(0, 300),
)
def test_what_is_recalled_is_what_would_be_read(case, said, body, places, cut):
    """Whatever else comes is not recalled, or just as it would be read: nothing passes that isn't ordinary."""
    read, head = case
    before = read(head + END)
    if before is None:
        return
    data = edited(relengthed(head, said) + END + body, places)[:cut]
    recalled, fresh = before[0].recall(data), read(data)
    if recalled is not None:
        assert fresh is not None
        assert fresh[0].head == before[0].head
        assert fresh[1:] == recalled


@given(st.tuples(st.just(read_request), heads) | st.tuples(st.just(read_answer), answers))
def test_what_is_not_all_there_is_not_recalled(case):
    """Every beginning of a head is a beginning."""
    read, head = case
    before = read(head + END)
    if before is not None:
        assert [before[0].recall((head + END)[:cut]) for cut in range(len(head) + 4)] == [None] * (len(head) + 4)


@pytest.mark.parametrize(
    "data",
    [
        raw(FIRST, HOST, "Content-Length: ", "X: y"),
        raw(FIRST, HOST, "Content-Length: 9999999999999999999", "X: y"),
        raw(FIRST, HOST, "Content-Length: 2 ", "X: y"),
        raw(FIRST, HOST, "Content-Length: \xb2", "X: y"),
        raw(FIRST, HOST, "Content-Length: 2_0", "X: y"),
        raw(FIRST, HOST, "Content-Length: 2", "X: z"),
        raw(FIRST, HOST, "Content-Length: 2", "X: y", "X: y"),
        raw(FIRST, HOST, "Content-Length: 2", "Content-Length: 2", "X: y"),
        raw(FIRST, HOST, "Content-Length: 2", "Transfer-Encoding: chunked", "X: y"),
        raw(FIRST, "Host: b", "Content-Length: 2", "X: y"),
        raw(FIRST, HOST, "content-length: 2", "X: y"),
        b"\r\n" + raw(FIRST, HOST, "Content-Length: 2", "X: y"),
    ],
)
def test_a_head_that_differs_is_not_recalled(data):
    """The digits of the length may be others, and nothing else."""
    parsed = parse_request(raw(FIRST, HOST, "Content-Length: 2", "X: y") + END)
    assert parsed is not None
    assert parsed[0].recall(raw(FIRST, HOST, "Content-Length: 345", "X: y") + END + b"{}") == (345, b"{}")
    assert parsed[0].recall(data + END + b"{}") is None


@pytest.mark.parametrize("framing", ["Transfer-Encoding: chunked", "X: y"])
def test_a_head_without_a_length_is_recalled(framing):
    """As a whole."""
    parsed = parse_response(raw("HTTP/1.1 200 OK", framing) + END)
    assert parsed is not None
    assert parsed[0].recall(raw("HTTP/1.1 200 OK", framing) + END + b"rest") == (0, b"rest")
    assert parsed[0].recall(raw("HTTP/1.1 200 OK", framing, "Content-Length: 2") + END + b"rest") is None


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


@given(heads)
def test_what_goes_on_of_a_request_is_read_by_another_parser(head):
    """h11 reads what we write: the end-to-end headers as they were, none that the router writes itself."""
    parsed = parse_request(head + END)
    if parsed is None:
        return
    mine = parsed[0].head
    server = h11.Connection(h11.SERVER)
    ours = b"host: b:1\r\n" + mine.lines + mine.credentials + b"content-length: 0\r\n\r\n"
    server.receive_data(b"POST %s HTTP/1.1\r\n%s" % (mine.target, ours))
    theirs = server.next_event()
    assert isinstance(theirs, h11.Request)
    assert (theirs.method, theirs.target) == (b"POST", mine.target)
    kept = end_to_end(mine.headers, frozenset({b"host", b"content-type"}))
    assert tuple(theirs.headers) == ((b"host", b"b:1"), *kept, (b"content-length", b"0"))
    assert isinstance(server.next_event(), h11.EndOfMessage)


@given(answers)
def test_what_goes_on_of_an_answer_is_read_by_another_parser(head):
    """h11 reads what we write, and so do we: the same status, the end-to-end headers as they were."""
    parsed = read_answer(head + END)
    if parsed is None:
        return
    mine = parsed[0].head
    ours = mine.lines + b"content-length: 0\r\n\r\n"
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="POST", target="/", headers=[("host", "a"), ("content-length", "0")]))
    client.send(h11.EndOfMessage())
    client.receive_data(ours)
    theirs = client.next_event()
    assert isinstance(theirs, h11.Response)
    kept = end_to_end(mine.headers, frozenset())
    assert (theirs.status_code, tuple(theirs.headers)) == (mine.status, (*kept, (b"content-length", b"0")))
    again = parse_response(ours)
    assert again is not None
    assert (again[0].head.status, again[0].head.headers, again[0].head.lines) == (mine.status, kept, mine.lines)


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
    parsed = parse_response(status_line(status) + header_lines([(b"x-one", b"1"), (b"content-length", b"3")]) + b"\r\n")
    assert parsed is not None
    known, length, rest = parsed
    assert (known.head.status, known.head.headers, length, rest) == (status, ((b"x-one", b"1"),), 3, b"")
