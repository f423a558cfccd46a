import pytest

from router.core.stall import MEMORABLE, SLOWEST, Prefill, Silence, content, is_stalled, progress


def waiting(seconds: float, size: int = 0) -> Silence:
    return Silence(seconds, begun=False, streams=True, size=size)


def begun(seconds: float) -> Silence:
    return Silence(seconds, begun=True, streams=True, size=0)


WHOLE = Silence(1000, begun=False, streams=False, size=0)
"""An answer that doesn't stream, under way for long."""


LONG = 10_000.0


@pytest.mark.parametrize(
    ("silences", "worked", "expected"),
    [
        ([], LONG, False),
        ([waiting(59)], LONG, False),
        ([waiting(60)], LONG, True),
        ([begun(59)], LONG, False),
        ([begun(60)], LONG, True),
        ([begun(60), waiting(1)], LONG, True),  # the one has stopped; the other is too new to tell
        ([begun(60), waiting(1000)], 60, True),
        # It works on one, or did until now; the others wait for their turn.
        ([begun(1), waiting(1000)], 1, False),
        ([waiting(1000)], 59, False),
        ([begun(1000)], 59, False),
        # It may be at work on the one that is silent to its end.
        ([WHOLE], LONG, False),
        ([begun(1000), WHOLE], LONG, False),
        ([waiting(1000), WHOLE], LONG, False),
        # A prompt takes its time: 8,000 bytes at 80 a second.
        ([waiting(159, 8000)], LONG, False),
        ([waiting(160, 8000)], LONG, True),
        ([waiting(160, 8000)], 159, False),
        ([waiting(100, 8000), waiting(60, 0)], LONG, True),  # a short one beside it doesn't
    ],
)
def test_is_stalled(silences, worked, expected):
    """What has waited too long, while nobody gets anything."""
    assert is_stalled(silences, worked, 60.0, SLOWEST) is expected


def test_a_faster_reader_is_given_less_time():
    """What is known of a backend's speed counts."""
    assert is_stalled([waiting(62, 8000)], LONG, 60.0, speed=4000.0)
    assert not is_stalled([waiting(62, 8000)], LONG, 60.0, speed=3999.0)


def test_prefill_expects_the_slowest_of_late():
    """Prompts that were cached say nothing; what is long ago is forgotten."""
    prefill = Prefill()
    assert prefill.speed == SLOWEST
    prefill.note(10_000, 1.0)
    assert prefill.speed == 10_000
    prefill.note(1_000_000, 0.1)
    assert prefill.speed == 10_000
    for _ in range(32):
        prefill.note(20_000, 1.0)
    assert prefill.speed == 20_000


@pytest.mark.parametrize(("size", "seconds"), [(MEMORABLE - 1, 5.0), (MEMORABLE, 0.0)])
def test_what_says_nothing_of_a_prompt_is_not_noted(size, seconds):
    """A short one's time is the queue's, or the first token's."""
    prefill = Prefill()
    prefill.note(size, seconds)
    assert prefill.speed == SLOWEST


@pytest.mark.parametrize(
    ("tail", "read"),
    [
        (b": keepalive 512/4000\n\n", 512),
        (b"16\r\n: keepalive 512/4000\n\n\r\n18\r\n: keepalive 1024/4000\n\n\r\n", 1024),
        (b":keepalive 5/6\r\n\r\n", 5),
        (b": ping\n\n", 0),
        (b": keepalive 5", 0),
        (b'data: {"content": ": keepalive 5/6"}\n\n', 0),
        (b"", 0),
    ],
)
def test_progress(tail, read):
    """The last that the engine said, whole, and as a comment of its own."""
    assert progress(tail) == read


EVENTS = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'


@pytest.mark.parametrize(
    ("data", "line", "found"),
    [
        (b"", b"", False),
        (b": ping\n\n", b"", False),
        (b":\r\n\r\n", b"", False),
        (b"\n\n", b"d", False),
        (EVENTS, b"", True),
        (b"dat", b"", True),
        (b"a: x", b"d", True),
        (b"x", b"d", True),
        (b":1}", b"d", True),  # inside a line a colon begins no comment
        (b"ng\n: pi", b":", False),
        (b"ng\ndata: x", b":", True),
        (b"event: ping\nid: 1\nretry: 5\n\n", b"", False),
        (b"event: x\r\ndata: 1\r\n\r\n", b"", True),
        (b": a\rdata: 1\r\r", b"", True),  # a CR alone ends a line, too
        (b'{"response": "a"}\n', b"", True),
    ],
)
def test_content(data, line, found):
    """What is in a line of data, and neither comments nor other fields."""
    assert content(data, line)[0] is found


@pytest.mark.parametrize("size", [1, 2, 3, 7, 11])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_content_however_it_is_cut(size, end):
    """Each piece that has a byte of a line of data but its end is content, and none of pings."""
    for stream, expected in ((EVENTS * 3, True), (b": ping\n\n:\n\nevent: ping\n\n" * 3, False)):
        line, found = b"", []
        said = stream.replace(b"\n", end)
        for at in range(0, len(said), size):
            one, line = content(said[at : at + size], line)
            found.append(one)
        assert any(found) is expected
        if expected and size == 11:
            assert all(found[:-1])  # the last is of line ends alone
