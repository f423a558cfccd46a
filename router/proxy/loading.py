"""Between requests and memory: who waits for a model to be loaded, and what memory decides of that.

    a request waits ──▶ `wanted` ──▶ Residency ──▶ load, unload, … ──▶ the fleet (`carry_out`)
                                         │
                 those who wait ◀── offer, drain, resume, refuse (done here)

The queue (`core.admission`) stays the only place where requests wait, and has their order. `Residency` decides which
backend is in memory, and whether it may be sent anything now. It is told four things: that a request waits, that an
attempt begins (`sent`), that it has ended, and that a request waits no more (`left`). An attempt is known to it by its
`Sent`, one that waits by its `Queued`.

A backend may end while one attempt follows another of the same request, as it is idle in between. So what ends is told
after what begins (`hold`).

A request that waits for a load waits as long as that takes: its time in the queue counts from when the model is there.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from math import inf

from router.core import loads
from router.core.catalog import Backend, Candidate, Way
from router.core.dispatch import Dispatcher
from router.core.estimate.ask import Ask, Sent
from router.core.memory.actions import Action, Drain, Load, Offer, Refuse, Remember, Resume, Unload
from router.core.memory.residency import Residency
from router.core.memory.resident import Place
from router.core.memory.states import State
from router.proxy.directory import Directory
from router.proxy.queues import Queues
from router.proxy.requests import Request
from router.proxy.roles import Queued, UnderWay
from router.telemetry.tasks import unharmed

NOT_LOADED = "is not loaded"
"""What is said of a backend whose engine isn't loaded now."""

LOOK_BESIDE = 1.0
"""Seconds between two looks whether a model should be loaded beside those that serve: each look costs a decision."""


class Loading:
    """Tells `residency` of requests, and does what it decides of those who wait; made by `Plane.manage_memory`.

    `carry_out` gets each Load, Unload, Cancel and Remember, in order. Whoever else tells Residency of something (a load
    that is done, a device's figure) gives `do` what it gets back.
    """

    def __init__(
        self,
        residency: Residency,
        dispatcher: Dispatcher[Queued],
        directory: Directory,
        queues: Queues,
        withdraw: Callable[..., None],
        carry_out: Callable[[Action], None],
    ) -> None:
        self.residency = residency
        self._dispatcher = dispatcher
        self._admission = dispatcher.admission
        self._ledger = dispatcher.ledger
        self._directory = directory
        self._queues = queues
        self._withdraw = withdraw
        self._carry_out = carry_out
        self._loop = asyncio.get_running_loop()
        # Those who wait, by the backend that memory knows them at, and the backends whose waiters' clocks stand.
        self._registered: dict[Backend, dict[Queued, None]] = {}
        self._unloaded: set[Backend] = set()
        self._to_do: deque[Action] = deque()
        self._doing = False
        # How many hold back what has ended, and what that is.
        self._holds = 0
        self._ended: list[Sent] = []
        # When it is looked at next whether a backend should be loaded beside others.
        self._look_beside_at: dict[Backend, float] = {}
        # What clients are told of each backend, as of this time.
        self._places: dict[Backend, Place] = {}
        self._placed_at = -inf

    # Attempts

    def may_go(self, backend: Backend) -> bool:
        """Whether one more request may be sent to a backend now."""
        return self.residency.may_go(backend.resident)

    def sent(self, sent: Sent, candidate: Candidate, way: Way, exchange: UnderWay, now: float) -> None:
        """Note that an attempt begins, at a backend that loads and unloads or at another one."""
        backend = candidate.backend
        if backend.loadable:
            waiting, request = exchange.queued, exchange.request
            if waiting is not None and not self._forget(waiting):
                waiting = None
            actions = self.residency.sent(
                sent,
                backend.resident,
                now,
                waiting=waiting,
                key=request.caller.name,
                keep_alive=_keep_alive(request),
            )
            if actions:
                self.do(actions)
        if way.chooses:
            self._look_beside(way, backend, sent.due - now, now)

    def ended(self, sent: Sent, now: float) -> None:
        """Note that an attempt has ended."""
        if self._holds:
            self._ended.append(sent)
            return
        actions = self.residency.ended(sent, now)
        if actions:
            self.do(actions)

    def dismiss(self, backends: Iterable[Backend]) -> None:
        """Unload backends, each once it has answered what it has: somebody says that they aren't needed any more."""
        now, wish = self._loop.time(), object()
        for backend in backends:
            # It is as if a request had ended that wants it unloaded. What isn't loaded hears nothing of it.
            self.do(self.residency.sent(wish, backend.resident, now, keep_alive=0.0))
            self.do(self.residency.ended(wish, now))

    def hold(self) -> None:
        """Hold back what ends until `let_go`: another attempt of the same request is about to begin."""
        self._holds += 1

    def let_go(self) -> None:
        """Tell what has ended since `hold`."""
        self._holds -= 1
        if not self._holds:
            ended, self._ended = self._ended, []
            for sent in ended:
                self.ended(sent, self._loop.time())

    # Those who wait

    def wanted(self, waiting: Queued, way: Way) -> None:
        """Note a request that waits, at the backend that is loaded for it or keeps loaded for it, if there is any.

        If none of its models can be loaded, and no other backend is there, its exchange is told so.
        """
        now = self._loop.time()
        self._ask(waiting, way, now)
        if waiting.ticket is not None and way.chooses:
            ahead = self._admission.waiting(waiting.ticket.model)
            self._look_beside(way, None, self._dispatcher.pace(way) * ahead, now)

    def _ask(self, waiting: Queued, way: Way, now: float) -> bool:
        """Have a request wait for the best of its models that isn't ruled out; tell whether there is any."""
        while True:
            against = waiting.refused + waiting.unfit
            backend = loads.where(way, against, waiting.exchange.ask, self._dispatcher, self.seconds, now)
            if backend is None:
                return False
            if self._state(backend) is not None:
                self._register(waiting, backend, now)
                return True
            waiting.refused += (backend,)

    def _register(self, waiting: Queued, backend: Backend, now: float) -> None:
        waiting.registered = backend
        self._registered.setdefault(backend, {})[waiting] = None
        request = waiting.request
        actions = self.residency.wanted(
            waiting,
            backend.resident,
            now,
            key=request.caller.name,
            keep_alive=_keep_alive(request),
        )
        self._time([waiting], backend, now)
        self.do(actions)

    def left(self, waiting: Queued) -> None:
        """Note that a request waits no more for a load: its client has left, or it goes to a backend that has none."""
        if self._forget(waiting):
            self.do(self.residency.ended(waiting, self._loop.time()))

    def _forget(self, waiting: Queued) -> bool:
        """Forget where a request waits; tell whether it was known."""
        backend, waiting.registered = waiting.registered, None
        if backend is None:
            return False
        at = self._registered[backend]
        del at[waiting]
        if not at:
            del self._registered[backend]
            self._unloaded.discard(backend)
        return True

    def is_awaited(self, waiting: Queued) -> bool:
        """Whether a request waits for a backend that isn't loaded."""
        return waiting.registered is not None and waiting.registered in self._unloaded

    def _time(self, waiting: Iterable[Queued], backend: Backend, now: float) -> None:
        """Let the time of those who wait count if their backend is loaded, and else not."""
        is_loaded = self._state(backend) is State.LOADED
        if is_loaded:
            self._unloaded.discard(backend)
        else:
            self._unloaded.add(backend)
        for each in waiting:
            if each.ticket is not None and is_loaded:
                self._admission.start_clock(each.ticket, now)
            elif each.ticket is not None:
                self._admission.stop_clock(each.ticket, now)

    def look(self, now: float) -> None:
        """See whose model is loaded by now, or isn't any more: called each second while requests are under way."""
        for backend, waiting in list(self._registered.items()):
            self._look_at(backend, now)
            # Where nothing has ended yet, how long they wait is known by how long they have waited.
            first = next(iter(waiting), None)
            if first is not None and first.ticket is not None and first.way.chooses and backend not in self._unloaded:
                self._look_beside(first.way, None, now - first.ticket.entered, now)
        self._look_beside_at = {each: at for each, at in self._look_beside_at.items() if now < at}

    def _look_at(self, backend: Backend, now: float) -> None:
        if backend in self._registered and (backend in self._unloaded) is (self._state(backend) is State.LOADED):
            self._time(self._registered[backend], backend, now)

    # Loading beside

    def _state(self, backend: Backend) -> State | None:
        """Tell how far a backend is; None of one that memory doesn't know, or not any more."""
        resident = self.residency.residents().get(backend.resident)
        return None if resident is None or resident.wish.remove else resident.state

    def stage(self, backend: Backend) -> tuple[State | None, float]:
        """Tell how far a backend is, and the share of its load that is done; None of one that memory doesn't know."""
        state = self._state(backend)
        load = None if state is None else self.residency.residents()[backend.resident].load
        return state, 0.0 if load is None else load.share

    def seconds(self, backend: Backend) -> float:
        """Tell in how many seconds a request would be sent to a backend; infinity if it can't be loaded."""
        return inf if self._state(backend) is None else self.residency.seconds(backend.resident, self._loop.time())

    def _seconds_if_unloaded(self, backend: Backend) -> float:
        return self.seconds(backend) if self._state(backend) is State.UNLOADED else inf

    def _look_beside(self, way: Way, chosen: Backend | None, wait: float, now: float) -> None:
        """Have a model loaded into free memory, if it would answer sooner than those that serve."""
        unloaded = [
            backend
            for tier in way.tiers
            for backend, _ in tier
            if backend.loadable and not self._dispatcher.serves(backend)
        ]
        if not unloaded or any(now < self._look_beside_at.get(each, 0.0) for each in unloaded):
            return
        for each in unloaded:
            self._look_beside_at[each] = now + LOOK_BESIDE
        backend = loads.beside(way, chosen, wait, self._dispatcher, self._seconds_if_unloaded)
        if backend is not None:
            self.do(self.residency.load(backend.resident, now, evict=False))

    # What an admin wants, and asks

    def drained(self, backend: Backend) -> None:
        """Have those who wait for a backend's load wait for another one; where there is none, their time counts."""
        now = self._loop.time()
        for waiting in list(self._registered.get(backend, ())):
            self.left(waiting)
            if waiting.ticket is not None and not self._ask(waiting, waiting.way_now(), now):
                self._admission.start_clock(waiting.ticket, now)

    def explain(self, way: Way, ask: Ask, told: list[dict[str, object]]) -> None:
        """Say of candidates which one a request would have loaded, in how many seconds, and which can't be."""
        now = self._loop.time()
        against: tuple[Backend, ...] = ()
        by_name = {each["backend"]: each for each in told}
        if any(not each["passed_over"] for each in told):
            return
        while True:
            backend = loads.where(way, against, ask, self._dispatcher, self.seconds, now)
            if backend is None or self._dispatcher.serves(backend):
                return
            against += (backend,)
            if (why := self._why_not(backend, now)) is None:
                by_name[backend.name].update(passed_over="", loads_in=round(self.seconds(backend), 1))
                return
            by_name[backend.name]["passed_over"] = why

    def _why_not(self, backend: Backend, now: float) -> str | None:
        """Tell why a backend isn't loaded for a request that comes now; None: it is."""
        if self._state(backend) is None:
            return "it is being taken out"
        failures = self.residency.residents()[backend.resident].failures
        if failures.reason and now < failures.until:
            return f"could not be loaded: {failures.reason}"
        short = self.residency.shortage(backend.resident, now)
        return None if short is None else short.message

    # What is decided

    def do(self, actions: Iterable[Action]) -> None:
        """Do what Residency has decided, in its order: what follows from one action comes after those before it."""
        self._to_do.extend(actions)
        if self._doing:
            return
        self._doing = True
        while self._to_do:
            unharmed("what memory decided", self._do, self._to_do.popleft())
        self._doing = False

    def _do(self, action: Action) -> None:
        now = self._loop.time()
        if isinstance(action, Refuse):
            self._refuse(action, now)
            return
        backend = None if isinstance(action, Remember) else self._backend(action.backend)
        if backend is not None:
            if isinstance(action, Drain):
                self._ledger.drain(backend)
            elif isinstance(action, Resume | Load | Unload):
                self._ledger.resume(backend)
            if isinstance(action, Unload):
                # Nothing is sent there from now on. It is coming: it may be loaded again.
                self._withdraw(backend, NOT_LOADED, due=0.0)
            self._look_at(backend, now)
            if isinstance(action, Offer | Resume):
                self._queues.offer_soon(backend)
        if not isinstance(action, Offer | Drain | Resume):
            self._carry_out(action)

    def _backend(self, resident: str) -> Backend | None:
        """Find a backend by its name in memory; None: it is about to join, or has left."""
        backends = self._directory.backends
        # It is mostly the backend's own.
        found = backends.get(resident)
        if found is not None and found.resident == resident:
            return found
        return next((each for each in backends.values() if each.resident == resident), None)

    def _refuse(self, refusal: Refuse, now: float) -> None:
        """Have a request wait for another model, or tell its client why it can't be served."""
        waiting = refusal.request
        backend = waiting.registered if isinstance(waiting, Queued) else None
        if not isinstance(waiting, Queued) or backend is None or backend.resident != refusal.backend:
            return
        self._forget(waiting)
        waiting.refused += (backend,)
        way = waiting.way_now()
        if waiting.ticket is None:
            return
        if self._ask(waiting, way, now):
            return
        self._admission.start_clock(waiting.ticket, now)
        if not self._dispatcher.may_wait(way, waiting.refused + waiting.unfit):
            waiting.exchange.break_off(refusal.error, "its model can't be loaded")

    # What those are told who wait

    def place(self, waiting: Queued, now: float) -> Place | None:
        """Tell where the load stands that a request waits for; None: it waits for none."""
        backend = waiting.registered
        if backend is None or backend not in self._unloaded:
            return None
        if now != self._placed_at:
            self._placed_at = now
            self._places.clear()
        found = self._places.get(backend)
        if found is None:
            found = self.residency.place(waiting, now)
            if found is not None:
                self._places[backend] = found
        return found

    def words(self, waiting: Queued, now: float) -> bytes | None:
        """Write it for a client; None: it waits for no load."""
        place, backend = self.place(waiting, now), waiting.registered
        return None if place is None or backend is None else loads.comment(backend.name, place)

    def told(self, waiting: Queued, now: float) -> dict[str, object] | None:
        """Describe it as plain data; None: it waits for no load."""
        place, backend = self.place(waiting, now), waiting.registered
        return None if place is None or backend is None else loads.described(backend.name, place)


def _keep_alive(request: Request) -> float | None:
    """Give the seconds that a request wants its backend to stay loaded after it; None: it doesn't say."""
    return None if request.stay is None else request.stay.seconds
