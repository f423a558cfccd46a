"""How many requests an engine works on at once, inferred from its first tokens: see **Queue** in the theory."""

from math import inf
from typing import Final

PROOF: Final = 8
"""Evidence needed before we believe a slot limit. Each time that a request had to wait for another's end, the requests
at work then count as evidence. A single time proves little: it may have begun just then by chance."""

LAPSE: Final = 300.0
"""Seconds until a limit is dropped if nothing has proved it again. A backend that looks full gets hardly any requests,
so nothing would ever prove that it isn't full."""

_NEARLY: Final = 0.8
"""Share of the most requests ever at work, from which on a waiting request shows that all slots are taken."""


class Slots:
    """The slot limit that is believed. `count` is inf if none is known; `told` is what its launch says."""

    def __init__(self, told: int | None) -> None:
        self.count = float(told) if told else inf
        # Holds until the engine is seen to do more.
        self._told = self.count
        # The most requests at work at once; once a limit is believed, `count` is the same.
        self._most = told or 0
        self._evidence = 0
        # When a limit was last proved, or when the first evidence of it came.
        self._proved_at = -inf

    def began(self, number: int, now: float, *, let_in: bool) -> bool:
        """Note that a request begins, and that `number` are at work now. Tells whether it had to wait for a slot.

        `let_in`: another request ended after this one was due, and nothing has begun in between. If hardly more than
        `number` have ever been at work, that is evidence for a limit of `number`.
        """
        if number > self._most:
            self._most, self.count, self._told, self._evidence = number, inf, inf, 0
            return False
        if let_in and number >= _NEARLY * self._most:
            if not self._evidence:
                # Else the next evidence would lapse at once.
                self._proved_at = now
            self._evidence += number
            if self._evidence >= PROOF:
                self._most, self.count, self._proved_at = number, float(number), now
        elif now - self._proved_at > LAPSE:
            self.count, self._evidence = self._told, 0
        return let_in
