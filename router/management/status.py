"""What runs, who waits, where a request would go."""

from importlib.metadata import version

from router.api.admin import TABLE
from router.api.admin.endpoint import Nothing
from router.api.admin.openapi import described
from router.api.admin.status import AdminTold, Description, ExplainAsked, Explained, OverrideTold, StatusTold
from router.core.scopes import Admin
from router.fleet.fleet import Fleet
from router.fleet.overrides import Override
from router.fleet.reload import Reloader
from router.management.levers import Levers
from router.management.machine import Machine
from router.management.requests import Recent
from router.proxy.plane import Plane


class Status:
    """Answers `router.api.admin.status`."""

    def __init__(
        self, fleet: Fleet, plane: Plane, recent: Recent, machine: Machine, router: Levers, reloader: Reloader | None
    ) -> None:
        self._fleet = fleet
        self._plane = plane
        self._recent = recent
        self._machine = machine
        self._router = router
        self._reloader = reloader

    async def status(self, _: Nothing, _admin: Admin) -> StatusTold:
        """Describe the router, the machine, every backend, the queues, and the last reload."""
        plane, last = self._plane, None if self._reloader is None else self._reloader.last
        machine, speeds = await self._machine.machine(), self._recent.speeds()
        backends = self._fleet.told()
        for each in backends:
            if (found := speeds.get(str(each["name"]))) is not None:
                each["speeds"] = found
        told = {
            "router": self._machine.router(len(plane.exchanges), len(plane.dispatcher.admission)),
            "machine": machine,
            "backends": backends,
            "queues": plane.queues.told(),
            "reload": None if last is None else last.told(),
            "overrides": tuple(map(_override, self._router.overrides.kept)),
        }
        return StatusTold.model_validate(told)

    async def explain(self, asked: ExplainAsked, _: Admin) -> Explained:
        """Tell where a request would go now, and why. Raises ModelNotFoundError."""
        return Explained.model_validate(self._plane.explain(asked.model, asked.size))

    async def whoami(self, _: Nothing, admin: Admin) -> AdminTold:
        """Tell who asks."""
        return AdminTold(name=admin.name, scopes=tuple(admin.scopes))

    async def openapi(self, _: Nothing, _admin: Admin) -> Description:
        """Describe the management API."""
        return Description(described(TABLE, version("router")))


def _override(each: Override) -> OverrideTold:
    return OverrideTold(
        backend=each.entry.name,
        key=each.key,
        value=each.value,
        written=each.written,
        by=each.by,
        since=round(each.at, 3),
    )
