"""Every endpoint of the management API, with the part of the router that answers it."""

from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from router.api.admin import (
    backends,
    configuration,
    found,
    history,
    keys,
    llama_swap,
    logs,
    metrics,
    models,
    peers,
    requests,
    status,
    upstream,
    usage,
)
from router.core.gate import Gate
from router.fleet.fleet import Fleet
from router.fleet.reload import Reloader
from router.management.backends import Backends
from router.management.budgets import Budgets
from router.management.configuration import Configuration
from router.management.described import Described
from router.management.elsewhere import Elsewhere
from router.management.figures import Figures
from router.management.found import Search
from router.management.history import Historian
from router.management.levers import Levers
from router.management.llama_swap import LikeLlamaSwap
from router.management.logs import Logs
from router.management.metrics import Scrapes
from router.management.models import Models
from router.management.requests import Recent, Requests
from router.management.served import Served
from router.management.serving import routes
from router.management.status import Status
from router.management.upstream import Upstream
from router.management.usage import Usage
from router.proxy.capture import Captures
from router.proxy.plane import Plane
from router.telemetry.feed import Feed


def endpoints(
    fleet: Fleet,
    plane: Plane,
    recent: Recent,
    historian: Historian,
    used: Usage,
    budgets: Budgets,
    feed: Feed,
    folder: Path,
    figures: Figures,
    captures: Callable[[], Captures | None],
    gate: Callable[[], Gate],
    *,
    router: Levers,
    reloader: Reloader | None,
) -> list[web.RouteDef]:
    """Give the routes of the management API.

    `recent` has the requests that have ended, `captures` gives those that are kept whole, `gate` knows who may do what,
    and `folder` has the engines' logs; `router` is all of it.
    """
    elsewhere = Elsewhere(fleet.peers, plane.connections.names)
    of_models, of_requests = Models(fleet, plane, router, elsewhere), Requests(plane, recent, captures)
    describe = Described(fleet, recent, historian.machine.devices, router).backends
    of_logs = Logs(fleet, feed, folder, elsewhere)
    return [
        *routes(status.ENDPOINTS, Status(describe, plane, historian.machine, router, reloader, fleet.silent)),
        *routes(models.ENDPOINTS, of_models),
        *routes(backends.ENDPOINTS, Backends(fleet, describe, router, elsewhere)),
        *routes(requests.ENDPOINTS, of_requests),
        *routes(history.ENDPOINTS, historian),
        *routes(metrics.ENDPOINTS, Scrapes(figures)),
        *routes(usage.ENDPOINTS, used),
        *routes(keys.ENDPOINTS, budgets),
        *routes(logs.ENDPOINTS, of_logs),
        *routes(peers.ENDPOINTS, Served(fleet.models_told, plane, lambda: feed.is_closed, gate)),
        *routes(configuration.ENDPOINTS, Configuration(router, reloader)),
        *routes(found.ENDPOINTS, Search(router)),
        *routes(llama_swap.ENDPOINTS, LikeLlamaSwap(fleet, of_models, of_requests, of_logs, feed)),
        *routes(upstream.ENDPOINTS, Upstream(fleet, plane)),
    ]
