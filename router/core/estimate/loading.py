"""A model that a peer has yet to load, before any of what is sent there begins: see **Loads elsewhere**."""

from math import inf
from typing import Final

SOON: Final = 1.0
"""Seconds that a load takes yet that is overdue."""


class Loading:
    """How far the model of one backend is. `unloaded`: it has yet to be loaded; `runs`: it is being loaded."""

    def __init__(self) -> None:
        self.unloaded = False
        self.runs = False
        # In how many seconds it is loaded, once that runs: or when.
        self._takes = 0.0
        self._at = inf

    def told(self, seconds: float, now: float, *, runs: bool) -> None:
        """Note that a load takes so many seconds; `runs`: from now on."""
        self.unloaded, self.runs, self._takes, self._at = True, runs, seconds, now + seconds if runs else inf

    def done(self) -> None:
        """Note that the model is loaded."""
        self.unloaded = self.runs = False

    def seconds(self, now: float) -> float:
        """Give the seconds until it is loaded."""
        return max(SOON, self._at - now) if self.runs else self._takes
