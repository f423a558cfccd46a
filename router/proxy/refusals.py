"""Errors that engines answer with: which of them are doubted, and whose fault they turn out to be.

An answer that isn't good passes at once if it speaks of the request alone, or another backend is asked at once, where
the status says that one might do better. Any other may be its backend's fault (`retry.is_doubtful`). It is kept, then,
and another backend of the same model is asked:

  1. If that one answers, the first was at fault (`judge`).
  2. If it refuses, too, the request was at fault. The client gets the words of the first one that are known.

An error that may say that the prompt is too long for this backend is held, too, until it is known what it says. If it
does, nobody is at fault, and a backend with a longer context is asked (`Attempts.go_beyond`).

So is what may be no answer at all: a web page, a redirection, nothing, an error in words. On OpenAI's and Anthropic's
paths it becomes an error in the form of the path's API (`core.no_answer`).

What a launched engine says of its own failure (5xx) names files and addresses of this machine. So the client is told
which engine failed, and where to look; the router's log has the beginning of its words. And so it is with what a peer
says of this router's key there (401, 403, 429): clients have another key, and would take it for a word on theirs.
"""

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from router.core import errors, retry
from router.core.no_answer import instead, own_failure
from router.core.record import says_error
from router.core.retry import Failure
from router.core.statuses import LIES, MAY_BE_TOO_LONG, OF_THE_KEY, OF_THE_REQUEST, RETRY_STATUSES, TOO_MANY
from router.http1.bodies import CHUNKED, LENGTH, ChunkedBody
from router.http1.heads import ProtocolError
from router.proxy.heads import retry_after
from router.proxy.interpreter import head_of_error

if TYPE_CHECKING:
    from router.core.catalog import Backend, Candidate
    from router.core.errors import RouterError
    from router.core.estimate.ask import Ask, Sent
    from router.proxy.attempt import Attempt
    from router.proxy.attempts import Attempts
    from router.proxy.heads import ResponseHead
    from router.proxy.plane import Plane
    from router.proxy.requests import Request

log = structlog.get_logger("router")

MOST_KEPT = 64 * 1024
"""Bytes that are kept of an error, to be passed on if no backend does better."""

_MOST_LOGGED = 500
"""Bytes of an engine's words on its failure that are logged."""

_OF_THE_REQUEST: Final = re.compile(rb'"code"\s*:\s*"?4\d\d\b')
"""Matches what an engine says in an error under the status 200 that is the request's fault."""

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


def _unframed(attempt: "Attempt") -> bytes:
    """Give the data of an error's body, which may have come in chunks that are left as they are."""
    if attempt.raw and attempt.head is not None and attempt.head.framing is CHUNKED:
        with suppress(ProtocolError):
            return ChunkedBody().feed(attempt.held)
    return attempt.held


def _may_be_none(head: "ResponseHead", path: str) -> bool:
    """Whether this may be the head of no answer at all: it isn't good, and no error in JSON or in a stream.

    A path beside /v1 has no form of errors.
    """
    if (
        not path.startswith("/v1/")
        or head.is_event_stream
        or any(name == b"content-encoding" for name, _ in head.headers)
    ):
        return False
    is_json = any(name == b"content-type" and b"json" in value.lower() for name, value in head.headers)
    return head.odd and not (is_json and head.status >= 400)


def _is_own_failure(status: int, backend: "Backend") -> bool:
    """Whether an engine of ours says that it has failed. Its words name files and addresses."""
    return status >= LIES and backend.supervised


class Refusals:
    """The doubted errors of one exchange, in the order in which they came; made with its first error."""

    def __init__(self, plane: "Plane", attempts: "Attempts", request: "Request", ask: "Ask") -> None:
        self._plane = plane
        self._attempts = attempts
        self._request = request
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
        if status not in RETRY_STATUSES or not self._attempts.retry(Failure.STATUS, f"status {status}"):
            is_odd = _may_be_none(head, self._ask.path) or _is_own_failure(status, attempt.backend)
            self._doubt(attempt, is_odd=is_odd or self._is_of_our_key(status, attempt.backend))

    def lie(self, attempt: "Attempt", *, is_empty: bool = False) -> None:
        """Note an answer that claims to be good and isn't."""
        self._plane.refused(attempt.backend, LIES, attempt.sent)
        attempt.status = LIES
        self._doubt(attempt, is_odd=is_empty or attempt.backend.supervised)

    def _doubt(self, attempt: "Attempt", *, is_odd: bool) -> None:
        """Keep an error for now, if another backend may show that it is this one's fault, or one has refused, too.

        Also if it may have to be told in other words: it is `is_odd`, or may say that the prompt is too long.
        """
        if is_odd or attempt.status in MAY_BE_TOO_LONG or self._is_doubted(attempt):
            attempt.doubted_at = self._plane.loop.time()

    def _is_of_our_key(self, status: int, backend: "Backend") -> bool:
        """Whether a peer speaks about this router's key there, which is no affair of the client's."""
        return (status in OF_THE_KEY or status == TOO_MANY) and backend in self._plane.directory.through

    def _is_doubted(self, attempt: "Attempt") -> bool:
        doubtful = attempt.status not in RETRY_STATUSES and retry.is_doubtful(attempt.status, attempt.backend)
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
        """Ask another backend what this one refused; `whole`: all of the error is held.

        Tell whether one is asked, or this one's words are told as an error, as far as they have come.
        """
        if self._asks_another(attempt, whole=whole):
            return True
        return not whole and all(each.body is None for each in self._kept) and self._cut_short(attempt)

    def _asks_another(self, attempt: "Attempt", *, whole: bool) -> bool:
        head, status, before = attempt.head, attempt.status, self._kept
        assert head is not None  # noqa: S101  (it is in doubt)
        attempt.doubted_at = None
        if len(attempt.held) >= MOST_KEPT and not whole and not self._attempts.has_rival(full=False):
            return False
        if whole:
            said = _unframed(attempt)
            refusal = errors.of_engine(max(400, head.status), said)
            too_long = refusal.code == errors.TOO_LONG
            self._reword(attempt, said, own=not too_long)
            if too_long:
                if self._attempts.go_beyond(attempt, refusal):
                    return True
                self._amend(attempt, said, refusal)
                return self._let_pass(status)
        if not self._is_doubted(attempt):
            return self._let_pass(status)
        body = attempt.held if whole else None
        self._kept = (
            *before,
            Refusal(attempt.candidate, status, attempt.sent, attempt.head or head, attempt.length, body),
        )
        # What an engine may have worked on is tried once more, not twice.
        again = status < LIES or not before
        if again and self._attempts.retry(retry.failure_of(status), f"status {head.status}"):
            return True
        self._kept = before
        if before:
            self._confirm()
            self._plane.ledger.confirmed(attempt.backend)
        return False

    def _let_pass(self, status: int) -> bool:
        """Have the client get this answer rather than one that was doubted before it; it may speak of its request."""
        if status not in RETRY_STATUSES:
            self._confirm()
        self._kept = ()
        return False

    def _amend(self, attempt: "Attempt", said: bytes, refusal: "RouterError") -> None:
        """Have the client told what the engine's own words lack."""
        head, words = attempt.head, errors.amended(said, refusal, self._ask.path)
        if head is not None and head.status >= 400 and words != said:
            attempt.held, attempt.length, attempt.head = words, len(words), head._replace(framing=LENGTH)

    def _cut_short(self, attempt: "Attempt") -> bool:
        """End what is no answer, and too long or too slow to be read whole; tell whether it was that."""
        if not self._reword(attempt, _unframed(attempt)):
            return False
        attempt.end()
        attempt.on_end()
        return True

    def _reword(self, attempt: "Attempt", said: bytes, *, own: bool = True) -> bool:
        """Have the client told in the form of the path's API what is no answer; tell whether it is that.

        With `own`, also what a launched engine says of its own failure.
        """
        head, path = attempt.head, self._ask.path
        assert head is not None  # noqa: S101  (it is in doubt)
        lies = head.status == 200 and says_error(said) and _OF_THE_REQUEST.search(said) is None
        if self._is_of_our_key(head.status, attempt.backend):
            error: RouterError | None = self._turned_away(attempt, head.status, said)
        elif own and _is_own_failure(LIES if lies else head.status, attempt.backend):
            error = self._failure(attempt, LIES if lies else head.status, said)
        else:
            may_be_none = _may_be_none(head, path) if said else path.startswith("/v1/")
            error = instead(head.status, said) if may_be_none else None
        if error is None:
            return False
        words = errors.body(error, path)
        attempt.held, attempt.length, attempt.head = words, len(words), head_of_error(head, error.status)
        return True

    def _failure(self, attempt: "Attempt", status: int, said: bytes) -> "RouterError":
        """Log what a launched engine said of its failure, and give what its client is told instead."""
        request, name = self._request, attempt.backend.name
        words = said[:_MOST_LOGGED].decode("utf-8", "replace")
        log.warning("an engine has failed", request_id=request.id, backend=name, status=status, said=words)
        return own_failure(status, request.model, name)

    def _turned_away(self, attempt: "Attempt", status: int, said: bytes) -> "RouterError":
        """Log what a peer said of this router's key, and give what its client is told instead."""
        name, words = attempt.backend.name, said[:_MOST_LOGGED].decode("utf-8", "replace")
        log.warning(
            "a peer has turned a request away", request_id=self._request.id, backend=name, status=status, said=words
        )
        if status == TOO_MANY:
            return errors.QueueFullError(f"The backend '{name}' takes no more requests for now. Try again soon.")
        return errors.BadGatewayError(
            f"The backend '{name}' turned this router away, with status {status}: the api_key of its entry in "
            "router.yaml may not be right, or not for this model. Your own key isn't meant."
        )

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
