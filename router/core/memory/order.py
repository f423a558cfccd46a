"""Who goes first among requests that wait, of one backend and of several. Pure.

`ByArrival` lets the oldest go first, and models take turns: a model that had its turn goes behind those that wait.

`ByKey` is fair between keys across all models, by start-time fair queueing (Goyal, Vin & Cheng, 1996): a request is
due 1 / weight after the one before it of its key, whatever model that was for. A key that asks for nine models at once
therefore delays a key that asks for one by a turn, not by nine. Models take turns only among those that are due at the
same time. Virtual time is whole turns, so that equals are common and the models' turns decide between them.
"""

from collections.abc import Mapping
from math import floor
from typing import Protocol


class Order(Protocol):
    """What gives each request its rank: the lower goes first; among equals the one that came first."""

    def rank(self, key: str) -> float:
        """Rank a request that comes now."""

    def went(self, key: str, rank: float) -> None:
        """Note that a request of this rank was sent."""


class ByArrival:
    """All ranks are equal."""

    def rank(self, key: str) -> float:  # noqa: ARG002 - who asks doesn't matter
        """Rank a request that comes now."""
        return 0.0

    def went(self, key: str, rank: float) -> None:
        """Note that a request was sent."""


class ByKey:
    """Ranks by each key's virtual time. A key without a weight weighs 1. At most `most` keys are remembered."""

    def __init__(self, weights: Mapping[str, float] | None = None, most: int = 4096) -> None:
        self._weights: Mapping[str, float] = weights or {}
        self._most = most
        self._time = 0.0
        self._due: dict[str, float] = {}

    def weigh(self, weights: Mapping[str, float]) -> None:
        """Take other weights, for the next requests."""
        self._weights = weights

    def rank(self, key: str) -> float:
        """Rank a request that comes now: when its key is due, or now if that has passed."""
        due = max(self._time, self._due.pop(key, 0.0))
        self._due[key] = due + 1 / self._weights.get(key, 1.0)
        if len(self._due) > self._most:
            del self._due[next(iter(self._due))]
        return float(floor(due))

    def went(self, key: str, rank: float) -> None:  # noqa: ARG002 - its key has paid when it came
        """Let virtual time go on to what has been sent; it never goes back."""
        self._time = max(self._time, rank)
