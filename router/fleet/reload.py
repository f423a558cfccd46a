"""Has the running router follow router.yaml: each change is read, checked, and taken in; a bad one changes nothing.

A change is a write to the file or to one that it includes (see `watch`), a SIGHUP, or POST /admin/reload. One
reload runs at a time; what is asked for meanwhile is one more, after it, so that the last word counts.
"""

import asyncio
import gc
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import structlog

from router.config import Config, ConfigError, Loaded
from router.fleet.diff import Do, Step
from router.fleet.launches import StartError
from router.fleet.watch import Watcher
from router.telemetry.tasks import aside, for_ever

log = structlog.get_logger("router")

MOST_SAID = 50
"""Changes of one reload that are logged by themselves."""


READ_WITHIN = 30.0
"""Seconds that reading router.yaml, and all that it includes, may take."""

SWITCH_EVERY = 0.0005
"""Seconds that a thread may go on while another wants to, during a reload."""


@contextmanager
def threads_take_turns() -> Iterator[None]:
    """Have the event loop wait less for a thread that reads and compares: Python's own 5 ms add up within one turn."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_EVERY)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@dataclass(frozen=True, slots=True)
class Reload:
    """What the last reload came to. `at` is in seconds since the epoch; `problems` are empty where it was taken in."""

    at: float
    seconds: float
    problems: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()

    def told(self) -> dict[str, object]:
        """Give it as plain data."""
        steps = [{"do": step.do.value, "name": step.name, "why": step.why, "but": step.but} for step in self.steps]
        return {"at": self.at, "seconds": round(self.seconds, 4), "problems": list(self.problems), "steps": steps}


class Reloader:
    """Reads by `read`, which may block, and hands over what it read. `loaded` is what the router was started with."""

    def __init__(self, loaded: Loaded, read: Callable[[], Loaded]) -> None:
        self.last: Reload | None = None
        self._read = read
        self._wanted = asyncio.Event()
        self._waiting: list[asyncio.Future[Reload]] = []
        self._watcher = Watcher(loaded.files, loaded.patterns, self._wanted.set)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, take: Callable[[Config], Awaitable[list[Step]]]) -> None:
        """Follow the file from now on; `take` goes over to what it says."""
        self._tasks = [
            asyncio.create_task(for_ever("the watch over router.yaml", self._watcher.watch), name="watch router.yaml"),
            asyncio.create_task(for_ever("the reload", partial(self._follow, take)), name="reload"),
        ]

    async def stop(self) -> None:
        """Follow it no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for each in self._waiting:
            each.cancel()

    def ask(self) -> None:
        """Have the file read again, though it may be the same."""
        self._wanted.set()

    async def reload(self) -> Reload:
        """Have the file read again; give what came of it."""
        done: asyncio.Future[Reload] = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        self._wanted.set()
        return await done

    async def _follow(self, take: Callable[[Config], Awaitable[list[Step]]]) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            waiting, self._waiting = self._waiting, []
            self.last = await self._once(take)
            gc.collect()  # what was looked up for it lies in cycles, and the router has the collector look seldom
            for each in waiting:
                if not each.done():
                    each.set_result(self.last)

    async def _once(self, take: Callable[[Config], Awaitable[list[Step]]]) -> Reload:
        at, began = time.time(), time.monotonic()
        steps: list[Step] = []
        problems: tuple[str, ...] = ()
        try:
            with threads_take_turns():
                async with asyncio.timeout(READ_WITHIN):
                    loaded = await aside(self._read)
                self._watcher.look_at(loaded.files, loaded.patterns)
                steps = await take(loaded.config)
        except ConfigError as error:
            self._watcher.look_at(error.files, error.patterns)  # what is wrong may be in a file that is new
            problems = tuple(map(str, error.problems))
        except StartError as error:
            problems = error.problems
        except TimeoutError:
            problems = (f"it could not be read within {READ_WITHIN:g} s: does a file server hang that it lies on?",)
        except Exception as error:  # a bug must not end the following: what was before serves on
            log.exception("a reload failed by itself")
            problems = (f"the reload failed: {error!r}",)
        for problem in problems:
            log.error(f"router.yaml is not taken over: {problem}")
        changes = [step for step in steps if step.do is not Do.KEEP]
        for step in changes[:MOST_SAID]:
            (log.warning if step.do is Do.STUCK or step.but else log.info)(f"reload: {step}")
        if len(changes) > MOST_SAID:
            log.info(f"reload: and {len(changes) - MOST_SAID} more changes")
        if not problems and not changes:
            log.info("reload: nothing has changed")
        return Reload(at, time.monotonic() - began, problems, tuple(steps))
