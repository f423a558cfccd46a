"""The arithmetic of samples: what ended between them, and how things were."""

from functools import partial
from itertools import count
from typing import Any

import pytest

from router.core.ending import Ending
from router.core.record import Record
from router.telemetry import history
from router.telemetry.history import History, Moment, Times, quantile

record = partial(
    Record, id="id", path="/v1/chat/completions", model="demo", backend="box", status=200, outcome="answered",
    attempts=1, ttft=0.25, duration=1.0, sent=100, events=8, tail=b"",
)  # fmt: skip


class Samples(History):
    """A history whose samples come each five seconds."""

    def __init__(self, most: int = 720) -> None:
        super().__init__(most)
        self._times_of = count(1005.0, 5.0)

    def ends(self, tokens: int | None = None, prompt: int | None = None, **changed: Any) -> None:
        """Have a request end."""
        self.ended(record(**changed), Ending(prompt, tokens, None, error=False))

    def next(self, **now: Any) -> dict[str, Any]:
        """End a sample; give its figures."""
        self.sample(next(self._times_of), 5.0, Moment(**now))
        told = self.told(backends=True)
        return {name: series if isinstance(series, dict) else series[-1] for name, series in told.items()}


def of(told: dict[str, Any], name: str) -> dict[str, Any]:
    return {series: figures[-1] for series, figures in told["backends"][name].items()}


def test_a_sample():
    """What ended since the last one, in all and by backend, and how it is now."""
    samples = Samples()
    samples.ends(tokens=6, prompt=40, ttft=0.1)
    samples.ends(tokens=10, prompt=60, ttft=0.3)
    samples.ends(status=502, outcome="failed", backend="other", ttft=None, events=0)
    samples.ends(status=503, outcome="waited too long", backend=None, ttft=None, events=0)
    told = samples.next(
        in_flight=4, queued=2, cpu_percent=12.5, router_cpu_percent=1.5, devices={"ram": (70, None), "gpu": (60, 87)},
        in_flight_by={"box": 1, "idle": 1},
    )  # fmt: skip
    backends = {name: of(told, name) for name in told["backends"]}
    devices = told.pop("devices")
    del told["backends"]
    assert told == {
        "at": 1005.0, "seconds": 5.0, "ended": 4, "failed": 2, "prompt_tokens": 100, "tokens": 16,
        "ttft_p50": 0.1, "ttft_p99": 0.3, "in_flight": 4, "queued": 2, "cpu_percent": 12.5, "router_cpu_percent": 1.5,
    }  # fmt: skip
    assert backends == {
        "box": {"ended": 2, "failed": 0, "tokens": 16, "in_flight": 1},
        "other": {"ended": 1, "failed": 1, "tokens": 0, "in_flight": 0},
        "idle": {"ended": 0, "failed": 0, "tokens": 0, "in_flight": 1},
    }
    assert devices == {"ram": {"used": [70], "utilisation": [None]}, "gpu": {"used": [60], "utilisation": [87]}}
    told = samples.next()
    names = ("ended", "failed", "prompt_tokens", "tokens", "ttft_p50")
    assert [told[name] for name in names] == [0, 0, 0, 0, None]
    assert of(told, "box") == {"ended": 0, "failed": 0, "tokens": 0, "in_flight": 0}


@pytest.mark.parametrize(
    ("status", "outcome", "failed"),
    [
        (200, "answered", 0), (200, "the engine ended", 1), (500, "answered", 1), (503, "waited too long", 1),
        (429, "the queue is full", 1), (499, "the client left", 0), (404, "no such model", 0), (400, "answered", 0),
    ],
)  # fmt: skip
def test_what_counts_as_a_failure(status, outcome, failed):
    """What the client did wrong doesn't, nor that it left."""
    samples = Samples()
    samples.ends(status=status, outcome=outcome)
    assert samples.next()["failed"] == failed


def test_tokens_count_as_they_come():
    """A long answer's are in the samples of their time; its end puts them right, and none is counted twice."""
    samples = Samples()
    assert [samples.next(streamed={"box": sent})["tokens"] for sent in (10, 30, 30)] == [10, 20, 0]
    # It has ended, and its record isn't written yet.
    assert samples.next()["tokens"] == 0
    samples.ends(tokens=45, events=35)
    told = samples.next(streamed={"box": 5})
    assert told["tokens"] == of(told, "box")["tokens"] == 20
    samples.ends(tokens=None, events=8)
    assert samples.next()["tokens"] == 3


def test_an_answer_with_fewer_tokens_than_events():
    """Some events hold no token: what was counted too much isn't counted later."""
    samples = Samples()
    samples.next(streamed={"box": 20})
    samples.ends(tokens=17, events=20)
    assert [samples.next()["tokens"], samples.next(streamed={"box": 10})["tokens"]] == [0, 7]


def test_only_so_many_are_kept():
    """All series are as long as each other, also of who comes later, and who is away for that long is forgotten."""
    samples = Samples(most=3)
    samples.next()
    samples.ends(backend="late")
    told = samples.next()
    assert told["backends"]["late"]["ended"] == [0, 1]
    samples.ends(backend="later")
    samples.next()
    samples.ends(backend="latest")
    samples.next()
    told = samples.told(backends=True)
    assert told["at"] == [1010.0, 1015.0, 1020.0]
    assert {name: rows["ended"] for name, rows in told["backends"].items()} == {
        "late": [1, 0, 0], "later": [0, 1, 0], "latest": [0, 0, 1],
    }  # fmt: skip
    samples.next()
    assert samples.told(backends=True)["backends"].keys() == {"later", "latest"}


def test_a_device_that_is_not_read():
    """Is unknown for that time."""
    samples = Samples()
    samples.next()
    samples.next(devices={"gpu": (60, 87)})
    told = samples.next()
    assert told["devices"] == {"gpu": {"used": [None, 60, None], "utilisation": [None, 87, None]}}


def test_what_is_new():
    """Those behind a time, all series of them; backends only if they are asked for."""
    samples = Samples()
    for number in range(3):
        samples.ends(backend=f"box-{number}")
        samples.next(devices={"ram": (number, None)})
    told = samples.told(1005.0)
    assert told["at"] == [1010.0, 1015.0]
    assert told["devices"]["ram"]["used"] == [1, 2]
    assert told["backends"] == {}
    assert samples.told(1010.0, backends=True)["backends"]["box-2"]["ended"] == [1]
    assert samples.told(1015.0)["at"] == []


def test_only_so_many_backends_have_series(monkeypatch):
    monkeypatch.setattr(history, "MOST_ROWS", 2)
    samples = Samples()
    for number in range(3):
        samples.ends(backend=f"box-{number}")
    told = samples.next()
    assert told["ended"] == 3
    assert len(told["backends"]) == 2


# Times to the first token


@pytest.mark.parametrize("many", [100, history.MOST_TIMES, 5000, 30_000])
def test_quantiles_of_however_many(many):
    """Of very many, some are kept, from all over the sample."""
    times = Times()
    for each in range(many):
        times.add(each / many)
    assert len(times._kept) <= history.MOST_TIMES
    median, last = times.take()
    assert median == pytest.approx(0.5, abs=0.02)
    assert last == pytest.approx(0.99, abs=0.02)
    assert times.take() == (history.UNKNOWN, history.UNKNOWN)
    times.add(2.0)
    assert times.take() == (2.0, 2.0)


@pytest.mark.parametrize(
    ("share", "found"), [(0.0, 1.0), (0.5, 2.0), (0.75, 3.0), (0.76, 4.0), (0.99, 4.0), (1.0, 4.0)]
)
def test_a_quantile(share, found):
    assert quantile([1.0, 2.0, 3.0, 4.0], share) == found
