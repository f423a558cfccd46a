from typing import Any

import pytest

from router.core.ending import Ending
from router.core.record import ANSWERED, Record
from router.core.timeline import Try
from router.core.usage import FREE, Line, Meter, Price, Rate, Sum, Use, cost

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
    sent: int = 10,
    tail: bytes = b"",
    choices: int = 1,
) -> Record:
    tries = (
        ()
        if seconds is None
        else (Try("b", None, 0.5, 0.6, 0.7, 0.5 + seconds, status, outcome, asked, streams, choices),)
    )
    return Record("id", path, "m", "b", status, outcome, 1, None, 9.0, sent, events, tail, tries=tries)


def left(**more: Any) -> Record:
    return record(status=499, outcome="the client left", **more)


def used(meter: Meter, model: str, of: Record, told: Ending) -> tuple[int, int, int, bool]:
    use = meter.use(model, of, told)
    return use.prompt, use.cached, use.completion, use.estimated


def said(
    prompt: int | None, completion: int | None, cached: int | None = None, *, error: bool = False, choices: int = 0
) -> Ending:
    return Ending(prompt, completion, "stop", error=error, cached_tokens=cached, choices=choices)


def test_what_the_engine_counted_counts():
    """To the token, with what was cached, which is never more than the prompt."""
    meter = Meter()
    assert used(meter, "m", record(), said(12, 40, 8)) == (12, 8, 40, False)
    assert used(meter, "m", record(), said(12, 40, 99)) == (12, 12, 40, False)


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/rerank", "/v1/audio/transcriptions"])
def test_what_generates_nothing_needs_no_count_of_it(path):
    """An embedding's usage has its prompt alone."""
    assert used(Meter(), "m", record(path=path), said(12, None)) == (12, 0, 0, False)


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
def test_an_error_in_the_place_of_an_answer_has_used_nothing(status):
    """Nor is that an estimate."""
    assert used(Meter(), "m", record(status=status), NOTHING) == (0, 0, 0, False)


def test_what_knows_no_tokens_has_used_none():
    """Such as a picture, or the count of a text's tokens."""
    assert used(Meter(), "m", record(path="/tokenize"), NOTHING) == (0, 0, 0, False)


def test_an_answer_without_counts_is_estimated():
    """By bytes and events, before anything is known of its model."""
    meter = Meter()
    # Its first event says who speaks, the last two end it.
    assert used(meter, "m", record(events=23, streams=True), NOTHING) == (100, 0, 20, True)
    assert used(meter, "m", record(events=23, path="/v1/completions"), NOTHING) == (100, 0, 21, True)
    assert used(meter, "m", record(path="/v1/embeddings"), NOTHING) == (100, 0, 0, True)
    # What it does say is taken.
    assert used(meter, "m", record(events=23), said(7, None)) == (7, 0, 20, True)
    assert used(meter, "m", record(events=23), said(None, 19)) == (100, 0, 19, True)


def test_what_broke_off_is_estimated_by_what_is_known_of_the_model():
    """Two tokens come in each event of it, and three bytes of a request are a token, beside 100 for its frame."""
    meter = Meter()
    for size, tokens in ((400, 100), (700, 200), (1000, 300)):
        used(meter, "m", record(events=23, streams=True, asked=size), said(tokens, 40))
    cut = record(status=499, outcome="the client left", events=11, streams=True, asked=850)
    assert used(meter, "m", cut, said(None, 10)) == (250, 0, 20, True)
    assert used(meter, "other", cut, NOTHING) == (212, 0, 10, True)


def test_an_answer_in_one_piece_that_broke_off_is_estimated_by_its_time():
    """At the rate of those that came; a stream that brought nothing had generated nothing."""
    meter = Meter()
    used(meter, "m", record(), said(100, 40))
    assert used(meter, "m", left(seconds=1.0), NOTHING) == (100, 0, 20, True)
    # The router itself has answered, as where a model is unloaded.
    assert used(meter, "m", left(seconds=None), NOTHING) == (0, 0, 0, False)
    assert used(meter, "m", left(streams=True), NOTHING) == (100, 0, 0, True)
    assert used(meter, "m", left(path="/v1/embeddings"), NOTHING) == (100, 0, 0, True)


def test_a_stream_that_ends_in_an_error_is_estimated():
    """Whatever its status says; so is one that broke off after its head."""
    use = used(Meter(), "m", record(events=6, streams=True), said(None, None, error=True))
    assert use == (100, 0, 5, True)
    assert used(Meter(), "m", record(status=502, outcome="broken", events=6), NOTHING) == (100, 0, 5, True)


def test_what_is_known_of_models_is_bounded():
    """And is learned again."""
    meter = Meter(most=2)
    used(meter, "m", record(), said(50, 40))
    cut = record(outcome="cut", events=2)
    assert used(meter, "m", cut, NOTHING)[0] == 50
    for name in "ab":
        used(meter, name, record(), said(50, 40))
    assert used(meter, "m", cut, NOTHING)[0] == 100


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


def test_a_sum():
    """Of exact and estimated ones."""
    total = Sum()
    total.add(Use(12, 4, 40, estimated=False), 0.5)
    total.add(Use(10, 0, 30, estimated=True), 0.25)
    assert (total.requests, total.estimated, total.prompt, total.cached) == (2, 1, 22, 4)
    assert (total.completion, total.cost) == (70, 0.75)
    assert repr(Use(10, 4, 30, estimated=True)) == "<Use: about 10 tokens, 4 of them cached, and 30>"


@pytest.mark.parametrize(
    ("of", "told", "use"),
    [
        # 40 prompts, of which one was counted, in a stream.
        ({"path": "/v1/completions", "events": 2040, "streams": True}, (6, 50, 1), (100, 0, 2038, True)),
        # In one piece: by the number of its last choice, or by its bytes if these are more.
        ({"path": "/v1/completions", "sent": 9000}, (6, 50, 40), (100, 0, 2000, True)),
        ({"path": "/v1/completions", "sent": 99_712}, (6, 1, 40), (100, 0, 24_000, True)),
        ({"path": "/v1/completions", "sent": 99_712, "tail": b'{"logprob":-1.5}'}, (6, 1, 40), (100, 0, 40, True)),
        ({"path": "/completion", "sent": 99_712, "tail": b'{"prob":0.5}'}, (6, 1, 40), (100, 0, 40, True)),
        ({"path": "/completion", "sent": 70_000}, (6, 50, 40), (100, 0, 2000, True)),
        # As the request says, where the answer's end doesn't.
        ({"choices": 2, "sent": 5000}, (120, 500, 1), (120, 0, 1082, True)),
        ({"choices": 2, "sent": 4000}, (24, 500, 1), (100, 0, 1000, True)),
        ({"choices": 1000, "sent": 700}, (24, 100, 1), (100, 0, 700, True)),
        # One choice, to the token: also with some events more than tokens; and whatever others count.
        ({"choices": 1, "sent": 5000}, (12, 50, 1), (12, 0, 50, False)),
        ({"events": 70, "streams": True}, (12, 50, 1), (12, 0, 50, False)),
        ({"events": 75, "streams": True}, (12, 50, 1), (100, 0, 72, True)),
        ({"events": 2040, "streams": True}, (12, 50, 0), (12, 0, 50, False)),
        ({"choices": 2}, (12, 50, 0), (12, 0, 50, False)),
        ({"path": "/v1/embeddings"}, (12, None, 3), (12, 0, 0, False)),
    ],
)
def test_all_choices_count_where_the_engine_counts_one(of, told, use):
    """As llama.cpp's server does."""
    prompt, completion, choices = told
    assert used(Meter(), "m", record(**of), said(prompt, completion, choices=choices)) == use


@pytest.mark.parametrize(("path", "prompt"), [("/v1/completions", 160), (CHAT, 28)])
def test_a_list_of_prompts_has_more_than_short_single_ones_let_expect(path, prompt):
    """A line through two short prompts says little of it; a chat has no list."""
    meter = Meter()
    for size, tokens in ((50, 5), (75, 6)):
        used(meter, "m", record(path=path, asked=size), said(tokens, 9))
    several = record(path=path, asked=640, sent=9000)
    assert used(meter, "m", several, said(6, 50, choices=2))[0] in {prompt, prompt + 1}


def test_nothing_is_learned_from_counts_of_one_choice():
    """Nor from any that tell of fewer tokens than events: all keys' broken streams are estimated by that."""
    meter = Meter()
    for _ in range(3):
        several = record(path="/v1/completions", events=2040, streams=True)
        used(meter, "m", several, said(6, 50, choices=40))
        used(meter, "m", several, said(100, 50))
    assert used(meter, "m", left(events=1718, streams=True), said(None, 1718)) == (100, 0, 1717, True)


def test_a_whole_answer_without_counts_is_estimated_by_its_bytes_until_its_time_says_something():
    """It is there, after all."""
    meter = Meter()
    assert used(meter, "m", record(sent=2192), NOTHING) == (100, 0, 400, True)
    assert used(meter, "m", left(sent=2192), NOTHING) == (100, 0, 0, True)
    used(meter, "m", record(), said(100, 40))
    assert used(meter, "m", record(sent=2192), NOTHING) == (100, 0, 40, True)
