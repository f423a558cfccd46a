"""The HTTP side of the engines that loads are measured against: it finds where a request ends, and nothing else.

An engine is a subclass of `EngineConnection` whose `asked` says what is answered, and when. There are four, since what
is measured against them differs: `scripts.bench.engine` answers as cheaply as can be, `scripts.stress.engine` at known
times, `scripts.balance.engine` as the simulator's model does, and `scripts.balance.failing_engine` can be killed.
The pieces of their answers are built here.
"""

import asyncio
import json
from collections.abc import Callable, Mapping


def as_json(fields: Mapping[str, object]) -> bytes:
    """Write JSON without spaces."""
    return json.dumps(fields, separators=(",", ":")).encode()


def chunk(data: bytes) -> bytes:
    """Write a chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(fields: Mapping[str, object]) -> bytes:
    """Write a chunk that is one event of a stream."""
    return chunk(b"data: " + as_json(fields) + b"\n\n")


def reply(body: bytes, status: bytes = b"200 OK") -> bytes:
    """Write a whole answer, whose body is JSON."""
    return b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body)


def stream_head(more: bytes = b"") -> bytes:
    """Write the head of a stream of events; `more` are further header lines, each with its line end."""
    return b"HTTP/1.1 200 OK\r\n" + more + b"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


STREAM_END = chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


def header(head: bytes, name: bytes) -> bytes:
    """Give the value of a header in a lower-case head, without spaces around it; empty, if it isn't there."""
    return head.partition(b"\r\n" + name + b":")[2].partition(b"\r\n")[0].strip()


class EngineConnection(asyncio.Protocol):
    """A connection to an engine, kept alive; one request at a time. A subclass defines `asked`.

    `gone`: whether the client has left.
    """

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.gone = False
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = transport  # type: ignore[assignment]  # uvloop's transports are no asyncio.Transport by name

    def connection_lost(self, _: Exception | None) -> None:
        """Note that the client has left."""
        self.gone = True

    def data_received(self, data: bytes) -> None:
        """Hand a request over once it is whole."""
        self._held += data
        end = self._held.find(b"\r\n\r\n")
        if end < 0:
            return
        head, body = self._held[:end].lower(), self._held[end + 4 :]
        if b"100-continue" in head and not body:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        at = head.find(b"\r\ncontent-length:")
        if at >= 0:
            whole = len(body) >= int(head[at + 17 :].split(b"\r\n", 1)[0])
        else:
            whole = b"\r\ntransfer-encoding:" not in head or body.endswith(b"0\r\n\r\n")
        if whole:
            self._held = b""
            self.asked(head, body)

    def asked(self, head: bytes, body: bytes) -> None:
        """Answer a request; its head is in lower case, without the empty line."""
        raise NotImplementedError


async def listen(make: Callable[[], EngineConnection], port: int = 0) -> tuple[asyncio.Server, int]:
    """Listen at a port of this machine, by default a free one; gives the port, too."""
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", port, backlog=4096)
    return server, int(server.sockets[0].getsockname()[1])


async def serve(make: Callable[[], EngineConnection], port: int) -> None:
    """Serve at a port until cancelled."""
    server, _ = await listen(make, port)
    async with server:
        await server.serve_forever()
