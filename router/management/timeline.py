"""One request's way, as an admin is told it: its times in the queue, its attempts, and why each went where it went."""

from collections.abc import Sequence

from router.api.admin.requests import AttemptTold, WaitTold
from router.api.admin.status import AwaitedLoad, CandidateTold
from router.core.decision import figures, summary
from router.core.timeline import Try, Wait
from router.proxy.roles import UnderWay


def attempts(tries: Sequence[Try], waits: Sequence[Wait]) -> tuple[AttemptTold, ...]:
    """Describe a request's attempts, the first one first."""
    ordered = in_order(tries)
    return tuple(_attempt(place, ordered, waits) for place in range(len(ordered)))


def in_order(tries: Sequence[Try]) -> list[Try]:
    """Give attempts in the order in which they began."""
    return sorted(tries, key=lambda each: each.begun)


def _attempt(place: int, tries: Sequence[Try], waits: Sequence[Wait]) -> AttemptTold:
    each = tries[place]
    return AttemptTold(
        backend=each.backend,
        begun=round(each.begun, 3),
        head=_moment(each.head),
        first_byte=_moment(each.first_byte),
        ended=_moment(each.ended),
        status=each.status or None,
        outcome=each.outcome,
        beside=_is_beside(place, tries),
        why=reason(place, tries, waits),
        candidates=_candidates(each),
        left_out=0 if each.why is None else each.why.left_out,
    )


def _candidates(each: Try) -> tuple[CandidateTold, ...]:
    told = () if each.why is None else figures(each.why, each.backend)
    return tuple(CandidateTold.model_validate(one) for one in told)


def _is_beside(place: int, tries: Sequence[Try]) -> bool:
    """Tell whether an attempt began while the one before it was under way."""
    return place > 0 and not _is_over(tries[place - 1], tries[place].begun)


def _is_over(each: Try, at: float) -> bool:
    return 0 <= each.ended <= at


def reason(place: int, tries: Sequence[Try], waits: Sequence[Wait]) -> str:
    """Say in a line why an attempt, of these in their order, was made at its backend."""
    each, before = tries[place], tries[place - 1] if place else None
    if each.why is not None:
        return summary(each.why, each.backend)
    since = 0.0 if before is None else before.begun
    if any(since <= wait.begun and wait.ended <= each.begun for wait in waits):
        return "the first that had room for it after its time in the queue"
    if before is None:
        return "the only one that can serve it"
    if before.backend == each.backend:
        return "tried once more"
    return "another one that serves it" if _is_beside(place, tries) else "the next one that serves it"


def waits_of(exchange: UnderWay, now: float) -> tuple[WaitTold, ...]:
    """Describe the times in the queue of a request under way."""
    queued = exchange.queued
    if queued is None:
        return ()
    ticket, load = queued.ticket, queued.told(now)
    past = waits(queued.waits)
    if ticket is None:
        return past
    backend, loading = queued.registered or queued.waking, ticket.uncounted(now)
    still = WaitTold(
        begun=round(ticket.entered - exchange.began, 3),
        loading=round(loading, 3),
        backend="" if backend is None or not loading else backend.name,
        load=None if load is None else AwaitedLoad.model_validate(load),
    )
    return (*past, still)


def waits(ended: Sequence[Wait]) -> tuple[WaitTold, ...]:
    """Describe times in the queue that are over."""
    return tuple(
        WaitTold(
            begun=round(each.begun, 3),
            ended=round(each.ended, 3),
            loading=round(each.loading, 3),
            backend=each.loaded,
        )
        for each in ended
    )


def _moment(seconds: float) -> float | None:
    """Give the time of what has happened."""
    return round(seconds, 3) if seconds >= 0 else None
