"""/metrics: figures for Prometheus. docs/metrics.md has them all."""

from typing import Annotated, Any, Final, Protocol

from pydantic import Field, RootModel

from router.api.admin.endpoint import Asked, Endpoint, Endpoints, Switch
from router.core.scopes import Scope

PATH: Final = "/metrics"


class MetricsAsked(Asked):
    """Whether those of the engines are wanted, too."""

    engines: Annotated[
        Switch, Field(description="also the metrics of each launched engine that answers, with the label `backend`")
    ] = False


class MetricsTold(RootModel[str]):
    """The figures, in Prometheus's text form; as OpenMetrics, where the header Accept asks for that."""


class ManagedMetrics(Protocol):
    """The part of the router that counts."""

    async def scrape(self, request: Any, admin: Any) -> Any:  # noqa: ANN401 - aiohttp's types, which this layer hasn't
        """Answer a scrape. Raises BadRequestError."""


METRICS: Final = Endpoint[ManagedMetrics, MetricsAsked, MetricsTold](
    operation="metrics",
    method="GET",
    path=PATH,
    scope=Scope.READ,
    doc="Figures for Prometheus ([metrics.md](metrics.md)). With `telemetry.metrics: open`, everybody may ask.",
    asks=MetricsAsked,
    tells=MetricsTold,
    handle=lambda part: part.scrape,
    passes=True,
)

ENDPOINTS: Final[Endpoints[ManagedMetrics]] = (METRICS,)
