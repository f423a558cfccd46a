"""Engines on the nodes of a Ray cluster: which replicas there should be → node routers there, which are peers here.

    router.yaml → add, remove ─▶ Replica (`ray_placing`) ─▶ the helper (`ray_link`) ─▶ an actor, a router on a node
    what the helper tells ─────▶ Replica ─▶ `Home`: a backend that only says why it isn't there yet, then a peer

Each replica has two keys of its own, made here for each time that it is placed. The node is told their hashes alone.
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import structlog

from router.cluster.ray_link import Link, Message
from router.cluster.ray_placing import Node, Replica, State, asks_of, node_config
from router.config import BackendConfig, Config
from router.core.keys import digest
from router.telemetry.tasks import for_ever

LOOK_EVERY: Final = 0.1
"""Seconds between two looks at what is due, and whether a node router's models have joined."""

LISTENS_WITHIN: Final = 60.0
"""Seconds in which a node router must listen: it loads its engine afterwards, and tells how far that is."""

SOON: Final = 0.0
"""Seconds until a replica is there: nobody knows them, so requests wait for as long as they may."""

log = structlog.get_logger("router")


class Home(Protocol):
    """What the fleet does for a replica, by its name."""

    def wait_for(self, name: str, entry: BackendConfig, reason: str, due: float | None) -> None:
        """Have requests for its models wait: it is there in `due` seconds. None: they are told the reason at once."""

    def joins(self, peer: BackendConfig) -> None:
        """Take in its router as a peer; it is waited for until that serves."""

    def has_joined(self, name: str) -> bool:
        """Whether its router has told what it serves."""

    def stop_waiting(self, name: str) -> None:
        """Forget what was to be waited for."""

    def leaves(self, name: str) -> Callable[[], int]:
        """Send its router nothing more; give what counts the requests that it still has."""


@dataclass(slots=True, eq=False)
class Placed:
    """A replica that should be there. `turn` counts how often it was asked for: the helper knows each by a name."""

    entry: BackendConfig
    config: Config
    replica: Replica
    turn: int = 0
    keys: tuple[str, str] = ("", "")
    waits: bool = False
    waits_since: float = 0.0
    is_peer: bool = False
    reason: str = ""

    @property
    def id(self) -> str:
        """Its name between router and helper."""
        return f"{self.replica.name}#{self.turn}"


class RayCluster:
    """The replicas of one router on one Ray cluster. `folder` is that of router.yaml."""

    def __init__(self, home: Home, folder: Path) -> None:
        self._home = home
        self._folder = folder
        self._link = Link(self._hear, self._lost)
        self._placed: dict[str, Placed] = {}
        self._nodes: Sequence[Node] = ()
        self._version = ""
        self._why_not = ""
        self._tasks: set[asyncio.Task[None]] = set()
        self._looking: asyncio.Task[None] | None = None
        self._started = False

    # What should be there

    def start(self) -> None:
        """Begin to place what was added; what is added later is placed at once."""
        self._started = True
        for placed in self._placed.values():
            self._connect(placed.config)

    def _connect(self, config: Config) -> None:
        """Have a helper from now on, as there is something to place."""
        if self._started and self._looking is None:
            self._link.start(config.ray.python, config.ray.address)
            self._looking = asyncio.create_task(for_ever("what looks after replicas on Ray", self._look))

    def add(self, name: str, entry: BackendConfig, config: Config) -> None:
        """Have one more replica of an entry."""
        now = self._now()
        launch = entry.launch
        assert launch is not None  # noqa: S101  (it is one)
        placed = self._placed[name] = Placed(entry, config, Replica(name, asks_of(launch, self._nodes), since=now))
        self._wait_for(placed)
        self._connect(config)

    def has(self, name: str) -> bool:
        """Whether a replica of this name should be there."""
        return name in self._placed

    def entry_of(self, name: str) -> str | None:
        """Name the entry of router.yaml of a replica; None: there is none of this name."""
        placed = self._placed.get(name)
        return None if placed is None else placed.entry.name

    def tune(self, name: str, entry: BackendConfig, config: Config) -> None:
        """Take over an entry of which nothing has changed that its process was started with."""
        self._placed[name].entry, self._placed[name].config = entry, config

    def remove(self, name: str) -> None:
        """Have it no more: what it has in flight may end."""
        placed = self._placed.pop(name)
        if placed.waits:
            self._home.stop_waiting(name)
        in_flight = self._home.leaves(name) if placed.is_peer else lambda: 0
        if placed.turn:
            task = asyncio.create_task(self._end(placed, in_flight), name=f"end {name}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _end(self, placed: Placed, in_flight: Callable[[], int]) -> None:
        until = self._now() + placed.config.limits.drain_timeout
        while in_flight() and self._now() < until:  # noqa: ASYNC110 -- an event would cost each request
            await asyncio.sleep(LOOK_EVERY)
        seconds = 5.0 if placed.replica.state is State.UP else 0.0
        self._link.send({"do": "remove", "name": placed.id, "seconds": seconds})
        log.info(f"{placed.replica.name}: its place on Ray is given back")

    async def stop(self) -> None:
        """End all of them, now."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        for task in tuple(self._tasks):
            task.cancel()
        await self._link.stop()

    # What the helper says

    def _hear(self, said: Message) -> None:
        match said["is"]:
            case "connected":
                self._version, self._why_not = said["ray"], ""
                self._nodes = [Node.of(each) for each in said["nodes"]]
                log.info(f"Ray {self._version}: a cluster of {len(self._nodes)} nodes")
            case "nodes":
                self._nodes = [Node.of(each) for each in said["nodes"]]
            case _:
                name, _, turn = said["name"].rpartition("#")
                placed = self._placed.get(name)
                if placed is not None and str(placed.turn) == turn:
                    self._follow(placed, said)

    def _follow(self, placed: Placed, said: Message) -> None:
        replica = placed.replica
        before = replica.state
        replica.hear(said, self._now())
        if replica.state is before:
            return
        told = replica.told(self._nodes, self._now())
        (log.warning if replica.state in {State.GONE, State.AWAY} else log.info)(f"{replica.name}: {told}")
        if before is State.PLACED and replica.state is State.UP:
            placed.is_peer = True
            self._home.joins(self._peer_of(placed))
        elif replica.state is State.GONE:
            self._gone(placed)

    def _gone(self, placed: Placed) -> None:
        """Have requests wait for the next one, and forget this one's router."""
        was_peer, placed.is_peer = placed.is_peer, False
        self._wait_for(placed)
        if was_peer:
            self._home.leaves(placed.replica.name)

    def _lost(self, why: str) -> None:
        """Without a helper, all that it had placed is gone: Ray ends what belongs to it."""
        self._why_not, self._version, self._nodes = why, "", ()
        for placed in self._placed.values():
            if placed.replica.state is not State.GONE:
                placed.replica.gone(f"Ray is out of reach: {why}", self._now())
                self._gone(placed)

    # What is due

    async def _look(self) -> None:
        while True:
            now = self._now()
            for placed in self._placed.values():
                if self._version and placed.replica.state is State.GONE and placed.replica.due <= now:
                    self._ask(placed, now)
                if placed.waits:
                    self._wait_for(placed)
            await asyncio.sleep(LOOK_EVERY)

    def _ask(self, placed: Placed, now: float) -> None:
        launch = placed.entry.launch
        assert launch is not None  # noqa: S101  (it is one)
        asks = asks_of(launch, self._nodes)
        placed.turn += 1
        placed.keys = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        client, admin = (f"sha256:{digest(key.encode()).hex()}" for key in placed.keys)
        placed.replica.asked(asks, now)
        self._link.send({
            "do": "place",
            "name": placed.id,
            "asks": asks.told(),
            "python": placed.config.ray.node_python,
            "config": node_config(placed.config, placed.entry, self._locate, asks, (client, admin)),
            "start_within": LISTENS_WITHIN,
        })  # fmt: skip
        log.info(f"{placed.replica.name}: {placed.replica.told(self._nodes, now)}")

    def _locate(self, model: str) -> str:
        """Give the whole path of what lies beside router.yaml; a hub id as it is."""
        path = self._folder / model
        return str(path) if path.exists() else model

    def _wait_for(self, placed: Placed) -> None:
        """Say why it isn't there yet, until its router has told what it serves."""
        name, now = placed.replica.name, self._now()
        if placed.is_peer and self._home.has_joined(name):
            placed.waits, placed.reason = False, ""
            self._home.stop_waiting(name)
            return
        placed.waits_since = placed.waits_since if placed.waits else now
        stands = placed.replica.state in {State.ASKED, State.GONE}
        waited = stands and now - placed.waits_since > placed.config.limits.queue_timeout
        reason = f"{self._reason(placed, now)}{'' if not waited else ' (it has waited long)'}"
        if not placed.waits or reason != placed.reason:
            placed.waits, placed.reason = True, reason
            self._home.wait_for(name, placed.entry, reason, None if waited else SOON)

    def _reason(self, placed: Placed, now: float) -> str:
        if not self._version:
            address = placed.config.ray.address
            return f"Ray at {address} can't be reached: {self._why_not or 'it is being looked for'}"
        return placed.replica.told(self._nodes, now)

    def _peer_of(self, placed: Placed) -> BackendConfig:
        client, admin = placed.keys
        entry = placed.entry
        return BackendConfig.model_validate({
            "router": placed.replica.url,
            "name": placed.replica.name,
            "api_key": client,
            "admin_key": admin,
            "models": {name: name for name in entry.models},
            "weight": entry.weight,
            "max_in_flight": entry.max_in_flight,
            "price": entry.price,
            "prices": entry.prices,
        })  # fmt: skip

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
