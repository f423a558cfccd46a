"""What the caller is to do after an event. Plain records, in the order in which they are to be done."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final

from router.core.errors import UnavailableError
from router.core.memory.devices import Footprint
from router.core.memory.footprints import Learned, Placement


@dataclass(frozen=True, slots=True)
class Offer:
    """A backend may be sent requests: those that wait there, or others. Tell `sent` for each, as `may_go` allows."""

    backend: str


@dataclass(frozen=True, slots=True)
class Drain:
    """A backend makes room: it takes only as many requests as there are leases left. `may_go` counts them."""

    backend: str


@dataclass(frozen=True, slots=True)
class Resume:
    """A backend that drained goes on: its memory isn't needed after all."""

    backend: str


@dataclass(frozen=True, slots=True)
class Load:
    """Start the backend's engine there; `reserved` is what was reserved for it, `attempt` 2 after a lack of memory."""

    backend: str
    placement: Placement
    reserved: Footprint
    attempt: int = 1


MAKES_ROOM: Final = "others need its memory"
"""The reason of an eviction."""


@dataclass(frozen=True, slots=True)
class Unload:
    """End an idle engine; tell `exited` when its last process is gone. `reason` is for the log, and for counts."""

    backend: str
    reason: str


@dataclass(frozen=True, slots=True)
class Cancel:
    """End an engine that is still loading; tell `exited` when its last process is gone."""

    backend: str
    reason: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """Tell a waiting request's client this, or try another backend."""

    backend: str
    request: Hashable
    error: UnavailableError


@dataclass(frozen=True, slots=True)
class Remember:
    """Store what was learned, for the next run, and tell the log if a lack of memory has raised it.

    `load_seconds` is what a load takes, measured or guessed: the next run's `Loadable.load_seconds`.
    """

    key: str
    learned: Learned
    load_seconds: float


Action = Offer | Drain | Resume | Load | Unload | Cancel | Refuse | Remember

Actions = Sequence[Action]

NOTHING: Actions = ()
"""There is nothing to do. Nearly all requests get this one."""
