"""Loads against an engine of known times, in the same loop: never earlier than the truth, whatever the machine does."""

import asyncio
import time
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from rich.console import Console

from scripts.instruments.client import ClientPool, LoadTarget
from scripts.stress.distribution import Distribution
from scripts.stress.engine import KnownTimes, TimedConnection, TimedStreams
from scripts.stress.load import Asking, Stage, StageLoad
from scripts.stress.meter import Meter
from scripts.stress.progress import Lines
from scripts.stress.results import Check
from scripts.stress.run import StressRun
from scripts.stress.shapes import Shape
from scripts.stress.tally import Outcome, Slo, Tally
from tests.running import eventually

EVENTS = 5
EARLY = 0.0001  # the engine's tick
PACED = Asking("paced")


@asynccontextmanager
async def paced(times):
    """Run an engine; give its URL."""
    streams = TimedStreams(times)
    async with await asyncio.get_running_loop().create_server(
        lambda: TimedConnection(streams), "127.0.0.1", 0
    ) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def loaded(url, stage, asking=PACED):
    """Run a load; give what came of each request, and the tally."""
    heard: list[Outcome] = []
    tally, meter = Tally(Slo()), Meter()
    pool = ClientPool(LoadTarget("engine", url))
    await StageLoad(pool, asking, tally, meter, heard.append).run(stage, "seed")
    pool.close()
    assert (meter.in_flight, meter.waiting, meter.ended + meter.failed) == (0, 0, len(heard))
    return heard, tally.all()


async def test_a_closed_loop():
    """So many at a time, each of which asks again when it is answered, and none of which is answered early."""
    times = KnownTimes(first=0.02, gap=0.005, events=EVENTS)
    async with paced(times) as url:
        heard, figures = await loaded(url, Stage(Shape(), 0.3, clients=3))
    assert len(heard) >= 3
    assert figures.ok == len(heard)
    assert figures.tokens == EVENTS * len(heard)
    for one in heard:
        assert one.first >= times.due(one.sent, 0) - EARLY
        assert one.ended >= times.due(one.sent, EVENTS - 1) - EARLY
    changes = sorted([(one.sent, 1) for one in heard] + [(one.ended, -1) for one in heard])
    at_once = [sum(change for _, change in changes[: index + 1]) for index in range(len(changes))]
    assert max(at_once) == 3


async def test_an_open_loop_shows_a_stall_in_all_that_it_delayed():
    """Requests go out when they are due, though nothing is answered; each one's time counts from when it was due."""
    times = KnownTimes(first=0.01, gap=0.001, events=EVENTS, stall_at=time.perf_counter() + 0.2, stall=0.5)
    async with paced(times) as url:
        heard, figures = await loaded(url, Stage(Shape(), 0.9, rate=100, arrivals="constant"))
    assert (len(heard), figures.ok) == (90, 90)
    heard.sort(key=lambda one: one.due)
    gaps = [later.due - earlier.due for earlier, later in pairwise(heard)]
    assert gaps == pytest.approx([0.01] * 89)
    for one in heard:
        assert one.sent >= one.due
        assert one.ttft >= times.due(one.due, 0) - one.due - EARLY
    assert sum(one.ttft > 0.1 for one in heard) >= 40  # all that were due in the stall's first 0.4 s


async def test_leaving_midway():
    """Those who leave have their tokens, and no failure; the others have all."""
    shape = Shape(leave=0.5, answer=Distribution("constant", EVENTS))
    async with paced(KnownTimes(first=0.001, gap=0.001, events=EVENTS)) as url:
        heard, figures = await loaded(url, Stage(shape, 0.3, rate=100, arrivals="constant"))
    assert figures.failed == 0
    assert figures.left > 0
    assert figures.ok > 0
    assert {one.tokens for one in heard if one.kind == ""} == {EVENTS}
    assert {one.tokens for one in heard if one.kind == "left"} == {1, 2}


async def test_a_target_that_is_not_there():
    """Each request is a failure that says why; a client pauses before it asks again."""
    heard, figures = await loaded("http://127.0.0.1:9", Stage(Shape(), 0.3, clients=1))
    assert figures.failures == {"no connection": len(heard)}
    assert figures.examples == {"no connection": "Connection refused"}
    assert len(heard) < 10  # after pauses of 20, 40, 80 ms …


async def test_an_answer_that_takes_too_long():
    """It is a failure of its own kind, and says how far it came."""
    async with paced(KnownTimes(first=0.0, gap=60.0, events=2)) as url:
        heard, figures = await loaded(url, Stage(Shape(), 0.1, clients=1), Asking("paced", timeout=0.2))
    assert figures.failures == {"timeout": 1}
    assert heard[0].detail == "no end after 0.2 s, 1 tokens came"


async def test_ctrl_c_interrupts_what_is_under_way():
    """It counts as interrupted, neither as a failure nor as an answer."""
    async with paced(KnownTimes(first=0.0, gap=60.0, events=2)) as url:
        tally, meter = Tally(Slo()), Meter()
        load = StageLoad(ClientPool(LoadTarget("engine", url)), Asking("paced"), tally, meter, lambda _: None)
        task = asyncio.create_task(load.run(Stage(Shape(), 60, clients=3), "seed"))
        await eventually(lambda: meter.in_flight == 3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (tally.all().interrupted, tally.all().failed) == (3, 0)


async def test_what_is_done_under_load():
    """It is done in the middle of the stage, and its check tells of the requests around it."""
    asked_at = []

    async def something(target):
        asked_at.append(time.perf_counter())
        return Check("something", target.name, "passed", "done")

    async with paced(KnownTimes(first=0.01, gap=0.001, events=EVENTS)) as url:
        run = StressRun({LoadTarget("base", url): PACED}, seed=1, slo=None, watcher=Lines(Console(quiet=True)))
        begin = time.perf_counter()
        await run.stages([Stage(Shape(), 0.4, clients=2, during=something)], rounds=1)
    (step,), (check,) = run.steps, run.checks
    assert asked_at[0] - begin >= 0.2
    assert (check.state, check.detail) == ("passed", f"done; 0 of {step.requests.all} failed")
    assert step.requests.ok == step.requests.all > 0
    assert sum(sample.ended for sample in run.sampler.samples) == step.requests.all
