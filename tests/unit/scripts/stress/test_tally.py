import pytest

from scripts.stress.tally import INTERRUPTED, LEFT, Outcome, Slo, StepFigures, Tally, added


def one(kind="", *, due=0.0, first=1.0, last=3.0, ended=3.5, tokens=5, backend="a", queue=None, detail=""):
    return Outcome(due, due + 0.5, first, last, ended, kind, detail, 200, True, tokens, 7, backend, queue)


def test_times_of_an_outcome():
    """All count from when it was due, so that waiting to be sent counts; the first token has no time per token."""
    each = one(due=-1.0)
    assert (each.ttft, each.tpot, each.whole) == (2.0, 0.5, 4.5)
    assert one(tokens=1).tpot is None
    assert (one(first=None).ttft, one(first=None).tpot) == (None, None)


@pytest.mark.parametrize(
    ("slo", "outcome", "met"),
    [
        (Slo(), one(), True),
        (Slo(ttft=0.9), one(), False),
        (Slo(tpot=0.4), one(), False),
        (Slo(whole=3.4), one(), False),
        (Slo(1, 0.5, 3.5), one(), True),
        (Slo(), one("cut off"), False),
        (Slo(), one(LEFT), False),
        (Slo(ttft=0.1), one(first=None, last=None), True),
    ],
)
def test_goodput(slo, outcome, met):
    """An answer is good that is whole and within each bound; what it has no time for can't break one."""
    assert slo.met(outcome) is met


def test_each_request_is_one_thing():
    """Whole, left, interrupted or failed; a failure has a kind, what was said first, and no whole time."""
    figures = StepFigures()
    for each in (one(), one(LEFT), one(INTERRUPTED), one("timeout", detail="x"), one("timeout", detail="y")):
        figures.count(each, Slo())
    assert (figures.requests, figures.ok, figures.left, figures.interrupted, figures.failed) == (5, 1, 1, 1, 2)
    assert (figures.failures, figures.examples) == ({"timeout": 2}, {"timeout": "x"})
    assert (figures.whole.count, figures.ttft.count, figures.good, figures.tokens) == (1, 5, 1, 25)


def test_by_backend():
    """Each has its own; all together are their sum."""
    tally = Tally(Slo())
    tally.gaps("a")(0.25)
    for each in (one(queue=0.125), one(backend="b"), one("no connection", backend="", first=None)):
        tally.count(each)
    assert {name: each.requests for name, each in tally.backends.items()} == {"a": 1, "b": 1, "": 1}
    together = tally.all()
    assert (together.requests, together.gap.most, together.queue.most, together.ttft.count) == (3, 0.25, 0.125, 2)
    assert added([together, together]).failures == {"no connection": 2}


def test_bounds_are_written():
    """As they were asked for."""
    assert str(Slo(ttft=2, tpot=0.1)) == "ttft 2 s, tpot 100 ms"
