from types import SimpleNamespace
from typing import cast
from unittest.mock import AsyncMock

from profiles.parsers import Sensors
from router.management.devices import DeviceNow, Devices
from router.management.machine import Busy, Machine


class Clock:
    """The time, which passes where a test says so."""

    now = 0.0

    def __call__(self):
        """Tell it."""
        return self.now


def test_a_short_time_is_no_measure():
    """However many ask: the figure is the latest that was taken over a second."""
    clock, figures = Clock(), iter([0.0, 30.0, 70.0])
    busy = Busy(lambda: next(figures), clock)
    assert busy.percent == 0.0
    clock.now = 1.0
    assert [busy.percent, busy.percent] == [30.0, 30.0]
    clock.now = 1.9
    assert busy.percent == 30.0
    clock.now = 2.0
    assert busy.percent == 70.0


async def test_the_machine_is_described():
    there = [
        DeviceNow("ram", 100, 40, {"qwen": 50}),
        DeviceNow("NVIDIA 0", 80, 20, {"qwen": 60}, Sensors(87, 64, 412.3, 700.0)),
    ]
    described = Machine(cast("Devices", SimpleNamespace(fresh=AsyncMock(return_value=there))))
    told = await described.machine()
    assert [each.model_dump() for each in told.devices] == [
        {"name": "ram", "bytes": 100, "free": 40, "held": {"qwen": 50},
         "utilisation": None, "temperature": None, "power": None, "power_limit": None},
        {"name": "NVIDIA 0", "bytes": 80, "free": 20, "held": {"qwen": 60},
         "utilisation": 87, "temperature": 64, "power": 412.3, "power_limit": 700.0},
    ]  # fmt: skip
    assert told.cpus >= 1
    assert 0 < told.memory_available < told.memory_bytes
    router = described.router(3, 1)
    assert (router.in_flight, router.queued) == (3, 1)
    assert router.memory_bytes > 10_000_000
