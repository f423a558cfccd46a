"""The load of a benchmark: as many clients as asked for, each on a kept-alive connection, one request after another.

It looks at nothing but where an answer ends, so that it costs little beside the engine on its core.
"""

import asyncio
from dataclasses import dataclass, field

_STREAM_END = b"\r\n0\r\n\r\n"


def request(body: bytes) -> bytes:
    """Write the request that every client sends."""
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\nuser-agent: bench\r\naccept: */*\r\n"
        b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    )


@dataclass
class Tally:
    """What came of a load. `latencies` are in seconds, from a request's sending to its answer's end."""

    answers: int = 0
    failures: int = 0
    bytes: int = 0
    latencies: list[float] = field(default_factory=list)


class Client(asyncio.Protocol):
    """One client: sends, reads to the end, sends again, `count` times."""

    def __init__(self, sent: bytes, count: int, tally: Tally, *, stream: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._sent = sent
        self._left = count
        self._tally = tally
        self._stream = stream
        self._buffer = b""
        self._began = 0.0
        self.done: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # uvloop's are none by name
        self._send()

    def _send(self) -> None:
        self._buffer = b""
        self._began = self._loop.time()
        self._transport.write(self._sent)

    def data_received(self, data: bytes) -> None:
        """Look whether the answer has ended."""
        self._tally.bytes += len(data)
        if self._stream:
            self._buffer = (self._buffer + data)[-len(_STREAM_END) :] if len(data) < 8 else data
            if not self._buffer.endswith(_STREAM_END):
                return
        else:
            self._buffer += data
            if not self._whole():
                return
        self._tally.answers += 1
        self._tally.latencies.append(self._loop.time() - self._began)
        self._left -= 1
        if self._left:
            self._send()
        else:
            self._transport.close()

    def _whole(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = self._buffer[:end].lower()
        if not head.startswith(b"http/1.1 200"):
            self._transport.abort()
            return False
        at = head.find(b"content-length:")
        if at < 0:  # a proxy that made chunks of it
            return self._buffer.endswith(b"0\r\n\r\n")
        return len(self._buffer) - end - 4 >= int(head[at + 15 :].split(b"\r\n", 1)[0])

    def connection_lost(self, _: Exception | None) -> None:
        """Count what didn't come."""
        self._tally.failures += self._left
        if not self.done.done():
            self.done.set_result(None)


async def load(port: int, body: bytes, *, clients: int, each: int, stream: bool) -> Tally:
    """Have so many clients ask `each` times; give what came of it."""
    loop, tally = asyncio.get_running_loop(), Tally()
    sent = request(body)
    pairs = await asyncio.gather(
        *(
            loop.create_connection(lambda: Client(sent, each, tally, stream=stream), "127.0.0.1", port)
            for _ in range(clients)
        )
    )
    await asyncio.gather(*(client.done for _, client in pairs))
    return tally
