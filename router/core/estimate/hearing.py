"""Whether answers under way bring content: see **Silence** in the package's theory."""

from typing import Final

from router.core.estimate.ask import Sent
from router.core.estimate.reading import OUTLIER

HEAR: Final = 0.05
"""Seconds between two looks at whether answers under way have brought content."""


class Pauses:
    """How long a backend is usually silent on all its answers at once, in seconds.

    `longest` is the mean plus four times the deviation, but at least `HEAR` more: TCP's timeout (RFC 6298).
    """

    def __init__(self) -> None:
        self._mean = HEAR
        self._deviation = HEAR / 2
        self.longest = self._mean + 4 * self._deviation

    def note(self, pause: float) -> None:
        """Learn from a pause that has ended."""
        off = min(pause, OUTLIER * self.longest) - self._mean
        self._mean += off / 8
        self._deviation += (abs(off) - self._deviation) / 4
        self.longest = self._mean + max(HEAR, 4 * self._deviation)


class Hearing:
    """The answers of one backend that show each of their pieces.

    `audible` counts those under way, and `spoke` is when one of them last brought content.
    """

    def __init__(self) -> None:
        self.audible = 0
        self.spoke = 0.0
        self._pauses = Pauses()

    def overdue(self, now: float) -> float:
        """Give the seconds by which content is overdue; 0 or less: it isn't."""
        return now - self.spoke - self._pauses.longest

    def hear(self, now: float, *, expected: bool) -> None:
        """Note that an answer has brought content. If that wasn't `expected`, the pause before teaches nothing."""
        if self.audible and expected:
            self._pauses.note(now - self.spoke)
        self.spoke = now

    def change(self, sent: Sent, now: float, *, audible: bool) -> None:
        """Note that an answer shows its pieces from now on, or doesn't any more."""
        if sent.audible is not audible:
            sent.audible = audible
            self.audible += 1 if audible else -1
            self.spoke = max(self.spoke, now)
