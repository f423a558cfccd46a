"""The states of a backend that loads and unloads by itself, as a table. Pure.

    UNLOADED ──QUEUE──▶ QUEUED ──LOAD──▶ LOADING ──READY──▶ LOADED ──DRAIN──▶ DRAINING
        ▲  ◀──DROP─────────┘                │                 │ ◀──RESUME────────┤
        │                                CANCEL            UNLOAD              UNLOAD
     RELEASE                                └───────┬─────────┴──────────────────┘
        │                                           ▼
    RELEASING ◀──────────────EXIT───────────── UNLOADING      EXIT also ends LOADING, LOADED and DRAINING: a crash
        └──FAIL──▶ FAILED ──REST──▶ UNLOADED

Invariants, which the tests hold against any order of events:

1. Memory is reserved in LOADING, LOADED, DRAINING, UNLOADING and RELEASING, and in no other state.
2. There may be a process in LOADING, LOADED, DRAINING and UNLOADING. Its exit is proved before RELEASING, and the
   device's own figure before the state after that. LOAD is possible in QUEUED alone, so no backend loads twice.
3. Requests are sent in LOADED; in DRAINING only as many as there are leases.
4. An event that can't happen in a state raises IllegalMoveError and changes nothing.
"""

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType


class State(Enum):
    """How far a backend is on its way into memory or out of it.

    QUEUED: it waits for memory. DRAINING: it ends what it has, to make room. UNLOADING: it was told to end, and isn't
    gone yet. RELEASING: it is gone, and the device has not confirmed its memory as free. FAILED: it rests until it may
    be tried again.
    """

    UNLOADED = "unloaded"
    QUEUED = "queued"
    LOADING = "loading"
    LOADED = "loaded"
    DRAINING = "draining"
    UNLOADING = "unloading"
    RELEASING = "releasing"
    FAILED = "failed"


class Event(Enum):
    """What can happen to a backend.

    QUEUE: a request wants it. DROP: none does any more, or it can't be loaded. LOAD: its memory is reserved. READY: it
    is loaded. CANCEL: end a load. DRAIN: make room. RESUME: its memory isn't needed after all. UNLOAD: end it. EXIT:
    its process is gone, asked to or not. RELEASE: its memory is free. FAIL: the same, after a load that failed. REST:
    it may be tried again.
    """

    QUEUE = "queue"
    DROP = "drop"
    LOAD = "load"
    READY = "ready"
    CANCEL = "cancel"
    DRAIN = "drain"
    RESUME = "resume"
    UNLOAD = "unload"
    EXIT = "exit"
    RELEASE = "release"
    FAIL = "fail"
    REST = "rest"


class IllegalMoveError(Exception):
    """An event that can't happen in this state: a bug in what feeds the table."""


_TABLE: Mapping[State, Mapping[Event, State]] = MappingProxyType(
    {
        State.UNLOADED: {Event.QUEUE: State.QUEUED},
        State.QUEUED: {Event.DROP: State.UNLOADED, Event.LOAD: State.LOADING},
        State.LOADING: {Event.READY: State.LOADED, Event.CANCEL: State.UNLOADING, Event.EXIT: State.RELEASING},
        State.LOADED: {Event.DRAIN: State.DRAINING, Event.UNLOAD: State.UNLOADING, Event.EXIT: State.RELEASING},
        State.DRAINING: {Event.RESUME: State.LOADED, Event.UNLOAD: State.UNLOADING, Event.EXIT: State.RELEASING},
        State.UNLOADING: {Event.EXIT: State.RELEASING},
        State.RELEASING: {Event.RELEASE: State.UNLOADED, Event.FAIL: State.FAILED},
        State.FAILED: {Event.REST: State.UNLOADED},
    }
)


def holds_memory(state: State) -> bool:
    """Whether memory is reserved in a state."""
    return not (state is State.UNLOADED or state is State.QUEUED or state is State.FAILED)


def serves(state: State) -> bool:
    """Whether requests are served in a state."""
    return state is State.LOADED or state is State.DRAINING


def leaves(state: State) -> bool:
    """Whether the memory that is reserved in a state is on its way to others."""
    return state is State.UNLOADING or state is State.RELEASING


def move(state: State, event: Event) -> State:
    """Give the state that follows; raises IllegalMoveError where none does."""
    follows = _TABLE[state].get(event)
    if follows is None:
        raise IllegalMoveError(f"'{event.value}' can't happen to a backend that is {state.value}")
    return follows
