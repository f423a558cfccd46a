"""Asks each backend, every so often, whether it lives and what it serves.

A probe must not wait behind a running answer: GET /v1/models does in some engines, so whether a backend lives is
asked of a path that takes no lock. Any answer below 500 shows life, a 404 too. A probe that times out while requests
are in flight shows only that the backend is busy. What a backend serves is asked of GET /v1/models, and only of
those whose models router.yaml doesn't list; no answer changes nothing.

An engine can be stuck, and say that it is well. So a backend that was found stalled is asked for one token, and stays
out until that is answered; a launched one, too, each `stall_after` in which nobody asks it for anything; and one that
`SUSPECT` attempts in a row were let go of, because they were late: where somebody else answers, or clients soon give
up, nobody waits long enough to find it stalled.

Between two probes, what an engine publishes of its load is read (`router.proxy.listen`).
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
import msgspec
import structlog

from router.core.catalog import Backend
from router.core.health import Verdict, pause
from router.proxy.examine import Examiner, Process, Subject, ask_for_a_token
from router.proxy.listen import Listener
from router.proxy.plane import Plane
from router.proxy.pool import Address
from router.proxy.resolve import Resolver
from router.telemetry.tasks import for_ever

log = structlog.get_logger("router")

SUSPECT = 3
"""Attempts in a row that were late when they were let go of, after which a backend has to show that it works."""

UNHEARD = 3
"""Probes in a row that a launched engine doesn't answer while it has nothing to do, after which it may be restarted."""

_MOST_PROBES_A_SECOND = 50.0  # of those that are out or in doubt, all of them together
_JITTER = 0.1  # of the interval: probes of many backends, and of many routers, spread out
_FIRST_PROBES_A_SECOND = 200.0
_MOST_LOOKS_A_SECOND = 50.0
_MAX_MODELS_BODY = 4 * 1024 * 1024


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


@dataclass(frozen=True, slots=True)
class Target:
    """How one backend is probed: the path that shows life, whether its models are asked for, and its load."""

    backend: Backend
    path: str = "/health"
    discovers: bool = False
    launched: bool = False
    publishes: bool = True
    process: Callable[[], Process | None] = lambda: None


@dataclass(frozen=True, slots=True)
class ProbeTiming:
    """How often a backend is probed, how long an answer may take, how long one that gives no token: in seconds."""

    interval: float = 5.0
    timeout: float = 2.0
    stall_after: float = inf


class Prober:
    """Probes every target in a task of its own. `uniform` gives a random number from 0 to 1."""

    def __init__(self, plane: Plane, rhythm: ProbeTiming, uniform: Callable[[], float]) -> None:
        self.rhythm = rhythm
        self._plane = plane
        self._uniform = uniform
        self._session: aiohttp.ClientSession | None = None
        self._tasks: dict[Backend, asyncio.Task[None]] = {}
        self._targets: dict[Backend, Target] = {}
        self._ill: dict[Backend, float] = {}  # who is out or in doubt, and since when
        self._rests: dict[Backend, tuple[float, asyncio.Timeout]] = {}  # when each was probed, and its rest since then
        self._examiner = Examiner(plane, self._headers)
        plane.on_quiet = self._examine
        plane.on_doubt = self._hurry

    def _examine(self, backend: Backend) -> None:
        """Look into a backend that is silent."""
        target = self._targets.get(backend)
        if target is not None and self._session is not None:
            self._examiner.timeout = self.rhythm.timeout
            subject = Subject(backend, target.path, target.publishes, target.process)
            self._examiner.look_into(subject, self._session)

    def _hurry(self, backend: Backend) -> None:
        """Probe a backend that is out or in doubt now, if it wasn't just probed: a request failed, or waits for it."""
        probed, rest = self._rests.get(backend, (0.0, None))
        if rest is not None and not rest.expired():
            soonest = max(self._plane.loop.time(), probed + pause(backend.health, self.rhythm.interval, 0.0))
            rest.reschedule(min(soonest, rest.when() or inf))

    def watch(self, target: Target) -> None:
        """Probe a backend from now on, in this way; where there are many, the first probes are spread out."""
        self.forget(target.backend)
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0, force_close=True, resolver=Resolver(self._plane.connections.names), use_dns_cache=False
                )
            )
        within = min(self.rhythm.interval, len(self._tasks) / _FIRST_PROBES_A_SECOND)
        watch = partial(self._watch, target, self._session, self._uniform() * within)
        watching = for_ever(f"the watch over {target.backend.name}", watch)
        self._targets[target.backend] = target
        self._tasks[target.backend] = asyncio.create_task(watching, name=f"probe {target.backend.name}")

    def forget(self, backend: Backend) -> None:
        """Probe a backend no more."""
        self._targets.pop(backend, None)
        self._ill.pop(backend, None)
        self._rests.pop(backend, None)
        self._examiner.forget(backend)
        task = self._tasks.pop(backend, None)
        if task is not None:
            task.cancel()

    async def stop(self) -> None:
        """Probe no more."""
        tasks, self._tasks = self._tasks, {}
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), self._examiner.stop(), return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def _watch(self, target: Target, session: aiohttp.ClientSession, first: float) -> None:
        backend = target.backend
        idle_since, answered = time.monotonic(), 0
        listener = None
        if target.publishes:
            listener = Listener(self._plane, backend, session, self.rhythm.timeout, self._headers)
        await asyncio.sleep(first)
        while True:
            pool, probed = self._plane.pool(backend), self._plane.loop.time()
            if pool is not None:
                try:
                    reached = await self._probe(session, target, pool.address)
                    self._plane.connections.warm(backend)
                    if target.discovers and reached:
                        await self._discover(session, backend, pool.address)
                    if backend.in_flight or backend.answered != answered:
                        idle_since, answered = time.monotonic(), backend.answered
                    idle = target.launched and time.monotonic() - idle_since >= self.rhythm.stall_after
                    suspect = backend.estimate.unheard >= SUSPECT and self.rhythm.stall_after < inf
                    if target.launched and not backend.in_flight:
                        self._find_deaf(backend)
                    if backend.stalled or ((idle or suspect) and backend.health.usable):
                        await self._ask_for_a_token(session, backend, pool.address)
                        idle_since = time.monotonic()
                except Exception:  # a bug must not end the watch over a backend: it is told, and the next one tries
                    log.exception("a probe failed by itself", backend=backend.name)
            until = time.monotonic() + self._pause(backend) * (1 + _JITTER * (2 * self._uniform() - 1))
            with suppress(TimeoutError):  # somebody is in a hurry
                async with asyncio.timeout(None) as rest:
                    self._rests[backend] = probed, rest
                    await self._rest(backend, listener, until)
            self._rests.pop(backend, None)

    def _pause(self, backend: Backend) -> float:
        """Tell in how many seconds a backend is probed again."""
        now, interval = self._plane.loop.time(), self.rhythm.interval
        if backend.health.verdict is Verdict.UP:
            self._ill.pop(backend, None)
            return interval
        ill = now - self._ill.setdefault(backend, now)
        return min(interval, max(pause(backend.health, interval, ill), len(self._ill) / _MOST_PROBES_A_SECOND))

    async def _rest(self, backend: Backend, listener: Listener | None, until: float) -> None:
        """Wait until the next probe; read meanwhile what the backend publishes."""
        if listener is not None:
            try:
                await listener.listen(until, len(self._tasks) / _MOST_LOOKS_A_SECOND)
            except Exception:  # as in `_watch`
                log.exception("what an engine publishes could not be read", backend=backend.name)
        await asyncio.sleep(max(0.0, until - time.monotonic()))

    async def _probe(self, session: aiohttp.ClientSession, target: Target, address: Address) -> bool:
        """See whether a backend lives; tell whether there is anybody at its address."""
        backend, verdict, reached, refused, sent = target.backend, "", True, False, self._plane.loop.time()
        try:
            async with session.get(
                f"{address}{target.path}",
                headers=self._headers(backend),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=self.rhythm.timeout),
            ) as answer:
                if answer.status >= 500:
                    verdict = f"answered {answer.status} to a probe"
        except TimeoutError:
            self._plane.ledger.probed(backend, sent, answered=False)
            if backend.in_flight:
                return True
            verdict = f"no answer to a probe in {self.rhythm.timeout:g} s"
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE}:
                return True  # it is the router that has no file descriptor left
            reached, refused = False, isinstance(error, OSError)
            verdict = f"a probe failed: {error or type(error).__name__}"
        if self._plane.connections.address(backend) != address:
            return False  # it was restarted meanwhile: this speaks of one that is gone
        if verdict:
            self._plane.failed(backend, verdict, refused=refused)
        else:
            self._plane.succeeded(backend)
        return reached

    def _find_deaf(self, backend: Backend) -> None:
        """Take a launched engine for stuck that has nothing to do, and answers no probe."""
        deaf = backend.progress.deaf(self._plane.loop.time())
        if not backend.stalled and backend.progress.unanswered >= UNHEARD and deaf >= self.rhythm.stall_after:
            self._plane.stalled(backend, f"stalled: no answer to a probe for {deaf:.0f} s")

    async def _ask_for_a_token(self, session: aiohttp.ClientSession, backend: Backend, address: Address) -> None:
        """See whether a backend works: any answer shows it, none in time that it doesn't, if nobody else gets any.

        What it has to read before counts, too; where that may take long, nothing could be told.
        """
        stall_after, reading = self.rhythm.stall_after, backend.size / backend.prefill.speed
        model = next(iter(backend.models.values()), None)
        if model is None or reading > stall_after:
            return
        before, within = (backend.answered, backend.worked_at), stall_after + reading
        try:
            await ask_for_a_token(session, backend, address, self._headers(backend), within)
        except TimeoutError:
            busy = (backend.answered, backend.worked_at) != before or self._plane.has_whole(backend)
            if not (busy or backend.stalled) and self._plane.connections.address(backend) == address:
                self._plane.stalled(backend, f"stalled: no token in {within:g} s")
        except (aiohttp.ClientError, OSError):
            return  # the probe of its health tells
        else:
            self._plane.worked(backend, self._plane.loop.time())

    async def _discover(self, session: aiohttp.ClientSession, backend: Backend, address: Address) -> None:
        body = bytearray()
        try:
            async with session.get(
                f"{address}/v1/models",
                headers=self._headers(backend),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=self.rhythm.timeout),
            ) as answer:
                if answer.status != 200:
                    raise ValueError(f"status {answer.status}")  # noqa: TRY301  (one place that tells)
                async for piece in answer.content.iter_any():
                    body += piece
                    if len(body) > _MAX_MODELS_BODY:
                        raise ValueError(f"a list of more than {_MAX_MODELS_BODY} bytes")  # noqa: TRY301
            models = msgspec.json.decode(body, type=_Models)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError, RecursionError) as error:
            if isinstance(error, ValueError | RecursionError):  # it has answered
                self._plane.directory.discovered(backend)
            if not backend.models:
                log.warning("can't tell what a backend serves", backend=backend.name, why=str(error) or "no answer")
            return
        self._plane.learn_models(backend, {model.id: model.id for model in models.data if model.id})

    def _headers(self, backend: Backend) -> Mapping[str, str]:
        key = self._plane.api_key(backend)
        return {"authorization": f"Bearer {key}"} if key else {}
