"""Clients of raw bytes: they send what no library would, and show what came to the byte."""

import asyncio
import json
import socket
import ssl
from contextlib import suppress
from typing import NamedTuple

from router.app import App

CHAT = b"/v1/chat/completions"
ASK: dict[str, object] = {"model": "demo", "messages": []}
LANES = ("fast", "slow")

WITHIN = 20.0
"""Seconds that a read may take: a bound of the test, as the loop that waits in C can't be interrupted from outside."""


def post(
    body: object, target: bytes = CHAT, headers: bytes = b"", *, version: bytes = b"1.1", lane: str = "fast"
) -> bytes:
    """Write a POST; for the slow lane, as a client that announces trailers."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    if lane == "slow":
        framing, data = b"transfer-encoding: chunked\r\ntrailer: x-sum", chunked(data)
    else:
        framing = b"content-length: %d" % len(data)
    return b"POST %s HTTP/%s\r\nhost: localhost\r\n%s\r\n%s\r\n%s" % (target, version, framing, headers, data)


def chunked(data: bytes) -> bytes:
    """Frame a whole body in chunks."""
    return (b"%x\r\n%s\r\n" % (len(data), data) if data else b"") + b"0\r\n\r\n"


class Answer(NamedTuple):
    """An answer, and the very bytes that it was."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes  # without its framing
    bytes: bytes


class Raw:
    """One connection to a router."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self._writer.write(data)

    async def sent(self) -> None:
        """Wait until the kernel has most of what was sent."""
        await self._writer.drain()

    def leave(self) -> None:
        """Close at once."""
        self._writer.transport.abort()

    async def rest(self) -> bytes:
        """Read to the connection's end."""
        async with asyncio.timeout(WITHIN):
            return await self.reader.read()

    async def cut(self) -> bytes:
        """Read until the router has closed the connection, however it did; give what came."""
        received = b""
        with suppress(ConnectionResetError):
            async with asyncio.timeout(WITHIN):
                while data := await self.reader.read(65536):
                    received += data
        return received

    async def answer(self) -> Answer:
        """Read one whole answer that says how long it is."""
        async with asyncio.timeout(WITHIN):
            return await self._answer()

    async def _answer(self) -> Answer:
        head = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = head[:-4].split(b"\r\n")
        fields = dict(line.split(b": ", 1) for line in lines)
        headers = {name.lower(): value for name, value in fields.items()}
        if b"chunked" in headers.get(b"transfer-encoding", b""):
            body, framed = await self._chunks()
        else:
            body = framed = await self.reader.readexactly(int(headers.get(b"content-length", b"0")))
        return Answer(int(first.split()[1]), headers, body, head + framed)

    async def _chunks(self) -> tuple[bytes, bytes]:
        body: list[bytes] = []
        framed: list[bytes] = []
        size = 1
        while size:
            line = await self.reader.readuntil(b"\r\n")
            size = int(line, 16)
            data = await self.reader.readexactly(size + 2)
            body.append(data[:-2])
            framed += (line, data)
        return b"".join(body), b"".join(framed)


async def connect(url: str, *, receive_buffer: int = 0, tls: ssl.SSLContext | None = None) -> Raw:
    """Connect to a router's URL; with a small buffer, as over a network that the kernel can't hide."""
    sock = socket.socket()
    try:
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        host, port = url.partition("://")[2].split(":")
        await asyncio.get_running_loop().sock_connect(sock, (host, int(port)))
    except BaseException:
        sock.close()
        raise
    limit = 1024 if receive_buffer else 2**20  # of the stream's own buffer
    name = None if tls is None else host
    return Raw(*await asyncio.open_connection(sock=sock, limit=limit, ssl=tls, server_hostname=name))


def small_send_buffers(router: App) -> None:
    """Let the kernel take little of what the router sends to clients that connect from now on."""
    assert router.listener._server is not None
    with socket.socket(fileno=socket.dup(router.listener._server.sockets[0].fileno())) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)


def lane_of_connections(router: App) -> tuple[int, int]:
    """Count the connections that are open in the fast lane and in the slow one."""
    assert router.listener._lane is not None
    assert router.listener._runner is not None
    assert router.listener._runner.server is not None
    return len(router.listener._lane.connections), len(router.listener._runner.server.connections)


def nothing_left(router: App) -> bool:
    """Whether no exchange is under way, and each has been counted out."""
    return not router.plane.exchanges and not any(each.in_flight for each in router.plane.backends.values())
