"""When a machine that sleeps is woken: when the next magic packet is sent, and when it is given up. Pure.

  AWAKE ──unreached──▶ ASLEEP ──wanted──▶ WAKING ──answered──▶ AWAKE
    ▲                                       │ no answer within `timeout`
    └──answered── RESTING ◀─────────────────┘
                     └──wanted, once its rest is over──▶ WAKING

1. Only a request that wants the machine has it woken. Probes and lists of models ask this of nobody.
2. A packet may be lost, and a machine may still be on its way to sleep when the first one comes. So packets are
   repeated: at first after a second, then each time after twice as long, up to `_MOST_PAUSE`.
3. A machine that doesn't wake is left alone for a rest, which doubles with each failure. Whoever asks meanwhile is
   told at once, instead of after another `timeout`.
"""

from collections.abc import Iterable
from enum import Enum
from math import inf

from router.core.catalog import Backend

FIRST_PAUSE = 1.0
"""Seconds between the first two packets."""

_MOST_PAUSE = 10.0
"""Most seconds between two packets: a PC that is still shutting down is asked again soon after."""

FIRST_REST = 30.0
"""Seconds for which a machine that didn't wake is left alone, the first time."""

_MOST_REST = 600.0


class State(Enum):
    """How far a machine is. RESTING: it was called, and didn't come."""

    AWAKE = "awake"
    ASLEEP = "asleep"
    WAKING = "waking"
    RESTING = "resting"


class Do(Enum):
    """What is due."""

    NOTHING = "nothing"
    SEND = "send"
    GIVE_UP = "give up"


class Machine:
    """One machine that can be woken. Times are seconds of the caller's clock.

    `began` is when the latest call began. `took` is how long it took to answer the last time, None if that isn't known.
    """

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self.state = State.AWAKE
        self.began = -inf
        self.took: float | None = None
        self._next = inf
        self._pause = FIRST_PAUSE
        self._rest = FIRST_REST

    @property
    def due_at(self) -> float:
        """When `due` is to be asked next; infinity: never."""
        return min(self._next, self.began + self.timeout) if self.state is State.WAKING else inf

    def unreached(self) -> bool:
        """Note that nothing answers there; tell whether that is news."""
        if self.state is not State.AWAKE:
            return False
        self.state = State.ASLEEP
        return True

    def answered(self, now: float) -> bool:
        """Note that it answers; tell whether it was called and has come."""
        called = self.state is State.WAKING
        if called:
            self.took = now - self.began
        self.state, self._rest = State.AWAKE, FIRST_REST
        return called

    def wanted(self, now: float) -> bool:
        """Have it woken for a request; tell whether it is being woken now."""
        if self.state is State.AWAKE or (self.state is State.RESTING and now < self._next):
            return False
        if self.state is not State.WAKING:
            self.state, self.began, self._next, self._pause = State.WAKING, now, now, FIRST_PAUSE
        return True

    def due(self, now: float) -> Do:
        """Tell what is due now; a packet counts as sent from then on."""
        if now < self.due_at:
            return Do.NOTHING
        if now >= self.began + self.timeout:
            self.state, self._next = State.RESTING, now + self._rest
            self._rest = min(_MOST_REST, 2 * self._rest)
            return Do.GIVE_UP
        self._next = now + self._pause
        self._pause = min(_MOST_PAUSE, 2 * self._pause)
        return Do.SEND

    @property
    def expected_at(self) -> float:
        """When it is expected to answer, by how long it took the last time; infinity: nobody knows."""
        return inf if self.took is None else self.began + self.took


# What those are told that wait for it


def first(backends: Iterable[Backend]) -> Backend | None:
    """Find the one that is expected soonest of those whose machine is being woken; None: there is none."""
    found = [each for each in backends if each.health.asleep and each.health.coming]
    return min(found, key=lambda each: each.health.due, default=None)


def _seconds(backend: Backend, now: float) -> float:
    due = backend.health.due
    return max(0.0, due - now) if due < inf else 0.0


def comment(backend: Backend, now: float) -> bytes:
    """Write that a machine is being woken, for a comment in a stream that waits for it."""
    seconds = _seconds(backend, now)
    return f"waking {backend.name}{f', about {seconds:.0f} s' if seconds >= 1 else ''}".encode()


def told(backend: Backend, now: float) -> dict[str, object]:
    """Describe the same as plain data, as the load of a model is (`core.loads`); `seconds` until it answers."""
    return {
        "backend": backend.name,
        "stage": backend.health.word,
        "share": 0.0,
        "seconds": round(_seconds(backend, now), 1),
        "reason": f"'{backend.name}' {backend.health.reason}.",
    }
