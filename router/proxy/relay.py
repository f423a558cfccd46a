"""A request's whole life on the data plane: attempts out, one answer back.

    Exchange.start → pick → Attempt.start → connect, or take a kept connection → send
                            on_head → (another attempt, or the head is held)
                            on_body → (with the first byte the head goes to the client) → the bytes follow
                            on_end / on_failure → (another attempt, or the end) → record

The head is held back until the first byte of the body, so that an engine that says 200 and then dies costs the
client nothing. What decides is `router.core.exchange`; this acts on it. All of it runs in callbacks on the loop's
thread: between two awaits nobody else moves, and a client that leaves closes the engine's connection at once.
"""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol
from uuid import UUID

import structlog

from router.core import errors
from router.core.exchange import NOT_ITS_FAULT, RETRY_STATUSES, UNWELL_STATUSES, Attempts, Failure, error_of
from router.core.peek import renamed
from router.proxy.framing import LAST_CHUNK, chunk
from router.proxy.heads import Framing, ResponseHead, request_head, response_head
from router.proxy.pool import Address, ConnectError
from router.proxy.requests import Request, error_answer

if TYPE_CHECKING:
    import asyncio

    from router.core.catalog import Backend, Candidate
    from router.core.errors import RouterError
    from router.proxy.plane import Plane
    from router.proxy.upstream import Connection

log = structlog.get_logger("router")

_TAIL = 64
"""Bytes that are kept of the end of an answer whose framing can't tell whether it is whole."""

_DONE = re.compile(rb"(?:^|\n)data: ?\[DONE\]\s*$")

_ENDS_WITH_DONE = ("/v1/chat/completions", "/v1/completions")
"""APIs whose streams end with `data: [DONE]`."""


class Sink(Protocol):
    """The client's side of an exchange: a wire that takes bytes, at once, and says when it has too much."""

    def write(self, data: bytes) -> None:
        """Send bytes."""

    def finish(self, *, keep_alive: bool) -> None:
        """Note that the answer is whole; the connection may go on, or is to be closed once all is sent."""

    def hang_up(self) -> None:
        """Close the connection once all is sent: the answer broke off."""

    def abort(self) -> None:
        """Close the connection now: nobody reads."""

    def unsent(self) -> int:
        """Tell how many bytes wait for the client."""


class Record(NamedTuple):
    """What an exchange came to. Times are in seconds; `status` is 499 for a client that left."""

    request: Request
    backend: str | None
    status: int
    outcome: str
    attempts: int
    ttft: float | None  # from the request's arrival to the first byte of the answer's body
    duration: float
    sent: int  # bytes of body passed to the client


class Exchange:
    """One request's life. Its owner calls `start`, and `cancel` if the client leaves; the sink hears the rest."""

    def __init__(self, plane: "Plane", request: Request, body: bytes, sink: Sink) -> None:
        self.plane = plane
        self.request = request
        self.body = body  # the request's, as long as there may be another attempt
        self.blamed: tuple[Backend, ...] = ()
        self.loop = plane.loop
        self.paused = False
        self._sink = sink
        self._began = self.loop.time()
        self._attempts = Attempts((), plane.limits.retries)
        self._attempt: Attempt | None = None  # the one under way; None before the first and after the last
        self._finished = False
        self._first_byte_at: float | None = None
        self._lead = b""  # the answer's head, until the first piece of its body goes with it
        self._chunking = False  # whether the body is to be put into chunks here
        self._keep_alive = request.keep_alive
        self._sent = 0

    # What the client's side asks

    def start(self) -> None:
        """Send the request where it will be answered."""
        self.plane.entered(self)
        try:
            self._attempts.tiers = self.plane.catalog.resolve(self.request.model)
            candidate = self._attempts.first(self.request.model, self.plane.draw)
        except errors.RouterError as error:
            self.break_off(error, error.message)
            return
        self._begin(candidate)

    def cancel(self, outcome: str = "the client left") -> None:
        """Stop at once, and free the engine: nobody waits for the answer any more."""
        if not self._finished:
            self._finish(499, outcome)

    def break_off(self, error: "RouterError", outcome: str) -> None:
        """Stop at once, and tell the client why: as its answer, or behind what it got of one."""
        attempt = self._attempt
        if attempt is None or attempt.head is None or self._first_byte_at is None:
            self._sink.write(error_answer(error, self.request.path, self.request.id, keep_alive=self._keep_alive))
            self._sink.finish(keep_alive=self._keep_alive)
            self._finish(error.status, outcome)
            return
        if attempt.head.is_event_stream:
            words = attempt.interrupt(errors.event(error, self.request.path))
            if words:
                self._sink.write(chunk(words) if self._chunking else words)
        self._sink.hang_up()
        self._finish(attempt.head.status, outcome)

    def pause(self) -> None:
        """Read no more from the engine: the client is slower."""
        self.paused = True
        if self._attempt is not None:
            self._attempt.pause()

    def resume(self) -> None:
        """Read on."""
        self.paused = False
        if self._attempt is not None:
            self._attempt.resume()

    # What an attempt tells

    def may_turn_elsewhere(self, attempt: "Attempt", head: ResponseHead) -> bool:
        """Leave an engine that says it can't take the request, if there is another to ask."""
        return head.status in RETRY_STATUSES and self._retry(attempt, Failure.STATUS, f"status {head.status}")

    def answer(self, head: ResponseHead, backend: "Backend") -> None:
        """Write the head, to go with the first piece of the body: from here on there is no other attempt."""
        self._first_byte_at = self.loop.time()
        self.body = b""
        lines = b"%sx-request-id: %s\r\nx-router-backend: %s\r\n" % (
            head.lines,
            self.request.id.encode("ascii"),
            backend.name.encode("ascii", "replace"),
        )
        events = (
            head.is_event_stream
        )  # which are put into chunks here, where they aren't: something may have to be added
        if head.framing is Framing.LENGTH and not events:
            lines += b"content-length: %d\r\n" % head.length
        elif head.framing is not Framing.NONE:
            if self.request.http11:
                lines += b"transfer-encoding: chunked\r\n"
                self._chunking = head.framing is not Framing.CHUNKED  # else the engine's own pass as they are
            else:
                self._keep_alive = False
        if not self._keep_alive:
            lines += b"connection: close\r\n"
        self._lead = response_head(head.status, lines)

    def pass_on(self, data: bytes) -> None:
        """Pass on a piece of the body."""
        self._sent += len(data)
        if self._chunking:
            data = chunk(data)
        if self._lead:
            data, self._lead = self._lead + data, b""
        self._sink.write(data)

    def complete(self, head: ResponseHead) -> None:
        """Finish: the answer is whole."""
        last = self._lead + (LAST_CHUNK if self._chunking else b"")
        if last:
            self._sink.write(last)
        self._sink.finish(keep_alive=self._keep_alive)
        self._finish(head.status, "answered")

    def failed(self, attempt: "Attempt", failure: Failure, detail: str) -> None:
        """Try again while nothing has reached the client; else tell it that its answer broke off."""
        if self._first_byte_at is not None or not self._retry(attempt, failure, detail):
            self.break_off(error_of(failure, attempt.backend.name), f"{failure.value} ({detail})")

    def look(self, now: float) -> None:
        """Have the attempt under way looked at, some times a second: one timer for all, none for each."""
        if self._attempt is not None:
            self._attempt.look(now)

    def unsent(self) -> int:
        """Tell how many bytes wait for the client."""
        return self._sink.unsent()

    def client_stalled(self, seconds: float) -> None:
        """Give up on a client that takes nothing."""
        self._sink.abort()
        self._finish(499, f"the client took nothing for {seconds:g} s")

    # What follows

    def _begin(self, candidate: "Candidate", *, fresh: bool = False) -> None:
        self._attempt = Attempt(self, candidate)
        self.guarded(self._attempt.start, fresh=fresh)

    def guarded(self, step: Callable[..., None], *arguments: object, **options: object) -> None:
        """Take a step that must not leave the client without an answer, whatever is wrong with it."""
        try:
            step(*arguments, **options)
        except errors.RouterError as error:
            self.break_off(error, error.message)
        except Exception:
            log.exception("a request failed by a mistake of the router's", request_id=self.request.id)
            self.break_off(errors.RouterError("The router made a mistake; its log says more."), "a mistake")

    def _retry(self, attempt: "Attempt", failure: Failure, detail: str) -> bool:
        """Begin another attempt, if one is allowed."""
        candidate = self._attempts.after(failure, self.plane.draw)
        if candidate is None:
            return False
        self.plane.retried(self.request, attempt.backend, failure, detail)
        attempt.over()
        self._begin(candidate, fresh=failure is Failure.STALE)
        return True

    def _finish(self, status: int, outcome: str) -> None:
        self._finished = True
        tried = self._attempts.tried
        backend = tried[-1].backend.name if tried else None
        if self._attempt is not None:
            self._attempt.over()
            self._attempt = None
        ttft = None if self._first_byte_at is None else self._first_byte_at - self._began
        duration = self.loop.time() - self._began
        record = Record(self.request, backend, status, outcome, len(tried), ttft, duration, self._sent)
        self.plane.finished(self, record)


class Attempt:
    """One try of a request at one backend (an upstream.Receiver): it holds what `over` must let go of."""

    def __init__(self, exchange: Exchange, candidate: "Candidate") -> None:
        self.backend = candidate.backend
        self.head: ResponseHead | None = None
        self._exchange = exchange
        self._plane = exchange.plane
        self._model = candidate.model
        self._connecting: asyncio.Task[Connection] | None = None
        self._connection: Connection | None = None
        self._began = exchange.loop.time()
        self._last_byte_at: float | None = None
        self._tail = b""
        self._unsent = -1  # bytes that waited for the client when it was last looked at
        self._over = False
        self._plane.began(self.backend)

    def start(self, *, fresh: bool) -> None:
        """Send the request, on a kept-alive connection if there is one and `fresh` isn't asked for."""
        pool = self._plane.pool(self.backend)
        if pool is None:
            self.on_failure(Failure.REFUSED, "it has no address")
            return
        connection = None if fresh else pool.take()
        if connection is not None:
            self._send(connection, pool.address)
        else:
            self._connecting = self._exchange.loop.create_task(pool.connect())
            self._connecting.add_done_callback(
                lambda connecting: self._exchange.guarded(self._connected, connecting, pool.address)
            )

    def _connected(self, connecting: "asyncio.Task[Connection]", address: Address) -> None:
        if self._over:
            if not connecting.cancelled() and not connecting.exception():
                connecting.result().abort()
            return
        self._connecting = None
        try:
            connection = connecting.result()
        except ConnectError as error:
            self.on_failure(error.failure, str(error))
        else:
            self._send(connection, address)

    def _send(self, connection: "Connection", address: Address) -> None:
        request = self._exchange.request
        self._connection = connection
        body = self._exchange.body
        if self._model != request.model:
            body = renamed(body, self._model)
        target = address.base.encode("ascii") + request.target
        connection.send(request_head(target, self._headers(address, len(body))) + body, self, raw=request.http11)
        if self._exchange.paused:
            connection.pause()

    def _headers(self, address: Address, length: int) -> bytes:
        request, key = self._exchange.request, self._plane.api_key(self.backend)
        own = b"host: %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n" % (address.authority, length)
        if not self.backend.uuid_request_ids or is_uuid(request.id):
            own += b"x-request-id: %s\r\n" % request.id.encode("ascii")
        own += b"authorization: Bearer %s\r\n" % key if key else request.credentials
        return own + request.headers

    def interrupt(self, words: bytes) -> bytes:
        """Frame last words behind what came of the body; b"" where nothing can be said any more."""
        return b"" if self._connection is None else self._connection.interrupt(words)

    def pause(self) -> None:
        """Read no more."""
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        """Read on. The pause was the client's: the engine's time to say something begins anew."""
        if self._last_byte_at is not None:
            self._last_byte_at = self._exchange.loop.time()
        if self._connection is not None:
            self._connection.resume()

    def over(self) -> None:
        """Let go of everything: the engine is free in the same turn of the loop."""
        if self._over:
            return
        self._over = True
        if self._connecting is not None:
            self._connecting.cancel()
        if self._connection is not None:
            self._connection.abort()
        self._plane.ended(self.backend)

    # What the connection tells

    def on_head(self, head: ResponseHead) -> None:
        """Hold the head until the body begins, or leave for another backend."""
        if head.status in UNWELL_STATUSES:
            self._plane.failed(self.backend, f"answered {head.status}")
        if not self._exchange.may_turn_elsewhere(self, head):
            self.head = head

    def on_body(self, data: bytes) -> None:
        """Pass the bytes on, the held head before the first of them."""
        if self.head is None:
            return  # the head was turned away
        now = self._exchange.loop.time()
        if self._last_byte_at is None:
            self._exchange.answer(self.head, self.backend)
        self._last_byte_at = now
        if self.head.framing is Framing.CLOSE:
            self._tail = (self._tail + data[-_TAIL:])[-_TAIL:]
        self._exchange.pass_on(data)

    def on_end(self) -> None:
        """Finish, if the answer is whole by its API's own mark too."""
        if self.head is None:
            return
        if self._lacks_its_end(self.head):
            self.on_failure(Failure.BROKEN, "a stream without its [DONE]")
            return
        self._connection = None  # it is its pool's again
        if self._last_byte_at is None:
            self._exchange.answer(self.head, self.backend)
        if self.head.status not in UNWELL_STATUSES:
            self._plane.succeeded(self.backend)
        self._exchange.complete(self.head)

    def on_failure(self, failure: Failure, detail: str) -> None:
        """Tell the exchange, and what it says of the backend."""
        if failure not in NOT_ITS_FAULT and self.backend not in self._exchange.blamed:
            self._exchange.blamed += (self.backend,)  # once a request: a bad one must not take a backend out alone
            self._plane.failed(self.backend, failure.value)
        self._exchange.failed(self, failure, detail)

    def _lacks_its_end(self, head: ResponseHead) -> bool:
        """Tell whether a stream that ended with its connection ended too soon: its framing can't say."""
        return (
            head.framing is Framing.CLOSE
            and head.status == 200
            and head.is_event_stream
            and self._exchange.request.path in _ENDS_WITH_DONE
            and not _DONE.search(self._tail)
        )

    # What the clock tells

    def look(self, now: float) -> None:
        """Give up on an engine that has been silent for too long, or on a client that takes nothing."""
        limits, last = self._plane.limits, self._last_byte_at
        if last is None:
            if now >= self._began + limits.first_byte_timeout:
                self.on_failure(Failure.FIRST_BYTE_TIMEOUT, f"{limits.first_byte_timeout:g} s")
        elif now < last + limits.idle_timeout:
            pass
        elif not self._exchange.paused:
            self.on_failure(Failure.IDLE_TIMEOUT, f"{limits.idle_timeout:g} s")
        elif self._unsent == self._exchange.unsent():
            self._exchange.client_stalled(limits.idle_timeout)
        else:  # it takes its time, but it takes
            self._unsent, self._last_byte_at = self._exchange.unsent(), now


def is_uuid(text: str) -> bool:
    """Tell whether this is a UUID in a form that strict engines take."""
    try:
        UUID(text)
    except ValueError:
        return False
    return True
