"""When devices are read, and what memory hears of them."""

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from router.core.memory.devices import Device
from router.core.memory.footprints import Placement
from router.core.memory.residency import Residency
from router.core.memory.resident import Loadable
from router.core.memory.states import State
from router.fleet import gauges
from router.fleet.gauges import Gauges
from tests.running import eventually

if TYPE_CHECKING:
    from router.fleet.loader import Loader

GIB = 2**30


class FakeLoader:
    """Memory of one GPU, of which 20 GiB may be had, with two backends of 12 GiB; their engines are the test's."""

    def __init__(self) -> None:
        self.residency = Residency([Device("gpu", 20 * GIB, 24 * GIB)])
        self.did: list[object] = []
        for name in ("a", "b"):
            self.residency.add(Loadable(name, (Placement(name, {"gpu": 12 * GIB}, is_told=True),)), self.now)

    @property
    def now(self) -> float:
        """The loop's time."""
        return asyncio.get_running_loop().time()

    def do(self, actions) -> None:
        """Note them."""
        self.did += actions

    def pids(self) -> dict[str, int]:
        """One engine that runs."""
        return {"a": 7}


class Readings:
    """Reads one GPU, which has `free` GiB."""

    def __init__(self) -> None:
        self.free = 24
        self.own: dict[str, dict[str, int]] = {}
        self.roots: list[dict[str, int]] = []

    def __call__(self, roots):
        """Read it."""
        self.roots.append(dict(roots))
        return [SimpleNamespace(name="gpu", free=self.free * GIB)], self.own


@pytest.fixture
async def watched():
    """Give a watch that has started, what it feeds and what it reads."""
    loader, readings = FakeLoader(), Readings()
    watch = Gauges(cast("Loader", loader), readings)
    watch.start()
    await eventually(lambda: watch._read_at)
    yield watch, loader, readings
    await watch.stop()


async def test_devices_are_read_at_once_and_then_seldom(watched):
    """While nothing is on its way, what others take matters little."""
    watch, _, readings = watched
    watch.start()  # which changes nothing
    assert readings.roots == [{"a": 7}]
    await asyncio.sleep(0.3)
    assert len(readings.roots) == 1


async def test_memory_that_is_wanted_is_seen_when_it_is_free(watched):
    """As soon as an engine is gone, again and again."""
    watch, loader, readings = watched
    residency = loader.residency
    residency.wanted("a1", "a", loader.now)
    residency.loaded("a", loader.now)
    readings.free = 12
    residency.figures("gpu", 12 * GIB, loader.now)
    residency.ended("a1", loader.now)
    residency.wanted("b1", "b", loader.now)
    assert residency.state("a") is State.UNLOADING
    residency.exited("a", loader.now)
    watch.wake()
    before = len(readings.roots)
    await eventually(lambda: len(readings.roots) > before + 2)
    assert residency.state("a") is State.RELEASING
    readings.free = 24
    await eventually(lambda: residency.state("b") is State.LOADING)


async def test_bytes_by_process_are_told_too(watched):
    """Of devices that know them."""
    watch, loader, readings = watched
    residency = loader.residency
    residency.wanted("a1", "a", loader.now)
    residency.loaded("a", loader.now)
    readings.free, readings.own = 9, {"gpu": {"a": 15 * GIB}}
    residency.wanted("b1", "b", loader.now)
    watch.wake()
    await eventually(lambda: residency.reservations.held("a") == {"gpu": 15 * GIB})


async def test_a_slow_reading_is_not_taken_at_once_again(watched):
    """nvidia-smi takes a core."""
    watch, loader, _ = watched
    residency = loader.residency
    residency.wanted("a1", "a", loader.now)
    residency.loaded("a", loader.now)
    residency.figures("gpu", 12 * GIB, loader.now)
    residency.unload("a", loader.now)
    residency.ended("a1", loader.now)
    residency.exited("a", loader.now)
    assert residency.state("a") is State.RELEASING
    paused = []
    for watch._took in (0.001, 0.06, 1.0):
        paused.append(watch._pause())
    assert paused == [gauges.FREED_WITHIN, pytest.approx(0.3), gauges.BUSY_EVERY]


async def test_a_stop_without_a_start(watched):
    """Nothing runs yet."""
    _, loader, readings = watched
    await Gauges(cast("Loader", loader), readings).stop()
