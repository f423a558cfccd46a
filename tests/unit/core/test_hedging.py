from math import inf

import pytest

from router.core.hedging import P95, Patience


def patience(after) -> Patience:
    made = Patience()
    made.after = after
    return made


@pytest.mark.parametrize(("after", "ends"), [(inf, False), (2.0, True), (P95, True)])
def test_it_may_have_no_end(after, ends):
    """Then nothing has to be looked at."""
    assert patience(after).ends is ends


@pytest.mark.parametrize("after", [inf, 2.0])
def test_a_fixed_time(after):
    """Whatever is measured."""
    waits = patience(after)
    for _ in range(100):
        waits.note("m", 9.0, stream=True)
    assert waits.seconds("m", stream=True) == after


def test_the_95th_percentile():
    """Of 100 times, 95 are within it."""
    waits = patience(P95)
    for n in range(1, 257):
        waits.note("m", float(n), stream=True)
    assert waits.seconds("m", stream=True) == pytest.approx(0.95 * 256, abs=1)


def test_without_enough_answers_it_is_not_known():
    """A few say nothing of the slowest."""
    waits = patience(P95)
    for _ in range(19):
        waits.note("m", 1.0, stream=True)
    assert waits.seconds("m", stream=True) == inf
    waits.note("m", 1.0, stream=True)
    assert waits.seconds("m", stream=True) == 1.0


def test_each_kind_is_measured_apart():
    """Another model's times say nothing of this one's, nor do those of answers in one piece of a stream's."""
    waits = patience(P95)
    for _ in range(20):
        waits.note("m", 1.0, stream=True)
        waits.note("m", 60.0, stream=False)
    assert waits.seconds("m", stream=True) == 1.0
    assert waits.seconds("m", stream=False) == 60.0
    assert waits.seconds("n", stream=True) == inf


def test_what_was_long_ago_is_forgotten():
    """What counts is how fast it is now."""
    waits = patience(P95)
    for seconds in (60.0, 1.0):
        for _ in range(288):
            waits.note("m", seconds, stream=True)
    assert waits.seconds("m", stream=True) == 1.0


def test_the_number_of_models_is_bounded():
    """Those asked for longest ago are forgotten first."""
    waits = patience(P95)
    for model in ("a", "b"):
        for _ in range(20):
            waits.note(model, 1.0, stream=True)
    for n in range(254):
        waits.note(f"m{n}", 1.0, stream=True)
    waits.note("a", 1.0, stream=True)
    waits.note("one more", 1.0, stream=True)
    assert waits.seconds("a", stream=True) == 1.0
    assert waits.seconds("b", stream=True) == inf
