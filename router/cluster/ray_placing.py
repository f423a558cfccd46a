"""What is asked of a Ray cluster for a launch, and what became of it: pure, time is an argument.

A launch's replicas are placed one by one; each is a router of ours on a node, with one backend in its router.yaml.

    ASKED ──▶ PLACED ──▶ UP ◀──▶ AWAY        the helper's messages (`ray_helper`)
      ▲          │        │        │
      └─ GONE ◀──┴────────┴────────┘         asked again at `due`: at once, or later each time it fails again
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from router.config import BackendConfig, Config
from router.config.keys.launches import LaunchConfig
from router.config.keys.units import duration_in_words
from router.config.reading.environment import literal

FIRST_PAUSE: Final = 1.0
"""Seconds until a replica is asked for again that failed; they double, to LONGEST_PAUSE."""

LONGEST_PAUSE: Final = 30.0

STEADY_AFTER: Final = 30.0
"""Seconds after which a replica that ends has worked: its next start isn't held up by earlier failures."""

EXECUTOR: Final = "distributed-executor-backend"
"""vllm's argument that says who starts its workers on other nodes."""

_PASSED_ON = ("profile", "health", "limits", "memory")
"""Sections of router.yaml that count at the nodes, too."""


class State(StrEnum):
    """Where a replica is on its way."""

    ASKED = "asked"
    PLACED = "placed"
    UP = "up"
    AWAY = "away"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Node:
    """One node of the cluster that lives: what it has of each resource, and what of it is free."""

    id: str
    ip: str
    total: Mapping[str, float] = field(default_factory=dict)
    free: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> "Node":
        """Read one of the helper's messages."""
        return cls(said["node"], said["ip"], said["total"], said["free"], said["labels"])


@dataclass(frozen=True, slots=True)
class Asks:
    """What a replica asks of Ray: of one node, or of several in equal parts."""

    gpus: int = 0
    cpus: float = 1.0
    memory: int = 0
    resources: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    nodes: int = 1

    @property
    def of_each(self) -> dict[str, float]:
        """Give what it asks of each node, by Ray's names."""
        several = {"GPU": self.gpus / self.nodes, "CPU": self.cpus, "memory": self.memory, **self.resources}
        return {name: count for name, count in several.items() if count}

    def told(self) -> dict[str, Any]:
        """Write it for the helper."""
        return {
            "gpus": self.gpus,
            "cpus": self.cpus,
            "memory": self.memory,
            "resources": dict(self.resources),
            "labels": dict(self.labels),
            "nodes": self.nodes,
        }

    def __str__(self) -> str:
        parts = [amount(name, count) for name, count in self.of_each.items()]
        labels = [f"{name}={value}" for name, value in self.labels.items()]
        said = joined(parts) or "nothing"
        on = f" on each of {self.nodes} nodes" if self.nodes > 1 else ""
        return f"{said}{on}{f', with {joined(labels)}' if labels else ''}"


def asks_of(launch: LaunchConfig, nodes: Sequence[Node]) -> Asks:
    """Tell what a replica asks for; of how many of these nodes, if router.yaml doesn't say it."""
    on = launch.on
    assert on is not None  # noqa: S101  (the caller asked)
    gpus = gpus_of(launch)
    spread = on.nodes or nodes_for(gpus, nodes) if launch.engine == "vllm" else 1
    return Asks(gpus, on.cpus, on.memory or 0, on.resources, on.labels, spread)


def gpus_of(launch: LaunchConfig) -> int:
    """Tell how many GPUs a replica takes: what it says, else one for vllm, and none for what works without."""
    if isinstance(launch.gpus, int):
        return launch.gpus
    return int(launch.engine == "vllm")


def nodes_for(gpus: int, nodes: Sequence[Node]) -> int:
    """Tell over how few nodes so many GPUs can be spread in equal parts, by the one that has most."""
    most = int(max((node.total.get("GPU", 0) for node in nodes), default=0))
    if not most or gpus <= most:
        return 1
    return next(count for count in range(math.ceil(gpus / most), gpus + 1) if gpus % count == 0)


def lacking(asks: Asks, nodes: Sequence[Node]) -> str:
    """Say what is there, where that isn't what a replica asks for; nothing where there is room."""
    if not nodes:
        return "no node is there"
    wanted = asks.of_each
    roomy = [node for node in nodes if _holds(node.free, wanted)]
    if len(roomy) >= asks.nodes:
        return ""
    able = [node for node in nodes if _holds(node.total, wanted)]
    count = f"there are {len(nodes)} nodes" if len(nodes) > 1 else "there is 1 node"
    if len(able) >= asks.nodes:
        free = max(able, key=lambda node: min(node.free.get(name, 0) / need for name, need in wanted.items()))
        return f"{count}, and what is left of the least used is {_parts(free.free, free.total, wanted)}"
    best = max(nodes, key=lambda node: sum(min(1, node.total.get(name, 0) / need) for name, need in wanted.items()))
    has = joined([amount(name, best.total.get(name, 0)) for name in wanted])
    enough = "no node has as much" if not able else f"only {len(able)} of them has as much"
    return f"{count}, and {enough}: the one with most has {has}"


def _holds(there: Mapping[str, float], wanted: Mapping[str, float]) -> bool:
    return all(there.get(name, 0) >= count for name, count in wanted.items())


def _parts(free: Mapping[str, float], total: Mapping[str, float], wanted: Mapping[str, float]) -> str:
    return joined([f"{free.get(name, 0):g} of {amount(name, total.get(name, 0))}" for name in wanted])


def amount(name: str, count: float) -> str:
    """Write how much there is of a resource."""
    if name == "memory":
        return f"{count / (1 << 30):.3g} GiB of memory"
    many = "" if count == 1 or name not in {"GPU", "CPU"} else "s"
    return f"{count:g} {name}{many}"


def joined(words: Sequence[str]) -> str:
    """Write a list: a, b and c."""
    return " and ".join([", ".join(words[:-1])] * (len(words) > 1) + list(words[-1:]))


@dataclass(slots=True)
class Replica:
    """What is known of one replica, by the messages that came. `since` is when its state began; `where` its node."""

    name: str
    asks: Asks
    state: State = State.GONE
    since: float = 0.0
    due: float = 0.0
    why: str = ""
    url: str = ""
    where: str = ""
    gpus: Sequence[str] = ()
    failures: int = 0

    def asked(self, asks: Asks, now: float) -> None:
        """Note that Ray was asked for its place."""
        self.asks = asks
        self._to(State.ASKED, now)

    def hear(self, said: Mapping[str, Any], now: float) -> None:
        """Take a message of the helper; one that comes too late changes nothing."""
        match said["is"]:
            case "placed" if self.state is State.ASKED:
                self.where, self.gpus = said["ip"], said["gpus"]
                self._to(State.PLACED, now)
            case "up" if self.state is State.PLACED:
                self.url, self.why = said["url"], ""
                self._to(State.UP, now)
            case "away" if self.state is State.UP:
                self._to(State.AWAY, now)
            case "back" if self.state is State.AWAY:
                self._to(State.UP, now)
            case "gone" if self.state is not State.GONE:
                self.gone(said["why"], now)
            case _:
                pass

    def gone(self, why: str, now: float) -> None:
        """Note that it has ended, and when it is asked for again: at once, unless it didn't work for long."""
        worked = self.state in {State.UP, State.AWAY} and now - self.since > STEADY_AFTER
        again = self.failures and not worked
        pause = min(FIRST_PAUSE * 2.0 ** (self.failures - 1), LONGEST_PAUSE) if again else 0.0
        self.failures = 0 if worked else self.failures + 1
        self.due, self.why, self.url, self.where, self.gpus = now + pause, why, "", "", ()
        self._to(State.GONE, now)

    def _to(self, state: State, now: float) -> None:
        self.state, self.since = state, now

    def told(self, nodes: Sequence[Node], now: float) -> str:
        """Say where it is on its way, in a sentence's words."""
        on = f" on {self.where}{f', GPU {joined(list(self.gpus))}' if self.gpus else ''}"
        match self.state:
            case State.ASKED:
                lacks = lacking(self.asks, nodes)
                before = f" The one before it ended: {self.why}." if self.why else ""
                return f"Ray is asked for {self.asks}; {lacks or 'it is being placed'}.{before}"
            case State.PLACED:
                return f"its router starts{on}"
            case State.UP:
                return f"its router runs{on}"
            case State.AWAY:
                return f"its router{on} can't be reached"
            case State.GONE if not self.why:
                return "Ray wasn't asked for it yet"
            case State.GONE:
                soon = f"in {self.due - now:.0f} s" if self.due - now > 0.5 else "at once"
                return f"it ended: {self.why}; Ray is asked again {soon}"


def node_config(
    config: Config, backend: BackendConfig, locate: Callable[[str], str], asks: Asks, hashes: tuple[str, str]
) -> dict[str, Any]:
    """Write router.yaml of a replica's node router, as plain data: which host and which GPUs, its actor adds.

    `locate` gives the path of a model on this machine, by which the nodes know it, too; a hub id as it is. `hashes` are
    those of the two keys, a client's and an admin's, that open it: the keys themselves stay here.
    """
    launch = backend.launch
    assert launch is not None  # noqa: S101  (the caller asked)
    raw = {"env", "args", "cmd", "model"}
    said = launch.model_dump(mode="json", exclude_unset=True, exclude={"on", "replicas", "gpus", *raw})
    # As they are: when they are shown, what came from the environment is hidden.
    said |= {name: getattr(launch, name) for name in raw & launch.model_fields_set}
    if launch.model is not None:
        named = launch.model
        said["model"] = (
            locate(named) if isinstance(named, str) else {name: locate(each) for name, each in named.items()}
        )
    if asks.nodes > 1:
        said["args"] = {**several_nodes(asks), **said.get("args", {})}
    elif not asks.gpus:
        said["gpus"] = 0
    client, admin = hashes
    sections = config.model_dump(mode="json", exclude_unset=True, include=set(_PASSED_ON))
    # Its engine may still start: what waits there does so for as long as that may take. Who waits here is bounded here.
    patience = max(config.limits.queue_timeout, launch.start_timeout)
    sections["limits"] = {**sections.get("limits", {}), "queue_timeout": duration_in_words(patience)}
    made: dict[str, Any] = plain({
        **sections,
        "backends": [{"name": backend.name, "models": dict(backend.models), "launch": said}],
        "auth": {
            "keys": [{"name": "router", "hash": client}],
            "admin_keys": [{"name": "router", "hash": admin, "scopes": ["read", "manage"]}],
        },
        "logging": {"level": config.logging.level, "dir": "logs"},
    })  # fmt: skip
    return made


def several_nodes(asks: Asks) -> dict[str, Any]:
    """Give vllm's arguments for an engine over several nodes: a layer's parts stay on one, the layers are spread."""
    return {
        EXECUTOR: "ray",
        "tensor-parallel-size": asks.gpus // asks.nodes,
        "pipeline-parallel-size": asks.nodes,
    }


def plain(value: Any) -> Any:  # noqa: ANN401 -- any value of router.yaml
    """Give mappings and lists as JSON has them, and texts as router.yaml reads them: `${` is none of the node's."""
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return literal(value) if isinstance(value, str) else value
