"""Whether a request gets another attempt, and where. Pure.

An exchange is a request's whole life; an attempt is one try of it at one backend. While no byte of an answer has
reached the client, another attempt may follow a failed one:

  1. At a backend that wasn't tried yet and is believed to be up, tier by tier.
  2. Where none is left, at one that was tried, if the connection failed (`RETRY_SAME`): an engine that said 503, or
     nothing for ten minutes, would only say it again.
  3. At the next model of its route, where the route says so for the answer's status, or where this backend can't serve
     the model (`is_unable`) and no other is left that might (`UNWANTED`).
  4. In the queue, where no backend is up but an engine is about to be, or a machine is woken, if the connection failed
     (`may_wait`); or where another candidate isn't loaded, and would be for this request (`unfit`).
  5. At another backend of the same model, where an error may be its backend's fault (`is_doubtful`). If that one
     answers, the first was at fault. If both refuse alike, the client gets the first one's words.
  6. At a backend with a longer context, or the next model of its route, where an engine says that its context is too
     short for the prompt (`core.contexts`). That is no failure: the engine is right.
  7. At most `retries` times in all. A kept connection that turned out to be closed (`STALE`) doesn't count: it says
     nothing of the backend, and the next attempt takes a fresh connection to the same one.

After the first byte there is no other attempt: the client is told that its answer broke off.
"""

import re
from collections.abc import Container, Sequence
from enum import Enum
from typing import Final, TypeVar

from router.core.catalog import DOUBT, Backend, Candidate, Tier, Way
from router.core.dispatch import Dispatcher
from router.core.errors import BadGatewayError, GatewayTimeoutError, RouterError, UnavailableError
from router.core.estimate.ask import Ask
from router.core.health import WELL, Verdict
from router.core.loads import has_another
from router.core.statuses import LACKS, LIES, OF_THE_KEY, OF_THE_REQUEST

T = TypeVar("T")

_FOLDERS: Final = re.compile(r"(?<![\w./:])/(?:[^\s/'\":,;()]+/)+")
"""Matches the folders before a file's name."""

RETRY_AFTER = 5
"""Seconds that a client is asked to wait where nothing better is known."""


class Failure(Enum):
    """How an attempt failed."""

    REFUSED = "refused the connection"
    UNKNOWN = "can't be found by its name"
    UNTRUSTED = "has a certificate that the router doesn't trust"
    INSECURE = "failed in its TLS handshake"
    CONNECT_TIMEOUT = "could not be connected to in time"
    STALE = "had closed the kept-alive connection"
    CLOSED = "closed the connection without an answer"
    BROKEN = "broke off in the middle of its answer"
    GARBLED = "sent what is no valid HTTP answer"
    NONSENSE = "sent an answer that isn't of its API"
    FIRST_BYTE_TIMEOUT = "sent no answer in time"
    IDLE_TIMEOUT = "stopped sending in the middle of its answer"
    STALLED = "stopped working"
    AWAY = "can't be reached any more"
    STATUS = "answered that it can't take the request"
    DENIED = "turned the request away"
    ERROR = "answered with an error"
    TOO_LONG = "has too short a context for the prompt"
    UNWANTED = "gave an answer after which its route goes on"
    NO_FILES = "can't be reached while the router has no file descriptor left"


RETRY_SAME = frozenset(
    {
        Failure.REFUSED,
        Failure.UNKNOWN,
        Failure.INSECURE,
        Failure.STALE,
        Failure.CLOSED,
        Failure.BROKEN,
        Failure.GARBLED,
    }
)
"""Failures after which the same backend may be tried once more, where there is no other."""

NOT_ITS_FAULT = frozenset({Failure.STALE, Failure.NO_FILES, Failure.STALLED, Failure.AWAY, Failure.NONSENSE})
"""Failures that say nothing of the backend, or nothing that isn't known already. An answer that can't be translated may
be the request's fault: no client may take a backend out."""

FREE_RETRY = frozenset({
    Failure.REFUSED,
    Failure.UNKNOWN,
    Failure.UNTRUSTED,
    Failure.INSECURE,
    Failure.STALE,
    Failure.STALLED,
    Failure.AWAY,
    Failure.TOO_LONG,
})  # fmt: skip
"""Failures after which another attempt adds no load: no working engine has read the request. The retry budget doesn't
pay for it, as for gRPC's transparent retries."""

UNREACHED = frozenset({Failure.CONNECT_TIMEOUT, Failure.UNKNOWN, Failure.AWAY})
"""Failures that a machine shows that sleeps: nobody was there to get the request."""

NEVER_LOADS = frozenset({Failure.STALE, Failure.NO_FILES, Failure.DENIED, Failure.ERROR, Failure.TOO_LONG})
"""Failures after which no other model is loaded for a request: but one whose context is known to be longer is waited
for (`may_wait`)."""

_TIMEOUTS = frozenset({
    Failure.CONNECT_TIMEOUT,
    Failure.FIRST_BYTE_TIMEOUT,
    Failure.IDLE_TIMEOUT,
    Failure.STALLED,
})  # fmt: skip


def error_of(failure: Failure, backend: str) -> RouterError:
    """The error that a client gets for a failure, when no other attempt is allowed."""
    sentence = f"The backend '{backend}' {failure.value}."
    if failure in _TIMEOUTS:
        return GatewayTimeoutError(f"{sentence} Try again, or ask for fewer tokens.")
    if failure is Failure.UNKNOWN:
        return BadGatewayError(f"{sentence} Try again; the router's log says why: check its url, and DNS.")
    if failure is Failure.UNTRUSTED or failure is Failure.INSECURE:
        return BadGatewayError(f"{sentence} The router's log says why.")
    if failure is Failure.AWAY:
        return UnavailableError(f"{sentence} Try again soon.", retry_after=RETRY_AFTER)
    if failure is Failure.NO_FILES:
        return UnavailableError(f"{sentence} Try again soon; raise its limit (ulimit -n).", retry_after=RETRY_AFTER)
    return BadGatewayError(f"{sentence} Try again; the router's log says more.")


def first(
    model: str, queue: str, way: Way, ask: Ask, dispatcher: Dispatcher[T], now: float, *, at_once: bool = False
) -> Candidate | None:
    """Choose where a request goes first; None: it has to wait in its queue.

    `at_once`: it takes no engine's time, so it needs no room. Raises UnavailableError, with the reasons, if no backend
    is up or about to be.
    """
    admission, chosen = dispatcher.admission, None
    if at_once:
        chosen = dispatcher.choose(way, (), ask, now, full=True)
    elif admission.is_empty(queue):
        chosen = dispatcher.choose(way, (), ask, now)
    elif len(way.tiers) > 1 and not admission.is_wide(queue):
        # Those who wait for its first model alone can't go to the next ones: nobody is overtaken there.
        chosen = dispatcher.choose(way, (), ask, now)
        if chosen is not None and queue in chosen.backend.models:
            chosen = None
    if chosen is None and not dispatcher.may_wait(way):
        raise nobody(model, way)
    return chosen


def nobody(model: str, way: Way) -> UnavailableError:
    """The error for a request that no backend can take, now or soon, with the reasons."""
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
    """Choose where a request goes after a failure; None: nowhere. Only before the first byte.

    `tried` has the candidates of all attempts but those that met a stale connection. A retry has waited already: where
    all backends are full, it goes to one of them and waits in its engine.
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
    """Whether a request goes back to its queue: `after` finds no backend, but an engine is about to be up.

    `age` is the seconds since the request came. A request that may itself be what kills the engines gets one attempt
    more than `retries`. One that no engine has read gets as many as fit into `queue_timeout`.
    """
    return (
        (failure in FREE_RETRY or failure in UNREACHED or (failure in RETRY_SAME and len(tried) <= retries + 1))
        and age < dispatcher.admission.bounds.queue_timeout
        and dispatcher.awaits(way)
    )


def unfit(
    failure: Failure, way: Way, tried: Sequence[Candidate], retries: int, held: Container[Backend] = ()
) -> tuple[Backend, ...]:
    """Give the backends that a request is no more for, if it waits for another one of its candidates to be loaded.

    None: no other one is loaded for it, as those are not that an admin has `held`. That is so after an error that may
    be the request's own fault, too: a load is too much for finding out.
    """
    if failure in NEVER_LOADS or len(tried) > retries:
        return ()
    spent = tuple(tried)
    if failure is Failure.UNWANTED:
        last = max(i for i, tier in enumerate(way.tiers) if tried[-1] in tier)
        spent += tuple(each for tier in way.tiers[: last + 1] for each in tier)
    return tuple(each.backend for each in spent) if has_another(way, spent, held) else ()


def is_free(failure: Failure, backend: Backend) -> bool:
    """Whether another attempt adds no load, so that the retry budget doesn't pay for it.

    A launched engine that closes a connection without an answer is ending, and lets go of all its work; so is a backend
    that is gone. An engine that refuses a request with a status below 500 has not worked on it. And trying the next
    model of a route is no retry.
    """
    if failure in FREE_RETRY or failure is Failure.DENIED or failure is Failure.UNWANTED:
        return True
    return (failure in RETRY_SAME or failure in UNREACHED) and (backend.supervised or backend.health.absent)


def in_doubt(backend: Backend) -> bool:
    """Whether a backend's refusals are believed only if another backend refuses the same."""
    health = backend.health
    return backend.errors >= DOUBT or (health is not WELL and (health.by_requests or health.verdict is Verdict.PROBING))


def is_doubtful(status: int, backend: Backend) -> bool:
    """Whether an error may be its backend's fault rather than the request's."""
    return status not in OF_THE_REQUEST or in_doubt(backend)


def is_unable(status: int, *, own_key: bool) -> bool:
    """Whether an error says that its backend lacks the model, or doesn't accept the router's `own_key`."""
    return status == LACKS or (own_key and status in OF_THE_KEY)


def failure_of(status: int) -> Failure:
    """How an attempt with a doubtful answer has failed: an engine may have worked on a request before it said 5xx."""
    return Failure.DENIED if status < LIES else Failure.ERROR


def rival(
    way: Way, tried: Sequence[Candidate], ask: Ask, dispatcher: Dispatcher[T], now: float, *, full: bool = True
) -> Candidate | None:
    """Choose another backend of the same model, to see whose fault an error is: the one up with the fewest errors.

    With `full`, one that has no room will do.
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
    """Choose a second backend while the latest attempt is silent: one of the same model that is up and has room.

    None while any request waits for room: it goes first.
    """
    if len(dispatcher.admission):
        return None
    same = way._replace(tiers=tuple(tier for tier in way.tiers if tried[-1] in tier)[:1])
    candidate = dispatcher.choose(same, tried, ask, now)
    return candidate if candidate is not None and candidate.backend.health.usable else None


def waited_in_vain(error: RouterError, tiers: Sequence[Tier], held: Container[Backend]) -> RouterError:
    """Add reasons to an error of the queue: that all that are there are drained (`held`); or why none is there."""
    there = [c.backend for tier in tiers for c in tier if not c.backend.health.absent or c.backend in held]
    if there and all(each in held for each in there):
        # Who has drained them is nothing for clients.
        drained = " and ".join(dict.fromkeys(f"'{each.name}' is drained" for each in there))
        # When to come again is nothing that the queue could tell.
        waited = error.message.partition(" Try again")[0]
        return type(error)(f"{waited} {drained}: undrain it first.", retry_after=error.retry_after)
    if there:
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
