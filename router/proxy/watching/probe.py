"""Asks each backend, every so often, whether it lives and what it serves.

A probe must not wait behind a running answer. GET /v1/models does in some engines, so whether a backend lives is asked
of a path that takes no lock. Any answer below 500 shows life, a 404 too. A probe that times out while requests are in
flight shows only that the backend is busy. What a backend serves is asked of GET /v1/models, and only of backends
whose models router.yaml doesn't list (`discover`).

A backend without a path is never probed: clients' requests alone show whether it lives. One that is out is on trial
again when a probe would have been answered, had there been one.

An engine can be stuck and say that it is well. So these are asked for one token, and are out until they give it:

  1. A backend that was found stalled.
  2. A launched one, once for each `stall_after` in which it gets no request.
  3. One with which `SUSPECT` attempts in a row were ended because they were late. Where another backend answers
     instead, or clients soon give up, no request waits long enough to find it stalled.

Between two probes, the load that an engine publishes is read (`listen`).
"""

import asyncio
import errno
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from math import inf

import aiohttp
import structlog

from launchers.abilities import Abilities
from router.core.catalog import Backend
from router.core.health import Verdict, pause
from router.proxy.dialling import Address
from router.proxy.plane import Plane
from router.proxy.watching.asking import NO_ANSWER, Asker
from router.proxy.watching.discover import Discoverer
from router.proxy.watching.examine import Examiner, Process, Subject
from router.proxy.watching.listen import Listener
from router.proxy.watching.sleepers import Sleepers, Wake, met_nobody
from router.telemetry.tasks import for_ever
from router.tls.faults import why_not

log = structlog.get_logger("router")

SUSPECT = 3
"""Late attempts in a row after which a backend has to show that it works."""

UNHEARD = 3
"""Unanswered probes in a row, of a launched engine that has nothing to do, after which it may be restarted."""

_MOST_PROBES_A_SECOND = 50.0
"""Of all backends together that are out or in doubt."""

_JITTER = 0.1
"""Share of the interval by which a probe comes earlier or later, so that many backends and many routers spread out."""

_FIRST_PROBES_A_SECOND = 200.0
_MOST_READS_A_SECOND = 50.0


@dataclass(frozen=True, slots=True)
class Target:
    """How one backend is probed.

    `path` shows life; None: nothing but clients' requests does. `discovers`: its models are asked for. `publishes`: its
    published load is read. `launched`: it is asked for a token when idle, and `process` gives the process to look at,
    if there is one. `wake`: how its machine is woken, if it is one that sleeps. `told`: it is a peer's model, and its
    peer tells how it stands.
    """

    backend: Backend
    path: str | None = "/health"
    discovers: bool = False
    launched: bool = False
    publishes: bool = True
    wake: Wake | None = None
    process: Callable[[], Process | None] = lambda: None
    told: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeTiming:
    """Seconds between two probes, seconds for one's answer, and seconds without a token until a backend is stalled."""

    interval: float = 5.0
    timeout: float = 2.0
    stall_after: float = inf


class Prober:
    """Probes every target in a task of its own. `uniform` gives a random number from 0 to 1.

    `timing` may be replaced at any time. `sleepers` hears of machines that may sleep.
    """

    def __init__(self, plane: Plane, timing: ProbeTiming, uniform: Callable[[], float]) -> None:
        self.timing = timing
        self._plane = plane
        self._uniform = uniform
        self._asker: Asker | None = None
        self._tasks: dict[Backend, asyncio.Task[None]] = {}
        self._targets: dict[Backend, Target] = {}
        self._discoverers: dict[Backend, Discoverer] = {}
        # The backends that are out or in doubt, and since when.
        self._ill: dict[Backend, float] = {}
        # When each backend was probed last, and its pause since then.
        self._pauses: dict[Backend, tuple[float, asyncio.Timeout]] = {}
        self._examiner = Examiner(plane)
        self.sleepers = Sleepers()
        plane.on_quiet = self._examine
        plane.on_doubt = self._probe_soon

    def _examine(self, backend: Backend) -> None:
        """Look into a backend that is silent."""
        target = self._targets.get(backend)
        if target is not None and self._asker is not None:
            self._examiner.timeout = self.timing.timeout
            subject = Subject(backend, target.path, target.publishes, target.process)
            self._examiner.look_into(subject, self._asker)

    def _probe_soon(self, backend: Backend) -> None:
        """Shorten the pause of a backend that is out or in doubt, as a request failed there or waits for it."""
        probed, pausing = self._pauses.get(backend, (0.0, None))
        if pausing is not None and not pausing.expired():
            soonest = max(self._plane.loop.time(), probed + pause(backend.health, self.timing.interval, 0.0))
            pausing.reschedule(min(soonest, pausing.when() or inf))

    def watch(self, target: Target) -> None:
        """Probe a backend from now on, unless its peer tells of it. The first probes of many are spread out."""
        self._stop_watching(target.backend)
        self.sleepers.watch(target.backend, target.wake)
        if target.told:
            return
        if self._asker is None:
            self._asker = Asker(self._plane.connections)
        within = min(self.timing.interval, len(self._tasks) / _FIRST_PROBES_A_SECOND)
        watch = partial(self._watch, target, self._asker, self._uniform() * within)
        watching = for_ever(f"the watch over {target.backend.name}", watch)
        self._targets[target.backend] = target
        if target.discovers:
            seldom = target.path is None
            self._discoverers[target.backend] = Discoverer(
                self._plane, target.backend, self._asker, seldom=seldom, on_learned=self._learned
            )
        self._tasks[target.backend] = asyncio.create_task(watching, name=f"probe {target.backend.name}")

    def _learned(self, backend: Backend, models: Mapping[str, Abilities]) -> None:
        self.sleepers.learned(backend, models)

    def forget(self, backend: Backend) -> None:
        """Stop probing a backend."""
        self._stop_watching(backend)
        self.sleepers.forget(backend)

    def _stop_watching(self, backend: Backend) -> None:
        self._targets.pop(backend, None)
        self._ill.pop(backend, None)
        self._pauses.pop(backend, None)
        self._examiner.forget(backend)
        discoverer = self._discoverers.pop(backend, None)
        if discoverer is not None:
            discoverer.stop()
        task = self._tasks.pop(backend, None)
        if task is not None:
            task.cancel()

    async def stop(self) -> None:
        """Stop all probes."""
        tasks, self._tasks = self._tasks, {}
        # Requests may still be under way, and fail: nothing is left for them to shorten.
        self._pauses.clear()
        for task in tasks.values():
            task.cancel()
        for discoverer in self._discoverers.values():
            discoverer.stop()
        await asyncio.gather(*tasks.values(), self._examiner.stop(), return_exceptions=True)
        if self._asker is not None:
            await self._asker.close()

    async def _watch(self, target: Target, asker: Asker, first: float) -> None:
        backend = target.backend
        idle_since, answered = time.monotonic(), 0
        listener = Listener(self._plane, backend, asker, self.timing.timeout) if target.publishes else None
        discoverer = self._discoverers.get(backend)
        await asyncio.sleep(first)
        while True:
            address, probed = self._plane.connections.address(backend), self._plane.loop.time()
            if address is not None:
                try:
                    reached = await self._probe(asker, target, address)
                    self._plane.connections.warm(backend)
                    if discoverer is not None and reached:
                        discoverer.look(address)
                    if backend.in_flight or backend.answered != answered:
                        idle_since, answered = time.monotonic(), backend.answered
                    idle = target.launched and time.monotonic() - idle_since >= self.timing.stall_after
                    suspect = backend.estimate.unheard >= SUSPECT and self.timing.stall_after < inf
                    if target.launched and not backend.in_flight:
                        self._find_unresponsive(backend)
                    if backend.stalled or ((idle or suspect) and backend.health.usable):
                        await self._ask_for_token(asker, backend, address)
                        idle_since = time.monotonic()
                except Exception:
                    # A bug must not end the watch over a backend: it is logged, and the next probe tries.
                    log.exception("a probe failed because of a bug in the router", backend=backend.name)
            until = time.monotonic() + self._seconds_to_next(backend) * (1 + _JITTER * (2 * self._uniform() - 1))
            # `_probe_soon` may end the pause.
            with suppress(TimeoutError):
                async with asyncio.timeout(None) as pausing:
                    self._pauses[backend] = probed, pausing
                    await self._pause(backend, listener, until)
            self._pauses.pop(backend, None)

    def _seconds_to_next(self, backend: Backend) -> float:
        """Tell in how many seconds a backend is probed again."""
        now, interval = self._plane.loop.time(), self.timing.interval
        if backend.health.verdict is Verdict.UP:
            self._ill.pop(backend, None)
            return interval
        ill = now - self._ill.setdefault(backend, now)
        return min(interval, max(pause(backend.health, interval, ill), len(self._ill) / _MOST_PROBES_A_SECOND))

    async def _pause(self, backend: Backend, listener: Listener | None, until: float) -> None:
        """Wait until the next probe, and read meanwhile the load that the backend publishes."""
        if listener is not None:
            try:
                await listener.listen(until, len(self._tasks) / _MOST_READS_A_SECOND)
            except Exception:  # as in `_watch`
                log.exception("what an engine publishes could not be read", backend=backend.name)
        await asyncio.sleep(max(0.0, until - time.monotonic()))

    async def _probe(self, asker: Asker, target: Target, address: Address) -> bool:
        """Find out whether a backend lives; tell whether anything listens at its address."""
        backend, failure, reached, refused, sent = target.backend, "", True, False, self._plane.loop.time()
        nobody = False
        if target.path is None:
            self._plane.succeeded(backend, heard=False)
            return True
        try:
            async with asker.get(backend, address, target.path, self.timing.timeout) as answer:
                if answer.status >= 500:
                    failure = f"answered {answer.status} to a probe"
        except TimeoutError as error:
            self._plane.ledger.probed(backend, sent, answered=False)
            nobody = met_nobody(error)
            # The system accepts connections to a server that is busy, unless it sleeps.
            if backend.in_flight and not (nobody and target.wake):
                return True
            failure = f"no answer to a probe in {self.timing.timeout:g} s"
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE}:
                # The router itself has no file descriptor left.
                return True
            nobody = met_nobody(error)
            reached, refused = False, isinstance(error, OSError) and not why_not(error)
            failure = f"a probe failed: {address.fault(error)}"
        if self._plane.connections.address(backend) != address:
            # It was restarted meanwhile: the outcome is of a process that is gone.
            return False
        if not failure:
            self._plane.succeeded(backend)
        elif not (nobody and self.sleepers.unreached(backend)):
            self._plane.failed(backend, failure, refused=refused)
        return reached

    def _find_unresponsive(self, backend: Backend) -> None:
        """Find a launched engine stalled that has nothing to do and answers no probe."""
        seconds = backend.progress.deaf(self._plane.loop.time())
        if not backend.stalled and backend.progress.unanswered >= UNHEARD and seconds >= self.timing.stall_after:
            self._plane.stalled(backend, f"stalled: no answer to a probe for {seconds:.0f} s")

    async def _ask_for_token(self, asker: Asker, backend: Backend, address: Address) -> None:
        """Find out whether a backend works. Any answer shows that it does.

        No answer in time shows that it doesn't, unless it answers others meanwhile. The time includes the reading of
        the prompts it holds; if that may take longer than `stall_after`, no answer would show nothing.
        """
        stall_after, reading = self.timing.stall_after, backend.size / backend.estimate.slowest.speed
        if not backend.models or reading > stall_after:
            return
        before, within = (backend.answered, backend.worked_at), stall_after + reading
        try:
            await asker.ask_for_token(backend, address, within)
        except TimeoutError:
            busy = (backend.answered, backend.worked_at) != before or self._plane.has_whole(backend)
            if not (busy or backend.stalled) and self._plane.connections.address(backend) == address:
                self._plane.stalled(backend, f"stalled: no token in {within:g} s")
        except NO_ANSWER:
            # The health probe reports it.
            return
        else:
            self._plane.worked(backend, self._plane.loop.time())
