"""/admin/events/models: what a router tells another one, which has it as a peer, of the models that it serves."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Protocol

from pydantic import Field

from router.api.admin.endpoint import Asked, Endpoint, Endpoints, Stream, Told
from router.core.scopes import Admin, Scope


class ServedTold(Told):
    """A model or a route that clients can ask for: the best of all backends that it may lead to; times in seconds.

    `state` is one of /admin/models, or `drained`; a server elsewhere that answers is `loaded`, and one that doesn't
    `failed`. `seconds`: until a request that comes now is sent; `share` is how much of its load is done. `reason` says
    why it can't be served, and `retry_in` when that is tried again. `waiting` requests are in its queue, `in_flight`
    are at its backends, which take `max_in_flight` together; null: no bound is known. `footprint` is what it takes when
    it is loaded, in bytes by device. `targets` are a route's models. `lacks` are paths that none of its backends has.
    `through` are the ids of routers that each request for it passes behind this one.
    """

    name: str
    state: str
    seconds: float | None = None
    share: float | None = None
    reason: str = ""
    retry_in: float | None = None
    waiting: int = 0
    in_flight: int = 0
    max_in_flight: int | None = None
    footprint: Mapping[str, int] = {}
    engine: str | None = None
    backends: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    context: int | None = None
    capabilities: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    through: tuple[str, ...] = ()


class PictureTold(Told):
    """The models that have changed, and the names of those that are `gone`; all that there are if it is `whole`.

    `instance` is the router's own id, from its start to its end. `refused` says why none may be used with the key that
    was shown; empty: some may, or there are none.
    """

    instance: str
    whole: bool
    models: tuple[ServedTold, ...]
    gone: tuple[str, ...] = ()
    refused: str = ""


KEY: Final = "x-router-key"
"""The header with the key that a peer's requests show here, beside the admin's key."""


class ServedAsked(Asked):
    """Who asks."""

    headers: ClassVar[Mapping[str, str]] = {"hops": "x-router-hops", "key": KEY}

    hops: Annotated[
        str,
        Field(description="the header x-router-hops: routers' ids; what is served through these alone is left out"),
    ] = ""
    key: Annotated[
        str | None,
        Field(description="the header x-router-key: a client's key; what it may not use is left out"),
    ] = None


class SharedModels(Protocol):
    """The part of the router that peers follow."""

    async def served(self, asked: ServedAsked, admin: Admin) -> Stream[PictureTold]:
        """Tell each model, and what changes from then on. Raises UnavailableError where too many follow."""


SERVED: Final = Endpoint[SharedModels, ServedAsked, PictureTold](
    operation="served",
    method="GET",
    path="/admin/events/models",
    scope=Scope.READ,
    doc="The models that clients can ask for, with their states, loads and queues, and what changes, as server-sent "
    "events. The first one tells all there are, so that nobody who comes back has missed any. Peers follow it.",
    asks=ServedAsked,
    tells=PictureTold,
    handle=lambda part: part.served,
    errors={503: "Too many follow already."},
    streams=True,
)

ENDPOINTS: Final[Endpoints[SharedModels]] = (SERVED,)
