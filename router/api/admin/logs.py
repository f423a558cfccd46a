"""/admin/events and /admin/logs: what happens, and what the router and its engines write."""

from collections.abc import Mapping
from typing import Annotated, Final, Protocol

from pydantic import Field

from router.api.admin.endpoint import OF_PEERS, Asked, Endpoint, Endpoints, Stream, Told
from router.core.scopes import Admin, Scope


class EventTold(Told):
    """Something that happened, at `at` in seconds since the epoch: a line of the router's log, with its details.

    `kind` says what it is about: `backend`, `request`, `reload`, `admin` (what somebody did by this API) or `log`.
    `missed`: so many before it were gone when this follower came to them.
    """

    id: int
    at: float
    kind: str
    level: str
    message: str
    details: Mapping[str, str | int | float] = {}
    missed: int = 0


class EventsTold(Told):
    """The latest events, the first one first."""

    events: tuple[EventTold, ...]


class LineTold(Told):
    """A line of an engine's log. `missed`: so many before it were gone when this follower came to them."""

    line: str
    missed: int = 0


class LinesTold(Told):
    """The last lines of an engine's log."""

    lines: tuple[str, ...]


class LatestAsked(Asked):
    """How many."""

    limit: Annotated[int, Field(ge=1, le=1000, description="at most so many")] = 100


class EventsAsked(Asked):
    """From where on, and how often."""

    after: Annotated[int | None, Field(description="an event's id: go on behind it; Last-Event-ID says the same")] = (
        None
    )
    every: Annotated[
        float,
        Field(
            ge=0, le=10, description="seconds for which events are gathered: each gathering is one piece of the answer"
        ),
    ] = 0.0


class LinesAsked(Asked):
    """Whose log, and how much of it."""

    name: Annotated[
        str, Field(description="that of a launched backend, of a peer's, or of a model that one alone serves")
    ]
    limit: Annotated[int, Field(ge=1, le=1000, description="at most so many lines")] = 100


class FollowAsked(Asked):
    """Whose log."""

    name: Annotated[
        str, Field(description="that of a launched backend, of a peer's, or of a model that one alone serves")
    ]


class ManagedLogs(Protocol):
    """The part of the router that knows what happened."""

    async def logs(self, asked: LatestAsked, admin: Admin) -> EventsTold:
        """Give the latest lines of the router's log."""

    async def events(self, asked: EventsAsked, admin: Admin) -> Stream[EventTold]:
        """Give each line as it comes. Raises UnavailableError where too many follow."""

    async def lines(self, asked: LinesAsked, admin: Admin) -> LinesTold:
        """Give the last lines of an engine's log. Raises NotFoundError and ConflictError."""

    async def follow(self, asked: FollowAsked, admin: Admin) -> Stream[LineTold]:
        """Give each line of an engine's log as it comes. Raises NotFoundError, ConflictError and UnavailableError."""


LOGS: Final = Endpoint[ManagedLogs, LatestAsked, EventsTold](
    operation="logs",
    method="GET",
    path="/admin/logs",
    scope=Scope.READ,
    doc="The latest lines of the router's log: what changed, what went wrong, who did what.",
    asks=LatestAsked,
    tells=EventsTold,
    handle=lambda part: part.logs,
    example={"limit": 20},
)

EVENTS: Final = Endpoint[ManagedLogs, EventsAsked, EventTold](
    operation="events",
    method="GET",
    path="/admin/events",
    scope=Scope.READ,
    doc="The same as they come, as server-sent events. Who comes back with the last id misses none of the latest 1000. "
    "With `every`, a page gets one piece of the answer in so many seconds, however much happens.",
    asks=EventsAsked,
    tells=EventTold,
    handle=lambda part: part.events,
    errors={503: "Too many follow already."},
    streams=True,
)

_ERRORS: Final = {
    404: "There is no such backend.",
    409: "The router doesn't launch it, and has no log of it; or several backends serve the model.",
    **OF_PEERS,
}

LINES: Final = Endpoint[ManagedLogs, LinesAsked, LinesTold](
    operation="lines",
    method="GET",
    path="/admin/backends/{name}/logs",
    scope=Scope.READ,
    doc="The last lines that an engine wrote.",
    asks=LinesAsked,
    tells=LinesTold,
    handle=lambda part: part.lines,
    errors=_ERRORS,
    example={"name": "qwen", "limit": 20},
)

FOLLOW: Final = Endpoint[ManagedLogs, FollowAsked, LineTold](
    operation="follow",
    method="GET",
    path="/admin/backends/{name}/logs/stream",
    scope=Scope.READ,
    doc="What an engine writes from now on, a line an event.",
    asks=FollowAsked,
    tells=LineTold,
    handle=lambda part: part.follow,
    errors={**_ERRORS, 503: "Too many follow already."},
    example={"name": "qwen"},
    streams=True,
)

ENDPOINTS: Final[Endpoints[ManagedLogs]] = (LOGS, EVENTS, LINES, FOLLOW)
