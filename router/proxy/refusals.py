"""Errors that engines answer with: which of them are doubted, and whose fault they turn out to be.

An answer that isn't good passes at once if it speaks of the request alone, or another backend is asked at once, where
the status says that one might do better. Any other may be its backend's fault (`retry.is_doubtful`). It is kept, then,
and another backend of the same model is asked:

  1. If that one answers, the first was at fault (`judge`).
  2. If it refuses, too, the request was at fault. The client gets the words of the first one that are known.

An error that may say that the prompt is too long for this backend is held, too, until it is known what it says. If it
does, nobody is at fault, and a backend with a longer context is asked (`Attempts.go_beyond`).
"""

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from router.core import errors, retry
from router.core.retry import Failure
from router.core.statuses import LIES, MAY_BE_TOO_LONG, OF_THE_REQUEST, RETRY_STATUSES, TOO_MANY
from router.http1.bodies import CHUNKED, LENGTH, ChunkedBody
from router.http1.heads import ProtocolError
from router.proxy.heads import retry_after

if TYPE_CHECKING:
    from router.core.catalog import Candidate
    from router.core.errors import RouterError
    from router.core.estimate.ask import Ask, Sent
    from router.proxy.attempt import Attempt
    from router.proxy.attempts import Attempts
    from router.proxy.heads import ResponseHead
    from router.proxy.plane import Plane

MOST_KEPT = 64 * 1024
"""Bytes that are kept of an error, to be passed on if no backend does better."""

REST_WITHIN = 1.0
"""Seconds that the rest of an error has to come, before another backend is asked without it."""


class Refusal(NamedTuple):
    """An answer that wasn't good, and was doubted. `body` is None where not all of it is known."""

    candidate: "Candidate"
    status: int
    sent: "Sent"
    head: "ResponseHead"
    length: int
    body: bytes | None


def unframed(head: "ResponseHead", held: bytes) -> bytes:
    """Give the data of an error's body, which may have come in chunks that are left as they are."""
    if head.framing is CHUNKED:
        with suppress(ProtocolError):
            return ChunkedBody().feed(held)
    return held


class Refusals:
    """The doubted errors of one exchange, in the order in which they came; made with its first error."""

    def __init__(self, plane: "Plane", attempts: "Attempts", ask: "Ask") -> None:
        self._plane = plane
        self._attempts = attempts
        self._ask = ask
        self._kept: tuple[Refusal, ...] = ()

    def on_odd_head(self, attempt: "Attempt", head: "ResponseHead") -> None:
        """Note an answer that isn't good; leave it for another backend, or see whether it is to be doubted."""
        status, plane = head.status, self._plane
        attempt.status = status if status >= 400 else LIES
        plane.refused(attempt.backend, status, attempt.sent)
        if status == TOO_MANY:
            plane.busy(attempt.candidate, self._ask, retry_after(head.headers))
        if self._is_unwanted(attempt, status) and self._attempts.retry(Failure.UNWANTED, f"status {status}"):
            return
        if status not in RETRY_STATUSES:
            self._doubt(attempt)
        else:
            self._attempts.retry(Failure.STATUS, f"status {status}")

    def lie(self, attempt: "Attempt") -> None:
        """Note an answer that claims to be good and isn't."""
        self._plane.refused(attempt.backend, LIES, attempt.sent)
        attempt.status = LIES
        self._doubt(attempt)

    def _doubt(self, attempt: "Attempt") -> None:
        """Keep an error for now, if another backend may show that it is this one's fault, or one has refused, too."""
        if attempt.status in MAY_BE_TOO_LONG or self._is_doubted(attempt):
            attempt.doubted_at = self._plane.loop.time()

    def _is_doubted(self, attempt: "Attempt") -> bool:
        doubtful = retry.is_doubtful(attempt.status, attempt.backend)
        return doubtful and (self._kept != () or self._attempts.has_rival(full=True))

    def _is_unwanted(self, attempt: "Attempt", status: int) -> bool:
        """Whether the route's next model is to answer: the route says so, or no backend is able to serve this one."""
        way = self._attempts.way
        if way is None:
            return False
        own_key = self._plane.connections.shows_key(attempt.backend)
        unable = retry.is_unable(status, own_key=own_key) and not self._attempts.has_rival(full=True)
        return unable or status in way.route.next_on

    def ask_another(self, attempt: "Attempt", *, whole: bool) -> bool:
        """Ask another backend what this one refused; `whole`: all of the error is held. Tell whether one is asked."""
        head, status, before = attempt.head, attempt.status, self._kept
        assert head is not None  # noqa: S101  (it is in doubt)
        attempt.doubted_at = None
        if whole:
            said = unframed(head, attempt.held)
            refusal = errors.of_engine(max(400, head.status), said)
            if refusal.code == errors.TOO_LONG:
                if self._attempts.go_beyond(attempt, refusal):
                    return True
                self._amend(attempt, said, refusal)
                return self._let_pass()
        if not self._is_doubted(attempt):
            return self._let_pass()
        body = attempt.held if whole else None
        self._kept = (*before, Refusal(attempt.candidate, status, attempt.sent, head, attempt.length, body))
        # What an engine may have worked on is tried once more, not twice.
        again = status < LIES or not before
        if again and self._attempts.retry(retry.failure_of(status), f"status {head.status}"):
            return True
        self._kept = before
        if before:
            self._confirm()
            self._plane.ledger.confirmed(attempt.backend)
        return False

    def _let_pass(self) -> bool:
        """Have the client get this answer, which speaks of its request, rather than one that was doubted before it."""
        self._confirm()
        self._kept = ()
        return False

    def _amend(self, attempt: "Attempt", said: bytes, refusal: "RouterError") -> None:
        """Have the client told what the engine's own words lack."""
        head, words = attempt.head, errors.amended(said, refusal, self._ask.path)
        if head is not None and head.status >= 400 and words != said:
            attempt.held, attempt.length, attempt.head = words, len(words), head._replace(framing=LENGTH)

    def first_known(self) -> Refusal | None:
        """Give the first refusal of which all is known; the client gets that one, and the others don't matter."""
        found = next((each for each in self._kept if each.body is not None), None)
        if found is not None:
            self._kept = ()
        return found

    def judge(self, attempt: "Attempt") -> None:
        """Note what an answer that the client gets says of the backends that have refused the same request."""
        if attempt.status:
            if attempt.status in OF_THE_REQUEST:
                self._confirm()
            return
        kept, self._kept = self._kept, ()
        for each in kept:
            self._plane.disproved(each.candidate, self._ask, each.status, each.sent)

    def _confirm(self) -> None:
        for each in self._kept:
            self._plane.ledger.confirmed(each.candidate.backend)
