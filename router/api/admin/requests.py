"""/admin/requests: those that are under way, the latest that ended, all about one of them, and an end for it."""

from typing import Annotated, Final, Protocol

from pydantic import Field

from router.api.admin.endpoint import Asked, Endpoint, Endpoints, Told
from router.api.admin.status import AwaitedLoad, CandidateTold
from router.core.scopes import Admin, Scope


class RequestTold(Told):
    """A request under way. Times are in seconds; `key` is the name of the client's key, empty without keys.

    `client` is the address that it came from. `state` is `queued`, `sent` (nothing of the answer has come) or
    `answering`. `ahead`: of those queued for the same name, how many go first. `ttft` is the time to the first token.
    `tokens` are the events that have come of a stream, about one a token, and `tokens_per_second` their speed.
    """

    id: str
    path: str
    model: str
    key: str
    client: str = ""
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
    token. `why` says why it went to this backend.
    """

    number: int = 0
    id: str
    at: float
    path: str
    model: str
    key: str
    client: str = ""
    backend: str | None
    status: int
    outcome: str
    attempts: int
    hedge: str
    duration: float
    queued: float
    bytes: int
    why: str = ""
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

    last: int = 0
    missed: int = 0
    requests: tuple[EndedTold, ...]


class RecentAsked(Asked):
    """How many, and from where on."""

    limit: Annotated[int, Field(ge=1, le=2000, description="at most so many; the router remembers no more")] = 100
    after: Annotated[int | None, Field(description="a request's number, or `last` of an answer: those behind it")] = (
        None
    )


class WaitTold(Told):
    """A time in the queue, `begun` and `ended` in seconds since the request came. None: it waits yet.

    For `loading` seconds of it, the model was loaded for it, at `backend`; `load` is how far that is.
    """

    begun: float
    ended: float | None = None
    loading: float = 0.0
    backend: str = ""
    load: AwaitedLoad | None = None


class AttemptTold(Told):
    """One try of a request at one backend. Times are in seconds since the request came.

    `head` and `first_byte` are when these came of its answer, `ended` when it was over; None: not yet, or never.
    `outcome` is `answered`, or how it ended otherwise; empty while it is under way. `status` is that of its answer;
    None: there was none. `beside`: it began beside another one that was slow to answer. `why` says why it was made
    there, and `candidates` has what was compared then: of each backend that could take the request its figures, and of
    the others why they couldn't. `left_out`: so many more than are told.
    """

    backend: str
    begun: float
    head: float | None
    first_byte: float | None
    ended: float | None
    status: int | None
    outcome: str
    beside: bool
    why: str
    candidates: tuple[CandidateTold, ...] = ()
    left_out: int = 0


class TimelineTold(Told):
    """All about a request: what is told of it while it is `under_way`, or once it has `ended`, and its way.

    It came at `at`, in seconds since the epoch. `prefill` are the seconds from the beginning of the last attempt to the
    first token, and `stream` those from there to the end, or until now.
    """

    at: float
    under_way: RequestTold | None = None
    ended: EndedTold | None = None
    waits: tuple[WaitTold, ...]
    attempts: tuple[AttemptTold, ...]
    prefill: float | None
    stream: float | None


class CaptureTold(Told):
    """A request and its answer, as the client sees them. It came at `at`, in seconds since the epoch.

    `request` and `answer` are their bodies, with `\ufffd` for what is no text; `status` is null while
    nothing of an answer has come. `cut`: there was more of them than is kept.
    """

    id: str
    at: float
    path: str
    model: str
    key: str
    request: str
    status: int | None
    answer: str
    cut: bool


class RequestAsked(Asked):
    """Which one."""

    id: Annotated[str, Field(description="its x-request-id")]


class ManagedRequests(Protocol):
    """The part of the router that knows of requests."""

    async def requests(self, asked: RequestsAsked, admin: Admin) -> RequestsTold:
        """Describe those that are under way."""

    async def recent(self, asked: RecentAsked, admin: Admin) -> RecentTold:
        """Describe the latest that have ended."""

    async def timeline(self, asked: RequestAsked, admin: Admin) -> TimelineTold:
        """Tell all about the last one with this id. Raises NotFoundError where there is none."""

    async def capture(self, asked: RequestAsked, admin: Admin) -> CaptureTold:
        """Tell the last one with this id, with its answer. Raises NotFoundError where it isn't kept."""

    async def cancel(self, asked: RequestAsked, admin: Admin) -> RequestsTold:
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

TIMELINE: Final = Endpoint[ManagedRequests, RequestAsked, TimelineTold](
    operation="timeline",
    method="GET",
    path="/admin/requests/{id}",
    scope=Scope.READ,
    doc="A request that is under way, or one of the latest that have ended: its times in the queue, its attempts, and "
    "why each of them was made where it was made.",
    asks=RequestAsked,
    tells=TimelineTold,
    handle=lambda part: part.timeline,
    errors={404: "No request with this id is under way, or among the latest that have ended."},
    example={"id": "3f0c7a52-0000-4000-8000-000000000001"},
)

CAPTURE: Final = Endpoint[ManagedRequests, RequestAsked, CaptureTold](
    operation="capture",
    method="GET",
    path="/admin/requests/{id}/capture",
    scope=Scope.MANAGE,
    doc="What a request said, and what it was answered, word for word, where `telemetry.capture` keeps the last of "
    "them. Heads, in which keys stand, are never kept.",
    asks=RequestAsked,
    tells=CaptureTold,
    handle=lambda part: part.capture,
    errors={404: "It isn't kept: `telemetry.capture` is off, others came since, or the router refused it."},
    example={"id": "3f0c7a52-0000-4000-8000-000000000001"},
)

CANCEL: Final = Endpoint[ManagedRequests, RequestAsked, RequestsTold](
    operation="cancel",
    method="POST",
    path="/admin/requests/{id}/cancel",
    scope=Scope.MANAGE,
    doc="End a request now. Its client is told, and its engine stops working on it.",
    ends=True,
    asks=RequestAsked,
    tells=RequestsTold,
    handle=lambda part: part.cancel,
    errors={404: "No request with this id is under way."},
    example={"id": "3f0c7a52-0000-4000-8000-000000000001"},
)

ENDPOINTS: Final[Endpoints[ManagedRequests]] = (REQUESTS, RECENT, TIMELINE, CAPTURE, CANCEL)
