import pytest

from scripts.instruments.engine import STREAM_END
from scripts.instruments.statistics import Histogram
from scripts.stress import calibrate, engine, verdict
from scripts.stress.calibrate import Stamped
from scripts.stress.engine import KnownTimes
from scripts.stress.meter import Meter


def test_when_an_event_was_written_is_read_from_it():
    """What the engine writes is what the generator takes it to be, to a µs."""
    answer = Stamped(1000.0, Meter(), lambda _: lambda _: None)
    answer.feed(engine._HEAD, 1000.1)
    for number in range(3):
        answer.feed(engine._EVENT % (1000.25 + number), 1000.5 + number)
    answer.feed(STREAM_END, 1003.0)
    answer.end(None)
    assert answer.written == [1000.25, 1001.25, 1002.25]
    assert (answer.tokens, answer.failure) == (3, "")
    assert calibrate._added.most == 0.25


def test_a_stall_holds_what_is_due_within():
    """To its end; what is due before or after is on time."""
    times = KnownTimes(first=1.0, gap=1.0, events=5, stall_at=12.0, stall=2.5)
    assert [times.due(10.0, number) for number in range(5)] == [11.0, 14.5, 14.5, 14.5, 15.0]


@pytest.mark.parametrize(("reported", "wrong"), [(1.0, 0.0), (1.1, 0.1), (0.5, 0.5)])
def test_how_wrong_percentiles_are(reported, wrong):
    """As a share of the truth, whichever way."""
    seen, true = Histogram(), Histogram()
    seen.record(reported)
    true.record(1.0)
    assert calibrate._wrong("x", verdict.spread(seen), true) == pytest.approx(wrong, abs=0.005)
