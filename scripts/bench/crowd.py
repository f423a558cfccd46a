"""Thousands of connections at once: open streams, or kept-alive connections that idle.

They come over a ramp, are all there for a while, in which the proxy's memory is read, and then end: streams must be
whole, idle connections must still be open.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from scripts.bench.engine import SLOW_EVENTS, SLOW_PACE
from scripts.bench.load import CountedStream, PlainAnswer, chat_request
from scripts.instruments.client import ClientConnection

_RAMP = 1000.0
"""Connections a second, while they come."""

_CONNECT_WITHIN = 10.0
_GATHER_WITHIN = 10.0
_SETTLE = 3.0
_IDLE = 10.0


@dataclass
class Attendance:
    """How many connections are there now (`held`), were there `at_once`, and went as they should (`good`).

    `memory` is the proxy's, in bytes, while all were there.
    """

    held: int = 0
    good: int = 0
    at_once: int = 0
    memory: float = 0.0


class StreamingConnection(ClientConnection):
    """A connection that is there while its stream is open."""

    def __init__(self, request: bytes, crowd: Attendance) -> None:
        super().__init__()
        self._request = request
        self._crowd = crowd
        self._open = False
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the stream."""
        super().connection_made(transport)
        self.ask(self._request, CountedStream(SLOW_EVENTS))

    def data_received(self, data: bytes) -> None:
        """Be counted from the first read on, if that is a stream's."""
        super().data_received(data)
        if not self._open and not self.transport.is_closing():
            self._open = True
            self._crowd.held += 1

    def answered(self) -> None:
        """Leave with the whole stream."""
        self._crowd.good += 1
        self.transport.close()

    def connection_lost(self, _: Exception | None) -> None:
        """Be counted no more."""
        self._crowd.held -= self._open
        self.done.set_result(None)


class IdlingConnection(ClientConnection):
    """A connection that makes one request and stays."""

    def __init__(self, request: bytes, crowd: Attendance) -> None:
        super().__init__()
        self._request = request
        self._crowd = crowd
        self._answered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Make the request."""
        super().connection_made(transport)
        self.ask(self._request, PlainAnswer())

    def answered(self) -> None:
        """Be counted."""
        self._answered = True
        self._crowd.held += 1

    def connection_lost(self, _: Exception | None) -> None:
        """Be counted no more."""
        self._crowd.held -= self._answered
        self._answered = False


async def _come(port: int, count: int, make: Callable[[], asyncio.Protocol]) -> list[asyncio.Protocol]:
    """Open the connections over the ramp; give those that came."""
    loop, came = asyncio.get_running_loop(), list[asyncio.Protocol]()

    async def one(index: int) -> None:
        await asyncio.sleep(index / _RAMP)
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_CONNECT_WITHIN):
                came.append((await loop.create_connection(make, "127.0.0.1", port))[1])

    await asyncio.gather(*(one(index) for index in range(count)))
    return came


async def _until_all(crowd: Attendance, count: int) -> None:
    """Wait until all are there, ten seconds at most."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_GATHER_WITHIN):
            while crowd.held < count:  # noqa: ASYNC110  (a count that ten thousand change; asked for a few times)
                await asyncio.sleep(0.1)


async def streams(port: int, body: bytes, count: int, memory: Callable[[], float]) -> Attendance:
    """Hold `count` streams open at once, to their ends."""
    crowd, request = Attendance(), chat_request(port, body)
    came = await _come(port, count, lambda: StreamingConnection(request, crowd))
    await _until_all(crowd, count)
    await asyncio.sleep(_SETTLE)
    crowd.at_once, crowd.memory = crowd.held, memory()
    members = [member for member in came if isinstance(member, StreamingConnection)]
    if members:
        await asyncio.wait([member.done for member in members], timeout=2 * SLOW_EVENTS * SLOW_PACE)
    for member in members:
        member.transport.abort()
    await asyncio.gather(*(member.done for member in members))
    return crowd


async def idle(port: int, body: bytes, count: int, memory: Callable[[], float]) -> Attendance:
    """Hold `count` connections idle for ten seconds, each after one request."""
    crowd, request = Attendance(), chat_request(port, body)
    came = await _come(port, count, lambda: IdlingConnection(request, crowd))
    await _until_all(crowd, count)
    crowd.at_once = crowd.held
    await asyncio.sleep(_IDLE)
    crowd.good, crowd.memory = crowd.held, memory()
    for member in came:
        if isinstance(member, IdlingConnection):
            member.transport.abort()
    return crowd
