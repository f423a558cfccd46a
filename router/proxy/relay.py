"""A request's whole life on the data plane: attempts out, one answer back.

    start → choose a backend → connect, or take a kept connection → send
            on_head → (another attempt, or the head is held)
            on_body → (with the first byte the head goes to the client) → the bytes follow
            on_end / on_failure → (another attempt, or the end) → record

The head is held back until the first byte of the body, so that an engine that says 200 and then dies costs the
client nothing. A streaming client that waits long for a backend with room has the head of a stream before
(`proxy.waiting`). What decides is `router.core.exchange`; this acts on it. All of it runs in callbacks on the loop's
thread: between two awaits nobody else moves, and a client that leaves closes the engine's connection at once.

An answer is over where its framing ends, or its message: many clients leave, and some engines break off, between its
API's own end mark (`[DONE]`, message_stop, response.completed) and the end of the framing. So:

  1. The framing ends: it is whole. But where the connection's end is all that frames it, a stream's mark must have
     come, or JSON's end.
  2. The mark has come, and the engine breaks off: it is whole, and the client gets a proper end of the framing.
  3. The mark has come, and then nothing, or pings, until the next look at it: the same.
  4. The mark has come, and the client leaves: it is whole; the engine's connection is read to the end, and kept.
  5. The client leaves before: nobody is at fault; the engine's connection is closed at once.
  6. The engine breaks off before: it has failed, and the client is told.

This is the hot path: what runs for each request, and above all for each piece of an answer (`Exchange.on_body`), is
kept to what must be done there. What can wait until the answer has ended is done from its record, many at a time.
"""

from math import inf
from typing import TYPE_CHECKING, NamedTuple

import structlog

from router.core import errors, exchange, stall
from router.core.catalog import NOWHERE, UNTOLD
from router.core.estimate.ask import Ask
from router.core.exchange import NOT_ITS_FAULT, Failure
from router.core.health import WELL
from router.core.record import (
    RESPONSES,
    Record,
    ResponsesTail,
    Tail,
    ends_in_error,
    has_event,
    is_cut,
    needs_mark,
    says_error,
    tail_of,
)
from router.core.stall import Silence
from router.core.statuses import LIES, OF_THE_REQUEST, RETRY_STATUSES, TOO_MANY
from router.http1.bodies import CHUNKED, CLOSE, LAST_CHUNK, LENGTH, NONE, chunk, payload
from router.proxy.heads import ResponseHead
from router.proxy.hedge import MOST_HELD, Hedge
from router.proxy.pool import ConnectError, Pool
from router.proxy.requests import Request, error_answer, explained, header_value, retry_after, written
from router.proxy.roles import UnderWay
from router.proxy.waiting import Waiting

if TYPE_CHECKING:
    import asyncio

    from router.core.catalog import Backend, Candidate, Way
    from router.core.errors import RouterError
    from router.core.estimate.ask import Sent
    from router.proxy.plane import Plane
    from router.proxy.roles import Queued
    from router.proxy.sink import Sink
    from router.proxy.upstream import Connection, Receiver

log = structlog.get_logger("router")

END_WITHIN = 1.0
"""Seconds that an engine has for the end of the framing, once the message is whole and nobody waits for it."""

REST_WITHIN = 1.0
"""Seconds that the rest of an error has to come, before another backend is asked without it."""

MOST_KEPT = 64 * 1024
"""Bytes that are kept of an error, to be passed on if no backend does better."""

NOTHING = Ask(0)


class Refusal(NamedTuple):
    """An answer that wasn't good, and was doubted. `body` is None where not all of it is known."""

    candidate: "Candidate"
    status: int
    sent: "Sent | None"
    head: ResponseHead
    length: int
    body: bytes | None


class Exchange(UnderWay):
    """One request's life. Its owner calls `start`, and `cancel` if the client leaves; the sink hears the rest.

    Towards the engine it is the receiver (upstream.Receiver) of the attempt under way, the latest of `_tried`.
    """

    # What every exchange begins with. The first attempt to be answered ends with most of it unchanged.
    _way: "Way | None" = None
    _explained = b""  # why the first attempt went where it went, if that was asked for
    waiting: Waiting | None = None  # in the queue, if it had to wait
    _tried: tuple["Candidate", ...] = ()
    _blamed: tuple["Backend", ...] = ()  # once a request: a bad one must not take a backend out alone
    _finished = False
    paused = False
    # Of the attempt under way
    _backend: "Backend | None" = None
    _sent: "Sent | None" = None
    _connecting: "asyncio.Task[Connection] | None" = None
    _connection: "Connection | None" = None
    _sent_at = 0.0
    _hedge: "Hedge | None" = None  # what may become of its silence
    _raced = ""  # how a second attempt ended, if there was one
    _status = 0  # of its answer, if that isn't good
    _doubts = False  # whether that is kept until another backend has been asked
    _refusals: tuple[Refusal, ...] = ()  # of those that were doubted before
    # Of the answer
    _head: ResponseHead | None = None
    _size = 0  # bytes of the request that it answers
    _length = 0  # of its body, where the head says it
    _held = b""  # of its body, while another backend may yet be sooner with more than pings
    _first_byte_at: float | None = None
    _begun_at: float | None = None  # as `_first_byte_at`, but of a stream when its first event came, not a ping
    _lead = b""  # its head, until the first piece of its body goes with it
    _chunking = False  # whether the body is to be put into chunks here
    _passed = 0  # bytes of its body
    _counts = False  # whether it is a stream of events
    _events = 0
    # Of the last look at it
    _moved_at = 0.0
    _seen = 0  # bytes passed by then
    _worked_at = 0.0  # when its content was last seen to grow
    _progress = 0  # tokens of the prompt that it said it had read by then
    _spoken = False  # whether it has had content by then
    _heard = 0  # events by then
    _position: tuple[int, int] | None = None  # in its chunks (upstream.Connection.position)
    _line: bytes | None = None  # the first byte of the stream's line that was the last; None: not known
    _unsent = -1  # bytes that waited for the client
    _checked = 0  # bytes passed when it was last seen whether the message is whole

    def __init__(self, plane: "Plane", request: Request, body: bytes, sink: "Sink") -> None:
        super().__init__(request, NOTHING)  # what is asked is told once it is known where it may go
        self._plane = plane
        self._body = body  # as long as there may be another attempt
        self._sink = sink
        self._write = sink.write
        self._keep_alive = request.keep_alive
        self._tail = Tail()
        self._ledger = plane.ledger
        self._began = plane.loop.time()

    # What the client's side asks

    def start(self) -> None:
        """Send the request where it will be answered."""
        plane, model = self._plane, self.request.model
        plane.entered(self)
        try:
            way = self._way = self._resolve(model)
            ask = self.ask = plane.ask(way, self._body, self.request)
            if self.request.head.explain:
                self._explained = explained(plane.dispatcher.explain(way, ask, self._began))
            queue = way.route.targets[0] if way.route.targets else model  # one for all names that lead there
            if not way.tiers and plane.may_learn(self._began):
                self._wait(way, UNTOLD)
                return
            try:
                candidate = exchange.first(model, queue, way, ask, plane.dispatcher, self._began)
            except errors.UnavailableError:
                if not plane.revive(way):
                    raise
                candidate = None
            if candidate is None:
                self._wait(way, queue)
                return
            self._tried = (candidate,)
            self._attempt(candidate)
        except Exception as error:  # noqa: BLE001  (whatever it is, the client gets an answer)
            self.go_wrong(error)

    def _resolve(self, model: str) -> "Way":
        """Find what the model's name means. Raises ModelNotFoundError, but not while that may soon change."""
        try:
            return self._plane.catalog.resolve(model)
        except errors.ModelNotFoundError:
            if self._plane.may_learn(self._began):
                return NOWHERE
            raise

    def _wait(self, way: "Way", queue: str) -> None:
        """Wait for a backend with room, or for one that is about to be there. Raises QueueFullError."""
        if self.waiting is not None:
            self.waiting.enter(way, queue)
            return
        lines = self._explained + self.request.caller.cors
        if not self._keep_alive:
            lines += b"connection: close\r\n"
        self.waiting = Waiting(self, self._plane, self._sink, way, queue, lines)

    def go(self, way: "Way", candidate: "Candidate") -> None:
        """Send the request there: it has waited for room."""
        self._way, self._tried = way, (*self._tried, candidate)
        try:
            self._attempt(candidate)
        except Exception as error:  # noqa: BLE001  (as in `start`)
            self.go_wrong(error)

    def cancel(self, outcome: str = "the client left") -> None:
        """Stop at once, and free the engine: nobody waits for the answer any more."""
        if self._finished:
            return
        if self._is_whole() and not self.paused and not self._sink.unsent():
            self._end_whole(left=True)
        else:
            self._finish(499, outcome)

    def break_off(self, error: "RouterError", outcome: str) -> None:
        """Stop at once, and tell the client why: as its answer, or behind what it got of one."""
        request, head, waiting = self.request, self._head, self.waiting
        if self._is_whole():
            self._end_whole()
            return
        if waiting is not None and waiting.promised and (self._first_byte_at is None or waiting.refuses):
            waiting.break_off(error)
            self._finish(head.status if head is not None and waiting.refuses else error.status, outcome)
            return
        if head is None or self._first_byte_at is None:
            path, cors = request.head.path, request.caller.cors
            self._write(error_answer(error, path, request.id, keep_alive=self._keep_alive, cors=cors))
            self._sink.finish(keep_alive=self._keep_alive)
            self._finish(error.status, outcome)
            return
        if head.is_event_stream and self._connection is not None:
            words = self._connection.interrupt(errors.event(error, request.head.path))
            if words:
                self._write(chunk(words) if self._chunking else words)
        self._sink.hang_up()
        self._finish(head.status, outcome)

    def pause(self) -> None:
        """Read no more from the engine: the client is slower."""
        self.paused = True
        if self._connection is not None:
            self._connection.pause()
        self._mute()

    def resume(self) -> None:
        """Read on. The pause was the client's: the engine's time to say something begins anew."""
        self.paused = False
        self._moved_at = self._plane.loop.time()
        if self._connection is not None:
            self._connection.resume()
        self._mute()

    def _mute(self) -> None:
        """Tell that nobody can hear whether the engine speaks, or that it can be heard again."""
        if self._backend is not None and self._sent is not None:
            self._ledger.muted(self._backend, self._sent, self._plane.loop.time(), muted=self.paused)

    # An attempt

    def _attempt(self, candidate: "Candidate", *, fresh: bool = False) -> None:
        """Send the request, on a kept-alive connection if there is one and `fresh` isn't asked for."""
        plane, backend = self._plane, candidate.backend
        self._backend = backend
        now = self._sent_at = plane.loop.time()
        self._sent = self._ledger.began(candidate, self.ask, now)
        if plane.hedges:
            self._watch()
        pool = plane.pool(backend)
        if pool is None:
            self.on_failure(Failure.REFUSED, "it has no address")
            return
        connection = None if fresh else pool.take()
        if connection is not None:
            self._send(connection, pool)
        else:
            self._connecting = plane.loop.create_task(pool.connect())
            self._connecting.add_done_callback(lambda connecting: self.connected(connecting, pool))

    def connected(self, connecting: "asyncio.Task[Connection]", pool: Pool) -> None:
        """Send the request on the connection that was made for it."""
        if connecting is not self._connecting:  # nobody waits for it any more
            if not connecting.cancelled() and not connecting.exception():
                connecting.result().abort()
            return
        self._connecting = None
        try:
            self._send(pool.made(connecting), pool)
        except ConnectError as refused:
            self.on_failure(refused.failure, str(refused))
        except Exception as error:  # noqa: BLE001  (as in `start`)
            self.go_wrong(error)

    def _send(self, connection: "Connection", pool: Pool) -> None:
        self._connection = connection
        self.send(connection, pool, self._tried[-1], self)
        if self.paused:
            connection.pause()

    def send(self, connection: "Connection", pool: Pool, candidate: "Candidate", receiver: "Receiver") -> None:
        """Write the request as this backend is to have it; the answer goes to the receiver."""
        reshape = None if self._way is None else self._way.route.reshape
        connection.send(
            written(self.request, self._body, candidate, reshape, pool),
            receiver,
            raw=self.request.http11 and (self.waiting is None or not self.waiting.promised),
        )

    def _end_attempt(self) -> None:
        """Let go of everything: the engine is free in the same turn of the loop."""
        if self._hedge is not None:
            self._end_hedge()
        backend, self._backend = self._backend, None
        if backend is None:
            return
        if self._sent is not None:
            if self.paused:  # it may have begun long ago: nobody listened
                self._plane.excused(backend, self._sent)
            self._plane.ended(backend, self.ask, self._sent)
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    def _retry(self, failure: Failure, detail: str) -> bool:
        """Begin another attempt, if one is allowed; one that is under way already takes its place."""
        plane, hedge = self._plane, self._hedge
        if hedge is not None and hedge.candidate is not None:
            self.take_over()
            return True
        assert self._way is not None  # noqa: S101  (an attempt was made of it)
        now, retries = plane.loop.time(), plane.limits.retries
        candidate = exchange.after(failure, self._way, self._tried, retries, self.ask, plane.dispatcher, now)
        if candidate is None:
            age = now - self._began
            if exchange.waits(failure, self._way, self._tried, retries, age, plane.dispatcher):
                self._wait_again(failure, detail)
                return True
            return False
        if not exchange.is_free(failure, self._tried[-1].backend) and not self._ledger.budget.withdraw(now):
            return False
        if failure is not Failure.STALE:
            log.warning(
                "trying again",
                request_id=self.request.id,
                backend=self._tried[-1].backend.name,
                why=f"{failure.value} ({detail})",
            )
            self._tried = (*self._tried, candidate)
        self._go_on(candidate, fresh=failure is Failure.STALE)
        return True

    def leave(self, now: float) -> None:
        """Go to another backend that has room while nothing has come of the answer: this one shows no sign of work."""
        plane, tried = self._plane, self._tried
        way, long = self._way, stall.SILENT * plane.limits.stall_after
        raced = self._hedge is not None and self._hedge.candidate is not None
        if way is None or self._first_byte_at is not None or self.paused or raced or len(tried) > plane.limits.retries:
            return
        silent = tuple(each for tier in way.tiers for each in tier if each.backend.progress.silence(now) >= long)
        candidate = exchange.second(way, (*silent, *tried), self.ask, plane.dispatcher, now)
        if candidate is None or not self._ledger.budget.withdraw(now):
            return
        log.warning("goes elsewhere", request_id=self.request.id, backend=tried[-1].backend.name, why="it is silent")
        self._tried = (*tried, candidate)
        self._go_on(candidate)

    def _go_on(self, candidate: "Candidate", *, fresh: bool = False) -> None:
        """Begin another attempt in the place of the one under way."""
        self._end_attempt()
        self._head, self._held, self._progress, self._status, self._doubts = None, b"", 0, 0, False
        try:
            self._attempt(candidate, fresh=fresh)
        except Exception as error:  # noqa: BLE001  (as in `start`)
            self.go_wrong(error)

    def _wait_again(self, failure: Failure, detail: str) -> None:
        """Wait for an engine that is about to be there: all that there were are gone."""
        way, model = self._way, self.request.model
        assert way is not None  # noqa: S101  (an attempt was made of it)
        log.warning(
            "waits for an engine",
            request_id=self.request.id,
            backend=self._tried[-1].backend.name,
            why=f"{failure.value} ({detail})",
        )
        self._end_attempt()
        self._head, self._held, self._progress = None, b"", 0
        try:
            self._wait(way, way.route.targets[0] if way.route.targets else model)
        except Exception as error:  # noqa: BLE001  (as in `start`)
            self.go_wrong(error)

    def go_wrong(self, error: Exception) -> None:
        """Answer a request that can't be sent on, or that the router makes a mistake with."""
        if isinstance(error, errors.RouterError):
            self.break_off(error, error.message)
            return
        log.error("a request failed by a mistake of the router's", request_id=self.request.id, exc_info=error)
        self.break_off(errors.RouterError("The router made a mistake; its log says more."), "a mistake")

    # A second attempt beside it (hedge.Hedge)

    def _watch(self) -> None:
        """Have a second backend asked if this one is silent for long."""
        after = self._plane.patience.seconds(self.request.model, stream=self.request.stream)
        if after < inf:
            self._hedge = Hedge(self, self._plane, after)

    def second(self, now: float) -> "Candidate | None":
        """Choose who else could be asked."""
        if self._way is None or self._finished or self.paused:  # paused: nobody listens to the first one
            return None
        return exchange.second(self._way, self._tried, self.ask, self._plane.dispatcher, now)

    def take_over(self) -> None:
        """Go on with the second attempt, and end the first."""
        hedge = self._hedge
        assert hedge is not None  # noqa: S101  (there is one)
        assert hedge.candidate is not None  # noqa: S101  (it has been sent)
        self._hedge = None
        self._end_attempt()
        self._tried = (*self._tried, hedge.candidate)
        self._backend, self._sent, self._sent_at = hedge.candidate.backend, hedge.sent, hedge.sent_at
        self._connecting, hedge.connecting = hedge.connecting, None
        self._connection, self._head, self._length = hedge.connection, hedge.head, hedge.length
        self._held, self._progress, self._raced = b"", 0, "won"
        self._status, self._doubts = 0, False
        if self._connection is not None:
            self._connection.hand_over(self)
            if self.paused:
                self._connection.pause()
        if hedge.held:
            self.on_body(hedge.held)

    def go_alone(self) -> None:
        """End the second attempt, or have none, and pass on what was held back for its sake."""
        self._end_hedge()
        held, self._held = self._held, b""
        if held:
            self.on_body(held)

    def lose_at(self, backend: "Backend") -> None:
        """End the second attempt if it is at this backend, of which nothing more is hoped."""
        hedge = self._hedge
        if hedge is not None and hedge.candidate is not None and hedge.candidate.backend is backend:
            self.go_alone()

    def _end_hedge(self) -> None:
        hedge, self._hedge = self._hedge, None
        lost = None if hedge is None else hedge.end()
        if lost is not None:
            self._tried, self._raced = (*self._tried[:-1], lost, self._tried[-1]), "lost"

    # What the engine's side tells (upstream.Receiver)

    def on_head(self, head: ResponseHead, length: int) -> None:
        """Hold the head until the body begins, or leave for another backend."""
        if head.odd and self._goes_on(head):
            return
        self._head, self._length = head, length

    def _goes_on(self, head: ResponseHead) -> bool:
        """Take note of an answer that isn't good; leave it for another backend, or see whether it is to be doubted."""
        status, candidate = head.status, self._tried[-1]
        self._status = status if status >= 400 else LIES
        self._plane.refused(candidate.backend, status, self._sent)
        if status == TOO_MANY:
            self._plane.busy(candidate, self.ask, retry_after(head.headers))
        if self._is_unwanted(status) and self._retry(Failure.UNWANTED, f"status {status}"):
            return True
        if status in RETRY_STATUSES:
            return self._retry(Failure.STATUS, f"status {status}")
        self._doubt(self._status)
        return False

    # Whose fault an error is (exchange.is_doubtful)

    def _doubt(self, status: int) -> None:
        """Keep an answer for now, if another backend may show that it is this one's fault, or one has refused, too."""
        self._status = status
        if exchange.is_doubtful(status, self._tried[-1].backend) and (self._refusals or self._has_rival(full=True)):
            self._doubts, self._moved_at = True, self._plane.loop.time()

    def _has_rival(self, *, full: bool) -> bool:
        plane, way = self._plane, self._way
        if way is None:
            return False
        return exchange.rival(way, self._tried, self.ask, plane.dispatcher, plane.loop.time(), full=full) is not None

    def _ask_another(self, *, whole: bool) -> bool:
        """Ask another backend what this one refused, or, if there is none any more, answer as the first one did."""
        head, status, candidate = self._head, self._status, self._tried[-1]
        assert head is not None  # noqa: S101  (it is in doubt)
        self._doubts = False
        refusal = Refusal(candidate, status, self._sent, head, self._length, self._held if whole else None)
        again = status < LIES or not self._refusals  # what an engine may have worked on is tried once more, not twice
        before, self._refusals = self._refusals, (*self._refusals, refusal)
        if again and self._retry(exchange.doubt(status), f"status {head.status}"):
            return True
        self._refusals = before
        if before:
            self._confirm()
            self._ledger.confirmed(candidate.backend)
        return self._repeat()

    def _repeat(self) -> bool:
        """Answer as the first backend did that refused, if it is known what it said."""
        first = next((each for each in self._refusals if each.body is not None), None)
        if first is None or first.body is None:
            return False
        self._end_attempt()
        self._refusals = ()
        self._tried = (*[each for each in self._tried if each != first.candidate], first.candidate)
        self._head, self._length, self._held, self._status = first.head, first.length, b"", first.status
        if first.body:
            self.on_body(first.body)
        self._complete(first.head)
        return True

    def _judge(self) -> None:
        """Note what an answer says of those that have refused the same, now or before."""
        if self._status:
            if self._status in OF_THE_REQUEST:
                self._confirm()
            return
        refusals, self._refusals = self._refusals, ()
        for each in refusals:
            self._plane.disproved(each.candidate, self.ask, each.status, each.sent)
        self._ledger.aside.clear(self._tried[-1], self.ask)

    def _confirm(self) -> None:
        """Note that what others have refused is refused here, too."""
        for each in self._refusals:
            self._ledger.confirmed(each.candidate.backend)

    def _is_unwanted(self, status: int) -> bool:
        """Tell whether the route's next model is to answer: the route says so, or nobody is able to serve this one."""
        way = self._way
        if way is None:
            return False
        own_key = self._plane.api_key(self._tried[-1].backend) is not None
        unable = exchange.is_unable(status, own_key=own_key) and not self._has_rival(full=True)
        return unable or status in way.route.next_on

    def on_body(self, data: bytes) -> None:
        """Pass the bytes on, the held head before the first of them."""
        if self._first_byte_at is None:
            data = self._begin(data)
            if not data:
                return
        self._passed += len(data)
        if self._counts:
            self._events += data.count(b"\ndata:") + data.startswith(b"data:")
        self._tail.add(data)
        if self._backend is not None:
            self._ledger.spoke(self._backend)
        if self._chunking:
            data = chunk(data)
        if self._lead:
            data, self._lead = self._lead + data, b""
        self._write(data)

    def on_remains(self, data: bytes) -> None:
        """Pass on what came before a mistake: behind what the client has, or if its message is whole with it."""
        head = self._head
        if self._first_byte_at is None:
            path = self.request.head.path
            tail = tail_of(path)
            tail.add(self._held + data)
            if head is None or head.status != 200 or not head.is_event_stream or not tail.is_whole(path):
                return
        self.on_body(data)

    def on_end(self) -> None:
        """Finish, if the answer is whole by its API's own mark too."""
        head, backend = self._head, self._tried[-1].backend
        if head is None:
            return  # it was turned away
        if head.framing is CLOSE and self._lacks_its_end(head):
            self.on_failure(Failure.BROKEN, "an answer without its end")
            return
        self._connection = None  # it is its pool's again
        if self._first_byte_at is None:
            if not self._held and head.status < 300 and not self._status:  # empty
                self._plane.refused(backend, LIES, self._sent)
                self._doubt(LIES)
            if self._doubts and self._ask_another(whole=True):
                return
        if self._held:
            self.go_alone()
        if self._first_byte_at is None:
            self._begin_answer()
        self._plane.answered(backend, self._judged(head), self._sent)
        self._complete(head)

    def _complete(self, head: ResponseHead) -> None:
        """Write what is left of a whole answer."""
        if self._first_byte_at is None:
            self._begin_answer()
        if self.waiting is not None and self.waiting.refuses:
            self.waiting.refuse()
            return
        if self._chunking:
            self._write(self._lead + LAST_CHUNK)
        elif self._lead:
            self._write(self._lead)
        self._sink.finish(keep_alive=self._keep_alive)
        self._finish(head.status, "answered")

    def on_failure(self, failure: Failure, detail: str) -> None:
        """Try again while nothing has reached the client; else tell it that its answer broke off."""
        if self._is_whole():
            self._end_whole()
            return
        backend = self._tried[-1].backend
        self.blame(failure, backend, self._sent)
        self._doubts = False
        if self._first_byte_at is None and (self._retry(failure, detail) or self._repeat()):
            return
        self.break_off(exchange.error_of(failure, backend.name), f"{failure.value} ({detail})")

    def blame(self, failure: Failure, backend: "Backend", sent: "Sent | None") -> None:
        """Note that an attempt failed."""
        if failure in NOT_ITS_FAULT:
            if sent is not None:
                self._plane.excused(backend, sent)
        elif backend not in self._blamed or failure is Failure.REFUSED:  # which no request can bring about
            self._blamed += (backend,)
            self._plane.failed(backend, failure.value, sent, refused=failure is Failure.REFUSED)
        if failure is Failure.REFUSED and backend.supervised:
            self._plane.vanished(backend, sent)

    def _lacks_its_end(self, head: ResponseHead) -> bool:
        """Tell whether an answer that ended with its connection ended too soon: its framing can't say."""
        if head.status != 200:
            return False
        if head.is_event_stream:
            return needs_mark(self.request.head.path) and not self._is_whole()
        is_json = b"\r\ncontent-type: application/json" in head.lines.lower() and not self._is_compressed()
        return is_json and self._passed > 0 and is_cut(self._tail.bytes(), self._passed)

    def _is_whole(self) -> bool:
        """Tell whether all of a stream's message has passed by its API's own mark, whatever its framing still lacks."""
        head = self._head
        return (
            head is not None
            and head.status == 200
            and head.is_event_stream
            and self._tail.is_whole(self.request.head.path)
        )

    def _judged(self, head: ResponseHead) -> int:
        """Give the status that an answer counts by: a stream may end with an error, whatever its head said."""
        status = self._status or head.status
        return LIES if status == 200 and self._counts and ends_in_error(self._tail.bytes()) else status

    def _end_whole(self, *, left: bool = False) -> None:
        """End an answer at its message's end: no failure of its framing is told, and a client that `left` had it all.

        The engine gets a moment for the end of its framing, so that the connection can be kept.
        """
        head, connection, keep_alive = self._head, self._connection, self._keep_alive
        assert head is not None  # noqa: S101  (it is whole)
        self._plane.answered(self._tried[-1].backend, self._judged(head), self._sent)
        if not left:
            end = b"" if connection is None else connection.interrupt(b"")
            if self._chunking:
                end = LAST_CHUNK
            elif not end and head.framing is CHUNKED and self.request.http11:
                keep_alive = False  # in the middle of a chunk that can't be filled up
            if end:
                self._write(end)
            self._sink.finish(keep_alive=keep_alive)
        if connection is not None:
            self._connection = None
            connection.let_end(END_WITHIN)
        self._finish(head.status, "answered")

    def _begin(self, data: bytes) -> bytes:
        """Begin to answer, and give all that has come to be passed on.

        Or give nothing: these are pings, and a second backend may be the first to say more. They are held back, as
        nobody else can be heard once the client has a byte.
        """
        if self._held:
            data, self._held = self._held + data, b""
        if not self._status and says_error(data):
            self._plane.refused(self._tried[-1].backend, LIES, self._sent)
            self._doubt(LIES)
        if self._doubts:
            self._held = data
            if len(data) < MOST_KEPT or (self._has_rival(full=False) and self._ask_another(whole=False)):
                return b""
            self._held, self._doubts = b"", False
        silent = self._head is not None and self._head.is_event_stream and not has_event(data)
        if silent and self._hedge is not None and len(data) < MOST_HELD:
            self._held = data
            return b""
        self._begin_answer(silent=silent)
        return data

    def _begin_answer(self, *, silent: bool = False) -> None:
        """Write the head, to go with the first piece of the body: from here on there is no other attempt."""
        head, request = self._head, self.request
        assert head is not None  # noqa: S101  (a body comes after its head)
        now = self._first_byte_at = self._moved_at = self._plane.loop.time()
        if self._refusals or self._ledger.aside.any:
            self._judge()
        if self._hedge is not None:
            self._end_hedge()
        if silent:
            self._write = self._write_until_event
        else:
            self._note_beginning(head, now)
        self._size = len(self._body)
        self._body, self._counts = b"", head.is_event_stream
        if request.head.path == RESPONSES:
            self._tail = ResponsesTail()
        rest, waiting = self._explained + request.caller.cors, self.waiting
        if waiting is not None:
            if waiting.promised:  # the client has the head
                if head.status == 200 and head.is_event_stream:
                    self._chunking = True
                else:
                    self._write = waiting.gather(head)
                return
            rest += b"x-router-queue-ms: %d\r\n" % (waiting.waited * 1000)
        if not self._keep_alive:
            rest += b"connection: close\r\n"
        rest += self._frame(head)
        self._lead = b"%sx-request-id: %s\r\nx-router-backend: %s\r\n%s\r\n" % (
            head.lines,
            request.id.encode("ascii"),
            header_value(self._tried[-1].backend.name),
            rest,
        )

    def _write_until_event(self, data: bytes) -> None:
        """Write pings, and with the first event note that its backend has begun to answer."""
        if self._events and self._begun_at is None and self._head is not None:
            self._note_beginning(self._head, self._plane.loop.time())
            self._write = self._sink.write
        self._sink.write(data)

    def _note_beginning(self, head: ResponseHead, now: float) -> None:
        """Note when an answer began; of an error that says nothing of its backend."""
        self._begun_at = now
        if self._status:
            return
        backend = self._tried[-1].backend
        if backend.health is not WELL:
            self._plane.begun(backend)
        if head.is_event_stream and self._sent is not None:
            self._ledger.first_token(backend, self._sent, now)
        if self._plane.hedges:
            seconds = now - self._began - (0.0 if self.waiting is None else self.waiting.waited)
            self._plane.patience.note(self.request.model, seconds, stream=self.request.stream)

    def _frame(self, head: ResponseHead) -> bytes:
        """Tell the client how it knows the body's end."""
        if head.framing is LENGTH and not head.is_event_stream:
            return b"content-length: %d\r\n" % self._length
        if head.framing is NONE:
            return b""
        if self.request.http11:
            # Events are put into chunks here, where they aren't: something may have to be added.
            self._chunking = head.framing is not CHUNKED  # else the engine's own pass as they are
            return b"transfer-encoding: chunked\r\n"
        return b""  # it ends with the connection: of HTTP/1.0 none is kept alive

    # What the clock tells

    def look(self, now: float) -> None:
        """Give up on an engine that has been silent for too long, or on a client that takes nothing.

        Called some times a second: one timer for all exchanges, none for each, and no clock read for each event.
        """
        limits = self._plane.limits
        if self._passed != self._seen and self._has_content():
            self._at_work(now)
        elif self._passed != self._seen and self._spoken and not self.paused and self._is_whole():
            self._end_whole()  # it only pings
            return
        elif self._held or (self._counts and not self._spoken and self._passed != self._seen):
            self._look_for_progress(now)
        if self._first_byte_at is None:
            self._look_for_beginning(now)
        elif self._passed != self._seen:
            self._seen, self._moved_at = self._passed, now
        elif self._counts and self._checked != self._passed and not self.paused and self._is_whole():
            self._end_whole()
        elif now < self._moved_at + limits.idle_timeout:
            self._checked = self._passed
        elif not self.paused:
            self.on_failure(Failure.IDLE_TIMEOUT, f"{limits.idle_timeout:g} s")
        elif self._unsent == self._sink.unsent():
            self._sink.abort()
            self._finish(499, f"the client took nothing for {limits.idle_timeout:g} s")
        else:  # it takes its time, but it takes
            self._unsent, self._moved_at = self._sink.unsent(), now

    def _look_for_beginning(self, now: float) -> None:
        """Wait no longer for the rest of an error, nor for ever for an answer's first byte."""
        limit = self._plane.limits.first_byte_timeout
        if self._doubts and now >= self._moved_at + REST_WITHIN:
            if not self._ask_another(whole=False):
                self.go_alone()
        elif self._backend is not None and now >= self._sent_at + limit:
            self.on_failure(Failure.FIRST_BYTE_TIMEOUT, f"{limit:g} s")

    def _look_for_progress(self, now: float) -> None:
        """Note that the engine reads on in a long prompt, where it says so between the pings."""
        progress = stall.progress(self._held or self._tail.bytes())
        if progress > self._progress:
            self._progress, self._worked_at = progress, now
            self._plane.worked(self._tried[-1].backend, now)

    def _has_content(self) -> bool:
        """Tell whether there was more than pings in what has come since the last look, however it was cut.

        Events that begin a piece, or come whole in one, have been counted. Where there was none, the bytes are read.
        """
        position, line, came = self._position, self._line, self._passed - self._seen
        self._position = None if self._connection is None else self._connection.position
        if not self._seen and self._position is not None:
            position = 0, 0
        if self._events != self._heard:
            self._heard, self._line = self._events, None
            return True
        kept = self._tail.bytes()
        if came > len(kept) or self._is_compressed():
            self._line = None
            return True  # pings are few and short
        data = kept[-came:] if position is None else payload(kept[-came:], position)
        if not self._counts:
            return bool(data.strip())
        if line is None:
            line = kept[:-came].rpartition(b"\n")[2][:1]
        found, self._line = stall.content(data, line)
        return found

    def _is_compressed(self) -> bool:
        return self._head is not None and b"\r\ncontent-encoding:" in b"\r\n" + self._head.lines.lower()

    def _at_work(self, now: float) -> None:
        """Note that the backend sends content, and how long the first took."""
        backend = self._tried[-1].backend
        if not self._spoken:
            # Of the first content, not of the first byte: that may have been a ping.
            self._ledger.read_prompt(backend, self._size, now - self._sent_at)
            if self._begun_at is None and self._head is not None:
                self._note_beginning(self._head, now)
        self._spoken, self._worked_at = True, now
        self._plane.worked(backend, now)

    def silence(self, now: float) -> Silence | None:
        """Tell how long the attempt under way has had no content; None if there is none, or the client holds it up."""
        if self._backend is None or self.paused:
            return None
        size = self._size if self._first_byte_at is not None else len(self._body)
        since = max(self._worked_at, self._sent_at)
        return Silence(now - since, self._spoken, self.request.stream, size)

    @property
    def queued(self) -> "Queued | None":
        """Itself as it waits, or has waited, in the queue."""
        return self.waiting

    @property
    def backend(self) -> "Backend | None":
        """Where the attempt under way is."""
        return self._backend

    # The end

    def _finish(self, status: int, outcome: str) -> None:
        self._finished = True
        # What refers to each other would be let go of by the collector alone.
        waiting, self.waiting = self.waiting, None
        self._write = self._sink.write
        if waiting is not None:
            waiting.leave()
        self._end_attempt()
        request, began, tried = self.request, self._began, self._tried
        self._plane.finished(
            self,
            Record(
                request.id,
                request.head.path,
                request.model,
                tried[-1].backend.name if tried else None,
                status,
                outcome,
                len(tried),
                None if self._begun_at is None else self._begun_at - began,
                self._plane.loop.time() - began,
                self._passed,
                self._events,
                self._tail.bytes(),
                0.0 if waiting is None else waiting.waited,
                request.caller.name,
                self._raced,
            ),
        )
