"""/admin/requests: those that are under way, the latest that ended, and an end for one of them."""

from typing import Annotated, Final, Protocol

from pydantic import Field

from router.api.admin.endpoint import Asked, Endpoint, Endpoints, Told
from router.core.scopes import Admin, Scope


class RequestTold(Told):
    """A request under way. Times are in seconds; `key` is the name of the client's key, empty without keys.

    `state` is `queued`, `sent` (nothing of the answer has come) or `answered`. `ahead`: of those queued for the same
    name, how many go first. `ttft` is the time to the first token. `tokens` are the events that have come of a stream,
    about one a token, and `tokens_per_second` their speed.
    """

    id: str
    path: str
    model: str
    key: str
    stream: bool
    state: str
    backend: str | None
    age: float
    bytes: int
    ahead: int | None = None
    ttft: float | None = None
    tokens: int = 0
    tokens_per_second: float | None = None


class RequestsTold(Told):
    """The requests under way, the oldest first, the queued ones last; `total` counts those that are left out, too."""

    total: int
    requests: tuple[RequestTold, ...]


class EndedTold(Told):
    """A request that has ended, at `at` in seconds since the epoch. Times are in seconds.

    `number` rises from one to the next, also where the router has restarted between them. `client` is the address that
    it came from. `outcome` is `answered`, or what went wrong. `prompt_tokens`, `cached_tokens` and `tokens` are the
    engine's counts: of the prompt, of what it had of that in its cache, and of the answer (of a stream that was cut,
    about as many as its events). The speeds are of reading the rest of the prompt, and of what followed the first
    token.
    """

    number: int
    id: str
    at: float
    path: str
    model: str
    key: str
    client: str
    backend: str | None
    status: int
    outcome: str
    attempts: int
    hedge: str
    duration: float
    queued: float
    bytes: int
    ttft: float | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    tokens: int | None = None
    finish_reason: str | None = None
    prompt_tokens_per_second: float | None = None
    tokens_per_second: float | None = None


class RequestsAsked(Asked):
    """How many."""

    limit: Annotated[int, Field(ge=1, le=1000, description="at most so many")] = 1000


class RecentTold(Told):
    """The latest requests that have ended, the last one first.

    `last` is the number of the last one that has ended: to be given as `after`, for those that end from now on.
    `missed`: so many behind `after` are left out, as more than `limit`, or as no longer known.
    """

    last: int
    missed: int
    requests: tuple[EndedTold, ...]


class RecentAsked(Asked):
    """How many, and from where on."""

    limit: Annotated[int, Field(ge=1, le=2000, description="at most so many; the router remembers no more")] = 100
    after: Annotated[int | None, Field(description="a request's number, or `last` of an answer: those behind it")] = (
        None
    )


class CancelAsked(Asked):
    """Which one."""

    id: Annotated[str, Field(description="its x-request-id")]


class ManagedRequests(Protocol):
    """The part of the router that knows of requests."""

    async def requests(self, asked: RequestsAsked, admin: Admin) -> RequestsTold:
        """Describe those that are under way."""

    async def recent(self, asked: RecentAsked, admin: Admin) -> RecentTold:
        """Describe the latest that have ended."""

    async def cancel(self, asked: CancelAsked, admin: Admin) -> RequestsTold:
        """End those with this id, and describe them as they were. Raises NotFoundError where there is none."""


REQUESTS: Final = Endpoint[ManagedRequests, RequestsAsked, RequestsTold](
    operation="requests",
    method="GET",
    path="/admin/requests",
    scope=Scope.READ,
    doc="The requests under way: whose they are, where, for how long, and what has come of their answers.",
    asks=RequestsAsked,
    tells=RequestsTold,
    handle=lambda part: part.requests,
)

RECENT: Final = Endpoint[ManagedRequests, RecentAsked, RecentTold](
    operation="recent",
    method="GET",
    path="/admin/requests/recent",
    scope=Scope.READ,
    doc="The latest requests that have ended, with their tokens, times and outcomes; with `after`, those since then.",
    asks=RecentAsked,
    tells=RecentTold,
    handle=lambda part: part.recent,
    example={"limit": 20},
)

CANCEL: Final = Endpoint[ManagedRequests, CancelAsked, RequestsTold](
    operation="cancel",
    method="POST",
    path="/admin/requests/{id}/cancel",
    scope=Scope.MANAGE,
    doc="End a request now. Its client is told, and its engine stops working on it.",
    lasts=True,
    asks=CancelAsked,
    tells=RequestsTold,
    handle=lambda part: part.cancel,
    errors={404: "No request with this id is under way."},
    example={"id": "3f0c7a52-0000-4000-8000-000000000001"},
)

ENDPOINTS: Final[Endpoints[ManagedRequests]] = (REQUESTS, RECENT, CANCEL)
