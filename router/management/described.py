"""Every backend as /admin/status has it: what the fleet knows, how fast it was, what it holds, who has drained it."""

from collections.abc import Awaitable, Callable
from typing import Final

from launchers.footprints.parts import RAM
from router.api.admin.status import BackendTold
from router.fleet.fleet import Fleet
from router.management.devices import Devices
from router.management.elsewhere import Elsewhere
from router.management.levers import Levers
from router.management.requests import Recent

Describe = Callable[[], Awaitable[tuple[BackendTold, ...]]]

_SHARED: Final = ("state", "engine", "detail", "footprint")
"""What is told of a peer's model as its router tells it."""


class Described:
    """Describes the backends."""

    def __init__(self, fleet: Fleet, recent: Recent, devices: Devices, router: Levers, elsewhere: Elsewhere) -> None:
        self._fleet = fleet
        self._elsewhere = elsewhere
        self._recent = recent
        self._devices = devices
        self._router = router

    async def backends(self) -> tuple[BackendTold, ...]:
        """Describe each backend: those that are there, then those that are ending."""
        devices, speeds = await self._devices.fresh(), self._recent.speeds()
        drained = {each.backend: each for each in self._router.overrides.drained}
        told = self._fleet.told()
        shared = self._shared() if self._elsewhere else {}
        for each in told:
            name = str(each["name"])
            if (found := speeds.get(name)) is not None:
                each["speeds"] = found
            if each.get("ending"):
                continue
            if (peer := self._elsewhere.peer(name)) is not None:
                each |= {"peer": peer, **(shared.get(name, {}) if each["health"] == "up" else {})}
            elif "engine" in each:
                footprint = {device.name: device.held[name] for device in devices if name in device.held}
                each |= {"footprint": footprint, "memory_bytes": footprint.get(RAM)}
            if (drain := drained.get(name)) is not None:
                each |= {"drained": True, "drained_by": drain.by, "drained_since": round(drain.at, 3)}
        return tuple(map(BackendTold.model_validate, told))

    def _shared(self) -> dict[str, dict[str, object]]:
        """Give what peers tell of their models, by the names here."""
        models = self._fleet.models_told()
        return {str(each["name"]): {key: each[key] for key in _SHARED if each.get(key)} for each in models}
