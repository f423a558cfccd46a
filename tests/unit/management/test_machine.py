import asyncio

from launchers.devices import DeviceFigures
from router.management import machine
from router.management.machine import Lag, Machine


async def test_the_loops_lag_is_the_worst_of_a_minute(monkeypatch):
    """Whatever holds the loop up makes its timers late."""
    monkeypatch.setattr(machine, "SAMPLE_EVERY", 0.01)
    lag = Lag()
    assert lag.worst == 0.0
    lag.start()
    loop = asyncio.get_running_loop()
    until = loop.time() + 0.2
    while loop.time() < until:
        pass
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert 0.1 < lag.worst < 10
    lag.stop()


async def test_the_machine_is_described():
    """Its devices are read once in a while, however often somebody asks."""
    looks = []

    def look():
        looks.append(1)
        return [DeviceFigures("ram", 100, 40)]

    described = Machine(look)
    for _ in range(3):
        told = await described.machine()
    assert [(each.name, each.bytes, each.free) for each in told.devices] == [("ram", 100, 40)]
    assert told.cpus >= 1
    assert 0 < told.memory_available < told.memory_bytes
    assert len(looks) == 1
    router = described.router(3, 1)
    assert (router.in_flight, router.queued) == (3, 1)
    assert router.memory_bytes > 10_000_000
