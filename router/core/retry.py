"""What becomes of a request when an attempt fails: the one state machine of retries.

An exchange is a request's whole life; an attempt is one try of it at one backend. While no byte of an answer has
reached the client, a failed attempt may be followed by another:

  1. at a backend not tried yet, that is believed to be up, tier by tier;
  2. where none is left, at one tried already, if the failure was the connection's (`RETRY_SAME`): an engine that
     said 503, or nothing for ten minutes, would only say it again;
  3. of the next model only, where the route says so of the answer's status, or the answer says that this backend can't
     serve the model (`is_unable`) and no other is left that might (`UNWANTED`);
  4. where nobody is up but an engine is about to be, in its queue, if the connection was at fault (`may_wait`);
  5. at another backend of the same model, where an answer may be an error of its backend (`is_doubtful`), and only
     its: if that one answers, the first is at fault; if both refuse alike, the client gets the first one's words;
  6. and at most `retries` times in all. A connection that was kept alive and turned out to be closed (`STALE`)
     doesn't count: it says nothing of the backend, and the next goes out on a fresh one to the same backend.

After the first byte there is no other attempt: the client is told that its answer broke off.
"""

import re
from collections.abc import Sequence
from enum import Enum
from typing import Final, TypeVar

from router.core.catalog import DOUBT, Backend, Candidate, Tier, Way
from router.core.dispatch import Dispatcher
from router.core.errors import BadGatewayError, GatewayTimeoutError, RouterError, UnavailableError
from router.core.estimate.ask import Ask
from router.core.health import WELL, Verdict
from router.core.statuses import LACKS, LIES, OF_THE_KEY, OF_THE_REQUEST

T = TypeVar("T")

_FOLDERS: Final = re.compile(r"(?<![\w./:])/(?:[^\s/'\":,;()]+/)+")
"""The folders before a file's name."""

RETRY_AFTER = 5
"""Seconds that a client is asked to wait where nothing better is known."""


class Failure(Enum):
    """How an attempt failed."""

    REFUSED = "refused the connection"
    UNKNOWN = "can't be found by its name"
    CONNECT_TIMEOUT = "could not be connected to in time"
    STALE = "had closed the kept-alive connection"
    CLOSED = "closed the connection without an answer"
    BROKEN = "broke off in the middle of its answer"
    GARBLED = "sent what is no valid HTTP answer"
    FIRST_BYTE_TIMEOUT = "sent no answer in time"
    IDLE_TIMEOUT = "stopped sending in the middle of its answer"
    STALLED = "stopped working"
    STATUS = "answered that it can't take the request"
    DENIED = "turned the request away"
    ERROR = "answered with an error"
    UNWANTED = "gave an answer after which its route goes on"
    NO_FILES = "can't be reached while the router has no file descriptor left"


RETRY_SAME = frozenset(
    {Failure.REFUSED, Failure.UNKNOWN, Failure.STALE, Failure.CLOSED, Failure.BROKEN, Failure.GARBLED}
)
"""Failures after which the same backend may be tried once more, where there is no other."""

NOT_ITS_FAULT = frozenset({Failure.STALE, Failure.NO_FILES, Failure.STALLED})
"""Failures that say nothing of the backend, or nothing that isn't known already."""

FREE_RETRY = frozenset({Failure.REFUSED, Failure.UNKNOWN, Failure.STALE, Failure.STALLED})
"""Failures after which another attempt is no further load: no engine has read the request, or the one that has is out,
and lets go of it. So the budget of retries doesn't pay for it (as gRPC's transparent retries)."""

_TIMEOUTS = frozenset({
    Failure.CONNECT_TIMEOUT,
    Failure.FIRST_BYTE_TIMEOUT,
    Failure.IDLE_TIMEOUT,
    Failure.STALLED,
})  # fmt: skip


def error_of(failure: Failure, backend: str) -> RouterError:
    """Tell the client of a failure that nothing could make good."""
    sentence = f"The backend '{backend}' {failure.value}."
    if failure in _TIMEOUTS:
        return GatewayTimeoutError(f"{sentence} Try again, or ask for fewer tokens.")
    if failure is Failure.UNKNOWN:
        return BadGatewayError(f"{sentence} Try again; the router's log says why: check its url, and DNS.")
    if failure is Failure.NO_FILES:
        return UnavailableError(f"{sentence} Try again soon; raise its limit (ulimit -n).", retry_after=RETRY_AFTER)
    return BadGatewayError(f"{sentence} Try again; the router's log says more.")


def first(model: str, queue: str, way: Way, ask: Ask, dispatcher: Dispatcher[T], now: float) -> Candidate | None:
    """Choose where a request goes first; None: it has to wait in its queue.

    Raises UnavailableError, which says why, where no backend is there.
    """
    chosen = dispatcher.choose(way, (), ask, now) if dispatcher.admission.is_empty(queue) else None
    if chosen is None and not dispatcher.may_wait(way):
        raise nobody(model, way)
    return chosen


def nobody(model: str, way: Way) -> UnavailableError:
    """Tell a client that no backend is there, nor about to be, and why."""
    return UnavailableError(_why_none(model, way.tiers), retry_after=RETRY_AFTER)


def after(
    failure: Failure,
    way: Way,
    tried: Sequence[Candidate],
    retries: int,
    ask: Ask,
    dispatcher: Dispatcher[T],
    now: float,
) -> Candidate | None:
    """Choose where a request goes next, or None: there it ends. Only before the first byte.

    `tried` has every attempt so far, but none that met a stale connection: its like is tried at once, and at no cost.
    A retry has waited already: where all others are full it goes to one of them, which has it wait itself.
    """
    if failure is Failure.STALE:
        return tried[-1]
    if len(tried) > retries:
        return None
    if failure is Failure.DENIED or failure is Failure.ERROR:
        return rival(way, tried, ask, dispatcher, now)
    if failure is Failure.UNWANTED:
        way = way._replace(tiers=way.tiers[max(i for i, tier in enumerate(way.tiers) if tried[-1] in tier) + 1 :])
    chosen = dispatcher.choose(way, tried, ask, now) or dispatcher.choose(way, tried, ask, now, full=True)
    if chosen is None and failure in RETRY_SAME:
        chosen = next((candidate for candidate in reversed(tried) if candidate.backend.health.usable), None)
    return chosen


def may_wait(
    failure: Failure, way: Way, tried: Sequence[Candidate], retries: int, age: float, dispatcher: Dispatcher[T]
) -> bool:
    """Tell whether a request goes back to its queue, as `after` finds nobody, but an engine is about to be there.

    `age` is for how many seconds it has been under way. One that may be what ends the engines has a single attempt more
    than others; one that no engine has read has as many as fit into the time that it may wait.
    """
    return (
        (failure in FREE_RETRY or (failure in RETRY_SAME and len(tried) <= retries + 1))
        and age < dispatcher.admission.bounds.queue_timeout
        and dispatcher.awaits(way)
    )


def is_free(failure: Failure, backend: Backend) -> bool:
    """Tell whether another attempt is no further load, so that the budget of retries doesn't pay for it.

    A launched engine that closes a connection without an answer is going, as is any server of which nobody is left: it
    lets go of all that it has. One that turns a request away at its door has not worked on it. And where a route says
    that the next model is to be tried, that is no retry.
    """
    if failure in FREE_RETRY or failure is Failure.DENIED or failure is Failure.UNWANTED:
        return True
    return failure in RETRY_SAME and (backend.supervised or backend.health.absent)


def in_doubt(backend: Backend) -> bool:
    """Tell whether nothing that a backend refuses is to be believed unless another refuses it, too."""
    health = backend.health
    return backend.errors >= DOUBT or (health is not WELL and (health.by_requests or health.verdict is Verdict.PROBING))


def is_doubtful(status: int, backend: Backend) -> bool:
    """Tell whether an answer that isn't good may be its backend's fault rather than the request's."""
    return status not in OF_THE_REQUEST or in_doubt(backend)


def is_unable(status: int, *, own_key: bool) -> bool:
    """Tell whether an answer says that its backend lacks the model, or doesn't take the router's `own_key`."""
    return status == LACKS or (own_key and status in OF_THE_KEY)


def failure_of(status: int) -> Failure:
    """Tell how an attempt has failed whose answer is doubtful: an engine may have worked on what it says 500 to."""
    return Failure.DENIED if status < LIES else Failure.ERROR


def rival(
    way: Way, tried: Sequence[Candidate], ask: Ask, dispatcher: Dispatcher[T], now: float, *, full: bool = True
) -> Candidate | None:
    """Choose who else of the same model may show whose fault an error is: of those that are up, whoever errs least.

    With `full`, whether it has room or not.
    """
    same = next(tier for tier in way.tiers if tried[-1] in tier)
    able = [each for each in same if each.backend.health.usable and each not in tried]
    if dispatcher.ledger.aside.any:
        able = [each for each in able if not dispatcher.ledger.aside.has(each, ask, now)]
    least = min((each.backend.errors for each in able), default=0)
    best = tuple(each for each in able if each.backend.errors == least)
    if not best:
        return None
    way = way._replace(tiers=(best,))
    chosen = dispatcher.choose(way, (), ask, now)
    return chosen if chosen is not None or not full else dispatcher.choose(way, (), ask, now, full=True)


def second(way: Way, tried: Sequence[Candidate], ask: Ask, dispatcher: Dispatcher[T], now: float) -> Candidate | None:
    """Choose who is asked, too, while the latest attempt is silent: one of the same model that is up and has room.

    Where anybody waits for room, nobody is asked twice.
    """
    if len(dispatcher.admission):
        return None
    same = way._replace(tiers=tuple(tier for tier in way.tiers if tried[-1] in tier)[:1])
    candidate = dispatcher.choose(same, tried, ask, now)
    return candidate if candidate is not None and candidate.backend.health.usable else None


def waited_in_vain(error: RouterError, tiers: Sequence[Tier]) -> RouterError:
    """Say in an error of the queue what became of the engines, where none was there to have room."""
    if any(not c.backend.health.absent for tier in tiers for c in tier):
        return error
    return type(error)(f"{error.message} Of its engines: {_reasons(tiers)}.", retry_after=error.retry_after)


def _why_none(model: str, tiers: Sequence[Tier]) -> str:
    said = _reasons(tiers)
    if not said:
        return f"No backend serves '{model}' at the moment. Try again soon."
    return f"No backend of '{model}' can take a request at the moment ({said}). Try again soon."


def _reasons(tiers: Sequence[Tier]) -> str:
    reasons = {c.backend.name: c.backend.health.reason for tier in tiers for c in tier}
    # An engine's own words name files; in which folders these are is nothing for clients.
    return "; ".join(f"{name}: {_FOLDERS.sub('', reason)}" for name, reason in reasons.items())
