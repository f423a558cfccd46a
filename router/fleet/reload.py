"""Makes the running router follow router.yaml: each change is read, checked and applied; a bad one changes nothing.

A reload follows a write to the file or to one that it includes (see `watch`), a SIGHUP, or POST /admin/reload. One
reload runs at a time. All requests for a reload during one become one more reload after it, so the last change counts.
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
from router.config.problems import Problem, nowhere
from router.config.versions import EDITED, Versions
from router.fleet.diff import Do, Step
from router.fleet.launches import StartError
from router.fleet.watch import Watcher
from router.telemetry.tasks import aside, for_ever

log = structlog.get_logger("router")

MOST_SAID = 50
"""Most changes of one reload that are logged, a line each."""


READ_WITHIN = 30.0
"""Seconds within which router.yaml, and all that it includes, must be read."""

SWITCH_EVERY = 0.0005
"""Seconds for which a thread may keep the interpreter from others during a reload."""


@contextmanager
def threads_take_turns() -> Iterator[None]:
    """Shorten the event loop's waits for threads that read and compare: Python's 5 ms add up within one turn."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_EVERY)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@dataclass(frozen=True, slots=True)
class Reload:
    """The result of a reload. `at` is in seconds since the epoch; `problems` are empty if it was applied."""

    at: float
    seconds: float
    problems: tuple[Problem, ...] = ()
    steps: tuple[Step, ...] = ()

    def told(self) -> dict[str, object]:
        """Describe it as plain data."""
        steps = [{"do": step.do.value, "name": step.name, "why": step.why, "but": step.but} for step in self.steps]
        problems = [each.told() for each in self.problems]
        return {"at": self.at, "seconds": round(self.seconds, 4), "problems": problems, "steps": steps}


def _nobody() -> None:
    """Tell nobody."""


class Reloader:
    """Reloads with `read`, which may block. `loaded` is what the router was started with."""

    def __init__(self, loaded: Loaded, read: Callable[[], Loaded]) -> None:
        self.path = loaded.path
        self.last: Reload | None = None
        # How many there were since the start, of each kind.
        self.applied = self.refused = 0
        self.versions: Versions | None = None
        # Called before and after each, for those who tell of it.
        self.on_begin: Callable[[], None] = _nobody
        self.on_end: Callable[[], None] = _nobody
        self._read = read
        self._text = loaded.text
        # What the API writes, and for whom: the reload that takes it over may be the watch's.
        self._written: tuple[str, str] | None = None
        self._lost = False
        self._wanted = asyncio.Event()
        self._waiting: list[asyncio.Future[Reload]] = []
        self._watcher = Watcher(loaded.files, loaded.patterns, self._wanted.set)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, take: Callable[[Config], Awaitable[list[Step]]], versions: Versions | None = None) -> None:
        """Follow the file from now on; `take` applies a configuration, and gives the steps.

        `versions` keeps each text that is in force.
        """
        self.versions = versions
        self._tasks = [
            asyncio.create_task(for_ever("the watch over router.yaml", self._watcher.watch), name="watch router.yaml"),
            asyncio.create_task(for_ever("the reload", partial(self._follow, take)), name="reload"),
        ]

    async def stop(self) -> None:
        """Stop following the file; whoever waits for a reload is cancelled."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for each in self._waiting:
            each.cancel()

    def ask(self) -> None:
        """Request a reload, even if the file is unchanged."""
        self._wanted.set()

    async def reload(self) -> Reload:
        """Request a reload, and give its result."""
        done: asyncio.Future[Reload] = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        self._wanted.set()
        return await done

    def writes(self, text: str, by: str) -> None:
        """Hear that the file is about to have this text, and from whom."""
        self._written = (text, by)

    def writes_nothing(self) -> None:
        """Hear that the file couldn't be written."""
        self._written = None

    async def _follow(self, take: Callable[[Config], Awaitable[list[Step]]]) -> None:
        await self._keep(self._text)
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            waiting, self._waiting = self._waiting, []
            self.on_begin()
            self.last = await self._once(take)
            self.refused += bool(self.last.problems)
            self.applied += not self.last.problems
            self.on_end()
            # A reload leaves reference cycles, and the router runs the collector seldom.
            gc.collect()
            for each in waiting:
                if not each.done():
                    each.set_result(self.last)

    async def _once(self, take: Callable[[Config], Awaitable[list[Step]]]) -> Reload:
        at, began = time.time(), time.monotonic()
        steps: list[Step] = []
        problems: tuple[Problem, ...] = ()
        try:
            with threads_take_turns():
                async with asyncio.timeout(READ_WITHIN):
                    loaded = await aside(self._read)
                self._watcher.look_at(loaded.files, loaded.patterns)
                steps = await take(loaded.config)
            await self._keep(loaded.text)
        except ConfigError as error:
            # The mistake may be in a file that is new.
            self._watcher.look_at(error.files, error.patterns)
            problems = tuple(error.problems)
        except StartError as error:
            problems = tuple(map(nowhere, error.problems))
        except TimeoutError:
            said = f"it could not be read within {READ_WITHIN:g} s: does a file server hang that it lies on?"
            problems = (nowhere(said),)
        except Exception as error:
            # A bug must not end the reloads: the old configuration serves on.
            log.exception("a reload failed because of a bug in the router")
            problems = (nowhere(f"the reload failed: {error!r}"),)
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

    async def _keep(self, text: str) -> None:
        """Keep a text that is in force. Where that can't be, nothing else fails."""
        if self.versions is None:
            return
        by = EDITED
        if self._written is not None and text == self._written[0]:
            # Who writes the same text later has edited the file.
            by, self._written = self._written[1], None
        try:
            async with asyncio.timeout(READ_WITHIN):
                await aside(partial(self.versions.add, text, time.time(), by))
        except (OSError, TimeoutError) as error:
            if not self._lost:
                log.warning("versions of router.yaml can't be kept", why=str(error) or "the disk doesn't answer")
            self._lost = True
