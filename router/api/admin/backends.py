"""/admin/backends: draining, restarting and scaling them.

What concerns a peer's (`mac-studio/qwen`) is done there, with its `admin_key`.
"""

from collections.abc import Mapping
from typing import Annotated, Final, Protocol

from pydantic import Field

from router.api.admin.endpoint import OF_PEERS, Asked, Endpoint, Endpoints, Told
from router.api.admin.status import BackendTold
from router.core.scopes import Admin, Scope


class BackendsTold(Told):
    """Backends as /admin/status has them."""

    backends: tuple[BackendTold, ...]


class BackendAsked(Asked):
    """Which one."""

    name: Annotated[str, Field(description="that of a backend, or of a model that it alone serves")]


class ScaleAsked(Asked):
    """Which one, and how many processes."""

    name: Annotated[str, Field(description="that of a launched backend, or of a model that no other launch serves")]
    replicas: Annotated[int, Field(ge=1, le=64, description="how many processes, at most 64")]


class ManagedBackends(Protocol):
    """The part of the router that looks after backends."""

    async def restart(self, asked: BackendAsked, admin: Admin) -> BackendsTold:
        """Start an engine afresh. Raises NotFoundError and ConflictError."""

    async def drain(self, asked: BackendAsked, admin: Admin) -> BackendsTold:
        """Send a backend nothing more. Raises NotFoundError."""

    async def undrain(self, asked: BackendAsked, admin: Admin) -> BackendsTold:
        """Send it requests again. Raises NotFoundError."""

    async def scale(self, asked: ScaleAsked, admin: Admin) -> BackendsTold:
        """Have so many processes of a launch. Raises NotFoundError and ConflictError."""


_ERRORS: Final[Mapping[int, str]] = {
    404: "There is no such backend.",
    409: "Several backends serve the model.",
    **OF_PEERS,
}

RESTART: Final = Endpoint[ManagedBackends, BackendAsked, BackendsTold](
    operation="restart",
    method="POST",
    path="/admin/backends/{name}/restart",
    scope=Scope.MANAGE,
    doc="Start a launched engine afresh. It ends what it has first; where memory has room for two, its successor is "
    "ready before it takes nothing more.",
    asks=BackendAsked,
    tells=BackendsTold,
    handle=lambda part: part.restart,
    errors={
        **_ERRORS,
        409: "Several serve the model, or the router doesn't launch it, or it isn't running, or is starting already.",
    },
    example={"name": "qwen"},
)

DRAIN: Final = Endpoint[ManagedBackends, BackendAsked, BackendsTold](
    operation="drain",
    method="POST",
    path="/admin/backends/{name}/drain",
    scope=Scope.MANAGE,
    doc="Send a backend nothing more until it is undrained, or its entry in router.yaml changes. What it has goes on. "
    "Requests that no other backend can take wait, at most `limits.queue_timeout`; no model is loaded for them. "
    "A peer's model is drained at the peer, too, for everybody, if there is an `admin_key` for it. "
    "/admin/status tells of it under `overrides`.",
    asks=BackendAsked,
    tells=BackendsTold,
    handle=lambda part: part.drain,
    errors=_ERRORS,
    example={"name": "qwen"},
)

UNDRAIN: Final = Endpoint[ManagedBackends, BackendAsked, BackendsTold](
    operation="undrain",
    method="POST",
    path="/admin/backends/{name}/undrain",
    scope=Scope.MANAGE,
    doc="Send a drained backend requests again.",
    asks=BackendAsked,
    tells=BackendsTold,
    handle=lambda part: part.undrain,
    errors=_ERRORS,
    example={"name": "qwen"},
)

SCALE: Final = Endpoint[ManagedBackends, ScaleAsked, BackendsTold](
    operation="scale",
    method="POST",
    path="/admin/backends/{name}/scale",
    scope=Scope.MANAGE,
    doc="Have so many processes of a launch, until its entry in router.yaml changes or the router is started anew. One "
    "that goes ends what it has first. /admin/status tells of it under `overrides`.",
    asks=ScaleAsked,
    tells=BackendsTold,
    handle=lambda part: part.scale,
    errors={**_ERRORS, 409: "Several entries serve the model, or the router doesn't launch it, or can't run so many."},
    example={"name": "qwen", "replicas": 2},
)

ENDPOINTS: Final[Endpoints[ManagedBackends]] = (RESTART, DRAIN, UNDRAIN, SCALE)
