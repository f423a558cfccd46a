"""The load of a benchmark: as many clients as asked for, each on a kept-alive connection, one request after another.

It looks at nothing but where an answer ends and how many events it had, so that it costs little beside the engine on
its core. `Asking` is the connection of a client; `open_loop` and `crowd` have other uses for it.
"""

import asyncio
from dataclasses import dataclass

_STREAM_END = b"\r\n0\r\n\r\n"
_EVENT = b"data: "
_LONGEST = 300.0
"""Seconds after which what a load still waits for is lost."""


def request(body: bytes) -> bytes:
    """Write the request that every client sends."""
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nuser-agent: bench\r\naccept: */*\r\n"
        b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    )


def whole(answer: bytes) -> bool:
    """Tell whether these bytes are a whole answer, of a length or in chunks."""
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return False
    head = answer[:end].lower()
    at = head.find(b"content-length:")
    if at < 0:  # a proxy that made chunks of it
        return answer.endswith(b"0\r\n\r\n")
    return len(answer) - end - 4 >= int(head[at + 15 :].split(b"\r\n", 1)[0])


@dataclass
class Stream:
    """How much of a streamed answer has come, whatever the reads that brought it."""

    events: int = 0
    ended: bool = False
    tail: bytes = b""

    def feed(self, data: bytes) -> None:
        """Count the events in these bytes, and those that they complete; see whether they are the last."""
        joined = self.tail + data
        self.events += joined.count(_EVENT, max(0, len(self.tail) - len(_EVENT) + 1))
        self.ended = joined.endswith(_STREAM_END)
        self.tail = joined[-len(_STREAM_END) :]


class Asking(asyncio.Protocol):
    """A connection that asks, and knows when it is answered.

    `events` is how many events an answer must have; 0 where it is no stream. An answer that is no 200, or that has
    fewer events, closes the connection.
    """

    def __init__(self, sent: bytes, events: int) -> None:
        self._sent = sent
        self._events = events
        self._begin()

    def _begin(self) -> None:
        self._buffer = b""
        self._stream: Stream | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]  # uvloop's are none by name

    def ask(self) -> None:
        """Send the request."""
        self._begin()
        self.transport.write(self._sent)

    def data_received(self, data: bytes) -> None:
        """Look whether the answer has ended."""
        if not self._events:
            self._buffer += data
            if not self._buffer.startswith(b"HTTP/1.1 200"):
                self.transport.abort()
            elif whole(self._buffer):
                self.answered()
            return
        if self._stream is None:
            self._stream = Stream()
            if not data.startswith(b"HTTP/1.1 200"):
                self.transport.abort()
                return
            self.begun()
        self._stream.feed(data)
        if self._stream.ended:
            if self._stream.events >= self._events:
                self.answered()
            else:
                self.transport.abort()

    def begun(self) -> None:
        """Take note of a stream's beginning."""

    def answered(self) -> None:
        """Take note of a whole answer."""
        raise NotImplementedError


@dataclass
class Tally:
    """What came of a load."""

    answers: int = 0
    lost: int = 0


class Client(Asking):
    """One client: sends, reads to the end, sends again, `count` times."""

    def __init__(self, sent: bytes, events: int, count: int, tally: Tally) -> None:
        super().__init__(sent, events)
        self._left = count
        self._tally = tally
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        super().connection_made(transport)
        self.ask()

    def answered(self) -> None:
        """Ask again, or leave."""
        self._tally.answers += 1
        self._left -= 1
        if self._left:
            self.ask()
        else:
            self.transport.close()

    def connection_lost(self, _: Exception | None) -> None:
        """Count what didn't come."""
        self._tally.lost += self._left
        self.done.set_result(None)


async def load(port: int, body: bytes, *, clients: int, each: int, events: int = 0) -> Tally:
    """Have so many clients ask `each` times; give what came of it. What isn't there after five minutes is lost."""
    loop, tally, sent = asyncio.get_running_loop(), Tally(), request(body)

    async def one() -> None:
        try:
            _, client = await loop.create_connection(lambda: Client(sent, events, each, tally), "127.0.0.1", port)
        except OSError:
            tally.lost += each
            return
        await asyncio.wait([client.done], timeout=_LONGEST)
        client.transport.abort()
        await client.done

    await asyncio.gather(*(one() for _ in range(clients)))
    return tally
