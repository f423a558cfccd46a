"""The machine, each move by itself; then any order of events against the invariants of its docstring."""

from dataclasses import replace

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from launchers.states import (
    ENDS,
    TABLE,
    Action,
    Event,
    IllegalEventError,
    RestartPolicy,
    State,
    Supervision,
    step,
)

POLICY = RestartPolicy(first_delay=1, factor=2, longest_delay=5, steady_after=60, give_up_after=3)
FRESH = Supervision(start_timeout=100, stop_timeout=10, policy=POLICY)


def after(*events, start=FRESH, apart=1.0):
    """The record and the last actions after `events`, the first of them at time 0."""
    now = start
    actions: tuple[Action, ...] = ()
    for number, event in enumerate(events):
        now, actions = step(now, event, number * apart)
    return now, actions


def test_a_start_spawns_and_has_a_deadline():
    now, actions = after(Event.START)
    assert (now.state, now.deadline, actions) == (State.STARTING, 100, (Action.SPAWN,))


def test_ready_runs_without_a_deadline():
    now, actions = after(Event.START, Event.READY)
    assert (now.state, now.deadline, now.since, actions) == (State.RUNNING, None, 1, ())


@pytest.mark.parametrize("failure", [Event.EXITED, Event.SPAWN_FAILED])
def test_a_start_that_fails_is_tried_again_after_a_delay(failure):
    now, actions = after(Event.START, failure)
    assert (now.state, now.deadline, now.failures, actions) == (State.BACKOFF, 2, 1, ())
    now, actions = step(now, Event.TIMED_OUT, 2)
    assert (now.state, actions) == (State.STARTING, (Action.SPAWN,))


def test_starts_that_keep_failing_are_fatal():
    now, actions = after(*[Event.START, Event.EXITED], *[Event.TIMED_OUT, Event.EXITED] * 2)
    assert (now.state, now.failures, now.deadline, actions) == (State.FATAL, 3, None, ())


def test_a_model_that_can_not_be_started_is_fatal_at_once():
    """Until it changes, or, as files come by themselves, a request wants it after a rest."""
    now, actions = after(Event.START, Event.UNFIT)
    assert (now.state, now.failures, now.deadline, actions) == (State.FATAL, 1, None, ())
    assert step(now, Event.WANTED, now.rested_at - 1)[1] == ()
    assert step(now, Event.WANTED, now.rested_at)[0].state is State.STARTING
    assert step(now, Event.START, 2)[0].failures == 0


@pytest.fixture
def fatal():
    """One that gave up at second 5."""
    now, _ = after(*[Event.START, Event.EXITED], *[Event.TIMED_OUT, Event.EXITED] * 2)
    assert (now.state, now.since) == (State.FATAL, 5)
    return now


def test_a_request_has_it_tried_again_after_a_rest(fatal):
    assert fatal.rested_at == 5 + POLICY.first_rest
    assert step(fatal, Event.WANTED, 5 + POLICY.first_rest - 0.1) == (fatal, ())
    now, actions = step(fatal, Event.WANTED, 5 + POLICY.first_rest)
    assert (now.state, now.failures, actions) == (State.STARTING, 3, (Action.SPAWN,))


def test_one_try_is_all_that_a_request_gets_and_the_rest_doubles_up_to_the_longest(fatal):
    rests, now = [], fatal
    for _ in range(7):
        rests.append(now.rested_at - now.since)
        now, _ = step(now, Event.WANTED, now.rested_at)
        now, actions = step(now, Event.EXITED, now.since)
        assert (now.state, actions) == (State.FATAL, ())
    assert rests == [30, 60, 120, 240, 480, 600, 600]


def test_rests_without_end_overflow_nothing():
    assert Supervision(1, 1, POLICY, State.FATAL, failures=10**6).rested_at == POLICY.longest_rest


def test_who_serves_again_after_a_request_has_all_tries_again(fatal):
    now, _ = step(fatal, Event.WANTED, fatal.rested_at)
    assert step(now, Event.READY, 100)[0].failures == 0


@pytest.mark.parametrize("state", [state for state in State if state is not State.FATAL])
def test_a_request_changes_nothing_where_nobody_gave_up(state):
    now = Supervision(1, 1, state=state, deadline=3)
    assert now.rested_at == float("inf")
    assert step(now, Event.WANTED, 5) == (now, ())


def test_a_start_that_takes_too_long_is_killed_and_counts_as_failed():
    now, actions = after(Event.START, Event.TIMED_OUT)
    assert (now.state, now.deadline, actions) == (State.STOPPING, 11, (Action.KILL,))
    now, actions = step(now, Event.EXITED, 2)
    assert (now.state, now.failures, actions) == (State.BACKOFF, 1, ())


@pytest.mark.parametrize(
    ("times", "deadline"),
    [
        ([], 100),
        ([30], 130),
        ([30, 125], 225),
        ([30, 30], 130),
        ([*range(90, 1100, 90)], 1180),
        ([*range(90, 1200, 90)], 1200),
    ],
    ids=["none", "one", "two", "the same twice", "many", "up to the bound"],
)
def test_a_start_that_shows_progress_has_its_whole_time_again_within_a_bound(times, deadline):
    now, _ = after(Event.START)
    for time in times:
        now, actions = step(now, Event.PROGRESS, time)
        assert actions == ()
        assert (now.state, now.since) == (State.STARTING, 0)
    assert (now.deadline, now.allowed) == (deadline, deadline)
    now, _ = step(now, Event.TIMED_OUT, deadline)
    assert (now.state, now.allowed) == (State.STOPPING, deadline)


def test_the_next_start_has_as_long_as_any_other():
    now, _ = after(Event.START, Event.PROGRESS, Event.EXITED, Event.TIMED_OUT)
    assert (now.state, now.deadline, now.allowed) == (State.STARTING, 103, 100)


@pytest.mark.parametrize("state", [state for state in State if state is not State.STARTING])
def test_progress_changes_nothing_where_nothing_starts(state):
    """It may have been seen a moment before."""
    now = Supervision(1, 1, state=state, deadline=3)
    assert step(now, Event.PROGRESS, 5) == (now, ())


def test_a_crash_is_no_failed_start_and_the_first_restart_comes_soonest():
    now, _ = after(Event.START, Event.READY, Event.EXITED)
    assert (now.state, now.failures, now.deadline) == (State.BACKOFF, 0, 2 + POLICY.first_delay)


def test_the_default_restart_after_a_crash_takes_less_than_half_a_second():
    assert RestartPolicy().first_delay < 0.5


def test_delays_double_up_to_the_longest_while_runs_are_short():
    now, delays = after(Event.START)[0], []
    for _ in range(5):
        now, _ = step(step(now, Event.READY, 0)[0], Event.EXITED, 0)
        delays.append(now.deadline)
        now, _ = step(now, Event.TIMED_OUT, 0)
    assert delays == [1, 2, 4, 5, 5]


def test_crashes_without_end_overflow_nothing():
    now, _ = step(Supervision(1, 1, POLICY, State.RUNNING, delays=10**6), Event.EXITED, 0)
    assert now.deadline == POLICY.longest_delay


def test_a_steady_run_earns_the_first_delay_again():
    tired = Supervision(1, 1, POLICY, State.RUNNING, since=0, delays=7)
    assert step(tired, Event.EXITED, 59.9)[0].deadline == pytest.approx(59.9 + POLICY.longest_delay)
    assert step(tired, Event.EXITED, 60)[0].deadline == 60 + POLICY.first_delay


def test_ready_forgets_failed_starts():
    now, _ = after(Event.START, Event.EXITED, Event.TIMED_OUT, Event.READY)
    assert now.failures == 0


@pytest.mark.parametrize("events", [[Event.START], [Event.START, Event.READY]])
@pytest.mark.parametrize(("ask", "action"), [(Event.STOP, Action.TERMINATE), (Event.KILL, Action.KILL)])
def test_what_lives_is_told_to_end(events, ask, action):
    now, actions = after(*events, ask)
    within = POLICY.start_grace if events == [Event.START] and ask is Event.STOP else 10
    assert (now.state, now.deadline, actions) == (State.STOPPING, len(events) + within, (action,))
    assert step(now, Event.EXITED, 5)[0].state is State.STOPPED


def test_a_start_has_no_longer_to_end_than_one_that_runs():
    now, _ = after(Event.START, Event.STOP, start=replace(FRESH, stop_timeout=0.5))
    assert now.deadline == 1.5


def test_what_does_not_end_is_killed_again_and_again():
    now, actions = after(Event.START, Event.READY, Event.STOP, Event.TIMED_OUT)
    assert (now.state, now.deadline, actions) == (State.STOPPING, 13, (Action.KILL,))
    assert step(now, Event.TIMED_OUT, 12)[1] == (Action.KILL,)


def test_a_start_while_stopping_starts_when_it_is_gone():
    now, actions = after(Event.START, Event.READY, Event.STOP, Event.START)
    assert (now.state, actions) == (State.STOPPING, ())
    now, actions = step(now, Event.EXITED, 5)
    assert (now.state, actions) == (State.STARTING, (Action.SPAWN,))


def test_the_last_word_counts_while_stopping():
    now, _ = after(Event.START, Event.STOP, Event.START, Event.STOP, Event.EXITED)
    assert now.state is State.STOPPED


def test_a_stop_is_not_forgotten_when_the_kill_repeats():
    now, _ = after(Event.START, Event.TIMED_OUT, Event.STOP, Event.TIMED_OUT, Event.EXITED)
    assert now.state is State.STOPPED


@pytest.mark.parametrize("ask", [Event.STOP, Event.KILL])
@pytest.mark.parametrize("state", [State.STOPPED, State.WAITING, State.BACKOFF, State.FATAL])
def test_what_does_not_live_stops_at_once(state, ask):
    now, actions = step(Supervision(1, 1, state=state), ask, 5)
    assert (now.state, now.deadline, actions) == (State.STOPPED, None, ())


@pytest.mark.parametrize("state", [State.STOPPED, State.BACKOFF, State.FATAL])
def test_a_start_that_was_asked_for_is_a_fresh_one(state):
    now, actions = step(Supervision(1, 1, state=state, failures=4, delays=9), Event.START, 5)
    assert (now.state, now.failures, now.delays, actions) == (State.STARTING, 0, 0, (Action.SPAWN,))


@pytest.mark.parametrize("state", [State.WAITING, State.STARTING, State.RUNNING])
def test_a_start_of_what_runs_changes_nothing(state):
    now = Supervision(1, 1, state=state, deadline=3)
    assert step(now, Event.START, 5) == (now, ())


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_every_event_is_legal_or_raises_and_changes_nothing(state, event):
    now = Supervision(1, 1, state=state)
    before = repr(now)
    if event in TABLE[state]:
        step(now, event, 1)
    else:
        with pytest.raises(IllegalEventError, match=f"{event.name} can't happen in {state.name}"):
            step(now, event, 1)
    assert repr(now) == before


def test_what_is_asked_is_legal_everywhere():
    assert all({Event.START, Event.STOP, Event.KILL, Event.WANTED} <= set(moves) for moves in TABLE.values())


TAKES_TURNS = Supervision(start_timeout=100, stop_timeout=10, policy=POLICY, takes_turns=True)


def test_one_that_takes_turns_asks_before_it_is_spawned_and_its_time_counts_from_there():
    now, actions = after(Event.START, start=TAKES_TURNS)
    assert (now.state, now.deadline, actions) == (State.WAITING, POLICY.ask_again, (Action.ASK,))
    now, actions = step(now, Event.TIMED_OUT, 50)
    assert (now.state, now.deadline, actions) == (State.WAITING, 50 + POLICY.ask_again, (Action.ASK,))
    now, actions = step(now, Event.TURN, 1000)
    assert (now.state, now.deadline, actions) == (State.STARTING, 1100, (Action.SPAWN,))


def test_it_waits_again_before_each_restart_and_waiting_is_no_failed_start():
    now, actions = after(Event.START, Event.TURN, Event.READY, Event.EXITED, Event.TIMED_OUT, start=TAKES_TURNS)
    assert (now.state, now.failures, actions) == (State.WAITING, 0, (Action.ASK,))
    now, actions = after(Event.START, Event.TURN, Event.STOP, Event.START, Event.EXITED, start=TAKES_TURNS)
    assert (now.state, actions) == (State.WAITING, (Action.ASK,))
    now, actions = after(Event.START, Event.TURN, Event.EXITED, Event.TIMED_OUT, start=TAKES_TURNS)
    assert (now.state, now.failures, actions) == (State.WAITING, 1, (Action.ASK,))


class AnyLife(RuleBasedStateMachine):
    """A world with at most one process, driven by any legal events."""

    start = FRESH

    def __init__(self):
        super().__init__()
        self.now = self.start
        self.time = 0.0
        self.alive = False
        self.killed = False
        self.unfit = False

    def happen(self, event):
        """Make a step, and do its actions in this world."""
        if event in ENDS:
            self.alive, self.unfit = False, event is Event.UNFIT
        self.now, actions = step(self.now, event, self.time)
        for action in actions:
            if action is Action.ASK:
                assert not self.alive, "it runs already"
            elif action is Action.SPAWN:
                assert not self.alive, "two processes"
                self.alive, self.killed = True, False
            else:
                assert self.alive, "a signal to nobody"
                self.killed |= action is Action.KILL

    @rule(seconds=st.floats(0, 200))
    def pass_time(self, seconds):
        """Time passes without an event."""
        self.time += seconds

    @rule(event=st.sampled_from([Event.START, Event.STOP, Event.KILL, Event.WANTED, Event.PROGRESS]))
    def ask(self, event):
        """A person asks, or a request."""
        self.happen(event)

    @precondition(lambda self: self.alive)
    @rule()
    def exit(self):
        """The process ends."""
        self.happen(Event.EXITED)

    @precondition(lambda self: self.now.state is State.STARTING)
    @rule(event=st.sampled_from([Event.READY, Event.SPAWN_FAILED, Event.UNFIT]))
    def starting(self, event):
        """A start comes to something."""
        self.happen(event)

    @precondition(lambda self: self.now.state is State.WAITING)
    @rule()
    def turn(self):
        """Its turn comes."""
        self.happen(Event.TURN)

    @precondition(lambda self: self.now.deadline is not None)
    @rule()
    def time_out(self):
        """The deadline passes."""
        assert self.now.deadline is not None
        self.time = max(self.time, self.now.deadline)
        self.happen(Event.TIMED_OUT)
        if self.now.state is State.STOPPING:
            assert self.killed, "out of time, and still not killed"

    @invariant()
    def a_process_lives_exactly_where_the_state_says(self):
        """Invariant 1."""
        assert self.alive == (self.now.state in {State.STARTING, State.RUNNING, State.STOPPING})

    @invariant()
    def every_wait_is_bounded(self):
        """Invariant 2."""
        waiting = self.now.state in {State.WAITING, State.STARTING, State.STOPPING, State.BACKOFF}
        assert (self.now.deadline is not None) == waiting

    @invariant()
    def no_start_lasts_for_ever(self):
        """However much progress it shows."""
        if self.now.state is State.STARTING:
            assert self.now.deadline is not None
            assert self.now.deadline - self.now.since <= POLICY.longest_start * self.now.start_timeout * (1 + 1e-9)

    @invariant()
    def failures_are_bounded(self):
        """FATAL is where too many failures are, or one of a model that can't be started as it is.

        A request alone has it tried again with them.
        """
        tried = {State.FATAL, State.WAITING, State.STARTING, State.STOPPING}
        assert self.now.failures >= POLICY.give_up_after or self.unfit or self.now.state is not State.FATAL
        assert self.now.failures < POLICY.give_up_after or self.now.state in tried


TestAnyLife = AnyLife.TestCase


class AnyLifeInTurns(AnyLife):
    """The same, of one that takes turns."""

    start = TAKES_TURNS


TestAnyLifeInTurns = AnyLifeInTurns.TestCase
