"""/admin/models: models that load and unload, those of peers (`mac-studio/qwen`) among them.

A `name` is a model's, a route's or a backend's. What it means on this machine goes before what it means at a peer. To
load what is loaded, or to unload what is not, changes nothing and is no error.
"""

from collections.abc import Mapping
from typing import Annotated, Final, Protocol

from pydantic import Field

from router.api.admin.endpoint import OF_PEERS, Asked, Endpoint, Endpoints, ErrorText, Nothing, Reply, Switch, Told
from router.core.scopes import Admin, Scope


class FailureTold(Told):
    """The latest load that failed, if none has since; `retry_in`: seconds until who asks has it tried again."""

    reason: str
    count: int | None = None
    retry_in: float | None = None


class WhichTold(Told):
    """Which model it is, and how it is; see ModelTold."""

    name: str
    state: str
    peer: str | None = None
    models: tuple[str, ...] = ()
    engine: str | None = None
    load: str | None = None


class ModelTold(WhichTold):
    """A launched backend, or a peer's model, and its memory, in bytes by device; times in seconds.

    `peer` is the router that has it, by its name in router.yaml; of what is launched here there is none.

    `footprint` is what it takes when it is loaded, `source` how that is known, `reserved` what it holds now.
    `placement`: where it is loaded, or would be; `note`: what was chosen because it doesn't fit whole. `leased`: of
    those in flight or waiting, who keep it loaded. `idle`: since its last use; `expires`: until it is unloaded if
    nobody uses it; `stays`: it never is. `share`: how much of its load is done; `seconds`: until a request that comes
    now is sent. `context` are the most tokens of a request with its answer, and `capabilities` the words of /v1/models,
    as far as they are known.
    """

    pid: int | None = None
    detail: str = ""
    pinned: bool = False
    placement: str | None = None
    footprint: Mapping[str, int] = {}
    source: str | None = None
    note: str = ""
    reserved: Mapping[str, int] = {}
    waiting: int = 0
    in_flight: int = 0
    leased: int = 0
    idle: float | None = None
    expires: float | None = None
    share: float | None = None
    seconds: float | None = None
    failure: FailureTold | None = None
    stays: bool = False
    context: int | None = None
    capabilities: tuple[str, ...] = ()


class ShortageTold(Told):
    """A device that is too small, in bytes: what the load needs, what can be free, and who holds the rest."""

    device: str
    needs: int
    free: int
    held: Mapping[str, int]


class LoadError(ErrorText):
    """Why a load failed; a lack of memory with its figures."""

    shortages: tuple[ShortageTold, ...] | None = None


class SilentTold(Told):
    """A peer that has no model here; its `health` as in /admin/status, and the `reason`."""

    name: str
    health: str
    reason: str


class ModelsTold(Told):
    """Launched backends and peers' models; with an `error` where not all of it could be done.

    `peers` are those that have no model here, where all models are listed.
    """

    models: tuple[ModelTold, ...]
    peers: tuple[SilentTold, ...] = ()
    error: LoadError | None = None


class ModelAsked(Asked):
    """What is to be loaded or unloaded."""

    name: Annotated[str, Field(description="that of a model, a route or a backend")]
    wait: Annotated[Switch, Field(description="false: answer at once, and go on")] = True


class OneAsked(Asked):
    """Which one."""

    name: Annotated[str, Field(description="that of a model, a route or a backend")]


class PinAsked(Asked):
    """What is to stay loaded."""

    name: Annotated[str, Field(description="that of a model, a route or a backend")]


class ManagedModels(Protocol):
    """The part of the router that loads and unloads."""

    async def models(self, asked: Nothing, admin: Admin) -> ModelsTold:
        """Describe each launched backend."""

    async def model(self, asked: OneAsked, admin: Admin) -> ModelsTold:
        """Describe the backends that a name means. Raises ModelNotFoundError and ConflictError."""

    async def load(self, asked: ModelAsked, admin: Admin) -> Reply[ModelsTold]:
        """Load what a name means. Raises ModelNotFoundError and ConflictError."""

    async def unload(self, asked: ModelAsked, admin: Admin) -> Reply[ModelsTold]:
        """Unload it. Raises ModelNotFoundError and ConflictError."""

    async def pin(self, asked: PinAsked, admin: Admin) -> ModelsTold:
        """Keep it loaded. Raises ModelNotFoundError and ConflictError."""

    async def unpin(self, asked: PinAsked, admin: Admin) -> ModelsTold:
        """Let it leave again. Raises ModelNotFoundError and ConflictError."""


_OTHERS = {
    202: "It has begun.",
    409: "It stays as it is; `error` says why.",
    503: "It can't be done now; `error` says why.",
}
_UNKNOWN = {404: "There is no such name.", 409: "It can't: the router doesn't launch it, or keeps it as it is."}
_ERRORS = {**_UNKNOWN, **OF_PEERS}

MODELS: Final = Endpoint[ManagedModels, Nothing, ModelsTold](
    operation="models",
    method="GET",
    path="/admin/models",
    scope=Scope.READ,
    doc="Each launched backend, and each model of a peer: its state, its memory, who uses it, when it unloads.",
    asks=Nothing,
    tells=ModelsTold,
    handle=lambda part: part.models,
)

MODEL: Final = Endpoint[ManagedModels, OneAsked, ModelsTold](
    operation="model",
    method="GET",
    path="/admin/models/{name}",
    scope=Scope.READ,
    doc="The launched backends, or peers' models, that a name means.",
    asks=OneAsked,
    tells=ModelsTold,
    handle=lambda part: part.model,
    errors=_UNKNOWN,
    example={"name": "qwen"},
)

LOAD: Final = Endpoint[ManagedModels, ModelAsked, ModelsTold](
    operation="load",
    method="POST",
    path="/admin/models/{name}/load",
    scope=Scope.MANAGE,
    doc="Load what a name means. It is answered when that is loaded, or with the error that it failed with.",
    asks=ModelAsked,
    tells=ModelsTold,
    handle=lambda part: part.load,
    others=_OTHERS,
    errors=_ERRORS,
    example={"name": "qwen"},
)

UNLOAD: Final = Endpoint[ManagedModels, ModelAsked, ModelsTold](
    operation="unload",
    method="POST",
    path="/admin/models/{name}/unload",
    scope=Scope.MANAGE,
    doc="Unload it once its requests are answered. It is answered when the process is gone and its memory is free.",
    asks=ModelAsked,
    tells=ModelsTold,
    handle=lambda part: part.unload,
    others=_OTHERS,
    errors=_ERRORS,
    example={"name": "qwen"},
)

PIN: Final = Endpoint[ManagedModels, PinAsked, ModelsTold](
    operation="pin",
    method="POST",
    path="/admin/models/{name}/pin",
    scope=Scope.MANAGE,
    doc="Keep it loaded: it leaves neither for others nor when it is idle, until its entry in router.yaml changes "
    "or the router is started anew. /admin/status tells of it under `overrides`.",
    asks=PinAsked,
    tells=ModelsTold,
    handle=lambda part: part.pin,
    errors=_ERRORS,
    example={"name": "qwen"},
)

UNPIN: Final = Endpoint[ManagedModels, PinAsked, ModelsTold](
    operation="unpin",
    method="POST",
    path="/admin/models/{name}/unpin",
    scope=Scope.MANAGE,
    doc="Let it leave again, also where router.yaml has it pinned, until its entry there changes.",
    asks=PinAsked,
    tells=ModelsTold,
    handle=lambda part: part.unpin,
    errors=_ERRORS,
    example={"name": "qwen"},
)

ENDPOINTS: Final[Endpoints[ManagedModels]] = (MODELS, MODEL, LOAD, UNLOAD, PIN, UNPIN)
