from contextlib import suppress
from itertools import pairwise

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router.http1.bodies import (
    LAST_CHUNK,
    MAX_LINE,
    MAX_PADDING,
    ChunkedBody,
    CloseBody,
    Framing,
    LengthBody,
    body_of,
    chunk,
)
from router.http1.heads import ProtocolError


def fed(body, pieces):
    return b"".join(body.feed(piece) for piece in pieces)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Cut the data at these places, wherever they fall."""
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(edges) if a < b]


def decoded(wire: bytes) -> bytes:
    """Read a chunked body that must be whole, with nothing after it, by another's reader."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + wire)
    assert isinstance(client.next_event(), h11.Response)
    payload = b""
    while isinstance(event := client.next_event(), h11.Data):
        payload += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert not list(event.headers)
    assert client.trailing_data == (b"", False)
    return payload


chunks = st.lists(
    st.binary(min_size=1, max_size=40) | st.sampled_from([b"0\r\n\r\n", b"\r\n", b"data: x\n\n", b"5\r\n"]),
    max_size=8,
)
extensions = st.sampled_from([b"", b";a=b", b';a="b";c', b"  "])
trailers = st.sampled_from([b"", b"X-A: b\r\n", b"X-A: b\r\nX-C: d\r\n"])
cuts = st.lists(st.integers(0, 500), max_size=12)


def wire_of(parts, extension=b"", trailer=b"", number=b"%x"):
    wire = b"".join(number % len(part) + extension + b"\r\n" + part + b"\r\n" for part in parts)
    return wire + b"0" + extension + b"\r\n" + trailer + b"\r\n"


# Chunked bodies


@given(chunks, extensions | st.just(b' ; a="b"'), trailers, cuts, st.sampled_from([b"%x", b"%X", b"%05x"]))
def test_chunked_body_split_anywhere(parts, extension, trailer, places, number):
    """Whatever the chunks hold and wherever reads split them, the payload is what was sent, and the end is seen."""
    body = ChunkedBody()
    pieces = cut(wire_of(parts, extension, trailer, number), places)
    assert fed(body, pieces[:-1]) + body.feed(pieces[-1]) == b"".join(parts)
    assert body.done
    assert body.ends_at_eof()
    assert not body.surplus


@given(chunks, extensions, trailers, cuts)
def test_a_raw_body_split_anywhere(parts, extension, trailer, places):
    """What is passed on is the same body, framing and all, but for its trailers."""
    wire = wire_of(parts, extension, trailer)
    body = ChunkedBody(raw=True)
    passed = fed(body, cut(wire, places))
    assert passed == wire.removesuffix(b"0" + extension + b"\r\n" + trailer + b"\r\n") + b"0\r\n\r\n"
    assert decoded(passed) == b"".join(parts)
    assert body.done
    assert body.ends_at_eof()
    assert not body.surplus


@pytest.mark.parametrize("size", [1, 2, 9, 10, 15, 16])
@pytest.mark.parametrize("count", [1, 8, 9, 25, 1000])
def test_a_run_of_crumbs(size, count):
    """It is what the same chunks are one by one, wherever it ends."""
    data = bytes(range(1, 252)) * (size * count // 251 + 1)
    parts = [data[at : at + size] for at in range(0, size * count, size)]
    wire = b"".join(map(chunk, parts))
    body = ChunkedBody()
    assert fed(body, [wire[:-1], wire[-1:], chunk(b"other"), LAST_CHUNK, b""]) == b"".join(parts) + b"other"
    assert body.done


@pytest.mark.parametrize("place", range(5))
def test_a_mistake_in_a_run_of_crumbs_is_found(place):
    """In its size, its line ends; not in its data."""
    wire = bytearray(b"2\r\nhi\r\n" * 100)
    at = 7 * 50 + [0, 1, 2, 5, 6][place]
    wire[at] = 120
    with pytest.raises(ProtocolError) as refused:
        ChunkedBody().feed(bytes(wire))
    assert refused.value.before == b"hi" * (50 if place < 3 else 51)


@given(chunks, extensions, trailers)
def test_nothing_of_a_partial_line_is_passed_on(parts, extension, trailer):
    """Byte by byte: a size line comes whole with its last byte, and the last chunk with its own."""
    wire, body, passed = wire_of(parts, extension, trailer), ChunkedBody(raw=True), b""
    lines = [b"%x%s\r\n" % (len(part), extension) for part in parts]
    may_end = {0}  # where a line may begin: between two chunks
    within: set[int] = set()  # inside a chunk
    for line, part in zip(lines, parts, strict=True):
        begins = max(may_end) + len(line)
        within |= set(range(begins, begins + len(part) + 2))
        may_end.add(begins + len(part) + 2)
    for i in range(len(wire) - 1):
        passed += body.feed(wire[i : i + 1])
        assert len(passed) in may_end | within
    assert passed == b"".join(line + part + b"\r\n" for line, part in zip(lines, parts, strict=True))
    assert not body.done
    assert body.feed(wire[-1:]) == LAST_CHUNK
    assert body.done


@given(chunks, cuts, st.booleans())
def test_chunked_body_without_its_last_chunk_is_not_done(parts, places, raw):
    """A body that stops before its end hasn't ended, however it is cut."""
    wire = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    body = ChunkedBody(raw=raw)
    assert fed(body, cut(wire, places)) == (wire if raw else b"".join(parts))
    assert not body.done
    assert not body.ends_at_eof()


@pytest.mark.parametrize("raw", [False, True])
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
        b"\xb2\r\n",
        b"1" * 16 + b"\r\n",
        b"5\r\nhelloX\r\n",
        b"5\r\nhelloX",
        b"5\r\nhello\rX",
        b"5\r\nhello\n",
        b"5\nhello\n",
        b"5" * (MAX_LINE + 1),
        b"5;" + b"x" * (MAX_LINE + 1) + b"\r\n",
        b"0\r\n" + b"a: b\r\n" * MAX_LINE,
        b"0\r\n" + b"a" * MAX_LINE,
    ],
)
@pytest.mark.parametrize("size", [7, 1 << 20])
def test_a_bad_chunk_is_refused(wire, raw, size):
    """Sizes are hexadecimal digits and nothing else; data is as long as it said; lines and trailers are bounded."""
    pieces = [wire[i : i + size] for i in range(0, len(wire), size)]
    with pytest.raises(ProtocolError):
        fed(ChunkedBody(raw=raw), [*pieces, b"\r\n"])


@pytest.mark.parametrize("extension", [b";a\nb", b";a\rb", b"; \x00", b"\x0b;a"])
def test_an_extension_that_another_parser_may_take_for_a_lines_end_is_refused(extension):
    """It would be passed on to a client, for whom a chunk might then begin elsewhere."""
    with pytest.raises(ProtocolError):
        ChunkedBody(raw=True).feed(b"5%s\r\nhello\r\n" % extension)


def test_trailers_within_bounds_are_waited_for():
    """A last chunk may come in many pieces."""
    body = ChunkedBody(raw=True)
    pieces = [b"0\r\n", *[b"a: b\r\n"] * 500]
    assert fed(body, pieces) == b""
    assert not body.done
    assert body.feed(b"\r\n") == b"0\r\n\r\n"
    assert body.done


@pytest.mark.parametrize(("raw", "passed"), [(False, b"hi"), (True, b"2\r\nhi\r\n0\r\n\r\n")])
@pytest.mark.parametrize("trailer", [b"", b"a: b\r\n"])
def test_bytes_after_the_last_chunk_are_surplus(raw, passed, trailer):
    """They belong to no answer, and aren't passed on."""
    body = ChunkedBody(raw=raw)
    assert body.feed(b"2\r\nhi\r\n0\r\n" + trailer + b"\r\nHTTP/1.1") == passed
    assert body.done
    assert body.surplus


def test_a_body_is_raw_only_if_it_is_asked_to_be():
    """The payload is the default."""
    assert ChunkedBody().feed(b"2\r\nhi\r\n") == b"hi"


@given(st.binary(min_size=1, max_size=300))
def test_a_chunk_that_we_write_is_read_by_another_parser(data):
    """Its size in hexadecimal, its data, and its line ends."""
    assert decoded(chunk(data) + LAST_CHUNK) == data


@given(st.binary(max_size=200), cuts, st.booleans())
def test_no_bytes_break_the_reader(data, places, raw):
    """Whatever comes is read or refused, never a crash."""
    body = ChunkedBody(raw=raw)
    with suppress(ProtocolError):
        fed(body, cut(data, places))


# Bodies that break off

WORDS = b"\n\ndata: it broke\n\n"


def assert_said(wire: bytes, parts: list[bytes]) -> None:
    """Assert that a client reads a beginning of the parts, line ends that fill it up, and the words."""
    payload, whole = decoded(wire), b"".join(parts)
    assert payload.endswith(WORDS)
    before = payload.removesuffix(WORDS)
    filled = next(n for n in range(len(before) + 1) if whole.startswith(before[: len(before) - n]))
    assert before[len(before) - filled :] == b"\n" * filled
    assert len(before) <= len(whole)


@given(chunks, extensions, trailers, st.integers(0, 1000), cuts)
@example([b"hello"], b"", b"", 0, [])
@example([b"hello"], b"", b"", 1, [])  # in a size line
@example([b"hello"], b"", b"", 5, [])  # in a chunk
@example([b"hello"], b"", b"", 8, [])  # behind its data
@example([b"hello"], b"", b"", 9, [])  # in its CRLF
@example([b"hello"], b"", b"", 10, [])  # between two
@example([b"hello"], b"", b"", 13, [])  # in the last
def test_something_can_be_said_wherever_a_raw_body_breaks_off(parts, extension, trailer, at, places):
    """Cut at any byte, the words make a whole body of it, and stand at its end in a chunk of their own."""
    wire = wire_of(parts, extension, trailer)
    body = ChunkedBody(raw=True)
    passed = fed(body, cut(wire[: at % len(wire)], places))
    assert_said(passed + body.interrupt(WORDS) + LAST_CHUNK, parts)


@given(chunks, st.integers(0, 1000), cuts, st.sampled_from([b"zz\r\n", b"lo\r\nzz\r\n", b"x" * (2 * MAX_LINE)]))
@example([b"hello"], 6, [], b"lo\r\nzz\r\n")
def test_something_can_be_said_where_a_raw_body_turns_to_garbage(parts, at, places, garbage):
    """What was refused was not passed on: the words come where the client stands, not where the reader got to."""
    wire = wire_of(parts)
    body = ChunkedBody(raw=True)
    passed = fed(body, cut(wire[: at % len(wire)], places))
    with pytest.raises(ProtocolError) as refused:  # noqa: PT012  (which of the two is refused depends on the cut)
        for piece in (garbage, b"zz\r\n" * MAX_LINE):
            passed += body.feed(piece)
    assert decoded(passed + refused.value.before + body.interrupt(WORDS) + LAST_CHUNK).endswith(WORDS)


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=5), st.booleans(), cuts)
def test_what_came_before_garbage_is_known(parts, raw, places):
    """Wherever it was cut, and be it in the same piece."""
    wire = b"".join(chunk(part) for part in parts)
    body, passed = ChunkedBody(raw=raw), b""
    with pytest.raises(ProtocolError) as refused:  # noqa: PT012  (as above)
        for piece in cut(wire + b"zz\r\n", places):
            passed += body.feed(piece)
    assert passed + refused.value.before == (wire if raw else b"".join(parts))


def test_an_interrupted_chunk_is_filled_up_within_bounds():
    """Where too much is missing, nothing can be said any more."""
    for missing, said in ((MAX_PADDING, True), (MAX_PADDING + 1, False)):
        body = ChunkedBody(raw=True)
        body.feed(b"%x\r\nx" % (missing + 1))
        assert bool(body.interrupt(WORDS)) is said


@given(chunks, st.integers(0, 1000))
def test_words_behind_a_decoded_body_are_the_words_alone(parts, at):
    """Their framing is the business of who framed what went before."""
    wire = wire_of(parts)
    body = ChunkedBody()
    body.feed(wire[: at % len(wire)])
    assert body.interrupt(WORDS) == WORDS


@pytest.mark.parametrize("raw", [False, True])
def test_nothing_is_said_behind_the_end(raw):
    """A body that is whole stays as it is."""
    body = ChunkedBody(raw=raw)
    body.feed(b"0\r\n\r\n")
    assert body.interrupt(WORDS) == b""


@pytest.mark.parametrize("body", [LengthBody(3), CloseBody()])
def test_words_behind_an_unchunked_body_are_the_words_alone(body):
    """What words may be added to has been framed anew."""
    body.feed(b"a")
    assert body.interrupt(WORDS) == WORDS


# The other framings


@pytest.mark.parametrize(
    ("pieces", "payload", "done", "surplus"),
    [
        ([b"abc"], b"abc", True, False),
        ([b"a", b"bc"], b"abc", True, False),
        ([b"ab"], b"ab", False, False),
        ([b"abcd"], b"abc", True, True),
        ([b"ab", b"cd"], b"abc", True, True),
    ],
)
def test_length_body(pieces, payload, done, surplus):
    """As many bytes as were announced, no more."""
    body = LengthBody(3)
    assert fed(body, pieces) == payload
    assert (body.done, body.surplus, body.ends_at_eof()) == (done, surplus, done)


def test_an_empty_body_is_done_before_it_begins():
    """A length of nothing needs no byte."""
    body = LengthBody(0)
    assert body.done
    assert not body.surplus
    assert body.ends_at_eof()


def test_close_body():
    """All bytes belong to it, and only the connection's end ends it."""
    body = CloseBody()
    assert body.feed(b"abc") == b"abc"
    assert not body.done
    assert not body.surplus
    assert body.ends_at_eof()


@pytest.mark.parametrize(
    ("framing", "length", "kind", "done"),
    [
        (Framing.CHUNKED, 0, ChunkedBody, False),
        (Framing.LENGTH, 3, LengthBody, False),
        (Framing.LENGTH, 0, LengthBody, True),
        (Framing.NONE, 0, LengthBody, True),
        (Framing.NONE, 3, LengthBody, True),
        (Framing.CLOSE, 0, CloseBody, False),
    ],
)
@pytest.mark.parametrize("raw", [False, True])
def test_body_of(framing, length, kind, done, raw):
    """Each framing has its reader; what has no body is done at once, whatever its length says."""
    body = body_of(framing, length, raw=raw)
    assert isinstance(body, kind)
    assert body.done is done


@pytest.mark.parametrize(("raw", "passed"), [(False, b"hi"), (True, b"2\r\nhi\r\n")])
def test_body_of_leaves_chunks_as_they_are_if_raw(raw, passed):
    """A client that reads chunks too gets them as they came."""
    assert body_of(Framing.CHUNKED, 0, raw=raw).feed(b"2\r\nhi\r\n") == passed
