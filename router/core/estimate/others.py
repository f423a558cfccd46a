"""What others have at a backend, as far as its engine publishes it: see **What others have there** in the theory."""

from math import inf
from typing import Final

from router.core.load import Load

FRESH: Final = 1.0
"""Seconds in which the work of others counts half as much, if no more is heard of it. It is asked for as often."""


class Others:
    """Requests at one backend that were not sent from here. `load` is what it published last; None: nothing.

    `full` is how many it works on while more wait, ours or not; inf: not known.
    """

    def __init__(self, parallel: int | None) -> None:
        self.load: Load | None = None
        self.full = float(parallel) if parallel else inf
        self.any = False
        self._count = 0.0  # when it published last
        self._waiting = 0.0  # of these, those that had waited for a slot for some time
        self._at = -inf

    def published(self, load: Load | None, ours: float, our_waiting: int, now: float) -> None:
        """Note what it says that it has, of which `ours` at most came from here; None: it says nothing."""
        before, self.load, self._count, self.any = self.load, load, 0.0, False
        if load is None:
            return
        waiting = min(load.waiting, before.waiting) if before is not None else 0.0  # not only for a moment
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
        """Requests that are taken to be there now."""
        return self._count * 2 ** ((self._at - now) / FRESH) if self._count > 0 else 0.0

    def reading(self, usual: float, now: float) -> float:
        """Seconds that the reading of those that wait still takes, each the `usual` seconds."""
        return max(0.0, self._waiting * usual - (now - self._at))

    def clear(self) -> None:
        """Forget what was published: the backend begins anew."""
        self.load, self._count, self.any = None, 0.0, False
