"""The management API: one file a part of it, with the types of requests and answers, and a table of its endpoints.

TABLE has them all. A path that isn't in it isn't answered.
"""

from typing import Any, Final

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
from router.api.admin.endpoint import Endpoint

TABLE: Final[tuple[Endpoint[Any, Any, Any], ...]] = (
    *status.ENDPOINTS,
    *models.ENDPOINTS,
    *backends.ENDPOINTS,
    *requests.ENDPOINTS,
    *history.ENDPOINTS,
    *metrics.ENDPOINTS,
    *usage.ENDPOINTS,
    *keys.ENDPOINTS,
    *logs.ENDPOINTS,
    *peers.ENDPOINTS,
    *configuration.ENDPOINTS,
    *found.ENDPOINTS,
    *llama_swap.ENDPOINTS,
    *upstream.ENDPOINTS,
)
"""Every endpoint, in the order of the docs."""
