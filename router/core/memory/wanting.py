"""The chance that an idle backend is wanted again, from how long it was idle before. Pure.

Each time an idle backend is wanted, the length of its idle gap is counted in bins that double. With S(t) as the share
of gaps longer than t, a backend that has been idle for t seconds is wanted within the next h with the chance

    1 - S(t + h) / S(t)

so bursts, agents that pause for a second, and models that are used each morning need no setting. This is the hybrid
histogram policy of Shahrad et al., "Serverless in the Wild" (USENIX ATC 2020), which keeps functions warm by it.

A prior counts as one gap: S0(t) = 1 / (1 + t / PRIOR), whose rate falls with the time idle. So backends of which
nothing is known are ranked as LRU would, and every chance is defined. Old gaps fade: each new one takes 1 / `MEMORY`
off the rest.
"""

from math import log2

PRIOR = 60.0
"""Seconds: half of the gaps of a backend that nothing is known of are believed to be shorter."""

MEMORY = 64
"""About as many gaps count."""

_SHORTEST = 1 / 16  # seconds; shorter gaps count as this
_BINS = 26  # up to 24 days
_GROWTH = 1 / (1 - 1 / MEMORY)
_LARGEST_UNIT = 1e12


class IdleGaps:
    """The gaps of one backend, in seconds."""

    def __init__(self) -> None:
        self._counts = [0.0] * _BINS
        # What one gap counts now. It grows, so that nothing has to be taken off the older ones.
        self._unit = 1.0

    def note(self, gap: float) -> None:
        """Count a gap that has ended."""
        self._unit *= _GROWTH
        self._counts[min(_BINS - 1, int(_place(gap)))] += self._unit
        if self._unit > _LARGEST_UNIT:
            self._counts = [count / self._unit for count in self._counts]
            self._unit = 1.0

    def chance(self, idle: float, within: float) -> float:
        """Give the chance that a backend idle for `idle` seconds is wanted in the next `within`; 0 to 1."""
        return 1.0 - self._longer(idle + within) / self._longer(idle)

    def _longer(self, gap: float) -> float:
        """Count the gaps longer than this; within a bin they are spread evenly over its logarithm."""
        place = min(_place(gap), _BINS - 0.5)  # the last bin never ends
        bin_ = int(place)
        beyond = self._counts[bin_] * (bin_ + 1 - place) + sum(self._counts[bin_ + 1 :])
        return beyond + self._unit / (1 + gap / PRIOR)


def _place(gap: float) -> float:
    """Give the place of a gap on the scale of the bins."""
    return max(0.0, log2(max(gap, _SHORTEST) / _SHORTEST))


class Mean:
    """A mean of what was measured, in which the latest counts a quarter; `guess` until anything was."""

    def __init__(self, guess: float) -> None:
        self.value = guess
        self.is_measured = False

    def note(self, value: float) -> None:
        """Take a measurement."""
        self.value = self.value + (value - self.value) / 4 if self.is_measured else value
        self.is_measured = True
