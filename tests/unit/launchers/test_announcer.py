from typing import TYPE_CHECKING, cast

import pytest

from launchers.announcer import Announcer
from launchers.starting import Started
from launchers.states import Event, RestartPolicy, Supervision, step

if TYPE_CHECKING:
    from launchers.process import Process


class Engine:
    """One engine's life: events at their times, each announced as a supervisor does."""

    def __init__(self, *, takes_turns=False, adopted=False) -> None:
        self.announcer = Announcer("demo", lambda _: None)
        self._now = Supervision(60.0, 60.0, RestartPolicy(give_up_after=2, steady_after=1e9), takes_turns=takes_turns)
        self._started = Started(cast("Process", NoProcess()), 1, "", adopted)

    def meets(self, event, at):
        """Let this happen; give the status that is announced."""
        self._now, _ = step(self._now, event, at)
        self.announcer.announce(
            self._now, self._started, "", (), lacks=False, start_asked=False, share=0.0, is_news=True, failure="",
            out_of_memory=None,
        )  # fmt: skip
        return self.announcer.status


class NoProcess:
    pid = 1


def test_how_long_the_last_load_took():
    """From its start, not from its turn; and it is kept until the next one."""
    engine = Engine(takes_turns=True)
    assert engine.meets(Event.START, 1.0).load_seconds is None
    engine.meets(Event.TURN, 10.0)
    engine.meets(Event.PROGRESS, 12.0)
    assert engine.meets(Event.READY, 17.5).load_seconds == 7.5
    engine.meets(Event.STOP, 20.0)
    assert engine.meets(Event.EXITED, 21.0).load_seconds == 7.5
    engine.meets(Event.START, 30.0)
    engine.meets(Event.TURN, 30.0)
    assert engine.meets(Event.READY, 32.0).load_seconds == 2.0


def test_who_was_taken_over_has_loaded_for_another_router():
    engine = Engine(adopted=True)
    engine.meets(Event.START, 1.0)
    assert engine.meets(Event.READY, 1.1).load_seconds is None


@pytest.mark.parametrize("turn", [False, True])
def test_restarts_are_those_that_nobody_asked_for(turn):
    """After a crash, after a start that failed, after it was given up; not those of people and of loads."""
    engine = Engine(takes_turns=turn)

    def starts(event, at):
        status = engine.meets(event, at)
        return (engine.meets(Event.TURN, at) if turn else status).restarts

    assert starts(Event.START, 1.0) == 0
    engine.meets(Event.READY, 2.0)
    assert engine.meets(Event.EXITED, 3.0).restarts == 0
    assert starts(Event.TIMED_OUT, 4.0) == 1
    engine.meets(Event.EXITED, 5.0)
    assert starts(Event.TIMED_OUT, 6.0) == 2
    engine.meets(Event.EXITED, 7.0)
    assert starts(Event.WANTED, 1000.0) == 3
    engine.meets(Event.STOP, 1001.0)
    engine.meets(Event.EXITED, 1002.0)
    assert starts(Event.START, 1003.0) == 3
    engine.meets(Event.EXITED, 1004.0)
    engine.meets(Event.STOP, 1004.1)
    assert starts(Event.START, 1005.0) == 3
