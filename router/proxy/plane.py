"""The data plane: it coordinates exchanges, the connections to backends, the queues, and what is known of backends.

What is known of backends is in the ledger (`router.core.ledger`), which alone decides what to believe. Supervisor,
prober and exchanges report to the plane; the plane passes it on to the ledger, with the time, and does what the
returned `Change` asks for. Its parts:

    connections   the pools, addresses and keys of all backends
    directory     the backends there are, and what model names mean
    queues        requests that wait for a backend with room
    stalls        finds backends that have stopped working
    loading       what memory decides of backends that load and unload by themselves; None where none does
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf

import structlog

from router.core.admission import Bounds, Cap
from router.core.affinity import blocks_of, in_prompt_order
from router.core.balance import Draw
from router.core.catalog import Backend, Candidate, Catalog, Way
from router.core.changes import Change, News
from router.core.dispatch import Dispatcher
from router.core.errors import StoppingError, UnavailableError
from router.core.estimate.ask import Ask, Sent
from router.core.estimate.hearing import HEAR
from router.core.health import Thresholds
from router.core.hedging import Patience
from router.core.ledger import Ledger
from router.core.load import Load
from router.core.memory.actions import Action
from router.core.memory.residency import Residency
from router.core.record import Record
from router.core.retry import Failure
from router.core.stall import StallVerdict
from router.core.turns import Ticket
from router.proxy.connections import Connections
from router.proxy.dialling import Address
from router.proxy.directory import Directory
from router.proxy.loading import Loading
from router.proxy.pool import Pool
from router.proxy.queues import Queues
from router.proxy.repeating import Repeating
from router.proxy.requests import Request
from router.proxy.resolve import Names
from router.proxy.roles import Queued, UnderWay
from router.proxy.stalls import StallWatch

_log = structlog.get_logger("router")

_MESSAGES = {News.TRIAL: "backend is on trial", News.UP: "backend is up", News.WORKS: "backend works again"}


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
    """Where requests come in and go out. `draw` breaks ties.

    `on_record` gets the record of each ended exchange, `on_stall` a backend that has stopped working. `on_want` gets
    one that was given up, or whose machine sleeps, and that is wanted; it tells whether it is started, or woken.
    `on_quiet` gets a backend to be looked into, and `on_doubt` one to be probed now; the prober sets both.
    """

    def __init__(
        self,
        limits: ExchangeLimits,
        thresholds: Thresholds,
        balancing: Balancing,
        draw: Draw,
        on_record: Callable[[Record], None] = lambda _: None,
        on_stall: Callable[[Backend], None] = lambda _: None,
        names: Names | None = None,
        on_want: Callable[[Backend], bool] = lambda _: False,
    ) -> None:
        self.ledger = Ledger()
        self.dispatcher: Dispatcher[Queued] = Dispatcher(self.ledger, draw)
        self.patience = Patience()
        self.exchanges: set[UnderWay] = set()
        # Exchanges since the start.
        self.asked = 0
        self.loop = asyncio.get_running_loop()
        self.connections = Connections(names or Names(), limits.connect_timeout)
        self.directory = Directory(lambda: self.queues.offer_all())  # noqa: PLW0108  (they are made next)
        self.queues = Queues(self.dispatcher, self.directory, self.exchanges, self._doubt)
        self.loading: Loading | None = None
        self.stalls = StallWatch(self.ledger, self.exchanges, self.stalled, lambda each: self.on_quiet(each))  # noqa: PLW0108
        self.sweeping = Repeating("the look at all requests", self._look_at_all, 1.0, self.exchanges)
        self.hearing = Repeating("the listening to answers", self._hear, HEAR, self.exchanges)
        self.set_up(limits, thresholds, balancing)
        self._on_record = on_record
        self._on_stall = on_stall
        self._on_want = on_want
        self.on_quiet: Callable[[Backend], None] = lambda _: None
        self.on_doubt: Callable[[Backend], None] = lambda _: None

    def set_up(self, limits: ExchangeLimits, thresholds: Thresholds, balancing: Balancing) -> None:
        """Replace the settings, for requests under way, too."""
        self.limits = limits
        self.ledger.thresholds = thresholds
        self.ledger.budget.share = balancing.retry_share
        self.dispatcher.set_up(balancing.policy, balancing.bounds, affinity=balancing.affinity)
        self.patience.after = balancing.hedge_after
        self.hedges = self.patience.ends
        self.connections.connect_timeout = limits.connect_timeout
        self.stalls.stall_after = limits.stall_after
        shortest = min(limits.first_byte_timeout, limits.idle_timeout, limits.stall_after)
        self.sweeping.every = min(1.0, max(0.01, shortest / 10))

    def manage_memory(self, residency: Residency, carry_out: Callable[[Action], None]) -> Loading:
        """Have backends that are `loadable` loaded and unloaded as `residency` decides; see `Loading`."""
        loading = Loading(residency, self.dispatcher, self.directory, self.queues, self.withdraw, carry_out)
        self.loading, self.dispatcher.may_go, self.dispatcher.loads_in = loading, loading.may_go, loading.seconds
        return loading

    # Backends that join, change and leave

    @property
    def backends(self) -> dict[str, Backend]:
        """The backends that may be sent requests, by their names."""
        return self.directory.backends

    @property
    def catalog(self) -> Catalog:
        """What model names mean now."""
        return self.directory.catalog

    def add(
        self, backend: Backend, address: Address | None = None, api_key: str | None = None, *, discovers: bool = False
    ) -> None:
        """Add a backend, in the place of one of the same name; without an address it waits for `serve`.

        `discovers`: it will say what it serves.
        """
        self.directory.add(backend, discovers=discovers)
        if api_key is not None:
            self.connections.set_key(backend, api_key)
        if address is not None:
            self.connections.open(backend, address)

    def retire(self, backend: Backend, reason: str) -> None:
        """Send a backend nothing more; its requests in flight go on until `drop`."""
        self._follow(backend, self.ledger.retire(backend, reason))
        self.directory.remove(backend)

    def drop(self, backend: Backend, reason: str) -> int:
        """Forget a retired backend, and cut the requests that it still has in flight; give their number."""
        for each in self.exchanges:
            each.lose_at(backend)
        late = self.stalls.held_by(backend)
        for each in late:
            each.break_off(
                UnavailableError(f"The backend '{backend.name}' {reason}. Try again.", retry_after=1), reason
            )
        self.connections.forget(backend)
        self.ledger.forget(backend)
        return len(late)

    def learn_models(self, backend: Backend, models: Mapping[str, str]) -> None:
        """Note what a backend says that it serves: the names that clients use, and its own for them."""
        if self.ledger.learn_models(backend, models):
            self.directory.changed()
        self.directory.discovered(backend)

    def may_learn(self, now: float) -> bool:
        """Whether an unknown name may soon be known, because a backend hasn't said yet what it serves."""
        return self.directory.may_learn(now)

    def serve(self, backend: Backend, address: Address, api_key: str = "", *, ahead: int = 0) -> None:
        """Note that a launched engine is ready at this address; keep `ahead` connections open there ahead of need."""
        if api_key:
            self.connections.set_key(backend, api_key)
        self.connections.open(backend, address, ahead=ahead)
        self.connections.warm(backend)
        self._follow(backend, self.ledger.ready(backend, self.loop.time()))

    def withdraw(self, backend: Backend, reason: str, *, due: float | None = None) -> None:
        """Note that a launched engine can't be sent anything now; it is started in `due` seconds, None: it isn't.

        If that is within the time for which requests wait, they wait for it.
        """
        self.connections.close(backend)
        coming = due is not None and due <= self.dispatcher.admission.bounds.queue_timeout
        self._follow(backend, self.ledger.take_out(backend, reason, coming=coming))

    def revive(self, way: Way, lost: Backend | None = None, *, sleepers: bool = False) -> bool:
        """Have given-up engines tried again, and machines woken (`sleepers`: only these); `lost` wasn't reached."""
        backends = {each.backend for tier in way.tiers for each in tier}
        given_up = [b for b in backends if b.health.asleep or b is lost or (b.supervised and not sleepers)]
        revived = [each for each in given_up if self._on_want(each)]
        for backend in [each for each in revived if not each.health.asleep]:
            self._follow(backend, self.ledger.take_out(backend, "is tried again", coming=True))
        return bool(revived)

    def sleeps(self, backend: Backend, reason: str, *, coming: bool = False, due: float = inf) -> None:
        """Note that a backend's machine sleeps, or is being woken, and then answers at `due`, if that is known."""
        if not self.ledger.is_retired(backend):
            self._follow(backend, self.ledger.take_out(backend, reason, coming=coming, due=due))

    def bound(self, backend: Backend, cap: Cap) -> None:
        """Change the cap of what a backend may have in flight."""
        self.ledger.bound(backend, cap)
        self.connections.bound(backend, cap)

    def pool(self, backend: Backend) -> Pool | None:
        """Give the pool of connections to a backend; None while it has no address."""
        return self.connections.pool(backend)

    def api_key(self, backend: Backend) -> str | None:
        """Give the key that a backend wants to see; None: none."""
        return self.connections.api_key(backend)

    def _doubt(self, backend: Backend) -> None:
        self.on_doubt(backend)

    # Exchanges

    def entered(self, exchange: UnderWay) -> None:
        """Note an exchange that starts."""
        self.exchanges.add(exchange)
        self.asked += 1
        self.ledger.budget.deposit()
        self.sweeping.start()
        self.hearing.start()

    def ask(self, way: Way, body: bytes, request: Request) -> Ask:
        """Describe a request before it is sent; its prompt's prefixes only where there is a choice of backends."""
        # A count takes up no room, and shows nothing of a backend's speed.
        if request.counts:
            return Ask(1, streams=False, path=request.head.path, key=request.credentials)
        blocks = blocks_of(in_prompt_order(request.head.path, body)) if way.chooses and self.dispatcher.affinity else ()
        return Ask(request.size(body), blocks, streams=request.stream, path=request.head.path, key=request.credentials)

    def wait(self, waiting: Queued, way: Way, queue: str) -> Ticket[Queued]:
        """Have an exchange wait until a backend has room for it. Raises QueueFullError."""
        return self.queues.enter(waiting, way, queue)

    def leave(self, ticket: Ticket[Queued]) -> None:
        """Forget one who waited; a backend that was kept for it is offered to others."""
        self.queues.leave(ticket)

    def began(self, candidate: Candidate, way: Way, exchange: UnderWay, now: float) -> Sent:
        """Count an attempt that is sent now."""
        sent = self.ledger.began(candidate, exchange.ask, now)
        if way.loads and self.loading is not None:
            self.loading.sent(sent, candidate, way, exchange, now)
        return sent

    def ended(self, backend: Backend, ask: Ask, sent: Sent, now: float) -> None:
        """Release an attempt's room, and offer it to requests that wait."""
        self.ledger.ended(backend, ask, sent, now)
        if backend.loadable and self.loading is not None:
            self.loading.ended(sent, now)
        self.queues.offer_soon(backend)

    def finished(self, exchange: UnderWay, record: Record) -> None:
        """Forget an exchange that has ended, and pass on its record."""
        self.exchanges.discard(exchange)
        try:
            self._on_record(record)
        except Exception:  # noqa: BLE001  (what is done with a record must not harm the answer)
            _log.exception("a request could not be recorded", request_id=record.id)

    def has_whole(self, backend: Backend) -> bool:
        """Whether a backend has an answer in one piece in flight: it may work on that in silence."""
        return any(each.backend is backend and not each.request.stream for each in self.exchanges)

    # Outcomes of attempts and probes

    def worked(self, backend: Backend, now: float) -> None:
        """Note that a backend has sent content; a stalled one works again."""
        self._follow(backend, self.ledger.worked(backend, now))

    def begun(self, backend: Backend) -> None:
        """Note that a backend whose health isn't good has begun an answer."""
        self._follow(backend, self.ledger.begun(backend, self.loop.time()))

    def answered(self, backend: Backend, status: int, sent: Sent | None) -> None:
        """Note a whole answer, which may be an error."""
        self._follow(backend, self.ledger.answered(backend, status, sent, self.loop.time()))

    def refused(self, backend: Backend, status: int, sent: Sent | None) -> None:
        """Note an error's status."""
        self._follow(backend, self.ledger.refused(backend, status, sent, self.loop.time()))

    def busy(self, candidate: Candidate, ask: Ask, seconds: float) -> None:
        """Note a 429: the backend has no room for `seconds`; 0: it didn't say for how long."""
        own_key = self.connections.shows_key(candidate.backend)
        self.ledger.busy(candidate, ask, seconds, self.loop.time(), own_key=own_key)

    def disproved(self, candidate: Candidate, ask: Ask, status: int, sent: Sent | None) -> None:
        """Note that another backend of the same model has answered what this one refused: this one was at fault."""
        backend, now = candidate.backend, self.loop.time()
        own_key = self.connections.shows_key(backend)
        self._follow(backend, self.ledger.disproved(candidate, ask, status, sent, now, own_key=own_key))

    def excused(self, backend: Backend, sent: Sent) -> None:
        """Note that an attempt is as good as over, and that its latency says nothing of its backend."""
        self.ledger.excused(backend, sent, self.loop.time())

    def succeeded(self, backend: Backend, *, heard: bool = True) -> None:
        """Note that a backend answered a probe as it should, or is never probed, so that it isn't `heard` of."""
        self._follow(backend, self.ledger.succeeded(backend, self.loop.time(), probe=True, heard=heard))

    def failed(self, backend: Backend, reason: str, sent: Sent | None = None, *, refused: bool = False) -> None:
        """Note that a backend failed an attempt that was `sent`, or without one, a probe; see Ledger.failed."""
        self._follow(backend, self.ledger.failed(backend, reason, self.loop.time(), sent, refused=refused))

    def vanished(self, backend: Backend, sent: Sent | None) -> None:
        """Note that nobody listens where an attempt was sent: the engine's supervisor is about to say so, too."""
        self._follow(backend, self.ledger.vanished(backend, sent, Failure.REFUSED.value))

    def published(self, backend: Backend, load: Load | None, ours: int) -> None:
        """Note the load that an engine publishes, of which at most `ours` came from here; None: it publishes none."""
        self.ledger.published(backend, load, ours, self.loop.time())

    def judge(self, backend: Backend, token: float) -> StallVerdict:
        """Judge a backend's silence, and act on it. `token`: for so many seconds it has owed one that a probe asked."""
        return self.stalls.judge(backend, self.loop.time(), token)

    def stalled(self, backend: Backend, reason: str) -> None:
        """Take out a backend that has stopped working; its requests are sent elsewhere, or told so."""
        if not backend.health.usable:
            # That it is out has been logged, but not why it is restarted.
            _log.warning("backend is down", backend=backend.name, reason=reason)
        self._follow(backend, self.ledger.stalled(backend, reason, self.loop.time()))
        for each in self.exchanges:
            each.lose_at(backend)
        for each in self.stalls.held_by(backend):
            each.fail(Failure.STALLED, reason)
        self._on_stall(backend)

    def _follow(self, backend: Backend, change: Change | None) -> None:
        """Do what a change of a backend's state asks for."""
        if change is None:
            return
        if change.probe:
            self.on_doubt(backend)
        if change.release:
            self.dispatcher.admission.forget(backend.name)
        if change.news is News.DOWN:
            _log.warning("backend is down", backend=backend.name, reason=change.reason)
        elif change.news is not News.NONE:
            _log.info(_MESSAGES[change.news], backend=backend.name)
        if change.offer:
            self.queues.offer_soon(backend)
        if change.news is not News.NONE:
            self.directory.tell_news()

    # What the clock tells

    def _hear(self) -> None:
        """Tell the estimates which backends' answers have brought something."""
        self.ledger.hear(self.backends.values(), self.loop.time())

    def _look_at_all(self) -> None:
        """Look at each exchange under way, at those who wait, and at backends that are silent."""
        now = self.loop.time()
        for each in list(self.exchanges):
            try:
                each.look(now)
            except Exception as mistake:  # noqa: BLE001  (the others are looked at all the same)
                each.go_wrong(mistake)
        if self.loading is not None:
            self.loading.look(now)
        self.queues.look(now)
        self.stalls.look(now)

    def close(self) -> None:
        """Cut every exchange under way, which its client is told, and every connection."""
        stopped = StoppingError("The router stopped before the answer was whole. Try again soon.", retry_after=5)
        for each in list(self.exchanges):
            each.break_off(stopped, "the router stopped")
        self.connections.close_all()
        self.directory.close()
