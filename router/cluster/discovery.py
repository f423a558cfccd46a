"""Finds other routers on the network by multicast DNS, and announces this one: `server.discover: mdns`.

    start ──▶ what this network is ──▶ browse, and announce where other machines reach the port ──▶ `neighbours`
                    ▲      another network, or none: begin anew                    │
                    └──────────────── each `LOOK_EVERY` ◀──────────────────────────┘

What strangers send is bounded: at most `_MOST_ASKED` announcements are looked into at a time, `neighbours` keeps few,
and where the library's own memory of names grows beyond `_MOST_NAMES`, somebody floods the network: then no more is
listened to.
"""

import asyncio
import logging
import secrets
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import structlog

from router import distribution
from router.cluster.neighbours import Neighbours, instance_of, plain, properties, read
from router.cluster.wake import networks
from router.telemetry.tasks import aside, for_ever, heard_of

if TYPE_CHECKING:
    from zeroconf import ServiceStateChange, Zeroconf
    from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

log = structlog.get_logger("router")

SERVICE: Final = "_llm-router._tcp.local."

LOOK_EVERY: Final = 30.0
"""Seconds between two looks at this machine's networks: a laptop moves, and an address may change."""

ANSWERS_WITHIN: Final = 3000
"""Milliseconds for the answer of one that was announced."""

CLOSES_WITHIN: Final = 2.0
"""Seconds for the good-bye at the end."""

_MOST_ASKED: Final = 16
_MOST_NAMES: Final = 5000
_MOST_ADDRESSES: Final = 8

_MOST_TOLD: Final = 100
"""Lines in the log: who comes and goes all the time must not fill it."""


def _here() -> list[str]:
    """Give this machine's addresses in the networks that it is in. Blocks for a moment."""
    return [each.address for each in networks()]


class Discovery:
    """Keeps `neighbours`. `port` is the router's own; `addresses` are those that it listens at.

    `look` gives the addresses of this machine that others may reach.
    """

    def __init__(
        self,
        port: int,
        addresses: Sequence[str],
        *,
        tls: bool = False,
        keyed: bool = False,
        look: Callable[[], Sequence[str]] | None = None,
    ) -> None:
        self.neighbours = Neighbours()
        self._port = port
        self._addresses = addresses
        # By which it knows its own announcement.
        self._instance = secrets.token_hex(8)
        self._name = plain(socket.gethostname().partition(".")[0]).replace(".", "-")
        self._said = properties(distribution.VERSION, self._instance, f"{self._name}.local", tls=tls, keyed=keyed)
        self._look = look or _here
        self._here: Sequence[str] = ()
        self._zeroconf: AsyncZeroconf | None = None
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._told = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look for others from now on. Raises ImportError without zeroconf."""
        import zeroconf.asyncio  # noqa: F401, PLC0415 -- an extra

        # It logs what strangers send.
        logging.getLogger("zeroconf").setLevel(logging.CRITICAL + 1)
        self._task = asyncio.create_task(for_ever("the look for other routers", self._follow), name="discover")

    async def close(self) -> None:
        """Say good-bye, and look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSES_WITHIN):
                await self._end()

    async def _follow(self) -> None:
        """Begin anew whenever this machine's networks change."""
        while True:
            here = await aside(self._look)
            if here != self._here:
                await self._end()
                self._here = here
                if here:
                    await self._begin(here)
            if self._zeroconf is not None and len(self._zeroconf.zeroconf.cache.cache) > _MOST_NAMES:
                log.warning(
                    f"server.discover: more than {_MOST_NAMES} names are announced on this network; other routers are "
                    "looked for no more until this one starts again"
                )
                await self._end()
            await asyncio.sleep(LOOK_EVERY)

    async def _begin(self, here: Sequence[str]) -> None:
        from zeroconf import IPVersion, NonUniqueNameException  # noqa: PLC0415
        from zeroconf.asyncio import AsyncServiceBrowser, AsyncZeroconf  # noqa: PLC0415

        try:
            found = self._zeroconf = AsyncZeroconf(interfaces=list(here), ip_version=IPVersion.V4Only)
            await found.zeroconf.async_wait_for_start()
        except OSError as error:
            log.warning(f"server.discover: the network can't be asked for other routers ({error}); it is tried again")
            self._here = ()
            return
        AsyncServiceBrowser(found.zeroconf, SERVICE, handlers=[self._changed])
        if (info := self._announcement(here)) is None:
            log.info("server.discover: this router isn't announced, as no other machine reaches it (server.host)")
            return
        try:
            await (await found.async_register_service(info, allow_name_change=True))
        except (OSError, NonUniqueNameException) as error:
            log.warning(f"server.discover: this router can't be announced ({error})")

    def _announcement(self, here: Sequence[str]) -> "AsyncServiceInfo | None":
        """Write the announcement of this router; None where no other machine reaches it."""
        from zeroconf.asyncio import AsyncServiceInfo  # noqa: PLC0415

        wide = any(each in {"0.0.0.0", "::"} for each in self._addresses)
        reached = [each for each in here if wide or each in self._addresses][:_MOST_ADDRESSES]
        if not reached:
            return None
        return AsyncServiceInfo(
            SERVICE,
            f"{self._name} {self._port}.{SERVICE}",
            port=self._port,
            properties=self._said,
            # Two machines may have the same name: their addresses must not be mixed.
            server=f"llm-router-{self._instance}.local.",
            parsed_addresses=reached,
        )

    def _changed(
        self,
        zeroconf: "Zeroconf",
        service_type: str,  # noqa: ARG002  (the library says all by name)
        name: str,
        state_change: "ServiceStateChange",
    ) -> None:
        """Hear that a router was announced, or has gone."""
        if state_change.name == "Removed":
            self.neighbours.gone(name)
            if (asking := self._asking.pop(name, None)) is not None:
                asking.cancel()
        elif name not in self._asking and len(self._asking) < _MOST_ASKED and self.neighbours.has_room(name):
            asking = self._asking[name] = asyncio.create_task(heard_of(self._ask, zeroconf, name), name="a neighbour")
            asking.add_done_callback(lambda _: self._asking.pop(name, None))

    async def _ask(self, zeroconf: "Zeroconf", name: str) -> None:
        """Ask one that was announced where it is."""
        from zeroconf import BadTypeInNameException  # noqa: PLC0415
        from zeroconf.asyncio import AsyncServiceInfo  # noqa: PLC0415

        with suppress(BadTypeInNameException):
            info = AsyncServiceInfo(SERVICE, name)
            if not await info.async_request(zeroconf, ANSWERS_WITHIN) or instance_of(info.properties) == self._instance:
                return
            title = name.removesuffix(f".{SERVICE}")
            addresses = [each for each in info.parsed_addresses() if self._is_there(each)]
            found = read(title, addresses, info.port, info.properties)
            if self.neighbours.heard(name, found) and found is not None and self._told < _MOST_TOLD:
                self._told += 1
                log.info(f"another router is on the network: {found.name} at {found.url}")

    def _is_there(self, address: str) -> bool:
        """Whether an address may be another machine's: this machine's own is nobody's to announce."""
        return not address.startswith("127.") or any(each.startswith("127.") for each in self._here)

    async def _end(self) -> None:
        """Forget this network."""
        found, self._zeroconf = self._zeroconf, None
        for each in list(self._asking.values()):
            each.cancel()
        self.neighbours.clear()
        if found is not None:
            await found.async_close()
