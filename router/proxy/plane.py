"""The data plane's state: backends with their pools, the catalog over them, and the exchanges under way.

The plane is the one writer of every `Backend`. The supervisor, the prober and the exchanges tell it what they met;
it decides by `router.core.health` what to believe.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf

import structlog

from router.core import health, stall
from router.core.balance import Draw
from router.core.catalog import Backend, Catalog
from router.core.errors import UnavailableError
from router.core.exchange import UNWELL_STATUSES, Failure
from router.core.health import Health, Thresholds, Verdict
from router.core.record import Record
from router.proxy.pool import Address, Pool
from router.proxy.relay import Exchange

_log = structlog.get_logger("router")


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds an exchange. Times are in seconds."""

    retries: int = 2
    connect_timeout: float = 5.0
    first_byte_timeout: float = 600.0
    idle_timeout: float = 120.0
    stall_after: float = inf


class Plane:
    """Where requests come in and go out. `draw` breaks ties; `on_record` hears of each ended exchange."""

    def __init__(
        self,
        limits: Limits,
        thresholds: Thresholds,
        routes: Mapping[str, tuple[str, ...]],
        draw: Draw,
        on_record: Callable[[Record], None] = lambda _: None,
        on_stall: Callable[[Backend], None] = lambda _: None,
    ) -> None:
        self.limits = limits
        self.draw = draw
        self.exchanges: set[Exchange] = set()
        self.backends: dict[str, Backend] = {}
        self.catalog = Catalog((), routes)
        self.loop = asyncio.get_running_loop()
        self._thresholds = thresholds
        self._sweeping: asyncio.TimerHandle | None = None
        shortest = min(limits.first_byte_timeout, limits.idle_timeout, limits.stall_after)
        self._sweep_every = min(1.0, max(0.01, shortest / 10))
        self._routes = routes
        self._on_record = on_record
        self._on_stall = on_stall
        self._pools: dict[str, Pool] = {}
        self._keys: dict[str, str] = {}

    # Backends: what there is

    def add(self, backend: Backend, address: Address | None = None, api_key: str | None = None) -> None:
        """Take in a backend; without an address it waits for `serve`."""
        self.backends[backend.name] = backend
        if api_key is not None:
            self._keys[backend.name] = api_key
        if address is not None:
            self._open_pool(backend, address)
        self._recatalog()

    def learn_models(self, backend: Backend, models: Mapping[str, str]) -> None:
        """Take a backend's word for what it serves."""
        if backend.models != models:
            backend.models = models
            self._recatalog()

    def _recatalog(self) -> None:
        self.catalog = Catalog(self.backends.values(), self._routes)

    def serve(self, backend: Backend, address: Address) -> None:
        """Note that a launched engine is ready at this address."""
        self._drop_pool(backend)
        self._open_pool(backend, address)
        backend.health, backend.stalled = health.declared(up=True, now=self.loop.time()), False

    def withdraw(self, backend: Backend, reason: str) -> None:
        """Note that a launched engine can't be sent anything now."""
        self._drop_pool(backend)
        backend.health = health.declared(up=False, reason=reason)

    def _open_pool(self, backend: Backend, address: Address) -> None:
        self._pools[backend.name] = Pool(address, self.limits.connect_timeout, self.api_key(backend))

    def _drop_pool(self, backend: Backend) -> None:
        pool = self._pools.pop(backend.name, None)
        if pool is not None:
            pool.close()

    def pool(self, backend: Backend) -> Pool | None:
        """Give the connections to a backend; None while it has no address."""
        return self._pools.get(backend.name)

    def address(self, backend: Backend) -> Address | None:
        """Tell where a backend listens now."""
        pool = self.pool(backend)
        return None if pool is None else pool.address

    def api_key(self, backend: Backend) -> str | None:
        """Give the key that this backend wants, if it wants one."""
        return self._keys.get(backend.name)

    # What exchanges and probes met

    def began(self, backend: Backend) -> None:
        """Count an attempt."""
        backend.in_flight += 1

    def ended(self, backend: Backend) -> None:
        """Count it out again."""
        backend.in_flight -= 1

    def worked(self, backend: Backend, now: float) -> None:
        """Note that a backend has sent content: a stalled one has come to life again."""
        backend.worked_at = now
        if backend.stalled:
            backend.stalled = False
            _log.info("backend works again", backend=backend.name)

    def stalled(self, backend: Backend, reason: str) -> None:
        """Take a backend out that has stopped working: what it holds is sent elsewhere, or told so."""
        backend.stalled = True
        self._believe(backend, health.declared(up=False, reason=reason))
        for each in [each for each in self.exchanges if each.backend is backend]:
            each.on_failure(Failure.STALLED, reason)
        self._on_stall(backend)

    def answered(self, backend: Backend, status: int) -> None:
        """Note that a backend has answered a request whole, be it with an error."""
        backend.answered += 1
        if backend.health is not health.WELL and status not in UNWELL_STATUSES:
            self.succeeded(backend, probe=False)

    def succeeded(self, backend: Backend, *, probe: bool = True) -> None:
        """Note that a backend answered a probe, or a request, as it should; of a stalled one that says nothing."""
        if backend.stalled:
            return
        now = self.loop.time()
        self._believe(backend, health.succeeded(backend.health, self._thresholds, probe=probe, now=now))

    def failed(self, backend: Backend, reason: str, *, probe: bool = False) -> None:
        """Note that a backend didn't."""
        now = self.loop.time()
        self._believe(backend, health.failed(backend.health, self._thresholds, reason, probe=probe, now=now))

    def _believe(self, backend: Backend, now: Health) -> None:
        before, backend.health = backend.health.verdict, now
        if now.verdict is before:
            return
        if now.verdict is Verdict.DOWN:
            _log.warning("backend is down", backend=backend.name, reason=now.reason)
        elif now.verdict is Verdict.PROBING:
            _log.info("backend is on trial", backend=backend.name)
        elif now.verdict is Verdict.UP and before is not Verdict.SUSPECT:
            _log.info("backend is up", backend=backend.name)

    def entered(self, exchange: Exchange) -> None:
        """Take note of an exchange that starts."""
        self.exchanges.add(exchange)
        if self._sweeping is None:
            self._sweeping = self.loop.call_later(self._sweep_every, self._sweep)

    def _sweep(self) -> None:
        """Look at each exchange under way, and again as long as there are some."""
        now = self.loop.time()
        for each in list(self.exchanges):
            each.look(now)
        if self.limits.stall_after < inf:
            self._find_stalled(now)
        again = bool(self.exchanges)
        self._sweeping = self.loop.call_later(self._sweep_every, self._sweep) if again else None

    def _find_stalled(self, now: float) -> None:
        """Look for backends that have had requests for too long without a word."""
        waiting: dict[Backend, list[stall.Silence]] = {}
        for each in self.exchanges:
            backend, silence = each.backend, each.silence(now)
            if backend is not None and silence is not None and not backend.stalled:
                waiting.setdefault(backend, []).append(silence)
        for backend, silences in waiting.items():
            if backend.answered != backend.counted:
                backend.counted, backend.worked_at = backend.answered, now
            worked = now - backend.worked_at
            if stall.is_stalled(silences, worked, self.limits.stall_after, backend.prefill.speed):
                longest = max(silence.seconds for silence in silences)
                self.stalled(backend, f"stalled: no content for {longest:.0f} s with requests in flight")

    def finished(self, exchange: Exchange, record: Record) -> None:
        """Let go of an exchange, and pass on what it came to."""
        self.exchanges.discard(exchange)
        self._on_record(record)

    def close(self) -> None:
        """Cut every exchange under way, which its client is told, and every connection."""
        stopped = UnavailableError("The router stopped before the answer was whole. Try again soon.", retry_after=5)
        for each in list(self.exchanges):
            each.break_off(stopped, "the router stopped")
        for pool in self._pools.values():
            pool.close()
