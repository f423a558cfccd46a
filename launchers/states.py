"""The life of one supervised process, as a table. Pure: the time is passed in, and what to do is handed back.

    STOPPED ──START──▶ STARTING ──READY──▶ RUNNING          EXITED, unasked, is a failure whatever the exit code
       ▲                ▲    │                │
       │       TIMED_OUT│    └────failure─────┤
       │                │                     ▼
       │             BACKOFF ◀─────────────failure ──too often──▶ FATAL
       │
    STOPPING ◀──STOP, or TIMED_OUT while STARTING           FATAL ──START, or WANTED after a rest──▶ STARTING

One that takes turns with others (see launchers.gpus) is WAITING before each STARTING: it asks for its turn, and again
when that may have come (TIMED_OUT); TURN has it spawned. The time to start counts from there.

Invariants, which the tests hold against any order of events:

1. There is a process in STARTING, RUNNING and STOPPING, and in no other state. SPAWN is asked for only where
   there is none, so there are never two.
2. WAITING, STARTING, STOPPING and BACKOFF have a deadline, and TIMED_OUT says that it has passed; others have none.
   Nothing waits without a bound: a process that survives SIGKILL gets it again.
3. What is asked for (START, STOP, KILL, WANTED) is legal in every state. START after FATAL tries afresh.
4. An event that can't happen in a state raises IllegalEvent, and changes nothing: records are frozen.

Restarts: the first comes almost at once, for most crashes are one of a kind, then the delay doubles. A process
that served for `steady_after` has earned a fresh start. Starts that never became ready are counted, and
`give_up_after` of them in a row are FATAL: what fails like that waits for something to change. What a person does
(a reload, another model file) starts it afresh; a request that wants it has it tried once more after a rest, as what
was wrong may have gone by itself: other programs' memory, a network. Each such try that fails doubles the rest.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from math import inf
from types import MappingProxyType


class State(Enum):
    """Where a process is in its life; the words are those of Supervisor, the program."""

    STOPPED = "stopped"  # nobody wants it
    WAITING = "waiting"  # to be started, when it is its turn
    STARTING = "starting"  # spawned, not ready yet
    RUNNING = "running"  # ready
    BACKOFF = "backoff"  # it failed; the next start is at the deadline
    STOPPING = "stopping"  # told to end, not gone yet
    FATAL = "fatal"  # it failed too often


class Event(Enum):
    """What can happen."""

    START = "start"  # asked by a person, or by the router for one
    STOP = "stop"
    KILL = "kill"  # STOP, without the time to end well
    TURN = "turn"  # it may start
    WANTED = "wanted"  # a request asks for it
    READY = "ready"
    SPAWN_FAILED = "spawn failed"
    EXITED = "exited"
    TIMED_OUT = "timed out"  # the state's deadline has passed


class Action(Enum):
    """What the supervisor is to do."""

    ASK = "ask"  # whether it may start now; the answer is TURN, or none
    SPAWN = "spawn"  # start the process, and watch for its being ready
    TERMINATE = "terminate"
    KILL = "kill"


class IllegalEventError(Exception):
    """An event that can't happen in this state: a bug in what feeds the machine."""


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """When to try again, in seconds, and when to stop trying."""

    first_delay: float = 0.2  # small: from a crash to serving again takes this and the engine's own start
    factor: float = 2.0
    longest_delay: float = 30.0
    steady_after: float = 60.0  # of RUNNING: the next delay is the first again
    give_up_after: int = 5  # starts in a row that never became ready
    ask_again: float = 2.0  # of WAITING: nobody tells when another program has given memory back
    first_rest: float = 30.0  # of FATAL, until a request has it tried again: its clients wait for that in vain
    longest_rest: float = 600.0


@dataclass(frozen=True, slots=True)
class Supervision:
    """All that is known of one process. `step` makes the next one; nothing changes this one."""

    start_timeout: float
    stop_timeout: float
    policy: RestartPolicy = field(default_factory=RestartPolicy)
    state: State = State.STOPPED
    since: float = 0.0  # when it came into this state
    deadline: float | None = None  # when TIMED_OUT is due
    failures: int = 0  # starts in a row that never became ready
    delays: int = 0  # backoffs in a row without a steady run in between
    then: State = State.STOPPED  # of STOPPING: STOPPED, STARTING (asked to) or BACKOFF (its start took too long)
    takes_turns: bool = False  # whether it asks before it is spawned

    @property
    def rested_at(self) -> float:
        """When a request may have it tried again; never, where nobody gave it up."""
        if self.state is not State.FATAL:
            return inf
        policy = self.policy
        rests = min(max(0, self.failures - policy.give_up_after), 32)
        return self.since + min(policy.first_rest * 2.0**rests, policy.longest_rest)


Actions = tuple[Action, ...]
Transition = tuple[Supervision, Actions]


def step(now: Supervision, event: Event, time: float) -> Transition:
    """What follows from `event` at `time`: the next record, and what to do in order."""
    move = TABLE[now.state].get(event)
    if move is None:
        raise IllegalEventError(f"{event.name} can't happen in {now.state.name}")
    return move(now, time)


# The moves. Each is one arrow of the picture above.


def _enter(now: Supervision, state: State, time: float, lasting: float | None = None) -> Supervision:
    deadline = None if lasting is None else time + lasting
    return replace(now, state=state, since=time, deadline=deadline, then=State.STOPPED)


def _stay(now: Supervision, _: float) -> Transition:
    return now, ()


def _spawn(now: Supervision, time: float) -> Transition:
    """Spawn it, or have it wait for its turn to be."""
    return _ask(now, time) if now.takes_turns else _take_turn(now, time)


def _ask(now: Supervision, time: float) -> Transition:
    return _enter(now, State.WAITING, time, now.policy.ask_again), (Action.ASK,)


def _take_turn(now: Supervision, time: float) -> Transition:
    return _enter(now, State.STARTING, time, now.start_timeout), (Action.SPAWN,)


def _spawn_afresh(now: Supervision, time: float) -> Transition:
    return _spawn(replace(now, failures=0, delays=0), time)


def _revive(now: Supervision, time: float) -> Transition:
    """Try once more: the failures so far stay counted, so that one more is the last."""
    return _spawn(now, time) if time >= now.rested_at else (now, ())


def _run(now: Supervision, time: float) -> Transition:
    return replace(_enter(now, State.RUNNING, time), failures=0), ()


def _crash(now: Supervision, time: float) -> Transition:
    steady = time - now.since >= now.policy.steady_after
    return _back_off(replace(now, delays=0) if steady else now, time)


def _fail_to_start(now: Supervision, time: float) -> Transition:
    failed = replace(now, failures=now.failures + 1)
    if failed.failures >= now.policy.give_up_after:
        return _enter(failed, State.FATAL, time), ()
    return _back_off(failed, time)


def _back_off(now: Supervision, time: float) -> Transition:
    policy = now.policy
    # 32 doublings of any delay are past any longest_delay, and no float overflows on the way.
    delay = min(policy.first_delay * policy.factor ** min(now.delays, 32), policy.longest_delay)
    return replace(_enter(now, State.BACKOFF, time, delay), delays=now.delays + 1), ()


def _give_up_start(now: Supervision, time: float) -> Transition:
    """It serves nobody, so there is nothing to end well; some engines hang on SIGTERM while they load."""
    return replace(_enter(now, State.STOPPING, time, now.stop_timeout), then=State.BACKOFF), (Action.KILL,)


def _terminate(now: Supervision, time: float) -> Transition:
    return _enter(now, State.STOPPING, time, now.stop_timeout), (Action.TERMINATE,)


def _kill(now: Supervision, time: float) -> Transition:
    return _enter(now, State.STOPPING, time, now.stop_timeout), (Action.KILL,)


def _kill_again(now: Supervision, time: float) -> Transition:
    return replace(now, deadline=time + now.stop_timeout), (Action.KILL,)


def _then_start(now: Supervision, _: float) -> Transition:
    return replace(now, then=State.STARTING), ()


def _then_stop(now: Supervision, _: float) -> Transition:
    return replace(now, then=State.STOPPED), ()


def _gone(now: Supervision, time: float) -> Transition:
    if now.then is State.BACKOFF:
        return _fail_to_start(now, time)
    if now.then is State.STARTING:
        return _spawn_afresh(now, time)
    return _rest(now, time)


def _rest(now: Supervision, time: float) -> Transition:
    return _enter(replace(now, failures=0, delays=0), State.STOPPED, time), ()


Move = Callable[[Supervision, float], Transition]

TABLE: Mapping[State, Mapping[Event, Move]] = MappingProxyType({
    State.STOPPED: {
        Event.START: _spawn_afresh,
        Event.STOP: _stay,
        Event.KILL: _stay,
        Event.WANTED: _stay,
    },
    State.WAITING: {
        Event.START: _stay,
        Event.STOP: _rest,
        Event.KILL: _rest,
        Event.WANTED: _stay,
        Event.TURN: _take_turn,
        Event.TIMED_OUT: _ask,
    },
    State.STARTING: {
        Event.START: _stay,
        Event.STOP: _terminate,
        Event.KILL: _kill,
        Event.WANTED: _stay,
        Event.READY: _run,
        Event.SPAWN_FAILED: _fail_to_start,
        Event.EXITED: _fail_to_start,
        Event.TIMED_OUT: _give_up_start,
    },
    State.RUNNING: {
        Event.START: _stay,
        Event.STOP: _terminate,
        Event.KILL: _kill,
        Event.WANTED: _stay,
        Event.EXITED: _crash,
    },
    State.BACKOFF: {
        Event.START: _spawn_afresh,
        Event.STOP: _rest,
        Event.KILL: _rest,
        Event.WANTED: _stay,
        Event.TIMED_OUT: _spawn,
    },
    State.STOPPING: {
        Event.START: _then_start,
        Event.STOP: _then_stop,
        Event.KILL: _kill,
        Event.WANTED: _stay,
        Event.EXITED: _gone,
        Event.TIMED_OUT: _kill_again,
    },
    State.FATAL: {
        Event.START: _spawn_afresh,
        Event.WANTED: _revive,
        Event.STOP: _rest,
        Event.KILL: _rest,
    },
})  # fmt: skip
"""The legal events of each state, and the move that each makes."""
