from typing import Any

import pytest

from router.core import usage
from router.core.ending import Ending
from router.core.record import ANSWERED, Record
from router.core.timeline import Try
from router.core.usage import FREE, NONE, Line, Meter, Price, Rate, Use, cost

CHAT = "/v1/chat/completions"
NOTHING = Ending(None, None, None, error=False)


def record(
    *,
    path: str = CHAT,
    status: int = 200,
    outcome: str = ANSWERED,
    events: int = 0,
    asked: int = 400,
    streams: bool = False,
    seconds: float | None = 2.0,
) -> Record:
    tries = () if seconds is None else (Try("b", None, 0.5, 0.6, 0.7, 0.5 + seconds, status, outcome, asked, streams),)
    return Record("id", path, "m", "b", status, outcome, 1, None, 9.0, 10, events, b"", tries=tries)


def left(**more: Any) -> Record:
    return record(status=499, outcome="the client left", **more)


def said(prompt: int | None, completion: int | None, cached: int | None = None, *, error: bool = False) -> Ending:
    return Ending(prompt, completion, "stop", error=error, cached_tokens=cached)


def test_what_the_engine_counted_counts():
    """To the token, with what was cached, which is never more than the prompt."""
    meter = Meter()
    assert meter.use("m", record(), said(12, 40, 8)) == Use(12, 8, 40, estimated=False)
    assert meter.use("m", record(), said(12, 40, 99)) == Use(12, 12, 40, estimated=False)


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/rerank", "/v1/audio/transcriptions"])
def test_what_generates_nothing_needs_no_count_of_it(path):
    """An embedding's usage has its prompt alone."""
    assert Meter().use("m", record(path=path), said(12, None)) == Use(12, 0, 0, estimated=False)


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
def test_an_error_in_the_place_of_an_answer_has_used_nothing(status):
    """Nor is that an estimate."""
    assert Meter().use("m", record(status=status), NOTHING) == NONE


def test_what_knows_no_tokens_has_used_none():
    """Such as a picture, or the count of a text's tokens."""
    assert Meter().use("m", record(path="/tokenize"), NOTHING) == NONE


def test_an_answer_without_counts_is_estimated():
    """By bytes and events, before anything is known of its model."""
    meter = Meter()
    # Its first event says who speaks, the last two end it.
    assert meter.use("m", record(events=23, streams=True), NOTHING) == Use(100, 0, 20, estimated=True)
    assert meter.use("m", record(events=23, path="/v1/completions"), NOTHING) == Use(100, 0, 21, estimated=True)
    assert meter.use("m", record(path="/v1/embeddings"), NOTHING) == Use(100, 0, 0, estimated=True)
    # What it does say is taken.
    assert meter.use("m", record(events=23), said(7, None)) == Use(7, 0, 20, estimated=True)
    assert meter.use("m", record(events=23), said(None, 19)) == Use(100, 0, 19, estimated=True)


def test_what_broke_off_is_estimated_by_what_is_known_of_the_model():
    """Two tokens come in each event of it, and three bytes of a request are a token, beside 100 for its frame."""
    meter = Meter()
    for size, tokens in ((400, 100), (700, 200), (1000, 300)):
        meter.use("m", record(events=23, streams=True, asked=size), said(tokens, 40))
    cut = record(status=499, outcome="the client left", events=11, streams=True, asked=850)
    assert meter.use("m", cut, said(None, 10)) == Use(250, 0, 20, estimated=True)
    assert meter.use("other", cut, NOTHING) == Use(212, 0, 10, estimated=True)


def test_an_answer_in_one_piece_that_broke_off_is_estimated_by_its_time():
    """At the rate of those that came; a stream that brought nothing had generated nothing."""
    meter = Meter()
    meter.use("m", record(), said(100, 40))
    assert meter.use("m", left(seconds=1.0), NOTHING) == Use(100, 0, 20, estimated=True)
    # The router itself has answered, as where a model is unloaded.
    assert meter.use("m", left(seconds=None), NOTHING) == NONE
    assert meter.use("m", left(streams=True), NOTHING) == Use(100, 0, 0, estimated=True)
    assert meter.use("m", left(path="/v1/embeddings"), NOTHING) == Use(100, 0, 0, estimated=True)


def test_a_stream_that_ends_in_an_error_is_estimated():
    """Whatever its status says; so is one that broke off after its head."""
    use = Meter().use("m", record(events=6, streams=True), said(None, None, error=True))
    assert use == Use(100, 0, 5, estimated=True)
    assert Meter().use("m", record(status=502, outcome="broken", events=6), NOTHING) == Use(100, 0, 5, estimated=True)


def test_what_is_known_of_models_is_bounded(monkeypatch):
    """And is learned again."""
    monkeypatch.setattr(usage, "MOST_MODELS", 2)
    meter = Meter()
    meter.use("m", record(), said(50, 40))
    cut = record(outcome="cut", events=2)
    assert meter.use("m", cut, NOTHING).prompt == 50
    for name in "ab":
        meter.use(name, record(), said(50, 40))
    assert meter.use("m", cut, NOTHING).prompt == 100


def test_a_rate_follows_what_is_new():
    """Older pairs count less and less; few tokens, and none of the other, say nothing."""
    rate = Rate(1.0)
    rate.learn(7, 0)
    rate.learn(4, 1.0)
    assert rate.tokens(10) == 10
    for _ in range(100):
        rate.learn(2000, 1000.0)
    for _ in range(300):
        rate.learn(3000, 1000.0)
    assert 2900 <= rate.tokens(1000) <= 3000
    assert rate.tokens(-1) == 0


def test_a_line_follows_what_is_new():
    """Through requests of one size, it is the rate; never below none, nor above the bytes."""
    line = Line()
    assert line.tokens(400) == 100
    line.learn(1000, 300)
    line.learn(1000, 300)
    assert line.tokens(500) == 150
    for _ in range(400):
        line.learn(2000, 1100)
        line.learn(3000, 1600)
    assert abs(line.tokens(2500) - 1350) <= 10
    assert line.tokens(0) >= 0
    assert line.tokens(3) <= 3
    falling = Line()
    falling.learn(1000, 500)
    falling.learn(2000, 400)
    assert falling.tokens(9000) == 450


def test_the_price():
    """For a million tokens; what was cached has one of its own."""
    price = Price(1.0, 4.0, 0.25)
    assert cost(Use(1_000_000, 400_000, 500_000, estimated=False), price) == pytest.approx(0.6 + 0.1 + 2.0)
    assert cost(Use(1_000_000, 0, 500_000, estimated=False), FREE) == 0
