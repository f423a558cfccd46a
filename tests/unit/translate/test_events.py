"""Server-sent events, read from bytes that are cut anywhere."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.core.errors import BadGatewayError
from router.translate import events
from router.translate.events import EventReader
from tests.fakes.chat_streams import cut


def read(*pieces: bytes) -> list[bytes]:
    reader = EventReader()
    return [event for piece in pieces for event in reader.feed(piece)] + reader.end()


@pytest.mark.parametrize(
    ("stream", "found"),
    [
        (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data:a\r\n\r\ndata:  b\r\n\r\n", [b"a", b" b"]),
        (b"data: a\r\rdata: b\r\r", [b"a", b"b"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"event: x\nid: 1\nretry: 5\ndata: a\n\n", [b"a"]),
        (b": 1/2\n\n:\n\ndata: a\n\n", [b": 1/2", b":", b"a"]),
        (b"data: a\n: late\n\n", [b": late", b"a"]),
        (b"data:\n\n", [b""]),
        (b"event: x\n\ndata\n\nfoo: bar\n\n", []),
        (b"data: a", [b"a"]),
        (b"data: a\r", [b"a"]),
        (b"\n\n\n", []),
        (b"", []),
    ],
)
def test_events(stream, found):
    """Data and comments come as soon as they are whole; a last event counts, even if nothing ends it."""
    assert read(stream) == found


def test_an_event_comes_as_soon_as_it_is_whole():
    """Nothing waits for the event after it."""
    reader = EventReader()
    assert reader.feed(b"data: a\n") == []
    assert reader.feed(b"\n") == [b"a"]


@settings(max_examples=60, deadline=None)
@given(st.data(), st.lists(st.sampled_from((b"data: a", b"data:b", b": c", b"event: d", b"", b"x")), max_size=8))
def test_where_it_is_cut_makes_no_difference(data: st.DataObject, lines: list[bytes]) -> None:
    """Any cut, and any of the three line ends, give the same events."""
    expected = read(b"\n".join(lines))
    for line_end in (b"\n", b"\r\n", b"\r"):
        assert read(*data.draw(cut(line_end.join(lines)))) == expected


def test_an_endless_event_is_refused(monkeypatch):
    """An event that doesn't end isn't collected for ever, be it of one line or of many."""
    monkeypatch.setattr(events, "MOST", 100)
    reader = EventReader()
    with pytest.raises(BadGatewayError):
        reader.feed(b"data: " + b"x" * 100)
    reader = EventReader()
    with pytest.raises(BadGatewayError):
        reader.feed(b"data: 0123456789\n" * 20)
