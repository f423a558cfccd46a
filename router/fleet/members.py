"""One member of the fleet: a backend, the plan's entry that it was made from, and the supervisor of its engine, if any.

Knows how a member is built and described. When members come, change and go: `router.fleet.lifecycle`.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from math import inf

from launchers.abilities import Abilities, common, not_enabled, served
from launchers.engines import Engine
from launchers.errors import UnfitRequestError
from launchers.spec import LaunchSpec
from launchers.states import State
from launchers.status import Status
from launchers.supervisor import Supervisor
from router.core.admission import Cap
from router.core.apis import TRANSLATABLE, UNKNOWN, Apis
from router.core.catalog import Backend
from router.core.errors import BadRequestError
from router.core.estimate.ask import Ask
from router.core.estimate.estimate import Estimate
from router.fleet.diff import PlannedBackend
from router.fleet.launches import parallel_of
from router.fleet.launching import Launch
from router.fleet.loadables import placed
from router.proxy.watching.examine import Process
from router.proxy.watching.probe import Target
from router.proxy.watching.sleepers import Wake
from router.telemetry.logs import NAMES

TYPICAL = Ask(1000)
"""The request whose expected time to the first token `told` shows."""


@dataclass(eq=False)
class Member:
    """One backend with what runs it.

    `before` is the member that this one replaces once it is ready. `asked` counts the requests that others had got for
    the same models when this one's engine was given up. `resident` is its name in `core.memory`, if its engine is
    loaded and unloaded by what is decided there (`fleet.loader`); empty: it runs from its start to its end.
    `last_words` are those of its last failure, without numbers, which the log has already.
    """

    planned: PlannedBackend
    backend: Backend
    supervisor: Supervisor | None = None
    asked: int = 0
    before: "Member | None" = None
    resident: str = ""
    last_words: str = ""

    @property
    def name(self) -> str:
        """Its name in logs and in /admin."""
        return self.backend.name

    @property
    def settled(self) -> bool:
        """Whether more time changes nothing: it serves, or can't."""
        if self.supervisor is None:
            return True
        status = self.supervisor.status
        return status.lacks or status.state in {State.RUNNING, State.FATAL}

    @property
    def files(self) -> str | None:
        """The name of its engine's log and record; None of a URL."""
        return None if self.supervisor is None else self.supervisor.files

    def told(self, now: float) -> dict[str, object]:
        """Describe it as plain data. `now` is the loop's time; `since` is in seconds since the epoch."""
        backend = self.backend
        told: dict[str, object] = {
            "name": self.name,
            "health": backend.health.word,
            "reason": backend.health.reason,
            "models": list(backend.models),
            "in_flight": backend.in_flight,
            "answered": backend.answered,
            "weight": backend.weight,
            "max_in_flight": None if backend.cap.requests == inf else backend.cap.requests,
            "bytes_in_flight": backend.size,
            "expected_ttft": round(backend.estimate.expected(TYPICAL, 0, now), 4),
        }
        if backend.estimate.load is not None:
            told["published"] = backend.estimate.load._asdict()
        if self.supervisor is None or self.planned.launch is None:
            return told | {"url": str(self.planned.config.elsewhere or "on Ray").partition("?")[0]}
        status = self.supervisor.status
        return told | {
            "engine": self.planned.launch.spec.engine,
            "state": status.state.value,
            "detail": status.detail,
            "pid": status.pid,
            "since": status.since,
            "restarts": status.restarts,
            "load_seconds": None if status.load_seconds is None else round(status.load_seconds, 3),
        }


def pids_of(members: Mapping[str, Member]) -> dict[str, int]:
    """Give the first process of each member that has one, by the same names."""
    found = {name: member.supervisor.status.pid for name, member in members.items() if member.supervisor}
    return {name: pid for name, pid in found.items() if pid is not None}


# What a plan's entry comes to


def backend_of(planned: PlannedBackend) -> Backend:
    """Build the live backend of a plan's entry."""
    config, launch = planned.config, planned.launch
    if launch is None:
        apis = replace(UNKNOWN, asks_usage=asks_usage(planned))
        return Backend(config.name, models_of(planned), config.weight, apis=apis, cap=cap_of(planned))
    return Backend(
        launch.spec.name,
        models_of(planned),
        config.weight,
        uuid_request_ids=launch.engine.uuid_request_ids,
        put_right=Right(planned),
        apis=replace(apis_of(launch.engine, launch.spec), asks_usage=asks_usage(planned)),
        estimate=Estimate(parallel_of(launch)),
        cap=cap_of(planned),
        supervised=True,
    )


def apis_of(engine: Engine, spec: LaunchSpec) -> Apis:
    """Tell which APIs an engine lacks as it is launched; whether it has others its first answer shows."""
    if engine.opaque:
        return Apis(has=engine.apis, engine="a command", guarded=bool(engine.private))
    return Apis(
        TRANSLATABLE - engine.apis,
        mends=engine.mends,
        counter=engine.counter,
        has=engine.apis,
        needs=not_enabled(spec),
        engine=engine.name,
        opaque=False,
        guarded=True,
    )


def asks_usage(planned: PlannedBackend) -> bool:
    """Tell whether a backend's streams are asked for their usage: an engine's that tell it only then.

    Of what may be any server, only where it costs something: the request is changed for it, and some don't know the
    field.
    """
    config, launch = planned.config, planned.launch
    if launch is None or launch.engine.opaque:
        return config.price is not None or bool(config.prices)
    return launch.engine.usage_in_streams == "asked"


def models_of(planned: PlannedBackend) -> dict[str, str]:
    """Tell which models an entry names, each with the engine's own name for it."""
    if planned.launch is None or planned.launch.engine.opaque:
        return dict(planned.config.models)
    return dict.fromkeys(planned.config.models, planned.launch.spec.served_name)


def abilities_of(planned: PlannedBackend, loaded: LaunchSpec | None = None) -> dict[str, Abilities]:
    """Tell what the model of a launch can do, by the engine's name: as it is `loaded`, else wherever it may be."""
    launch = planned.launch
    if launch is None:
        return {}
    specs = [launch.spec]
    if loaded is not None:
        specs = [loaded]
    elif planned.loadable is not None:
        specs = [placed(launch.spec, each) for each in planned.loadable.placements]
    return {launch.spec.served_name: common(served(each, planned.described, on_cpu=launch.on_cpu) for each in specs)}


def cap_of(planned: PlannedBackend) -> Cap:
    """Tell how much may be in flight there: what router.yaml says, else as many as the engine works on at once."""
    config = planned.config
    parallel = None if planned.launch is None else parallel_of(planned.launch)
    return Cap(config.max_in_flight or parallel or inf, config.max_prompt_bytes or inf)


def target_of(member: Member) -> Target:
    """Tell how a member is probed: an engine of ours by its own path, a URL also for the models that it serves."""
    launch, supervisor = member.planned.launch, member.supervisor
    if launch is None or supervisor is None:
        config = member.planned.config
        path = None if config.probe == "never" else config.probe
        wake = None if config.wake is None else Wake(config.wake, config.wake_timeout)
        told = config.router is not None
        return Target(
            member.backend, path, discovers=not config.models, publishes=path is not None, wake=wake, told=told
        )
    return Target(
        member.backend,
        launch.engine.ready_path,
        launched=True,
        publishes=launch.engine.publishes,
        process=lambda: _process(supervisor, launch),
    )


def free_files(name: str, running: Iterable[Member], residents: Collection[str] = ()) -> str | None:
    """Choose the name of a launch's log and record, which no member that is running has; None: the launch's own name.

    Nor may one of the `residents` have it: memory knows an engine by it, until what the engine held is seen to be free.
    Turns to start on a GPU go by it, too: two engines of one name would end each other's. The router's own logs have
    names, too.
    """
    used, found = {each.files for each in running}.union(residents), name
    while found in used or found.casefold() in NAMES:
        found += "~"
    return None if found == name else found


def ahead_of(member: Member) -> int:
    """Tell how many connections are opened ahead of need to an engine that accepts them slowly."""
    launch, most = member.planned.launch, member.backend.cap.requests
    return 0 if launch is None or not launch.engine.accepts_slowly or most == inf else int(most)


def due(status: Status, now: float) -> float | None:
    """Tell in how many seconds an engine starts; 0: it starts now, None: nobody is going to start it."""
    if not status.coming:
        return None
    return 0.0 if status.next_try is None else max(0.0, status.next_try - now)


def _process(supervisor: Supervisor, launch: Launch) -> Process | None:
    """Give the process whose work shows whether an engine makes progress."""
    pid = supervisor.status.pid
    return None if pid is None else Process(pid, launch.engine.works_on_cpu, launch.on_cpu)


def _calls(planned: PlannedBackend) -> bool | None:
    """Tell whether an engine's calls come as calls; a program of one's own may be of any version."""
    launch = planned.launch
    if launch is None or launch.version.startswith("at "):
        return None
    return abilities_of(planned)[launch.spec.served_name].tools


class Right:
    """Has an engine put requests right; a request that it must not get is its client's mistake."""

    def __init__(self, planned: PlannedBackend) -> None:
        self.set_up(planned)

    def set_up(self, planned: PlannedBackend) -> None:
        """Go by another entry of a plan from now on, whose engine is the same."""
        config, launch = planned.config.launch, planned.launch
        assert config is not None  # noqa: S101  (it is launched)
        assert launch is not None  # noqa: S101
        self._engine = launch.engine
        self._spec = replace(
            launch.spec, calls=_calls(planned), allow=frozenset(config.allow), media_hosts=config.media_hosts
        )

    def __call__(self, path: str, body: bytes) -> bytes:
        """Give the body of a POST of `path` as the engine must get it. Raises BadRequestError."""
        try:
            return self._engine.put_right(path, body, self._spec)
        except UnfitRequestError as error:
            raise BadRequestError(error.message, param=error.param) from error
