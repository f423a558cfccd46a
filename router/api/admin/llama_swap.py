"""llama-swap's endpoints, in its shapes: what people have scripts for works as it is."""

from typing import Annotated, Final, Protocol

from pydantic import Field, RootModel

from router.api.admin.activity import ActivitiesTold, ActivityAsked, PageTold, StatsAsked, StatsTold
from router.api.admin.endpoint import Asked, Endpoint, Endpoints, ErrorSentence, Nothing, Stream, Told
from router.core.scopes import Admin, Scope


class Text(RootModel[str]):
    """Plain text."""


class Message(Told):
    """What was done, in a word."""

    msg: str


class RunningModel(Told):
    """A model that is loaded, or on its way. `cmd` is the engine, `proxy` its address here, `ttl` in seconds."""

    model: str
    state: str
    cmd: str
    proxy: str
    ttl: int
    name: str
    description: str


class RunningTold(Told):
    """The models that are loaded."""

    running: tuple[RunningModel, ...]


class UnloadAsked(Asked):
    """Which one."""

    id: Annotated[str, Field(description="the name of a model, a route or a backend")]


class EndAsked(Asked):
    """Which one."""

    id: Annotated[str, Field(description="its x-request-id")]


class SwapEvent(Told):
    """Something that happened. `data` is JSON once more, of a form that `type` says.

    `modelStatus`: a list of all models, each with `id`, `name`, `description`, `state` (`ready`, `starting`, `stopping`
    or `stopped`; empty for one that runs elsewhere), `unlisted` and `peerID` (the backend elsewhere that has it).
    `logData`: `source`, which is `proxy`, and `data`, lines of the router's log. `metrics`: a list of requests that
    have ended, as /api/metrics has them; `activity`: the `id` of the last one. `inflight`: the requests under way, as
    `operation: snapshot`, their `total` and `requests`.
    """

    type: str
    data: str


class StreamAsked(Asked):
    """Whose log."""

    id: Annotated[str, Field(description="`proxy` for the router's own, or the name of a model or a backend")]


class ManagedLikeLlamaSwap(Protocol):
    """The part of the router that answers as llama-swap does."""

    async def running(self, asked: Nothing, admin: Admin) -> RunningTold:
        """List the models that are loaded."""

    async def unload_all(self, asked: Nothing, admin: Admin) -> Text:
        """Unload all models."""

    async def unload_every(self, asked: Nothing, admin: Admin) -> Message:
        """Unload all models."""

    async def unload_one(self, asked: UnloadAsked, admin: Admin) -> Text:
        """Unload a model. Raises ModelNotFoundError and ConflictError."""

    async def cancel_one(self, asked: EndAsked, admin: Admin) -> Message:
        """End a request. Raises NotFoundError."""

    async def log(self, asked: Nothing, admin: Admin) -> Text:
        """Give the router's latest log."""

    async def log_stream(self, asked: Nothing, admin: Admin) -> Stream[Text]:
        """Give it as it comes. Raises UnavailableError where too many follow."""

    async def one_log(self, asked: StreamAsked, admin: Admin) -> Stream[Text]:
        """Give one log as it comes. Raises RouterError."""

    async def events(self, asked: Nothing, admin: Admin) -> Stream[SwapEvent]:
        """Give what happens. Raises UnavailableError where too many follow."""

    async def metrics(self, asked: Nothing, admin: Admin) -> ActivitiesTold:
        """List the latest requests that have ended."""

    async def activity(self, asked: ActivityAsked, admin: Admin) -> PageTold:
        """Give a page of them."""

    async def stats(self, asked: StatsAsked, admin: Admin) -> StatsTold:
        """Tell what they come to."""


_Part = ManagedLikeLlamaSwap

RUNNING: Final = Endpoint[_Part, Nothing, RunningTold](
    operation="running",
    method="GET",
    path="/running",
    scope=Scope.READ,
    doc="llama-swap's list of the models that are loaded.",
    asks=Nothing,
    tells=RunningTold,
    handle=lambda part: part.running,
)

UNLOAD_ALL: Final = Endpoint[_Part, Nothing, Text](
    operation="unload_all",
    method="GET",
    path="/unload",
    scope=Scope.MANAGE,
    doc="Unload all models, as llama-swap does it; requests under way are answered first.",
    asks=Nothing,
    tells=Text,
    handle=lambda part: part.unload_all,
)

UNLOAD_EVERY: Final = Endpoint[_Part, Nothing, Message](
    operation="unload_every",
    method="POST",
    path="/api/models/unload",
    scope=Scope.MANAGE,
    doc="The same.",
    asks=Nothing,
    tells=Message,
    fails=ErrorSentence,
    handle=lambda part: part.unload_every,
)

UNLOAD_ONE: Final = Endpoint[_Part, UnloadAsked, Text](
    operation="unload_one",
    method="POST",
    path="/api/models/unload/{id}",
    scope=Scope.MANAGE,
    doc="Unload one of them.",
    asks=UnloadAsked,
    tells=Text,
    fails=ErrorSentence,
    handle=lambda part: part.unload_one,
    errors={404: "There is no such name.", 409: "The router doesn't launch it."},
    example={"id": "qwen"},
)

CANCEL_ONE: Final = Endpoint[_Part, EndAsked, Message](
    operation="cancel_one",
    method="POST",
    path="/api/inflight/{id}/cancel",
    scope=Scope.MANAGE,
    doc="End a request, as /admin/requests/{id}/cancel does.",
    asks=EndAsked,
    tells=Message,
    fails=ErrorSentence,
    handle=lambda part: part.cancel_one,
    errors={404: "No request with this id is under way."},
    example={"id": "3f0c7a52-0000-4000-8000-000000000001"},
)

LOG: Final = Endpoint[_Part, Nothing, Text](
    operation="log",
    method="GET",
    path="/logs",
    scope=Scope.READ,
    doc="The router's latest log as text.",
    asks=Nothing,
    tells=Text,
    handle=lambda part: part.log,
)

LOG_STREAM: Final = Endpoint[_Part, Nothing, Text](
    operation="log_stream",
    method="GET",
    path="/logs/stream",
    scope=Scope.READ,
    doc="The router's log as text, as it comes.",
    asks=Nothing,
    tells=Text,
    handle=lambda part: part.log_stream,
    errors={503: "Too many follow already."},
    streams=True,
)

ONE_LOG: Final = Endpoint[_Part, StreamAsked, Text](
    operation="one_log",
    method="GET",
    path="/logs/stream/{id}",
    scope=Scope.READ,
    doc="The router's log (`proxy`), or that of a model's engine, as text: what there is of it, and then what comes.",
    asks=StreamAsked,
    tells=Text,
    handle=lambda part: part.one_log,
    errors={
        404: "There is no such name.",
        409: "The router doesn't launch it, and has no log of it.",
        503: "Too many follow already.",
    },
    example={"id": "qwen"},
    streams=True,
)

EVENTS: Final = Endpoint[_Part, Nothing, SwapEvent](
    operation="swap_events",
    method="GET",
    path="/api/events",
    scope=Scope.READ,
    doc="What happens, in llama-swap's form: the models' states, the router's log, the requests. It begins with how "
    "things are now. Changes are looked for twice a second.",
    asks=Nothing,
    tells=SwapEvent,
    fails=ErrorSentence,
    handle=lambda part: part.events,
    errors={503: "Too many follow already."},
    streams=True,
)

METRICS: Final = Endpoint[_Part, Nothing, ActivitiesTold](
    operation="metrics",
    method="GET",
    path="/api/metrics",
    scope=Scope.READ,
    doc="The latest requests that have ended, as llama-swap lists them.",
    asks=Nothing,
    tells=ActivitiesTold,
    fails=ErrorSentence,
    handle=lambda part: part.metrics,
)

ACTIVITY: Final = Endpoint[_Part, ActivityAsked, PageTold](
    operation="activity",
    method="GET",
    path="/api/metrics/activity",
    scope=Scope.READ,
    doc="The same by pages, as later versions have it.",
    asks=ActivityAsked,
    tells=PageTold,
    fails=ErrorSentence,
    handle=lambda part: part.activity,
    example={"limit": 10, "sort": "duration"},
)

STATS: Final = Endpoint[_Part, StatsAsked, StatsTold](
    operation="stats",
    method="GET",
    path="/api/metrics/stats",
    scope=Scope.READ,
    doc="What the latest requests come to, and how their speeds are spread.",
    asks=StatsAsked,
    tells=StatsTold,
    fails=ErrorSentence,
    handle=lambda part: part.stats,
)

ENDPOINTS: Final[Endpoints[_Part]] = (
    RUNNING,
    UNLOAD_ALL,
    UNLOAD_EVERY,
    UNLOAD_ONE,
    CANCEL_ONE,
    LOG,
    LOG_STREAM,
    ONE_LOG,
    EVENTS,
    METRICS,
    ACTIVITY,
    STATS,
)
