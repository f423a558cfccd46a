"""What runs, who waits, where a request would go."""

from importlib.metadata import version

from router.api.admin import TABLE
from router.api.admin.endpoint import Nothing
from router.api.admin.openapi import described
from router.api.admin.status import Description, ExplainAsked, Explained, StatusTold
from router.core.scopes import Admin
from router.fleet.fleet import Fleet
from router.fleet.reload import Reloader
from router.proxy.plane import Plane


class Status:
    """Answers `router.api.admin.status`."""

    def __init__(self, fleet: Fleet, plane: Plane, reloader: Reloader | None) -> None:
        self._fleet = fleet
        self._plane = plane
        self._reloader = reloader

    async def status(self, _: Nothing, _admin: Admin) -> StatusTold:
        """Describe every backend, the queues, and the last reload."""
        last = None if self._reloader is None else self._reloader.last
        return StatusTold.model_validate(
            {
                "backends": self._fleet.told(),
                "queues": self._plane.queues.told(),
                "reload": None if last is None else last.told(),
            }
        )

    async def explain(self, asked: ExplainAsked, _: Admin) -> Explained:
        """Tell where a request would go now, and why. Raises ModelNotFoundError."""
        return Explained.model_validate(self._plane.explain(asked.model, asked.size))

    async def openapi(self, _: Nothing, _admin: Admin) -> Description:
        """Describe the management API."""
        return Description(described(TABLE, version("router")))
