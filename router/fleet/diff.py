"""What it takes to get from one configuration to the next: a pure comparison, told before it is done.

`python -m router plan` prints these steps, and the fleet carries them out. What an edit did not change has no step but
KEEP: its process, its connections and all that is known of it stay.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from launchers.described import NOT_DESCRIBED, Described
from launchers.devices import DeviceFigures
from launchers.gpus import as_started, lacking
from profiles.parsers import Gpu
from router.config import BackendConfig, Config, RouteConfig
from router.config.keys.section import Section
from router.core.catalog import Route
from router.core.memory.resident import Loadable
from router.core.reshape import Reshape
from router.fleet.launching import Launch
from router.tls.trust import SYSTEM, Trust

SPARE = 256 * 1024 * 1024
"""Bytes that must stay free, beside what a second process of a backend would take."""


class Do(Enum):
    """What a step does.

    KEEP: the edit didn't touch the backend. TUNE: what the router knows of a backend changes, its process or server
    doesn't. ROUTE: a route changes. LIMIT: a setting changes. STUCK: it can't change while the router runs.
    """

    KEEP = "keep"
    TUNE = "tune"
    ADD = "add"
    REPLACE = "replace"
    REMOVE = "remove"
    ROUTE = "route"
    LIMIT = "limit"
    STUCK = "stuck"


@dataclass(frozen=True, slots=True)
class Step:
    """One step. `name` is that of a backend, a route or a setting; `why` is for people.

    `new_first`: a REPLACE starts the new one while the old one still serves. `but` names an obstacle, and what to
    write.
    """

    do: Do
    name: str
    why: str = ""
    new_first: bool = True
    but: str = ""

    def __str__(self) -> str:
        return (
            f"{self.do.value:8}{self.name}{': ' if self.why else ''}{self.why}{'; but ' if self.but else ''}{self.but}"
        )


@dataclass(frozen=True, slots=True)
class PlannedBackend:
    """One backend as it is configured: a URL, a peer with all of its models, or one process of a launch.

    `loadable`: what its engine takes, where memory decides what is loaded; None: it runs from its start to its end.
    `described` is what the files of a launch's model say of it. `trust` says who may answer at an https URL.
    """

    config: BackendConfig
    launch: Launch | None = None
    loadable: Loadable | None = None
    described: Described = NOT_DESCRIBED
    trust: Trust = SYSTEM

    @property
    def is_on_ray(self) -> bool:
        """Whether it is a replica that Ray places."""
        return self.config.launch is not None and self.config.launch.on is not None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a configuration means on this machine: every backend by its name. `why` is the reason for the profile.

    `devices` are what memory is taken of, where models are loaded and unloaded by themselves; else there are none.
    """

    config: Config
    backends: Mapping[str, PlannedBackend]
    why: str
    routes: Mapping[str, Route] = field(default_factory=dict)
    devices: tuple[DeviceFigures, ...] = ()

    @classmethod
    def of(cls, config: Config, launches: tuple[Launch, ...], why: str) -> "Plan":
        """Gather the backends of a configuration and of its launches, in the file's order."""
        processes: dict[str, list[Launch]] = {}
        for launch in launches:
            processes.setdefault(launch.backend.name, []).append(launch)
        backends: dict[str, PlannedBackend] = {}
        for backend in config.backends:
            if backend.elsewhere is not None:
                backends[backend.name] = PlannedBackend(backend)
            for name in replicas_on_ray(backend):
                backends[name] = PlannedBackend(backend)
            for launch in processes.get(backend.name, ()):
                backends[launch.spec.name] = PlannedBackend(backend, launch)
        return cls(config, backends, why, {name: _route(route) for name, route in config.routes.items()})

    @property
    def launches(self) -> tuple[Launch, ...]:
        """Every process that is to run."""
        return tuple(planned.launch for planned in self.backends.values() if planned.launch is not None)


def replicas_on_ray(backend: BackendConfig) -> list[str]:
    """Name the replicas that an entry has on Ray; the first has the entry's own name."""
    launch = backend.launch
    if launch is None or launch.on is None:
        return []
    return [backend.name, *(f"{backend.name}-{number}" for number in range(2, launch.replicas + 1))]


def _route(written: RouteConfig) -> Route:
    changes = (written.set, written.default, written.at_most, written.strip)
    reshape = Reshape(*changes) if any(changes) else None
    return Route(
        written.to,
        reshape,
        frozenset(written.next_on or ()),
        written.policy or "",
        hidden=written.hidden,
        keep_billing_line=written.keep_billing_line,
    )


@dataclass(frozen=True, slots=True)
class Room:
    """What this machine has left, in bytes: `free` memory, and what each running process `take`s with its children.

    `gpus`: there are GPUs with memory of their own, of which engines take a share when they start. `cards` are these
    GPUs, with their free memory, and `shares` the shares that running processes have of them.
    """

    free: int = 0
    take: Mapping[str, int] = field(default_factory=dict)
    gpus: bool = False
    cards: tuple[Gpu, ...] = ()
    shares: Mapping[str, float] = field(default_factory=dict)


def steps(old: Plan, new: Plan, room: Room) -> list[Step]:
    """Compare two plans. Removals come first, then replacements that end the old one first: they make room."""
    found = [*_backends(old, new, room), *_routes(old.config, new.config), *_sections(old.config, new.config)]
    order = (Do.REMOVE, Do.REPLACE, Do.ADD, Do.TUNE, Do.KEEP, Do.ROUTE, Do.LIMIT, Do.STUCK)
    return sorted(found, key=lambda step: (order.index(step.do), step.new_first))


def _backends(old: Plan, new: Plan, room: Room) -> Iterator[Step]:
    for name in old.backends:
        if name not in new.backends:
            yield Step(Do.REMOVE, name, "ends what it has in flight")
    free = room.free
    lacks = _lacking(old, new, room)
    for name, planned in new.backends.items():
        before = old.backends.get(name)
        if before is None:
            yield Step(
                Do.ADD,
                name,
                _what_starts(planned),
                but=lacks.get(name, ""),
            )
        elif changed := _essentials(before, planned):
            new_first = planned.launch is None or runs_twice(planned, replace(room, free=free))
            free -= takes_of(name, room) if new_first and planned.launch is not None else 0
            order = "" if planned.launch is None else "; the new one first" if new_first else "; the old one first"
            yield Step(Do.REPLACE, name, f"other {', '.join(changed)}{order}", new_first, lacks.get(name, ""))
        elif changed := _details(before.config, planned.config):
            yield Step(Do.TUNE, name, f"other {', '.join(changed)}")
        else:
            yield Step(Do.KEEP, name)


def _what_starts(planned: PlannedBackend) -> str:
    if planned.launch is not None:
        return f"starts {planned.launch.spec.engine}"
    return "is placed on Ray" if planned.config.launch else str(planned.config.elsewhere).partition("?")[0]


def runs_twice(planned: PlannedBackend, room: Room) -> bool:
    """Whether an engine may run beside the one that it replaces.

    Not where memory has no room for both, nor on GPUs; and the record of a kept engine has one name.
    """
    kept = planned.launch is not None and planned.launch.spec.keep
    name = planned.config.name if planned.launch is None else planned.launch.spec.name
    return not (kept or room.gpus or takes_of(name, room) > room.free)


def takes_of(name: str, room: Room) -> int:
    """Give the bytes that must be free for a second process of a backend."""
    return room.take.get(name, 0) + SPARE


def _lacking(old: Plan, new: Plan, room: Room) -> dict[str, str]:
    """Tell which GPU memory those that start won't get. For those that are loaded on demand memory is made."""
    claims = {
        launch.spec.name: launch.spec.claim
        for launch in new.launches
        if launch.spec.claim is not None and (launch.spec.name in room.take or not launch.is_on_demand)
    }
    planned = {launch.spec.name: launch.spec.claim for launch in old.launches if launch.spec.claim is not None}
    had = as_started(planned, room.shares)
    stays = {
        name
        for name, backend in new.backends.items()
        if name in old.backends and not _essentials(old.backends[name], backend)
    }
    runs = {name for name in had if name in room.take}
    back = [had[name] for name in runs - stays]
    starts = {name: claim for name, claim in claims.items() if name not in runs & stays}
    # Those that the change doesn't touch asked before the others.
    first = sorted(starts, key=lambda name: name not in stays)
    others = {name: had[name] for name in runs & stays if name in claims}
    return lacking({name: starts[name] for name in first}, others, room.cards, back)


def _essentials(old: PlannedBackend, new: PlannedBackend) -> list[str]:
    """Name the changed keys that take another process, or another server."""
    if old.launch is None or new.launch is None:
        keys = ("url", "router", "launch", "api_key", "admin_key", "headers", "tls")
        before, after = _as_one(old.config), _as_one(new.config)
        return [key for key in keys if getattr(before, key) != getattr(after, key)]
    one, other = old.launch.spec, new.launch.spec
    changed = [
        key for key in ("engine", "model", "served_name", "args", "env") if getattr(one, key) != getattr(other, key)
    ]
    # Which GPUs `auto` and a number mean is decided when the engine starts, so the arguments alone don't show it.
    wanted = [planned.config.launch.gpus for planned in (old, new) if planned.config.launch is not None]
    # A command is judged by what is private to the engine that it is.
    changed += ["engine"] * ("engine" not in changed and old.launch.engine.private != new.launch.engine.private)
    return changed + ["gpus"] * (len(set(wanted)) > 1) + ["python"] * (old.launch.python != new.launch.python)


def _as_one(config: BackendConfig) -> BackendConfig:
    """Give an entry with one replica: how many there are shows in the plan's backends."""
    launch = config.launch and config.launch.model_copy(update={"replicas": 1})
    return config.model_copy(update={"launch": launch})


def _details(old: BackendConfig, new: BackendConfig) -> list[str]:
    """Name the other keys of an entry that have changed. The number of replicas shows in the plan's backends."""
    changed = [key for key in BackendConfig.model_fields if key != "launch" and getattr(old, key) != getattr(new, key)]
    if old.launch is not None and new.launch is not None:
        keys = ("start_timeout", "load", "unload_after", "pinned", "memory", "warm_up", "allow", "media_hosts")
        changed += [key for key in keys if getattr(old.launch, key) != getattr(new.launch, key)]
    return changed


def _routes(old: Config, new: Config) -> Iterator[Step]:
    for name in old.routes:
        if name not in new.routes:
            yield Step(Do.ROUTE, name, "is no more")
    for name, route in new.routes.items():
        if old.routes.get(name) != route:
            yield Step(Do.ROUTE, name, "changes" if name in old.routes else "is new")


_APART = ("backends", "routes")
"""Sections that are compared above."""

_FIXED = frozenset({
    "server.host", "server.port", "server.ollama_port", "server.keep_engines", "logging.dir", "limits.max_connections",
    "server.discover", "state.dir", "ray.address", "ray.python", "ray.node_python",
})  # fmt: skip
"""Keys that a running router can't change."""


def _sections(old: Section, new: Section, above: str = "") -> Iterator[Step]:
    """Compare all settings; sections below a section follow its own keys."""
    fields = {key: field for key, field in type(new).model_fields.items() if above or key not in _APART}
    changed = [key for key in fields if getattr(old, key) != getattr(new, key)]
    # A section that may be left out is one setting.
    below = [key for key in changed if fields[key].default_factory is not None]
    keys = [key for key in changed if key not in below]
    words = [each.model_dump(mode="json", include=set(keys)) for each in (old, new)]
    for key in keys:
        name = f"{above}{key}"
        if name in _FIXED or (name == "server.tls" and None in {getattr(old, key), getattr(new, key)}):
            yield Step(Do.STUCK, name, "takes a restart of the router")
        else:
            # No secret is shown.
            said = "" if name.startswith("auth.") else " → ".join(_words(each[key]) for each in words)
            yield Step(Do.LIMIT, name, said)
    for key in below:
        yield from _sections(getattr(old, key), getattr(new, key), f"{above}{key}.")


def _words(value: object) -> str:
    """Write the value of a key for people."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {said}" for name, said in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
