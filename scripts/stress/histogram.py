"""Percentiles of very many values in little memory: HDR-like, so that two histograms add up to that of both.

A value is counted in units of 1e-6 (µs, where it is in seconds). Up to 512 units each has a bucket of its own; above,
each doubling is cut into 256 buckets of equal width, so a percentile is within 0.2 % of a value that was there.
Nothing is ever averaged: the percentile of ten steps is that of all their values.
"""

import math
from itertools import accumulate

_UNITS = 1e6
_BITS = 8
_LARGEST = (1 << 40) - 1  # units: 12 days
_BUCKETS = ((40 - _BITS) << _BITS) + (1 << _BITS)


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
        """Count a value."""
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
        """Count all that another has counted."""
        self._counts = [mine + theirs for mine, theirs in zip(self._counts, other._counts, strict=True)]  # noqa: SLF001
        self._total += other._total  # noqa: SLF001
        self.count += other.count
        self.least = min(self.least, other.least)
        self.most = max(self.most, other.most)

    @property
    def mean(self) -> float:
        """The mean; 0 of nothing."""
        return self._total / self.count if self.count else 0.0

    def percentiles(self, shares: list[float]) -> list[float]:
        """Give, for each share in rising order, the smallest value that this share is not above; 0 of nothing."""
        if not self.count:
            return [0.0] * len(shares)
        found: list[float] = []
        for index, so_far in enumerate(accumulate(self._counts)):
            while len(found) < len(shares) and so_far >= max(1, math.ceil(shares[len(found)] * self.count - 1e-9)):
                found.append(min(max(_middle(index), self.least), self.most))
        return found

    def percentile(self, share: float) -> float:
        """Give one of them: 0.5 is the median."""
        return self.percentiles([share])[0]

    def curve(self) -> list[tuple[float, float]]:
        """Give points (share, value) for a plot: ten for each further nine, as far as there are values for it."""
        nines = math.log10(self.count) if self.count else -1.0
        shares = [1 - 10 ** (-step / 10) for step in range(int(nines * 10) + 1)]
        return list(zip(shares, self.percentiles(shares), strict=True))


def _middle(index: int) -> float:
    """Give the middle of a bucket, as a value."""
    shift = max((index >> _BITS) - 1, 0)
    first = (index - (shift << _BITS)) << shift
    return (first + ((1 << shift) - 1) / 2) / _UNITS
