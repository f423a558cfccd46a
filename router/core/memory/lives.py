"""The moves of backends into memory and out of it, each whole: state, reservation, leases, statistics and action.

`Residency` decides which move is made; here is what belongs to it. Nothing outside these two files writes a `Resident`
or a reservation.
"""

from collections.abc import Hashable, Mapping
from math import ceil

from router.core.errors import UnavailableError
from router.core.memory.actions import (
    NOTHING,
    Action,
    Actions,
    Cancel,
    Drain,
    Load,
    Offer,
    Refuse,
    Remember,
    Resume,
    Unload,
)
from router.core.memory.devices import Footprint, Reservations
from router.core.memory.footprints import Footprints, Placement, Source
from router.core.memory.order import Order
from router.core.memory.refusals import LoadFailedError
from router.core.memory.resident import Failures, Loadable, Policy, Resident, Waiting, by_rank
from router.core.memory.resident import Load as LoadUnderWay
from router.core.memory.rounds import is_better_cancelled
from router.core.memory.states import Event, State


class Lives:
    """Backends and their memory. `out` collects the actions until `flush`."""

    def __init__(self, reservations: Reservations, footprints: Footprints, policy: Policy, order: Order) -> None:
        self.residents: dict[str, Resident] = {}
        self.queued: dict[str, Resident] = {}
        self.requests: dict[Hashable, Resident] = {}
        self.reservations = reservations
        self.footprints = footprints
        self.policy = policy
        self.order = order
        self.out: list[Action] = []

    def flush(self) -> Actions:
        """Hand back what is to be done."""
        if not self.out:
            return NOTHING
        done, self.out = self.out, []
        return done

    def turn_length(self, resident: Resident) -> float:
        """Seconds of a turn, without what is carried over."""
        return self.policy.turn * resident.costs.swap()

    # Requests

    def may_go(self, resident: Resident) -> bool:
        """Tell whether one more request may be sent to a backend now.

        While others wait for memory, only as many as are served at once: so what drains is soon idle. While it drains,
        only as many as there are leases.
        """
        if self.queued and len(resident.in_flight) >= resident.loadable.slots:
            return False
        return resident.state is State.LOADED or (resident.state is State.DRAINING and bool(resident.leases))

    def offer(self, resident: Resident) -> None:
        """Offer a backend that may be sent requests, if some wait there or it might not be sent any before."""
        was_open, resident.is_open = resident.is_open, self.may_go(resident)
        if resident.is_open and (resident.waiting or not was_open):
            self.out.append(Offer(resident.name))

    def use(self, resident: Resident, now: float) -> None:
        """Note that a request is about to wait for a backend or to be sent: if it is unused, a gap of its use ends."""
        if resident.is_unused and resident.was_wanted:
            resident.gaps.note(now - resident.idle_since)
        resident.was_wanted = True

    def send(
        self, resident: Resident, request: Hashable, key: str, rank: float, keep_alive: float | None, now: float
    ) -> None:
        """Count a request that is sent where its key's turn matters."""
        self.count(resident, request, keep_alive, now)
        self.order.went(key, rank)

    def count(self, resident: Resident, request: Hashable, keep_alive: float | None, now: float) -> None:
        """Count a request that is sent. It keeps its backend loaded until it has ended."""
        resident.in_flight[request] = now
        self.requests[request] = resident
        resident.keep_alive = keep_alive

    def send_waiting(
        self,
        resident: Resident,
        request: Hashable,
        waited_at: Resident,
        waiting: Waiting,
        keep_alive: float | None,
        now: float,
    ) -> None:
        """Count a request that is sent and has waited, there or for another backend."""
        self.use(resident, now)
        held_lease = self.forget(waited_at, waiting, now)
        if waited_at is not resident or not held_lease:
            self.take_lease(resident)
        keeps = waiting.keep_alive if keep_alive is None else keep_alive
        self.send(resident, request, waiting.key, waiting.rank, keeps, now)

    def let_in(self, resident: Resident, waiting: Waiting) -> None:
        """Let a request wait. The first one begins the wait for a turn."""
        if not resident.waiting:
            resident.turn.joined = waiting.entered
        resident.waiting[waiting.request] = waiting
        self.requests[waiting.request] = resident

    def refuse(self, resident: Resident, error: UnavailableError, now: float) -> None:
        """Refuse all that wait for a backend."""
        for waiting in list(resident.waiting.values()):
            self.forget(resident, waiting, now)
            self.out.append(Refuse(resident.name, waiting.request, error))

    def end(self, resident: Resident, request: Hashable, now: float) -> None:
        """Note that a request has ended, or left while it waited."""
        sent = resident.in_flight.pop(request, None)
        if sent is None:
            self.forget(resident, resident.waiting[request], now)
            return
        del self.requests[request]
        resident.costs.service.note(now - sent)
        resident.quiet_since = now
        if resident.is_unused:
            resident.idle_since = now

    def forget(self, resident: Resident, waiting: Waiting, now: float) -> bool:
        """Have a request wait no longer; tell whether it held a lease, which ends with that."""
        del resident.waiting[waiting.request]
        del self.requests[waiting.request]
        if resident.is_unused:
            resident.idle_since = now
        return resident.leases.pop(waiting.request, None) is not None

    # Leases

    def lease(self, resident: Resident) -> None:
        """Give leases to those that wait, as many as a turn serves."""
        in_turn = sorted(resident.waiting.values(), key=by_rank)
        batch = in_turn[: resident.batch(self.turn_length(resident))]
        resident.leases = {waiting.request: waiting for waiting in batch}

    def take_lease(self, resident: Resident) -> None:
        """Take a lease for whoever is sent while a backend drains: from the one of its holders that goes last."""
        if resident.state is State.DRAINING and resident.leases:
            resident.leases.popitem()

    def lapse(self, now: float) -> None:
        """End leases that nobody uses: those who hold them may not be sent there, or wait for room elsewhere."""
        for resident in self.residents.values():
            if resident.leases and resident.serves and now >= resident.lapses_at():
                resident.leases.clear()

    # Into memory

    def queue(self, resident: Resident) -> None:
        """Let an unloaded backend wait for memory."""
        resident.step(Event.QUEUE)
        self.queued[resident.name] = resident

    def drop(self, resident: Resident) -> None:
        """Nobody wants it any more, or it can't be loaded."""
        resident.step(Event.DROP)
        resident.wish.load = False
        del self.queued[resident.name]

    def load(
        self, resident: Resident, placement: Placement, footprint: Footprint, now: float, *, runs: bool = False
    ) -> None:
        """Reserve the memory and load; those who caused it get leases, as many as a turn serves.

        One that `runs` already has its memory, whatever room there is.
        """
        self.reservations.reserve(resident.name, footprint, runs=runs)
        resident.step(Event.LOAD)
        del self.queued[resident.name]
        resident.load = LoadUnderWay(placement, now)
        resident.placement = placement
        resident.keep_alive = None
        self.lease(resident)
        attempt = 2 if resident.failures.retried else 1
        self.out.append(Load(resident.name, placement, footprint, attempt))

    def ready(self, resident: Resident, measured: Footprint, grows: Footprint, now: float) -> None:
        """It is loaded: its turn begins, and what it holds is learned."""
        load = resident.load
        assert load is not None, "a backend in LOADING has a load"  # noqa: S101
        resident.step(Event.READY)
        resident.costs.load.note(now - load.began)
        holds = {device: size + grows.get(device, 0) for device, size in measured.items()}
        if self.footprints.source(load.placement) is not Source.ESTIMATED:
            # What it came to take in earlier runs, or may take by a person's word, is more than what it has taken yet.
            reserved = self.reservations.held(resident.name)
            holds = {device: max(size, reserved.get(device, 0)) for device, size in measured.items()}
        self.reservations.settle(resident.name, holds)
        if measured:
            # What a person says is not learned, unless it was too little: it counts as long as it is written.
            is_learned = not load.placement.is_told or self.footprints.is_raised(load.placement)
            self.learn(resident, load.placement, holds if is_learned else measured)
        resident.load = None
        resident.failures = Failures()
        resident.wish.load = False
        resident.turn.begin(now, self.turn_length(resident))
        resident.is_open, resident.quiet_since = False, now
        if not resident.leases:
            self.lease(resident)
        if resident.is_unused:
            resident.idle_since = now

    def change(self, resident: Resident, loadable: Loadable) -> None:
        """Take other settings for a backend: of one that is loaded, what its memory is taken for may be another."""
        resident.loadable = loadable
        if not resident.serves or resident.placement is None:
            return
        key = resident.placement.key
        placement = next((each for each in loadable.placements if each.key == key), loadable.placements[0])
        resident.placement = placement
        held, needs = self.reservations.held(resident.name), self.footprints.needs(placement)
        least = {} if placement.is_told else held
        self.reservations.settle(
            resident.name, {device: max(size, least.get(device, 0)) for device, size in needs.items()}
        )

    # Out of memory

    def drain(self, resident: Resident) -> None:
        """Have a backend end what it has, to make room."""
        resident.step(Event.DRAIN)
        self.out.append(Drain(resident.name))

    def resume(self, resident: Resident) -> None:
        """Have a backend that drains go on."""
        resident.step(Event.RESUME)
        self.out.append(Resume(resident.name))

    def unload(self, resident: Resident, reason: str, wanted_since: float, now: float) -> None:
        """End an idle engine, for somebody who wanted its memory since then."""
        resident.step(Event.UNLOAD)
        if resident.waiting:
            resident.turn.end(now, self.turn_length(resident), wanted_since)
            resident.turn.joined = now
        self._leave(resident, now)
        self.out.append(Unload(resident.name, reason))

    def cancel(self, resident: Resident, reason: str, now: float) -> None:
        """End an engine that loads."""
        resident.step(Event.CANCEL)
        resident.load = None
        self._leave(resident, now)
        self.out.append(Cancel(resident.name, reason))

    def cancel_abandoned(self, now: float) -> None:
        """Cancel loads that nobody waits for where that is cheaper than finishing them; forget claims of nobody."""
        others = sum(1 for each in self.queued.values() if each.waiting)
        for resident in [each for each in self.residents.values() if each.is_unused and not each.wish.load]:
            if resident.state is State.QUEUED:
                self.drop(resident)
            elif is_better_cancelled(resident, self.policy, others, now):
                self.cancel(resident, "nobody waits for it any more", now)

    def _leave(self, resident: Resident, now: float) -> None:
        self._lose(resident)
        self.reservations.unsettle(resident.name)
        resident.left_at = now

    def _lose(self, resident: Resident) -> None:
        """Forget what was in flight: it has ended with the engine. Nobody holds a lease on what isn't there."""
        for request in resident.in_flight:
            del self.requests[request]
        resident.in_flight.clear()
        resident.leases.clear()

    def fail(self, resident: Resident, reason: str, oom: str | None, ceilings: Mapping[str, int], now: float) -> None:
        """A load failed. For lack of memory it is tried once more, with more; else all who wait are refused.

        `oom` names the device that ran out, "" where that isn't known, None where it wasn't for lack of memory.
        """
        load = resident.load
        assert load is not None, "a backend in LOADING has a load"  # noqa: S101
        failures = resident.failures
        failures.reason = reason
        rose = oom is not None and self.raise_footprint(resident, load.placement, oom, ceilings)
        failures.retried = rose and not failures.retried
        if failures.retried:
            return
        failures.count += 1
        rest = min(self.policy.longest_rest, self.policy.first_rest * 2.0 ** min(failures.count - 1, 32))
        failures.until = now + rest
        failures.rests = True
        resident.wish.load = False
        self.refuse(resident, self.failure(resident, now), now)

    def raise_footprint(
        self, resident: Resident, placement: Placement, device: str, ceilings: Mapping[str, int]
    ) -> bool:
        """Raise what was reserved too little; tell whether it rose."""
        rose = self.footprints.raise_after_oom(placement, device, ceilings)
        self._remember(resident, placement)
        return rose

    def learn(self, resident: Resident, placement: Placement, measured: Footprint) -> None:
        """Take what was measured for what its next load takes."""
        self.footprints.learn(placement, measured)
        self._remember(resident, placement)

    def _remember(self, resident: Resident, placement: Placement) -> None:
        learned = self.footprints.learned(placement.key)
        self.out.append(Remember(placement.key, learned, resident.costs.load.value))

    def failure(self, resident: Resident, now: float) -> LoadFailedError:
        """Say why a backend doesn't load, and when it is tried again."""
        seconds = max(1, ceil(resident.failures.until - now))
        return LoadFailedError(resident.title, resident.failures.reason, seconds)

    def exit(self, resident: Resident, now: float) -> None:
        """Its process is gone, asked or not; what was in flight there has ended with it."""
        if resident.state is not State.UNLOADING:
            resident.left_at = -1.0
        self._lose(resident)
        if resident.is_unused:
            resident.idle_since = now
        resident.step(Event.EXIT)
        resident.load = None
        if self.reservations.gone(resident.name, now):
            self.released(resident, now)

    def released(self, resident: Resident, now: float) -> None:
        """Its memory is free: it rests after a failure, is forgotten if it was removed, or queues again if wanted."""
        if resident.left_at >= 0:
            resident.costs.unload.note(now - resident.left_at)
        resident.wish.unload = False
        if resident.wish.remove:
            resident.step(Event.RELEASE)
            del self.residents[resident.name]
        elif resident.failures.rests and now < resident.failures.until:
            resident.failures.rests = False
            resident.step(Event.FAIL)
            self.refuse(resident, self.failure(resident, now), now)
        else:
            resident.failures.rests = False
            resident.step(Event.RELEASE)
            if resident.waiting or resident.wish.load:
                self.queue(resident)
            else:
                resident.failures.retried = False
