import threading
from typing import Any

import pytest
import structlog

from router.telemetry import repeats
from router.telemetry.repeats import MOST_KINDS, WINDOW, Repeats


class Said:
    """What passes and what is told, while a test says what time it is."""

    def __init__(self) -> None:
        self.now = 100.0
        self.passed: list[dict[str, Any]] = []
        self.told: list[dict[str, Any]] = []
        self.due: list[tuple[float, Any]] = []
        self.repeats = Repeats(lambda seconds, do: self.due.append((self.now + seconds, do)), self._tell, self.time)

    def time(self) -> float:
        """Tell the time."""
        return self.now

    def _tell(self, event: Any) -> None:
        self.told.append(dict(self.repeats(None, "warning", event)))

    def log(self, event: str, level: str = "warning", **fields: object) -> bool:
        """Log a line; tell whether it passes."""
        try:
            self.passed.append(dict(self.repeats(None, level, {"event": event, **fields})))
        except structlog.DropEvent:
            return False
        return True

    def wait(self) -> None:
        """Let what is due come."""
        ((self.now, do),) = self.due
        self.due.clear()
        do()


@pytest.fixture
def said():
    return Said()


def test_a_warning_that_repeats_is_told_once_a_minute(said):
    """The first one at once, then the last one of each minute with how many there were, until there are no more."""
    assert said.log("it is so", backend="a", request_id="1", seconds=1.5)
    for number in range(2, 12):
        said.now += 1
        assert not said.log("it is so", backend="a", request_id=str(number), seconds=number)
    said.wait()
    assert said.now == 100 + WINDOW
    assert said.told == [
        {"event": "it is so", "backend": "a", "request_id": "11", "seconds": 11, "level": "warning",
         "logger": "router", "repeated": 10},
    ]  # fmt: skip
    said.now += WINDOW / 2
    assert not said.log("it is so", backend="a", request_id="12")
    said.wait()
    assert said.now == 100 + 2 * WINDOW
    assert said.told[1]["repeated"] == 1
    said.now += WINDOW
    assert said.log("it is so", backend="a", request_id="13")
    assert not said.due


def test_another_backend_is_another_warning(said):
    """So is another logger's level, and another exception."""
    assert said.log("it is so", backend="a")
    assert said.log("it is so", backend="b")
    assert said.log("it is so")
    assert said.log("it is not so")
    assert said.log("a bug", level="error", exc_info=ValueError())
    assert said.log("a bug", level="error", exc_info=(KeyError, KeyError(), None))
    assert not said.log("a bug", level="exception", exc_info=ValueError())
    try:
        dict[str, int]()["x"]
    except KeyError:
        assert not said.log("a bug", level="exception", exc_info=True)
    said.wait()
    assert [each["level"] for each in said.told] == ["error", "error"]


@pytest.mark.parametrize("level", ["debug", "info", "error"])
def test_what_is_news_is_always_said(said, level):
    """It isn't a warning, or says each time that something has changed."""
    assert all(said.log("it is so", level=level) for _ in range(3))


def test_what_was_over_in_between_is_said_again(said):
    """A backend that is down twice was up meanwhile."""
    assert [said.log("backend is down", backend="box", reason="stalled") for _ in range(3)] == [True] * 3


def test_a_minute_begins_with_its_first_warning(said):
    """One that comes a minute later is the first one again."""
    assert said.log("it is so")
    said.now += WINDOW
    assert said.log("it is so")
    said.now += WINDOW - 1
    assert not said.log("it is so")
    assert said.due[0][0] == said.now + 1


def test_what_clients_choose_is_bounded(said):
    """Of more kinds the number is told; what no client has chosen is said all the same."""
    assert all(said.log(f"no model {number}", request_id="1") for number in range(MOST_KINDS))
    assert not any(said.log(f"no model {number}", request_id="1") for number in range(MOST_KINDS, 10 * MOST_KINDS))
    assert not said.log("another", client="10.0.0.7")
    assert said.log("backend is down", backend="a")
    assert len(said.repeats._seen) == MOST_KINDS
    said.wait()
    assert [(each["event"].split(" ", 1)[1], each["repeated"]) for each in said.told] == [
        ("more warnings about requests, of other kinds, within 60 s", 9 * MOST_KINDS + 1)
    ]


def test_many_threads_may_warn_at_once(said):
    """One of them is heard, and the others are counted."""
    threads = [threading.Thread(target=lambda: [said.log("it is so") for _ in range(100)]) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(said.passed) == 1
    said.wait()
    assert said.told[0]["repeated"] == 399


def test_where_no_thread_can_be_started_it_is_told_at_the_end(monkeypatch):
    """Nothing is raised into the code that logs."""

    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    told: list[Any] = []
    each = Repeats(repeats._later, told.append)
    each(None, "warning", {"event": "it is so"})
    with pytest.raises(structlog.DropEvent):
        each(None, "warning", {"event": "it is so"})
    each.tell()
    assert told[0]["repeated"] == 1


def test_it_is_told_by_its_own_logger():
    """With its fields, but without the traceback that the first one had."""
    with structlog.testing.capture_logs() as logged:
        repeats._tell({"event": "x", "level": "error", "logger": "router.models", "exc_info": True, "repeated": 3})
    assert logged == [{"event": "x", "repeated": 3, "log_level": "error"}]


def test_the_timer_calls():
    """In a thread of its own."""
    done = threading.Event()
    repeats._later(0.0, done.set)
    assert done.wait(60)
