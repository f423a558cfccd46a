"""What is counted of requests, under which labels, and that nothing that clients send makes it grow."""

from functools import partial
from itertools import count
from typing import Any

import pytest

from router.core.ending import Ending
from router.core.record import Record
from router.core.timeline import SLOWER, Try, Wait
from router.telemetry import families, metrics
from router.telemetry.families import FAMILIES, Family
from router.telemetry.metrics import IDLE, Histogram, Metrics, outcome_of

CHAT = "/v1/chat/completions"
record = partial(
    Record, id="id", path=CHAT, model="demo", backend="box", status=200, outcome="answered", attempts=1, ttft=0.25,
    duration=1.0, sent=100, events=8, tail=b"", key="alice",
)  # fmt: skip
SAID = Ending(40, 7, "stop", error=False, cached_tokens=30)
NOTHING = Ending(None, None, None, error=False)


class Known:
    """Names as a catalog has them: models and routes."""

    def __init__(self, models=("demo",), routes=()) -> None:
        self.now = object()
        self.models = set(models)
        self.routes = dict(routes)
        self.asked = 0

    def meant(self, asked: str, backend: str | None) -> tuple[str, str]:  # noqa: ARG002
        """Look a name up."""
        self.asked += 1
        if asked in self.models:
            return asked, ""
        return (self.routes[asked], asked) if asked in self.routes else ("", "")


class Counted:
    """Metrics that a test reads."""

    def __init__(self, **names: Any) -> None:
        self.known = Known(**names)
        self.metrics = Metrics(self.known)

    def ends(self, said: Ending = SAID, **changed: Any) -> None:
        """Have a request end."""
        self.metrics.ended(record(**changed), said)

    def of(self, family: Family) -> dict[tuple[str, ...], Any]:
        """Give a family's points."""
        return dict(dict(self.metrics.points())[family])

    def series(self) -> int:
        """Tell how many there are, a histogram being one."""
        return sum(len(points) for _, points in self.metrics.points())


def seen(histogram: Histogram) -> tuple[dict[float, int], float]:
    """Give a histogram's counts by their bound, without zeros, and its sum."""
    bounds = (*histogram.bounds, float("inf"))
    return {bound: n for bound, n in zip(bounds, histogram.counts, strict=True) if n}, histogram.sum


def test_a_request():
    """By model, backend, route, API, code and outcome; its tokens; and who had sent it."""
    counted = Counted(routes={"fast": "demo"})
    counted.ends()
    counted.ends()
    counted.ends(model="fast", status=500, key="")
    counted.ends(NOTHING, path="/v1/new/9f3", backend=None, status=503, outcome="no", error="no_backend_available")
    row = ("demo", "box", "", CHAT, "200", "answered")
    assert counted.of(families.REQUESTS) == {
        row: 2,
        ("demo", "box", "fast", CHAT, "500", "engine_error"): 1,
        ("demo", "", "", "other", "503", "unavailable"): 1,
    }
    ended = counted.of(families.ENDED)
    assert {outcome[0]: n for outcome, n in ended.items() if n} == {"answered": 2, "engine_error": 1, "unavailable": 1}
    assert [outcome for (outcome,) in ended] == list(families.OUTCOMES)
    assert counted.of(families.PROMPT_TOKENS) == {("demo", "box"): 120}
    assert counted.of(families.CACHED_TOKENS) == {("demo", "box"): 90}
    assert counted.of(families.GENERATED_TOKENS) == {("demo", "box"): 21}
    assert counted.of(families.KEY_REQUESTS) == {("",): 1, ("alice",): 3}
    assert counted.of(families.KEY_PROMPT_TOKENS) == {("",): 40, ("alice",): 80}
    assert counted.of(families.KEY_GENERATED_TOKENS) == {("",): 7, ("alice",): 14}


def test_times_and_sizes_of_answers():
    """Each value counts in the first bucket that it doesn't exceed; only answers that are whole and good count."""
    counted = Counted()
    counted.ends(duration=2.5, ttft=0.1)
    counted.ends(duration=4000.0, ttft=400.0)
    counted.ends(status=502, outcome="broke off", error="engine_failed")
    counted.ends(Ending(3, 5, None, error=True))
    pair = ("demo", "box")
    assert seen(counted.of(families.DURATION)[pair]) == ({2.5: 1, float("inf"): 1}, 4002.5)
    assert seen(counted.of(families.TTFT)[pair]) == ({0.1: 1, float("inf"): 1}, 400.1)
    tpots, total = seen(counted.of(families.TPOT)[pair])
    assert tpots == {0.5: 1, float("inf"): 1}
    assert total == pytest.approx((2.4 + 3600) / 6)
    assert seen(counted.of(families.PROMPT)[pair]) == ({64: 2}, 80)
    assert seen(counted.of(families.GENERATED)[pair]) == ({8: 2}, 14)


def test_what_is_not_known_is_not_counted():
    """An answer in one piece has no first token; one without counts has no tokens; a stream's events stand for them."""
    counted = Counted()
    counted.ends(NOTHING, events=0)
    pair = ("demo", "box")
    assert seen(counted.of(families.DURATION)[pair])[0] == {1: 1}
    for family in (families.TTFT, families.TPOT, families.PROMPT, families.GENERATED, families.QUEUE, families.LOAD):
        assert counted.of(family) == {}
    counted.ends(NOTHING, events=4, ttft=0.4)
    tpots, total = seen(counted.of(families.TPOT)[pair])
    assert tpots == {0.2: 1}
    assert total == pytest.approx(0.2)
    counted.ends(Ending(1, 1, "stop", error=False), events=1, ttft=1.0)
    assert sum(counted.of(families.TPOT)[pair].counts) == 1


def test_the_queue_and_the_load_are_two_times():
    """Waiting for a load is no waiting for room; both count however the request ended, and only if it had to wait."""
    counted = Counted()
    counted.ends(waited=9.0, waits=(Wait(0.0, 8.5, 8.0, "box"), Wait(8.5, 9.0, 0.0, "")))
    counted.ends(waited=0.5, waits=(Wait(0.0, 0.5, 0.0, ""),), status=499, outcome="left")
    assert seen(counted.of(families.LOAD)["demo", "box"]) == ({10: 1}, 8.0)
    assert seen(counted.of(families.QUEUE)["demo", "box"]) == ({0.5: 1, 1: 1}, 1.5)


def test_attempts():
    """One that failed and was followed by another is its backend's; one that lost a race hasn't failed."""

    def tried(backend: str, outcome: str) -> Try:
        return Try(backend, None, 0.0, 0.1, 0.2, 0.3, 200, outcome)

    counted = Counted()
    counted.ends(attempts=2, tries=(tried("worse", "broke off"), tried("box", "answered")))
    counted.ends(attempts=2, tries=(tried("worse", SLOWER), tried("box", "answered")), hedge="won")
    counted.ends(attempts=2, tries=(tried("worse", SLOWER), tried("box", "answered")), hedge="lost")
    assert counted.of(families.RETRIES) == {("demo", "box"): 0, ("demo", "worse"): 1}
    assert counted.of(families.HEDGES) == {("demo", "won"): 1, ("demo", "lost"): 1}


@pytest.mark.parametrize(
    ("outcome", "changed"),
    [
        ("answered", {}),
        ("engine_error", {"status": 400}),
        ("engine_error", {"error": "", "said": Ending(None, None, None, error=True)}),
        ("client_left", {"status": 499, "outcome": "the client left"}),
        ("cancelled", {"status": 499, "outcome": "cancelled by an admin", "error": "cancelled"}),
        ("bad_request", {"status": 400, "outcome": "no", "error": "api_not_supported"}),
        ("bad_request", {"status": 508, "outcome": "no", "error": "loop_detected"}),
        ("bad_request", {"status": 400, "outcome": "no", "error": "whatever an engine says"}),
        ("model_not_found", {"status": 404, "outcome": "no", "error": "model_not_found"}),
        ("rate_limited", {"status": 429, "outcome": "no", "error": "rate_limit_exceeded"}),
        ("rate_limited", {"status": 429, "outcome": "no", "error": "insufficient_quota"}),
        ("queue_full", {"status": 429, "outcome": "no", "error": "queue_full"}),
        ("queue_timeout", {"status": 503, "outcome": "no", "error": "queue_timeout"}),
        ("unavailable", {"status": 503, "outcome": "no", "error": "no_backend_available"}),
        ("engine_failed", {"status": 502, "outcome": "no", "error": "engine_failed"}),
        ("engine_failed", {"status": 200, "outcome": "broke off", "error": "engine_failed"}),
        ("engine_failed", {"status": 503, "outcome": "answered", "error": "whatever an engine says"}),
        ("engine_timeout", {"status": 504, "outcome": "no", "error": "engine_timeout"}),
        ("router_stopping", {"status": 503, "outcome": "no", "error": "router_stopping"}),
        ("internal_error", {"status": 500, "outcome": "a bug in the router", "error": "internal_error"}),
    ],
)
def test_outcomes(outcome, changed):
    """One of a few, whatever engines and clients say."""
    said = changed.pop("said", NOTHING)
    assert outcome_of(record(**changed), said) == outcome
    assert outcome in families.OUTCOMES


def test_names_that_mean_something_else_are_looked_up_anew():
    """Each is asked for once, until what names mean has changed, and somebody scrapes."""
    counted = Counted()
    counted.ends()
    counted.ends()
    assert counted.known.asked == 1
    counted.known.now, counted.known.models = object(), set()
    counted.metrics.gather()
    counted.ends()
    assert {row[0] for row in counted.of(families.REQUESTS)} == {"demo", "unknown"}


@pytest.fixture
def small(monkeypatch):
    """Give metrics with little room."""
    monkeypatch.setattr(metrics, "MOST_PAIRS", 3)
    monkeypatch.setattr(metrics, "MOST_ROWS", 5)
    monkeypatch.setattr(metrics, "MOST_KEYS", 2)
    monkeypatch.setattr(metrics, "MOST_SPOTS", 10)
    return Counted(models=[f"m{n}" for n in range(20)])


def test_what_has_no_room_is_counted_as_other(small):
    """Models, rows, keys: nothing is lost, and the outcomes stay right."""
    for n in range(20):
        small.ends(model=f"m{n}", key=f"key {n}", status=200 + n)
    rows = small.of(families.REQUESTS)
    assert sum(rows.values()) == 20
    assert len({row[:2] for row in rows}) == 4
    assert ("other", "other", "other", "other", "other", "answered") in rows
    assert small.of(families.KEY_REQUESTS) == {("key 0",): 1, ("key 1",): 1, ("other",): 18}


def test_a_pair_out_of_use_is_dropped():
    """With all that it had; what is asked for still stays, and one that comes back begins anew."""
    counted = Counted(models=["demo", "old"])
    counted.ends(model="old", attempts=2, hedge="won")
    clock = count(1000.0, IDLE / 4)
    for _ in range(5):
        counted.ends()
        counted.metrics.tidy(next(clock))
    assert {row[0] for row in counted.of(families.REQUESTS)} == {"demo"}
    assert counted.of(families.HEDGES) == {}
    assert counted.of(families.REQUESTS)[("demo", "box", "", CHAT, "200", "answered")] == 5
    counted.ends(model="old")
    assert counted.of(families.REQUESTS)["old", "box", "", CHAT, "200", "answered"] == 1


def test_names_keys_paths_and_ids_that_clients_make_up():
    """However many there are, there are no more series, and no more is remembered. tests/endurance has a million."""
    counted = Counted()
    sizes = []
    for n in range(30_000):
        counted.ends(NOTHING, model=f"made up {n}", backend=None, path=f"/v1/{n}", id=str(n), status=404, outcome="no",
                     error="model_not_found")  # fmt: skip
        if n % 10_000 == 9_999:
            sizes.append(counted.series())
    assert sizes[0] == sizes[1] == sizes[2]
    assert len(counted.metrics._spots) <= metrics.MOST_SPOTS
    assert counted.of(families.REQUESTS) == {("unknown", "", "", "other", "404", "model_not_found"): 30_000}


def test_each_family_is_described_once():
    """Names are alike in nothing but their form, and each label is explained."""
    assert len({each.name for each in FAMILIES}) == len(FAMILIES)
    for each in FAMILIES:
        assert each.name.endswith("_total") == (each.kind == "counter")
        assert list(each.buckets) == sorted(set(each.buckets))
        assert bool(each.buckets) == (each.kind == "histogram")
        assert set(each.labels) <= families.LABELS.keys()
        assert each.meaning.endswith(".")
    assert {label for each in FAMILIES for label in each.labels} == families.LABELS.keys()
