"""The sink of an exchange on a connection of aiohttp's, and the response that stands for what was written there."""

import asyncio
import socket
import struct

from aiohttp import web

from router.proxy.exchange import Exchange

IDLE_TIMEOUT = 75.0
"""Seconds that a connection may stay open without a request."""


class Written(web.StreamResponse):
    """A response that was sent already: aiohttp sends nothing for it."""

    def __init__(self, *, keep_alive: bool) -> None:
        super().__init__()
        self._goes_on = keep_alive

    @property
    def keep_alive(self) -> bool | None:
        """Whether the connection stays open."""
        return self._goes_on

    @property
    def prepared(self) -> bool:
        """Always True: nothing of it can be changed any more."""
        return True

    async def prepare(self, request: web.BaseRequest) -> None:
        """Do nothing."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing."""


class Wire:
    """The sink of an exchange on aiohttp's connection (sink.Sink)."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._http11 = request.version >= (1, 1)
        self._wake = asyncio.Event()
        self._exchange: Exchange | None = None
        self._paused = False
        self._done = False
        self._keep_alive = False

    def write(self, data: bytes) -> None:
        """Send bytes; stop reading from the engine if too many wait for the client."""
        transport = self._request.transport
        if transport is None or transport.is_closing():
            return
        transport.write(data)
        _, high = transport.get_write_buffer_limits()
        if transport.get_write_buffer_size() > high and self._exchange is not None and not self._paused:
            self._paused = True
            self._exchange.pause()
            self._wake.set()

    def finish(self, *, keep_alive: bool) -> None:
        """Note the end."""
        self._done, self._keep_alive = True, keep_alive
        self._wake.set()

    def hang_up(self) -> None:
        """Close once all is sent. Under HTTP/1.0 that would look like a proper end, so the connection is reset."""
        transport = self._request.transport
        if transport is not None and self._http11:
            transport.close()
        elif transport is not None:
            sock = transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        self.finish(keep_alive=False)

    def abort(self) -> None:
        """Close now."""
        if self._request.transport is not None:
            self._request.transport.abort()
        self.finish(keep_alive=False)

    def unsent(self) -> int:
        """Give the number of bytes that wait for the client."""
        return 0 if self._request.transport is None else self._request.transport.get_write_buffer_size()

    async def carry(self, exchange: Exchange) -> Written:
        """Start the exchange and wait for its end; resume it each time the client has caught up."""
        self._exchange = exchange
        exchange.start()
        try:
            while not self._done:
                await self._wake.wait()
                self._wake.clear()
                if self._paused and not self._done:
                    await self._request.writer.drain()
                    self._paused = False
                    exchange.resume()
        finally:
            # This does nothing, unless the client has left.
            exchange.cancel()
            # The exchange refers to this as its sink: break the reference cycle.
            self._exchange = None
        await self._taken()
        return Written(keep_alive=self._keep_alive)

    async def _taken(self) -> None:
        """Wait until the client has read all, and cut it if that takes too long: until then it is under way."""
        transport = self._request.transport
        if transport is None or transport.is_closing() or not transport.get_write_buffer_size():
            return
        _, high = transport.get_write_buffer_limits()
        transport.set_write_buffer_limits(0)
        try:
            async with asyncio.timeout(IDLE_TIMEOUT):
                await self._request.writer.drain()
            transport.set_write_buffer_limits(high)
        except TimeoutError:
            transport.abort()
