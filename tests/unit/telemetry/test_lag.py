import asyncio
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from router.telemetry import lag
from router.telemetry.lag import KEPT, MOST_SAID, Lag, where
from tests.running import eventually


@pytest.fixture
async def watched():
    """Give a lag whose loop is watched."""
    each = Lag()
    each.start()
    each.watch()
    yield each
    each.stop()


def hold(seconds: float) -> None:
    """Hold the loop up, as work does that is too long."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


async def test_the_loops_lag_is_the_worst_of_a_minute():
    """Whatever holds the loop up makes its timers late."""
    each = Lag()
    assert each.worst == 0.0
    each.start()
    time.sleep(0.3)  # noqa: ASYNC251  (that is what it is about)
    await eventually(lambda: each.worst > 0.2)
    assert each.worst < 60
    each.stop()


async def test_after_a_minute_it_is_forgotten():
    """However long the loop was held, or the machine asleep."""
    now = [1000.0]
    each = Lag()
    each._loop = SimpleNamespace(time=lambda: now[0], call_at=lambda *_: None)  # type: ignore[assignment]
    each.start()
    now[0] += 5
    each._beat()
    assert each.worst == pytest.approx(5 - lag.BEAT)
    for _ in range(KEPT - 1):
        now[0] = each._due = now[0] + 1
        each._beat()
    assert each.worst == pytest.approx(5 - lag.BEAT)
    now[0] = each._due = now[0] + 2
    each._beat()
    assert each.worst == 0.0
    now[0] = each._due = now[0] + 10**6
    each._beat()
    assert each.worst == 0.0


@pytest.mark.usefixtures("watched")
@pytest.mark.parametrize("held_by", [hold, time.sleep])
async def test_what_holds_the_loop_is_named(held_by):
    """The function and its line, and who called it; whether it works, or waits for a dead disk."""
    with capture_logs() as logged:
        # On a busy machine the thread that looks may come too late.
        while not any("test_what_holds_the_loop_is_named (" in each["where"] for each in logged):
            held_by(0.6)
            await asyncio.sleep(lag.BEAT)
    last = logged[-1]
    assert last["event"] == "the event loop was held up"
    assert "test_what_holds_the_loop_is_named (tests/unit/telemetry/test_lag.py:" in last["where"]
    assert ("hold (tests/unit/telemetry/test_lag.py:" in last["where"]) is (held_by is hold)
    assert last["seconds"] > 0.3
    assert last["cpu"] >= 0


@pytest.fixture
def watch(monkeypatch):
    """Give the part that judges, without its thread; nothing waits for a CPU."""
    monkeypatch.setattr(threading.Thread, "start", lambda _: None)
    monkeypatch.setattr(lag._RunQueue, "waited", lambda _: 0.0)
    return lag._Watch()


def test_a_process_that_got_no_cpu_is_no_fault(watch):
    """It was stopped, or others had the CPU: nobody held its loop. C code that did has worked."""
    with capture_logs() as logged:
        watch.beat(0.5, 0.0, 0.25)
        watch.beat(0.5, 0.2, 0.25)
        assert logged == []
        watch.beat(0.5, 0.3, 0.25)
    assert logged[0]["where"].startswith("in C code")
    assert (logged[0]["seconds"], logged[0]["cpu"]) == (0.5, 0.3)


def test_a_thread_that_waited_for_a_cpu_is_no_fault(watch, monkeypatch):
    """On a busy machine others get CPUs, the thread that looks among them; but one that worked is one."""
    waited = [0.0]
    monkeypatch.setattr(lag._RunQueue, "waited", lambda _: waited[0])
    with capture_logs() as logged:
        for more, cpu in ((0.3, 0.001), (0.2, 0.001), (0.3, 0.3)):
            waited[0] += more
            watch._seen["here"] += 1
            watch.beat(0.5, cpu, 0.04)
    assert [each["cpu"] for each in logged] == [0.001, 0.3]


def test_how_long_a_thread_has_waited_for_a_cpu():
    """As Linux tells; 0 where nothing does, and once it is closed."""
    queue = lag._RunQueue()
    before = queue.waited()
    time.sleep(0.01)
    assert 0.0 <= before <= queue.waited()
    queue.close()
    queue.close()
    assert queue.waited() == 0.0


@pytest.mark.skipif(not Path("/proc/thread-self/schedstat").exists(), reason="this system doesn't tell it")
def test_it_is_the_time_that_the_system_tells():
    """In seconds."""
    queue = lag._RunQueue()
    told = int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    assert told <= queue.waited() <= told + 60
    queue.close()


def test_what_is_not_late_enough_is_no_warning(watch):
    """Though it was seen."""
    with capture_logs() as logged:
        watch._look()
        watch.beat(0.1, 0.1, 0.04)
        watch.beat(0.2, 0.0, 0.04)
    assert logged == []


def test_warnings_are_bounded(watch):
    """Each may name another place."""
    with capture_logs() as logged:
        for number in range(MOST_SAID + 5):
            watch._seen[f"place {number}"] += 1
            watch.beat(0.2, 0.0, 0.04)
        assert len(logged) == MOST_SAID
        watch._said[0] -= KEPT
        watch._seen["another"] += 1
        watch.beat(0.2, 0.0, 0.04)
    assert logged[-1]["where"] == "another"
    assert logged[-1]["others"] == 5


def test_what_is_seen_is_bounded(watch):
    """Of a loop that is held for long."""
    for _ in range(1000):
        watch._look()
    assert watch._seen.total() == lag.MOST_SEEN


async def test_it_beats_seldom_while_there_is_nothing_to_do(monkeypatch):
    """And often again with the first work, or once the loop was late."""
    now, cpu = [1000.0], [0.0]
    monkeypatch.setattr(lag, "time", SimpleNamespace(process_time=lambda: cpu[0]))
    each = Lag()
    each._loop = SimpleNamespace(time=lambda: now[0], call_at=lambda *_: None)  # type: ignore[assignment]
    each.start()
    for late, used, every in (
        (0.0, 0.0, 0.25),
        (0.0, 0.002, 0.25),
        (0.0, 0.003, 0.04),
        (0.0, 0.0, 0.25),
        (0.05, 0.0, 0.04),
    ):
        now[0], cpu[0] = each._due + late, cpu[0] + used
        each._beat()
        assert each._due == pytest.approx(now[0] + every)


@pytest.fixture
async def clocks(monkeypatch):
    """Give a lag in a process that has worked for 100 s, with the clocks of its loop and of its CPU time."""
    now, cpu = [1000.0], [100.0]
    monkeypatch.setattr(threading.Thread, "start", lambda _: None)
    monkeypatch.setattr(lag, "time", SimpleNamespace(process_time=lambda: cpu[0], monotonic=lambda: now[0]))
    each = Lag()
    timer = SimpleNamespace(cancel=lambda: None)
    each._loop = SimpleNamespace(time=lambda: now[0], call_at=lambda *_: timer)  # type: ignore[assignment]
    return each, now, cpu


async def test_cpu_time_before_its_start_is_none_of_a_hold_up(clocks):
    """It is that since the last beat, also of the first one."""
    each, now, cpu = clocks
    each.start()
    each.watch()
    now[0], cpu[0] = each._due + 0.2, 100.15
    with capture_logs() as logged:
        each._beat()
    assert [(said["seconds"], said["cpu"]) for said in logged] == [(0.2, 0.15)]


async def test_what_came_before_the_watch_is_not_judged(clocks):
    """A program's start takes its time before it serves; the lag is told all the same."""
    each, now, cpu = clocks
    each.start()
    now[0], cpu[0] = each._due + 5, 105.0
    with capture_logs() as logged:
        each.watch()
        now[0] = each._due
        each._beat()
    assert logged == []
    assert each.worst == 5


def test_a_thread_that_is_gone_is_nowhere():
    """It has no frames."""
    assert where(None) == ""


def test_the_innermost_functions_are_named():
    """As many as a line has room for."""

    def deep(levels: int) -> str:
        return deep(levels - 1) if levels else where(sys._getframe())

    said = deep(20).split(" < ")
    assert len(said) == lag.MOST_FRAMES
    assert all(each.startswith("test_the_innermost_functions_are_named.<locals>.deep (tests/") for each in said)


def test_files_of_libraries_are_named_shortly():
    """By their last two parts."""
    code = compile("def f():\n    return g()\n", "/usr/lib/python3/site-packages/some/file.py", "exec")
    names: dict[str, Any] = {"g": lambda: where(sys._getframe(1))}
    exec(code, names)  # noqa: S102
    assert names["f"]().startswith("f (some/file.py:2) < ")
