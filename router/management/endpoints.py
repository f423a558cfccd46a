"""Every endpoint of the management API, with the part of the router that answers it."""

from collections.abc import Callable

from aiohttp import web

from router.api.admin import configuration, models, status
from router.config import Config
from router.fleet.fleet import Fleet
from router.fleet.reload import Reloader
from router.management.configuration import Configuration
from router.management.models import Models
from router.management.serving import routes
from router.management.status import Status
from router.proxy.plane import Plane


def endpoints(
    fleet: Fleet, plane: Plane, in_force: Callable[[], Config], reloader: Reloader | None
) -> list[web.RouteDef]:
    """Give the routes of the management API; `in_force` gives the configuration that runs."""
    return [
        *routes(status.ENDPOINTS, Status(fleet, plane, reloader)),
        *routes(models.ENDPOINTS, Models(fleet, plane)),
        *routes(configuration.ENDPOINTS, Configuration(in_force, reloader)),
    ]
