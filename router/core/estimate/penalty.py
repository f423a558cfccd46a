"""What a backend's errors cost: see **Errors** in the package's theory."""

from typing import Final

FORGET: Final = 10.0
"""Seconds in which the cost of errors halves."""

FAILURE: Final = 1.0
"""Seconds that the first failure costs, beside the time that was lost with it."""

WORST: Final = 60.0
"""Seconds that errors cost at most."""


class Penalty:
    """Seconds that are added to what is expected of a backend."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._at = 0.0  # when they were last changed

    def seconds(self, now: float) -> float:
        """Seconds that its errors cost now."""
        return self._seconds * 2 ** ((self._at - now) / FORGET) if self._seconds > 0 else 0.0

    def charge(self, sent_at: float, lost: float, now: float) -> None:
        """Have a failed attempt cost the seconds that were lost with it; doubled where failures follow one another.

        One that was under way already when another failed is no further sign.
        """
        again = 2 if sent_at >= self._at else 1
        self._seconds = min(WORST, max(again * self.seconds(now), lost))
        self._at = now

    def halve(self, now: float) -> None:
        """Note a first token: it speaks against the errors before."""
        self._seconds, self._at = self.seconds(now) / 2, now

    def clear(self) -> None:
        """Forget all: the backend begins anew."""
        self._seconds = 0.0
