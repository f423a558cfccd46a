"""The latest requests that have ended, as they are remembered for whoever asks. Pure: time is an argument."""

from collections import deque
from typing import Final

from router.core.record import Record

MOST_KEPT: Final = 2000
"""Ended requests that are remembered: 3 KB each, of which 2 are the end of its answer; up to 11 of 128 candidates."""


class Latest:
    """Their records, each with the Unix time of its end; `last` is the number of the last one.

    The numbers go on from one start to the next, so that none means two requests: they begin at the Unix time `now`, in
    milliseconds.
    """

    def __init__(self, now: float, most: int = MOST_KEPT) -> None:
        self.kept: Final[deque[tuple[float, Record]]] = deque(maxlen=most)
        self.last = int(now * 1000)

    def add(self, record: Record, now: float) -> None:
        """Remember one that ends at this Unix time."""
        self.last += 1
        self.kept.append((now, record))
