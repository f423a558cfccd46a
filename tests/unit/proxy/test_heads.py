import re
from contextlib import suppress
from itertools import permutations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.paths import meant
from router.http1.heads import Known, ProtocolError, end_to_end
from router.http1.requests import is_well_formed, path_of
from router.proxy.heads import (
    CHUNKS,
    MAX_HEADERS,
    RequestHead,
    ResponseHead,
    describe_request,
    parse_request,
    parse_response,
    usable_id,
)
from tests.heads import (
    DIFFERENT,
    END,
    FIRST,
    HOST,
    LENGTH,
    MALFORMED,
    answers,
    edited,
    edits,
    heads,
    lines_of_headers,
    raw,
)

# Answers


def head_of(*lines: str) -> tuple[ResponseHead, int]:
    parsed = parse_response(raw(*lines) + END)
    assert parsed is not None
    known, length, rest = parsed
    assert rest == b""
    return known.head, length


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
        "X-Accel-Redirect: /secret",
        "X-Accel-Buffering: yes",
    ],
)
def test_what_an_engine_tells_browsers_does_not_go_on(line):
    """Which pages may read, where they go next, what they keep: they speak with the router, not with the engine."""
    head, _ = head_of("HTTP/1.1 200 OK", "X-One: 1", line, "Content-Length: 2", "X-Two: 2")
    assert head.lines == b"HTTP/1.1 200 OK\r\nx-one: 1\r\nx-two: 2\r\n"


def test_nginx_passes_on_a_stream_at_once():
    """It would gather events; of other answers nothing is said."""
    head, _ = head_of("HTTP/1.1 200 OK", "Content-Type: text/event-stream", "X-Accel-Buffering: yes")
    assert head.lines == b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-accel-buffering: no\r\n"


def test_answers_that_differ_in_their_length_alone_are_told_apart():
    """What is remembered of a head is not its body's length."""
    lengths = [2, 30, 2, 0, 999_999_999_999_999_999]
    assert [head_of("HTTP/1.1 200 OK", f"Content-Length: {length}", "X: y")[1] for length in lengths] == lengths


def test_parse_response_waits_for_the_whole():
    """Every beginning of a head is a beginning."""
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    assert [parse_response(data[:i]) for i in range(len(data))] == [None] * len(data)
    assert parse_response(data) is not None


@pytest.mark.parametrize(
    ("server", "kind", "counts_one"),
    [
        ("llama.cpp", "application/json", True), ("llama.cpp", "text/event-stream", False),
        ("uvicorn", "application/json", False),
    ],
)  # fmt: skip
def test_whose_answers_count_one_of_several_choices(server, kind, counts_one):
    """llama.cpp's server says who it is. The tokens of a stream show by its events."""
    assert head_of("HTTP/1.1 200 OK", f"Server: {server}", f"Content-Type: {kind}")[0].counts_one is counts_one


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


def test_an_ordinary_request_in_chunks():
    """Their framing isn't passed on: the engine gets a length."""
    head, length = request_of(FIRST, HOST, "Transfer-Encoding: Chunked")
    assert (length, head.lines) == (CHUNKS, b"")


def test_an_ordinary_form():
    """Its type, with what separates its parts, is passed on, and no other's is remembered for it."""
    for boundary in ("x", "y"):
        head, _ = request_of(FIRST, HOST, LENGTH, f"Content-Type: Multipart/form-data; boundary={boundary}")
        assert (head.boundary, head.kind) == (boundary.encode(), b"Multipart/form-data; boundary=" + boundary.encode())


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
    many = [f"x-{i}: {i:020}" for i in range(MAX_HEADERS - 1)]
    head, length = request_of(FIRST, HOST, LENGTH, *many)
    assert (head.headers[-1], length) == ((b"x-254", b"%020d" % 254), 2)
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
        [FIRST, HOST, "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
        [FIRST, HOST, "Transfer-Encoding: gzip, chunked"],
        [FIRST, HOST, LENGTH, "Expect: 100-continue"],
        [FIRST, HOST, LENGTH, "Content-Encoding: gzip"],
        [FIRST, HOST, LENGTH, "Trailer: x"],
        [FIRST, HOST, LENGTH, *(f"x-{number}: y" for number in range(MAX_HEADERS + 1))],
    ],
)
def test_an_unusual_request_is_left_to_the_slow_lane(lines):
    """It isn't read here, but it is HTTP."""
    assert parse_request(raw(*lines) + END) is None
    assert is_well_formed(raw(*lines))


@pytest.mark.parametrize("lines", MALFORMED)
def test_what_is_no_http_is_neither_ordinary_nor_well_formed(lines):
    """What one parser might read otherwise than the next is for neither lane."""
    assert parse_request(raw(*lines) + END) is None
    assert not is_well_formed(raw(*lines))


@given(heads, edits)
def test_what_is_ordinary_is_read_by_another_parser_in_the_same_way(head, places):
    """Target, headers, the body's end, and whether the connection ends: h11 has no other opinion."""
    parsed = parse_request(edited(head, places) + END)
    if parsed is None:
        return
    assert is_well_formed(edited(head, places))
    mine, length = parsed[0].head, parsed[1]
    if length == CHUNKS:
        return
    body = b"x" * min(length, 1000)
    server = h11.Connection(h11.SERVER)
    server.receive_data(edited(head, places) + END + body)
    theirs = server.next_event()
    assert isinstance(theirs, h11.Request)
    assert (theirs.method, meant(theirs.target), theirs.http_version) == (b"POST", (mine.target, mine.model), b"1.1")
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


@pytest.mark.parametrize("data", DIFFERENT)
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


# What is passed on


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
