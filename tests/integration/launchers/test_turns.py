"""Supervisors whose engines share a GPU."""

import pytest

from launchers.gpus import Claim
from launchers.states import State
from launchers.turns import Turns
from profiles.parsers import Gpu
from tests.integration.launchers.scripted import until

GIB = 1 << 30
HALF = Claim(("NVIDIA 0",), 0.45, least=16 * GIB)


@pytest.fixture
def free():
    """GiB of the GPU that are free."""
    return [79.0]


@pytest.fixture
def turns(free):
    """Turns on a GPU of 80 GiB."""
    return Turns(lambda: (Gpu("NVIDIA", "NVIDIA H100", 80 * GIB, free_bytes=int(free[0] * GIB)),))


async def test_the_next_is_spawned_when_the_first_is_ready(supervise, engine, turns):
    """And no sooner, however long that takes: its own time to start counts from there."""
    engine.loading.touch()
    one, two = (supervise(claim=HALF, turns=turns, files=name) for name in ("one", "two"))
    one.start()
    two.start()
    await one.until(State.STARTING)
    status = await two.until(State.WAITING)
    assert status.detail == "waits until one has started: they share NVIDIA GPU 0"
    assert (status.pid, status.lacks, status.coming) == (None, False, True)
    await until(lambda: (engine.folder / "starts").exists() and len(engine.ports) == 1)
    engine.loading.unlink()
    await one.until(State.RUNNING)
    await two.until(State.RUNNING)
    assert two.states == [State.WAITING, State.STARTING, State.RUNNING]


async def test_one_that_fails_to_start_lets_the_next_go_and_waits_behind_it(supervise, engine, turns):
    engine.flags = ["fail"]
    one, two = (supervise(claim=HALF, turns=turns, files=name, give_up_after=2) for name in ("one", "two"))
    one.start()
    two.start()
    await one.until(State.FATAL)
    await two.until(State.FATAL)
    assert len(engine.ports) == 4


async def test_it_can_be_stopped_while_it_waits(supervise, engine, turns, free):
    """For its turn, or for memory; then it holds up nobody."""
    engine.loading.touch()
    one, two, three = (supervise(claim=HALF, turns=turns, files=name) for name in ("one", "two", "three"))
    for each in (one, two, three):
        each.start()
    await two.until(State.WAITING)
    await three.until(State.WAITING)
    await two.stop()
    assert two.status.state is State.STOPPED
    free[0] = 1.0
    await one.kill()
    await until(lambda: three.status.lacks)
    assert not three.status.coming
    assert "NVIDIA GPU 0 has 1.0 of 80.0 GiB free, and this needs about 16.0 GiB" in three.status.detail
    await three.stop()
    assert two.states == three.states == [State.WAITING, State.STOPPED]


async def test_it_starts_when_memory_is_there_and_waiting_for_it_is_no_failure(supervise, turns, free):
    free[0] = 1.0
    one = supervise(claim=HALF, turns=turns, files="one", give_up_after=1)
    one.start()
    await until(lambda: one.status.lacks)
    free[0] = 79.0
    status = await one.until(State.RUNNING)
    assert status.lacks is False
    assert one.states == [State.WAITING, State.STARTING, State.RUNNING]


async def test_a_crash_has_it_wait_in_the_same_line(supervise, engine, turns):
    one, two = (supervise(claim=HALF, turns=turns, files=name) for name in ("one", "two"))
    one.start()
    await one.until(State.RUNNING)
    engine.loading.touch()
    two.start()
    await two.until(State.STARTING)
    one.restart()
    await one.until(State.WAITING)
    assert one.status.detail == "waits until two has started: they share NVIDIA GPU 0"
    engine.loading.unlink()
    await two.until(State.RUNNING)
    await one.until(State.RUNNING, times=2)
