import pytest

from router.http1.heads import Headers, Known, end_to_end, split_at_length, without_length
from tests.heads import DIFFERENT, END, FIRST, HOST, raw


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("Content-Length: 12", ("Content-Length: ", "12", "")),
        ("content-LENGTH:\t007 ", ("content-LENGTH:\t", "007", " ")),
        ("Content-Length:0", ("Content-Length:", "0", "")),
    ],
)
def test_a_head_is_split_at_its_length(line, parts):
    """Before its digits, and behind them; without that line, the head is the others."""
    before, digits, behind = split_at_length(raw(FIRST, HOST, line, "X: y") + END)
    assert (before, digits) == (raw(FIRST, HOST, parts[0]), parts[1].encode())
    assert behind == raw(parts[2], "X: y") + END
    assert without_length(before, behind) == raw(FIRST, HOST, "X: y")


@pytest.mark.parametrize(
    "line", ["X: y", "Content-Length: ", "Content-Length: -1", "Content-Length: 1, 1", "Content-Length : 1"]
)
def test_a_head_without_a_length_is_one_part(line):
    """A malformed length is a line like any other: whoever parses the head finds it there."""
    head = raw(FIRST, HOST, line) + END
    assert split_at_length(head) == (head, b"", b"")
    assert without_length(head, b"") == raw(FIRST, HOST, line)


def known(*lines: str) -> Known[str]:
    before, _, behind = split_at_length(raw(*lines) + END)
    return Known(before, behind, "parsed")


@pytest.mark.parametrize("data", DIFFERENT)
def test_a_head_that_differs_is_not_recalled(data):
    """Only the digits of the length may differ."""
    latest = known(FIRST, HOST, "Content-Length: 2", "X: y")
    assert latest.recall(raw(FIRST, HOST, "Content-Length: 345", "X: y") + END + b"{}") == (345, b"{}")
    assert latest.recall(data + END + b"{}") is None


@pytest.mark.parametrize("framing", ["Transfer-Encoding: chunked", "X: y"])
def test_a_head_without_a_length_is_recalled(framing):
    """As a whole."""
    latest = known("HTTP/1.1 200 OK", framing)
    assert latest.recall(raw("HTTP/1.1 200 OK", framing) + END + b"rest") == (0, b"rest")
    assert latest.recall(raw("HTTP/1.1 200 OK", framing, "Content-Length: 2") + END + b"rest") is None


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
