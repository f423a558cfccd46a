import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import psutil
import pytest

from launchers import devices, kin
from launchers.devices import DeviceFigures, DeviceLimit, OneAtATime, ResidentSizes
from launchers.footprints.parts import RAM
from launchers.footprints.resident import Resident
from launchers.nvml import GpuMemory
from profiles import facts
from profiles.parsers import Gpu, Sensors
from tests.fakes import gpu

MIB, GIB = 1 << 20, 1 << 30
SIZE = 64 << 20
HOLDS = f"""
import subprocess, sys
b = bytearray(b'x') * {SIZE}
pipes = {{'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE}}
child = subprocess.Popen([sys.executable, '-c', sys.argv[1]], **pipes) if sys.argv[1:] else None
if child: child.stdout.readline()
print(child.pid if child else 0, flush=True)
input()
if child: child.communicate(b'\\n')
"""
CHILD = f"b = bytearray(b'x') * {SIZE}; print(flush=True); input()"


@contextmanager
def engine(*words: str) -> Iterator[tuple[int, int]]:
    """Run what stands for an engine, in a session of its own: its first process, and its child's pid, or 0."""
    command = [sys.executable, "-c", HOLDS, *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        yield process.pid, int(process.stdout.readline())
        if process.poll() is None:
            process.communicate(b"\n")


def until(holds, seconds=30.0):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


# What this machine tells


def test_ram_of_this_machine():
    """Beside an engine: its processes' bytes, which are in use; then its footprint, which is the same."""
    with engine(CHILD) as (root, child):
        ram, *_ = devices.look([root])
        there = psutil.virtual_memory()
        assert ram.name == RAM
        assert 0 < ram.free < ram.total <= there.total
        assert ram.by_pid is not None
        assert ram.by_pid.keys() == {root, child}
        assert all(SIZE < each < SIZE + 40 * MIB for each in ram.by_pid.values())
        assert devices.own([ram], {"ours": root, "gone": 1 << 30}) == {
            RAM: {"ours": sum(ram.by_pid.values()), "gone": 0}
        }
        assert devices.footprint_of(root, [ram])[RAM] == pytest.approx(sum(ram.by_pid.values()), abs=8 * MIB)


def test_without_engines_nothing_is_ours():
    ram, *_ = devices.look()
    assert ram.by_pid == {}
    assert devices.own([ram], {}) == {RAM: {}}
    assert devices.footprint_of(1 << 30, [ram]) == {}


def test_an_engine_s_processes_outlive_its_first():
    """Its core was started in its session, and belongs to it when the first is killed."""
    with engine(CHILD) as (root, child):
        os.kill(root, signal.SIGKILL)
        until(lambda: psutil.Process(root).status() == psutil.STATUS_ZOMBIE)
        assert devices.family(root, kin.processes()) == {root, child}
        os.kill(child, signal.SIGKILL)


def test_a_session_of_others_is_not_an_engine_s():
    """A first process that leads no session has its descendants alone; a pid that others have now, nobody else."""
    table = {
        10: kin.Seen(1, 10, "a", alive=True),
        11: kin.Seen(10, 10, "b", alive=True),
        12: kin.Seen(11, 10, "c", alive=True),
        13: kin.Seen(1, 10, "d", alive=True),
        14: kin.Seen(12, 14, "e", alive=True),
    }
    assert devices.family(10, table) == {10, 11, 12, 13, 14}
    assert devices.family(11, table) == {11, 12, 14}
    assert devices.family(99, table) == {99}


def test_mapped_weights_are_in_use(monkeypatch):
    """The system counts them as available, as it could drop them."""
    monkeypatch.setattr(facts, "memory_now", lambda: facts.Memory(64 * GIB, 60 * GIB))
    monkeypatch.setattr(
        devices, "_RESIDENT", SimpleNamespace(read=lambda _: {1: Resident(GIB, 20 * GIB, 2 * GIB, 4 * GIB)})
    )
    ram, *_ = devices.look([1])
    assert (ram.total, ram.free, ram.by_pid) == (64 * GIB, 40 * GIB, {1: 23 * GIB})


def test_where_the_system_tells_nothing_of_processes(monkeypatch):
    monkeypatch.setattr(devices, "_RESIDENT", SimpleNamespace(read=lambda _: {}))
    ram, *_ = devices.look([os.getpid()])
    assert ram.by_pid is None
    assert devices.own([ram], {"ours": os.getpid()}) == {}


# RAM is measured only where it has changed


def test_a_process_is_measured_again_when_it_has_grown(monkeypatch):
    said = iter([Resident(1), Resident(2), Resident(3), None])
    sizes = ResidentSizes(lambda _: next(said))
    rss = [100 * MIB]
    monkeypatch.setattr(
        psutil,
        "Process",
        lambda _: SimpleNamespace(create_time=lambda: 1.0, memory_info=lambda: SimpleNamespace(rss=rss[0])),
    )
    assert sizes.read([5]) == {5: Resident(1)}
    rss[0] += devices.DRIFT
    assert sizes.read([5]) == {5: Resident(1)}
    rss[0] += 1
    assert sizes.read([5]) == {5: Resident(2)}
    monkeypatch.setattr(devices, "STALE", -1.0)
    assert sizes.read([5]) == {5: Resident(3)}
    assert sizes.read([5]) == {}  # the system doesn't tell any more


def test_other_processes_are_still_known_after_a_look_at_one():
    """A load is measured alone, while all engines are looked at for what is free."""
    measured = []

    def measure(pid: int) -> Resident:
        measured.append(pid)
        return Resident(pid)

    sizes = ResidentSizes(measure)
    with engine() as (other, _):
        here = os.getpid()
        assert sizes.read([here, other]) == {here: Resident(here), other: Resident(other)}
        sizes.read([other])
        assert sizes.read([here, other]) == {here: Resident(here), other: Resident(other)}
        assert measured == [here, other]


def test_who_is_gone_is_left_out():
    assert ResidentSizes().read([1 << 30]) == {}


# GPUs


def test_gpus_are_read_by_nvml(monkeypatch):
    """And AMD's of their files, which say nothing of processes."""
    here = os.getpid()
    monkeypatch.setattr(devices, "_NVML", SimpleNamespace(read=lambda: (GpuMemory("NVIDIA 0", 9, 5, {here: 4}),)))
    cards = (Gpu("AMD", "MI300X", 8, free_bytes=7), Gpu("AMD", "none", None), Gpu("AMD", "older", 8))
    monkeypatch.setattr(facts, "amd_now", lambda: cards)
    ram, *gpus = devices.look([here])
    assert gpus == [DeviceFigures("NVIDIA 0", 9, 5, {here: 4}), DeviceFigures("AMD 0", 8, 7)]
    assert devices.own(gpus, {"ours": here, "other": 1 << 30}) == {"NVIDIA 0": {"ours": 4, "other": 0}}
    footprint = devices.footprint_of(here, [ram, *gpus])
    assert footprint.keys() == {RAM, "NVIDIA 0"}
    assert footprint["NVIDIA 0"] == 4


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Two GPUs of 20,000 MiB that an nvidia-smi tells of; there is no NVML."""
    for name, value in gpu.install(tmp_path / "gpu", 20_000, 2).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(devices, "_NVML", SimpleNamespace(read=lambda: None))
    return tmp_path / "gpu"


def test_gpus_are_read_by_nvidia_smi(machine):
    """Where there is no NVML."""
    gpu.hold(machine, 5000, os.getpid())
    _, first, second = devices.look()
    reserved, sensors = gpu.RESERVED * MIB, Sensors(37, 41, 212.3, 700.0)
    here = {os.getpid(): 5000 * MIB}
    assert first == DeviceFigures("NVIDIA 0", 20_000 * MIB, 15_000 * MIB - reserved, here, sensors=sensors)
    assert second == DeviceFigures("NVIDIA 1", 20_000 * MIB, 20_000 * MIB - reserved, {}, sensors=sensors)


def test_who_holds_what(machine):
    """Of a GPU as it tells by process, of RAM what is resident of an engine's whole family."""
    with engine(CHILD) as (root, child):
        gpu.hold(machine, 3000, child)
        found = devices.held(devices.look(), {"ours": root, "gone": 1 << 30})
    assert 2 * SIZE < found[RAM]["ours"] < 2 * SIZE + 100 * MIB
    assert found == {
        RAM: {"ours": found[RAM]["ours"], "gone": 0},
        "NVIDIA 0": {"ours": 3000 * MIB, "gone": 0},
        "NVIDIA 1": {"ours": 0, "gone": 0},
    }


def test_what_sensors_tell(monkeypatch):
    told = GpuMemory("NVIDIA 0", 9, 5, None, Sensors(5))
    monkeypatch.setattr(devices, "_NVML", SimpleNamespace(read=lambda: (told,)))
    monkeypatch.setattr(facts, "amd_now", lambda: (Gpu("AMD", "MI300X", 8, free_bytes=7, sensors=Sensors(6)),))
    assert [each.sensors for each in devices.look()] == [None, Sensors(5), Sensors(6)]


@pytest.mark.parametrize("said", ["413, [N/A]", "[Insufficient Permissions]"])
def test_an_nvidia_smi_that_does_not_tell_of_processes(machine, said):
    program = machine / "bin" / "nvidia-smi"
    program.write_text(
        f"#!/bin/sh\ncase $1 in *apps*) echo 'GPU-0, {said}';; *) echo '0, H100, 81559, 580, 9, 81079, GPU-0';; esac\n"
    )
    _, only = devices.look()
    assert only == DeviceFigures("NVIDIA 0", 81559 * MIB, 81079 * MIB, None)


@pytest.mark.parametrize(
    ("by_pid", "free", "believed"),
    [
        ({os.getpid(): 5}, 0, True),
        ({os.getpid(): 5, 1 << 30: 6}, 0, False),
        ({}, 8 * GIB - 615 * MIB, True),
        ({}, 7 * GIB, False),
        (None, 0, False),
    ],
)
def test_which_lists_of_processes_are_believed(by_pid, free, believed):
    """None with pids of another machine's namespace; none that is empty where much is used."""
    assert devices.shown(GpuMemory("NVIDIA 0", 8 * GIB, free, by_pid)) == (by_pid if believed else None)


def test_a_driver_that_hangs_is_left_behind(monkeypatch):
    """RAM is told without it; it isn't called again while it hangs; afterwards, GPUs are told again."""
    release, calls = threading.Event(), []

    def hang() -> tuple[GpuMemory, ...]:
        calls.append(1)
        release.wait(60)
        return ()

    monkeypatch.setattr(devices, "_NVML", SimpleNamespace(read=hang))
    monkeypatch.setattr(devices, "_GPUS", OneAtATime())
    monkeypatch.setattr(devices, "PATIENCE", 0.05)
    for _ in range(3):
        (ram,) = devices.look()
        assert ram.name == RAM
    assert len(calls) == 1
    release.set()
    monkeypatch.setattr(devices, "PATIENCE", 30.0)
    monkeypatch.setattr(devices, "_NVML", SimpleNamespace(read=lambda: (GpuMemory("NVIDIA 0", 9, 5, None),)))
    assert devices.look()[1:2] == (DeviceFigures("NVIDIA 0", 9, 5, None),)


def test_free_memory_that_has_fallen_stands_for_a_footprint():
    """Of GPUs that don't tell by process, and were there before."""
    before = [DeviceFigures(RAM, 9, 9), DeviceFigures("AMD 0", 9, 8), DeviceFigures("AMD 1", 9, 2)]
    after = [
        DeviceFigures(RAM, 9, 3), DeviceFigures("AMD 0", 9, 3), DeviceFigures("AMD 1", 9, 4),
        DeviceFigures("NVIDIA 0", 9, 1, {}), DeviceFigures("AMD 2", 9, 1),
    ]  # fmt: skip
    assert devices.by_difference(before, after) == {"AMD 0": 5, "AMD 1": 0}


# A Mac


@pytest.mark.parametrize(
    ("total", "allowed", "ceiling"),
    [(24, None, 16), (36, None, 27), (128, None, 96), (128, 120, 120), (128, 200, 128)],
)
def test_what_metal_may_take(total, allowed, ceiling):
    assert devices.metal_ceiling(total * GIB, None if allowed is None else allowed * GIB) == ceiling * GIB


@pytest.mark.parametrize(("said", "ceiling"), [("0\n", 24 * GIB), ("", 24 * GIB), ("30720\n", 30 * GIB)])
def test_a_mac_has_one_device(monkeypatch, said, ceiling):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(facts, "METAL_LIMIT", ("printf", said.replace("\n", "\\n")))
    monkeypatch.setattr(facts, "memory_now", lambda: facts.Memory(36 * GIB, 30 * GIB))
    monkeypatch.setattr(kin, "processes", dict)
    monkeypatch.setattr(devices, "_read_gpus", lambda: 1 / 0)
    (ram,) = devices.look()
    assert ram.name == RAM
    assert ram.ceiling == (ceiling if said.startswith("3") else 27 * GIB)


# Limits


def test_limits_that_a_person_wrote():
    """Bytes, or a share; no more than there is."""
    figures = [DeviceFigures(RAM, 64 * GIB, 0, ceiling=40 * GIB), DeviceFigures("NVIDIA 0", 80 * GIB, 0)]
    assert devices.limits(figures, 48 * GIB, 0.5) == (
        DeviceLimit(RAM, 64 * GIB, 48 * GIB),
        DeviceLimit("NVIDIA 0", 80 * GIB, 40 * GIB),
    )
    assert [each.limit for each in devices.limits(figures, 1.0, 99 * GIB)] == [64 * GIB, 80 * GIB]


@pytest.mark.parametrize(
    ("name", "total", "ceiling", "limit"),
    [
        (RAM, 4 * GIB, None, 3 * GIB),
        (RAM, 16 * GIB, None, 14 * GIB),
        (RAM, 100 * GIB, None, 90 * GIB),
        (RAM, 100 * GIB, 75 * GIB, 75 * GIB),
        ("NVIDIA 0", 8 * GIB, None, 7680 * MIB),
        ("NVIDIA 0", 24 * GIB, None, 23 * GIB),
        ("NVIDIA 0", 100 * GIB, None, 98 * GIB),
    ],
)
def test_limits_without_a_wish(name, total, ceiling, limit):
    assert devices.limits([DeviceFigures(name, total, 0, ceiling=ceiling)]) == (DeviceLimit(name, total, limit),)
