"""What the devices of this machine have, and which backend holds how much of each: for /admin/status and its history.

A device is read in a thread of its own, as a driver may hang: who asks meanwhile gets what was read before. GPUs are
read when somebody asks, and for the history only while an engine of ours runs: to read one that sleeps would wake it.

Of RAM, a backend holds what its processes have resident, which is cheap to read; of a GPU, what its driver tells by
process. Where that isn't known, it is what the router has reserved.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from launchers import devices
from launchers.devices import DeviceFigures
from launchers.footprints.parts import RAM
from profiles import facts
from profiles.parsers import Sensors
from router.telemetry.tasks import aside, heard

FRESH: Final = 5.0
"""Seconds for which a reading is good."""

WITHIN: Final = 1.0
"""Seconds that who asks waits for a new reading at most; nvidia-smi takes 0.1 s, but seconds to start a driver."""

SPARE: Final = 500.0
"""How many times as long as a reading took the history waits for the next one: NVML takes a millisecond, but nvidia-smi
takes 50, and so does `ps` where there is no /proc."""

LASTS: Final = 0.5
"""Seconds for which a description is good, free RAM included: a status asks for it twice, and a page may ask often."""

STALE: Final = 60.0
"""Seconds after which a reading says nothing any more."""

NO_SENSORS: Final = Sensors()

By = Mapping[str, Mapping[str, int]]
"""Bytes by device and by backend, of the devices that tell."""


@dataclass(frozen=True, slots=True)
class DeviceNow:
    """A device, in bytes: what is `free` of its `total`, and what each backend has `held` of it."""

    name: str
    total: int
    free: int
    held: Mapping[str, int] = field(default_factory=dict)
    sensors: Sensors = NO_SENSORS


class Engines(Protocol):
    """What is known of the engines: `router.fleet.fleet.Fleet`."""

    @property
    def pids(self) -> Mapping[str, int]:
        """The process of each backend that has one."""

    @property
    def reserved(self) -> Mapping[str, Mapping[str, int]]:
        """Bytes by device that are reserved for each backend."""


Read = Callable[[Mapping[str, int]], tuple[tuple[DeviceFigures, ...], By]]
"""Reads all devices, and what each backend has there, by the pid of its first process. It may block."""


def read(roots: Mapping[str, int]) -> tuple[tuple[DeviceFigures, ...], By]:
    """Read them."""
    figures = devices.look()
    return figures, devices.held(figures, roots)


class Devices:
    """The devices, and who holds what of them."""

    def __init__(self, engines: Engines, read: Read = read, clock: Callable[[], float] = time.monotonic) -> None:
        self._engines = engines
        self._read = read
        self._clock = clock
        self._gpus: tuple[DeviceFigures, ...] = ()
        self._by: By = {}
        # The engines that were there.
        self._pids: Mapping[str, int] = {}
        # When the last reading began, and ended, and how many seconds one took.
        self._began = self._at = float("-inf")
        self._took = 0.0
        self._reading: asyncio.Task[None] | None = None
        # What was described, and until when it is good.
        self._described: list[DeviceNow] = []
        self._good_until = self._at

    async def fresh(self) -> list[DeviceNow]:
        """Describe them as they are now, or, if that takes long, as they were."""
        if (reading := self._renew()) is not None and self._clock() - self._at > FRESH:
            await asyncio.wait([reading], timeout=max(0.0, self._began + WITHIN - self._clock()))
        return self.now()

    def _renew(self) -> asyncio.Task[None] | None:
        """Begin a reading, if the last one is old or an engine has come or gone since."""
        is_due = self._clock() - self._at > FRESH or self._engines.pids != self._pids
        return self._begin() if is_due else None

    def watch(self) -> None:
        """Read them soon, if it is time to and an engine runs."""
        pids, pause = self._engines.pids, max(FRESH - 0.5, min(SPARE * self._took, STALE / 2))
        if pids and (pids != self._pids or self._clock() - self._at >= pause):
            self._begin()

    def _begin(self) -> asyncio.Task[None]:
        """Give the reading that is under way, or a new one."""
        if self._reading is None or self._reading.done():
            self._began = self._clock()
            self._reading = asyncio.create_task(heard(self._take()), name="devices")
        return self._reading

    async def _take(self) -> None:
        pids = dict(self._engines.pids)
        figures, self._by = await aside(self._read, pids)
        self._pids = pids
        self._gpus = tuple(each for each in figures if each.name != RAM)
        self._at = self._clock()
        self._took, self._good_until = self._at - self._began, self._at

    def held(self) -> dict[str, dict[str, int]]:
        """Tell what each backend was seen to hold, in bytes by device; have that read anew, if it is old."""
        self._renew()
        return {
            backend: {device: by[backend] for device, by in self._by.items() if by.get(backend)}
            for backend in self._pids
        }

    def now(self) -> list[DeviceNow]:
        """Describe them, RAM first; GPUs as they were read last."""
        if self._clock() >= self._good_until:
            self._described, self._good_until = self._describe(), self._clock() + LASTS
        return self._described

    def _describe(self) -> list[DeviceNow]:
        memory, reserved = facts.memory_now(), self._engines.reserved
        held = self._held(RAM, reserved)
        # What an engine maps of a file counts as available to the system. The engine would have to read it again.
        free = max(0, memory.available - min(facts.mapped_now(), sum(held.values())))
        gpus = self._gpus if self._clock() - self._at <= STALE else ()
        return [
            DeviceNow(RAM, memory.total, free, held),
            *(
                DeviceNow(each.name, each.total, each.free, self._held(each.name, reserved), each.sensors or NO_SENSORS)
                for each in gpus
            ),
        ]

    def _held(self, device: str, reserved: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
        """Tell what each backend has of a device."""
        promised = {name: each.get(device, 0) for name, each in reserved.items()}
        found = promised if device not in self._by else {**self._by[device]}
        if device == RAM and sys.platform == "darwin":
            # What a Mac's GPU has isn't resident.
            found |= promised
        return {name: size for name, size in found.items() if size}
