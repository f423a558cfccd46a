"""The router's port, and that for Ollama's clients: both lanes behind each.

bind ──▶ serves ──▶ narrow (nobody new but this machine's programs) ──▶ close (everybody out)
"""

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Protocol, cast

from aiohttp import web

from router import distribution
from router.cluster.discovery import Discovery
from router.cluster.neighbours import Neighbour
from router.config import AuthConfig, LimitsConfig, ServerConfig
from router.core.access import is_wide
from router.core.apis import BESIDE, OLLAMA
from router.fleet.launches import StartError
from router.proxy.downstream import Client
from router.proxy.lane import Lane
from router.proxy.plane import Plane
from router.proxy.requests import Rules, stopping
from router.proxy.resolve import OWN_WITHIN, Names, fixed
from router.proxy.secured import Secured
from router.proxy.slow import SlowLane
from router.proxy.slow_connection import SlowConnection
from router.proxy.unusual import expect

OTHER_FILES = 128
"""File descriptors that are no client's: of logs, of the keeper's socket, of probes, and of those who find no room."""

MANY = 1000
"""Connections for which there should be room, though nobody asked for so many: one client may keep dozens."""

MOST_ADMIN_BODY = 1024 * 1024
"""Bytes of the body of a request that is for the router itself."""

BACKLOG = 4096
"""Connections that the system holds until the router accepts them: clients that all come at once."""

AIOHTTP_WITHIN = 1.0
"""Seconds that aiohttp's handlers get at the end; requests in flight have had `drain_timeout` before."""


_LOOPBACK = {"0.0.0.0": ("127.0.0.1",), "::": ("127.0.0.1", "::1")}
"""Where this machine's programs reach a port that is open at every address."""


def room_for_clients(files: int) -> int:
    """Tell how many clients' connections this many file descriptors allow, each with one to a backend."""
    return max(1, (files - OTHER_FILES) // 2)


def is_scarce(room: int, limits: LimitsConfig) -> bool:
    """Whether it is worth a word that there is room for so few connections: fewer than router.yaml says, or than many.

    The default of `max_connections` is more than most systems allow, and than most routers ever have.
    """
    return room < (limits.max_connections if "max_connections" in limits.model_fields_set else MANY)


class Shown(Protocol):
    """The certificate that clients are shown (certificates.Certificates)."""

    @property
    def context(self) -> ssl.SSLContext:
        """The context of a connection that begins now."""

    def host(self, host: str) -> str:
        """Give a name for this host that is the certificate's, if there is one."""


class Listener:
    """Listens as `where` says, for at most `room` clients at a time.

    `shown` is the certificate, if `where` says that there is one.
    """

    def __init__(self, where: ServerConfig, plane: Plane, rules: Rules, *, room: int, shown: Shown) -> None:
        self.slow = SlowLane(plane, rules)
        self._where = where
        self._shown = shown
        # It makes its thread with the first handshake.
        self._beside = ThreadPoolExecutor(max_workers=1, thread_name_prefix="handshakes")
        self._plane = plane
        self._rules = rules
        self.room = room
        self._runner: web.AppRunner | None = None
        self._lane: Lane | None = None
        self._server: asyncio.Server | None = None
        # Of server.ollama_port; None also where it is the same port.
        self._ollama: asyncio.Server | None = None
        # In the place of one that other machines reach, while the router ends its requests.
        self._at_the_end: list[asyncio.Server] = []
        # Of server.discover; None without it.
        self._discovery: Discovery | None = None
        # When what is in flight then is cut, by the loop's clock.
        self._until: float | None = None

    @property
    def url(self) -> str:
        """Where the router can be reached from this machine, once it listens."""
        return self._url(_port_of(self._server) or self._where.port)

    @property
    def ollama_url(self) -> str:
        """Where Ollama's clients find it; empty if there is no port of their own."""
        return "" if self._ollama is None else self._url(_port_of(self._ollama))

    def _url(self, port: int) -> str:
        host = self._where.host
        if host in {"0.0.0.0", "::"}:
            # Every address: name one that works here.
            host = "127.0.0.1"
        scheme, host = "http" if self._where.tls is None else "https", self._shown.host(host)
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    @property
    def busy(self) -> bool:
        """Whether a request is under way in one of the lanes."""
        return bool(self.slow.under_way) or (self._lane is not None and bool(self._lane.busy))

    def refuse_unread(self) -> None:
        """Refuse every request that isn't whole: the router stops."""
        self._rules.uploads.refuse_all(stopping())
        if self._lane is not None:
            self._lane.refuse_unread(stopping())

    async def bind(self, routes: Iterable[web.RouteDef], auth: AuthConfig) -> None:
        """Serve from now on; `routes` are what the router answers itself. Raises StartError."""
        app = web.Application(middlewares=[self.slow.guard], client_max_size=MOST_ADMIN_BODY)
        app.on_response_prepare.append(self.slow.sign)
        app.add_routes(routes)
        for path in ("/v1/{rest:.*}", "/openai/{rest:.*}", "/api/v1/{rest:.*}", *sorted(OLLAMA | BESIDE)):
            app.router.add_post(path, self.slow.proxy, expect_handler=expect)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=AIOHTTP_WITHIN)
        await self._runner.setup()
        server, rules = cast("web.Server", self._runner.server), self._rules
        lane = self._lane = Lane(self._plane, rules, lambda left: SlowConnection(server, rules, left), room=self.room)
        where = self._where
        try:
            with _reasons(where.host, where.port, _why_not_bound):
                self._server = await self._listen(lane, where.port)
            with _reasons(where.host, where.ollama_port, _why_not_ollamas):
                if where.ollama_port is not None and (where.ollama_port != where.port or not where.port):
                    self._ollama = await self._listen(lane, where.ollama_port)
            self.check(auth)
            self._discover(auth)
            with _reasons(where.host, where.port, _why_not_bound):
                await self._server.start_serving()
            with _reasons(where.host, where.ollama_port, _why_not_ollamas):
                if self._ollama is not None:
                    await self._ollama.start_serving()
        except StartError:
            self.close_port()
            await self.close()
            raise

    def _discover(self, auth: AuthConfig) -> None:
        """Look for other routers, if that is wanted. Raises StartError."""
        if self._where.discover is None or self._server is None:
            return
        hosts = [str(each.getsockname()[0]) for each in self._server.sockets]
        tls, keyed = self._where.tls is not None, bool(auth.keys)
        self._discovery = Discovery(_port_of(self._server), hosts, tls=tls, keyed=keyed)
        try:
            self._discovery.start()
        except ImportError as error:
            needed = distribution.install_command(f"pip install '{distribution.NAME}[mdns]'")
            raise StartError(f"server.discover: mdns needs a package that isn't there ({error}): {needed}") from error

    @property
    def neighbours(self) -> list[Neighbour]:
        """Other routers on the network, as far as they are looked for."""
        return [] if self._discovery is None else self._discovery.neighbours.told()

    async def _listen(self, lane: Lane, port: int) -> asyncio.Server:
        return await _listening(self._clients(lane), self._where.host, port, self._plane.connections.names)

    def _clients(self, lane: Lane) -> Callable[[], asyncio.Protocol]:
        """Give what makes the protocol of a new connection."""
        if self._where.tls is None:
            return lambda: Client(lane)
        beside, shown = self._beside, self._shown
        return lambda: Secured(lane, beside, lambda: shown.context, lambda: Client(lane))

    @property
    def _servers(self) -> list[asyncio.Server]:
        return [server for server in (self._server, self._ollama, *self._at_the_end) if server is not None]

    def check(self, auth: AuthConfig) -> None:
        """Raise StartError where other machines reach the port, and nothing says who of them may ask.

        What router.yaml says of an address is checked with it; but a name may stand for any, and the port of the start
        stays open whatever a reload says.
        """
        sockets = [each for server in self._servers for each in server.sockets]
        wide = [address for each in sockets if is_wide(address := each.getsockname()[0])]
        if wide and not auth.keys and not auth.open:
            raise StartError(
                f"server.host: {self._where.host} lets other machines in, at {', '.join(wide)}, and nothing "
                "says who of them may ask. Set auth.keys, or auth.open: true if all of them may; or start the router "
                "with server.host: 127.0.0.1"
            )

    @property
    def stops_in(self) -> float | None:
        """Seconds until what is still in flight is cut; None: the router doesn't stop."""
        return None if self._until is None else max(0.0, self._until - asyncio.get_running_loop().time())

    async def narrow(self, seconds: float) -> None:
        """Accept nobody any more but this machine's programs, who may see what is ended within so many seconds.

        Where the port is one address of a network, they don't reach it any more, either.
        """
        loop, lane, port = asyncio.get_running_loop(), self._lane, _port_of(self._server)
        self._until = loop.time() + seconds
        wide = [each for each in self._servers if any(is_wide(one.getsockname()[0]) for one in each.sockets)]
        for each in wide:
            each.close()
        if lane is None or self._server not in wide:
            return
        clients = self._clients(lane)
        for host in _LOOPBACK.get(self._where.host, ()):
            with suppress(OSError):
                self._at_the_end.append(await loop.create_server(clients, host, port, reuse_address=True))

    def close_port(self) -> None:
        """Accept nobody any more; who is connected stays."""
        for server in self._servers:
            server.close()

    async def close(self) -> None:
        """Close the port, and every connection."""
        self.close_port()
        if self._lane is not None:
            self._lane.close()
        if self._discovery is not None:
            await self._discovery.close()
        if self._runner is not None:
            await self._runner.cleanup()
        self._beside.shutdown(wait=False, cancel_futures=True)


async def _listening(client: Callable[[], asyncio.Protocol], host: str, port: int, names: Names) -> asyncio.Server:
    """Bind the port, and serve nobody yet. `::` is every address, also of IPv4; where there is no IPv6, these alone."""
    loop, listening = asyncio.get_running_loop(), None
    if host == "::":
        try:
            listening = socket.create_server((host, port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG)
        except OSError as error:
            if error.errno not in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}:
                raise
            host = "0.0.0.0"
    if listening is not None:
        return await loop.create_server(client, sock=listening, backlog=BACKLOG, start_serving=False)
    hosts = host if not host or fixed(host) else await names.addresses(host, OWN_WITHIN)
    return await loop.create_server(
        client, hosts, port, backlog=BACKLOG, reuse_address=os.name == "posix", start_serving=False
    )


def _port_of(server: asyncio.Server | None) -> int:
    """Give the port that a server listens at; 0 if it doesn't."""
    return 0 if server is None or not server.sockets else int(server.sockets[0].getsockname()[1])


@contextmanager
def _reasons(host: str, port: int | None, why_not: Callable[[OSError, str, int], str]) -> Iterator[None]:
    """Give the reason, and what to do, where a port can't be bound. Raises StartError."""
    try:
        yield
    except OSError as error:
        raise StartError(why_not(error, host, port or 0)) from error


def _why_not_ollamas(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"server.ollama_port: {port} is in use by another program, perhaps by Ollama itself. Stop it (on Linux: "
            "sudo systemctl stop ollama; on a Mac: quit Ollama in the menu bar), or leave server.ollama_port out: "
            "server.port answers Ollama's clients, too"
        )
    return f"server: can't listen at {host}:{port}: {error.strerror or error}. Set server.host and server.ollama_port"


def _why_not_bound(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"server.port: {port} is in use by another program. Stop that one, or take another port: "
            f"set server.port in router.yaml, or start with ROUTER_SERVER__PORT={port + 1}"
        )
    return f"server: can't listen at {host}:{port}: {error.strerror or error}. Set server.host and server.port"
