"""An engine that accepts one connection a turn of its loop, whose turns are slow while it works, as vllm's are.

GET /accepted tells how many connections it has accepted up to now, beside those of probes. Every POST is answered with
a stream of two events.
"""

import asyncio
import socket
import sys
import time

TURN = 0.02  # seconds that a turn takes while any answer is under way
EVENT = b'data: {"choices": [{"delta": {"content": "x"}}]}\n\n'
END = b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"

accepted = 0
under_way = 0


def chunk(data: bytes) -> bytes:
    """Write a chunk."""
    return b"%x\r\n%s\r\n" % (len(data), data)


class Client(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it."""
        global accepted  # noqa: PLW0603
        accepted += 1
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.held = b""
        self.counted = True

    def data_received(self, data: bytes) -> None:
        """Answer requests that are whole."""
        global accepted  # noqa: PLW0603
        self.held += data
        head, end, rest = self.held.partition(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        if end and len(rest) >= length:
            self.held = rest[length:]
            if head.startswith(b"POST"):
                self.task = asyncio.get_running_loop().create_task(self.stream())
            else:
                if head.startswith(b"GET /health") and self.counted:
                    self.counted = False
                    accepted -= 1
                said = str(accepted).encode()
                self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(said), said))

    async def stream(self) -> None:
        """Give an event, and some turns later the end."""
        global under_way  # noqa: PLW0603
        under_way += 1
        self.transport.write(HEAD + chunk(EVENT))
        for _ in range(5):
            await asyncio.sleep(0)
        self.transport.write(chunk(END) + b"0\r\n\r\n")
        await asyncio.sleep(2 * TURN)
        under_way -= 1


async def work() -> None:
    """Make a turn slow."""
    while True:
        if under_way:
            time.sleep(TURN)  # noqa: ASYNC251 -- that is what it is for
        await asyncio.sleep(0 if under_way else 0.001)


async def main(port: int) -> None:
    """Serve for ever."""
    server = await asyncio.get_running_loop().create_server(Client, "127.0.0.1", port, backlog=1)  # a turn
    for each in server.sockets:
        socket.socket.listen(each._sock, 2048)  # type: ignore[attr-defined]  # waiting to be accepted
    await work()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[sys.argv.index("--port") + 1])))
