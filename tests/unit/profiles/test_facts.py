import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import psutil
import pytest

from profiles import facts
from profiles.parsers import Gpu, Sensors

H100 = Gpu("NVIDIA", "NVIDIA H100 80GB HBM3", 81559 << 20, "580.159.04", "9.0")


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Give a function that puts a program of this name and these words on PATH; on it is nothing else."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(facts, "WSL_PROGRAMS", str(folder))
    monkeypatch.setattr(facts, "CARDS", tmp_path / "none")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def put(name: str, script: str) -> Path:
        path: Path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    return put


def test_this_machine():
    found = facts.gather({"llama_cpp": "llama_cpp", "none": "no_such_module_anywhere"})
    assert found.system
    assert found.os
    assert 1 <= found.cpus <= found.machine_cpus == os.cpu_count()
    assert 0 <= found.machine_cores <= found.machine_cpus
    assert 1 << 20 < found.usable_memory_bytes <= found.memory_bytes
    assert found.engines["llama_cpp"][0].isdigit()
    assert "none" not in found.engines


def test_a_version_is_found_without_looking_through_all_that_is_installed(tmp_path, monkeypatch):
    """Beside the module: of a name that begins as its own, and not of one that only begins so."""
    for name, file in (("some_engine-python", "some_engine/__init__.py"), ("some_engine_extras", "some_engine_x/a.py")):
        info = tmp_path / f"{name.replace('-', '_')}-1.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.{len(name)}\n")
        (info / "RECORD").write_text(f"{info.name}/METADATA,,\n{file},,\n")
    for name in ("some_engine", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    look_through = Mock(return_value={})
    monkeypatch.setattr(importlib.metadata, "packages_distributions", look_through)
    assert facts._installed({"some": "some_engine"}) == {"some": "1.18"}
    assert look_through.call_count == 0
    assert facts._installed({"other": "other"}) == {"other": "of an unknown version"}
    assert look_through.call_count == 1


def test_what_other_systems_are_called(monkeypatch):
    monkeypatch.setattr(platform, "mac_ver", lambda: ("15.1", ("", "", ""), "arm64"))
    monkeypatch.setattr(platform, "freedesktop_os_release", dict)
    assert facts._os_name("Darwin", "24.1.0") == "macOS 15.1"
    assert facts._os_name("FreeBSD", "14.1-RELEASE") == "FreeBSD 14.1-RELEASE"


def test_looking_for_an_engine_does_not_import_it():
    assert "wave" not in sys.modules
    assert facts.gather({"wave": "wave"}).engines == {"wave": "of an unknown version"}
    assert "wave" not in sys.modules


def test_an_engine_may_be_a_program_on_path(program):
    """Its module, if it is there too, goes before it: its version is known."""
    server, _ = program("llama-server", "exit 1"), program("yaml", "exit 1")
    found = facts.gather(
        {"llama_server": "no_such_module", "yaml": "yaml", "gone": "no_such_module"},
        {"llama_server": "llama-server", "yaml": "yaml", "gone": "no-such-program"},
    ).engines
    assert found.keys() == {"llama_server", "yaml"}
    assert found["llama_server"] == f"at {server}"
    assert found["yaml"][0].isdigit()


@pytest.mark.usefixtures("program")
def test_without_gpus_no_process_is_started(monkeypatch):
    """A start must not wait for what isn't there."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    assert facts._gpus("Linux", {}) == ((), ())


def test_nvidia_smi_is_asked(program):
    """For what is understood, in the order in which it is."""
    program(
        "nvidia-smi",
        "[ $1 = --query-gpu=index,name,memory.total,driver_version,compute_cap,memory.free,uuid,"
        "utilization.gpu,temperature.gpu,power.draw,enforced.power.limit ] || exit 1\n"
        '[ "$2" = --format=csv,noheader,nounits ] || exit 1\n'
        "echo '0, NVIDIA H100 80GB HBM3, 81559, 580.159.04, 9.0, 81079, GPU-0a, 0, 36, 120.93, 700.00'\n"
        "echo '1, NVIDIA H100 80GB HBM3, 81559, 580.159.04, 9.0, 1000, GPU-1b, 0, 36, [N/A], [N/A]'",
    )
    assert facts._gpus("Linux", {}) == ((H100, H100), ())
    gpus, (note,) = facts._gpus("Linux", {"CUDA_VISIBLE_DEVICES": "1"})
    assert (gpus, note) == ((H100,), "CUDA_VISIBLE_DEVICES hides 1 of 2 NVIDIA GPUs")
    assert (gpus[0].id, gpus[0].uuid, gpus[0].free_bytes) == ("NVIDIA 1", "GPU-1b", 1000 << 20)
    assert [gpu.number for gpu in facts.gpus_now()] == [0, 1]


def test_an_nvidia_smi_that_fails_is_told(program):
    """A driver that was updated and not loaded, most often."""
    program("nvidia-smi", "echo 'NVIDIA-SMI has failed because ...'; exit 9")
    assert facts._gpus("Linux", {}) == ((), ("nvidia-smi names no GPU; it said: NVIDIA-SMI has failed because ...",))


def test_an_nvidia_smi_that_can_not_be_started_is_told(program):
    program("nvidia-smi", "").write_bytes(b"\x7fELF, but not of this machine")
    gpus, (note,) = facts._gpus("Linux", {})
    assert gpus == ()
    assert note.startswith("nvidia-smi can't be started: ")


def test_an_nvidia_smi_that_hangs_is_left(program, monkeypatch):
    """Its time is bounded, and it is no error."""
    monkeypatch.setenv("PATH", os.environ["PATH"] + ":/usr/bin:/bin")
    program("nvidia-smi", "exec sleep 100")
    monkeypatch.setattr(facts, "PATIENCE", 0.05)
    began = time.monotonic()
    gpus, (note,) = facts._gpus("Linux", {})
    assert time.monotonic() - began < 50
    assert gpus == ()
    assert note.startswith("nvidia-smi said nothing within 0.05 s: ")


def test_an_nvidia_smi_that_can_not_be_ended_is_not_started_again(program, monkeypatch):
    """It hangs in its driver; when the driver lets it go, it is."""
    path = program("nvidia-smi", "echo '0, NVIDIA H100 80GB HBM3, 81559, 580.159.04, 9.0, 81079, GPU-0a'")
    stuck = Mock(poll=Mock(return_value=None))
    monkeypatch.setattr(facts, "_hanging", {str(path): stuck})
    assert facts.nvidia_now() == ()
    assert facts.nvidia_apps_now() is None
    stuck.poll.return_value = -9
    assert facts.nvidia_now() == (H100,)
    assert facts._hanging == {}


def test_a_program_that_does_not_end_is_remembered(program, monkeypatch):
    monkeypatch.setattr(facts, "_hanging", {})
    hangs = Mock(stdout=None)
    hangs.communicate.side_effect = hangs.wait.side_effect = subprocess.TimeoutExpired("nvidia-smi", 1)
    monkeypatch.setattr(subprocess, "Popen", Mock(return_value=hangs))
    path = program("nvidia-smi", "")
    assert facts.nvidia_now() == ()
    assert facts._hanging == {str(path): hangs}


def test_processes_on_gpus_are_told_by_nvidia_smi(program):
    program(
        "nvidia-smi",
        '[ "$1" = --query-compute-apps=gpu_uuid,pid,used_gpu_memory ] || exit 1\n'
        '[ "$2" = --format=csv,noheader,nounits ] || exit 1\n'
        "echo 'GPU-0a, 413, 1542'",
    )
    assert facts.nvidia_apps_now() == {"GPU-0a": {413: 1542 << 20}}
    program("nvidia-smi", "").unlink()
    assert facts.nvidia_apps_now() is None


def card(folder: Path, name: str, **files: str) -> None:
    device = folder / name / "device"
    device.mkdir(parents=True)
    for file, text in files.items():
        (device / file).write_text(text + "\n")


def test_amd_cards_are_read_of_their_files(tmp_path):
    """In the order of their numbers; their sockets and others' cards are passed over."""
    for number in (10, 2):
        card(tmp_path, f"card{number}", vendor="0x1002", mem_info_vram_total=str(number << 30), product_name="MI300X")
    card(tmp_path, "card2-DP-1", vendor="0x1002", mem_info_vram_total="1")
    card(tmp_path, "card3", vendor="0x8086")
    (tmp_path / "card10" / "device" / "mem_info_vram_used").write_text(f"{3 << 30}\n")
    hwmon = tmp_path / "card10" / "device" / "hwmon" / "hwmon7"
    hwmon.mkdir(parents=True)
    for name, text in (("temp1_input", "61000"), ("power1_average", "99500000"), ("power1_cap", "750000000")):
        (hwmon / name).write_text(f"{text}\n")
    found = facts._amd(tmp_path)
    assert found == (Gpu("AMD", "MI300X", 2 << 30), Gpu("AMD", "MI300X", 10 << 30))
    assert [(gpu.id, gpu.free_bytes) for gpu in found] == [("AMD 0", None), ("AMD 1", 7 << 30)]
    assert [gpu.sensors for gpu in found] == [None, Sensors(None, 61, 99.5, 750.0)]


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.usefixtures("program")
def test_amd_cards_count_where_they_can_be_computed_with(tmp_path, monkeypatch, there):
    """A container sees its host's cards, whether it may use them or not."""
    card(tmp_path / "drm", "card0", vendor="0x1002", mem_info_vram_total=str(192 << 30), product_name="MI300X")
    monkeypatch.setattr(facts, "CARDS", tmp_path / "drm")
    monkeypatch.setattr(facts, "KFD", tmp_path if there else tmp_path / "none")
    gpus, notes = facts._gpus("Linux", {})
    assert gpus == ((Gpu("AMD", "MI300X", 192 << 30),) if there else ())
    assert [note.startswith("MI300X: can't be computed with") for note in notes] == ([] if there else [True])


def group(root: Path, name: str, **files: str) -> None:
    (root / name).mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        (root / name / file.replace("__", ".")).write_text(text + "\n")


def test_a_containers_limits_of_version_2(tmp_path):
    """The tightest of its group and of those that hold it."""
    group(tmp_path, "a", cpu__max="100000 100000", memory__max="max")
    group(tmp_path, "a/b", cpu__max="max 100000", memory__max=str(4 << 30))
    assert facts._usable_cpus("0::/a/b\n", tmp_path) == 1
    assert facts._memory_limit("0::/a/b\n", tmp_path, 64 << 30) == 4 << 30


def test_a_containers_limits_of_version_1(tmp_path):
    """Its path is the host's, but it sees its own group at the root."""
    membership = "3:memory:/docker/f00\n2:cpu,cpuacct:/docker/f00\n"
    group(tmp_path, "cpu", cpu__cfs_quota_us="50000", cpu__cfs_period_us="100000")
    group(tmp_path, "memory", memory__limit_in_bytes=str(4 << 30))
    assert facts._usable_cpus(membership, tmp_path) == 1
    assert facts._memory_limit(membership, tmp_path, 64 << 30) == 4 << 30


def test_without_a_container_nothing_is_limited(tmp_path):
    group(tmp_path, "memory", memory__limit_in_bytes="9223372036854771712")
    assert facts._memory_limit("3:memory:/\n0::/\n", tmp_path, 64 << 30) is None
    assert facts._usable_cpus("0::/\n", tmp_path) == facts._usable_cpus("", tmp_path) >= 1


def test_a_programs_version(program):
    """Whichever output it is said on; nothing where it isn't said."""
    assert facts.program_version(str(program("llama-server", "echo 'version: 6710 (abc)' >&2"))) == "6710"
    assert facts.program_version(str(program("mute", "exit 1"))) == ""
    assert facts.program_version("/no/such/program") == ""


def test_memory_of_this_machine():
    there = psutil.virtual_memory()
    found = facts.memory_now()
    assert 0 < found.available <= found.total <= there.total


MACHINE = facts.Memory(64 << 30, 50 << 30)


def test_memory_within_control_groups_of_version_2(tmp_path):
    """What is left of the tightest, be it of an outer one; its cached files count as free."""
    stat = f"anon 5\ninactive_file {1 << 30}\nactive_file {2 << 30}\nworkingset_refault_file many"
    group(tmp_path, "a", memory__max=str(16 << 30), memory__current=str(15 << 30), memory__stat=stat)
    group(tmp_path, "a/b", memory__max=str(20 << 30), memory__current=str(2 << 30), memory__stat=stat)
    group(tmp_path, "a/b/c", memory__max="max", memory__current=str(2 << 30))
    assert facts._within("0::/a/b/c\n", tmp_path, MACHINE) == facts.Memory(16 << 30, 4 << 30)


def test_memory_within_a_control_group_of_version_1(tmp_path):
    """Its figures of the whole group are named total_…, not those of itself alone."""
    stat = f"inactive_file 1\nactive_file 2\ntotal_inactive_file {1 << 30}\ntotal_active_file 0"
    files = {"memory__limit_in_bytes": str(8 << 30), "memory__usage_in_bytes": str(5 << 30), "memory__stat": stat}
    group(tmp_path, "memory", **files)
    assert facts._within("3:memory:/docker/f00\n", tmp_path, MACHINE) == facts.Memory(8 << 30, 4 << 30)


def test_memory_of_a_control_group_that_does_not_tell_its_use(tmp_path):
    group(tmp_path, "a", memory__max=str(8 << 30))
    assert facts._within("0::/a\n", tmp_path, MACHINE) == facts.Memory(8 << 30, 8 << 30)


def test_memory_without_limits_is_the_machine_s(tmp_path):
    group(tmp_path, "memory", memory__limit_in_bytes="9223372036854771712", memory__usage_in_bytes="5")
    assert facts._within("3:memory:/\n", tmp_path, MACHINE) == MACHINE
