"""What is told: a request's place and reason, how long it may take, when time alone matters. Pure, and only reads."""

from collections.abc import Collection, Hashable, Sequence
from itertools import takewhile
from math import inf

from router.core.memory.devices import Phase, Reservations
from router.core.memory.footprints import Footprints
from router.core.memory.resident import Place, Policy, Resident, by_rank
from router.core.memory.rounds import drain_of, overdue_at
from router.core.memory.states import State

RECHECK = 0.25
"""Seconds until the next round while one backend waits for memory and another is idle: is it wanted again?"""

AT_LEAST = 5.0
"""Seconds until the next round while one backend waits for memory."""


def wake_at(
    residents: Collection[Resident],
    queued: Collection[Resident],
    reservations: Reservations,
    policy: Policy,
    now: float,
) -> float:
    """Tell when time alone may change a decision; infinity if never."""
    times = [each.released_at for each in reservations.holdings.values() if each.phase is Phase.GONE]
    for resident in residents:
        if resident.load is not None:
            times.append(resident.load.progressed + resident.loadable.start_timeout)
        elif resident.state is State.LOADED and resident.is_unused:
            times.append(now + RECHECK if queued else resident.expires())
        elif resident.serves:
            times.append(resident.lapses_at())
    if queued:
        times.append(now + AT_LEAST)
        patience = [policy.patience * each.costs.load.value for each in residents if each.serves]
        drain = drain_of(residents)
        changes = [
            *(overdue_at(each, policy, drain) for each in queued),
            *(each.turn.joined + wait for each in queued for wait in patience),
            *(each.turn.ends for each in residents if each.serves),
        ]
        times.extend(time for time in changes if time > now)
    return min(times, default=inf)


def seconds_until_sent(resident: Resident, in_order: Sequence[Resident], now: float) -> float:
    """Estimate in how many seconds a request that comes now would be sent; 0 to a backend that is loaded.

    A backend that isn't loaded waits for a swap of each one that is ahead, and its own. Turns that others have left are
    not counted, as most end earlier: the estimate is low where memory is fought for.
    """
    if resident.state is State.LOADED:
        return 0.0
    cost = resident.costs.load.value
    if resident.state is State.LOADING and resident.load is not None:
        return resident.load.remaining(cost, now)
    if resident.state is State.FAILED:
        return max(0.0, resident.failures.until - now) + cost
    ahead = takewhile(lambda each: each is not resident, in_order)
    leaving = resident.costs.unload.value if resident.leaves or resident.state is State.DRAINING else 0.0
    return leaving + sum(each.costs.swap() for each in ahead) + cost


def place_of(resident: Resident, request: Hashable, in_order: Sequence[Resident], overdue: float, now: float) -> Place:
    """Tell where a request stands and why; `overdue` is when nobody may overtake its backend any more."""
    waiting = resident.waiting[request]
    in_turn = sorted(resident.waiting.values(), key=by_rank)
    models = in_order.index(resident) if resident in in_order else 0
    share = 0.0 if resident.load is None else resident.load.share
    seconds = seconds_until_sent(resident, in_order, now)
    return Place(
        resident.state, in_turn.index(waiting), models, share, seconds, _reason(resident, models, overdue - now)
    )


def _reason(resident: Resident, models: int, wait: float) -> str:
    if resident.state is State.LOADING:
        return f"'{resident.title}' is loading."
    if resident.state is State.LOADED:
        return f"'{resident.title}' is busy."
    if resident.state is State.QUEUED and models:
        return f"'{resident.title}' waits for memory behind {models} other model{'s' if models > 1 else ''}."
    if resident.state is State.QUEUED:
        if wait <= 0:
            return f"'{resident.title}' waits for memory and is next; other models end what they have."
        return f"'{resident.title}' waits for memory; other models have it for at most {wait:.0f} s more."
    return f"'{resident.title}' makes room for others and is loaded again in its turn."


def described(
    resident: Resident,
    reservations: Reservations,
    footprints: Footprints,
    in_order: Sequence[Resident],
    now: float,
) -> dict[str, object]:
    """Describe a backend as plain data. `in_order` are those that wait for memory; times are in seconds.

    `placement` is where it is loaded or was latest, else where it would be first; `footprint` is the bytes that a load
    there takes by device, `source` how that is known, and `note` what was chosen because it doesn't fit whole.
    `reserved` is the bytes that are reserved for it now. `idle` is None while it is used. `expires`: until it is
    unloaded if nobody uses it any more; None where it isn't loaded or never is. `share` is how much of the load under
    way is done, None without one. `seconds`: until a request that came now would be sent. `failure` is the latest
    load's that failed, if none has succeeded since; `retry_in` is until it is tried again for who asks then.
    """
    placement = resident.placement or next(iter(resident.loadable.placements), None)
    return {
        "name": resident.name,
        "state": resident.state.value,
        "pinned": resident.loadable.pinned,
        "placement": None if placement is None else placement.key,
        "footprint": {} if placement is None else footprints.needs(placement),
        "source": None if placement is None else footprints.source(placement).value,
        "note": "" if placement is None else placement.note,
        "reserved": dict(reservations.held(resident.name)),
        "waiting": len(resident.waiting),
        "in_flight": len(resident.in_flight),
        "leased": len(resident.leases),
        "idle": round(resident.idle_for(now), 1) if resident.is_unused else None,
        "expires": _expires_in(resident, now),
        "share": None if resident.load is None else round(resident.load.share, 3),
        "seconds": round(seconds_until_sent(resident, in_order, now), 1),
        "failure": _failure(resident, now),
    }


def _expires_in(resident: Resident, now: float) -> float | None:
    left = resident.keeps_for() - resident.idle_for(now)
    return round(max(0.0, left), 1) if resident.serves and left < inf else None


def _failure(resident: Resident, now: float) -> dict[str, object] | None:
    failures = resident.failures
    if not failures.reason:
        return None
    return {
        "reason": failures.reason,
        "count": failures.count,
        "retry_in": round(max(0.0, failures.until - now), 1),
    }
