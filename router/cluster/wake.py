"""Wakes machines that sleep: sends the magic packets that `core.waking` decides on, and remembers what each serves.

    a probe meets nobody ──▶ `unreached`: its backends are asleep ──▶ a request wants one ──▶ `want`: packets
                                                                                                 │
            the router's probes, all the time now ──▶ it answers, or `wake_timeout` is over ◀────┘

Backends whose `wake` is the same are on one machine. A packet is six bytes FF and sixteen times the hardware address,
in a UDP datagram: the network card reads it, not the system, so that port and address only have to get it there. It is
sent to every IPv4 network that this machine is in, and to the network of the backend's last known addresses.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from math import inf
from typing import Final, NamedTuple

import msgspec
import psutil
import structlog

from launchers.abilities import Abilities
from router.core.catalog import Backend
from router.core.health import Verdict, failed
from router.core.retry import Failure
from router.core.waking import Do, Machine, State
from router.proxy.plane import Plane
from router.proxy.watching.sleepers import Sleepers, Wake
from router.store.store import Store
from router.telemetry.tasks import aside, heard_of, unharmed

log = structlog.get_logger("router")

PORT: Final = 9
"""The port `discard`, which nobody listens at; some cards read packets to no other."""

ASLEEP: Final = "is asleep"

LOOK_EVERY: Final = 0.5
"""Seconds between two looks whether a machine that is being woken answers: so it is known how long it takes."""

_EVERYBODY: Final = "255.255.255.255"
_MOST_ADDRESSES: Final = 8
"""Addresses of a backend that count, of those that its name has."""


class Network(NamedTuple):
    """One of this machine's addresses, with its network's mask."""

    address: str
    mask: str


def packet(address: str) -> bytes:
    """Write the magic packet for a hardware address with colons."""
    return b"\xff" * 6 + bytes.fromhex(address.replace(":", "")) * 16


def places(networks: Iterable[Network], known: Iterable[str]) -> list[tuple[str, str]]:
    """Tell where packets go: pairs of the address that they are sent from, and the one that they are sent to.

    `known` are the addresses that a machine had when it was awake. Where these are in none of our networks, its own
    network's broadcast address may still lead there; most are networks of 256 addresses.
    """
    found: list[tuple[str, str]] = []
    ours = []
    for each in networks:
        network = ipaddress.IPv4Network((each.address, each.mask), strict=False)
        ours.append(network)
        found.append((each.address, _EVERYBODY))
        if network.prefixlen < 31:
            found.append((each.address, str(network.broadcast_address)))
    for text in known:
        with suppress(ValueError):
            address = ipaddress.IPv4Address(text)
            if not address.is_loopback and not any(address in network for network in ours):
                found.append(("", str(ipaddress.IPv4Network((text, 24), strict=False).broadcast_address)))
    return list(dict.fromkeys(found))


def networks() -> list[Network]:
    """Look which IPv4 networks this machine is in, but for its own. Blocks for a moment."""
    up = {name for name, each in psutil.net_if_stats().items() if each.isup}
    return [
        Network(each.address, each.netmask)
        for name, addresses in psutil.net_if_addrs().items()
        for each in addresses
        if name in up and each.family is socket.AF_INET and each.netmask and not each.address.startswith("127.")
    ]


def send(address: str, known: Iterable[str]) -> str:
    """Send a magic packet to all places at once; give the last fault if it could be sent to none. Blocks for a moment.

    Where a place can't be sent to (a VPN without broadcasts), others may do.
    """
    sent, fault = False, "this machine is in no IPv4 network"
    for source, target in places(networks(), known):
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
                out.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                # On Linux this also says which network a packet to everybody goes into.
                out.bind((source, 0))
                out.settimeout(0)
                out.sendto(packet(address), (target, PORT))
                sent = True
        except OSError as error:
            fault = f"{target}: {error}"
    return "" if sent else fault


class _Awaited(Machine):
    """A machine with its backends here, and the timer of what is due next."""

    def __init__(self, wake: Wake) -> None:
        super().__init__(wake.timeout)
        self.wake = wake
        self.backends: set[Backend] = set()
        self.timer: asyncio.TimerHandle | None = None

    @property
    def title(self) -> str:
        """Its name for people: its backends'."""
        return ", ".join(sorted(each.name for each in self.backends))


class Waker(Sleepers):
    """Wakes the machines of backends, by what the prober and requests tell; `store` keeps which models they have."""

    def __init__(self, plane: Plane, store: Store) -> None:
        self._plane = plane
        self._store = store
        self._machines: dict[str, _Awaited] = {}
        self._at: dict[Backend, _Awaited] = {}
        # What the store has, by URL, once it is `_read`; and what was learned since.
        self._known: dict[str, str] = {}
        self._read = False
        self._tasks: set[asyncio.Task[None]] = set()

    # What the prober tells

    def watch(self, backend: Backend, wake: Wake | None) -> None:
        """Wake a backend's machine like this from now on, if it is asleep and wanted; None: it can't be woken."""
        machine = self._at.get(backend)
        if machine is not None and machine.wake == wake:
            return
        self.forget(backend)
        if wake is None:
            if backend.health.asleep:
                # Its verdict is open again: the next probes decide.
                self._plane.succeeded(backend)
            return
        machine = self._machines.setdefault(wake.address, _Awaited(wake))
        machine.timeout = wake.timeout
        machine.backends.add(backend)
        self._at[backend] = machine
        if key := self._key(backend):
            self.recall(key, partial(self._know_again, backend))

    def forget(self, backend: Backend) -> None:
        """Forget a backend."""
        machine = self._at.pop(backend, None)
        if machine is not None:
            if backend.health.coming and backend.health.asleep:
                # Nobody wakes it any more.
                self._plane.sleeps(backend, ASLEEP)
            machine.backends.discard(backend)
            if not machine.backends:
                self._disarm(machine)
                self._machines.pop(machine.wake.address, None)

    def unreached(self, backend: Backend) -> bool:
        """Note that a probe met nobody at a backend's address; tell whether that is because its machine sleeps.

        It is believed asleep when so many probes have met nobody that another one would be out.
        """
        machine, now = self._at.get(backend), self._plane.loop.time()
        if machine is None or backend.health.asleep:
            return machine is not None
        if (
            failed(backend.health, self._plane.ledger.thresholds, ASLEEP, probe=True, now=now).verdict
            is not Verdict.DOWN
        ):
            return False
        self._see_who_answers(machine)
        if machine.unreached():
            log.info(f"{machine.title}: the machine is asleep, or away; a request for its models wakes it")
        self._plane.sleeps(backend, ASLEEP, coming=machine.state is State.WAKING, due=machine.expected_at)
        self._lose(backend)
        return True

    def _lose(self, backend: Backend) -> None:
        """End attempts there that have nothing of an answer yet: these requests go elsewhere, or wake the machine."""
        for each in self._plane.stalls.held_by(backend):
            if each.answer.first_byte_at is None:
                each.fail(Failure.CONNECT_TIMEOUT, ASLEEP)

    # Waking

    def want(self, backend: Backend) -> bool:
        """Have a backend's machine woken, as a request wants it and doesn't reach it; tell whether it is woken."""
        machine, now = self._at.get(backend), self._plane.loop.time()
        if machine is None:
            return False
        self._see_who_answers(machine)
        machine.unreached()
        before = machine.state
        if not machine.wanted(now):
            return False
        for each in machine.backends:
            if each is backend or (each.health.asleep and not each.health.coming):
                self._plane.sleeps(each, "is being woken", coming=True, due=machine.expected_at)
                self._plane.on_doubt(each)
        if before is not State.WAKING:
            log.info(f"{machine.title}: a request wakes the machine", address=machine.wake.address)
            self._step(machine)
        return True

    def _see_who_answers(self, machine: _Awaited) -> None:
        """Note that a machine is awake if none of its backends is asleep any more: its servers may start one by one."""
        now = self._plane.loop.time()
        if not any(each.health.asleep for each in machine.backends) and machine.answered(now):
            log.info(f"{machine.title}: the machine is awake after {now - machine.began:.1f} s")

    def _step(self, machine: _Awaited) -> None:
        """Do what is due, and come again when the next thing is."""
        self._disarm(machine)
        loop = self._plane.loop
        self._see_who_answers(machine)
        do = machine.due(loop.time())
        if do is Do.SEND:
            self._do_aside(self._send, machine)
        elif do is Do.GIVE_UP:
            reason = f"was woken, and did not answer within {machine.timeout:g} s"
            log.warning(f"{machine.title}: the machine {reason}", address=machine.wake.address)
            for each in machine.backends:
                if each.health.asleep:
                    self._plane.sleeps(each, reason)
        if machine.due_at < inf:
            seconds = min(LOOK_EVERY, max(0.0, machine.due_at - loop.time()))
            machine.timer = loop.call_later(seconds, unharmed, "the waking of a machine", self._step, machine)

    async def _send(self, machine: _Awaited) -> None:
        known: list[str] = []
        for backend in machine.backends:
            address = self._plane.connections.address(backend)
            if address is not None:
                known += self._plane.connections.names.known(address.host)
        if fault := await aside(send, machine.wake.address, known[:_MOST_ADDRESSES]):
            log.warning(f"{machine.title}: no packet could be sent that wakes the machine ({fault})")

    @staticmethod
    def _disarm(machine: _Awaited) -> None:
        if machine.timer is not None:
            machine.timer.cancel()
            machine.timer = None

    # What sleeping machines serve

    def _key(self, backend: Backend) -> str:
        address = self._plane.connections.address(backend)
        return "" if address is None else str(address)

    def learned(self, backend: Backend, models: Mapping[str, Abilities]) -> None:
        """Note which models a backend says that it serves, by its own names."""
        if backend in self._at and (key := self._key(backend)):
            self.remember(key, msgspec.json.encode(models).decode())

    def _know_again(self, backend: Backend, told: str) -> None:
        """Know again what a backend served, until it says so itself: its machine may be asleep."""
        if backend.models or backend not in self._at:
            return
        try:
            models = msgspec.json.decode(told, type=dict[str, Abilities])
        except (msgspec.MsgspecError, RecursionError):
            # Somebody has written there.
            return
        self._plane.learn_models(backend, {name: name for name in models})
        self._plane.directory.tell(backend, models)

    def remember(self, key: str, told: str) -> None:
        """Keep what the machine at a URL, its `key`, says of its models; as often as it is another thing."""
        if self._known.get(key) != told:
            self._known[key] = told
            self._store.remember_machine(key, told)

    def recall(self, key: str, use: Callable[[str], None]) -> None:
        """Have what was kept used soon, if anything was."""
        self._do_aside(self._recall, key, use)

    async def _recall(self, key: str, use: Callable[[str], None]) -> None:
        if not self._read:
            found, self._read = await self._store.machines(), True
            self._known = {**found, **self._known}
        if (told := self._known.get(key)) is not None:
            use(told)

    def _do_aside(self, do: Callable[..., Awaitable[None]], *arguments: object) -> None:
        task = asyncio.create_task(heard_of(do, *arguments), name="a machine that sleeps")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def stop(self) -> None:
        """Wake nobody any more."""
        for machine in self._machines.values():
            self._disarm(machine)
        for task in self._tasks:
            task.cancel()
