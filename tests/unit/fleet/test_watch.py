"""When a change is told: what was read, one look after the other, is the test's."""

import asyncio
import itertools
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import watchfiles
from structlog.testing import capture_logs

from router.fleet import watch
from router.fleet.watch import Watcher
from tests.running import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

BOUND = 20.0
"""Seconds after which a test fails that should have ended long ago."""


class Looks(Watcher):
    """A watcher that reads one word after the other; with the last, the file rests."""

    def __init__(self, *words: str) -> None:
        self.words: Iterator[str] = iter(words)
        self.at: list[float] = []
        self.told: list[str] = []
        self.says = ""
        super().__init__((), (), lambda: self.told.append(self.says))

    def _state(self) -> watch.Digests:
        self.at.append(asyncio.get_running_loop().time())
        self.says = next(self.words, self.says)
        return {"router.yaml": self.says}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """A file rests within hundredths of a second; looks are taken on the loop's own thread."""

    async def at_once(do, *arguments):
        return do(*arguments)

    monkeypatch.setattr(watch, "SETTLED", 0.01)
    monkeypatch.setattr(watch, "LONGEST", BOUND)
    monkeypatch.setattr(watch, "aside", at_once)


@pytest.mark.parametrize(
    ("words", "told", "looks"),
    [
        ("aaa", [], 2),
        ("abb", ["b"], 3),
        ("abcdd", ["d"], 5),
        ("aba", [], 4),
        ("abaa", [], 4),
        ("abcc", ["c"], 4),
    ],
    ids=["no change", "one change", "in parts", "changed back", "changed back and rested", "in two halves"],
)
async def test_a_change_is_told_once_as_soon_as_the_file_rests(words, told, looks):
    """Nothing is told of what it said meanwhile, nor of what it says again as before."""
    watcher = Looks(*words)
    await watcher._look()
    assert (watcher.told, len(watcher.at)) == (told, looks)
    await watcher._look()
    assert watcher.told == told


async def test_the_file_has_time_to_rest_between_two_looks():
    """Two looks at once would find any half of it at rest."""
    watcher = Looks(*"abcdd")
    await watcher._look()
    assert all(later - earlier >= 0.01 for earlier, later in itertools.pairwise(watcher.at[1:]))


async def test_what_never_rests_is_told_after_the_longest_wait(monkeypatch):
    """Else a file that a program writes without end would be waited for without end."""
    monkeypatch.setattr(watch, "LONGEST", 0.05)
    watcher = Looks()
    watcher.words = map(str, itertools.count(1))
    began = asyncio.get_running_loop().time()
    async with asyncio.timeout(BOUND):
        await watcher._look()
    assert len(watcher.told) == 1
    assert watcher.at[-1] - began >= 0.05 - 0.01


async def test_that_the_system_tells_nothing_is_said_once_each_time_that_it_begins(monkeypatch):
    """Not while it goes on, nor when it is over; meanwhile the clock has the file looked at."""
    monkeypatch.setattr(watch, "LOOK_EVERY", 0.001)
    monkeypatch.setattr(watch, "LONGEST", 0.0)
    turns: list[str | None] = []
    over = asyncio.Event()

    async def awatch(*_, **__):
        turns.append(next(script, None))
        if turns[-1] == "wait":
            over.set()
            await asyncio.Event().wait()
        if turns[-1]:
            raise OSError(turns[-1])
        yield set()

    script = iter(["one", "one", "two", "", "two", "wait"])
    monkeypatch.setattr(watchfiles, "awatch", awatch)
    watcher = Looks()
    with capture_logs() as said:
        task = asyncio.create_task(watcher.watch())
        await asyncio.wait_for(over.wait(), BOUND)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert [each["why"] for each in said] == ["one", "two", "two"]
    # Once by the clock after each end, and once for what the system told.
    assert len(watcher.at) == 1 + 5 + 1


async def test_the_clock_has_the_file_looked_at_where_the_system_tells_nothing(monkeypatch):
    """And no more often than it says."""
    monkeypatch.setattr(watch, "LOOK_EVERY", 0.05)
    seen: dict[str, object] = {}

    async def awatch(*_, **options):
        seen.update(options)
        raise OSError
        yield

    monkeypatch.setattr(watchfiles, "awatch", awatch)
    watcher = Looks()
    task = asyncio.create_task(watcher.watch())
    await eventually(lambda: len(watcher.at) >= 4)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert all(later - earlier >= 0.049 for earlier, later in itertools.pairwise(watcher.at[1:]))
    assert seen["yield_on_timeout"]
    assert seen["rust_timeout"] == 50


def test_what_it_needs_is_there_before_it_watches():
    """Else a router's event loop would wait for the disk at its start."""
    program = """
import asyncio, sys
from router.fleet.watch import Watcher
before = set(sys.modules)
async def main():
    task = asyncio.create_task(Watcher((), ("/proc/none/*",), print).watch())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
asyncio.run(main())
print(sorted(each for each in set(sys.modules) - before if each.partition(".")[0] in {"anyio", "watchfiles"}))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
