"""A second attempt beside an exchange's first, for as long as neither has brought anything of an answer.

    a timer → another backend of the same model has room, and the retry budget pays → the request is sent there, too
            its first words, or the failure of the first attempt → it takes the first one's place (`take_over`)
            its own failure, an error as its answer, or the first words of the first → it ends (`go_alone`)

Pings are no words: many engines send comments into a stream while a request waits there. While there may be a second
attempt, the pings of both are held back, because one byte at the client ends the race.

A hedge exists only where `balance.hedge_after` asks for it. It never speaks to the client.
"""

from typing import TYPE_CHECKING

import structlog

from router.core.errors import RouterError
from router.core.record import has_event
from router.core.retry import Failure
from router.core.statuses import LIES
from router.core.timeline import SLOWER
from router.proxy.attempt import Attempt, Owner
from router.proxy.speaking import Sender

if TYPE_CHECKING:
    from router.core.catalog import Candidate, Way
    from router.proxy.heads import ResponseHead
    from router.proxy.plane import Plane
    from router.proxy.pool import Pool
    from router.proxy.roles import UnderWay

log = structlog.get_logger("router")

MOST_HELD = 512
"""Bytes of pings that are held back: then the client is to see that somebody lives, and that decides the race."""


class HedgeOwner(Sender):
    """An exchange's attempts, as the hedge knows them. `way` is where it may go."""

    # A base class, not a Protocol: compiled, its methods are called natively.

    way: "Way | None" = None

    def second(self, now: float) -> "Candidate | None":
        """Choose a second backend for the same request; None: there is none."""
        raise NotImplementedError

    def send(self, attempt: Attempt, pool: "Pool", *, fresh: bool = False) -> None:
        """Send the request to the attempt's backend; see Attempts.send."""
        raise NotImplementedError

    def blame(self, failure: Failure, attempt: Attempt) -> None:
        """Note that an attempt failed."""
        raise NotImplementedError

    def take_over(self, why: str = SLOWER) -> None:
        """Go on with the second attempt, and end the first, because of `why`."""
        raise NotImplementedError

    def go_alone(self, why: str = SLOWER) -> None:
        """End the second attempt, because of `why`, or have none, and pass on what was held back because of it."""
        raise NotImplementedError


class Hedge(Owner):
    """The race of an exchange's attempt with a second one, which is made after `after` seconds, and which this owns."""

    def __init__(self, exchange: "UnderWay", owner: HedgeOwner, plane: "Plane", after: float) -> None:
        self.attempt: Attempt | None = None
        self._exchange = exchange
        self._owner = owner
        self._plane = plane
        self._timer = plane.loop.call_later(after, self._begin)

    def _begin(self) -> None:
        """Ask a second backend, if there is one and the budget pays for it."""
        plane, exchange, now = self._plane, self._exchange, self._plane.loop.time()
        candidate = self._owner.second(now)
        pool = None if candidate is None else plane.pool(candidate.backend)
        way = self._owner.way
        if candidate is None or way is None or pool is None or not plane.ledger.budget.withdraw(now):
            self._owner.go_alone()
            return
        first, second = exchange.backend, candidate.backend
        log.info(
            "asked a second backend",
            request_id=exchange.request.id,
            backend=None if first is None else first.name,
            second=second.name,
        )
        sent = plane.began(candidate, way, exchange, now)
        attempt = self.attempt = Attempt(self, candidate, sent, plane.dispatcher.decision)
        try:
            self._owner.send(attempt, pool)
        except Exception as error:  # noqa: BLE001  (whatever it is, the first attempt is still there)
            self.on_mistake(attempt, error)

    def stop(self) -> Attempt | None:
        """Make no second attempt any more; give the one that was made."""
        self._timer.cancel()
        attempt, self.attempt = self.attempt, None
        return attempt

    # What the second attempt asks and tells (attempt.Owner)

    def written(self, attempt: Attempt, pool: "Pool") -> bytes:
        """The request as the attempt's backend is to have it."""
        return self._exchange.written(attempt, pool)

    def takes_chunks(self) -> bool:
        """Whether the client takes the engine's own chunks."""
        return self._exchange.takes_chunks()

    def on_odd_head(self, attempt: Attempt, head: "ResponseHead") -> None:
        """End it: an error is no answer to win with, and the first attempt may do better."""
        self._plane.refused(attempt.backend, head.status, attempt.sent)
        self._owner.go_alone(f"answered {head.status}")

    def on_body(self, attempt: Attempt, data: bytes) -> None:
        """Win with the first words."""
        attempt.held += data
        streams = attempt.head is not None and attempt.head.is_event_stream
        if not streams or has_event(attempt.held) or len(attempt.held) >= MOST_HELD:
            self._owner.take_over()

    def on_remains(self, attempt: Attempt, data: bytes) -> None:
        """Don't win with it: the first attempt may do better."""

    def on_end(self, attempt: Attempt) -> None:
        """End it: an answer of no words is none, and the first attempt may do better."""
        attempt.let_go()
        self._plane.refused(attempt.backend, LIES, attempt.sent)
        self._owner.go_alone()

    def on_failure(self, attempt: Attempt, failure: Failure, detail: str) -> None:
        """Try once more where a kept connection failed; else end it, and let the first attempt go on."""
        pool = self._plane.pool(attempt.backend)
        if failure is Failure.STALE and pool is not None:
            self._owner.send(attempt, pool, fresh=True)
            return
        self._owner.blame(failure, attempt)
        self._owner.go_alone(f"{failure.value} ({detail})")

    def on_mistake(self, attempt: Attempt, error: Exception) -> None:
        """End it; the backend is not at fault."""
        # A RouterError says that this engine can't take the request.
        if not isinstance(error, RouterError):
            log.error("a second attempt failed because of a bug in the router", exc_info=error)
        self._plane.excused(attempt.backend, attempt.sent)
        self._owner.go_alone(str(error) or type(error).__name__)
