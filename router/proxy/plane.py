"""The data plane: the loop, its timers, the connections to backends, the catalog, and the exchanges under way.

What is known of backends is in the ledger (`router.core.ledger`), which alone decides what to believe. Supervisor,
prober and exchanges tell the plane what they met; the plane tells the ledger, with the time, and does what it asks for.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf

import structlog

from router.core.admission import Bounds, Cap
from router.core.affinity import blocks_of
from router.core.balance import Draw
from router.core.catalog import Backend, Candidate, Catalog, Route, Way
from router.core.dispatch import Dispatcher
from router.core.errors import UnavailableError
from router.core.estimate.ask import Ask, Sent
from router.core.estimate.hearing import HEAR
from router.core.exchange import Failure, waited_in_vain
from router.core.health import Thresholds
from router.core.ledger import Change, Ledger, News
from router.core.load import Load
from router.core.patience import Patience
from router.core.record import Record
from router.core.stall import StallVerdict
from router.core.turns import Ticket
from router.proxy.pool import MAX_IDLE, Address, Pool
from router.proxy.requests import Request
from router.proxy.resolve import Names
from router.proxy.roles import Queued, UnderWay
from router.telemetry.tasks import unharmed

_log = structlog.get_logger("router")

MOST_SHOWN = 100
"""Requests of one queue that are told of."""

UNTOLD_FOR = 10.0
"""Seconds for which requests for names that mean nothing wait, while a new backend has yet to say what it serves. Long
enough for a server that is started along with the router; and a name that is mistyped is told so soon enough."""

_SAID = {News.TRIAL: "backend is on trial", News.UP: "backend is up", News.WORKS: "backend works again"}

RECATALOG_AFTER = 0.02
"""Seconds within which changes of what can be asked for are gathered: a thousand backends may be heard of at once."""


@dataclass(frozen=True, slots=True)
class ExchangeLimits:
    """What bounds an exchange. Times are in seconds."""

    retries: int = 2
    connect_timeout: float = 5.0
    first_byte_timeout: float = 600.0
    idle_timeout: float = 120.0
    stall_after: float = inf


@dataclass(frozen=True, slots=True)
class Balancing:
    """How a backend is chosen, and how requests wait for one; see router.core.dispatch."""

    policy: str = "least_latency"
    affinity: bool = True
    retry_share: float = 0.2
    bounds: Bounds = field(default_factory=Bounds)
    hedge_after: float | str = inf


class Plane:
    """Where requests come in and go out. `draw` breaks ties; `on_record` hears of each ended exchange."""

    def __init__(
        self,
        limits: ExchangeLimits,
        thresholds: Thresholds,
        choice: Balancing,
        draw: Draw,
        on_record: Callable[[Record], None] = lambda _: None,
        on_stall: Callable[[Backend], None] = lambda _: None,
        names: Names | None = None,
        on_want: Callable[[Backend], bool] = lambda _: False,
    ) -> None:
        self.names = names or Names()  # of hosts
        self.ledger = Ledger()
        self.dispatcher: Dispatcher[Queued] = Dispatcher(self.ledger, draw)
        self.patience = Patience()
        self.exchanges: set[UnderWay] = set()
        self.asked = 0  # exchanges, since the start
        self.backends: dict[str, Backend] = {}
        self.catalog = Catalog((), {})
        self.loop = asyncio.get_running_loop()
        self.set_up(limits, thresholds, choice)
        self._sweeping: asyncio.TimerHandle | None = None
        self._hearing: asyncio.TimerHandle | None = None
        self._recataloging: asyncio.TimerHandle | None = None
        self._routes: Mapping[str, Route] = {}
        self._on_record = on_record
        self._on_stall = on_stall
        self._on_want = on_want
        self._pools: dict[Backend, Pool] = {}
        self._keys: dict[Backend, str] = {}
        self.spare_connections = 1024  # that may be open to all backends before they are needed
        self._untold: dict[Backend, float] = {}  # who has yet to say what it serves, and until when that is waited for
        self.on_quiet: Callable[[Backend], None] = lambda _: None  # hears of those that are to be looked into
        self.on_doubt: Callable[[Backend], None] = lambda _: None  # and of those that are to be probed now

    # Backends: what there is

    def set_up(self, limits: ExchangeLimits, thresholds: Thresholds, choice: Balancing) -> None:
        """Take other bounds: those of requests under way, too."""
        self.limits = limits
        self.ledger.thresholds = thresholds
        self.ledger.budget.share = choice.retry_share
        self.dispatcher.set_up(choice.policy, choice.bounds, affinity=choice.affinity)
        self.patience.after = choice.hedge_after
        self.hedges = self.patience.ends
        shortest = min(limits.first_byte_timeout, limits.idle_timeout, limits.stall_after)
        self._sweep_every = min(1.0, max(0.01, shortest / 10))

    def add(
        self, backend: Backend, address: Address | None = None, api_key: str | None = None, *, discovers: bool = False
    ) -> None:
        """Take in a backend, or put it in the place of one of its name; without an address it waits for `serve`.

        `discovers`: it will say what it serves.
        """
        self.backends[backend.name] = backend
        if discovers:
            self._untold[backend] = self.loop.time() + UNTOLD_FOR
        if api_key is not None:
            self._keys[backend] = api_key
        if address is not None:
            self._open_pool(backend, address)
        self.recatalog()

    def retire(self, backend: Backend, reason: str) -> None:
        """Send a backend nothing more; what it has in flight goes on until `drop`."""
        self._untold.pop(backend, None)
        self.ledger.retire(backend, reason)
        self.dispatcher.admission.forget(backend.name)
        if self.backends.get(backend.name) is backend:
            del self.backends[backend.name]
            self.recatalog()

    def drop(self, backend: Backend, reason: str) -> int:
        """Forget a retired backend; tell how many requests it still had, which are cut."""
        for each in self.exchanges:
            each.lose_at(backend)
        late = [each for each in self.exchanges if each.backend is backend]
        for each in late:
            each.break_off(
                UnavailableError(f"The backend '{backend.name}' {reason}. Try again.", retry_after=1), reason
            )
        self._drop_pool(backend)
        self._keys.pop(backend, None)
        self.ledger.forget(backend)
        return len(late)

    def learn_models(self, backend: Backend, models: Mapping[str, str]) -> None:
        """Take a backend's word for what it serves."""
        self._untold.pop(backend, None)
        if self.ledger.learn_models(backend, models):
            self.recatalog()

    def tells_nothing(self, backend: Backend) -> None:
        """Note that a backend answers, but not what it serves: nobody need wait for that."""
        self._untold.pop(backend, None)

    def may_learn(self, now: float) -> bool:
        """Tell whether a name that means nothing may soon mean something: a backend is about to say what it serves."""
        return bool(self._untold) and any(now < until for until in self._untold.values())

    def route(self, routes: Mapping[str, Route]) -> None:
        """Take other routes."""
        self._routes = routes
        self.recatalog()

    def recatalog(self) -> None:
        """Have the catalog made anew, soon: what changes together is taken in together."""
        if self._recataloging is None:
            self._recataloging = self.loop.call_later(RECATALOG_AFTER, self.rebuild_catalog)

    def rebuild_catalog(self) -> None:
        """Make the catalog anew, now."""
        if self._recataloging is not None:
            self._recataloging.cancel()
            self._recataloging = None
        self.catalog = Catalog(self.backends.values(), self._routes)
        self._offer_all()

    def serve(self, backend: Backend, address: Address, api_key: str = "", *, ahead: int = 0) -> None:
        """Note that a launched engine is ready at this address; have so many connections open there ahead of need."""
        if api_key:
            self._keys[backend] = api_key
        self._drop_pool(backend)
        self._open_pool(backend, address).ahead = ahead
        self.warm(backend)
        if self.ledger.ready(backend, self.loop.time()):
            self._offer_soon(backend)

    def withdraw(self, backend: Backend, reason: str, *, due: float | None = None) -> None:
        """Note that a launched engine can't be sent anything now; it is started in `due` seconds, None: it isn't.

        If that is within the time for which requests wait, they wait for it.
        """
        self._drop_pool(backend)
        self._take_out(
            backend, reason, coming=due is not None and due <= self.dispatcher.admission.bounds.queue_timeout
        )

    def revive(self, way: Way) -> bool:
        """Have engines that were given up tried again, as nobody else can serve a request; tell whether any is."""
        given_up = {each.backend for tier in way.tiers for each in tier if each.backend.supervised}
        revived = [backend for backend in given_up if self._on_want(backend)]
        for backend in revived:
            self._take_out(backend, "is tried again", coming=True)
        return bool(revived)

    def asked_beside(self, backend: Backend) -> int:
        """Count the attempts at all others who serve what a backend does, by their models' names or by routes."""
        names = set(backend.models)
        for route in self._routes.values():
            if names.intersection(route.targets):
                names = names.union(route.targets)
        beside = [each for each in self.backends.values() if each is not backend and names.intersection(each.models)]
        return sum(each.ended + each.in_flight for each in beside)

    def vanished(self, backend: Backend, sent: Sent | None) -> None:
        """Note that nobody listens where an attempt was sent: the engine's supervisor is about to say so, too."""
        if self.ledger.vanished(backend, sent, Failure.REFUSED.value):
            self.dispatcher.admission.forget(backend.name)

    def _take_out(self, backend: Backend, reason: str, *, coming: bool = False) -> None:
        """Note that a backend is gone: its cache, and the room that was kept there for a request."""
        self.ledger.take_out(backend, reason, coming=coming)
        self.dispatcher.admission.forget(backend.name)

    def _open_pool(self, backend: Backend, address: Address) -> Pool:
        pool = Pool(address, self.limits.connect_timeout, self.names, self.api_key(backend))
        pool.most_idle = _most_idle(backend.cap)
        self._pools[backend] = pool
        return pool

    def bound(self, backend: Backend, cap: Cap) -> None:
        """Take another bound of what a backend has in flight; as many connections to it are kept while idle."""
        self.ledger.bound(backend, cap)
        if (pool := self.pool(backend)) is not None:
            pool.most_idle = _most_idle(cap)

    def warm(self, backend: Backend) -> None:
        """Have connections open ahead of need, where it takes them; clients' own connections go before these."""
        pool = self.pool(backend)
        if pool is not None and pool.ahead:
            pool.warm(pool.open + self.spare_connections - sum(each.open for each in self._pools.values()))

    def _drop_pool(self, backend: Backend) -> None:
        pool = self._pools.pop(backend, None)
        if pool is not None:
            pool.close()

    def pool(self, backend: Backend) -> Pool | None:
        """Give the connections to a backend; None while it has no address."""
        return self._pools.get(backend)

    def address(self, backend: Backend) -> Address | None:
        """Tell where a backend listens now."""
        pool = self.pool(backend)
        return None if pool is None else pool.address

    def api_key(self, backend: Backend) -> str | None:
        """Give the key that this backend wants, if it wants one."""
        return self._keys.get(backend)

    # What exchanges and probes met

    def ask(self, way: Way, body: bytes, request: Request) -> Ask:
        """Tell what a request is like before it is sent: where there is a choice, which beginnings its prompt has."""
        blocks = blocks_of(body) if way.chooses and self.dispatcher.affinity else ()
        return Ask(len(body), blocks, streams=request.stream, path=request.head.path, key=request.credentials)

    def ended(self, backend: Backend, ask: Ask, sent: Sent) -> None:
        """Release an attempt's room; requests that wait may have it."""
        self.ledger.ended(backend, ask, sent, self.loop.time())
        if len(self.dispatcher.admission):
            self._offer_soon(backend)

    # Who waits

    def wait(self, waiting: Queued, way: Way, queue: str) -> Ticket[Queued]:
        """Have an exchange wait until a backend has room for it. Raises QueueFullError."""
        request, admission, now = waiting.request, self.dispatcher.admission, self.loop.time()
        pace = self.dispatcher.pace(way) if admission.is_empty(queue) else 0.0
        ticket, refused = admission.enter(
            queue, waiting, request.caller.name, request.priority, waiting.size, now, pace
        )
        if refused is not None:
            refused[0].payload.exchange.break_off(refused[1], "had to make room in the queue")
        for tier in way.tiers:
            for candidate in tier:  # it may fit where those before it don't
                self._offer_soon(candidate.backend)
                if not candidate.backend.health.usable:
                    self.on_doubt(candidate.backend)
        return ticket

    def leave(self, ticket: Ticket[Queued]) -> None:
        """Forget who waited; what was kept for it is for others."""
        kept = self.backends.get(ticket.kept_at)
        self.dispatcher.admission.leave(ticket)
        if kept is not None:
            self._offer_soon(kept)

    def queues(self) -> dict[str, list[dict[str, object]]]:
        """Tell who waits for each model, who would go next first: of a long queue its beginning."""
        now, admission = self.loop.time(), self.dispatcher.admission
        return {
            model: [
                {
                    "request_id": ticket.payload.request.id,
                    "key": ticket.key,
                    "priority": ticket.priority,
                    "seconds": round(now - ticket.entered, 3),
                    "bytes": ticket.size,
                }
                for ticket in admission.order(model)[:MOST_SHOWN]
            ]
            for model in admission.models()
        }

    def tell_places(self, now: float) -> None:
        """Tell the streaming clients that have waited for long how many are before them."""
        models = {each.queued.queue for each in self.exchanges if each.queued is not None and each.queued.due(now)}
        for model in models:
            for ahead, ticket in enumerate(self.dispatcher.admission.order(model)):
                if ticket.payload.due(now):
                    ticket.payload.tell(ahead, now)

    def explain(self, model: str, size: int) -> list[dict[str, object]]:
        """Tell where a request of so many bytes would go now, and why. Raises ModelNotFoundError."""
        return self.dispatcher.explain(self.catalog.resolve(model), Ask(size), self.loop.time())

    def _offer_soon(self, backend: Backend) -> None:
        if len(self.dispatcher.admission):
            self.loop.call_soon(self._offer, backend)

    def _offer(self, backend: Backend) -> None:
        """Send a backend who waits for it, as far as it has room."""
        if self.ledger.is_retired(backend) or self.backends.get(backend.name) is not backend:
            return
        now = self.loop.time()

        def may_go(ticket: Ticket[Queued]) -> bool:
            return ticket.payload.candidate_at(backend) is not None

        while ticket := self.dispatcher.next_for(backend, now, may_go):
            candidate = ticket.payload.candidate_at(backend)
            assert candidate is not None  # noqa: S101  (that was asked)
            ticket.payload.go(candidate)

    def _offer_all(self) -> None:
        if len(self.dispatcher.admission):
            for backend in list(self.backends.values()):
                self._offer(backend)

    def published(self, backend: Backend, load: Load | None, ours: int) -> None:
        """Note what an engine publishes of its load, of which `ours` at most came from here; None: nothing."""
        self.ledger.published(backend, load, ours, self.loop.time())

    def worked(self, backend: Backend, now: float) -> None:
        """Note that a backend has sent content: a stalled one has come to life again."""
        self._follow(backend, self.ledger.worked(backend, now))

    def stalled(self, backend: Backend, reason: str) -> None:
        """Take a backend out that has stopped working: what it holds is sent elsewhere, or told so."""
        if not backend.health.usable:  # that it is out has been said, and not why it is restarted
            _log.warning("backend is down", backend=backend.name, reason=reason)
        self._follow(backend, self.ledger.stalled(backend, reason, self.loop.time()))
        for each in self.exchanges:
            each.lose_at(backend)
        for each in [each for each in self.exchanges if each.backend is backend]:
            each.on_failure(Failure.STALLED, reason)
        self._on_stall(backend)

    def begun(self, backend: Backend) -> None:
        """Note that a backend that isn't known to be well has begun an answer."""
        self._follow(backend, self.ledger.begun(backend, self.loop.time()))

    def answered(self, backend: Backend, status: int, sent: Sent | None) -> None:
        """Note a whole answer, which may be an error."""
        self._follow(backend, self.ledger.answered(backend, status, sent, self.loop.time()))

    def refused(self, backend: Backend, status: int, sent: Sent | None) -> None:
        """Note an error's status."""
        self._follow(backend, self.ledger.refused(backend, status, sent, self.loop.time()))

    def busy(self, candidate: Candidate, ask: Ask, seconds: float) -> None:
        """Note a 429: the backend has no room for `seconds`; 0: it didn't say for how long."""
        own_key = self.api_key(candidate.backend) is not None
        self.ledger.busy(candidate, ask, seconds, self.loop.time(), own_key=own_key)

    def disproved(self, candidate: Candidate, ask: Ask, status: int, sent: Sent | None) -> None:
        """Note that another backend of the same model has answered what this one refused: this one was at fault."""
        backend, now = candidate.backend, self.loop.time()
        own_key = self.api_key(backend) is not None
        self._follow(backend, self.ledger.disproved(candidate, ask, status, sent, now, own_key=own_key))

    def excused(self, backend: Backend, sent: Sent) -> None:
        """Note that an attempt is as good as over, and that its latency says nothing of its backend."""
        self.ledger.excused(backend, sent, self.loop.time())

    def has_whole(self, backend: Backend) -> bool:
        """Tell whether a backend is asked for an answer in one piece: it may work on that unheard."""
        return any(each.backend is backend and not each.request.stream for each in self.exchanges)

    def succeeded(self, backend: Backend) -> None:
        """Note that a backend answered a probe as it should."""
        self._follow(backend, self.ledger.succeeded(backend, self.loop.time(), probe=True))

    def failed(self, backend: Backend, reason: str, sent: Sent | None = None, *, refused: bool = False) -> None:
        """Note that a backend failed an attempt that was `sent`, or without one, a probe; see Ledger.failed."""
        self._follow(backend, self.ledger.failed(backend, reason, self.loop.time(), sent, refused=refused))

    def _follow(self, backend: Backend, change: Change | None) -> None:
        """Do what a change of a backend's state asks for."""
        if change is None:
            return
        if change.probe:
            self.on_doubt(backend)
        if change.news is News.DOWN:
            self.dispatcher.admission.forget(backend.name)
            _log.warning("backend is down", backend=backend.name, reason=change.reason)
        elif change.news is not News.NONE:
            _log.info(_SAID[change.news], backend=backend.name)
        if change.offer:
            self._offer_soon(backend)

    def entered(self, exchange: UnderWay) -> None:
        """Take note of an exchange that starts."""
        self.exchanges.add(exchange)
        self.asked += 1
        self.ledger.budget.deposit()
        if self._sweeping is None:
            self._sweeping = self.loop.call_later(self._sweep_every, self._sweep)
        if self._hearing is None:
            self._hearing = self.loop.call_later(HEAR, self._hear)

    def _hear(self) -> None:
        """Listen to all answers, and again as long as there are some under way."""
        unharmed("the listening to answers", self._hear_all)
        self._hearing = self.loop.call_later(HEAR, self._hear) if self.exchanges else None

    def _hear_all(self) -> None:
        """Tell the estimates whose answers have brought something."""
        self.ledger.hear(self.backends.values(), self.loop.time())

    def _sweep(self) -> None:
        """Look at all exchanges, and again as long as there are some under way."""
        unharmed("the look at all requests", self._look_at_all)
        self._sweeping = self.loop.call_later(self._sweep_every, self._sweep) if self.exchanges else None

    def _look_at_all(self) -> None:
        """Look at each exchange under way, at who waits, and at who is silent."""
        now = self.loop.time()
        for each in list(self.exchanges):
            try:
                each.look(now)
            except Exception as mistake:  # noqa: BLE001  (the others are looked at all the same)
                each.go_wrong(mistake)
        for ticket, error in self.dispatcher.admission.expired(now):
            waiting = ticket.payload
            waiting.exchange.break_off(
                waited_in_vain(error, waiting.way.tiers), "waited too long for a backend with room"
            )
        self._offer_all()
        if len(self.dispatcher.admission):
            for waiting in [each.queued for each in self.exchanges if each.queued is not None]:
                waiting.look(now)
            self.tell_places(now)
        if self.limits.stall_after < inf:
            self._find_stalled(now)

    def _find_stalled(self, now: float) -> None:
        """Look for backends that have had requests for too long without a sign of work."""
        at_work: dict[Backend, list[UnderWay]] = {}
        for each in self.exchanges:
            if each.backend is not None:
                at_work.setdefault(each.backend, []).append(each)
        for backend, exchanges in at_work.items():
            self._judge(backend, exchanges, now, 0.0)

    def judge(self, backend: Backend, token: float) -> StallVerdict:
        """Tell what a backend's silence comes to, and act on it; it has owed a token that it was asked for so long."""
        return self._judge(
            backend, [each for each in self.exchanges if each.backend is backend], self.loop.time(), token
        )

    def _judge(self, backend: Backend, exchanges: list[UnderWay], now: float, token: float) -> StallVerdict:
        stall_after = self.limits.stall_after
        silences = [silence for each in exchanges if (silence := each.silence(now)) is not None]
        verdict = self.ledger.judge(
            backend, silences, now, stall_after, held_up=len(exchanges) - len(silences), token=token
        )
        if backend.stalled:
            return verdict
        if verdict is StallVerdict.STALLED:
            progress = backend.progress
            why = progress.why(now, stall_after)
            self.stalled(backend, f"stalled: {why} for {progress.silence(now):.0f} s with requests in flight")
        elif verdict is StallVerdict.SILENT:
            for each in exchanges:
                each.leave(now)
        if verdict is not StallVerdict.WORKS:
            self.on_quiet(backend)
        return verdict

    def finished(self, exchange: UnderWay, record: Record) -> None:
        """Let go of an exchange, and pass on what it came to."""
        self.exchanges.discard(exchange)
        try:
            self._on_record(record)
        except Exception:  # noqa: BLE001  (what is done with it is no part of the answer)
            _log.exception("a request could not be recorded", request_id=record.id)

    def close(self) -> None:
        """Cut every exchange under way, which its client is told, and every connection."""
        stopped = UnavailableError("The router stopped before the answer was whole. Try again soon.", retry_after=5)
        for each in list(self.exchanges):
            each.break_off(stopped, "the router stopped")
        for pool in self._pools.values():
            pool.close()
        if self._recataloging is not None:
            self._recataloging.cancel()


def _most_idle(cap: Cap) -> int:
    """Tell how many connections are kept to a backend: as many as it may have requests."""
    return MAX_IDLE if cap.requests == inf else int(cap.requests)
