"""The addresses of host names, looked up beside the requests: a name that hangs holds up nobody but itself.

    an address, or localhost            never asked for
    a name whose addresses are known    these; asked for again beside, once `FRESH` seconds have passed
    a name that isn't known             waited for; all who want it wait for one look-up

The system's resolver blocks, some of its ways for minutes, and can't be stopped. An event loop has few threads for it
(libuv four) and waits for them at its end: five names that hang, and no other is found, nor does the program stop. So
each look-up has a thread of its own, which nobody waits for at the end; one for each name, `MOST` at a time, of which
those that hang don't count. The last good addresses stay good while a newer look-up hangs or fails. A connection to
them that failed has them asked for at once (`renewed`), as the name may have moved.
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
"""Seconds that addresses are taken for true: what most programs that don't see a record's time to live take."""

AGAIN = 1.0
"""Seconds until a name is asked for again that couldn't be found, or whose address couldn't be connected to."""

MOST = 64
"""Names that are looked up at the same time; the next waits. A thread that waits costs some tens of kilobytes."""

HANGS = 0.25
"""Seconds after which a look-up no longer holds up the next: most take a few milliseconds."""

STAGGER = 0.25
"""Seconds that a name's first address has, before the next is tried beside it (RFC 8305)."""

WAIT = 1.5
"""Seconds that a probe waits for a name that isn't known yet: less than `health.timeout`, so that it can say why."""

OWN_WITHIN = 10.0
"""Seconds that the name of `server.host` may take at the start."""

MOST_NAMES = 4096
"""Names that are remembered: those of router.yaml, and of what it was before."""

LookUp = Callable[[str], tuple[str, ...]]
P = TypeVar("P", bound=asyncio.BaseProtocol)


class UnknownNameError(OSError):
    """A name that can't be resolved, and why."""

    def __init__(self, host: str, why: object) -> None:
        why = getattr(why, "strerror", None) or why
        super().__init__(f"the name '{host}' can't be resolved ({why}): check it, and this machine's DNS")
        self.strerror = str(self)  # which aiohttp shows


def look_up(host: str) -> tuple[str, ...]:
    """Ask the system for a name's addresses, the best first. Blocks. Raises OSError, or UnicodeError."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


def fixed(host: str) -> tuple[str, ...]:
    """Give the addresses of what needn't be asked for: of an address itself, and of this machine; else none.

    All names under localhost are this machine's (RFC 6761), though few resolvers know it.
    """
    if host.lower().rstrip(".").rpartition(".")[2] == "localhost":
        return ("127.0.0.1", "::1")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return ()
    return (host,)


class _Name:
    """What is known of a name."""

    def __init__(self) -> None:
        self.addresses: tuple[str, ...] = ()
        self.error: Exception | None = None  # of the last look-up
        self.asked_at = 0.0  # when the last look-up was asked for
        self.told_at = -FRESH  # when it ended
        self.looking: asyncio.Task[None] | None = None  # one that is under way, or waits for its turn


class Names:
    """Knows names' addresses. `look_up` is called in threads, and may block for ever. Use it on one event loop."""

    def __init__(self, look_up: LookUp = look_up, most: int = MOST) -> None:
        self._look_up = look_up
        self._room = asyncio.Semaphore(most)
        self._names: dict[str, _Name] = {}

    async def addresses(self, host: str, within: float) -> tuple[str, ...]:
        """Give a host's addresses, the best first. Raises OSError.

        A name that isn't known is waited for until its look-up has taken `within` seconds: who comes to one that hangs
        is told so at once.
        """
        if known := fixed(host):
            return known
        name, age = self._name(host)
        if name.addresses and age < FRESH:
            return name.addresses
        if name.error is None or age >= AGAIN:
            looking = self._begin(host, name)
            if not name.addresses:
                await asyncio.wait([looking], timeout=max(0.0, name.asked_at + within - time.monotonic()))
        if not name.addresses:
            raise UnknownNameError(host, name.error or f"no answer in {within:g} s")
        return name.addresses

    def doubt(self, host: str) -> "asyncio.Task[None] | None":
        """Ask for a name again, as its addresses couldn't be connected to; None: that has just been done."""
        if fixed(host):
            return None
        name, age = self._name(host)
        return None if age < AGAIN else self._begin(host, name)

    async def renewed(self, host: str) -> tuple[str, ...]:
        """Give other addresses than were known, if a look-up of `AGAIN` seconds at most brings any; else none."""
        looking = self.doubt(host)
        if looking is None:
            return ()
        before = self._name(host)[0].addresses
        await asyncio.wait([looking], timeout=AGAIN)
        after = self._name(host)[0].addresses
        return after if after != before else ()

    def _name(self, host: str) -> tuple[_Name, float]:
        """Give what is known of a name, and since when, in seconds."""
        name = self._names.get(host)
        if name is None:
            if len(self._names) >= MOST_NAMES:
                self._names = {each: it for each, it in self._names.items() if it.looking is not None}
            name = self._names[host] = _Name()
        return name, time.monotonic() - name.told_at

    def _begin(self, host: str, name: _Name) -> "asyncio.Task[None]":
        """Look a name up, or join the look-up that is under way."""
        if name.looking is None:
            name.asked_at = time.monotonic()
            name.looking = asyncio.create_task(self._ask(host, name), name=f"look up {host}")
        return name.looking

    async def _ask(self, host: str, name: _Name) -> None:
        """Look up, when there is room; one that fails doesn't take away what was known."""
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
    names: Names, make: Callable[[], P], host: str, port: int, tls: ssl.SSLContext | None, within: float
) -> tuple[asyncio.BaseTransport, P]:
    """Connect to a host, at whichever of its addresses answers first. Raises OSError.

    Where none does, the name may have moved: what is new of its addresses is tried, too. `within` is how many seconds
    a name's first look-up may take.
    """
    addresses = await names.addresses(host, within)
    try:
        return await _connect(make, host, addresses, port, tls)
    except ssl.SSLError:
        raise
    except OSError:
        renewed = await names.renewed(host)
        if not renewed:
            raise
        return await _connect(make, host, renewed, port, tls)


async def _connect(
    make: Callable[[], P], host: str, addresses: tuple[str, ...], port: int, tls: ssl.SSLContext | None
) -> tuple[asyncio.BaseTransport, P]:
    loop = asyncio.get_running_loop()
    shown = None if tls is None else host
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
    """The same for aiohttp's client."""

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
        """Do nothing: the names are others', too."""
