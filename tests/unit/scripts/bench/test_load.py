import pytest

from scripts.bench.engine import EVENT_CHUNKS
from scripts.bench.load import CountedStream, PlainAnswer, is_whole
from scripts.instruments.answers import MalformedError
from scripts.instruments.engine import STREAM_END

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 100, 100_000])
def test_a_stream_is_counted_alike_whatever_the_reads(size):
    """Events and the end are found where reads cut them, too."""
    stream, data = CountedStream(21), HEAD + b"".join(EVENT_CHUNKS[:20]) + STREAM_END
    ends = [stream.feed(data[at : at + size], 0.0) for at in range(0, len(data), size)]
    assert (stream.events, ends.index(True)) == (21, len(ends) - 1)


def test_a_stream_with_too_few_events_is_no_answer():
    """Nor is one that begins with an error."""
    with pytest.raises(MalformedError, match="21 events"):
        CountedStream(22).feed(HEAD + b"".join(EVENT_CHUNKS[:20]) + STREAM_END, 0.0)
    for answer in (CountedStream(1), PlainAnswer()):
        with pytest.raises(MalformedError, match="no 200"):
            answer.feed(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n", 0.0)


@pytest.mark.parametrize(
    ("answer", "ends"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", False),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n", False),
    ],
)
def test_an_answer_ends_by_its_framing(answer, ends):
    """A length, or the last chunk."""
    assert is_whole(answer) is ends
