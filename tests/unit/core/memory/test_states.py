import pytest

from router.core.memory.states import Event, IllegalMoveError, State, holds_memory, leaves, move, serves

LEGAL = {
    (State.UNLOADED, Event.QUEUE): State.QUEUED,
    (State.QUEUED, Event.DROP): State.UNLOADED,
    (State.QUEUED, Event.LOAD): State.LOADING,
    (State.LOADING, Event.READY): State.LOADED,
    (State.LOADING, Event.CANCEL): State.UNLOADING,
    (State.LOADING, Event.EXIT): State.RELEASING,
    (State.LOADED, Event.DRAIN): State.DRAINING,
    (State.LOADED, Event.UNLOAD): State.UNLOADING,
    (State.LOADED, Event.EXIT): State.RELEASING,
    (State.DRAINING, Event.RESUME): State.LOADED,
    (State.DRAINING, Event.UNLOAD): State.UNLOADING,
    (State.DRAINING, Event.EXIT): State.RELEASING,
    (State.UNLOADING, Event.EXIT): State.RELEASING,
    (State.RELEASING, Event.RELEASE): State.UNLOADED,
    (State.RELEASING, Event.FAIL): State.FAILED,
    (State.FAILED, Event.REST): State.UNLOADED,
}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_each_event_in_each_state(state, event):
    """A legal move gives the state that follows; any other raises and says which it was."""
    if (state, event) in LEGAL:
        assert move(state, event) is LEGAL[state, event]
        return
    with pytest.raises(IllegalMoveError, match=f"'{event.value}' can't happen to a backend that is {state.value}"):
        move(state, event)


def test_memory_is_held_from_the_load_to_the_release():
    """The states with a reservation are those between LOAD and RELEASE."""
    assert [state for state in State if holds_memory(state)] == [
        State.LOADING,
        State.LOADED,
        State.DRAINING,
        State.UNLOADING,
        State.RELEASING,
    ]
    assert [state for state in State if serves(state)] == [State.LOADED, State.DRAINING]
    assert [state for state in State if leaves(state)] == [State.UNLOADING, State.RELEASING]
