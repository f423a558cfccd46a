"""A request's whole life on the data plane: attempts out, one answer back.

    start → choose a backend → an attempt (`proxy.attempt`): connect, send
            its head → (another attempt, or the head is held)
            its body → (with the first byte the head goes to the client) → the bytes follow
            its end, or its failure → (another attempt, or the end) → a record

The exchange coordinates. `proxy.answer` is what the client gets, with its states, and when an answer is over.
`proxy.attempts` are all attempts, and whether there is another; `proxy.refusals` are errors that may be the backend's
fault; `core.progress` is what the looks find. The head is held back until the first byte of the body, so that an engine
that says 200 and then dies costs the client nothing. All of it runs in callbacks on the loop's thread: between two of
them nobody else moves, and a client that leaves closes the engine's connection at once.

This is the hot path, above all `Exchange.on_body`. What can wait is done from the record, many at a time.
"""

from typing import TYPE_CHECKING

import structlog

from router.core import errors, retry, stall
from router.core.catalog import UNTOLD
from router.core.estimate.ask import Ask
from router.core.progress import AnswerProgress, Found
from router.core.record import has_event, says_error, tail_of
from router.core.retry import Failure
from router.core.stall import Silence
from router.core.statuses import LEFT
from router.http1.bodies import CLOSE, LAST_CHUNK
from router.proxy.answer import DONE, PINGING, PROMISED, REFUSING, STREAMING
from router.proxy.attempt import Attempt
from router.proxy.attempts import Attempts
from router.proxy.hedge import MOST_HELD
from router.proxy.recording import record_of
from router.proxy.refusals import MOST_KEPT, REST_WITHIN, Refusals
from router.proxy.requests import Request, explained
from router.proxy.roles import UnderWay
from router.proxy.waiting import Waiting

if TYPE_CHECKING:
    from router.core.catalog import Backend, Candidate, Way
    from router.core.errors import RouterError
    from router.core.timeline import Try
    from router.proxy.heads import ResponseHead
    from router.proxy.plane import Plane
    from router.proxy.pool import Pool
    from router.proxy.roles import Queued
    from router.proxy.sink import Sink

log = structlog.get_logger("router")

END_WITHIN = 1.0
"""Seconds that an engine has for the end of the framing, once the message is whole and nobody waits for it."""

UNASKED = Ask(0)
"""What is known of a request before it is known where it may go."""


class Exchange(UnderWay):
    """One request's life. Its owner calls `start`, and `cancel` if the client leaves; the sink hears the rest."""

    # What every exchange begins with. First the queue's part of it, if it had to wait.
    _waiting: Waiting | None = None
    # The errors of its attempts, if there were any.
    _refusals: Refusals | None = None
    # What the looks have seen of its answer, if it lasted that long.
    _progress: AnswerProgress | None = None
    # Why the first attempt went where it went, if that was asked for.
    _explained = b""

    def __init__(self, plane: "Plane", request: Request, body: bytes, sink: "Sink") -> None:
        super().__init__(request, UNASKED, sink, plane.loop.time())
        self._plane = plane
        self._ledger = plane.ledger
        self._attempts = Attempts(self, plane, body)

    # What the client's side asks

    def start(self) -> None:
        """Send the request where it will be answered."""
        plane, model = self._plane, self.request.model
        plane.entered(self)
        try:
            self.charge(self._attempts.body)
            way = self._attempts.elect(self._attempts.resolve(self.began))
            if self.request.elective:
                told = self._attempts.unload(way)
                if told is not None:
                    self._give(told.head, len(told.body), told.body, pings=False)
                    return
            ask = self.ask = plane.ask(way, self._attempts.body, self.request)
            if self.request.head.explain:
                self._explained = explained(plane.dispatcher.explain(way, ask, self.began))
            # There is one queue for all names that lead to the same model.
            queue = way.route.targets[0] if way.route.targets else model
            if not way.tiers and plane.may_learn(self.began):
                self._wait(way, UNTOLD)
                return
            try:
                counts = self.request.counts
                candidate = retry.first(model, queue, way, ask, plane.dispatcher, self.began, at_once=counts)
            except errors.UnavailableError:
                if not plane.revive(way):
                    raise
                candidate = None
            if candidate is None:
                self._wait(way, queue)
                return
            self._attempts.make(candidate, plane.dispatcher.decision)
        except Exception as error:  # noqa: BLE001  (whatever it is, the client gets an answer)
            self.go_wrong(error)

    def _wait(self, way: "Way", queue: str, unfit: "tuple[Backend, ...]" = ()) -> None:
        """Wait for a backend with room, or for one that is about to be there. Raises QueueFullError."""
        if self._waiting is None:
            lines = self._explained + self.lines(self._plane.loop.time())
            if not self.request.keep_alive:
                lines += b"connection: close\r\n"
            self._waiting = Waiting(self, self._plane, way, lines)
        self._waiting.enter(way, queue, unfit + self._attempts.too_short)

    def go(self, way: "Way", candidate: "Candidate") -> None:
        """Send the request there: it has waited for room."""
        self._attempts.resume(way)
        try:
            self._attempts.make(candidate)
        except Exception as error:  # noqa: BLE001  (as in `start`)
            self.go_wrong(error)

    def cancel(self, outcome: str = "the client left") -> None:
        """Stop at once, and free the engine: the client has left."""
        if self.answer.state is DONE:
            return
        if self.answer.passed.is_whole() and not self.paused and not self.answer.unsent:
            self._end_message(left=True)
        else:
            self._finish(LEFT, outcome)

    def break_off(self, error: "RouterError", outcome: str) -> None:
        """Stop at once, and tell the client why: as its answer, or behind what it got of one."""
        answer = self.answer
        if answer.state is DONE:
            return
        if answer.passed.is_whole():
            self._end_message()
        else:
            self._cut(error, outcome)

    def _cut(self, error: "RouterError", outcome: str) -> None:
        attempt = self._attempts.current
        words = b"" if attempt is None or attempt.between is None else attempt.between.last_words(error)
        interrupt, lines = None if attempt is None else attempt.interrupt, self.lines(self._plane.loop.time())
        self._finish(self.answer.break_off(error, interrupt, words, lines), outcome)

    def pause(self) -> None:
        """Read no more from the engine: the client is slower."""
        self.paused = True
        attempt = self._attempts.current
        if attempt is not None:
            attempt.pause()
            self._mute(attempt)

    def resume(self) -> None:
        """Read on. The pause was the client's: the engine's time to say something begins anew."""
        self.paused = False
        if self._progress is not None:
            self._progress.moved_at = self._plane.loop.time()
        attempt = self._attempts.current
        if attempt is not None:
            attempt.resume()
            self._mute(attempt)

    def _mute(self, attempt: Attempt) -> None:
        """Tell that nobody can hear whether the engine speaks, or that it can be heard again."""
        self._ledger.muted(attempt.backend, attempt.sent, self._plane.loop.time(), muted=self.paused)

    # What the plane and the attempts ask

    @property
    def queued(self) -> "Queued | None":
        """Itself as it waits, or has waited, in the queue."""
        return self._waiting

    @property
    def backend(self) -> "Backend | None":
        """Where the attempt under way is."""
        attempt = self._attempts.current
        return None if attempt is None else attempt.backend

    @property
    def tries(self) -> "tuple[Try, ...]":
        """Its attempts so far, those under way last."""
        return self._attempts.so_far()

    def leave(self, now: float, why: str = "") -> None:
        """Go to another backend that has room, while nothing of the answer has come."""
        if self.answer.first_byte_at is None and not (self.paused or self.uploads):
            self._attempts.leave(now, why)

    def lose_at(self, backend: "Backend") -> None:
        """End the second attempt if it is at this backend, which is out."""
        self._attempts.lose_at(backend)

    def fail(self, failure: Failure, detail: str) -> None:
        """End the attempt under way: try again, or tell the client."""
        attempt = self._attempts.current
        if attempt is not None:
            attempt.on_failure(failure, detail)

    def wait_again(self, way: "Way", unfit: "tuple[Backend, ...]") -> None:
        """Wait for an engine that is about to be there, or for a model to be loaded; at none that is `unfit`."""
        try:
            self._wait(way, way.route.targets[0] if way.route.targets else self.request.model, unfit)
        except Exception as error:  # noqa: BLE001  (as in `start`)
            self.go_wrong(error)

    def go_wrong(self, error: Exception) -> None:
        """Answer a request that can't be sent on, or that met a bug in the router."""
        if isinstance(error, errors.RouterError):
            self.break_off(error, error.message)
            return
        log.error("a request failed because of a bug in the router", request_id=self.request.id, exc_info=error)
        # Whatever the answer lacks: the bug may be in how one is ended that is whole.
        if self.answer.state is not DONE:
            self._cut(errors.RouterError(errors.BUG), "a bug in the router")

    def written(self, attempt: Attempt, pool: "Pool") -> bytes:
        """The request as the attempt's backend is to have it. Raises RouterError if its engine can't be told it."""
        return self._attempts.written(attempt, pool)

    def takes_chunks(self) -> bool:
        """Whether the client takes the engine's own chunks as they come."""
        return self.request.http11 and self.answer.state is not PROMISED

    # What attempts tell (attempt.Owner)

    def on_odd_head(self, attempt: Attempt, head: "ResponseHead") -> None:
        """Note an answer that isn't good; leave it for another backend, or see whether it is to be doubted."""
        self._doubts().on_odd_head(attempt, head)

    def _doubts(self) -> Refusals:
        if self._refusals is None:
            self._refusals = Refusals(self._plane, self._attempts, self.request, self.ask)
        return self._refusals

    def on_body(self, attempt: Attempt, data: bytes) -> None:
        """Pass the bytes on, the held head before the first of them."""
        answer = self.answer
        if answer.state is STREAMING:
            self._ledger.spoke(attempt.backend)
            answer.pass_on(data)
        else:
            self._take(attempt, data)

    def _take(self, attempt: Attempt, data: bytes) -> None:
        """Take bytes of an answer that doesn't simply pass: its first ones, pings, what isn't the promised stream."""
        answer = self.answer
        if answer.first_byte_at is None:
            data = self._begin(attempt, data)
            if not data:
                return
        self._ledger.spoke(attempt.backend)
        if answer.state is REFUSING:
            if answer.gather(data):
                self._refuse()
            return
        answer.pass_on(data)
        if answer.state is PINGING and answer.passed.events:
            self._note_beginning(attempt, self._plane.loop.time())

    def on_remains(self, attempt: Attempt, data: bytes) -> None:
        """Pass on what came before a mistake: behind what the client has, or if its message is whole with it."""
        head = attempt.head
        if self.answer.first_byte_at is None:
            path = self.request.head.path
            tail = tail_of(path)
            tail.add(attempt.held + data)
            if head is None or head.status != 200 or not head.is_event_stream or not tail.is_whole(path):
                return
        self.on_body(attempt, data)

    def on_end(self, attempt: Attempt) -> None:
        """Finish, if the answer is whole by its API's own mark too."""
        head, answer, backend = attempt.head, self.answer, attempt.backend
        assert head is not None  # noqa: S101  (what ends has begun)
        if head.framing is CLOSE and answer.passed.lacks_its_end(head.status, head.lines, streams=head.is_event_stream):
            self.on_failure(attempt, Failure.BROKEN, "an answer without its end")
            return
        attempt.let_go()
        if answer.first_byte_at is None:
            if not attempt.held and head.status < 300 and not attempt.status:  # empty
                self._doubts().lie(attempt, is_empty=True)
            if attempt.doubted_at is not None and self._ask_another(attempt, whole=True):
                return
        if attempt.held:
            self._attempts.go_alone()
        if answer.first_byte_at is None:
            self._begin_answer(attempt)
        self._plane.answered(backend, answer.passed.status(attempt.status or head.status), attempt.sent)
        self._complete(attempt.head or head)

    def on_failure(self, attempt: Attempt, failure: Failure, detail: str) -> None:
        """Try again while nothing has reached the client; else tell it that its answer broke off."""
        attempts = self._attempts
        if self.answer.passed.is_whole():
            self._end_message()
            return
        attempts.blame(failure, attempt)
        attempt.doubted_at = None
        if self.answer.first_byte_at is None and (attempts.retry(failure, detail) or self._repeat()):
            return
        self.break_off(retry.error_of(failure, attempt.backend.name), f"{failure.value} ({detail})")

    def on_mistake(self, attempt: Attempt, error: Exception) -> None:  # noqa: ARG002  (the only one under way)
        """Answer with the error."""
        self.go_wrong(error)

    def _ask_another(self, attempt: Attempt, *, whole: bool) -> bool:
        """Ask another backend what this one refused, or, if there is none any more, answer as the first one did."""
        return self._doubts().ask_another(attempt, whole=whole) or self._repeat()

    def _repeat(self) -> bool:
        """Answer as the first backend did that refused, if it is known what it said."""
        first = None if self._refusals is None else self._refusals.first_known()
        attempts = self._attempts
        if first is None or first.body is None:
            return False
        attempts.end("had refused the request, as all others did")
        attempts.tried = (*[each for each in attempts.tried if each != first.candidate], first.candidate)
        pings = first.head.is_event_stream and first.body != b"" and not has_event(first.body)
        self._give(first.head, first.length, first.body, pings=pings)
        return True

    def _give(self, head: "ResponseHead", length: int, body: bytes, *, pings: bool) -> None:
        """Give a whole answer."""
        self._open(head, length, pings=pings)
        if self.answer.state is REFUSING:
            self.answer.gather(body)
        elif body:
            self.answer.pass_on(body)
        self._complete(head)

    # The answer (proxy.answer)

    def _begin(self, attempt: Attempt, data: bytes) -> bytes:
        """Begin to answer, and give all that has come to be passed on. Or hold it back, and give nothing.

        1. It may be an error of the backend's: another one is asked first, once the rest of it is here.
        2. It is pings, and a second backend may be the first to say more. That one can't be heard any more once the
           client has a byte.
        """
        head, attempts = attempt.head, self._attempts
        data, attempt.held = attempt.held + data, b""
        if not attempt.status and (data == LAST_CHUNK or says_error(data)):
            self._doubts().lie(attempt, is_empty=data == LAST_CHUNK)
        if attempt.doubted_at is not None:
            attempt.held = data
            if len(data) < MOST_KEPT or self._ask_another(attempt, whole=False):
                return b""
            attempt.held, attempt.doubted_at = b"", None
        pings = head is not None and head.is_event_stream and not has_event(data)
        if pings and attempts.hedge is not None and len(data) < MOST_HELD:
            attempt.held = data
            return b""
        self._begin_answer(attempt, pings=pings)
        return data

    def _begin_answer(self, attempt: Attempt, *, pings: bool = False) -> None:
        """Begin to pass an attempt's answer on."""
        assert attempt.head is not None  # noqa: S101  (a body comes after its head)
        if self._refusals is not None:
            self._refusals.judge(attempt)
        if not attempt.status and self._ledger.aside.any:
            self._ledger.aside.clear(attempt.candidate, self.ask)
        self._open(attempt.head, attempt.length, pings=pings)
        if not pings:
            self._attempts.note_beginning(attempt, self._plane.loop.time())

    def _open(self, head: "ResponseHead", length: int, *, pings: bool) -> None:
        """Give the head to go with the first piece of the body: from here on there is no other attempt."""
        if self._attempts.hedge is not None:
            self._attempts.end_hedge()
        self.note_choices(head, length, self._attempts.body)
        self._attempts.forget_body()
        backend, now = self._attempts.tried[-1].backend, self._plane.loop.time()
        head = self.ours(head, peers=backend in self._plane.directory.through)
        lines = self._explained + self.lines(now)
        if self._waiting is not None:
            lines += b"x-router-queue-ms: %d\r\n" % (self._waiting.waited * 1000)
        self.answer.begin(head, length, backend.name, lines, now, pings=pings)

    def _note_beginning(self, attempt: Attempt, now: float) -> None:
        self.answer.speak(now)
        self._attempts.note_beginning(attempt, now)

    def _complete(self, head: "ResponseHead") -> None:
        """Write what is left of a whole answer."""
        if self.answer.state is REFUSING:
            self._refuse()
            return
        self.answer.complete()
        self._finish(head.status, "answered")

    def _refuse(self) -> None:
        """Tell the client what the engine gave instead of the promised stream."""
        self.break_off(self.answer.refusal(), "answered")

    def _end_message(self, *, left: bool = False) -> None:
        """End an answer at its message's end: no failure of its framing is told, and a client that `left` had it all.

        The engine gets a moment for the end of its framing, so that the connection can be kept.
        """
        attempt, answer, head = self._attempts.current, self.answer, self.answer.head
        assert attempt is not None  # noqa: S101  (it is under way until its end)
        assert head is not None  # noqa: S101  (the message is whole)
        self._plane.answered(attempt.backend, answer.passed.status(attempt.status or head.status), attempt.sent)
        if not left:
            answer.complete_message(attempt.interrupt(b""))
        attempt.let_end(END_WITHIN)
        self._finish(head.status, "answered")

    # What the clock tells

    def look(self, now: float) -> None:
        """Give up on an engine that has been silent for too long, or on a client that takes nothing.

        Called some times a second: one timer for all exchanges, none for each, and no clock read for each event.
        """
        attempt, begun_at = self._attempts.current, self.answer.first_byte_at
        if attempt is None:
            return
        if begun_at is None:
            self._look_for_beginning(attempt, now)
            return
        self.charge_on(now)
        progress, limit = self._progress, self._plane.limits.idle_timeout
        if progress is None:
            progress = self._progress = AnswerProgress(begun_at, attempt.tokens_read)
        if self.paused:
            progress.note_client(self.answer.unsent, now)
        found = progress.look(self.answer.passed, attempt.position, now, limit, paused=self.paused)
        if found is Found.CONTENT:
            self._note_content(attempt, progress, now)
        elif found is Found.READING:
            self._attempts.note_work(attempt, now)
        elif found is Found.WHOLE:
            self._end_message()
        elif found is Found.ENGINE_IDLE:
            self.on_failure(attempt, Failure.IDLE_TIMEOUT, f"{limit:g} s")
        elif found is Found.CLIENT_IDLE:
            self._abandon(limit)

    def _look_for_beginning(self, attempt: Attempt, now: float) -> None:
        """Wait no longer for the rest of an error, nor for ever for an answer's first byte."""
        if self.uploads or attempt.backend.estimate.unloaded:
            # A peer loads its model first, which may take long.
            self._whole_at = attempt.worked_at = now
        limit, tokens = self._plane.limits.first_byte_timeout, max(attempt.told_read, stall.progress(attempt.held))
        if tokens > attempt.tokens_read:
            attempt.tokens_read = tokens
            self._attempts.note_work(attempt, now)
        late = now >= self.owed_since(attempt) + limit
        if attempt.doubted_at is not None and now >= attempt.doubted_at + REST_WITHIN:
            if not self._ask_another(attempt, whole=False):
                self._attempts.go_alone()
        elif late and self.paused:  # the engine may have answered long ago
            self._abandon(limit)
        elif late:
            self.on_failure(attempt, Failure.FIRST_BYTE_TIMEOUT, f"{limit:g} s")

    def _abandon(self, seconds: float) -> None:
        self.answer.abandon()
        self._finish(499, f"the client took nothing for {seconds:g} s")

    def _note_content(self, attempt: Attempt, progress: AnswerProgress, now: float) -> None:
        if not progress.spoken:
            progress.spoken = True
            self._attempts.note_first_content(attempt, now)
            if self.answer.begun_at is None:
                self._note_beginning(attempt, now)
        self._attempts.note_work(attempt, now)

    def silence(self, now: float) -> Silence | None:
        """For how long the attempt under way has had no content; None: there is none, or the client holds it up."""
        attempt, progress = self._attempts.current, self._progress
        if attempt is None or self.paused or self.uploads:
            return None
        spoken = progress is not None and progress.spoken
        return Silence(now - attempt.worked_at, spoken, self.request.stream, self.ask.size)

    # The end

    def _finish(self, status: int, outcome: str) -> None:
        """End the exchange, and give its record."""
        attempts = self._attempts
        self.answer.end()
        waiting, self._waiting, self._refusals = self._waiting, None, None
        if waiting is not None:
            waiting.leave()
        attempts.close(outcome)
        now = self._plane.loop.time()
        self.settle_up(now)
        record = record_of(self, waiting, attempts.tried, attempts.tries, attempts.raced, status, outcome, now)
        self._plane.finished(self, record)
