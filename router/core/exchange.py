"""What becomes of a request when an attempt fails: the one state machine of retries.

An exchange is a request's whole life; an attempt is one try of it at one backend. While no byte of an answer has
reached the client, a failed attempt may be followed by another:

  1. at a backend not tried yet, that is believed to be up, tier by tier;
  2. where none is left, at one tried already, if the failure was the connection's (`AGAIN`): an engine that
     said 503, or nothing for ten minutes, would only say it again;
  3. and at most `retries` times in all. A connection that was kept alive and turned out to be closed (`STALE`)
     doesn't count: it says nothing of the backend, and the next goes out on a fresh one to the same backend.

After the first byte there is no other attempt: the client is told that its answer broke off.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from router.core.balance import Draw, least_in_flight
from router.core.catalog import Candidate, Tier
from router.core.errors import BadGatewayError, GatewayTimeoutError, RouterError, UnavailableError

RETRY_STATUSES = frozenset({429, 502, 503, 504})
"""Answers of an engine that another backend might better, before any of it reached the client."""

UNWELL_STATUSES = frozenset({502, 503, 504})
"""Answers that speak against the backend's health. 500 doesn't: some engines say it of a request that they don't
understand, and a client must not be able to take a backend out by asking nonsense."""

RETRY_AFTER = 5
"""Seconds that a client is asked to wait where nothing better is known."""


class Failure(Enum):
    """How an attempt failed."""

    REFUSED = "refused the connection"
    CONNECT_TIMEOUT = "could not be connected to in time"
    STALE = "had closed the kept-alive connection"
    CLOSED = "closed the connection without an answer"
    BROKEN = "broke off in the middle of its answer"
    GARBLED = "sent what is no valid HTTP answer"
    FIRST_BYTE_TIMEOUT = "sent no answer in time"
    IDLE_TIMEOUT = "stopped sending in the middle of its answer"
    STATUS = "answered that it can't take the request"
    NO_FILES = "can't be reached while the router has no file descriptor left"


AGAIN = frozenset({Failure.REFUSED, Failure.STALE, Failure.CLOSED, Failure.BROKEN, Failure.GARBLED})
"""Failures after which the same backend may be tried once more, where there is no other."""

NOT_ITS_FAULT = frozenset({Failure.STALE, Failure.NO_FILES})
"""Failures that say nothing of the backend."""

_TIMEOUTS = frozenset({Failure.CONNECT_TIMEOUT, Failure.FIRST_BYTE_TIMEOUT, Failure.IDLE_TIMEOUT})


def error_of(failure: Failure, backend: str) -> RouterError:
    """Tell the client of a failure that nothing could make good."""
    sentence = f"The backend '{backend}' {failure.value}."
    if failure in _TIMEOUTS:
        return GatewayTimeoutError(f"{sentence} Try again, or ask for fewer tokens.")
    if failure is Failure.NO_FILES:
        return UnavailableError(f"{sentence} Try again soon; raise its limit (ulimit -n).", retry_after=RETRY_AFTER)
    return BadGatewayError(f"{sentence} Try again; the router's log says more.")


@dataclass(slots=True)
class Attempts:
    """The attempts of one exchange: where it may go, where it has been, and how often it may go on."""

    tiers: tuple[Tier, ...]
    retries_left: int
    tried: list[Candidate] = field(default_factory=list)

    def first(self, model: str, draw: Draw) -> Candidate:
        """Choose where the request goes first.

        Raises UnavailableError, which says why, where no backend is up.
        """
        chosen = self._choose(draw, again=False)
        if chosen is None:
            raise UnavailableError(_why_none(model, self.tiers), retry_after=RETRY_AFTER)
        self.tried.append(chosen)
        return chosen

    def after(self, failure: Failure, draw: Draw) -> Candidate | None:
        """Choose where the request goes next, or None: there it ends. Only before the first byte."""
        if failure is Failure.STALE:
            return self.tried[-1]
        if self.retries_left < 1:
            return None
        chosen = self._choose(draw, again=failure in AGAIN)
        if chosen is not None:
            self.retries_left -= 1
            self.tried.append(chosen)
        return chosen

    def _choose(self, draw: Draw, *, again: bool) -> Candidate | None:
        for tier in self.tiers:
            fresh = [c for c in tier if c not in self.tried and c.backend.health.usable]
            if fresh:
                return least_in_flight(fresh, draw)
        if again:
            usable = [c for c in self.tried if c.backend.health.usable]
            return usable[-1] if usable else None
        return None


def _why_none(model: str, tiers: Sequence[Tier]) -> str:
    reasons = {c.backend.name: c.backend.health.reason for tier in tiers for c in tier}
    if not reasons:
        return f"No backend serves '{model}' at the moment. Try again soon."
    said = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    return f"No backend of '{model}' can take a request at the moment ({said}). Try again soon."
