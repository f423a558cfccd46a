"""audit.log: who asked the management API for a change, and what became of it: a line of JSON a request.

What only reads isn't there. A request to an engine's own path (`/upstream`) has the sentence that router.log has.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog
from aiohttp import web

from router.api.admin.endpoint import Asked, Endpoint
from router.core.errors import RouterError
from router.core.statuses import LEFT
from router.proxy.slow import ADMIN, ID
from router.proxy.unusual import sender_of
from router.telemetry.logs import AUDIT

log = structlog.get_logger(AUDIT)

ASKED = web.RequestKey("asked", Asked)
"""What a request says, once that is read."""

LONGEST: Final = 200
"""Characters of a value that are written."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def audited(endpoint: Endpoint[Any, Any, Any], answer: Handler) -> Handler:
    """Have each request that a handler answers, or refuses, written down."""

    async def noted(request: web.Request) -> web.StreamResponse:
        began = time.monotonic()
        try:
            response = await answer(request)
        except RouterError as error:
            _note(endpoint, request, error.status, error.message, began)
            raise
        except Exception as error:
            _note(endpoint, request, 500, type(error).__name__, began)
            raise
        except BaseException:
            _note(endpoint, request, LEFT, "the client left", began)
            raise
        _note(endpoint, request, response.status, "", began)
        return response

    return noted


def _note(endpoint: Endpoint[Any, Any, Any], request: web.Request, status: int, error: str, began: float) -> None:
    asked = request.get(ASKED)
    # The text of a whole file has secrets.
    said = {} if asked is None else asked.model_dump(mode="json", exclude={asked.raw}, exclude_unset=True)
    log.info(
        endpoint.operation,
        by=request[ADMIN].name,
        client=sender_of(request),
        request_id=request.get(ID, ""),
        method=request.method,
        path=request.path[:LONGEST],
        asked={name: each[:LONGEST] if isinstance(each, str) else each for name, each in said.items()},
        status=status,
        error=error[:LONGEST],
        seconds=round(time.monotonic() - began, 3),
    )
