"""The bytes of a slow connection, told apart: where each request begins and ends."""

import pytest

from router.core.errors import BadRequestError
from router.proxy.heads import MAX_REQUEST_HEAD
from router.proxy.slow_connection import MOST_CRUMBS, Messages

GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
HEAD = b"POST /v1/x HTTP/1.1\r\nhost: x\r\n"
SIZED = [HEAD + b"content-length: 5\r\n\r\n", b"hello"]
CHUNKED = [HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n"]
GARBAGE = b"\x00\x01\r\n\r\n"


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_each_request_is_passed_on_by_itself(size):
    """However the bytes come; empty lines between requests are left out."""
    messages = Messages()
    data = b"\r\n".join([GET, *(b"".join(each) for each in (SIZED, CHUNKED, SIZED)), GET])
    pieces = [piece for at in range(0, len(data), size) for piece in messages.feed(data[at : at + size])]
    assert b"".join(pieces) == b"".join([GET, *SIZED, *CHUNKED, *SIZED, GET])
    assert [piece for piece in pieces if piece.startswith((b"GET", b"POST"))] == [
        GET,
        SIZED[0],
        CHUNKED[0],
        SIZED[0],
        GET,
    ]
    assert messages.held == b""


@pytest.mark.parametrize("before", [GET, b"".join(SIZED), b"".join(CHUNKED)])
def test_the_beginning_of_a_head_is_held(before):
    """It is passed on once it is whole."""
    messages = Messages()
    assert b"".join(messages.feed(before + GET[:9])) == before
    assert messages.held == GET[:9]
    assert list(messages.feed(GET[9:])) == [GET]


def test_what_is_not_understood_is_passed_on_from_there():
    """In a piece of its own: what comes before has its answer."""
    messages = Messages()
    assert list(messages.feed(GET + GARBAGE + GET)) == [GET, GARBAGE + GET]
    assert list(messages.feed(GET[:5])) == [GET[:5]]


def test_a_post_without_a_length_is_left_to_the_parser():
    """What follows may be meant for a body."""
    assert list(Messages().feed(HEAD + b"\r\n" + GET)) == [HEAD + b"\r\n" + GET]


def test_a_head_without_an_end_is_passed_on_when_it_is_too_long():
    """To be refused."""
    messages = Messages()
    assert not list(messages.feed(b"GET /" + b"a" * (MAX_REQUEST_HEAD - 6)))
    assert len(b"".join(messages.feed(b"a"))) == MAX_REQUEST_HEAD


def test_bad_chunks_are_refused():
    """At once."""
    with pytest.raises(BadRequestError, match="can't be read"):
        list(Messages().feed(CHUNKED[0] + b"zz\r\n"))


@pytest.mark.parametrize(("count", "refused"), [(MOST_CRUMBS - 1, False), (MOST_CRUMBS * 9 // 8, True)])
def test_crumbs_are_bounded(count, refused):
    """In one read, or over many; short lines within a chunk are none."""
    for size in (1000, 10_000_000):
        messages, data = Messages(), CHUNKED[0] + b"1\r\nx\r\n" * count
        feeds = [data[at : at + size] for at in range(0, len(data), size)]
        if refused:
            with pytest.raises(BadRequestError, match="chunks of a few bytes"):
                [list(messages.feed(each)) for each in feeds]
        else:
            assert b"".join(piece for each in feeds for piece in messages.feed(each)) == data
    messages = Messages()
    list(messages.feed(CHUNKED[0] + b"ffffff\r\n"))
    assert sum(len(piece) for _ in range(100) for piece in messages.feed(b"1\r\n" * 10_000)) == 3_000_000
