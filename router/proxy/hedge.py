"""A second attempt beside an exchange's own, for as long as neither has brought any of an answer.

    a timer → another backend of the same model has room, and the retry budget pays → sent there, too
            its first words, or the failure of the exchange's own attempt → it becomes the exchange's own (`take_over`)
            its own failure, an error as its answer, or the first words of the other → it is over (`go_alone`)

Pings are no words: many engines send comments into a stream while a request waits there. While there may be a second
attempt, either's are held back, as one byte at the client ends the race.

It exists only where `balance.hedge_after` asks for it. It never speaks to the client.
"""

from typing import TYPE_CHECKING

import structlog

from router.core.errors import RouterError
from router.core.exchange import Failure
from router.core.record import has_event
from router.proxy.pool import ConnectError

if TYPE_CHECKING:
    import asyncio

    from router.core.catalog import Candidate
    from router.core.estimate.ask import Sent
    from router.proxy.heads import ResponseHead
    from router.proxy.plane import Plane
    from router.proxy.pool import Pool
    from router.proxy.roles import UnderWay
    from router.proxy.upstream import Connection


log = structlog.get_logger("router")

MOST_HELD = 512
"""Bytes of pings that are held back: then the client is to see that somebody lives, and that decides the race."""


class Hedge:
    """An exchange's second attempt, from `after` seconds on; its engine's receiver (upstream.Receiver)."""

    def __init__(self, exchange: "UnderWay", plane: "Plane", after: float) -> None:
        self.candidate: Candidate | None = None  # once it has been sent
        self.sent: Sent | None = None
        self.sent_at = 0.0
        self.connecting: asyncio.Task[Connection] | None = None
        self.connection: Connection | None = None
        self.head: ResponseHead | None = None
        self.length = 0
        self.held = b""  # of its body: pings
        self._exchange = exchange
        self._plane = plane
        self._timer = plane.loop.call_later(after, self._begin)

    def _begin(self) -> None:
        """Ask a second backend, if that can be done."""
        plane, now = self._plane, self._plane.loop.time()
        candidate = self._exchange.second(now)
        pool = None if candidate is None else plane.pool(candidate.backend)
        if candidate is None or pool is None or not plane.ledger.budget.withdraw(now):
            self._exchange.go_alone()
            return
        first, second = self._exchange.backend, candidate.backend
        log.info(
            "asked a second backend",
            request_id=self._exchange.request.id,
            backend=None if first is None else first.name,
            second=second.name,
        )
        self.candidate, self.sent_at = candidate, now
        self.sent = plane.ledger.began(candidate, self._exchange.ask, now)
        connection = pool.take()
        if connection is not None:
            self._send(connection, pool)
        else:
            self._connect(pool)

    def _connect(self, pool: "Pool") -> None:
        self.connecting = self._plane.loop.create_task(pool.connect())
        self.connecting.add_done_callback(lambda connecting: self._connected(connecting, pool))

    def _connected(self, connecting: "asyncio.Task[Connection]", pool: "Pool") -> None:
        if connecting is not self.connecting:  # it is the exchange's own now, or nobody's
            self._exchange.connected(connecting, pool)
            return
        self.connecting = None
        try:
            self._send(pool.made(connecting), pool)
        except ConnectError as refused:
            self.on_failure(refused.failure, str(refused))

    def _send(self, connection: "Connection", pool: "Pool") -> None:
        assert self.candidate is not None  # noqa: S101  (it was chosen)
        assert self.sent is not None  # noqa: S101
        self.connection = connection
        try:
            self._exchange.send(connection, pool, self.candidate, self)
        except Exception as error:  # whatever it is, the first attempt is still there
            if not isinstance(error, RouterError):  # else it can't be said to this engine
                log.exception("a second attempt failed by a mistake of the router's")
            self._plane.excused(self.candidate.backend, self.sent)
            self._exchange.go_alone()

    def end(self) -> "Candidate | None":
        """Let go of everything, in this turn of the loop; tell who was asked, if anybody was."""
        self._timer.cancel()
        if self.candidate is not None and self.sent is not None:
            self._plane.ended(self.candidate.backend, self._exchange.ask, self.sent)
        connecting, self.connecting = self.connecting, None
        if connecting is not None:
            connecting.cancel()
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.abort()
        return self.candidate

    # What the engine's side tells (upstream.Receiver)

    def on_head(self, head: "ResponseHead", length: int) -> None:
        """Hold the head; an error is no answer to be glad of: the first attempt may do better."""
        self.head, self.length = head, length
        if head.odd and self.candidate is not None:
            self._plane.refused(self.candidate.backend, head.status, self.sent)
            self._exchange.go_alone()

    def on_body(self, data: bytes) -> None:
        """Win, with the first words."""
        self.held += data
        streams = self.head is not None and self.head.is_event_stream
        if not streams or has_event(self.held) or len(self.held) >= MOST_HELD:
            self._exchange.take_over()

    def on_remains(self, data: bytes) -> None:
        """Don't win with it: the first attempt may do better."""

    def on_end(self) -> None:
        """Win with an answer of no words."""
        self._exchange.take_over()
        self._exchange.on_end()

    def on_failure(self, failure: Failure, detail: str) -> None:  # noqa: ARG002  (it is the first attempt that is told of)
        """Try once more where it was a kept connection that failed; else be over, and let the first attempt go on."""
        assert self.candidate is not None  # noqa: S101  (it was asked)
        pool = self._plane.pool(self.candidate.backend)
        self.connection = None
        if failure is Failure.STALE and pool is not None:
            self._connect(pool)
            return
        self._exchange.blame(failure, self.candidate.backend, self.sent)
        self._exchange.go_alone()
