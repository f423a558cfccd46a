import time
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest

from router.config import BackendConfig
from router.core.catalog import Backend, Catalog, Route
from router.core.ending import Ending
from router.core.record import ANSWERED, Record
from router.core.timeline import Try
from router.core.usage import FREE
from router.management.usage import Usage, day_at, price_of
from router.store.usage import Place

SAID = Ending(12, 40, "stop", error=False)


def record(model: str, backend: str | None = "box", key: str = "") -> Record:
    tries = (Try("box", None, 0.0, 0.1, 0.2, 0.3, 200, ANSWERED, 100),)
    return Record(
        "id", "/v1/chat/completions", model, backend, 200, ANSWERED, 1, None, 9.0, 10, 0, b"", key=key, tries=tries
    )


@pytest.fixture
def counted(tmp_path, monkeypatch):
    """Give what is counted, and the places where something was: those of a model `demo` at a backend `box`."""
    catalog = Catalog([Backend("box", {"demo": "its/name"})], {"gpt-*": Route(("demo",)), "best": Route(("demo",))})
    backends = {"box": SimpleNamespace(models={"demo": "its/name"})}
    plane: Any = SimpleNamespace(catalog=catalog, backends=backends, directory=SimpleNamespace(catalog=catalog))
    made = Usage(plane, tmp_path, lambda _: BackendConfig(url="http://box", price={"output": 10}))
    places: dict[Place, int] = {}

    def add(place: tuple[str, str, str], *_: object) -> None:
        places[Place(*place)] = places.get(Place(*place), 0) + 1

    monkeypatch.setattr(made.tally.pending, "add", add)
    return made, plane, places


def test_a_thousand_names_of_one_model_are_one_place(counted):
    made, _, places = counted
    for number in range(1000):
        made.count(record(f"gpt-{number}"), SAID)
    for name in ("demo", "best", "demo:latest"):
        made.count(record(name), SAID)
    assert [(place.model, times) for place, times in places.items()] == [("demo", 1003)]


def test_what_was_sent_nowhere_is_not_counted(counted):
    made, _, places = counted
    made.count(record("demo", backend=None), SAID)
    assert places == {}


def test_a_model_that_has_left_meanwhile_is_counted_as_its_backend(counted):
    """The names that were asked for may be any."""
    made, plane, places = counted
    plane.catalog = Catalog([], {})
    made.count(record("demo"), SAID)
    assert [place.model for place in places] == ["box"]


def test_whose_it_is_and_when(counted):
    made, _, places = counted
    made.count(record("demo", key="alice"), SAID)
    assert [*places] == [Place(time.strftime("%Y-%m-%d"), "alice", "demo")]


@pytest.mark.parametrize(
    ("said", "price"),
    [
        ({}, (0, 0, 0)),
        ({"price": {"input": 1, "output": 2}}, (1, 2, 1)),
        ({"price": {"input": 1, "output": 2, "cached": 0.5}}, (1, 2, 0.5)),
        ({"price": {"input": 1}, "prices": {"demo": {"output": 9}}}, (0, 9, 0)),
        ({"price": {"input": 1}, "prices": {"other": {"output": 9}}}, (1, 0, 1)),
    ],
)
def test_prices(said, price):
    """A model's own goes before its backend's; what is cached costs as the rest, unless it says otherwise."""
    found = price_of(BackendConfig(url="http://box", **said), "demo")
    assert (found.input, found.output, found.cached) == price


def test_a_backend_that_has_left_is_free():
    assert price_of(None, "demo") is FREE


@pytest.mark.parametrize(("hour", "minute", "lasts"), [(12, 0, 900), (23, 50, 600), (23, 59, 60)])
def test_a_day_is_this_machines(hour, minute, lasts):
    """It is looked at again at midnight, and each quarter of an hour: clocks are set."""
    at = time.mktime((2026, 11, 30, hour, minute, 0, 0, 0, -1))
    assert day_at(at) == ("2026-11-30", at + lasts)


@pytest.mark.parametrize(("before", "lasts"), [("2026-03-29T01:00", 23), ("2026-10-25T01:00", 25)])
def test_a_day_ends_at_midnight_where_clocks_were_changed(monkeypatch, before, lasts):
    """Sums and limits go by one calendar: that of `proxy.charging`."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        at = datetime.fromisoformat(before).timestamp()
        midnight = at + (lasts - 1) * 3600
        assert day_at(midnight - 60) == (before[:10], midnight)
        assert day_at(midnight)[0] > before[:10]
    finally:
        monkeypatch.undo()
        time.tzset()
