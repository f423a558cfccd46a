"""The load of a benchmark: so many clients, each on a kept-alive connection, each with one request after another.

Of an answer it looks at the status, the end and the number of events, and at nothing else, so that it costs little
beside the engine on its core. `open_loop` and `crowd` use the same answers.
"""

import asyncio
from dataclasses import dataclass

from scripts.instruments.answers import MalformedError
from scripts.instruments.client import AwaitedAnswer, ClientConnection, LoadTarget

_OK = b"HTTP/1.1 200"
_STREAM_END = b"\r\n0\r\n\r\n"
_EVENT = b"data: "
_LONGEST = 300.0
"""Seconds after which an answer that hasn't come is lost."""


def chat_request(port: int, body: bytes, api_key: str = "") -> bytes:
    """Write the request that every client sends."""
    return LoadTarget("proxy", f"http://127.0.0.1:{port}", api_key).request("POST", "/v1/chat/completions", body)


def is_whole(answer: bytes) -> bool:
    """Tell whether these bytes are a whole answer, of a length or in chunks."""
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return False
    head = answer[:end].lower()
    at = head.find(b"content-length:")
    if at < 0:  # a proxy that made chunks of it
        return answer.endswith(b"0\r\n\r\n")
    return len(answer) - end - 4 >= int(head[at + 15 :].split(b"\r\n", 1)[0])


class PlainAnswer:
    """An answer that is no stream."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes, _now: float) -> bool:
        """Tell whether it is whole. Raises MalformedError for an answer that is no 200."""
        self._held += data
        if not self._held.startswith(_OK):
            raise MalformedError("no 200")
        return is_whole(self._held)


class CountedStream:
    """A stream whose events are counted, whatever the reads that bring it; it must have `least` of them."""

    __slots__ = ("_least", "_tail", "events")

    def __init__(self, least: int) -> None:
        self._least = least
        self.events = 0
        self._tail = b""

    def feed(self, data: bytes, _now: float) -> bool:
        """Tell whether it has ended. Raises MalformedError for one that is no 200, or has too few events."""
        tail = self._tail
        if not tail and not data.startswith(_OK[: len(data)]):
            raise MalformedError("no 200")
        joined = tail + data
        self.events += joined.count(_EVENT, max(0, len(tail) - len(_EVENT) + 1))
        self._tail = joined[-len(_STREAM_END) :]
        if self._tail != _STREAM_END:
            return False
        if self.events < self._least:
            raise MalformedError(f"{self.events} events")
        return True


def cheap_answer(events: int) -> AwaitedAnswer:
    """Make an answer to wait for: a stream of at least so many events, or with 0 none."""
    return CountedStream(events) if events else PlainAnswer()


@dataclass
class LoadCount:
    """How many answers came whole, and how many didn't."""

    answers: int = 0
    lost: int = 0


class LoopingClient(ClientConnection):
    """One client: sends, reads to the end, sends again, `count` times."""

    def __init__(self, request: bytes, events: int, count: int, total: LoadCount) -> None:
        super().__init__()
        self._request = request
        self._events = events
        self._left = count
        self._total = total
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        super().connection_made(transport)
        self.ask(self._request, cheap_answer(self._events))

    def answered(self) -> None:
        """Ask again, or leave."""
        self._total.answers += 1
        self._left -= 1
        if self._left:
            self.ask(self._request, cheap_answer(self._events))
        else:
            self.transport.close()

    def connection_lost(self, _: Exception | None) -> None:
        """Count the answers that didn't come."""
        self._total.lost += self._left
        self.done.set_result(None)


async def load(port: int, body: bytes, *, clients: int, each: int, events: int = 0, api_key: str = "") -> LoadCount:
    """Have so many clients ask `each` times. An answer that hasn't come after five minutes is lost."""
    loop, total, request = asyncio.get_running_loop(), LoadCount(), chat_request(port, body, api_key)

    async def one() -> None:
        try:
            _, client = await loop.create_connection(
                lambda: LoopingClient(request, events, each, total), "127.0.0.1", port
            )
        except OSError:
            total.lost += each
            return
        await asyncio.wait([client.done], timeout=_LONGEST)
        client.transport.abort()
        await client.done

    await asyncio.gather(*(one() for _ in range(clients)))
    return total
