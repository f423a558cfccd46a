import re

import pytest

from scripts.stress import svg, units
from scripts.stress.svg import PlotLine


@pytest.mark.parametrize("most", [1e-6, 0.3, 1, 4, 7, 99.9, 100, 12345])
def test_an_axis_is_round_and_holds_all(most):
    """From 0, in a few equal steps, with little left over."""
    axis = svg.axis(most, units.number)
    places = [at for at, _ in axis.ticks]
    assert places[0] == 0
    assert most <= places[-1] + 1e-9 <= 2 * most
    assert 3 <= len(places) <= 7


def test_values_of_very_different_sizes():
    """They have a logarithmic axis, on which each factor of ten is as wide as the next; others have a plain one."""
    axis = svg.value_axis([0.0, 0.004, 0.3, 7.0], units.time)
    assert axis.logarithmic
    assert [axis.low, axis.high] == pytest.approx([0.001, 10.0])
    assert [axis.place(value) for value in (0.0, 0.001, 0.01, 0.1, 1, 10)] == pytest.approx([0, 0, 0.25, 0.5, 0.75, 1])
    assert not svg.value_axis([1.0, 20.0], units.time).logarithmic
    assert not svg.value_axis([], units.time).logarithmic
    assert [name for _, name in svg.value_axis([1.0, 50.0], units.number).ticks] == ["1", "2", "5", "10", "20", "50"]


@pytest.mark.parametrize(("seconds", "last"), [(0, "0 s"), (52, "50 s"), (600, "10 min"), (8 * 3600, "8 h")])
def test_time_has_one_unit(seconds, last):
    """Which suits its length."""
    assert svg.time_axis(seconds).ticks[-1][1] == last


def test_percentiles_have_equal_nines():
    """99 to 99.9 is as wide as 90 to 99."""
    places = dict(svg.by_nines([(0.0, 1.0), (0.9, 2.0), (0.99, 3.0), (0.999, 4.0)]))
    assert list(places) == pytest.approx([0, 1, 2, 3])
    assert [name for _, name in svg.percentile_axis(3.0).ticks] == ["0", "p50", "p90", "p99", "p99.9"]


def test_a_plot():
    """Each series has a line, its name is told where there are several, and nothing lies outside."""
    lines = [
        PlotLine("a<b", [(0, 0), (5, 10), (10, 3)], 0),
        PlotLine("one point", [(2, 5)], 1),
        PlotLine("none", [], 2),
    ]
    drawn = svg.plot("T & t", lines, svg.time_axis(10), svg.axis(10, units.number), [(5, "then")])
    assert (drawn.count("<polyline"), drawn.count("<circle"), drawn.count("<li>")) == (1, 1, 2)
    assert "a&lt;b" in drawn
    assert "T &amp; t" in drawn
    points = [tuple(map(float, pair.split(","))) for pair in re.findall(r'points="([^"]+)"', drawn)[0].split()]
    assert all(0 <= x <= svg.WIDTH and 0 <= y <= svg.HEIGHT for x, y in points)
    assert svg.plot("nothing", [PlotLine("none", [], 0)], svg.axis(1, str), svg.axis(1, str)) == ""


def test_bars():
    """A bar for each, as long as its share."""
    drawn = svg.bars("Shares", [("a", 0.75, "75 %"), ("b", 0.25, "25 %")])
    wide, narrow = (float(width) for width in re.findall(r'<rect [^>]*width="([\d.]+)"', drawn))
    assert wide == pytest.approx(3 * narrow)
    assert svg.bars("Shares", []) == ""
