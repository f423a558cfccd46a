"""Requests of others at a backend, from the load its engine publishes: see **Requests of others** in the theory."""

from math import inf
from typing import Final

from router.core.load import Load

FRESH: Final = 1.0
"""Seconds in which a published figure comes to count half as much. The figure is read as often."""


class Others:
    """Requests at one backend that this router didn't send. `load` is what it published last; None: nothing.

    `full` is how many requests, ours included, it works on while more wait; inf: not known. `any`: there are others.
    """

    def __init__(self, parallel: int | None) -> None:
        self.load: Load | None = None
        self.full = float(parallel) if parallel else inf
        self.any = False
        # As of `_at`, when it published last: requests of others, and of these the ones waiting for some time.
        self._count = 0.0
        self._waiting = 0.0
        self._at = -inf

    def published(self, load: Load | None, ours: float, our_waiting: int, now: float) -> None:
        """Note the published load, of which at most `ours` came from here; None: it publishes none."""
        before, self.load, self._count, self.any = self.load, load, 0.0, False
        if load is None:
            return
        # Only requests that wait for longer than a moment show that all slots are taken.
        waiting = min(load.waiting, before.waiting) if before is not None else 0.0
        if waiting > 0:
            running, full = max(1.0, load.running), self.full
            self.full = running if full == inf else max(running, full + (running - full) / 8)
        elif load.running > self.full:
            self.full = inf
        self._count = max(0.0, load.running + load.waiting - ours)
        self.any = self._count > 0
        self._waiting = min(self._count, max(0.0, waiting - our_waiting))
        self._at = now

    def count(self, now: float) -> float:
        """Estimate the requests of others that are there now."""
        return self._count * 2 ** ((self._at - now) / FRESH) if self._count > 0 else 0.0

    def reading(self, usual: float, now: float) -> float:
        """Give the seconds until the prompts of others that wait are read, each in the `usual` time."""
        return max(0.0, self._waiting * usual - (now - self._at))

    def clear(self) -> None:
        """Forget what was published: the backend has restarted."""
        self.load, self._count, self.any = None, 0.0, False
