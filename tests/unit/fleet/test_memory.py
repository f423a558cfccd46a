"""What is put together for models that load and unload: limits, and GPUs that tell nothing by process."""

from types import SimpleNamespace

import pytest

from launchers import devices
from launchers.devices import DeviceFigures
from launchers.footprints.parts import RAM
from router.config import Config
from router.core.memory.actions import Load
from router.core.memory.footprints import Placement
from router.fleet.diff import Plan
from router.fleet.memory import Memory, limits, policy
from router.store.remembered import Remembered
from tests.fakes.fleet import Fleet, planned
from tests.unit.fleet.test_loader import entry

GIB = 2**30


def plan(**memory) -> Plan:
    """Give a plan of a machine with RAM and a GPU that tells nothing by process."""
    config = Config.model_validate({"backends": [{"url": "http://127.0.0.1:1"}], "memory": memory})
    return Plan(config, {}, "", devices=(DeviceFigures(RAM, 64 * GIB, 60 * GIB, {}), gpu(20)))


def gpu(free: float) -> DeviceFigures:
    """Give a GPU of 24 GiB, as a container or WSL shows it."""
    return DeviceFigures("gpu", 24 * GIB, int(free * GIB))


@pytest.fixture
async def memory():
    """Give the memory of a fleet that reads no devices of this machine."""
    made = Memory(Fleet().plane, plan(), {"key": Remembered({"gpu": GIB}, 2, raised=False, load_seconds=9.0)}, print)
    yield made
    await made.stop()


def test_limits_are_what_a_person_wrote_or_what_is_left_to_engines():
    """By device."""
    found = limits(plan(limit={"ram": "8GiB"}))
    assert [(each.name, each.limit // GIB, each.total) for each in found] == [(RAM, 8, 64 * GIB), ("gpu", 23, 24 * GIB)]
    assert policy(plan(max_wait="5m").config).max_wait == 300


async def test_what_earlier_runs_learned_counts(memory):
    """Bytes, and how long a load takes."""
    assert memory.residency.footprints.needs(Placement("key", {"gpu": 5 * GIB})) == {"gpu": GIB}


@pytest.mark.parametrize(("meanwhile", "found"), [(False, {RAM: 7, "gpu": 6 * GIB}), (True, {RAM: 7})])
async def test_a_gpu_that_tells_nothing_by_process_is_measured_by_what_is_free(memory, monkeypatch, meanwhile, found):
    """Before and after the load; not where another engine began or ended meanwhile."""
    now = [gpu(20)]
    monkeypatch.setattr(devices, "look", lambda _=(): tuple(now))
    monkeypatch.setattr(devices, "footprint_of", lambda *_: {RAM: 7})
    monkeypatch.setattr(devices, "own", lambda *_: {})
    memory._read({})
    member = SimpleNamespace(
        resident="demo", planned=planned(entry("demo")), supervisor=SimpleNamespace(set_up=lambda _: None)
    )
    memory._prepare(member, Load("demo", Placement("key", {}), {}))
    if meanwhile:
        memory._gone()
    now[0] = gpu(14)
    assert memory._measure("demo", 7) == found
    assert memory._measure("demo", 7) == {RAM: 7}
