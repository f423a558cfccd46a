"""An open-loop load: requests are sent by a schedule that doesn't wait for answers.

    a thread ── a byte at each due moment ──> the loop ──> a free connection, or a new one

So a late proxy is asked all the same. A latency counts from the moment at which its request was due, so it shows what
the proxy's lateness does to the requests behind. There is a thread because the loop's own timers round to a
millisecond.
"""

import asyncio
import gc
import socket
import threading
import time

from scripts.bench.load import PlainAnswer, chat_request
from scripts.instruments.client import ClientConnection

_READY = 32
"""Connections that are open before the first request."""

_WAIT = 20.0
"""Seconds after the last request in which the last answers must come."""


class ScheduledConnection(ClientConnection):
    """A kept-alive connection. It carries one request at a time and remembers when that was due."""

    def __init__(self, request: bytes, schedule: "Schedule") -> None:
        super().__init__()
        self._request = request
        self._schedule = schedule
        self.due: float | None = None

    def send(self, due: float) -> None:
        """Carry the request that was due at this moment."""
        self.due = due
        self.ask(self._request, PlainAnswer())

    def answered(self) -> None:
        """Tell the schedule, and be free again."""
        due, self.due = self.due, None
        if due is not None:
            self._schedule.answered(self, due)

    def connection_lost(self, _: Exception | None) -> None:
        """Tell the schedule; what was carried is lost."""
        self._schedule.gone(self)


class Schedule:
    """`count` requests at even distances, `rate` a second. `latencies` are in seconds, from due to the answer's end."""

    def __init__(self, port: int, body: bytes, rate: float, count: int, api_key: str = "") -> None:
        self._port = port
        self._request = chat_request(port, body, api_key)
        self._rate = rate
        self._count = count
        self._next = 0
        self._free: list[ScheduledConnection] = []
        self._all: set[ScheduledConnection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._ended = asyncio.Event()
        self.lost = 0
        self.latencies: list[float] = []

    async def run(self) -> None:
        """Send all, and wait for the answers."""
        for _ in range(_READY):
            await self._open(None)
        loop, (ours, beats) = asyncio.get_running_loop(), socket.socketpair()
        ours.setblocking(False)  # noqa: FBT003
        self._start = time.perf_counter() + 0.1
        pacer = threading.Thread(target=self._beat, args=(beats,), daemon=True)
        loop.add_reader(ours, lambda: self._send(len(ours.recv(65536))))
        gc.disable()
        try:
            pacer.start()
            async with asyncio.timeout(self._count / self._rate + _WAIT):
                await self._ended.wait()
        except TimeoutError:
            self.lost = self._count - len(self.latencies)
        finally:
            gc.enable()
            loop.remove_reader(ours)
            pacer.join()
            ours.close()
            beats.close()
        for connection in self._all:
            connection.transport.abort()

    def _due(self, index: int) -> float:
        return self._start + index / self._rate

    def _beat(self, beats: socket.socket) -> None:
        for index in range(self._count):
            time.sleep(max(0.0, self._due(index) - time.perf_counter()))
            beats.send(b".")

    def _send(self, many: int) -> None:
        for index in range(self._next, self._next + many):
            if self._free:
                self._free.pop().send(self._due(index))
            else:
                task = asyncio.get_running_loop().create_task(self._open(self._due(index)))
                self._opening.add(task)
                task.add_done_callback(self._opening.discard)
        self._next += many

    async def _open(self, due: float | None) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(
                lambda: ScheduledConnection(self._request, self), "127.0.0.1", self._port
            )
        except OSError:
            self._one_lost(due)
            return
        self._all.add(connection)
        if due is None:
            self._free.append(connection)
        else:
            connection.send(due)

    def answered(self, connection: ScheduledConnection, due: float) -> None:
        """Record an answer's latency, and take the connection back."""
        self.latencies.append(time.perf_counter() - due)
        self._free.append(connection)
        self._look()

    def gone(self, connection: ScheduledConnection) -> None:
        """Forget a connection, and count what it carried."""
        self._all.discard(connection)
        if connection in self._free:
            self._free.remove(connection)
        self._one_lost(connection.due)

    def _one_lost(self, due: float | None) -> None:
        self.lost += due is not None
        self._look()

    def _look(self) -> None:
        if len(self.latencies) + self.lost >= self._count:
            self._ended.set()
