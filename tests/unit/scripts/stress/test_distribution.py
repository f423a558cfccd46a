from itertools import pairwise, takewhile
from random import Random
from statistics import mean, median

import pytest

from scripts.stress import units
from scripts.stress.distribution import Distribution, burst, distribution, due


@pytest.mark.parametrize(
    ("text", "middle"),
    [("64", 64), ("uniform:16:128", 72), ("normal:64:16", 64), ("lognormal:64:0.8", 64), ("exponential:100", 69.3)],
)
def test_medians(text, middle):
    """Each form has the median that its numbers say, and is written as it is read."""
    rng, read = Random(1), distribution(text)
    assert median(read.draw(rng) for _ in range(20_000)) == pytest.approx(middle, rel=0.03)
    assert str(read) == text


def test_durations():
    """The numbers of times are durations; a sigma is none."""
    assert distribution("lognormal:500ms:0.8", units.seconds) == Distribution("lognormal", 0.5, 0.8)
    assert distribution("exponential:2s", units.seconds) == Distribution("exponential", 2.0)


@pytest.mark.parametrize("text", ["", "x", "uniform:1", "normal:1:2:3", "zipf:1", "exponential:-1", "uniform:a:b"])
def test_what_is_no_distribution(text):
    """It is refused."""
    with pytest.raises(ValueError, match=r".+"):
        distribution(text)


def test_nothing_is_below_its_least():
    """Values are 0 at least; whole ones are 1 at least."""
    rng, wide = Random(1), Distribution("normal", 0, 100)
    assert min(wide.draw(rng) for _ in range(100)) == 0.0
    assert min(wide.whole(rng) for _ in range(100)) == 1
    assert [Distribution(kind, 0, 1).draw(rng) for kind in ("lognormal", "exponential")] == [0.0, 0.0]


@pytest.mark.parametrize("arrivals", ["constant", "poisson", "bursty:5"])
def test_arrivals_have_their_rate(arrivals):
    """In the mean there are so many a second."""
    assert len(list(takewhile(lambda at: at < 500, due(arrivals, 20, Random(1))))) == pytest.approx(10_000, rel=0.05)


def test_arrivals_differ():
    """Constant ones are equally far apart, Poisson's as far as chance has it, bursts are at the same moment."""
    constant, poisson, bursty = (
        [at for at, _ in zip(due(form, 10, Random(1)), range(1000), strict=False)]
        for form in ("constant", "poisson", "bursty:4")
    )
    assert constant[:4] == pytest.approx([0, 0.1, 0.2, 0.3])
    gaps = [later - earlier for earlier, later in pairwise(poisson)]
    assert sum(gap < 0.05 for gap in gaps) / len(gaps) == pytest.approx(0.39, abs=0.05)  # 1 - exp(-0.5)
    assert mean(gaps) == pytest.approx(0.1, rel=0.1)
    assert [len(set(bursty[start : start + 4])) for start in (0, 4, 8)] == [1, 1, 1]


@pytest.mark.parametrize("text", ["", "bursty", "bursty:0", "bursty:x", "poisson:2"])
def test_what_is_no_arrivals(text):
    """It is refused."""
    with pytest.raises(ValueError, match="expected constant"):
        burst(text)
