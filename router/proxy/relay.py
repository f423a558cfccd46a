"""A request's whole life on the data plane: attempts out, one answer back.

    Exchange.start → pick → Attempt.start → connect, or take a kept connection → send
                            on_head → (another attempt, or the head is held)
                            on_body → (with the first byte the head goes to the client) → the bytes follow
                            on_end / on_failure → (another attempt, or the end) → record

The head is held back until the first byte of the body, so that an engine that says 200 and then dies costs the
client nothing. What decides is `router.core.exchange`; this acts on it. All of it runs in callbacks on the loop's
thread: between two awaits nobody else moves, and a client that leaves closes the engine's connection at once.
"""

import asyncio
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from router.core import errors
from router.core.exchange import RETRY_STATUSES, UNWELL_STATUSES, Attempts, Failure, error_of
from router.core.peek import renamed
from router.proxy.framing import Framing, Headers, ResponseHead, end_to_end, request_head
from router.proxy.pool import Address, ConnectError

if TYPE_CHECKING:
    from router.core.catalog import Backend, Candidate
    from router.core.errors import RouterError
    from router.proxy.plane import Plane
    from router.proxy.upstream import Connection

_DONE = b"\ndata: [DONE]"
_TAIL = len(_DONE) + 8
"""Bytes of an answer's end that are kept: enough to see `_DONE` and the line ends behind it."""

_DROPPED = frozenset({
    b"host",
    b"content-length",
    b"expect",
    b"accept-encoding",  # answers pass as bytes: an event must not wait for a compressor's block
    b"x-request-id",
})  # fmt: skip
"""Request headers that the router writes itself, or leaves out."""

_DROPPED_WITH_KEY = _DROPPED | {b"authorization", b"x-api-key"}
"""The same, for a backend that has a key of its own."""

_REWRITTEN = frozenset({b"content-length", b"x-request-id", b"x-router-backend"})
"""Answer headers that the router writes itself."""

_OPEN_ENDED = frozenset({Framing.CHUNKED, Framing.CLOSE})
"""Framings of a body whose length isn't known beforehand."""

_ENDS_WITH_DONE = ("/v1/chat/completions", "/v1/completions")
"""APIs whose streams end with `data: [DONE]`."""


@dataclass(frozen=True, slots=True)
class Request:
    """A client's request, read and understood. `headers` are end-to-end, their names in lower case."""

    id: str
    path: str
    target: str  # the path with its query, as it came
    headers: Headers
    body: bytes
    model: str
    stream: bool


class Sink(Protocol):
    """The client's side of an exchange: it takes an answer in pieces, at once, and says when it has too much."""

    def start(self, status: int, headers: Headers, length: int | None) -> None:
        """Take the head; the length of the body in bytes, None where it isn't known."""

    def body(self, data: bytes) -> None:
        """Take a piece of the body."""

    def end(self) -> None:
        """Note that the body is whole."""

    def refuse(self, error: "RouterError") -> None:
        """Answer with an error; nothing was sent before."""

    def cut(self, last_words: bytes) -> None:
        """Break off an answer that has begun, so that it can't be taken for whole."""


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

    def __init__(self, plane: "Plane", request: Request, sink: Sink) -> None:
        self.plane = plane
        self.request = request
        self.loop = asyncio.get_running_loop()
        self.paused = False
        self._sink = sink
        self._began = self.loop.time()
        self._attempts = Attempts((), plane.limits.retries)
        self._attempt: Attempt | None = None  # the one under way; None before the first and after the last
        self._finished = False
        self._first_byte_at: float | None = None
        self._sent = 0

    # What the client's side asks

    def start(self) -> None:
        """Send the request where it will be answered."""
        try:
            self._attempts.tiers = self.plane.catalog.resolve(self.request.model)
            candidate = self._attempts.first(self.request.model, self.plane.draw)
        except errors.RouterError as error:
            self.break_off(error, error.message)
        else:
            self._begin(candidate)

    def cancel(self, outcome: str = "the client left") -> None:
        """Stop at once, and free the engine: nobody waits for the answer any more."""
        if not self._finished:
            self._finish(499, outcome)

    def break_off(self, error: "RouterError", outcome: str) -> None:
        """Stop at once, and tell the client why: as its answer, or behind what it got of one."""
        head = self._attempt.head if self._attempt is not None else None
        if head is None or self._first_byte_at is None:
            self._sink.refuse(error)
            self._finish(error.status, outcome)
        else:
            self._sink.cut(errors.event(error, self.request.path) if head.is_event_stream else b"")
            self._finish(head.status, outcome)

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
        """Pass on the head: from here on there is no other attempt."""
        headers = [header for header in end_to_end(head.headers) if header[0] not in _REWRITTEN]
        headers.append((b"x-request-id", self.request.id.encode("latin-1")))
        headers.append((b"x-router-backend", backend.name.encode("latin-1")))
        self._first_byte_at = self.loop.time()
        self._sink.start(head.status, headers, None if head.framing in _OPEN_ENDED else head.length)

    def pass_on(self, data: bytes) -> None:
        """Pass on a piece of the body."""
        self._sent += len(data)
        self._sink.body(data)

    def complete(self, head: ResponseHead) -> None:
        """Finish: the answer is whole."""
        self._sink.end()
        self._finish(head.status, "answered")

    def failed(self, attempt: "Attempt", failure: Failure, detail: str) -> None:
        """Try again while nothing has reached the client; else tell it that its answer broke off."""
        if self._first_byte_at is not None or not self._retry(attempt, failure, detail):
            self.break_off(error_of(failure, attempt.backend.name), f"{failure.value} ({detail})")

    def client_stalled(self, seconds: float) -> None:
        """Give up on a client that takes nothing."""
        self._sink.cut(b"")
        self._finish(499, f"the client took nothing for {seconds:g} s")

    # What follows

    def _begin(self, candidate: "Candidate", *, fresh: bool = False) -> None:
        self._attempt = Attempt(self, candidate)
        self._attempt.start(fresh=fresh)

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
        self._timer = exchange.loop.call_later(self._plane.limits.first_byte_timeout, self._first_byte_due)
        self._last_byte_at: float | None = None
        self._tail = b""
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
            self._connecting.add_done_callback(lambda connecting: self._connected(connecting, pool.address))

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
        body = request.body if self._model == request.model else renamed(request.body, self._model)
        target = f"{address.base}{request.target}".encode("latin-1")
        head = request_head(b"POST", target, self._headers(address, len(body)))
        connection.send(head, body, self)

    def _headers(self, address: Address, length: int) -> Headers:
        request, key = self._exchange.request, self._plane.api_key(self.backend)
        headers = [(b"host", address.authority), (b"content-length", b"%d" % length)]
        if not self.backend.uuid_request_ids or is_uuid(request.id):
            headers.append((b"x-request-id", request.id.encode("latin-1")))
        if key:
            headers.append((b"authorization", b"Bearer " + key))
        dropped = _DROPPED_WITH_KEY if key else _DROPPED
        return headers + [header for header in request.headers if header[0] not in dropped]

    def pause(self) -> None:
        """Read no more."""
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        """Read on."""
        if self._connection is not None:
            self._connection.resume()

    def over(self) -> None:
        """Let go of everything: the engine is free in the same turn of the loop."""
        if self._over:
            return
        self._over = True
        self._timer.cancel()
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
            self._watch(now)
        self._last_byte_at = now
        if self.head.framing is Framing.CLOSE:
            self._tail = (self._tail + data[-_TAIL:])[-_TAIL:]
        self._exchange.pass_on(data)

    def on_end(self) -> None:
        """Finish, if the answer is whole by its API's own mark too."""
        if self.head is None:
            return
        self._connection = None  # it is its pool's again
        if self._lacks_its_end(self.head):
            self.on_failure(Failure.BROKEN, "a stream without its [DONE]")
            return
        if self._last_byte_at is None:
            self._exchange.answer(self.head, self.backend)
        if self.head.status not in UNWELL_STATUSES:
            self._plane.succeeded(self.backend)
        self._exchange.complete(self.head)

    def on_failure(self, failure: Failure, detail: str) -> None:
        """Tell the exchange, and what it says of the backend."""
        if failure is not Failure.STALE:
            self._plane.failed(self.backend, failure.value)
        self._exchange.failed(self, failure, detail)

    def _lacks_its_end(self, head: ResponseHead) -> bool:
        """Tell whether a stream that ended with its connection ended too soon: its framing can't say."""
        return (
            head.framing is Framing.CLOSE
            and head.status == 200
            and head.is_event_stream
            and self._exchange.request.path in _ENDS_WITH_DONE
            and not self._tail.rstrip(b"\r\n").endswith(_DONE)
        )

    # What the clock tells

    def _first_byte_due(self) -> None:
        self.on_failure(Failure.FIRST_BYTE_TIMEOUT, f"{self._plane.limits.first_byte_timeout:g} s")

    def _watch(self, since: float) -> None:
        """Look again when nothing might have come for `idle_timeout`: one timer a stream, not one an event."""
        self._timer.cancel()
        self._timer = self._exchange.loop.call_at(since + self._plane.limits.idle_timeout, self._idle_due)

    def _idle_due(self) -> None:
        limit, last = self._plane.limits.idle_timeout, self._last_byte_at or 0.0
        if self._exchange.loop.time() < last + limit:
            self._watch(last)
        elif self._exchange.paused:
            self._exchange.client_stalled(limit)
        else:
            self.on_failure(Failure.IDLE_TIMEOUT, f"{limit:g} s")


def is_uuid(text: str) -> bool:
    """Tell whether this is a UUID in a form that strict engines take."""
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
