"""/admin/status and /admin/explain: what runs, who waits, and where a request would go."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Protocol

from pydantic import ConfigDict, Field, RootModel

from router.api.admin.endpoint import Asked, Endpoint, Endpoints, Nothing, Told
from router.config.problems import Problem
from router.core.scopes import Admin, Scope


class LoadTold(Told):
    """The load that an engine publishes: its requests that run, and that wait; made of a `core.load.Load`."""

    model_config = ConfigDict(from_attributes=True)

    running: float
    waiting: float


class DeviceTold(Told):
    """RAM, or a GPU with memory of its own; in bytes. `held` is what each backend has of it, as far as it is known.

    Of RAM that is what its processes have resident: what several map counts in each, and is taken off `free` once.

    `utilisation` is the percentage of the latest moment in which the GPU computed, `temperature` in °C, `power` what it
    draws and `power_limit` what it may draw, in watts; null where that isn't known.
    """

    name: str
    bytes: int
    free: int
    held: Mapping[str, int] = {}
    utilisation: int | None = None
    temperature: int | None = None
    power: float | None = None
    power_limit: float | None = None


class MachineTold(Told):
    """This machine. `cpu_percent` is how busy its CPUs were lately, all together: 100 is all of them."""

    cpus: int
    cpu_percent: float
    memory_bytes: int
    memory_available: int
    devices: tuple[DeviceTold, ...]


class RouterTold(Told):
    """The router's own process.

    `started` is in seconds since the epoch, `uptime` in seconds. `loop_lag` is how late its event loop was at worst in
    the last minute, in seconds: all requests are late by as much. `descriptors` are its open files and connections.
    `stops_in`, while it stops: seconds until what is still in flight is cut.
    """

    version: str
    pid: int
    started: float
    uptime: float
    cpu_percent: float
    memory_bytes: int
    descriptors: int | None
    loop_lag: float
    in_flight: int
    queued: int
    stops_in: float | None = None


class SpeedsTold(Told):
    """How fast a backend was with the latest requests that are remembered: half were no slower (p50), and 99% (p99).

    `ttft` is the time to the first token, `tpot` that of each further one, in seconds.
    """

    requests: int
    ttft_p50: float | None
    ttft_p99: float | None
    tpot_p50: float | None
    tpot_p99: float | None


class ServingTold(Told):
    """What any backend does; see BackendTold."""

    name: str
    health: str
    reason: str
    models: tuple[str, ...]
    in_flight: int
    answered: int
    weight: float
    max_in_flight: int | None
    bytes_in_flight: int
    expected_ttft: float
    drained: bool = False
    drained_by: str | None = None
    drained_since: float | None = None
    published: LoadTold | None = None
    speeds: SpeedsTold | None = None
    ending: bool = False


class BackendTold(ServingTold):
    """A backend: its health, and what it does. Of a launched one also its engine's state, of another one its URL.

    Of a peer's model, `peer` is its router, by its name in router.yaml; `state` and `footprint` are what that tells.

    Both are `unloaded` where its model is loaded on demand and isn't loaded, and `failed` where that rests after a load
    that failed: the words of /admin/models.

    `since` is the time of its state's begin, in seconds since the epoch; `expected_ttft` the seconds to the first token
    of a typical request that is sent now. `ending`: it is out of router.yaml, and ends what it has. `drained`: it gets
    nothing more, as the admin wants it whose key has the name `drained_by`; `drained_since` is in seconds since the
    epoch.

    `restarts`: how often its engine was started again because it had ended unasked, or worked no more, since it was
    last changed or restarted. `load_seconds`: how long its last start took until it was ready. `footprint`: the bytes
    that it holds of each device, measured within the last seconds; of a GPU that doesn't tell whose they are, what is
    reserved. `memory_bytes` is what it holds of RAM.
    """

    url: str | None = None
    peer: str | None = None
    engine: str | None = None
    state: str | None = None
    detail: str | None = None
    pid: int | None = None
    memory_bytes: int | None = None
    footprint: Mapping[str, int] = {}
    since: float | None = None
    restarts: int | None = None
    load_seconds: float | None = None


class AwaitedLoad(Told):
    """The load of a model that a request waits for, or the waking of its machine (`stage` is `waking` then).

    `share` is how much of it is done, `seconds` what it takes yet, 0 where that isn't known.
    """

    backend: str
    stage: str
    share: float
    seconds: float
    reason: str


class WaitingTold(Told):
    """A request in the queue: whose it is, its class, and for how many seconds it waits."""

    request_id: str
    key: str
    priority: int
    seconds: float
    bytes: int
    loading: AwaitedLoad | None = None


class StepTold(Told):
    """What a reload did with a backend, a route or a setting; `but` names an obstacle, and what to write."""

    do: str
    name: str
    why: str
    but: str


class ProblemTold(Told):
    """A mistake: where, and what would be right. Lines and columns count from 1; what isn't in a file has neither."""

    file: str | None
    line: int | None
    column: int | None
    key: str
    message: str

    def __str__(self) -> str:
        """`router.yaml:14:7 server.port: …`, as the log has it."""
        return str(Problem(self.file or "", self.line, self.column, self.key, self.message))


class ReloadTold(Told):
    """A reload: when, in seconds since the epoch, how long it took, its steps; or the mistakes, and nothing changed."""

    at: float
    seconds: float
    problems: tuple[ProblemTold, ...]
    steps: tuple[StepTold, ...]


class OverrideTold(Told):
    """What somebody has changed by this API of what router.yaml says, until its entry changes there.

    `key` is one of `replicas`, `pinned` and `drained`. `written` is what the file says, `by` the name of the admin's
    key, `since` in seconds since the epoch.
    """

    backend: str
    key: str
    value: int | bool
    written: int | bool
    by: str
    since: float


class NeighbourTold(Told):
    """Another router that has announced itself on the network, as it says; nothing is sent there.

    `entry` is what to write into `backends` of router.yaml to use it. `used_by` are the backends there already.
    """

    name: str
    url: str
    version: str
    entry: str
    used_by: tuple[str, ...]


class StatusTold(Told):
    """The router as it is now. `queues` are those who wait, by the names that they asked for; the first goes next.

    `neighbours` are other routers on the network, with `server.discover`.
    """

    router: RouterTold
    machine: MachineTold
    backends: tuple[BackendTold, ...]
    queues: Mapping[str, tuple[WaitingTold, ...]]
    reload: ReloadTold | None
    overrides: tuple[OverrideTold, ...] = ()
    neighbours: tuple[NeighbourTold, ...] = ()


class ExplainAsked(Asked):
    """A request to think of."""

    model: Annotated[str, Field(min_length=1, description="the name of a model or a route")]
    size: Annotated[int, Field(ge=0, lt=10**12, description="bytes of the request's body")] = 1000


class CandidateTold(Told):
    """A backend that may get the request, with its figures in seconds, and why it would be passed over.

    It goes to one whose `passed_over` is empty. With `loads_in`, that isn't loaded: the request has it loaded, and is
    sent in about so many seconds. docs/balancing.md has the others. A peer that has no model here, and so perhaps this
    one, is told by its own name; it has no figures.
    """

    backend: str
    tier: int
    policy: str
    passed_over: str
    loads_in: float | None = None
    score: float | None = None
    expected: float | None = None
    queue: float | None = None
    reading: float | None = None
    cost: float | None = None
    in_flight: int | None = None
    cached: int | None = None
    published: LoadTold | None = None
    others: float | None = None


class Explained(RootModel[tuple[CandidateTold, ...]]):
    """Every candidate, the first models of a route first."""


class AdminTold(Told):
    """Who asks: the name of the key, and what it may do."""

    name: str
    scopes: tuple[Scope, ...]


class Description(RootModel[dict[str, Any]]):
    """The management API as OpenAPI 3.1."""


class ManagedStatus(Protocol):
    """The part of the router that says what there is."""

    async def status(self, asked: Nothing, admin: Admin) -> StatusTold:
        """Describe every backend, the queues, and the last reload."""

    async def explain(self, asked: ExplainAsked, admin: Admin) -> Explained:
        """Tell where a request would go now, and why. Raises ModelNotFoundError."""

    async def whoami(self, asked: Nothing, admin: Admin) -> AdminTold:
        """Tell who asks."""

    async def openapi(self, asked: Nothing, admin: Admin) -> Description:
        """Describe the management API."""


STATUS: Final = Endpoint[ManagedStatus, Nothing, StatusTold](
    operation="status",
    method="GET",
    path="/admin/status",
    scope=Scope.READ,
    doc="The router, the machine, every backend with its state and what it does, who waits in the queues, the last "
    "reload, and what was changed by this API and isn't in router.yaml.",
    asks=Nothing,
    tells=StatusTold,
    handle=lambda part: part.status,
)

EXPLAIN: Final = Endpoint[ManagedStatus, ExplainAsked, Explained](
    operation="explain",
    method="GET",
    path="/admin/explain",
    scope=Scope.READ,
    doc="Where a request for a model would go now, and why; of one that isn't loaded, how long its load would take.",
    asks=ExplainAsked,
    tells=Explained,
    handle=lambda part: part.explain,
    errors={404: "There is no such model."},
    example={"model": "qwen", "size": 5000},
)

WHOAMI: Final = Endpoint[ManagedStatus, Nothing, AdminTold](
    operation="whoami",
    method="GET",
    path="/admin/whoami",
    scope=None,
    doc="Whose key this is, and what it may do.",
    asks=Nothing,
    tells=AdminTold,
    handle=lambda part: part.whoami,
)

OPENAPI: Final = Endpoint[ManagedStatus, Nothing, Description](
    operation="openapi",
    method="GET",
    path="/admin/openapi.json",
    scope=Scope.READ,
    doc="This API, as OpenAPI 3.1.",
    asks=Nothing,
    tells=Description,
    handle=lambda part: part.openapi,
)

ENDPOINTS: Final[Endpoints[ManagedStatus]] = (STATUS, EXPLAIN, WHOAMI, OPENAPI)
