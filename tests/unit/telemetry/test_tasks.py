import asyncio
import threading
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from router.telemetry import tasks
from router.telemetry.tasks import aside, for_ever, unharmed
from tests.running import eventually


async def test_what_fails_is_told_and_begun_again(monkeypatch):
    """Later each time, up to a bound; it never ends the task."""
    monkeypatch.setattr(tasks, "LONGEST_PAUSE", 0.004)
    # On a slow machine a try could take longer than that, and the pauses would begin anew.
    monkeypatch.setattr(tasks, "time", SimpleNamespace(monotonic=lambda: 0.0))
    tries = 0

    async def work() -> None:
        nonlocal tries
        tries += 1
        if tries % 2:
            raise ValueError(tries)

    with capture_logs() as told:
        task = asyncio.create_task(for_ever("the watch", work, pause=0.001))
        await eventually(lambda: tries >= 6)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [each["event"] for each in told[:3]] == [
        "the watch failed because of a bug in the router, and begins again in 0.001 s",
        "the watch has ended, and begins again in 0.002 s",
        "the watch failed because of a bug in the router, and begins again in 0.004 s",
    ]


def test_who_calls_what_fails_goes_on():
    """It is told."""
    heard: list[int] = []
    with capture_logs() as told:
        unharmed("a look", heard.append, 1)
        unharmed("a look", lambda: 1 / 0)
        unharmed("a look", heard.append, 2)
    assert heard == [1, 2]
    assert [each["event"] for each in told] == ["a look failed because of a bug in the router"]


async def test_what_is_done_aside_gives_its_result_or_raises():
    """As if it had been called."""
    assert await aside(max, 1, 2) == 2
    with pytest.raises(ZeroDivisionError):
        await aside(lambda: 1 / 0)
    with pytest.raises(SystemExit):
        await aside(lambda: (_ for _ in ()).throw(SystemExit))


def test_a_loop_does_not_wait_for_what_blocks_aside():
    """Its end comes all the same."""
    go_on = threading.Event()

    async def ask() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await aside(go_on.wait, 60)

    asyncio.run(ask())
    go_on.set()


async def test_what_comes_after_nobody_waits_any_more_is_dropped():
    """It is neither a mistake nor told."""
    go_on = threading.Event()
    waiting = asyncio.create_task(aside(go_on.wait, 60))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    go_on.set()
    await asyncio.sleep(0.01)
