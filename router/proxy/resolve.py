"""The addresses of host names, looked up in the background: a name that hangs delays only requests that need it.

    an IP address, or localhost         no look-up
    a name with known addresses         these; looked up again in the background, once they are `FRESH` seconds old
    an unknown name                     waits for a look-up, which all who want the name share

The system's resolver blocks, sometimes for minutes, and can't be stopped. An event loop has few threads for it (libuv:
four) and waits for them at its end. With five names that hang, no other name would be found, and the program wouldn't
stop. So each look-up has a thread of its own, which nothing waits for at the end: one for each name, and at most `MOST`
at a time, not counting those that hang. The last good addresses stay valid while a newer look-up hangs or fails. After
a failed connection the name is looked up again at once (`renewed`), as it may have moved.
"""

import asyncio
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable
from typing import TypeVar

import aiohappyeyeballs
from aiohttp.abc import AbstractResolver, ResolveResult

from router.telemetry.tasks import aside

FRESH = 30.0
"""Seconds for which addresses are fresh: the usual choice of programs that don't see a record's time to live."""

RETRY_AFTER = 1.0
"""Least seconds until a name is looked up again that wasn't found, or whose addresses couldn't be connected to."""

MOST = 64
"""Names that are looked up at the same time; the next one waits. A waiting thread costs some tens of kilobytes."""

HANGS = 0.25
"""Seconds after which a look-up no longer counts against `MOST`: most take a few milliseconds."""

STAGGER = 0.25
"""Seconds until the next address of a name is tried in parallel (RFC 8305)."""

WAIT = 1.5
"""Seconds that a probe waits for an unknown name: less than `health.timeout`, so that its error names the cause."""

OWN_WITHIN = 10.0
"""Seconds that the look-up of `server.host` may take at the start."""

MOST_NAMES = 4096
"""Names that are remembered: those in router.yaml now, and in its earlier versions."""

LookUp = Callable[[str], tuple[str, ...]]
P = TypeVar("P", bound=asyncio.BaseProtocol)


class UnknownNameError(OSError):
    """A name that can't be resolved, and why."""

    def __init__(self, host: str, why: object) -> None:
        why = getattr(why, "strerror", None) or why
        super().__init__(f"the name '{host}' can't be resolved ({why}): check it, and this machine's DNS")
        # aiohttp's messages show this attribute.
        self.strerror = str(self)


def look_up(host: str) -> tuple[str, ...]:
    """Ask the system for a name's addresses, the best first. Blocks. Raises OSError or UnicodeError."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


def fixed(host: str) -> tuple[str, ...]:
    """Give the addresses of a host that needs no look-up: of an IP address, and of localhost; else none.

    All names under localhost mean this machine (RFC 6761), though few resolvers know that.
    """
    if host.lower().rstrip(".").rpartition(".")[2] == "localhost":
        return ("127.0.0.1", "::1")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return ()
    return (host,)


class _Name:
    """A name's addresses, the error of its last look-up, and when that was asked for and ended.

    `looking` is a look-up that is under way, or waits for its turn.
    """

    def __init__(self) -> None:
        self.addresses: tuple[str, ...] = ()
        self.error: Exception | None = None
        self.asked_at = 0.0
        self.told_at = -FRESH
        self.looking: asyncio.Task[None] | None = None


class Names:
    """The addresses of names. `look_up` is called in threads, and may block for ever. For use on one event loop."""

    def __init__(self, look_up: LookUp = look_up, most: int = MOST) -> None:
        self._look_up = look_up
        self._room = asyncio.Semaphore(most)
        self._names: dict[str, _Name] = {}

    async def addresses(self, host: str, within: float) -> tuple[str, ...]:
        """Give a host's addresses, the best first. Raises OSError.

        For an unknown name this waits until its look-up has taken `within` seconds. So while a look-up hangs, later
        calls fail at once.
        """
        if known := fixed(host):
            return known
        name, age = self._name(host)
        if name.addresses and age < FRESH:
            return name.addresses
        if name.error is None or age >= RETRY_AFTER:
            looking = self._begin(host, name)
            if not name.addresses:
                await asyncio.wait([looking], timeout=max(0.0, name.asked_at + within - time.monotonic()))
        if not name.addresses:
            raise UnknownNameError(host, name.error or f"no answer in {within:g} s")
        return name.addresses

    def known(self, host: str) -> tuple[str, ...]:
        """Give the addresses that a host had when it was looked up last."""
        name = self._names.get(host)
        return fixed(host) or (() if name is None else name.addresses)

    def doubt(self, host: str) -> "asyncio.Task[None] | None":
        """Look a name up again, as its addresses couldn't be connected to; None: that has just been done."""
        if fixed(host):
            return None
        name, age = self._name(host)
        return None if age < RETRY_AFTER else self._begin(host, name)

    async def renewed(self, host: str) -> tuple[str, ...]:
        """Give the new addresses of a name, if a look-up within `RETRY_AFTER` seconds brings any; else none."""
        looking = self.doubt(host)
        if looking is None:
            return ()
        before = self._name(host)[0].addresses
        await asyncio.wait([looking], timeout=RETRY_AFTER)
        after = self._name(host)[0].addresses
        return after if after != before else ()

    def _name(self, host: str) -> tuple[_Name, float]:
        """Give a name's entry, and its age in seconds."""
        name = self._names.get(host)
        if name is None:
            if len(self._names) >= MOST_NAMES:
                self._names = {each: it for each, it in self._names.items() if it.looking is not None}
            name = self._names[host] = _Name()
        return name, time.monotonic() - name.told_at

    def _begin(self, host: str, name: _Name) -> "asyncio.Task[None]":
        """Start a look-up, or join the one that is under way."""
        if name.looking is None:
            name.asked_at = time.monotonic()
            name.looking = asyncio.create_task(self._ask(host, name), name=f"look up {host}")
        return name.looking

    async def _ask(self, host: str, name: _Name) -> None:
        """Look a name up when there is room. A failure keeps the addresses that were known."""
        async with self._room:
            asking = asyncio.ensure_future(aside(self._look_up, host))
            await asyncio.wait([asking], timeout=HANGS)
        try:
            name.addresses = await asking or name.addresses
            name.error = None if name.addresses else OSError("it has no address")
        except Exception as error:  # noqa: BLE001  (whatever it is, a name that can't be encoded too: somebody waits)
            name.error = error
        name.told_at, name.looking = time.monotonic(), None


async def connect(
    names: Names,
    make: Callable[[], P],
    host: str,
    port: int,
    tls: ssl.SSLContext | None,
    within: float,
    name: str = "",
) -> tuple[asyncio.BaseTransport, P]:
    """Connect to a host, at whichever of its addresses answers first. Raises OSError.

    If none does, the name may have moved, so new addresses are tried, too. `within` is how many seconds the first
    look-up of a name may take. With `tls`, the certificate must have this `name`, or else the host's.
    """
    addresses = await names.addresses(host, within)
    try:
        return await _connect(make, addresses, port, tls, name or host)
    except ssl.SSLError:
        raise
    except OSError:
        renewed = await names.renewed(host)
        if not renewed:
            raise
        return await _connect(make, renewed, port, tls, name or host)


async def _connect(
    make: Callable[[], P], addresses: tuple[str, ...], port: int, tls: ssl.SSLContext | None, name: str
) -> tuple[asyncio.BaseTransport, P]:
    loop = asyncio.get_running_loop()
    shown = None if tls is None else name
    if len(addresses) == 1:
        return await loop.create_connection(make, addresses[0], port, ssl=tls, server_hostname=shown)
    infos = [_info(address, port) for address in addresses]
    sock = await aiohappyeyeballs.start_connection(infos, happy_eyeballs_delay=STAGGER, interleave=1)
    return await loop.create_connection(make, sock=sock, ssl=tls, server_hostname=shown)


def _info(address: str, port: int) -> aiohappyeyeballs.AddrInfoType:
    if ":" in address:
        return socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port, 0, 0)
    return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port)


class Resolver(AbstractResolver):
    """Resolves names for aiohttp's client by the same `Names`."""

    def __init__(self, names: Names) -> None:
        self._names = names

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Give a host's addresses in aiohttp's form."""
        return [
            ResolveResult(
                hostname=host, host=address, port=port, proto=socket.IPPROTO_TCP, flags=socket.AI_NUMERICHOST,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
            )
            for address in await self._names.addresses(host, WAIT)
            if family in {socket.AF_UNSPEC, socket.AF_INET6 if ":" in address else socket.AF_INET}
        ]  # fmt: skip

    async def close(self) -> None:
        """Do nothing: others use the names, too."""
