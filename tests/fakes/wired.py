"""A real plane and real exchanges without sockets: the test plays the connections to backends, and the client."""

import asyncio
from math import inf
from typing import TYPE_CHECKING

from router.core.catalog import Backend
from router.core.health import WELL, Thresholds
from router.core.outline import Texts
from router.core.peek import Stay
from router.core.retry import Failure
from router.http1.bodies import CHUNKED, LENGTH
from router.proxy.caller import ANYBODY, Caller
from router.proxy.dialling import Address, ConnectError
from router.proxy.exchange import Exchange
from router.proxy.heads import ResponseHead, describe_request
from router.proxy.plane import Balancing, ExchangeLimits, Plane
from router.proxy.pool import Pool
from router.proxy.requests import Request
from router.proxy.resolve import Names
from router.proxy.upstream import Connection, Receiver
from tests.fakes.client import Client

if TYPE_CHECKING:
    from router.core.record import Record

CHAT = "/v1/chat/completions"
BODY = b'{"model": "m", "stream": true}'
PING, EVENT, LAST = b": ping\n\n", b'data: {"a": 1}\n\n', b"data: [DONE]\n\n"


class Wire(Connection):
    """A connection whose other end is the test: `sent` is the request, and what comes is said by the test."""

    def __init__(self) -> None:
        self.sent = b""
        self.receiver: Receiver | None = None
        self.aborted = self.paused = False
        self.left_for: float | None = None
        self.head_at = 0.0

    def send(self, request: bytes, receiver: Receiver, *, raw: bool, texts: Texts | None = None) -> None:  # noqa: ARG002
        """Keep the request."""
        self.sent, self.receiver = request, receiver

    @property
    def usable(self) -> bool:
        """Whether a request can be sent now."""
        return self.receiver is None

    @property
    def position(self) -> tuple[int, int] | None:
        """Tell nothing of chunks."""
        return None

    def interrupt(self, words: bytes) -> bytes:
        """Frame nothing."""
        return words

    def pause(self) -> None:
        """Note it."""
        self.paused = True

    def resume(self) -> None:
        """Note it."""
        self.paused = False

    def let_end(self, seconds: float) -> None:
        """Note it."""
        self.left_for = seconds

    def abort(self) -> None:
        """Note it."""
        self.aborted = True

    # What the test has the engine say

    def head(self, status: int = 200, *, stream: bool = True, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        """Answer with a head, of a body in chunks; an error that is no stream is JSON in one piece."""
        assert self.receiver is not None
        odd = status >= 300
        if odd and not headers:
            headers = ((b"content-type", b"application/json"),)
        lines = b"HTTP/1.1 %d X\r\n" % status
        self.head_at = asyncio.get_running_loop().time()
        head = ResponseHead(
            status=status,
            headers=headers,
            framing=LENGTH if odd and not stream else CHUNKED,
            keep_alive=True,
            is_event_stream=stream,
            odd=odd,
            lines=lines,
        )
        self.receiver.on_head(head, 0)

    def body(self, data: bytes) -> None:
        """Answer with bytes of the body."""
        assert self.receiver is not None
        self.receiver.on_body(data)

    def end(self) -> None:
        """End the answer."""
        assert self.receiver is not None
        self.receiver.on_end()

    def fail(self, failure: Failure = Failure.CLOSED) -> None:
        """Break off."""
        assert self.receiver is not None
        self.receiver.on_failure(failure, "as the test says")


class Wires(Pool):
    """A pool that gives another connection each time; while it `refuses`, none can be made."""

    def __init__(self) -> None:
        super().__init__(Address("127.0.0.1", 1), 1.0, Names())
        self.made_of: list[Wire] = []
        self.refuses: Failure | None = None
        self.connects = 0

    def take(self) -> Connection | None:
        """Give one at once, unless it refuses."""
        return None if self.refuses else self._made()

    async def connect(self) -> Connection:
        """Make one, unless it refuses."""
        self.connects += 1
        if self.refuses:
            raise ConnectError(self.refuses, "as the test says")
        return self._made()

    def _made(self) -> Wire:
        self.made_of.append(Wire())
        return self.made_of[-1]

    def close(self) -> None:
        """Do nothing."""


class Scene:
    """A plane with these backends, all of them well, that serve `m`. The first is chosen where nothing differs."""

    def __init__(self, *names: str, hedge_after: float = inf, **limits: float) -> None:
        self.records: list[Record] = []
        self.plane = Plane(
            ExchangeLimits(**limits),  # type: ignore[arg-type]
            Thresholds(unhealthy_after=3),
            Balancing(policy="round_robin", affinity=False, hedge_after=hedge_after),
            draw=lambda _: 0,
            on_record=self.records.append,
        )
        self.backends: list[Backend] = []
        self.pools: list[Wires] = []
        self.join(*names)

    def join(self, *names: str) -> None:
        """Add backends, all of them well, that serve `m`."""
        for name in names:
            self.backends.append(Backend(name, {"m": "m"}, health=WELL))
            self.pools.append(Wires())
            self.plane.add(self.backends[-1])
            self.plane.connections._pools[self.backends[-1]] = self.pools[-1]
        self.plane.directory.rebuild()

    def ask(
        self,
        *,
        stream: bool = True,
        model: str = "m",
        caller: Caller = ANYBODY,
        stay: Stay | None = None,
        texts: Texts | None = None,
        body: bytes = BODY,
    ) -> tuple[Exchange, Client]:
        """Start an exchange; give it, and its client."""
        client = Client()
        head = describe_request(CHAT.encode(), (), keep_alive=True)
        request = Request(
            head, "id-1", model, caller, 0, stream=stream, credentials=b"", http11=True, keep_alive=True, stay=stay,
            texts=texts,
        )  # fmt: skip
        exchange = Exchange(self.plane, request, body, client)
        exchange.start()
        return exchange, client

    def wire(self, number: int) -> Wire:
        """Give the latest connection to a backend."""
        return self.pools[number].made_of[-1]

    def asked(self) -> list[int]:
        """Count the connections that each backend was sent a request on."""
        return [len(pool.made_of) for pool in self.pools]


def begin_hedge(exchange: Exchange) -> None:
    """Have the second attempt begin now: its time has come."""
    hedge = exchange._attempts.hedge
    assert hedge is not None
    hedge._timer.cancel()
    hedge._begin()


def timer_of(exchange: Exchange) -> asyncio.TimerHandle:
    """Give the timer of an exchange's second attempt."""
    hedge = exchange._attempts.hedge
    assert hedge is not None
    return hedge._timer
