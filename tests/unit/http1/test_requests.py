import pytest
from hypothesis import given

from router.http1.heads import split_at_length
from router.http1.requests import ParsedRequest, is_well_formed, parse_request, path_of, without_empty_lines
from tests.heads import END, FIRST, HOST, LENGTH, MALFORMED, edited, edits, heads, raw


def read(head: bytes) -> ParsedRequest | None:
    """Parse a head that lacks the empty line at its end."""
    before, _, behind = split_at_length(head + END)
    return parse_request(before, behind)


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize("target", ["/", "*", "/v1/x?y=1", "http://a:1/#b"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_request_line(method, target, version):
    """Its three parts, whatever they mean."""
    parsed = read(raw(f"{method} {target} HTTP/{version}", HOST))
    assert parsed is not None
    assert (parsed.method, parsed.target, parsed.http11) == (method.encode(), target.encode(), version == "1.1")


@pytest.mark.parametrize("length", [[], [LENGTH]])
def test_headers(length):
    """Names in lower case, values trimmed, the line of the length taken out."""
    parsed = read(raw(FIRST, "HOST:a:1", *length, "X-One:  1\t2 ", "x-empty: "))
    assert parsed is not None
    assert parsed.headers == ((b"host", b"a:1"), (b"x-one", b"1\t2"), (b"x-empty", b""))


@pytest.mark.parametrize(
    ("version", "lines", "keep_alive"),
    [
        ("1.1", [], True),
        ("1.1", ["Connection: X-A, Close"], False),
        ("1.1", ["Connection: close", "Connection: keep-alive"], False),
        ("1.0", ["Connection: keep-alive"], False),
    ],
)
def test_keep_alive(version, lines, keep_alive):
    """A connection of HTTP/1.1 goes on unless any Connection says close."""
    parsed = read(raw(f"POST /v1/x HTTP/{version}", HOST, LENGTH, *lines))
    assert parsed is not None
    assert parsed.keep_alive is keep_alive


@pytest.mark.parametrize("lines", MALFORMED)
def test_what_is_no_http_is_malformed(lines):
    """What another parser might read differently is refused."""
    assert read(raw(*lines)) is None
    assert not is_well_formed(raw(*lines))


def test_a_request_line_is_bounded():
    """A target of more than 16 KiB is no request's."""
    assert is_well_formed(b"GET /" + b"a" * 16_383 + b" HTTP/1.1")
    assert not is_well_formed(b"GET /" + b"a" * 16_384 + b" HTTP/1.1")


@given(heads, edits)
def test_what_is_well_formed_can_be_parsed(head, places):
    """And nothing else can."""
    head = edited(head, places)
    assert (read(head) is not None) == is_well_formed(head)


@pytest.mark.parametrize(
    ("target", "path"),
    [(b"/v1/x", "/v1/x"), (b"/v1/x?y=1?z", "/v1/x"), (b"/v1/x?", "/v1/x"), (b"/v1/\xfc", "/v1/ü"), (b"", "")],
)
def test_path_of(target, path):
    """All before the query."""
    assert path_of(target) == path


@pytest.mark.parametrize(("data", "rest"), [(b"", b""), (b"\r\n\r\nP", b"P"), (b"\r\n\r", b"\r"), (b"\nP", b"\nP")])
def test_empty_lines_before_a_request(data, rest):
    """They alone are left out."""
    assert without_empty_lines(data) == rest
