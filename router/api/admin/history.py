"""/admin/history: what the router did in the last hour, for charts."""

from collections.abc import Mapping
from typing import Annotated, Final, Protocol

from pydantic import Field

from router.api.admin.endpoint import Asked, Endpoint, Endpoints, Switch, Told
from router.core.scopes import Admin, Scope

Counts = tuple[int, ...]
Figures = tuple[float | None, ...]
KnownCounts = tuple[int | None, ...]


class HistoryAsked(Asked):
    """Which samples."""

    since: Annotated[
        float, Field(ge=0, allow_inf_nan=False, description="the last `at` that is known: only later ones are told")
    ] = 0
    backends: Annotated[Switch, Field(description="true: each backend's series, too")] = False


class BackendHistory(Told):
    """A backend's series: as the router's own."""

    ended: Counts
    failed: Counts
    tokens: Counts
    in_flight: Counts


class DeviceHistory(Told):
    """A device's series: the bytes of it that are used, and how busy it is in percent; null where it wasn't read."""

    used: KnownCounts
    utilisation: KnownCounts


class HistoryTold(Told):
    """Series with a figure for each sample, the oldest one first. A sample is taken every `every` seconds.

    `at` is when it ended, in seconds since the epoch; it covers `seconds`. In these, so many requests `ended`, and so
    many `tokens` came. Some `failed`: with 5xx or 429, or cut off. `prompt_tokens`, `ttft_p50` and `ttft_p99` are of
    the requests that ended; times are in seconds from a request's arrival, null where none ended. `in_flight` and
    `queued` are at the sample's end. `cpu_percent` is of all CPUs (100 is all of them), `router_cpu_percent` of one.
    Backends that had no request in the last hour are left out.
    """

    every: float
    at: tuple[float, ...]
    seconds: tuple[float, ...]
    ended: Counts
    failed: Counts
    prompt_tokens: Counts
    tokens: Counts
    ttft_p50: Figures
    ttft_p99: Figures
    in_flight: Counts
    queued: Counts
    cpu_percent: tuple[float, ...]
    router_cpu_percent: tuple[float, ...]
    devices: Mapping[str, DeviceHistory]
    backends: Mapping[str, BackendHistory] = {}


class ManagedHistory(Protocol):
    """The part of the router that remembers."""

    async def told(self, asked: HistoryAsked, admin: Admin) -> HistoryTold:
        """Tell the samples."""


HISTORY: Final = Endpoint[ManagedHistory, HistoryAsked, HistoryTold](
    operation="history",
    method="GET",
    path="/admin/history",
    scope=Scope.READ,
    doc="The last hour in samples of five seconds: requests, tokens, TTFT, queue, CPU and devices, a list for each.",
    asks=HistoryAsked,
    tells=HistoryTold,
    handle=lambda part: part.told,
    example={"since": 0, "backends": "true"},
)

ENDPOINTS: Final[Endpoints[ManagedHistory]] = (HISTORY,)
