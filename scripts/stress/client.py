"""The client: raw asyncio, a request at a time on a kept connection, as light as the answers allow."""

import asyncio
import os
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from scripts.stress.wire import Answer, MalformedError

_IDLE = 4.0
"""Seconds after which a connection isn't used again: servers close idle ones after 5 s and more."""


@dataclass(frozen=True)
class Target:
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
        """What to speak TLS by, if it is an https one."""
        return ssl.create_default_context() if self.url.startswith("https:") else None

    def request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None, *, auth: bool = True
    ) -> bytes:
        """Write a request; the path begins with /v1, or is one of the router's own."""
        prefix = urlsplit(self.url).path.rstrip("/").removesuffix("/v1")
        fields = {"host": urlsplit(self.url).netloc.rpartition("@")[2], "user-agent": "stress", "accept": "*/*"}
        if self.api_key and auth:
            fields["authorization"] = f"Bearer {self.api_key}"
        if body or method == "POST":
            fields |= {"content-type": "application/json", "content-length": str(len(body))}
        lines = [f"{method} {prefix}{path} HTTP/1.1", *(f"{k}: {v}" for k, v in {**fields, **(headers or {})}.items())]
        return "\r\n".join([*lines, "", ""]).encode() + body


class Connection(asyncio.Protocol):
    """A connection. It gives each read, with the time, to the answer that it waits for."""

    def __init__(self) -> None:
        self.open = False
        self.idle_since = 0.0
        self._answer: Answer | None = None
        self._ended: asyncio.Future[None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]  # uvloop's are none by name
        self.open = True

    async def ask(self, request: bytes, answer: Answer) -> None:
        """Send a request, and wait for the end of its answer."""
        self._answer = answer
        self._ended = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        answer.sent = time.perf_counter()
        await self._ended

    def data_received(self, data: bytes) -> None:
        """Read on; what nobody asked for ends the connection."""
        now = time.perf_counter()
        answer = self._answer
        if answer is None:
            self.transport.abort()
            return
        try:
            whole = answer.feed(data, now)
        except MalformedError as error:
            self._end("malformed", str(error))
            return
        if whole and answer.left:
            self._end("", "")
        elif whole:
            answer.end(None)
            if not answer.keep_alive:
                self.transport.abort()
            self._free()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the answer, if one is awaited."""
        self.open = False
        if self._answer is not None:
            self._answer.end(str(exc) if exc else "")
            self._free()

    def leave(self) -> None:
        """Close, whatever is under way."""
        self._answer = None
        self.transport.abort()

    def _end(self, failure: str, detail: str) -> None:
        assert self._answer is not None  # noqa: S101  (the callers have looked)
        self._answer.failure, self._answer.detail = failure, detail
        self._free()
        self.transport.abort()

    def _free(self) -> None:
        self._answer = None
        self.idle_since = time.perf_counter()
        if not self._ended.done():
            self._ended.set_result(None)


class Pool:
    """The connections to a target. One that is free is used again; else one is made."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._tls = target.tls
        self._free: list[Connection] = []

    async def ask(self, request: bytes, answer: Answer, timeout: float) -> None:  # noqa: ASYNC109  (it tells)
        """Send a request, and wait for its end, which the answer tells. Cancelling it leaves the target, too."""
        connection, free = self._take(), False
        try:
            async with asyncio.timeout(timeout):
                if connection is None:
                    connection = await self._open()
                await connection.ask(request, answer)
            free = connection.open and answer.keep_alive and not answer.left and not connection.transport.is_closing()
        except TimeoutError:
            answer.failure, answer.detail = "timeout", f"no end after {timeout:g} s, {answer.tokens} tokens came"
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
            answer.failure, answer.detail = "no connection", reason
        finally:
            if connection is not None and free:
                self._free.append(connection)
            elif connection is not None:
                connection.leave()

    def _take(self) -> Connection | None:
        oldest = time.perf_counter() - _IDLE
        while self._free:
            connection = self._free.pop()
            if connection.open and connection.idle_since > oldest:
                return connection
            connection.leave()
        return None

    async def _open(self) -> Connection:
        loop, target = asyncio.get_running_loop(), self.target
        return (await loop.create_connection(Connection, target.host, target.port, ssl=self._tls))[1]

    def close(self) -> None:
        """Close the free connections."""
        while self._free:
            self._free.pop().leave()
