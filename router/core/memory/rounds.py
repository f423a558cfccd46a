"""One round of decisions: where each backend that waits for memory gets it from, in order. Pure, and only reads.

**Order.** First those that waited too long, the oldest first; nobody overtakes them any more. Then by rank (fairness of
keys), then by who joined first: a model that had its turn has joined behind the others (round robin).

**May it leave for another?** A loaded backend that isn't pinned may

  1. when it is idle, and isn't about to be wanted: within any time w, up to half of what a swap takes, it is wanted
     with a chance of less than n * w / swap, where n requests would wait for that. Else waiting for it is cheaper than
     the swap there and back. Disks' schedulers know this as anticipation (Iyer & Druschel, SOSP 2001): an agent that
     reads an answer is idle for a second. The more wait, the shorter is the wait for one that may come;
  2. when it is in use, once its turn is over, and the other has waited `patience` times what reloading it costs. That
     is the rule of ski rental: never pay more in waiting than twice what swapping would have cost at once;
  3. for one that waited too long, always.

In cases 2 and 3 it drains: what it has and what holds a lease is served, new requests wait, then it unloads.

**Which leave?** The set of least worth that frees enough on each device (`eviction`). What drains already costs nothing
more, so decisions don't flap.

**Memory that is on its way** (of backends that unload or are released) counts, so nobody is evicted for what is coming;
but a load starts only with what is free. What an earlier one was promised, no later one gets.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from router.core.memory.devices import RELEASE_TIMEOUT, Footprint, Reservations
from router.core.memory.eviction import Candidate, choose
from router.core.memory.footprints import Footprints, Placement
from router.core.memory.refusals import Shortage
from router.core.memory.resident import Policy, Resident
from router.core.memory.states import State

Worth = Callable[[Resident, float, float], float]
"""What evicting a backend costs, in seconds: of the backend, the time now, and for how long it would be away."""


def worth(resident: Resident, now: float, away: float) -> float:
    """Seconds that reloading takes, times the chance that it is wanted while it is away."""
    if not resident.is_unused:
        return resident.costs.load.value
    return resident.costs.load.value * resident.gaps.chance(resident.idle_for(now), away)


def overdue_at(resident: Resident, policy: Policy, drain: float) -> float:
    """When nobody may overtake a backend's oldest request any more: early enough to be loaded within `max_wait`.

    `drain` is how long others are to take until they are idle. Of a swap that takes most of `max_wait`, half of that is
    waited for: else each request would swap at once.
    """
    return resident.oldest() + max(policy.max_wait / 2, policy.max_wait - drain - resident.costs.swap())


def drain_of(residents: Iterable[Resident]) -> float:
    """Seconds until a loaded backend is idle once it gets nothing new: twice what its requests take, of the slowest."""
    return 2 * max([each.costs.service.value for each in residents if each.can_leave], default=0.0)


def is_in_use(resident: Resident, waiting: int, now: float) -> bool:
    """Tell whether a loaded backend is busy, or so likely to be that waiting for it is cheaper than swapping.

    `waiting` is how many requests would wait for that.
    """
    if not resident.is_idle or (resident.waiting and resident.state is State.LOADED):
        return True
    idle, swap = resident.idle_for(now), resident.costs.swap()
    return any(resident.gaps.chance(idle, swap / part) >= max(1, waiting) / part for part in (2, 4, 8, 16, 32, 64))


def is_better_cancelled(resident: Resident, policy: Policy, others: int, now: float) -> bool:
    """Tell whether a load that nobody waits for is to be cancelled; `others` is how many backends wait for memory.

    To finish takes what remains of it, from this backend and from each of the others. To cancel costs a whole load, if
    it is wanted again within a turn. One that is pinned is to be loaded anyway.
    """
    if resident.load is None or resident.loadable.pinned:
        return False
    cost = resident.costs.load.value
    chance = resident.gaps.chance(resident.idle_for(now), policy.turn * resident.costs.swap())
    return resident.load.remaining(cost, now) * (1 + others) > chance * cost


@dataclass(frozen=True, slots=True)
class Plan:
    """Where a backend is to be loaded, what it takes there, who leaves for it, and whether it can start now."""

    placement: Placement
    footprint: Footprint
    victims: tuple[str, ...] = ()
    worth: float = 0.0
    is_ready: bool = False


class Round:
    """What has been decided so far in this round: bytes promised, bytes on their way, and who leaves."""

    def __init__(
        self,
        residents: Mapping[str, Resident],
        reservations: Reservations,
        footprints: Footprints,
        policy: Policy,
        worth_of: Worth,
        now: float,
    ) -> None:
        self._residents = residents
        self._reservations = reservations
        self._footprints = footprints
        self._policy = policy
        self._worth = worth_of
        self._now = now
        self._promised: dict[str, int] = {}
        self._coming: dict[str, int] = {}
        self._in_use: dict[tuple[str, int], bool] = {}
        self._drain = drain_of(residents.values())
        self.victims: dict[str, float] = {}
        """Who leaves, and since when somebody wants the memory."""
        self._pinned: list[Resident] = []
        for each in residents.values():
            if each.leaves:
                self._add(self._coming, reservations.held(each.name))
            elif each.loadable.pinned and each.holds_memory:
                self._pinned.append(each)

    @staticmethod
    def _add(to: dict[str, int], footprint: Footprint) -> None:
        for device, size in footprint.items():
            to[device] = to.get(device, 0) + size

    def in_order(self, claims: Iterable[Resident]) -> list[Resident]:
        """Sort those that wait for memory."""
        return sorted(claims, key=self._turn)

    def is_overdue(self, claim: Resident) -> bool:
        """Tell whether nobody may overtake a backend any more."""
        return self._now >= self.overdue_at(claim)

    def overdue_at(self, claim: Resident) -> float:
        """When nobody may overtake a backend any more."""
        return overdue_at(claim, self._policy, self._drain)

    def _turn(self, claim: Resident) -> tuple[bool, float, float]:
        if self.is_overdue(claim):
            return (False, claim.oldest(), 0.0)
        first = claim.first()
        return (True, 0.0 if first is None else first.rank, claim.turn.joined)

    # Can it ever fit?

    def shortages(self, claim: Resident) -> tuple[Shortage, ...]:
        """Give the devices that are too small for a backend even when all that may leave has left; mostly none.

        Where only other programs are in the way, that counts after some seconds: a figure may be older than an exit.
        """
        best: tuple[Shortage, ...] = ()
        for placement in claim.loadable.placements:
            short = self._shortages(claim, self._footprints.needs(placement))
            if not short:
                return ()
            best = short if not best or len(short) < len(best) else best
        return best

    def _shortages(self, claim: Resident, needs: Footprint) -> tuple[Shortage, ...]:
        is_sure = self._now - claim.turn.joined >= RELEASE_TIMEOUT
        found = []
        for device, size in needs.items():
            held: dict[str, int] = {}
            for each in self._pinned:
                self._add(held, {each.title: self._reservations.held(each.name).get(device, 0)})
            pinned = sum(held.values())
            limit, ceiling = self._reservations.limit(device), self._reservations.ceiling(device)
            if size + pinned > (ceiling if is_sure else limit):
                held["other programs"] = limit - ceiling
                found.append(Shortage(device, size, ceiling - pinned, held))
        return tuple(found)

    # Where does it get memory from?

    def plan(self, claim: Resident) -> Plan | None:
        """Plan a load: what fits now, else what costs least to make room for; None where nobody may leave yet."""
        plans = [self._plan(claim, placement) for placement in claim.loadable.placements]
        possible = [plan for plan in plans if plan is not None]
        return min(possible, key=_cost) if possible else None

    def _plan(self, claim: Resident, placement: Placement) -> Plan | None:
        needs = self._footprints.needs(placement)
        lacks_now = self._lacking(needs, {})
        if not lacks_now:
            return Plan(placement, needs, is_ready=True)
        lacking = self._lacking(needs, self._coming)
        if not lacking:
            return Plan(placement, needs)
        chosen = choose(lacking, self._candidates(claim))
        if chosen is None:
            return None
        return Plan(placement, needs, tuple(each.name for each in chosen), sum(each.worth for each in chosen))

    def _lacking(self, needs: Footprint, coming: Footprint) -> dict[str, int]:
        lacking = {}
        for device, size in needs.items():
            there = self._reservations.room(device) + coming.get(device, 0) - self._promised.get(device, 0)
            if size > there:
                lacking[device] = size - there
        return lacking

    def _candidates(self, claim: Resident) -> list[Candidate]:
        if not claim.waiting and not claim.wish.evict:
            return []
        away = self._policy.turn * claim.costs.swap()
        return [self._candidate(each, away) for each in self._residents.values() if self._may_leave(each, claim)]

    def _candidate(self, resident: Resident, away: float) -> Candidate:
        cost = 0.0 if resident.state is State.DRAINING else self._worth(resident, self._now, away)
        return Candidate(resident.name, self._reservations.held(resident.name), cost)

    def _may_leave(self, resident: Resident, claim: Resident) -> bool:
        """Apply the three cases of the module's docstring."""
        if not resident.can_leave or resident.name in self.victims:
            return False
        if self.is_overdue(claim) or not self._is_in_use(resident, len(claim.waiting)):
            return True
        patience = self._policy.patience * resident.costs.load.value
        return self._now >= resident.turn.ends and self._now - claim.turn.joined >= patience

    def _is_in_use(self, resident: Resident, waiting: int) -> bool:
        key = (resident.name, waiting)
        known = self._in_use.get(key)
        if known is None:
            known = self._in_use[key] = is_in_use(resident, waiting, self._now)
        return known

    # What has been decided

    def promise(self, plan: Plan, claim: Resident) -> None:
        """Keep memory for a load that can't start yet, and have its victims leave."""
        self._add(self._promised, plan.footprint)
        for name in plan.victims:
            self._evict(name, claim.turn.joined)

    def hold(self, claim: Resident) -> None:
        """Let nobody behind have the memory that a backend waits for, though nobody may leave for it yet."""
        self._add(self._promised, self._footprints.needs(claim.loadable.placements[0]))

    def relieve(self) -> None:
        """Have idle backends leave a device on which more is reserved than may be, as one took more than expected."""
        for device in self._reservations.devices:
            over = -self._reservations.room(device) - self._coming.get(device, 0)
            idle = self._idle_on(device) if over > 0 else []
            there = sum(each.holds[device] for each in idle)
            for each in choose({device: min(over, there)}, idle) or ():
                self._evict(each.name, self._now)

    def _idle_on(self, device: str) -> list[Candidate]:
        idle = [each for each in self._residents.values() if each.can_leave and each.is_idle]
        there = [each for each in idle if self._reservations.held(each.name).get(device, 0)]
        away = self._policy.turn
        return [self._candidate(each, away * each.costs.swap()) for each in there if each.name not in self.victims]

    def _evict(self, name: str, wanted_since: float) -> None:
        self.victims[name] = wanted_since
        self._add(self._coming, self._reservations.held(name))


def _cost(plan: Plan) -> tuple[bool, float]:
    return (not plan.is_ready, plan.worth)
