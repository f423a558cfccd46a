"""What is known of one backend that loads and unloads by itself. Pure records, which `Residency` alone writes."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from math import ceil, inf

from router.core.memory.footprints import Placement
from router.core.memory.states import Event, State, holds_memory, leaves, move, serves
from router.core.memory.wanting import IdleGaps, Mean

FOREVER = inf
"""As a `keep_alive`: never unloaded for being idle. Others may still need the memory."""

LEASE_TIMEOUT = 10.0
"""Seconds in which a backend has nothing in flight, until its leases lapse: those who hold them can't be sent there."""


@dataclass(frozen=True, slots=True)
class Loadable:
    """A backend as router.yaml has it. Times are in seconds.

    `placements`: where it may be loaded; the first that fits, else the one that evicts least. A placement that is worse
    than another (part of the layers on the CPU) belongs here only if the better one can never fit.
    """

    name: str
    placements: tuple[Placement, ...]
    slots: int = 4
    """Requests that its engine serves at once; no more are sent while others wait for memory."""
    pinned: bool = False
    unload_after: float = FOREVER
    """Seconds of idle time."""
    start_timeout: float = 600.0
    """Seconds without progress."""
    load_seconds: float = 10.0
    """Until it is measured."""
    service_seconds: float = 2.0
    """For one request, until it is measured."""
    title: str = ""
    """The name that people know it by, where that isn't `name`."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How memory is shared over time; seconds where nothing else is said."""

    turn: float = 4.0
    """How many swaps a turn lasts: swapping takes 1 / (1 + turn) of the time, 20%, at most."""
    max_wait: float = 120.0
    """No request is overtaken for longer."""
    patience: float = 1.0
    """A backend in use drains for a request that has waited this many times what reloading the backend costs."""
    release: float = 2.0
    """An engine's end and its memory's release, until these are measured."""
    first_rest: float = 5.0
    """After a load that failed."""
    longest_rest: float = 600.0


class Waiting:
    """A request that waits for a backend. `entered` is when it came."""

    def __init__(self, request: Hashable, key: str, rank: float, entered: float, keep_alive: float | None) -> None:
        self.request = request
        self.key = key
        self.rank = rank
        self.entered = entered
        self.keep_alive = keep_alive


class Turn:
    """A backend's time in memory while others want it: deficit round robin, in seconds.

    What a turn was cut short by is added to the next one, and what it went over is taken off, up to a whole turn
    (`carried`). Only backends that somebody still waits for carry anything, as in every deficit round robin.
    """

    def __init__(self) -> None:
        self.began = 0.0
        self.ends = 0.0
        self.carried = 0.0
        self.joined = 0.0  # when it began to wait for its turn

    def begin(self, now: float, length: float) -> None:
        """Begin a turn of this length, and what it is owed."""
        self.began = now
        self.ends = now + max(0.0, length + self.carried)
        self.carried = 0.0

    def end(self, now: float, length: float, wanted_since: float) -> None:
        """End it, for somebody who wanted the memory since then. Nobody is charged for time that nobody wanted."""
        over = max(0.0, now - max(self.ends, wanted_since))
        short = max(0.0, self.ends - now)
        self.carried = max(-length, min(length, short - over))


class Load:
    """A load under way: what it was given and how far it is. `share` is 0 to 1."""

    def __init__(self, placement: Placement, now: float) -> None:
        self.placement = placement
        self.began = now
        self.progressed = now
        self.share = 0.0

    def remaining(self, expected: float, now: float) -> float:
        """Estimate the seconds it still takes, by its share if it has told one, else by what loads took before."""
        taken = now - self.began
        by_share = taken / self.share - taken if self.share else 0.0
        return max(by_share, expected - taken, 0.0)


@dataclass
class Costs:
    """What a backend costs, in seconds: to load, to end, and per request."""

    load: Mean
    unload: Mean
    service: Mean

    def swap(self) -> float:
        """Seconds to put one in another's place."""
        return self.load.value + self.unload.value


@dataclass
class Failures:
    """Loads that failed: the `reason` of the latest, how many in a row, and what follows when its memory is free.

    It rests `until` then. `rests`: it is FAILED when its memory is free. `retried`: the load under way is a second try,
    with a raised footprint.
    """

    reason: str = ""
    count: int = 0
    until: float = 0.0
    rests: bool = False
    retried: bool = False


@dataclass
class Wish:
    """What people asked for by name: that it be loaded, whether others may be evicted for it, that it be unloaded."""

    load: bool = False
    evict: bool = False
    unload: bool = False
    remove: bool = False


class Resident:
    """A backend, loaded or not."""

    def __init__(self, loadable: Loadable, policy: Policy, now: float) -> None:
        self.loadable = loadable
        self.state = State.UNLOADED
        # In the order of their arrival.
        self.waiting: dict[Hashable, Waiting] = {}
        # When each was sent.
        self.in_flight: dict[Hashable, float] = {}
        # Of those that wait, those that caused its load, in turn: it stays loaded until they were served.
        self.leases: dict[Hashable, Waiting] = {}
        # Whether it might be sent requests when that was last looked at.
        self.is_open = False
        # Ever: before that, no gap is counted.
        self.was_wanted = False
        self.idle_since = now
        # Since when nothing is in flight.
        self.quiet_since = now
        # When it was told to end.
        self.left_at = 0.0
        # Of the latest request.
        self.keep_alive: float | None = None
        self.gaps = IdleGaps()
        self.turn = Turn()
        self.load: Load | None = None
        # Where it was loaded latest.
        self.placement: Placement | None = None
        self.failures = Failures()
        self.wish = Wish()
        self.costs = Costs(Mean(loadable.load_seconds), Mean(policy.release), Mean(loadable.service_seconds))

    def __repr__(self) -> str:
        return f"<{self.name} {self.state.value}, {len(self.waiting)} wait, {len(self.in_flight)} in flight>"

    @property
    def name(self) -> str:
        """The backend's name."""
        return self.loadable.name

    def step(self, event: Event) -> None:
        """Make a move of the table; an illegal one raises IllegalMoveError and changes nothing."""
        self.state = move(self.state, event)

    @property
    def title(self) -> str:
        """The name that people know it by."""
        return self.loadable.title or self.loadable.name

    @property
    def is_idle(self) -> bool:
        """Whether nothing is in flight, and nobody who waits holds a lease."""
        return not self.in_flight and not self.leases

    @property
    def is_unused(self) -> bool:
        """Whether nobody at all waits for it or is served."""
        return not self.in_flight and not self.waiting

    @property
    def can_leave(self) -> bool:
        """Whether it is loaded and could be told to end, once it is idle."""
        return serves(self.state) and not self.loadable.pinned

    @property
    def holds_memory(self) -> bool:
        """Whether memory is reserved for it."""
        return holds_memory(self.state)

    @property
    def serves(self) -> bool:
        """Whether it is loaded."""
        return serves(self.state)

    @property
    def leaves(self) -> bool:
        """Whether its memory is on its way to others."""
        return leaves(self.state)

    def idle_for(self, now: float) -> float:
        """Seconds since it was last used; 0 while it is."""
        return now - self.idle_since if self.is_unused else 0.0

    def keeps_for(self) -> float:
        """Seconds of idle time after which it is unloaded."""
        if self.loadable.pinned:
            return inf
        return self.loadable.unload_after if self.keep_alive is None else self.keep_alive

    def expires(self) -> float:
        """When it has been idle for long enough to be unloaded."""
        return self.idle_since + self.keeps_for()

    def oldest(self) -> float:
        """When the request came that has waited longest; never, where none waits."""
        return next(iter(self.waiting.values())).entered if self.waiting else inf

    def first(self) -> Waiting | None:
        """Find the request that goes first."""
        return min(self.waiting.values(), key=by_rank) if self.waiting else None

    def lapses_at(self) -> float:
        """When leases that nobody makes use of lapse; never, where something is in flight."""
        return self.quiet_since + LEASE_TIMEOUT if self.leases and not self.in_flight else inf

    def batch(self, turn: float) -> int:
        """Tell how many requests a turn serves: so many of those that cause a load hold a lease on it."""
        return max(self.loadable.slots, ceil(self.loadable.slots * turn / max(self.costs.service.value, 0.001)))


def by_rank(waiting: Waiting) -> float:
    """Sort requests by who goes first; those of the same rank stay in the order of their arrival."""
    return waiting.rank


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request that waits stands, and why.

    `ahead`: requests of its backend that go before it. `models_ahead`: backends that are loaded before its own.
    `share`: how much of the load under way is done, 0 to 1. `seconds`: expected until it is sent.
    """

    stage: State
    ahead: int
    models_ahead: int
    share: float
    seconds: float
    reason: str = field(default="")
