"""Asks each backend, every so often, whether it lives and what it serves.

A probe must not wait behind a running answer: GET /v1/models does in some engines, so whether a backend lives is
asked of a path that takes no lock. Any answer below 500 shows life, a 404 too. A probe that times out while requests
are in flight shows only that the backend is busy. What a backend serves is asked of GET /v1/models, and only of
those whose models router.yaml doesn't list; no answer changes nothing.
"""

import asyncio
import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import aiohttp
import msgspec
import structlog

from router.core.catalog import Backend
from router.proxy.plane import Plane
from router.proxy.pool import Address

log = structlog.get_logger("router")

_JITTER = 0.1  # of the interval: probes of many backends, and of many routers, spread out
_MAX_MODELS_BODY = 4 * 1024 * 1024


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


@dataclass(frozen=True, slots=True)
class Target:
    """How one backend is probed: the path that shows life, and whether its models are asked for."""

    backend: Backend
    path: str = "/health"
    discovers: bool = False


class Prober:
    """Probes every target in a task of its own. `interval` and `timeout` are in seconds.

    `uniform` gives a random number from 0 to 1.
    """

    def __init__(self, plane: Plane, *, interval: float, timeout: float, uniform: Callable[[], float]) -> None:
        self._plane = plane
        self._interval = interval
        self._timeout = timeout
        self._uniform = uniform
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, targets: list[Target]) -> None:
        """Begin with a probe of each, now."""
        self._tasks = [asyncio.create_task(self._watch(each), name=f"probe {each.backend.name}") for each in targets]

    async def stop(self) -> None:
        """Probe no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _watch(self, target: Target) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=self._timeout)) as session:
            while True:
                pool = self._plane.pool(target.backend)
                if pool is not None:
                    try:
                        await self._probe(session, target, pool.address)
                        if target.discovers:
                            await self._discover(session, target.backend, pool.address)
                    except Exception:  # a bug must not end the watch over a backend: it is told, and the next one tries
                        log.exception("a probe failed by itself", backend=target.backend.name)
                await asyncio.sleep(self._interval * (1 + _JITTER * (2 * self._uniform() - 1)))

    async def _probe(self, session: aiohttp.ClientSession, target: Target, address: Address) -> None:
        backend, verdict = target.backend, ""
        try:
            async with session.get(
                f"{address}{target.path}", headers=self._headers(backend), allow_redirects=False
            ) as answer:
                if answer.status >= 500:
                    verdict = f"answered {answer.status} to a probe"
        except TimeoutError:
            if backend.in_flight:
                return
            verdict = f"no answer to a probe in {self._timeout:g} s"
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE}:
                return  # it is the router that has no file descriptor left
            verdict = f"a probe failed: {error or type(error).__name__}"
        pool = self._plane.pool(backend)
        if pool is None or pool.address != address:
            return  # it was restarted meanwhile: this speaks of one that is gone
        if verdict:
            self._plane.failed(backend, verdict, probe=True)
        else:
            self._plane.succeeded(backend)

    async def _discover(self, session: aiohttp.ClientSession, backend: Backend, address: Address) -> None:
        body = bytearray()
        try:
            async with session.get(
                f"{address}/v1/models", headers=self._headers(backend), allow_redirects=False
            ) as answer:
                if answer.status != 200:
                    raise ValueError(f"status {answer.status}")  # noqa: TRY301  (one place that tells)
                async for piece in answer.content.iter_any():
                    body += piece
                    if len(body) > _MAX_MODELS_BODY:
                        raise ValueError(f"a list of more than {_MAX_MODELS_BODY} bytes")  # noqa: TRY301
            models = msgspec.json.decode(body, type=_Models)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError, RecursionError) as error:
            if not backend.models:
                log.warning("can't tell what a backend serves", backend=backend.name, why=str(error) or "no answer")
            return
        self._plane.learn_models(backend, {model.id: model.id for model in models.data if model.id})

    def _headers(self, backend: Backend) -> Mapping[str, str]:
        key = self._plane.api_key(backend)
        return {"authorization": f"Bearer {key}"} if key else {}
