"""How many requests an engine works on at once, found out from what it shows: see **The queue** in the theory."""

from math import inf
from typing import Final

PROOF: Final = 8
"""Evidence needed before a slot limit is believed: requests at work, all told, when one had to wait for another's end.
A single time proves little: what came as another ended may have begun then by chance."""

LAPSE: Final = 300.0
"""Seconds after which a limit is believed no more, if nothing has proved it again. A backend that is taken to be full
gets hardly anything, so nothing would ever prove that it isn't."""

_NEARLY: Final = 0.8
"""Share of the most at work so far, from which on one that waits shows that no more can be."""


class Slots:
    """The limit that is believed. `count` is inf where none is known; `told` by whoever launched the engine."""

    def __init__(self, told: int | None) -> None:
        self.count = float(told) if told else inf
        self._told = self.count  # until it is seen to do more
        self._most = told or 0  # that have been at work at once; `count` is as many where it can't do more
        self._evidence = 0
        self._proved_at = -inf  # when a limit was last believed, or the first evidence of it came

    def began(self, number: int, now: float, *, let_in: bool) -> bool:
        """Note that so many are at work, as one begins. Tells whether it had to wait for another's end.

        `let_in`: one ended after this one was due, and nothing has begun in between. If hardly ever more have been at
        work, as many as now are all that there can be; where they are few, not until it has been so repeatedly.
        """
        if number > self._most:
            self._most, self.count, self._told, self._evidence = number, inf, inf, 0
            return False
        if let_in and number >= _NEARLY * self._most:
            if not self._evidence:
                self._proved_at = now  # else what is seen of the others from now on would lapse at once
            self._evidence += number
            if self._evidence >= PROOF:
                self._most, self.count, self._proved_at = number, float(number), now
        elif now - self._proved_at > LAPSE:
            self.count, self._evidence = self._told, 0
        return let_in
