"""Where launches may be loaded, and what they take there: on machines with GPUs, on a Mac, on CPUs alone."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from launchers.devices import DeviceFigures
from launchers.engines import ENGINES
from launchers.footprints.parts import RAM
from launchers.gpus import Claim
from launchers.record import ProcessRecord
from launchers.spec import LaunchSpec
from profiles import Facts
from profiles.parsers import Gpu
from router.config import Config
from router.core.memory.footprints import Placement
from router.fleet.launches import plan_launches
from router.fleet.launching import Launch
from router.fleet.loadables import EnginePlacement, is_managed, loadable_of, placed
from router.fleet.placements import over, running_first
from tests.models import GIB, INSTALLED, QWEN, write_gguf, write_hf

CPUS = Facts("Linux", "x86_64", "3.11.7", cpus=8, memory_bytes=32 * GIB, engines=INSTALLED)
H200 = Gpu("NVIDIA", "NVIDIA H200", 143771 << 20, uuid="GPU-0", free_bytes=143291 << 20)
ONE_GPU = replace(CPUS, gpus=(H200,))
MAC = Facts("Darwin", "arm64", "3.11.7", cpus=12, memory_bytes=64 * GIB, engines={"mlx": "0.32.2"}, chip="Apple M3 Max")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give router.yaml's folder, with a GGUF of 2 GiB in it, and a model in Hugging Face's layout of 15 GiB."""
    write_gguf(tmp_path / "demo.gguf", layers=8, layer=GIB // 4)
    write_hf(tmp_path / "qwen", QWEN, 15 * GIB)
    return tmp_path


def launched(name: str = "demo", **launch: object) -> dict[str, object]:
    return {"name": name, "launch": {"model": "demo.gguf", **launch}}


def planned(folder: Path, *backends: object, facts: Facts = CPUS) -> tuple[Launch, ...]:
    return plan_launches(Config.model_validate({"backends": list(backends)}), folder, ENGINES, facts)[1]


def devices_of(facts: Facts) -> list[DeviceFigures]:
    gpus = [DeviceFigures(gpu.id, gpu.memory_bytes, gpu.free_bytes or 0) for gpu in facts.gpus if gpu.memory_bytes]
    return [DeviceFigures(RAM, facts.memory_bytes, facts.memory_bytes * 3 // 4), *gpus]


def loadable(folder: Path, facts: Facts = CPUS, **launch: object):
    (one,) = planned(folder, {"name": "demo", "launch": {"model": "demo.gguf", **launch}}, facts=facts)
    return loadable_of(one, devices_of(facts), environ={})


def test_on_cpus_a_model_is_in_ram(folder):
    """Weights, keys and values of 4096 tokens, and the engine itself; the logits of the context come with use."""
    made = loadable(folder)
    (placement,) = made.placements
    assert (made.name, made.slots, made.pinned, made.unload_after, made.start_timeout) == (
        "demo", 1, False, math.inf, 600,
    )  # fmt: skip
    assert set(placement.estimate) == {RAM}
    assert 2.5 * GIB < placement.estimate[RAM] < 3 * GIB
    assert placement.grows == {RAM: 4096 * 32_000 * 4}
    assert not placement.is_told


def test_a_load_takes_as_long_as_its_engine_starts_and_its_files_are_read(folder):
    """Until it has been measured."""
    assert loadable(folder).load_seconds == pytest.approx(2 + 2 * GIB / 500e6, rel=0.01)
    assert loadable(folder, engine="llama_server").load_seconds == pytest.approx(0.5 + 2 * GIB / 500e6, rel=0.01)
    assert loadable(folder, facts=ONE_GPU, model="org/name").load_seconds == 40


def test_on_a_gpu_its_layers_are_there(folder):
    """The engine itself is in RAM."""
    (placement,) = loadable(folder, ONE_GPU, engine="llama_server", args={"cache-ram": 0}).placements
    assert set(placement.estimate) == {RAM, "NVIDIA 0"}
    assert placement.estimate["NVIDIA 0"] > 2 * GIB
    assert placement.estimate[RAM] < GIB / 4


def test_without_layers_on_a_gpu_nothing_is_reserved_there(folder):
    (placement,) = loadable(folder, ONE_GPU, engine="llama_server", args={"n-gpu-layers": 0}).placements
    assert set(placement.estimate) == {RAM}


def test_on_a_mac_there_is_one_memory(folder):
    (placement,) = loadable(folder, MAC, model="qwen").placements
    assert set(placement.estimate) == {RAM}
    assert placement.estimate[RAM] > 15 * GIB


def test_vllm_takes_the_share_that_it_is_told(folder):
    """No margin comes on top, and nothing is learned."""
    (placement,) = loadable(folder, ONE_GPU, model="qwen").placements
    assert placement.estimate["NVIDIA 0"] == int(0.9 * (143771 << 20))
    assert placement.is_told


def test_vllm_takes_its_share_whatever_the_model_is(folder):
    (placement,) = loadable(folder, ONE_GPU, model="org/name").placements
    assert placement.estimate["NVIDIA 0"] == int(0.9 * (143771 << 20))


@pytest.mark.parametrize(
    ("memory", "on_cpus", "ram", "gpu"),
    [
        ("6GiB", 6 * GIB, None, 6 * GIB),
        ({"ram": "6GiB"}, 6 * GIB, 6 * GIB, None),
        ({"gpu": "6GiB"}, None, None, 6 * GIB),
        ({"ram": "1GiB", "gpu": "6GiB"}, GIB, GIB, 6 * GIB),
    ],
)
def test_what_a_person_wrote_counts(folder, memory, on_cpus, ram, gpu):
    """One size is of the device that the model is on. What isn't said is estimated."""
    ((usual,), (usual_on_gpu,)) = (
        loadable(folder, facts, engine="llama_server").placements for facts in (CPUS, ONE_GPU)
    )
    (placement,) = loadable(folder, engine="llama_server", memory=memory).placements
    assert (placement.estimate, placement.is_told) == ({RAM: on_cpus or usual.estimate[RAM]}, True)
    (placement,) = loadable(folder, ONE_GPU, engine="llama_server", memory=memory).placements
    assert placement.is_told
    assert placement.estimate == {
        RAM: ram or usual_on_gpu.estimate[RAM],
        "NVIDIA 0": gpu or usual_on_gpu.estimate["NVIDIA 0"],
    }


def test_a_model_that_is_not_here_is_not_known(folder):
    (placement,) = loadable(folder, model="org/name:Q4_K_M", engine="llama_server").placements
    assert (placement.estimate, placement.is_told) == ({}, False)
    assert placement.note == "its model is not on this disk: what it takes of memory is known once it has loaded"


def test_where_a_header_can_not_be_read_the_size_of_the_file_counts(folder):
    with (folder / "demo.gguf").open("r+b") as file:
        file.write(b"what")
    (on_cpus,) = loadable(folder).placements
    (on_gpu,) = loadable(folder, ONE_GPU, engine="llama_server").placements
    assert 2 * GIB < on_cpus.estimate[RAM] < 3 * GIB
    assert 2 * GIB < on_gpu.estimate["NVIDIA 0"] < 3 * GIB
    assert on_gpu.estimate[RAM] < GIB
    assert on_cpus.note.startswith("what it takes of memory is estimated from the size of its files: ")


def test_files_beside_the_model_count_where_the_model_is(folder):
    with (folder / "mmproj.gguf").open("wb") as file:
        file.truncate(GIB)
    args = {"mmproj": str(folder / "mmproj.gguf")}
    (without,) = loadable(folder, engine="llama_server").placements
    (placement,) = loadable(folder, engine="llama_server", args=args).placements
    assert placement.estimate[RAM] - without.estimate[RAM] == GIB


def test_nothing_is_reserved_where_memory_decides_nothing(folder):
    """Engines start as they always did."""
    (one,) = planned(folder, launched())
    (placement,) = loadable_of(one, devices_of(CPUS), managed=False, environ={}).placements
    assert (placement.estimate, placement.is_told) == ({}, True)
    assert placement.key


@pytest.mark.parametrize(
    ("launches", "managed"),
    [
        ([], False),
        ([{}], False),
        ([{}, {"load": "on_demand"}], True),
        ([{"unload_after": "5m"}], True),
    ],
)
def test_memory_decides_where_a_launch_comes_or_goes(launches, managed):
    backends = [{"name": f"m{at}", "launch": {"model": "m", **launch}} for at, launch in enumerate(launches)] + [
        {"url": "http://gpu-box:8000"}
    ]
    assert is_managed(Config.model_validate({"backends": backends})) is managed


def test_a_key_stays_as_long_as_nothing_changes(folder):
    assert loadable(folder).placements[0].key == loadable(folder).placements[0].key
    assert loadable(folder).placements[0].key == loadable(folder, env={"HF_TOKEN": "s3cr3t"}).placements[0].key
    assert loadable(folder).placements[0].key == loadable(folder, args={"n_threads": 1}).placements[0].key


def test_a_key_changes_with_the_file_the_engine_the_arguments_and_the_devices(folder):
    keys = [
        loadable(folder).placements[0].key,
        loadable(folder, args={"n_ctx": 512}).placements[0].key,
        loadable(folder, env={"GGML_CUDA_NO_PINNED": "1"}).placements[0].key,
        loadable(folder, engine="llama_server").placements[0].key,
        loadable(folder, replace(CPUS, engines={"llama_cpp": "0.4"})).placements[0].key,
        loadable(folder, ONE_GPU, engine="llama_cpp").placements[0].key,
    ]
    (folder / "demo.gguf").touch()
    keys.append(loadable(folder).placements[0].key)
    assert len(set(keys)) == len(keys)


def test_a_program_is_known_by_its_file(folder):
    """It has no version that could be asked for at once."""
    program = folder / "llama-server"
    program.write_bytes(b"1")
    facts = replace(CPUS, engines={"llama_server": f"at {program}"})
    before = loadable(folder, facts).placements[0].key
    program.write_bytes(b"22")
    assert loadable(folder, facts).placements[0].key != before


def test_a_placement_puts_its_own_into_a_launch():
    """Over what the launch has, in the spelling that it has."""
    claim = Claim(("NVIDIA 1",))
    spec = LaunchSpec("a", "llama_cpp", "m", "a", {"n_ctx": 4096, "seed": 1}, {"A": "b"}, 600)
    placement = EnginePlacement("key", {}, args={"n-ctx": 2048, "x": 2}, env={"C": "d"}, claim=claim)
    found = placed(spec, placement)
    assert (found.args, found.env, found.claim) == ({"n_ctx": 2048, "seed": 1, "x": 2}, {"A": "b", "C": "d"}, claim)
    assert placed(spec, Placement("key", {})) is spec
    assert placed(found, EnginePlacement("key", {})).claim == claim


def test_an_engine_that_was_left_running_is_where_it_was(folder):
    """On two GPUs, it may be on the second one."""
    two = replace(CPUS, gpus=(H200, replace(H200, number=1, uuid="GPU-1")))
    (one,) = planned(folder, launched(engine="llama_server", load="on_demand"), facts=two)
    made = loadable_of(one, devices_of(two), environ={})
    first, second = made.placements
    command = one.engine.command(placed(one.spec, second), 4711, one.python)
    record = ProcessRecord("/run/a.json", "demo", 1, "", 4711, command.fingerprint, True, "", 1, "", 1, "", "", "")
    assert running_first(made, one, record).placements == (second, first)
    assert running_first(made, one, record._replace(fingerprint="another")) is made


def test_arguments_keep_their_spelling():
    assert over({"a_b": 1, "c": 2}, {"a-b": 3, "d-e": 4}) == {"a_b": 3, "c": 2, "d-e": 4}
