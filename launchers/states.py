"""The life of one supervised process, as a table. Pure: the time is an argument, and the actions are the result.

    STOPPED ──START──▶ STARTING ──READY──▶ RUNNING          EXITED, unasked, is a failure whatever the exit code
       ▲                ▲    │                │
       │       TIMED_OUT│    └────failure─────┤
       │                │                     ▼
       │             BACKOFF ◀─────────────failure ──too often──▶ FATAL
       │
    STOPPING ◀──STOP, or TIMED_OUT while STARTING           FATAL ──START, or WANTED after a rest──▶ STARTING

A process that takes turns with others (see launchers.gpus) is WAITING before each STARTING: it asks for its turn, and
asks again when that may have come (TIMED_OUT). At TURN it is spawned, and the time to start counts from there.

A start that shows PROGRESS gets its whole time to start again, up to `longest_start` times that time in all.

Invariants, which the tests hold against any order of events:

1. There is a process in STARTING, RUNNING and STOPPING, and in no other state. SPAWN follows only where there is
   none, so there are never two.
2. WAITING, STARTING, STOPPING and BACKOFF have a deadline, and TIMED_OUT comes when it has passed; others have none.
   Nothing waits without a bound: a process that survives SIGKILL gets it again.
3. Requests (START, STOP, KILL, WANTED) are legal in every state. START after FATAL tries afresh.
4. An event that can't happen in a state raises IllegalEvent, and changes nothing: records are frozen.

Restarts: the first comes almost at once, as most crashes happen once; then the delay doubles. After a run of
`steady_after` the delays begin afresh. Starts that never became ready are counted: `give_up_after` of them in a row are
FATAL, as is one of a model that can't be started as it is; that lasts until something changes. A person's change (a
reload, another model file) starts it afresh. A request that wants it has it tried once more after a rest, as the cause
may have gone by itself: other programs' memory, a network. Each such try that fails doubles the rest.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from math import inf
from types import MappingProxyType


class State(Enum):
    """The states of a process, with the words of Supervisor, the program.

    STOPPED: nobody wants it. WAITING: it will start when its turn comes. STARTING: spawned, not ready yet.
    RUNNING: ready. BACKOFF: it failed; the next start is at the deadline. STOPPING: told to end, not gone yet.
    FATAL: it failed too often, or in a way that no other try mends.
    """

    STOPPED = "stopped"
    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    BACKOFF = "backoff"
    STOPPING = "stopping"
    FATAL = "fatal"


class Event(Enum):
    """What can happen.

    START, STOP: a person asks, or the router for one. KILL: STOP without the time to end well. TURN: it may start.
    WANTED: a request asks for it. PROGRESS: a start has come further. UNFIT: its model can't be started as it is, so
    that trying again is in vain. TIMED_OUT: the state's deadline has passed.
    """

    START = "start"
    STOP = "stop"
    KILL = "kill"
    TURN = "turn"
    WANTED = "wanted"
    PROGRESS = "progress"
    READY = "ready"
    SPAWN_FAILED = "spawn failed"
    UNFIT = "unfit"
    EXITED = "exited"
    TIMED_OUT = "timed out"


ENDS = frozenset({Event.EXITED, Event.SPAWN_FAILED, Event.UNFIT})
"""Events after which there is no process."""


class Action(Enum):
    """What the supervisor must do.

    ASK: whether it may start now; the answer is TURN, or nothing. SPAWN: start the process, and find out when it is
    ready.
    """

    ASK = "ask"
    SPAWN = "spawn"
    TERMINATE = "terminate"
    KILL = "kill"


class IllegalEventError(Exception):
    """An event that can't happen in this state: a bug in what feeds the machine."""


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """When to try again, and when to stop trying. Times are in seconds.

    `first_delay` is small, as the time without service is this and the engine's own start; each further delay is
    `factor` times the one before. After `steady_after` in RUNNING, the next delay is the first again. `give_up_after`
    counts starts in a row that never became ready. `ask_again` is for WAITING: nobody tells when another program frees
    memory. `first_rest` is for FATAL, until a request may have it tried again: its clients wait for that try in vain.

    `longest_start` bounds a start that shows progress, in `start_timeout`s: an engine that hangs may still leak memory,
    or log another line from time to time. With the usual 10 min these are 2 h, in which 100 GB come over 120 Mbit/s.
    `start_grace` is the time to end well of one that starts: it serves nobody, and some engines hang on SIGTERM then.
    """

    first_delay: float = 0.2
    factor: float = 2.0
    longest_delay: float = 30.0
    steady_after: float = 60.0
    give_up_after: int = 5
    ask_again: float = 2.0
    first_rest: float = 30.0
    longest_rest: float = 600.0
    longest_start: float = 12.0
    start_grace: float = 2.0


@dataclass(frozen=True, slots=True)
class Supervision:
    """All that is known of one process. `step` makes the next one; nothing changes this one.

    `since` is when it came into its state, `deadline` when TIMED_OUT is due. `failures` counts starts in a row that
    never became ready, `delays` the backoffs in a row without a steady run in between. `then` is the state after
    STOPPING: STOPPED, STARTING (if that was asked for) or BACKOFF (if its start took too long). `takes_turns`: it asks
    before it is spawned. `allowed` is the seconds that the last start could take: `start_timeout`, and more as it
    showed progress.
    """

    start_timeout: float
    stop_timeout: float
    policy: RestartPolicy = field(default_factory=RestartPolicy)
    state: State = State.STOPPED
    since: float = 0.0
    deadline: float | None = None
    failures: int = 0
    delays: int = 0
    then: State = State.STOPPED
    takes_turns: bool = False
    allowed: float = 0.0

    @property
    def rested_at(self) -> float:
        """When a request may have it tried again; infinite, unless it was given up."""
        if self.state is not State.FATAL:
            return inf
        policy = self.policy
        rests = min(max(0, self.failures - policy.give_up_after), 32)
        return self.since + min(policy.first_rest * 2.0**rests, policy.longest_rest)


Actions = tuple[Action, ...]
Transition = tuple[Supervision, Actions]


def step(now: Supervision, event: Event, time: float) -> Transition:
    """Give what follows from `event` at `time`: the next record, and the actions in order."""
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
    """Spawn it, or have it wait for its turn."""
    return _ask(now, time) if now.takes_turns else _take_turn(now, time)


def _ask(now: Supervision, time: float) -> Transition:
    return _enter(now, State.WAITING, time, now.policy.ask_again), (Action.ASK,)


def _take_turn(now: Supervision, time: float) -> Transition:
    started = _enter(now, State.STARTING, time, now.start_timeout)
    return replace(started, allowed=now.start_timeout), (Action.SPAWN,)


def _progress(now: Supervision, time: float) -> Transition:
    """Let the time to start count from here, within its bound."""
    allowed = min(time - now.since, (now.policy.longest_start - 1.0) * now.start_timeout) + now.start_timeout
    return replace(now, allowed=allowed, deadline=now.since + allowed), ()


def _spawn_afresh(now: Supervision, time: float) -> Transition:
    return _spawn(replace(now, failures=0, delays=0), time)


def _revive(now: Supervision, time: float) -> Transition:
    """Try once more: the failures so far stay counted, so one more failure is FATAL again."""
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


def _give_up(now: Supervision, time: float) -> Transition:
    return _enter(replace(now, failures=now.failures + 1), State.FATAL, time), ()


def _back_off(now: Supervision, time: float) -> Transition:
    policy = now.policy
    # 32 doublings of any delay are past any longest_delay, and no float overflows on the way.
    delay = min(policy.first_delay * policy.factor ** min(now.delays, 32), policy.longest_delay)
    return replace(_enter(now, State.BACKOFF, time, delay), delays=now.delays + 1), ()


def _give_up_start(now: Supervision, time: float) -> Transition:
    """Kill it: it serves nobody yet, and some engines hang on SIGTERM while they load."""
    return replace(_enter(now, State.STOPPING, time, now.stop_timeout), then=State.BACKOFF), (Action.KILL,)


def _terminate(now: Supervision, time: float) -> Transition:
    return _enter(now, State.STOPPING, time, now.stop_timeout), (Action.TERMINATE,)


def _terminate_start(now: Supervision, time: float) -> Transition:
    return _enter(now, State.STOPPING, time, min(now.stop_timeout, now.policy.start_grace)), (Action.TERMINATE,)


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
        Event.PROGRESS: _stay,
    },
    State.WAITING: {
        Event.START: _stay,
        Event.STOP: _rest,
        Event.KILL: _rest,
        Event.WANTED: _stay,
        Event.PROGRESS: _stay,
        Event.TURN: _take_turn,
        Event.TIMED_OUT: _ask,
    },
    State.STARTING: {
        Event.START: _stay,
        Event.STOP: _terminate_start,
        Event.KILL: _kill,
        Event.WANTED: _stay,
        Event.PROGRESS: _progress,
        Event.READY: _run,
        Event.SPAWN_FAILED: _fail_to_start,
        Event.UNFIT: _give_up,
        Event.EXITED: _fail_to_start,
        Event.TIMED_OUT: _give_up_start,
    },
    State.RUNNING: {
        Event.START: _stay,
        Event.STOP: _terminate,
        Event.KILL: _kill,
        Event.WANTED: _stay,
        Event.PROGRESS: _stay,
        Event.EXITED: _crash,
    },
    State.BACKOFF: {
        Event.START: _spawn_afresh,
        Event.STOP: _rest,
        Event.KILL: _rest,
        Event.WANTED: _stay,
        Event.PROGRESS: _stay,
        Event.TIMED_OUT: _spawn,
    },
    State.STOPPING: {
        Event.START: _then_start,
        Event.STOP: _then_stop,
        Event.KILL: _kill,
        Event.WANTED: _stay,
        Event.PROGRESS: _stay,
        Event.EXITED: _gone,
        Event.TIMED_OUT: _kill_again,
    },
    State.FATAL: {
        Event.START: _spawn_afresh,
        Event.WANTED: _revive,
        Event.PROGRESS: _stay,
        Event.STOP: _rest,
        Event.KILL: _rest,
    },
})  # fmt: skip
"""The legal events of each state, and the move that each makes."""
