"""Which backends are in memory: the one writer of all that this package decides by. Pure.

Whoever meets something (a request, an engine's supervisor, a device's figure) tells `Residency`, with the time, and
does the actions that it gets back, in order. Every method that can change something returns them.
"""

from collections.abc import Hashable, Iterable, Mapping

from router.core.errors import UnavailableError
from router.core.memory.actions import MAKES_ROOM, NOTHING, Actions, Refuse
from router.core.memory.devices import Device, Footprint, Reservations
from router.core.memory.footprints import Footprints
from router.core.memory.lives import Lives
from router.core.memory.order import ByArrival, Order
from router.core.memory.refusals import LoadFailedError, MemoryShortageError
from router.core.memory.resident import Loadable, Place, Policy, Resident, Waiting
from router.core.memory.rounds import Round, Worth, worth
from router.core.memory.states import Event, State
from router.core.memory.telling import described, place_of, seconds_until_sent, wake_at

_EXPIRED = "nobody has used it for as long as it is kept"


class Residency:
    """Decides what is loaded, what is unloaded, and which requests wait. All times are seconds of one clock."""

    def __init__(
        self,
        devices: Iterable[Device],
        policy: Policy | None = None,
        *,
        order: Order | None = None,
        footprints: Footprints | None = None,
        worth_of: Worth = worth,
    ) -> None:
        self.reservations = Reservations(devices)
        self.footprints = footprints or Footprints()
        self._worth = worth_of
        self._lives = Lives(self.reservations, self.footprints, policy or Policy(), order or ByArrival())
        self._residents = self._lives.residents
        self._queued = self._lives.queued
        self._requests = self._lives.requests

    # What there is

    def configure(self, devices: Iterable[Device], policy: Policy, now: float) -> Actions:
        """Take other limits and another policy; where less may be held now, idle backends leave."""
        self.reservations.resize(devices)
        self._lives.policy = policy
        return self._decide(now)

    def change(self, loadable: Loadable, now: float) -> Actions:
        """Take other settings for a backend as it is. What is loaded stays where it is; what is reserved may change."""
        self._lives.change(self._residents[loadable.name], loadable)
        return self._decide(now)

    def add(self, loadable: Loadable, now: float) -> None:
        """Take a backend in, unloaded. Raises ValueError where the name is taken."""
        if loadable.name in self._residents:
            raise ValueError(f"there is a backend {loadable.name}")
        self._residents[loadable.name] = Resident(loadable, self._lives.policy, now)

    def remove(self, backend: str, now: float) -> Actions:
        """Take a backend out: those who wait are refused, those in flight served, then it unloads and is forgotten."""
        resident = self._residents[backend]
        self._lives.refuse(resident, UnavailableError(f"'{resident.title}' was removed from the configuration."), now)
        resident.wish.remove = True
        if not resident.holds_memory:
            self._queued.pop(backend, None)
            del self._residents[backend]
            return self._decide(now)
        return self.unload(backend, now)

    def state(self, backend: str) -> State:
        """Tell how far a backend is."""
        return self._residents[backend].state

    def residents(self) -> Mapping[str, Resident]:
        """All backends, to be read and not written."""
        return self._residents

    # Requests

    def may_go(self, backend: str) -> bool:
        """Tell whether one more request may be sent to a backend now; False for one that isn't known."""
        resident = self._residents.get(backend)
        return resident is not None and self._lives.may_go(resident)

    def wanted(
        self, request: Hashable, backend: str, now: float, *, key: str = "", keep_alive: float | None = None
    ) -> Actions:
        """A request waits for a backend, loaded or not. It is offered, or refused. Tell `sent` or `ended` for each.

        `keep_alive`: seconds that the backend stays loaded after it, instead of `unload_after`; 0, or FOREVER.
        Raises KeyError for a backend that isn't known or was removed, ValueError for a request that is.
        """
        resident = self._residents[backend]
        if resident.wish.remove:
            raise KeyError(backend)
        if request in self._requests:
            raise ValueError("this request is waiting or in flight")
        self._lives.use(resident, now)
        waiting = Waiting(request, key, self._lives.order.rank(key), now, keep_alive)
        if resident.state is State.FAILED:
            if now < resident.failures.until:
                return [Refuse(backend, request, self._lives.failure(resident, now))]
            resident.step(Event.REST)
        self._lives.let_in(resident, waiting)
        if resident.state is State.LOADED:
            self._lives.offer(resident)
            return self._lives.flush()
        if resident.state is State.UNLOADED:
            self._lives.queue(resident)
        return self._decide(now) if len(resident.waiting) == 1 else NOTHING

    def sent(
        self,
        request: Hashable,
        backend: str,
        now: float,
        *,
        waiting: Hashable = None,
        key: str = "",
        keep_alive: float | None = None,
    ) -> Actions:
        """An attempt begins at a backend, which stays loaded until `ended` is told. Never refused, as it is a fact.

        `request` names the attempt; `waiting` is the request that waited, here or for another backend, if it did. An
        attempt at a backend that isn't known, isn't loaded or ends is not counted: it fails with the engine.
        """
        resident = self._residents.get(backend)
        if waiting is None and not self._queued and resident is not None and resident.state is State.LOADED:
            # Nobody waits for memory: what no key lacks, none is charged for.
            self._lives.use(resident, now)
            self._lives.count(resident, request, keep_alive, now)
            return NOTHING
        if resident is not None and not (resident.serves or resident.state is State.LOADING):
            resident = None
        waited_at = None if waiting is None else self._requests.get(waiting)
        waited = None if waited_at is None else waited_at.waiting.get(waiting)
        if waited_at is None or waited is None:
            if resident is not None:
                self._lives.use(resident, now)
                self._lives.take_lease(resident)
                self._lives.send(resident, request, key, self._lives.order.rank(key), keep_alive, now)
            return NOTHING
        if resident is not None:
            self._lives.send_waiting(resident, request, waited_at, waited, keep_alive, now)
        else:
            self._lives.forget(waited_at, waited, now)
        return NOTHING if resident is waited_at else self._after(waited_at, now)

    def ended(self, request: Hashable, now: float) -> Actions:
        """An attempt has ended, however it did, or a request that waited left. One that isn't known is left alone."""
        resident = self._requests.get(request)
        if resident is None:
            return NOTHING
        self._lives.end(resident, request, now)
        return self._after(resident, now)

    def _after(self, resident: Resident, now: float) -> Actions:
        """Go on after a request has ended or left: offer what waits, unload, or hold a round for others."""
        if resident.serves and not resident.is_idle:
            if self._queued or resident.waiting:
                self._lives.offer(resident)
        elif resident.state is State.LOADED and resident.is_unused and now >= resident.expires():
            self._lives.unload(resident, _EXPIRED, now, now)
        elif self._queued or resident.waiting or resident.state is not State.LOADED:
            return self._decide(now)
        return self._lives.flush()

    # What people ask for

    def load(self, backend: str, now: float, *, evict: bool = True) -> Actions:
        """Load a backend though no request wants it. Without `evict` only where memory is free: a preload at start."""
        resident = self._residents[backend]
        if resident.serves or resident.state is State.LOADING:
            resident.wish.unload = False
            resident.wish.load = resident.state is State.LOADING
            return self._decide(now)
        resident.wish.load, resident.wish.evict = True, evict
        if resident.state is State.FAILED:
            resident.step(Event.REST)
        if resident.state is State.UNLOADED:
            resident.turn.joined = now
            self._lives.queue(resident)
        return self._decide(now)

    def adopt(self, backend: str, now: float) -> Actions:
        """Take over a backend whose engine runs already: its memory is reserved whether there is room or not."""
        resident = self._residents[backend]
        resident.wish.load = True
        if resident.state is State.UNLOADED:
            self._lives.queue(resident)
        if resident.state is State.QUEUED:
            placement = resident.loadable.placements[0]
            self._lives.load(resident, placement, self.footprints.needs(placement), now, runs=True)
        return self._decide(now)

    def forgive(self, backend: str, now: float) -> Actions:
        """Try a backend whose load failed again at the next request: what was wrong may be right."""
        failures = self._residents[backend].failures
        failures.until, failures.count = now, 0
        return self._decide(now)

    def unload(self, backend: str, now: float) -> Actions:
        """Unload a backend, pinned or not, when what it has is served. One that loads for nobody is cancelled."""
        resident = self._residents[backend]
        resident.wish.load = False
        resident.wish.unload = resident.holds_memory and not resident.leaves
        if resident.state is State.LOADING and resident.is_unused:
            self._lives.cancel(resident, "it is to be unloaded", now)
        return self._decide(now)

    # Engines

    def progress(self, backend: str, now: float, share: float = 0.0) -> Actions:
        """A load shows progress: its `start_timeout` begins anew. `share` is 0 to 1, 0 where it isn't known."""
        load = self._residents[backend].load
        if load is not None:
            load.progressed = now
            load.share = max(load.share, min(1.0, share))
        return NOTHING

    def loaded(
        self, backend: str, now: float, measured: Footprint | None = None, grows: Footprint | None = None
    ) -> Actions:
        """A backend is ready. One that is to end by now ends.

        `measured` is what it takes, and `grows` what it may come to take beyond that when it works, which counts until
        `used` has told what it came to.
        """
        resident = self._residents[backend]
        if resident.state is State.LOADING:
            self._lives.ready(resident, measured or {}, grows or {}, now)
        return self._decide(now)

    def used(self, backend: str, measured: Footprint, now: float) -> Actions:
        """A backend is about to end: `measured` is what it came to take, for its next load."""
        resident = self._residents[backend]
        if resident.placement is not None and measured:
            self._lives.learn(resident, resident.placement, measured)
        return self._decide(now)

    def failed(self, backend: str, reason: str, now: float, *, oom: str | None = None) -> Actions:
        """A load failed, or an engine that served ran out of memory. Its `exited` is still to come.

        `oom`: the device that ran out of memory, "" where that isn't known; None where it wasn't that.
        """
        resident = self._residents[backend]
        load = resident.load
        if resident.state is State.LOADING:
            self._lives.fail(resident, reason, oom, self._ceilings(), now)
            self._lives.cancel(resident, reason, now)
        elif load is None and oom is not None and resident.serves and resident.placement is not None:
            self._lives.raise_footprint(resident, resident.placement, oom, self._ceilings())
        return self._decide(now)

    def exited(self, backend: str, now: float) -> Actions:
        """A backend's last process is gone, asked or not. What was in flight there has ended."""
        resident = self._residents[backend]
        if resident.state is State.LOADING:
            self._lives.fail(resident, "it ended while it loaded", None, {}, now)
        if resident.holds_memory and resident.state is not State.RELEASING:
            self._lives.exit(resident, now)
        return self._decide(now)

    def _ceilings(self) -> dict[str, int]:
        return {device: self.reservations.ceiling(device) for device in self.reservations.devices}

    # Devices and time

    def figures(self, device: str, free: int, now: float, own: Mapping[str, int] | None = None) -> Actions:
        """A device tells its free bytes, and bytes by backend where it knows them by process."""
        for backend in self.reservations.measured(device, free, own):
            self._lives.released(self._residents[backend], now)
        return self._decide(now)

    def tick(self, now: float) -> Actions:
        """Time has passed: at `wake`, or a few times a second."""
        for backend in self.reservations.overdue(now):
            self._lives.released(self._residents[backend], now)
        for resident in self._residents.values():
            load = resident.load
            if resident.state is State.LOADING and load is not None:
                timeout = resident.loadable.start_timeout
                if now >= load.progressed + timeout:
                    self._lives.fail(resident, f"it made no progress for {timeout:.0f} s", None, {}, now)
                    self._lives.cancel(resident, "it made no progress", now)
            elif resident.state is State.LOADED and resident.is_unused and now >= resident.expires():
                self._lives.unload(resident, _EXPIRED, now, now)
        return self._decide(now)

    def wake(self, now: float) -> float:
        """Tell when time alone may change a decision: `tick` then; infinity if never."""
        return wake_at(self._residents.values(), self._queued.values(), self.reservations, self._lives.policy, now)

    # What is told

    def place(self, request: Hashable, now: float) -> Place | None:
        """Tell where a request that waits stands, and why; None for one that doesn't wait."""
        resident = self._requests.get(request)
        if resident is None or request not in resident.waiting:
            return None
        round_ = self._round(now)
        return place_of(resident, request, round_.in_order(self._queued.values()), round_.overdue_at(resident), now)

    def seconds(self, backend: str, now: float) -> float:
        """Estimate in how many seconds a request that came now would be sent: what least latency adds for loading."""
        resident = self._residents[backend]
        if resident.state is State.LOADED:
            return 0.0
        return seconds_until_sent(resident, self._round(now).in_order(self._queued.values()), now)

    def told(self, now: float) -> list[dict[str, object]]:
        """Describe all backends as plain data, as `telling.described` has it: for /admin/models and `ps`."""
        in_order = self._round(now).in_order(self._queued.values())
        everyone = self._residents.values()
        return [described(each, self.reservations, self.footprints, in_order, now) for each in everyone]

    def shortage(self, backend: str, now: float) -> MemoryShortageError | None:
        """Tell why a backend can't be loaded, whatever leaves; None where it can."""
        resident = self._residents[backend]
        short = self._round(now).shortages(resident)
        return MemoryShortageError(resident.title, short) if short else None

    def failure(self, backend: str, now: float) -> LoadFailedError | None:
        """Tell why a backend's latest load failed; None where none has failed since one succeeded."""
        resident = self._residents[backend]
        return self._lives.failure(resident, now) if resident.failures.reason else None

    # The decision

    def _round(self, now: float) -> Round:
        return Round(self._residents, self.reservations, self.footprints, self._lives.policy, self._worth, now)

    def _decide(self, now: float) -> Actions:
        """Hold a round: load what fits, have others leave for what doesn't, let requests go."""
        self._lives.cancel_abandoned(now)
        self._lives.lapse(now)
        round_ = self._round(now)
        for claim in round_.in_order(self._queued.values()):
            self._serve_claim(claim, round_, now)
        round_.relieve()
        for resident in self._residents.values():
            if resident.serves:
                self._settle(resident, round_, now)
        return self._lives.flush()

    def _serve_claim(self, claim: Resident, round_: Round, now: float) -> None:
        """Load a backend that waits for memory, or see to it that it gets some; refuse where that can't be."""
        short = round_.shortages(claim)
        if short:
            self._lives.refuse(claim, MemoryShortageError(claim.title, short), now)
            self._lives.drop(claim)
            return
        plan = round_.plan(claim)
        if plan is not None and plan.is_ready:
            self._lives.load(claim, plan.placement, plan.footprint, now)
        elif plan is not None:
            round_.promise(plan, claim)
        elif not claim.waiting and not claim.wish.evict:
            self._lives.drop(claim)
        elif round_.is_overdue(claim):
            round_.hold(claim)

    def _settle(self, resident: Resident, round_: Round, now: float) -> None:
        """Have a loaded backend leave, drain, or go on, as the round has decided; offer what may go."""
        wanted_since = round_.victims.get(resident.name)
        leaves = wanted_since is not None or resident.wish.unload
        if leaves and resident.is_idle:
            reason = MAKES_ROOM if wanted_since is not None else "it was asked for"
            self._lives.unload(resident, reason, now if wanted_since is None else wanted_since, now)
        elif leaves and resident.state is State.LOADED:
            self._lives.drain(resident)
        elif not leaves and resident.state is State.DRAINING:
            self._lives.resume(resident)
        if resident.serves:
            self._lives.offer(resident)
