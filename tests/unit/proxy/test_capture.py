import pytest

from router.proxy import capture
from router.proxy.capture import Captures

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


def begin(captures: Captures, id_: str = "a", body: bytes = b"{}", *, is_whole: bool = True):
    return captures.begin(id_, "/v1/x", "demo", "alice", body, is_whole=is_whole)


def kept(captures: Captures, id_: str = "a") -> capture.Captured:
    found = captures.find(id_)
    assert found is not None
    return found


def test_a_request_with_its_answer():
    """Piece by piece, as its client gets it."""
    captures = Captures(2, 10**6, clock=lambda: 12.5)
    take = begin(captures, body=b'{"model": "demo"}')
    each = kept(captures)
    assert (each.id, each.path, each.model, each.key, each.body, each.at) == (
        "a", "/v1/x", "demo", "alice", b'{"model": "demo"}', 12.5,
    )  # fmt: skip
    assert each.answer() == (0, b"")
    take(HEAD)
    assert each.answer() == (0, b"")
    take(b"content-length: 4\r\n\r\nab")
    take(b"cd")
    assert each.answer() == (200, b"abcd")
    assert each.cut is False


def test_chunks_are_taken_apart():
    """Those of the router, and an engine's own; of broken ones, all is told as it came."""
    captures = Captures(2, 10**6)
    take = begin(captures)
    take(HEAD + b"transfer-encoding: chunked\r\n\r\n2\r\nab\r\n")
    assert kept(captures).answer() == (200, b"ab")
    take(b"1\r\nc\r\n0\r\n\r\n")
    assert kept(captures).answer() == (200, b"abc")
    take = begin(captures, "b")
    take(HEAD + b"Transfer-Encoding: chunked\r\n\r\nno chunk\r\n")
    assert kept(captures, "b").answer() == (200, b"no chunk\r\n")


def test_what_is_no_answer():
    """Nothing has come that has a status."""
    captures = Captures(2, 10**6)
    begin(captures)(b"garbage\r\n\r\n")
    assert kept(captures).answer() == (0, b"")


def test_the_last_ones_are_kept():
    """And of one id the last one."""
    captures = Captures(2, 10**6)
    for id_, body in (("a", b"1"), ("b", b"2"), ("b", b"3")):
        begin(captures, id_, body)
    assert captures.find("a") is None
    assert kept(captures, "b").body == b"3"
    captures.set_up(1, 10**6)
    begin(captures, "c")
    assert captures.find("b") is None
    captures.set_up(0, 10**6)
    assert captures.find("c") is None


def test_bytes_are_bounded():
    """The oldest goes, also while its answer comes, and takes nothing more then."""
    captures = Captures(100, 5000)
    first = begin(captures, "first", b"x" * 600)
    for _ in range(20):
        first(b"y" * 100)
    assert captures.find("first") is not None
    for number in range(20):
        begin(captures, str(number), b"z" * 400)
        assert captures._size <= 5000
    assert captures.find("first") is None
    size = captures._size
    first(b"y" * 100)
    assert captures._size == size


def test_a_large_one_leaves_room_for_others():
    """Also with the least `size`: the last one is there, and of those before it most are."""
    captures = Captures(50, 1024 * 1024)
    for number in range(40):
        begin(captures, str(number), b"x" * 20_000)
    take = begin(captures, "large", b"x" * 4_500_000)
    take(HEAD + b"\r\n" + b"y" * 4_500_000)
    large = kept(captures, "large")
    assert (len(large.body), large.cut, large.answer()[0]) == (128 * 1024, True, 200)
    assert captures._size <= 1024 * 1024
    assert sum(captures.find(str(number)) is not None for number in range(40)) > 30
    captures.set_up(50, 4 * 1024 * 1024)
    take(b"z")
    assert captures._size <= 4 * 1024 * 1024


def test_of_large_ones_it_is_the_beginning(monkeypatch):
    """It says that there was more."""
    monkeypatch.setattr(capture, "MOST_OF_EACH", 1000)
    captures = Captures(2, 10**6)
    take = begin(captures, body=b"x" * 1001)
    assert (len(kept(captures).body), kept(captures).cut) == (1000, True)
    take = begin(captures, "b")
    take(HEAD + b"\r\n" + b"y" * 500)
    assert kept(captures, "b").cut is False
    take(b"y" * 500)
    take(b"y" * 500)
    assert kept(captures, "b").cut is True
    assert sum(map(len, kept(captures, "b").pieces)) <= 1000
    assert kept(captures, "b").answer()[1] == b"y" * (len(kept(captures, "b").answer()[1]))


@pytest.mark.parametrize("is_whole", [True, False])
def test_long_texts_that_are_kept_elsewhere_are_not_there(is_whole):
    """It says so."""
    captures = Captures(2, 10**6)
    begin(captures, is_whole=is_whole)
    assert kept(captures).cut is not is_whole
