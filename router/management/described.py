"""Every backend as /admin/status has it: what the fleet knows, how fast it was, what it holds, who has drained it."""

from collections.abc import Awaitable, Callable

from launchers.footprints.parts import RAM
from router.api.admin.status import BackendTold
from router.fleet.fleet import Fleet
from router.management.devices import Devices
from router.management.levers import Levers
from router.management.requests import Recent

Describe = Callable[[], Awaitable[tuple[BackendTold, ...]]]


class Described:
    """Describes the backends."""

    def __init__(self, fleet: Fleet, recent: Recent, devices: Devices, router: Levers) -> None:
        self._fleet = fleet
        self._recent = recent
        self._devices = devices
        self._router = router

    async def backends(self) -> tuple[BackendTold, ...]:
        """Describe each backend: those that are there, then those that are ending."""
        devices, speeds = await self._devices.fresh(), self._recent.speeds()
        drained = {each.backend: each for each in self._router.overrides.drained}
        told = self._fleet.told()
        for each in told:
            name = str(each["name"])
            if (found := speeds.get(name)) is not None:
                each["speeds"] = found
            if each.get("ending"):
                continue
            if "engine" in each and "peer" not in each:
                footprint = {device.name: device.held[name] for device in devices if name in device.held}
                each |= {"footprint": footprint, "memory_bytes": footprint.get(RAM)}
            if (drain := drained.get(name)) is not None:
                each |= {"drained": True, "drained_by": drain.by, "drained_since": round(drain.at, 3)}
        return tuple(map(BackendTold.model_validate, told))
