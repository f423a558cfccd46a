"""The penalty for a backend's errors: see **Errors** in the package's theory."""

from typing import Final

FORGET: Final = 10.0
"""Seconds in which the penalty halves."""

FAILURE: Final = 1.0
"""Penalty of a first failure in seconds, beside the time that was lost with it."""

WORST: Final = 60.0
"""Seconds of penalty at most."""


class Penalty:
    """Seconds that are added to a backend's expected TTFT."""

    def __init__(self) -> None:
        self._seconds = 0.0
        # When `_seconds` was last changed.
        self._at = 0.0

    def seconds(self, now: float) -> float:
        """Give the penalty now, in seconds."""
        return self._seconds * 2 ** ((self._at - now) / FORGET) if self._seconds > 0 else 0.0

    def charge(self, sent_at: float, lost: float, now: float) -> None:
        """Charge the seconds that were lost with a failed attempt, doubled if it was sent after an earlier failure.

        An attempt that was under way already when another failed is no further sign.
        """
        again = 2 if sent_at >= self._at else 1
        self._seconds = min(WORST, max(again * self.seconds(now), lost))
        self._at = now

    def halve(self, now: float) -> None:
        """Halve the penalty after a first token: it speaks against the errors before."""
        self._seconds, self._at = self.seconds(now) / 2, now

    def clear(self) -> None:
        """Forget all errors: the backend has restarted."""
        self._seconds = 0.0
