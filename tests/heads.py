"""Heads of HTTP/1.1 for tests: written by hand, and as strategies of Hypothesis."""

from hypothesis import strategies as st

END = b"\r\n\r\n"
FIRST = "POST /v1/chat/completions HTTP/1.1"
HOST = "Host: a:1"
LENGTH = "Content-Length: 2"


def raw(*lines: str) -> bytes:
    """Join a head's lines, without the empty line at its end."""
    return "\r\n".join(lines).encode("latin-1")


MALFORMED = [
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
]
"""Lines of requests' heads that are no HTTP, or that two parsers may read differently."""

DIFFERENT = [
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
]
"""Heads that begin like one with `Content-Length: 2` and `X: y`, and differ in more than the digits."""

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
