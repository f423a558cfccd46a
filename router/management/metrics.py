"""Answers /metrics: the figures of all parts, written in slices, and those of the engines, if they are asked for."""

import asyncio

from aiohttp import web

from router.api.admin.metrics import MetricsAsked
from router.core.errors import ModelNotFoundError
from router.core.scopes import Admin
from router.management.engine_metrics import EngineMetrics
from router.management.figures import Figures
from router.management.serving import asked_of
from router.proxy.plane import Plane
from router.telemetry.exposition import OPENMETRICS, TEXT, exposition, wants_openmetrics


class CatalogNames:
    """What model names mean, by the plane's catalog: `telemetry.metrics.Names`."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._directory = plane.directory

    @property
    def now(self) -> object:
        """The catalog: it is replaced whole."""
        return self._directory.catalog

    def meant(self, asked: str, backend: str | None) -> tuple[str, str]:
        """Give the model and the route for a name that a client asked for."""
        try:
            name, targets = self._plane.catalog.meant(asked)
        except ModelNotFoundError:
            return "", ""
        if not targets:
            return name, ""
        known = self._plane.backends.get(backend or "")
        served = () if known is None else known.models
        return next((each for each in targets if each in served), targets[0]), name


class Scrapes:
    """Answers `router.api.admin.metrics`."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures
        self._engines = EngineMetrics(figures.plane)

    async def scrape(self, request: web.Request, _: Admin) -> web.StreamResponse:
        """Answer a scrape. Raises BadRequestError.

        Engines' own metrics are in Prometheus's text form, so with them, all of it is.
        """
        asked, accept = await asked_of(request, MetricsAsked), ",".join(request.headers.getall("accept", ()))
        openmetrics = not asked.engines and wants_openmetrics(accept)
        self._figures.counted.tidy(asyncio.get_running_loop().time())
        pages = asyncio.create_task(self._engines.pages()) if asked.engines else None
        body = await exposition(await self._figures.points(), openmetrics=openmetrics)
        if pages is not None:
            body += await pages
        return web.Response(body=body, headers={"content-type": OPENMETRICS if openmetrics else TEXT})
