"""llama-swap's endpoints, in its shapes: what people have scripts for works as it is."""

from typing import Annotated, Final, Protocol

from pydantic import Field, RootModel

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

ENDPOINTS: Final[Endpoints[_Part]] = (RUNNING, UNLOAD_ALL, UNLOAD_EVERY, UNLOAD_ONE, CANCEL_ONE, LOG, LOG_STREAM)
