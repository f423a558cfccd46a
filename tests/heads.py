"""Heads of HTTP/1.1 for tests: written by hand, and as strategies of Hypothesis."""

from hypothesis import strategies as st

END = b"\r\n\r\n"
FIRST = "POST /v1/chat/completions HTTP/1.1"
HOST = "Host: a:1"
LENGTH = "Content-Length: 2"


def raw(*lines: str) -> bytes:
    """Join a head's lines, without the empty line at its end."""
    return "\r\n".join(lines).encode("latin-1")


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
