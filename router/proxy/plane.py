"""The data plane's state: backends with their pools, the catalog over them, and the exchanges under way.

The plane is the one writer of every `Backend`. The supervisor, the prober and the exchanges tell it what they met;
it decides by `router.core.health` what to believe.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf

import structlog

from router.core import health, stall
from router.core.admission import Bounds, Cap
from router.core.affinity import blocks_of
from router.core.aside import BUSY, LONGEST_BUSY, Kind, scope
from router.core.balance import Draw
from router.core.budget import RetryBudget
from router.core.catalog import DOUBT, Backend, Candidate, Catalog, Route, Way
from router.core.dispatch import Dispatcher
from router.core.errors import UnavailableError
from router.core.exchange import LIES, OF_THE_REQUEST, TOO_MANY, UNWELL_STATUSES, Failure, waited_in_vain
from router.core.health import Health, Thresholds, Verdict
from router.core.latency import HEAR, Ask, Sent
from router.core.load import Load
from router.core.patience import Patience
from router.core.record import Record
from router.core.stall import Verdict as Silent
from router.core.turns import Ticket
from router.proxy.place import Place
from router.proxy.pool import MAX_IDLE, Address, Pool
from router.proxy.relay import Exchange
from router.proxy.requests import Request
from router.proxy.resolve import Names
from router.telemetry.tasks import unharmed

_log = structlog.get_logger("router")

MOST_SHOWN = 100
"""Requests of one queue that are told of."""

UNTOLD_FOR = 10.0
"""Seconds for which requests for names that mean nothing wait, while a new backend has yet to say what it serves. Long
enough for a server that is started along with the router; and a name that is mistyped is told so soon enough."""

RECATALOG_AFTER = 0.02
"""Seconds within which changes of what can be asked for are gathered: a thousand backends may be heard of at once."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds an exchange. Times are in seconds."""

    retries: int = 2
    connect_timeout: float = 5.0
    first_byte_timeout: float = 600.0
    idle_timeout: float = 120.0
    stall_after: float = inf


@dataclass(frozen=True, slots=True)
class Choice:
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
        limits: Limits,
        thresholds: Thresholds,
        choice: Choice,
        draw: Draw,
        on_record: Callable[[Record], None] = lambda _: None,
        on_stall: Callable[[Backend], None] = lambda _: None,
        names: Names | None = None,
        on_want: Callable[[Backend], bool] = lambda _: False,
    ) -> None:
        self.names = names or Names()  # of hosts
        self.dispatcher: Dispatcher[Place] = Dispatcher(draw)
        self.budget = RetryBudget()
        self.patience = Patience()
        self.exchanges: set[Exchange] = set()
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
        self._retired: set[Backend] = set()
        self.spare_connections = 1024  # that may be open to all backends before they are needed
        self._untold: dict[Backend, float] = {}  # who has yet to say what it serves, and until when that is waited for
        self.on_quiet: Callable[[Backend], None] = lambda _: None  # hears of those that are to be looked into
        self.on_doubt: Callable[[Backend], None] = lambda _: None  # and of those that are to be probed now

    # Backends: what there is

    def set_up(self, limits: Limits, thresholds: Thresholds, choice: Choice) -> None:
        """Take other bounds: those of requests under way, too."""
        self.limits = limits
        self._thresholds = thresholds
        self.dispatcher.set_up(choice.policy, thresholds, choice.bounds, affinity=choice.affinity)
        self.budget.share = choice.retry_share
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
        self._retired.add(backend)
        self._untold.pop(backend, None)
        self._take_out(backend, reason)
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
        self._retired.discard(backend)
        return len(late)

    def learn_models(self, backend: Backend, models: Mapping[str, str]) -> None:
        """Take a backend's word for what it serves."""
        self._untold.pop(backend, None)
        if backend.models != models:
            backend.models = models
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
            self._recataloging = self.loop.call_later(RECATALOG_AFTER, self.look_up)

    def look_up(self) -> None:
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
        if backend not in self._retired:
            now = self.loop.time()
            backend.health, backend.stalled = health.declared(up=True, now=now), False
            backend.estimate.restarted(now)
            backend.progress.back(now)
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
        was_there = not backend.health.absent and (sent is None or sent.at >= backend.health.since)
        if was_there and backend not in self._retired:
            self._take_out(backend, Failure.REFUSED.value, coming=True)

    def _take_out(self, backend: Backend, reason: str, *, coming: bool = False) -> None:
        """Note that a backend is not there: what its cache had goes with it, and what is kept for who waits."""
        backend.health = health.declared(up=False, reason=reason, coming=coming)
        self.dispatcher.prefixes.forget(backend)
        self.dispatcher.aside.forget(backend)
        self.dispatcher.admission.forget(backend.name)

    def _open_pool(self, backend: Backend, address: Address) -> Pool:
        pool = Pool(address, self.limits.connect_timeout, self.names, self.api_key(backend))
        pool.most_idle = _most_idle(backend.cap)
        self._pools[backend] = pool
        return pool

    def bound(self, backend: Backend, cap: Cap) -> None:
        """Take another bound of what a backend has in flight; as many connections to it are kept while idle."""
        backend.cap = cap
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

    def began(self, candidate: Candidate, ask: Ask, now: float) -> Sent:
        """Count an attempt."""
        backend = candidate.backend
        backend.in_flight += 1
        backend.progress.began(now)
        backend.size += ask.size
        cached = 0
        if ask.blocks:
            prefixes = self.dispatcher.prefixes
            cached = prefixes.cached(backend, candidate.model, ask.blocks)
            prefixes.note(backend, candidate.model, ask.blocks, now)
        return backend.estimate.sent(ask, cached, now)

    def ended(self, backend: Backend, ask: Ask, sent: Sent) -> None:
        """Count it out again; who waits may have its room. If nobody has told yet how it ended, it is let go of."""
        now = self.loop.time()
        backend.in_flight -= 1
        backend.progress.ended(now)
        backend.ended += 1
        backend.size -= ask.size
        backend.estimate.lost(sent, now)
        if len(self.dispatcher.admission):
            self._offer_soon(backend)

    # Who waits

    def wait(self, place: Place, way: Way, queue: str) -> Ticket[Place]:
        """Have an exchange wait until a backend has room for it. Raises QueueFullError."""
        request, admission, now = place.request, self.dispatcher.admission, self.loop.time()
        pace = self.dispatcher.pace(way) if admission.is_empty(queue) else 0.0
        ticket, refused = admission.enter(queue, place, request.caller.name, request.priority, place.size, now, pace)
        if refused is not None:
            refused[0].payload.exchange.break_off(refused[1], "had to make room in the queue")
        for tier in way.tiers:
            for candidate in tier:  # it may fit where those before it don't
                self._offer_soon(candidate.backend)
                if not candidate.backend.health.usable:
                    self.on_doubt(candidate.backend)
        return ticket

    def leave(self, ticket: Ticket[Place]) -> None:
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
        models = {each.place.queue for each in self.exchanges if each.place is not None and each.place.due(now)}
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
        if backend in self._retired or self.backends.get(backend.name) is not backend:
            return
        now = self.loop.time()
        while ticket := self.dispatcher.next_for(backend, now, lambda each: each.payload.takes(backend) is not None):
            candidate = ticket.payload.takes(backend)
            assert candidate is not None  # noqa: S101  (that was asked)
            ticket.payload.go(candidate)

    def _offer_all(self) -> None:
        if len(self.dispatcher.admission):
            for backend in list(self.backends.values()):
                self._offer(backend)

    def published(self, backend: Backend, load: Load | None, ours: int) -> None:
        """Note what an engine says that it has, of which `ours` at most came from here; None: it says nothing."""
        backend.estimate.published(load, ours, self.loop.time())

    def worked(self, backend: Backend, now: float) -> None:
        """Note that a backend has sent content: a stalled one has come to life again."""
        backend.estimate.unheard = 0
        if not backend.stalled:
            backend.progress.moved(now)
        else:
            backend.progress.back(now)
            backend.stalled = False
            _log.info("backend works again", backend=backend.name)

    def stalled(self, backend: Backend, reason: str) -> None:
        """Take a backend out that has stopped working: what it holds is sent elsewhere, or told so."""
        backend.stalled = True
        if not backend.health.usable:  # that it is out has been said, and not why it is restarted
            _log.warning("backend is down", backend=backend.name, reason=reason)
        self._believe(backend, health.declared(up=False, reason=reason, coming=backend.supervised))
        for each in self.exchanges:
            each.lose_at(backend)
        for each in [each for each in self.exchanges if each.backend is backend]:
            each.on_failure(Failure.STALLED, reason)
        self._on_stall(backend)

    def begun(self, backend: Backend) -> None:
        """Note that a backend that isn't known to be well has begun an answer: on a first trial that is enough."""
        if backend.health.verdict is Verdict.PROBING and not backend.health.relapses:
            self.succeeded(backend, probe=False)

    def answered(self, backend: Backend, status: int, sent: Sent | None) -> None:
        """Note that a backend has answered a request whole, be it with an error."""
        backend.answered += 1
        if status < 400 and sent is not None:  # an error's haste is no speed
            now = self.loop.time()
            backend.estimate.ended(sent, now)
            if not sent.streams:
                backend.prefill.whole(sent.size, now - sent.at)
        if status < 400 and backend.errors:
            backend.errors = 0
        believed = status < 400 or (status in OF_THE_REQUEST and backend.errors < DOUBT)
        if backend.health is not health.WELL and believed:
            self.succeeded(backend, probe=False)

    def refused(self, backend: Backend, status: int, sent: Sent | None) -> None:
        """Note that a backend answers an attempt with an error: how soon says nothing, and how well its status."""
        backend.errors += 1
        if status in UNWELL_STATUSES:
            self.failed(backend, f"answered {status}", sent)
        elif sent is not None and status == TOO_MANY:
            backend.estimate.failed(sent, self.loop.time())
        elif sent is not None:
            self.excused(backend, sent)

    def busy(self, candidate: Candidate, ask: Ask, seconds: float) -> None:
        """Note that a backend says that it has no room, and for how long, if it does: for all, or for this client."""
        own = self.api_key(candidate.backend) is not None or not ask.key
        kind = Kind(candidate.backend) if own else Kind(candidate.backend, key=ask.key)
        self.dispatcher.aside.put(kind, self.loop.time(), seconds or BUSY, LONGEST_BUSY)

    def disproved(self, candidate: Candidate, ask: Ask, status: int, sent: Sent | None) -> None:
        """Note that another backend of the same model has answered what this one refused: so it was at fault."""
        backend, now = candidate.backend, self.loop.time()
        if backend in self._retired:
            return
        if status >= LIES:
            self.budget.refund()
        kind = scope(status, candidate, ask, own_key=self.api_key(backend) is not None)
        if kind is not None:
            self.dispatcher.aside.put(kind, now)
            return
        if sent is not None:
            backend.estimate.disproved(sent, now)
        reason = f"answered {status} to what another backend answers"
        self._believe(backend, health.failed(backend.health, self._thresholds, reason, probe=False, now=now))

    def confirmed(self, backend: Backend) -> None:
        """Note that another backend refuses what this one refused: nothing speaks against it."""
        backend.errors = 0

    def excused(self, backend: Backend, sent: Sent) -> None:
        """Note that an attempt is as good as over, and that what it took says nothing of its backend."""
        backend.estimate.left(sent, self.loop.time())

    def has_whole(self, backend: Backend) -> bool:
        """Tell whether a backend is asked for an answer in one piece: it may work on that unheard."""
        return any(each.backend is backend and not each.request.stream for each in self.exchanges)

    def succeeded(self, backend: Backend, *, probe: bool = True) -> None:
        """Note that a backend answered a probe, or a request, as it should; of a stalled one that says nothing."""
        if backend.stalled:
            return
        now = self.loop.time()
        if probe:
            backend.progress.probed(now, answered=True)
        self._believe(backend, health.succeeded(backend.health, self._thresholds, probe=probe, now=now))

    def failed(self, backend: Backend, reason: str, sent: Sent | None = None, *, refused: bool = False) -> None:
        """Note that a backend didn't answer a probe as it should, or an attempt that was `sent`.

        `refused`: nobody took its connection. Of an engine that is launched here its supervisor says what that means.
        """
        now = self.loop.time()
        if sent is not None:
            backend.estimate.failed(sent, now)
        gone, probe = refused and not backend.supervised, sent is None
        if gone:
            self.dispatcher.prefixes.forget(backend)
        self._believe(
            backend, health.failed(backend.health, self._thresholds, reason, probe=probe, now=now, refused=gone)
        )

    def _believe(self, backend: Backend, now: Health) -> None:
        if backend in self._retired:
            return
        before, was_absent, backend.health = backend.health.verdict, backend.health.absent, now
        if now.coming or (now.by_requests and now.verdict is not Verdict.UNKNOWN):
            self.on_doubt(backend)
        if now is health.WELL:
            backend.ramp = 1.0
        if now.verdict is before:
            if was_absent and not now.absent:  # who waits for it may try, or is told that it is gone
                self._offer_soon(backend)
            return
        if now.verdict is Verdict.DOWN:
            self.dispatcher.admission.forget(backend.name)
            _log.warning("backend is down", backend=backend.name, reason=now.reason)
        elif now.verdict is Verdict.PROBING:
            backend.estimate.restarted(self.loop.time())
            _log.info("backend is on trial", backend=backend.name)
        elif now.verdict is Verdict.UP and before is not Verdict.SUSPECT:
            _log.info("backend is up", backend=backend.name)
        self._offer_soon(backend)

    def entered(self, exchange: Exchange) -> None:
        """Take note of an exchange that starts."""
        self.exchanges.add(exchange)
        self.asked += 1
        self.budget.deposit()
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
        now = self.loop.time()
        for backend in self.backends.values():
            if backend.spoke:
                backend.spoke = False
                backend.estimate.spoke(now)

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
            place = ticket.payload
            place.exchange.break_off(waited_in_vain(error, place.way.tiers), "waited too long for a backend with room")
        self._offer_all()
        if len(self.dispatcher.admission):
            for place in [each.place for each in self.exchanges if each.place is not None]:
                place.look(now)
            self.tell_places(now)
        if self.limits.stall_after < inf:
            self._find_stalled(now)

    def _find_stalled(self, now: float) -> None:
        """Look for backends that have had requests for too long without a sign of work."""
        at_work: dict[Backend, list[Exchange]] = {}
        for each in self.exchanges:
            if each.backend is not None:
                at_work.setdefault(each.backend, []).append(each)
        for backend, exchanges in at_work.items():
            self._judge(backend, exchanges, now, 0.0)

    def judge(self, backend: Backend, token: float) -> Silent:
        """Tell what a backend's silence comes to, and act on it; it has owed a token that it was asked for so long."""
        return self._judge(
            backend, [each for each in self.exchanges if each.backend is backend], self.loop.time(), token
        )

    def _judge(self, backend: Backend, exchanges: list[Exchange], now: float, token: float) -> Silent:
        progress, stall_after = backend.progress, self.limits.stall_after
        if backend.answered != backend.counted:
            backend.counted = backend.answered
            progress.moved(now)
        waits = [silence for each in exchanges if (silence := each.silence(now)) is not None]
        held_up = len(exchanges) - len(waits)
        if held_up and (not waits or held_up >= backend.cap.requests):  # clients that are slow may keep it from working
            progress.moved(now)
        room = backend.in_flight < backend.cap.requests < inf
        if backend.stalled:
            return Silent.STALLED
        verdict = stall.judge(progress, waits, now, stall_after, backend.prefill, token, room=room)
        if verdict is Silent.STALLED:
            why = progress.why(now, stall_after)
            self.stalled(backend, f"stalled: {why} for {progress.silence(now):.0f} s with requests in flight")
        elif verdict is Silent.SILENT:
            for each in exchanges:
                each.leave(now)
        if verdict is not Silent.WORKS:
            self.on_quiet(backend)
        return verdict

    def finished(self, exchange: Exchange, record: Record) -> None:
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
