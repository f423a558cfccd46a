from math import inf

import pytest

from router.core import waking
from router.core.catalog import Backend
from router.core.health import WELL, declared
from router.core.waking import FIRST_REST, Do, Machine, State


def asleep(timeout: float = 60.0) -> Machine:
    machine = Machine(timeout)
    assert machine.unreached()
    return machine


def play(machine: Machine, until: float) -> list[tuple[float, Do]]:
    """Do all that is due up to a time, each as it is due."""
    done = []
    while machine.due_at <= until:
        now = machine.due_at
        done.append((now, machine.due(now)))
    return done


def test_nobody_is_woken_unasked():
    """Neither one that is awake, nor one that was found asleep: probes don't wake."""
    machine = Machine(60.0)
    assert (machine.due_at, machine.due(5.0), machine.wanted(5.0)) == (inf, Do.NOTHING, False)
    assert machine.unreached()
    assert not machine.unreached()
    assert (machine.state, machine.due_at, machine.due(1e6)) == (State.ASLEEP, inf, Do.NOTHING)


def test_packets_are_repeated_with_longer_pauses_until_it_is_given_up():
    """At once, after 1 s, 2 s, 4 s, 8 s, then each 10 s; all who want it meanwhile want the same."""
    machine = asleep()
    assert machine.wanted(100.0)
    assert machine.due(100.0) is Do.SEND
    assert machine.wanted(100.5)
    assert machine.due(100.5) is Do.NOTHING
    sent = [101.0, 103.0, 107.0, 115.0, 125.0, 135.0, 145.0, 155.0]
    assert play(machine, 1e6) == [*((at, Do.SEND) for at in sent), (160.0, Do.GIVE_UP)]
    assert machine.state is State.RESTING


def test_one_that_did_not_wake_rests_longer_each_time():
    """Whoever asks meanwhile is told at once; 30 s, 60 s, … at most 10 minutes, until it has answered."""
    machine, now, rests = asleep(10.0), 0.0, []
    for _ in range(7):
        assert machine.wanted(now)
        now = play(machine, inf if machine.due_at == inf else now + 10.0)[-1][0]
        rested = now
        while not machine.wanted(now):
            now += 1.0
        rests.append(now - rested)
    assert rests == [30.0, 60.0, 120.0, 240.0, 480.0, 600.0, 600.0]
    machine.answered(now)
    machine.unreached()
    assert machine.wanted(now)
    now = play(machine, now + 10.0)[-1][0]
    assert not machine.wanted(now + FIRST_REST - 1)
    assert machine.wanted(now + FIRST_REST)


def test_how_long_it_took_is_what_is_expected_the_next_time():
    """Nothing, until it has woken once; one that answers unasked teaches nothing."""
    machine = asleep()
    assert not machine.answered(5.0)
    assert (machine.took, machine.state) == (None, State.AWAKE)
    machine.unreached()
    machine.wanted(10.0)
    assert machine.expected_at == inf
    assert machine.answered(22.0)
    machine.unreached()
    machine.wanted(100.0)
    assert (machine.took, machine.expected_at) == (12.0, 112.0)


def backend(name: str, *, coming: bool, due: float | None) -> Backend:
    reason = "is being woken" if coming else "is asleep"
    return Backend(name, health=declared(up=False, reason=reason, coming=coming, due=due))


def test_a_request_waits_for_the_machine_that_is_expected_first():
    """Of those that are being woken; not for an engine that starts, nor for a machine that nobody wakes."""
    asleep_, starting = backend("a", coming=False, due=inf), backend("b", coming=True, due=None)
    late, soon = backend("c", coming=True, due=inf), backend("d", coming=True, due=12.0)
    assert waking.first([asleep_, starting, Backend("e", health=WELL)]) is None
    assert waking.first([asleep_, late, soon]) is soon
    assert waking.first([late]) is late


@pytest.mark.parametrize(
    ("due", "seconds", "words"),
    [
        (112.0, 12.0, b"waking pc, about 12 s"),
        (100.4, 0.4, b"waking pc"),
        (90.0, 0.0, b"waking pc"),
        (inf, 0.0, b"waking pc"),
    ],
)
def test_who_waits_is_told_for_whom_and_how_long(due, seconds, words):
    """The seconds, where they are known and not overdue."""
    pc = backend("pc", coming=True, due=due)
    assert waking.comment(pc, 100.0) == words
    told = {"backend": "pc", "stage": "waking", "share": 0.0, "seconds": seconds, "reason": "'pc' is being woken."}
    assert waking.told(pc, 100.0) == told
