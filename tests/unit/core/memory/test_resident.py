import pytest

from router.core.memory.footprints import Placement
from router.core.memory.resident import Load, Loadable, Policy, Resident, Turn
from router.core.memory.states import Event, IllegalMoveError, State


def test_an_illegal_move_changes_nothing():
    """It raises, and the state stays."""
    resident = Resident(Loadable("a", ()), Policy(), 0.0)
    with pytest.raises(IllegalMoveError):
        resident.step(Event.READY)
    assert resident.state is State.UNLOADED
    resident.step(Event.QUEUE)
    assert repr(resident) == "<a queued, 0 wait, 0 in flight>"


@pytest.mark.parametrize(
    ("ended", "wanted_since", "carried"),
    [
        (140.0, 0.0, 0.0),
        (110.0, 0.0, 30.0),  # cut short: owed
        (150.0, 0.0, -10.0),  # went over: owed back
        (900.0, 0.0, -40.0),  # a whole turn at most
        (900.0, 900.0, 0.0),  # nobody wanted the memory meanwhile
        (900.0, 895.0, -5.0),
    ],
)
def test_what_a_turn_carries_over(ended, wanted_since, carried):
    """A turn of 40 s from 100 on: what it fell short of or went over counts in the next one, once."""
    turn = Turn()
    turn.begin(100.0, 40.0)
    turn.end(ended, 40.0, wanted_since)
    assert turn.carried == carried
    turn.begin(1000.0, 40.0)
    assert (turn.ends, turn.carried) == (1040.0 + carried, 0.0)


@pytest.mark.parametrize(
    ("share", "expected", "now", "remaining"),
    [(0.0, 10.0, 4.0, 6.0), (0.0, 10.0, 12.0, 0.0), (0.25, 10.0, 4.0, 12.0), (0.5, 10.0, 12.0, 12.0)],
)
def test_what_remains_of_a_load(share, expected, now, remaining):
    """By its share where it tells one; by earlier loads; by whichever is longer."""
    load = Load(Placement("a", {}), 0.0)
    load.share = share
    assert load.remaining(expected, now) == remaining
