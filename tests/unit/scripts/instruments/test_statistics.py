import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.instruments.statistics import Histogram, percentile

VALUES = st.lists(st.floats(min_value=1e-3, max_value=1e4), min_size=1, max_size=200)


def histogram(values):
    made = Histogram()
    for value in values:
        made.record(value)
    return made


def test_a_percentile_is_by_nearest_rank():
    """So it is a value that was measured, whatever the order; that of no values is what the caller says."""
    values = list(range(100, 0, -1))
    assert [percentile(values, share) for share in (0.0, 0.07, 0.5, 0.99, 1.0)] == [1, 7, 50, 99, 100]
    assert [percentile([7.0], share) for share in (0.0, 0.5, 0.99)] == [7.0] * 3
    assert percentile([], 0.5) == 0.0
    assert math.isnan(percentile([], 0.5, of_nothing=math.nan))


@given(VALUES, st.sampled_from([0.0, 0.1, 0.5, 0.9, 0.99, 1.0]))
def test_a_percentile_is_the_least_that_its_share_does_not_exceed(values, share):
    """By the definition itself, counted."""
    found = percentile(values, share)
    least = share * len(values) - 1e-9
    assert found in values
    assert sum(value <= found for value in values) >= least
    assert sum(value < found for value in values) < max(least, 1)


@given(VALUES, st.sampled_from([0.0, 0.1, 0.5, 0.9, 0.99, 1.0]))
def test_percentiles_are_those_of_a_sorted_list(values, share):
    """To 0.2 % and a µs, whatever the values."""
    assert histogram(values).percentile(share) == pytest.approx(percentile(values, share), rel=0.002, abs=1e-6)


@given(VALUES, VALUES)
def test_histograms_add_up(one, other):
    """The percentiles of two together are those of all values: nothing is averaged."""
    together, both = histogram(one), histogram(one + other)
    together.add(histogram(other))
    shares = [0.1, 0.5, 0.99]
    assert together.percentiles(shares) == both.percentiles(shares)
    assert (together.count, together.least, together.most) == (both.count, both.least, both.most)
    assert together.mean == pytest.approx(sum(one + other) / len(one + other))


def test_nothing_and_the_extremes():
    """Of nothing all is 0; what is below 0 or beyond all bounds is counted at the ends."""
    assert Histogram().percentiles([0.5, 0.99]) == [0.0, 0.0]
    assert (Histogram().mean, Histogram().curve()) == (0.0, [])
    assert histogram([-1.0, 1e9]).count == 2
    assert histogram([0.25] * 3).percentile(0.5) == 0.25


def test_a_curve_goes_as_far_as_its_values_do():
    """A thousand values have a 99.9th percentile, and no 99.99th."""
    rng = Random(1)
    shares, values = zip(*histogram([rng.random() for _ in range(1000)]).curve(), strict=True)
    assert (shares[0], shares[-1]) == (0.0, pytest.approx(0.999))
    assert list(values) == sorted(values)
