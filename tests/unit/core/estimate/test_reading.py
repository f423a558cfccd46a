"""The slowest reading of prompts of late: what a stall is judged by."""

import pytest

from router.core.estimate.reading import MEMORABLE, SLOWEST, SlowestReading


def test_the_slowest_of_late_is_expected():
    """Prompts that were cached say nothing; what is long ago is forgotten."""
    slowest = SlowestReading()
    assert slowest.speed == SLOWEST
    slowest.note(10_000, 1.0)
    assert slowest.speed == 10_000
    slowest.note(1_000_000, 0.1)
    assert slowest.speed == 10_000
    for _ in range(32):
        slowest.note(20_000, 1.0)
    assert slowest.speed == 20_000


def test_what_answers_in_one_piece_took_bounds_it():
    """It reads at least so fast; what streams show is more exact."""
    slowest = SlowestReading()
    slowest.whole(MEMORABLE - 1, 0.1)
    assert (slowest.speed, slowest.longest) == (SLOWEST, 0.1)
    slowest.whole(10_000, 200.0)
    assert slowest.speed == SLOWEST
    for _ in range(32):
        slowest.whole(10_000, 10.0)
    assert slowest.speed == 1000
    assert 10 < slowest.longest < 200
    slowest.note(10_000, 100.0)
    assert slowest.speed == 100


@pytest.mark.parametrize(("size", "seconds"), [(MEMORABLE - 1, 5.0), (MEMORABLE, 0.0)])
def test_what_says_nothing_of_a_prompt_is_not_noted(size, seconds):
    """A short one's time is the queue's, or the first token's."""
    slowest = SlowestReading()
    slowest.note(size, seconds)
    assert slowest.speed == SLOWEST
