"""The load client: raw asyncio, one request at a time on a kept connection.

    LoadTarget         who is asked: an address, and how a request to it is written
    ClientConnection   the connection: hands each read, with its time, to the answer that it waits for
    ClientPool         kept connections, for loads of any number of requests at a time

How much an answer costs is the answer's choice: the benchmark of proxies looks for nothing but its end
(`scripts.bench.load`), stress tests look at each event (`scripts.instruments.answers`).
"""

import asyncio
import os
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from scripts.instruments.answers import HttpAnswer, MalformedError

_IDLE = 4.0
"""Seconds after which a connection isn't used again: servers close idle ones after 5 s and more."""


@dataclass(frozen=True)
class LoadTarget:
    """A server that speaks OpenAI's API, by its base URL, with or without /v1. Raises ValueError."""

    name: str
    url: str
    api_key: str = ""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"expected a URL such as http://127.0.0.1:8001, got {self.url!r}")
        _ = parts.port  # raises, where it is no port

    @property
    def host(self) -> str:
        """Its host."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """Its port."""
        parts = urlsplit(self.url)
        return parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def tls(self) -> ssl.SSLContext | None:
        """What TLS is spoken with, if the URL begins with https."""
        return ssl.create_default_context() if self.url.startswith("https:") else None

    def request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None, *, auth: bool = True
    ) -> bytes:
        """Write a request; the path begins with /v1, or is one of the router's own."""
        prefix = urlsplit(self.url).path.rstrip("/").removesuffix("/v1")
        fields = {"host": urlsplit(self.url).netloc.rpartition("@")[2], "user-agent": "load", "accept": "*/*"}
        if self.api_key and auth:
            fields["authorization"] = f"Bearer {self.api_key}"
        if body or method == "POST":
            fields |= {"content-type": "application/json", "content-length": str(len(body))}
        lines = [f"{method} {prefix}{path} HTTP/1.1", *(f"{k}: {v}" for k, v in {**fields, **(headers or {})}.items())]
        return "\r\n".join([*lines, "", ""]).encode() + body


class AwaitedAnswer(Protocol):
    """An answer that a connection waits for."""

    def feed(self, data: bytes, now: float) -> bool:
        """Take a read. True: nothing more is wanted. Raises MalformedError."""


class ClientConnection(asyncio.Protocol):
    """A connection that carries one request at a time. A subclass defines `answered`, and what follows a loss."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._awaited: AwaitedAnswer | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = transport  # type: ignore[assignment]  # uvloop's transports are no asyncio.Transport by name

    def ask(self, request: bytes, answer: AwaitedAnswer) -> None:
        """Send a request, and wait for this answer."""
        self._awaited = answer
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Hand a read to the answer; bytes that nobody asked for end the connection."""
        answer = self._awaited
        if answer is None:
            self.transport.abort()
            return
        try:
            over = answer.feed(data, time.perf_counter())
        except MalformedError as error:
            self._awaited = None
            self.malformed(error)
            return
        if over:
            self._awaited = None
            self.answered()

    def answered(self) -> None:
        """Go on after the end of an answer."""
        raise NotImplementedError

    def malformed(self, _: MalformedError) -> None:
        """Close the connection, since what came is no answer."""
        self.transport.abort()


class PooledConnection(ClientConnection):
    """A connection of a pool, which waits for each answer. `idle_since` is when the last one ended."""

    def __init__(self) -> None:
        super().__init__()
        self.open = False
        self.idle_since = 0.0
        self._answer: HttpAnswer | None = None
        self._ended: asyncio.Future[None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be open."""
        super().connection_made(transport)
        self.open = True

    async def wait_for(self, request: bytes, answer: HttpAnswer) -> None:
        """Send a request, and wait for the end of its answer."""
        self._answer = answer
        self._ended = asyncio.get_running_loop().create_future()
        self.ask(request, answer)
        answer.sent = time.perf_counter()
        await self._ended

    def answered(self) -> None:
        """End the answer; close the connection if the answer was left, or its server closes it."""
        answer = self._answer
        assert answer is not None  # noqa: S101  (it was awaited)
        if answer.left:
            answer.failure = answer.detail = ""
        else:
            answer.end(None)
        if answer.left or not answer.keep_alive:
            self.transport.abort()
        self._free()

    def malformed(self, error: MalformedError) -> None:
        """End the answer as a failure."""
        assert self._answer is not None  # noqa: S101  (it was awaited)
        self._answer.failure, self._answer.detail = "malformed", str(error)
        self._free()
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the answer, if one is awaited."""
        self.open = False
        if self._answer is not None:
            self._answer.end(str(exc) if exc else "")
            self._free()

    def leave(self) -> None:
        """Close, whatever is under way."""
        self._answer = self._awaited = None
        self.transport.abort()

    def _free(self) -> None:
        self._answer = self._awaited = None
        self.idle_since = time.perf_counter()
        if not self._ended.done():
            self._ended.set_result(None)


class ClientPool:
    """The connections to a target. A free one is used again; where there is none, one is made."""

    def __init__(self, target: LoadTarget) -> None:
        self.target = target
        self._tls = target.tls
        self._free: list[PooledConnection] = []

    async def ask(self, request: bytes, answer: HttpAnswer, timeout: float) -> None:  # noqa: ASYNC109  (the answer says)
        """Send a request, and wait for the end, of which the answer tells. To cancel it is to leave the target, too."""
        connection, free = self._take(), False
        try:
            async with asyncio.timeout(timeout):
                if connection is None:
                    connection = await self._open()
                await connection.wait_for(request, answer)
            free = connection.open and answer.keep_alive and not answer.left and not connection.transport.is_closing()
        except TimeoutError:
            answer.late(timeout)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
            answer.failure, answer.detail = "no connection", reason
        finally:
            if connection is not None and free:
                self._free.append(connection)
            elif connection is not None:
                connection.leave()

    def _take(self) -> PooledConnection | None:
        oldest = time.perf_counter() - _IDLE
        while self._free:
            connection = self._free.pop()
            if connection.open and connection.idle_since > oldest:
                return connection
            connection.leave()
        return None

    async def _open(self) -> PooledConnection:
        loop, target = asyncio.get_running_loop(), self.target
        return (await loop.create_connection(PooledConnection, target.host, target.port, ssl=self._tls))[1]

    def close(self) -> None:
        """Close the free connections."""
        while self._free:
            self._free.pop().leave()
