"""Percentiles: exact ones of a list, and those of very many values in little memory.

There is one definition, the nearest rank: the percentile of a share is the smallest value that at least this share of
the values doesn't exceed. So it is always a value that was measured, never one between two. `share * count` is taken to
be whole where only the rounding of floats makes it more (0.07 * 100 is 7.000000000000001 in floats).

A `Histogram` is like HDR's, so that two histograms add up to that of both. It counts a value in units of 1e-6 (µs,
where the value is in seconds). Each of the first 512 units has a bucket of its own; above these, each doubling is cut
into 256 buckets of equal width, so a percentile is within 0.2 % of a value that was measured. Nothing is averaged: the
percentile of ten steps is that of all their values.
"""

import math
from collections.abc import Sequence
from itertools import accumulate

_UNITS = 1e6
_BITS = 8
_LARGEST = (1 << 40) - 1
"""The largest value that has a bucket, in units: 12 days."""

_BUCKETS = ((40 - _BITS) << _BITS) + (1 << _BITS)
_ROUNDING = 1e-9


def rank(share: float, count: int) -> int:
    """Give the nearest rank of a share, from 0 to 1, among so many values in rising order; ranks begin at 1."""
    return max(1, math.ceil(share * count - _ROUNDING))


def percentile(values: Sequence[float], share: float, *, of_nothing: float = 0.0) -> float:
    """Give the percentile of these values, in any order: 0.5 is the median. `of_nothing` is that of no values."""
    return sorted(values)[rank(share, len(values)) - 1] if values else of_nothing


class Histogram:
    """Counts values of 0 and above. `least`, `most` and `mean` are exact."""

    __slots__ = ("_counts", "_total", "count", "least", "most")

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self._total = 0.0
        self.count = 0
        self.least = math.inf
        self.most = 0.0

    def record(self, value: float) -> None:
        """Count a value; what is below 0 or above 12 days is counted at that end."""
        units = int(value * _UNITS)
        if not 0 <= units <= _LARGEST:
            units = 0 if units < 0 else _LARGEST
        shift = units.bit_length() - _BITS - 1
        if shift < 0:  # noqa: PLR1730  (a call of max takes longer, and there are three of them for each token)
            shift = 0
        self._counts[(shift << _BITS) + (units >> shift)] += 1
        self.count += 1
        self._total += value
        if value > self.most:  # noqa: PLR1730
            self.most = value
        if value < self.least:  # noqa: PLR1730
            self.least = value

    def add(self, other: "Histogram") -> None:
        """Add the counts of another histogram."""
        self._counts = [mine + theirs for mine, theirs in zip(self._counts, other._counts, strict=True)]  # noqa: SLF001
        self._total += other._total  # noqa: SLF001
        self.count += other.count
        self.least = min(self.least, other.least)
        self.most = max(self.most, other.most)

    @property
    def mean(self) -> float:
        """The mean; 0 of no values."""
        return self._total / self.count if self.count else 0.0

    def percentiles(self, shares: list[float]) -> list[float]:
        """Give the percentile of each share; the shares are in rising order. All are 0 of no values."""
        if not self.count:
            return [0.0] * len(shares)
        found: list[float] = []
        for index, so_far in enumerate(accumulate(self._counts)):
            while len(found) < len(shares) and so_far >= rank(shares[len(found)], self.count):
                found.append(min(max(_middle(index), self.least), self.most))
        return found

    def percentile(self, share: float) -> float:
        """Give one percentile: 0.5 is the median."""
        return self.percentiles([share])[0]

    def curve(self) -> list[tuple[float, float]]:
        """Give points (share, value) for a plot: ten for each further nine, as long as there are enough values."""
        nines = math.log10(self.count) if self.count else -1.0
        shares = [1 - 10 ** (-step / 10) for step in range(int(nines * 10) + 1)]
        return list(zip(shares, self.percentiles(shares), strict=True))


def _middle(index: int) -> float:
    """Give the middle of a bucket, as a value."""
    shift = max((index >> _BITS) - 1, 0)
    first = (index - (shift << _BITS)) << shift
    return (first + ((1 << shift) - 1) / 2) / _UNITS
