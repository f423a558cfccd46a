"""Looks into a backend that holds requests and is silent: it asks for every other sign that the backend works.

A backend that sends content isn't asked for anything. One that has been silent for a part of `stall_after` is asked,
for as long as it stays silent: for the CPU time of its processes, if they run here; for its counters of tokens; for an
answer to a probe. Each is a sign of work or its absence (`router.core.stall.Progress`), and the plane judges after
each look.

Where none of these tells anything, or no request is left that could show anything, the backend is asked for one token.
That counts like a request: while the token is owed, the silence grows.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from launchers.tree import work_of as cpu_work_of
from router.core.catalog import Backend
from router.core.load import PATH, work_of
from router.core.stall import EVERY, QUIET, SILENT, Sight, StallVerdict
from router.proxy.dialling import Address
from router.proxy.plane import Plane
from router.proxy.watching.asking import NO_ANSWER, Asker, read
from router.telemetry.tasks import aside

log = structlog.get_logger("router")

_LONGEST = 2.0
"""Seconds at most between two looks, and for one look."""

_MAX_PAGE = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Process:
    """The process whose CPU time shows whether an engine works.

    `works`: much CPU time shows work. `tells`: little CPU time shows that there is none.
    """

    pid: int
    works: bool
    tells: bool


@dataclass(frozen=True, slots=True)
class Subject:
    """A backend to be looked into: the path of its probe, whether it publishes counters, and its process, if any.

    Without a path it isn't probed.
    """

    backend: Backend
    path: str | None
    publishes: bool
    process: Callable[[], Process | None]


class Examiner:
    """Looks into silent backends, each in a task of its own. `timeout` bounds a probe, in seconds."""

    def __init__(self, plane: Plane) -> None:
        self.timeout = _LONGEST
        self._plane = plane
        self._tasks: dict[Backend, asyncio.Task[None]] = {}

    def look_into(self, subject: Subject, asker: Asker) -> None:
        """Look into a backend until it shows work or is found stalled, unless that is under way already."""
        backend, address = subject.backend, self._plane.connections.address(subject.backend)
        if backend not in self._tasks and not backend.stalled and address is not None:
            task = asyncio.create_task(self._examine(subject, address, asker), name=f"examine {backend.name}")
            self._tasks[backend] = task
            task.add_done_callback(lambda _: self._tasks.pop(backend, None))

    def forget(self, backend: Backend) -> None:
        """Stop looking into a backend."""
        task = self._tasks.get(backend)
        if task is not None:
            task.cancel()

    async def stop(self) -> None:
        """Stop all looks."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _examine(self, subject: Subject, address: Address, asker: Asker) -> None:
        try:
            await _Examination(self._plane, subject, address, asker, self.timeout).run()
        except Exception:
            # A bug here must not harm the plane's sweep: it is logged, and the next sweep tries again.
            name = subject.backend.name
            log.exception("a look into a silent backend failed because of a bug in the router", backend=name)


class _Examination:
    """One silence of one backend."""

    def __init__(self, plane: Plane, subject: Subject, address: Address, asker: Asker, timeout: float) -> None:
        self._plane = plane
        self._subject = subject
        self._asker = asker
        self._stall_after = plane.limits.stall_after
        self._every = min(_LONGEST, EVERY * self._stall_after)
        self._timeout = min(timeout, self._stall_after / 2)
        self._address = address
        # Since when the backend has owed a token; None: it owes none.
        self._owed_since: float | None = None

    async def run(self) -> None:
        looks = [self._repeat(look) for look in (self._read_cpu, self._read_counters, self._probe)]
        tasks = [asyncio.create_task(each) for each in looks]
        try:
            while self._is_same_silence():
                now = self._plane.loop.time()
                owed = 0.0 if self._owed_since is None else now - self._owed_since
                if self._plane.judge(self._subject.backend, owed) in {StallVerdict.WORKS, StallVerdict.STALLED}:
                    return
                if self._owed_since is None and self._needs_token(now):
                    tasks[3:] = [asyncio.create_task(self._get_token())]
                await asyncio.sleep(self._every)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _is_same_silence(self) -> bool:
        """Whether it is still the same silence of the same process; with nothing in flight, only a long one."""
        backend = self._subject.backend
        least = (QUIET if backend.progress.in_flight else SILENT) * self._stall_after
        silence = backend.progress.silence(self._plane.loop.time())
        return self._plane.connections.address(backend) == self._address and silence >= least

    async def _repeat(self, look: Callable[[], Awaitable[bool]]) -> None:
        while await look():  # noqa: ASYNC110 -- what is waited for is outside of this process
            await asyncio.sleep(self._every)

    # The looks. Each tells whether there is a point in another.

    async def _read_cpu(self) -> bool:
        process = self._subject.process()
        if process is None:
            return False
        work = await aside(cpu_work_of, process.pid)
        seconds = work.seconds if process.works else 0.0
        now = self._plane.loop.time()
        tells = process.works and process.tells and work.seconds > 0
        self._plane.ledger.read_cpu(self._subject.backend, seconds, now, stopped=work.stopped, tells=tells)
        return True

    async def _read_counters(self) -> bool:
        if not self._subject.publishes:
            return False
        page = await self._get(PATH)
        work = None if page is None else work_of(page)
        if work is not None:
            now = self._plane.loop.time()
            self._plane.ledger.read_counter(self._subject.backend, work.done, now, tells=work.tells)
        return page is None or work is not None

    async def _probe(self) -> bool:
        if self._subject.path is None:
            return False
        sent = self._plane.loop.time()
        answered = await self._get(self._subject.path) is not None
        self._plane.ledger.probed(self._subject.backend, sent, answered=answered)
        return True

    async def _get(self, path: str) -> bytes | None:
        """Read a page, or the beginning of one that is too long; None if there was no answer."""
        try:
            async with self._asker.get(self._subject.backend, self._address, path, self._timeout) as answer:
                return (await read(answer, _MAX_PAGE)).data
        except NO_ANSWER:
            return None

    # A token

    def _needs_token(self, now: float) -> bool:
        """Whether nothing else can show that the backend works."""
        backend, progress = self._subject.backend, self._subject.backend.progress
        if progress.silence(now) < SILENT * self._stall_after:
            return False
        if not progress.in_flight:
            return True
        unsure = self._plane.has_whole(backend) or backend.estimate.unheard > 0
        return unsure and progress.sight(now, self._stall_after) is Sight.NOTHING

    async def _get_token(self) -> None:
        backend, ledger, clock = self._subject.backend, self._plane.ledger, self._plane.loop.time
        self._owed_since = clock()
        ledger.asked(backend, self._owed_since)
        try:
            await self._asker.ask_for_token(backend, self._address, None)
        except NO_ANSWER:
            # The health probe reports it.
            return
        else:
            self._plane.worked(backend, clock())
        finally:
            ledger.unasked(backend, clock())
            self._owed_since = None
