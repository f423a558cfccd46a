from itertools import count
from typing import Any

import pytest

from router.core.ending import Ending
from router.core.record import Record
from router.core.timeline import NEVER, Try, Wait
from router.core.trace import Trace
from router.telemetry import traces
from router.telemetry.traces import Span, Traces, spans

SAID = Ending(12, 40, "stop", error=False)


def record(**changed: Any) -> Record:
    known: dict[str, Any] = {
        "id": "one", "path": "/v1/messages", "model": "demo", "backend": "a", "status": 200, "outcome": "answered",
        "attempts": 1, "ttft": 0.5, "duration": 2.0, "sent": 10, "events": 3, "tail": b"",
    }  # fmt: skip
    return Record(**{**known, **changed})


def trace(attempts: int = 0) -> Trace:
    numbers = count(100)
    each = Trace(7, 0, 5, lambda _: next(numbers), {})
    for _ in range(attempts):
        each.passed_on(b"")
    return each


def made(said: Ending = SAID, attempts: int = 0, **changed: Any) -> list[Span]:
    numbers = count(1)
    return list(spans(record(**changed), trace(attempts), said, lambda _: next(numbers)))


def test_a_load_is_a_part_of_the_time_in_the_queue():
    """The last part of it."""
    queued = (Wait(0.1, 1.0, 0.0, ""), Wait(1.0, 5.0, 3.0, "qwen"), Wait(5.0, 6.0, 9.0, "other"))
    _, first, second, load, third, longer = made(waits=queued)
    assert [(each.name, each.parent, each.begun, each.ended) for each in (first, second, third)] == [
        ("queue", 100, 0.1, 1.0), ("queue", 100, 1.0, 5.0), ("queue", 100, 5.0, 6.0),
    ]  # fmt: skip
    assert (load.name, load.parent, load.begun, load.ended) == ("load qwen", second.id, 2.0, 5.0)
    assert (longer.parent, longer.begun) == (third.id, 5.0)
    assert len({each.id for each in (first, second, load, third, longer)}) == 5


def test_attempts_have_the_spans_that_their_backends_know():
    """In the order in which they began, whichever ended first; one that hasn't ended ends with the request."""
    tries = (
        Try("b", None, 0.5, 0.6, 0.7, NEVER, 0, ""),
        Try("a", None, 0.1, NEVER, NEVER, 0.4, 503, "refused"),
    )
    _, first, second = made(attempts=2, tries=tries)
    assert (first.name, first.id, first.begun, first.ended, first.error) == ("attempt a", 101, 0.1, 0.4, "refused")
    assert first.attributes["http.response.status_code"] == 503
    assert "router.first_byte" not in first.attributes
    assert (second.name, second.id, second.ended) == ("attempt b", 102, 2.0)
    assert second.attributes["router.first_byte"] == pytest.approx(0.2)
    assert "http.response.status_code" not in second.attributes


@pytest.mark.parametrize(
    ("changed", "said", "error"),
    [
        ({}, SAID, ""),
        ({"outcome": "the client left"}, SAID, "the client left"),
        ({"status": 404, "outcome": "answered"}, SAID, "answered"),
        ({}, Ending(1, 2, None, error=True), "answered"),
    ],
)
def test_what_failed_is_an_error(changed, said, error):
    """By its outcome, its status, or what its end says."""
    assert made(said, **changed)[0].error == error


def test_a_path_of_no_known_operation():
    """It is named by its path, which clients choose, but within /v1 and what engines have."""
    (span,) = made(Ending(None, None, None, error=False), path="/v1/other", backend=None, ttft=None)
    assert span.name == "POST /v1/other"
    assert not any(name.startswith("gen_ai.usage") for name in span.attributes)
    assert None not in span.attributes.values()


def test_records_that_nobody_asks_for_are_forgotten(monkeypatch):
    """What waits is bounded."""
    monkeypatch.setattr(traces, "MOST_ENDED", 3)
    each = Traces()
    each._share = 1.0
    for _ in range(10):
        part = each._begin(())
        assert part is not None
        part.end(record())
        assert len(each._ended) <= 4
    each.ended(record(), SAID)
    each.close()
