"""Looks into a backend that holds requests and is silent: what else could show that it works is asked for.

Nothing is asked of a backend that sends content. Of one that has been silent for a part of `stall_after`, as long as it
is: the CPU time of its processes, where they are ours; its counters of tokens; whether it answers a probe. Each is a
sign of work or its absence (`router.core.stall.Progress`), and after each look the plane judges.

Where nothing of this tells, or no request is left to show anything, it is asked for a token. A token that is asked for
is a request like others: while it is owed, the silence grows.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp
import msgspec
import structlog

from launchers.tree import work_of as cpu_work_of
from router.core.load import PATH, work_of
from router.core.stall import EVERY, QUIET, SILENT, Sight, StallVerdict
from router.proxy.plane import Plane
from router.telemetry.tasks import aside

if TYPE_CHECKING:
    from router.core.catalog import Backend
    from router.proxy.pool import Address

log = structlog.get_logger("router")

_LONGEST = 2.0  # seconds between two looks, and for which one waits
_CHAT = "/v1/chat/completions"
_MAX_PAGE = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Process:
    """Whose CPU time shows whether an engine works. `works`: much of it shows work; `tells`: little shows none."""

    pid: int
    works: bool
    tells: bool


@dataclass(frozen=True, slots=True)
class Subject:
    """A backend that can be looked into: the path of its probe, whether it has a page of counters, its process."""

    backend: "Backend"
    path: str
    publishes: bool
    process: Callable[[], Process | None]


class Examiner:
    """Looks into silent backends, each in a task of its own. `timeout`, in seconds, is how long a probe may take."""

    def __init__(self, plane: Plane, headers: Callable[["Backend"], Mapping[str, str]]) -> None:
        self.timeout = _LONGEST
        self._plane = plane
        self._headers = headers
        self._tasks: dict[Backend, asyncio.Task[None]] = {}

    def look_into(self, subject: Subject, session: aiohttp.ClientSession) -> None:
        """Look into a backend until it shows that it works, or is found stalled; if that isn't done already."""
        backend = subject.backend
        if backend not in self._tasks and not backend.stalled and self._plane.pool(backend) is not None:
            task = asyncio.create_task(self._examine(subject, session), name=f"examine {backend.name}")
            self._tasks[backend] = task
            task.add_done_callback(lambda _: self._tasks.pop(backend, None))

    def forget(self, backend: "Backend") -> None:
        """Look into a backend no more."""
        task = self._tasks.get(backend)
        if task is not None:
            task.cancel()

    async def stop(self) -> None:
        """Look into none."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _examine(self, subject: Subject, session: aiohttp.ClientSession) -> None:
        try:
            await _Examination(self._plane, subject, session, self._headers(subject.backend), self.timeout).run()
        except Exception:  # a bug must not end the plane's sweep: it is told, and the next sweep tries
            log.exception("a look into a silent backend failed by itself", backend=subject.backend.name)


class _Examination:
    """One silence of one backend."""

    def __init__(
        self,
        plane: Plane,
        subject: Subject,
        session: aiohttp.ClientSession,
        headers: Mapping[str, str],
        timeout: float,
    ) -> None:
        self._plane = plane
        self._subject = subject
        self._session = session
        self._headers = headers
        self._stall_after = plane.limits.stall_after
        self._every = min(_LONGEST, EVERY * self._stall_after)
        self._timeout = aiohttp.ClientTimeout(total=min(timeout, self._stall_after / 2))
        self._address = plane.connections.address(subject.backend)
        self._owed_since: float | None = None  # a token

    async def run(self) -> None:
        looks = [self._again(look) for look in (self._read_cpu, self._read_counters, self._probe)]
        tasks = [asyncio.create_task(each) for each in looks]
        try:
            while self._goes_on():
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

    def _goes_on(self) -> bool:
        """Tell whether it is the same silence, of the same engine: where nothing is in flight, a long one."""
        backend = self._subject.backend
        least = (QUIET if backend.progress.in_flight else SILENT) * self._stall_after
        silence = backend.progress.silence(self._plane.loop.time())
        return self._plane.connections.address(backend) == self._address and silence >= least

    async def _again(self, look: Callable[[], Awaitable[bool]]) -> None:
        while await look():  # noqa: ASYNC110 -- what is waited for is outside of this process
            await asyncio.sleep(self._every)

    # The looks; each tells whether there is a point in another

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
        sent = self._plane.loop.time()
        answered = await self._get(self._subject.path) is not None
        self._plane.ledger.probed(self._subject.backend, sent, answered=answered)
        return True

    async def _get(self, path: str) -> bytes | None:
        """Fetch a page, as far as it isn't too long; None where there was no answer."""
        page = bytearray()
        try:
            async with self._session.get(
                f"{self._address}{path}", headers=self._headers, allow_redirects=False, timeout=self._timeout
            ) as answer:
                async for piece in answer.content.iter_any():
                    page += piece
                    if len(page) > _MAX_PAGE:
                        break
        except (TimeoutError, aiohttp.ClientError, OSError):
            return None
        return bytes(page)

    # A token

    def _needs_token(self, now: float) -> bool:
        """Tell whether nothing else can show whether it works."""
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
            await ask_for_a_token(self._session, backend, self._address, self._headers, None)
        except (aiohttp.ClientError, OSError):
            return  # the probe of its health tells
        else:
            self._plane.worked(backend, clock())
        finally:
            ledger.unasked(backend, clock())
            self._owed_since = None


async def ask_for_a_token(
    session: aiohttp.ClientSession,
    backend: "Backend",
    address: "Address | None",
    headers: Mapping[str, str],
    within: float | None,
) -> None:
    """Ask a backend for one token, and wait for whatever it answers, `within` so many seconds."""
    model = next(iter(backend.models.values()), "")
    body = msgspec.json.encode({"model": model, "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}]})
    if backend.put_right is not None:
        body = backend.put_right(_CHAT, body)
    async with session.post(
        f"{address}{_CHAT}",
        data=body,
        headers={**headers, "content-type": "application/json"},
        timeout=aiohttp.ClientTimeout(total=within),
    ) as answer:
        await answer.read()
