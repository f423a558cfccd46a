from math import exp
from random import Random

import pytest

from router.core.memory.wanting import MEMORY, IdleGaps, Mean


def after(*gaps: float) -> IdleGaps:
    made = IdleGaps()
    for gap in gaps:
        made.note(gap)
    return made


def test_of_whom_nothing_is_known_the_latest_is_likeliest():
    """Without any gap, backends are ranked as LRU would; each chance is between 0 and 1."""
    made = IdleGaps()
    chances = [made.chance(idle, 60.0) for idle in (0.0, 10.0, 100.0, 10_000.0)]
    assert chances == sorted(chances, reverse=True)
    assert chances[0] == pytest.approx(0.5)
    assert all(0 < chance < 1 for chance in chances)


def test_nothing_is_wanted_in_no_time():
    """The chance of no time at all is 0, and grows with time."""
    made = after(1.0, 5.0, 100.0)
    assert made.chance(3.0, 0.0) == 0
    assert made.chance(0.0, 10.0) < made.chance(0.0, 1000.0) <= 1


def test_an_agent_that_pauses_for_a_second_is_about_to_ask():
    """After many short gaps the chance is high at once, and low when it has been idle for long."""
    made = after(*[0.7] * 30)
    assert made.chance(0.1, 1.0) > 0.9
    assert made.chance(60.0, 1.0) < 0.1


def test_a_burst_that_has_ended_is_not_taken_for_more():
    """Of bursts of short gaps with long ones between, the chance falls when a gap is a long one."""
    made = after(*[*[0.5] * 9, 3600.0] * 5)
    assert made.chance(0.0, 10.0) > 0.8
    assert made.chance(60.0, 10.0) < 0.05


def test_requests_by_chance_are_told_as_they_are():
    """Of exponential gaps, the chance is near the true one, however long it has been idle."""
    random, made = Random(1), IdleGaps()  # noqa: S311
    for _ in range(2000):
        made.note(random.expovariate(1 / 100))
    for idle in (0.0, 50.0, 100.0):
        assert made.chance(idle, 50.0) == pytest.approx(1 - exp(-0.5), abs=0.12)


def test_old_gaps_fade():
    """A model that is used otherwise now is judged by that."""
    made = after(*[1.0] * 3000, *[500.0] * 2 * MEMORY)
    assert made.chance(0.0, 10.0) < 0.2


@pytest.mark.parametrize("gap", [0.0, 1e-9, 1e12])
def test_any_gap_counts(gap):
    """Gaps beyond the scale count at its ends."""
    made = after(gap)
    assert 0 <= made.chance(gap, 10.0) <= 1


def test_the_first_measurement_replaces_the_guess():
    """Later ones count a quarter."""
    made = Mean(10.0)
    assert made.value == 10.0
    made.note(2.0)
    assert made.value == 2.0
    made.note(6.0)
    assert made.value == 3.0
