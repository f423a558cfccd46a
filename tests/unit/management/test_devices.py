"""What is told of devices is read aside, and nobody waits for it for long."""

import asyncio
import sys
import threading
from functools import partial

import pytest
from structlog.testing import capture_logs

from launchers.devices import DeviceFigures
from launchers.footprints.parts import RAM
from profiles import facts
from profiles.parsers import Sensors
from router.management import devices
from router.management.devices import DeviceNow, Devices
from tests.running import eventually

BUSY = Sensors(87, 64, 412.3, 700.0)
GPU = DeviceFigures("NVIDIA 0", 80, 20, sensors=BUSY)


class Engines:
    """The fleet, as far as devices ask it."""

    def __init__(self) -> None:
        self.pids: dict[str, int] = {}
        self.reserved: dict[str, dict[str, int]] = {}


class Clock:
    """The time, which passes where a test says so."""

    now = 1000.0

    def __call__(self) -> float:
        """Tell it."""
        return self.now


class Machine:
    """Devices that are read by `read`, and how often they were."""

    def __init__(self) -> None:
        self.reads = 0
        self.figures: list[DeviceFigures] = [GPU]
        self.held: dict[str, dict[str, int]] = {}
        self.engines, self.clock = Engines(), Clock()
        self.devices = Devices(self.engines, self.read, self.clock)
        self.takes = 0.0
        self.goes_on = threading.Event()
        self.goes_on.set()

    def is_at(self, reads: int) -> bool:
        """Whether they were read so often."""
        return self.reads == reads

    def read(self, roots):
        """Read them, once they may be."""
        assert roots == self.engines.pids
        self.reads += 1
        assert self.goes_on.wait(60)
        self.clock.now += self.takes
        return (DeviceFigures(RAM, 1, 1), *self.figures), self.held


@pytest.fixture
def machine(monkeypatch):
    monkeypatch.setattr(facts, "memory_now", lambda: facts.Memory(100, 90))
    monkeypatch.setattr(facts, "mapped_now", lambda: 15)
    return Machine()


async def test_a_reading_is_good_for_a_while(machine):
    """However many ask, at once or one after another."""
    one, other = await asyncio.gather(machine.devices.fresh(), machine.devices.fresh())
    assert one == other == [DeviceNow(RAM, 100, 90), DeviceNow("NVIDIA 0", 80, 20, {}, BUSY)]
    machine.clock.now += devices.FRESH
    await machine.devices.fresh()
    assert machine.reads == 1
    machine.clock.now += 0.1
    machine.figures = []
    assert [each.name for each in await machine.devices.fresh()] == [RAM]
    assert machine.reads == 2


async def test_an_engine_that_comes_is_looked_at_soon(machine):
    """A reading of before it says nothing of it; but it is no reason to wait."""
    await machine.devices.fresh()
    machine.goes_on.clear()
    machine.engines.pids, machine.held = {"qwen": 7}, {RAM: {"qwen": 20}}
    assert [each.held for each in await machine.devices.fresh()] == [{}, {}]
    machine.goes_on.set()
    await eventually(lambda: machine.devices.now()[0].held == {"qwen": 20})
    assert machine.reads == 2


async def test_a_driver_that_hangs_holds_nobody_up(machine, monkeypatch):
    """What was read before is told, for a while; it isn't read again while it hangs."""
    await machine.devices.fresh()
    monkeypatch.setattr(devices, "WITHIN", 0.01)
    machine.goes_on.clear()
    machine.clock.now += devices.STALE
    assert [each.name for each in await machine.devices.fresh()] == [RAM, "NVIDIA 0"]
    machine.clock.now += 1
    assert [each.name for each in await machine.devices.fresh()] == [RAM]
    assert machine.reads == 2
    machine.goes_on.set()
    await eventually(lambda: len(machine.devices.now()) == 2)


async def test_a_reading_that_fails_is_told_in_the_log(machine):
    """And the next one is taken."""
    machine.figures = None
    with capture_logs() as lines:
        assert [each.name for each in await machine.devices.fresh()] == [RAM]
    machine.figures = [GPU]
    assert len(await machine.devices.fresh()) == 2
    assert [each["log_level"] for each in lines] == ["error"]


async def test_the_history_wakes_no_gpu(machine):
    """It has them read while an engine runs, and seldom where that takes long."""
    machine.devices.watch()
    machine.engines.pids = {"qwen": 7}
    machine.takes = 0.1
    machine.devices.watch()
    await eventually(lambda: len(machine.devices.now()) == 2)
    for seconds, reads in ((25.0, 1), (4.9, 1), (0.2, 2)):
        machine.clock.now += seconds
        machine.devices.watch()
        await asyncio.sleep(0)
        await eventually(partial(machine.is_at, reads))
    assert machine.reads == 2


async def test_who_holds_what(machine):
    """What is measured of a device, else what is reserved of it; who has nothing isn't named."""
    machine.engines.pids = {"qwen": 7, "tiny": 8}
    machine.engines.reserved = {"qwen": {RAM: 5, "NVIDIA 0": 60, "AMD 0": 30}, "old": {}}
    machine.figures = [GPU, DeviceFigures("AMD 0", 50, 20)]
    machine.held = {RAM: {"qwen": 20, "tiny": 3}, "NVIDIA 0": {"qwen": 55, "tiny": 0}}
    ram, nvidia, amd = await machine.devices.fresh()
    assert [each.held for each in (ram, nvidia, amd)] == [{"qwen": 20, "tiny": 3}, {"qwen": 55}, {"qwen": 30}]
    assert ram.free == 75


@pytest.mark.parametrize(("held", "free"), [({}, 90), ({"qwen": 9}, 81), ({"qwen": 14}, 76), ({"a": 13, "b": 13}, 75)])
async def test_what_engines_map_is_not_free(machine, held, free):
    """The system calls it available. What replicas share counts once; what other programs map doesn't count."""
    machine.engines.pids = dict.fromkeys(held, 7)
    machine.held = {RAM: held}
    ram, _ = await machine.devices.fresh()
    assert ram.free == free


async def test_what_one_holds(machine):
    """Nobody waits for it: it is what was read last, and is read anew."""
    machine.engines.pids = {"qwen": 7, "tiny": 8}
    machine.held = {RAM: {"qwen": 20, "tiny": 3}, "NVIDIA 0": {"qwen": 55, "tiny": 0}}
    assert machine.devices.held() == {}
    await eventually(lambda: machine.devices.held() == {"qwen": {RAM: 20, "NVIDIA 0": 55}, "tiny": {RAM: 3}})
    assert machine.reads == 1


async def test_a_mac_reserves_what_its_gpu_has(machine, monkeypatch):
    """It isn't resident in the engine's process."""
    monkeypatch.setattr(sys, "platform", "darwin")
    machine.engines.reserved = {"qwen": {RAM: 50}}
    machine.figures, machine.held = [], {RAM: {"qwen": 2, "tiny": 3}}
    (ram,) = await machine.devices.fresh()
    assert ram.held == {"qwen": 50, "tiny": 3}
