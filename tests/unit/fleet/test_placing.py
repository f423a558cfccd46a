"""On which GPUs a launch may be loaded, and what it is given where it doesn't fit: recorded and made-up machines."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from launchers.devices import DeviceFigures, limits
from launchers.engines import ENGINES
from launchers.footprints.parts import RAM
from launchers.gpus import fit
from profiles import Facts
from profiles.parsers import Gpu, nvidia_gpus
from router.config import Config
from router.core.memory.footprints import Footprints
from router.fleet.launches import StartError, plan_launches
from router.fleet.launching import Launch
from router.fleet.loadables import EnginePlacement, loadable_of, placed
from tests.models import GIB, INSTALLED, QWEN, write_gguf, write_hf

CPUS = Facts("Linux", "x86_64", "3.11.7", cpus=8, memory_bytes=64 * GIB, engines=INSTALLED)
MAC = replace(CPUS, system="Darwin", machine="arm64", engines={"mlx": "0.32.2"}, chip="Apple M3 Max")
H200S = nvidia_gpus(
    "0, NVIDIA H200, 143771, 580.159.03, 9.0, 143291, GPU-6f3a\n"
    "1, NVIDIA H200, 143771, 580.159.03, 9.0, 143291, GPU-81bc"
)
SIZED = "it doesn't fit as it is configured, so it has a context of {} tokens instead of {}, as no more fits"


def gpus(count: int, gibibytes: int, kind: str = "X") -> tuple[Gpu, ...]:
    size = gibibytes * GIB
    return tuple(Gpu("NVIDIA", kind, size, number=n, uuid=f"GPU-{n}", free_bytes=size) for n in range(count))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder with a small GGUF, a large one, and a model for vllm."""
    write_gguf(tmp_path / "small.gguf", layers=8, layer=GIB // 4)
    write_gguf(tmp_path / "large.gguf", layers=40, layer=GIB // 2)
    write_hf(tmp_path / "qwen", QWEN, 15 * GIB)
    return tmp_path


@pytest.fixture
def place(folder):
    """Give a function that tells the placements of one launch on a machine."""

    def placing(
        facts: Facts, model: str, *, limits: Mapping[str, int] | None = None, **launch: object
    ) -> list[EnginePlacement]:
        one = launch_of(folder, facts, model, **launch)
        found = loadable_of(one, devices_of(facts), limits=limits, environ={}).placements
        return [placement for placement in found if isinstance(placement, EnginePlacement)]

    return placing


def launch_of(folder: Path, facts: Facts, model: object, **launch: object) -> Launch:
    written = {"name": "demo", "launch": {"model": model, "load": "on_demand", **launch}}
    (one,) = plan_launches(Config.model_validate({"backends": [written]}), folder, ENGINES, facts)[1]
    return one


def devices_of(facts: Facts) -> list[DeviceFigures]:
    own = [DeviceFigures(gpu.id, gpu.memory_bytes, gpu.free_bytes or 0) for gpu in facts.gpus if gpu.memory_bytes]
    return [DeviceFigures(RAM, facts.memory_bytes, facts.memory_bytes), *own]


def on(placements: list[EnginePlacement]) -> list[str]:
    """Give the GPUs of each placement, by their numbers."""
    return ["".join(gpu[-1] for gpu in sorted(each.estimate) if gpu != RAM) for each in placements]


# Which GPUs


def test_a_model_that_fits_one_gpu_may_be_on_any(place):
    """Each process sees its own alone, by its UUID."""
    found = place(replace(CPUS, gpus=gpus(3, 24)), "small.gguf", engine="llama_server")
    assert sorted(on(found)) == ["0", "1", "2"]
    for placement, number in zip(found, on(found), strict=True):
        assert placement.env == {"CUDA_VISIBLE_DEVICES": f"GPU-{number}"}
        assert placement.claim is not None
        assert placement.claim.gpus == (f"NVIDIA {number}",)


def test_models_begin_with_different_gpus(folder):
    """Those that all fit are spread over them."""
    facts = replace(CPUS, gpus=gpus(2, 24))
    firsts = set()
    for name in "abcdefgh":
        one = launch_of(folder, facts, "small.gguf", engine="llama_server")
        named = replace(one, spec=replace(one.spec, name=name))
        firsts.add(next(iter(loadable_of(named, devices_of(facts), environ={}).placements[0].estimate.keys() - {RAM})))
    assert firsts == {"NVIDIA 0", "NVIDIA 1"}


def test_a_model_takes_the_fewest_gpus_on_which_it_fits(place):
    """llama.cpp divides it as it was reserved."""
    (found,) = place(replace(CPUS, gpus=gpus(2, 16)), "large.gguf", engine="llama_cpp")
    assert on([found]) == ["01"]
    assert found.args == {"tensor_split": [15.0, 15.0]}
    three = place(replace(CPUS, gpus=gpus(3, 16)), "large.gguf", engine="llama_cpp")
    assert sorted(on(three)) == ["01", "02", "12"]


def test_vllm_is_spread_over_as_many_as_it_needs(place):
    """A power of two that divides its heads; and not over cards of several kinds."""
    (one,) = place(replace(CPUS, gpus=gpus(1, 24)), "qwen")
    assert one.args["tensor-parallel-size"] == 1
    (two,) = place(replace(CPUS, gpus=gpus(2, 16)), "qwen")
    assert (two.args["tensor-parallel-size"], on([two])) == (2, ["01"])
    mixed = (*gpus(1, 8), gpus(2, 9, "Y")[1])
    assert sorted(on(place(replace(CPUS, gpus=mixed), "qwen"))) == ["0", "1"]


@pytest.mark.parametrize(
    ("wish", "groups"),
    [
        (1, ["0", "1", "2", "3"]),
        (2, ["01", "02", "03", "12", "13", "23"]),
        ([2], ["2"]),
        ([1, 3], ["13"]),
        (4, ["0123"]),
    ],
)
def test_a_number_of_gpus_may_be_any_of_them(place, wish, groups):
    for model in ("qwen", "small.gguf"):
        engine = "vllm" if model == "qwen" else "llama_server"
        found = place(replace(CPUS, gpus=gpus(4, 80)), model, engine=engine, gpus=wish)
        assert sorted(on(found)) == groups


def test_of_many_gpus_neighbours_are_tried(place):
    found = place(replace(CPUS, gpus=gpus(8, 80)), "small.gguf", engine="llama_server", gpus=4)
    assert sorted(on(found)) == ["0123", "4567"]


@pytest.mark.parametrize(
    "launch",
    [
        {"env": {"CUDA_VISIBLE_DEVICES": "1"}},
        {"args": {"main-gpu": 1}},
        {"args": {"tensor-split": "1,1"}},
    ],
)
def test_a_person_s_choice_of_gpus_is_kept(place, launch):
    (found,) = place(replace(CPUS, gpus=gpus(2, 24)), "small.gguf", engine="llama_server", **launch)
    assert found.env == {}
    assert set(found.args) == {"cache-ram"}


def test_vllms_that_start_with_the_router_stay_where_they_were_planned(place):
    (found,) = place(replace(CPUS, gpus=gpus(4, 80)), "qwen", load="startup", unload_after="5m")
    assert (on([found]), found.env) == (["0123"], {})


def test_of_a_model_that_is_not_here_the_plan_s_spread_is_taken(place):
    (found,) = place(replace(CPUS, gpus=gpus(2, 80)), "org/name")
    assert (on([found]), found.args["tensor-parallel-size"]) == (["01"], 2)


def test_a_gpu_that_shares_the_machine_s_memory_is_no_device(place):
    """A DGX Spark: vllm's share is one of RAM, with some of it left for the rest of the engine."""
    spark = replace(CPUS, gpus=(Gpu("NVIDIA", "NVIDIA GB10", None, uuid="GPU-1"),), memory_bytes=128 * GIB)
    (found,) = place(spark, "qwen")
    assert set(found.estimate) == {RAM}
    assert found.args["gpu-memory-utilization"] == 0.8
    assert found.estimate[RAM] < 0.9 * 128 * GIB


# vllm's share


def test_on_demand_it_takes_what_it_can_use_within_the_limit(place):
    (found,) = place(replace(CPUS, gpus=H200S[:1]), "qwen")
    assert found.args["gpu-memory-utilization"] == 0.9
    (found,) = place(replace(CPUS, gpus=gpus(1, 80)), "qwen", limits={RAM: 64 * GIB, "NVIDIA 0": 40 * GIB})
    assert found.args["gpu-memory-utilization"] == 0.5
    assert found.estimate["NVIDIA 0"] == 40 * GIB


def test_what_a_person_said_of_its_memory_is_its_share(place):
    (found,) = place(replace(CPUS, gpus=gpus(1, 80)), "qwen", memory="30GiB")
    assert (found.args["gpu-memory-utilization"], found.estimate["NVIDIA 0"]) == (0.37, 30 * GIB)
    assert (found.is_told, found.grows) == (True, {})
    (found,) = place(replace(CPUS, gpus=gpus(2, 80)), "qwen", memory={"gpu": "40GiB"}, gpus=2)
    assert found.estimate == {**found.estimate, "NVIDIA 0": 20 * GIB, "NVIDIA 1": 20 * GIB}
    (found,) = place(replace(CPUS, gpus=gpus(1, 80)), "qwen", args={"gpu-memory-utilization": 0.6})
    assert found.estimate["NVIDIA 0"] == int(0.6 * 80 * GIB)


def test_a_small_model_s_share_is_of_the_gpu_that_it_is_on(folder, place):
    tiny = {
        **QWEN,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "hidden_size": 64,
        "max_position_embeddings": 4096,
    }
    write_hf(folder / "tiny", tiny, 1 << 20)
    two = (*gpus(1, 40), Gpu("NVIDIA", "Y", 80 * GIB, number=1, uuid="GPU-1", free_bytes=80 * GIB))
    shares = {on([each])[0]: each.args["gpu-memory-utilization"] for each in place(replace(CPUS, gpus=two), "tiny")}
    assert shares == {"0": 0.16, "1": 0.08}


def test_it_is_not_silently_given_much_less(place):
    """What others left of a GPU may be a little less than was reserved; with much less it waits."""
    facts = replace(CPUS, gpus=gpus(1, 80))
    (found,) = place(facts, "qwen")
    assert found.claim is not None
    nearly, half = (replace(facts.gpus[0], free_bytes=gibibytes * GIB) for gibibytes in (70, 50))
    assert fit(found.claim, [nearly], {}).share == 0.86
    assert fit(found.claim, [half], {}).lacks


# What doesn't fit whole


def test_less_context_rather_than_a_layer_on_the_cpu(place):
    (found,) = place(replace(CPUS, gpus=gpus(1, 24)), "large.gguf", engine="llama_server")
    assert found.args["ctx-size"] == 8192
    assert found.note == SIZED.format(8192, 16384)


@pytest.mark.parametrize(("engine", "name"), [("llama_server", "n-gpu-layers"), ("llama_cpp", "n_gpu_layers")])
def test_as_many_layers_on_the_gpu_as_fit(place, engine, name):
    """It is estimated as it will run, and told what it costs."""
    facts = replace(CPUS, gpus=gpus(1, 16))
    (found,) = place(facts, "large.gguf", engine=engine)
    layers = found.args[name]
    assert isinstance(layers, int)
    assert 24 <= layers <= 28
    assert found.note == (
        f"it doesn't fit as it is configured, so it has {layers} of 41 layers on the GPU, as no more fit: the CPU reads"
        f" the other {(41 - layers) / 2:.1f} GiB for each token"
    )
    assert Footprints().needs(found)["NVIDIA 0"] <= 15 * GIB < Footprints().needs(found)["NVIDIA 0"] + GIB
    assert found.estimate[RAM] > 6 * GIB


def test_what_a_person_wrote_is_not_fitted(place):
    """It is refused when it is wanted, with the figures."""
    facts = replace(CPUS, gpus=gpus(1, 16))
    for launch in ({"args": {"n-gpu-layers": 99, "ctx-size": 8192}}, {"memory": {"gpu": "20GiB"}}):
        (found,) = place(facts, "large.gguf", engine="llama_server", **launch)
        assert (found.note, set(found.args)) == ("", {"cache-ram"})


def test_on_cpus_less_context(folder, place):
    """As much as the machine has memory for."""
    write_gguf(folder / "long.gguf", layers=40, layer=GIB // 8, kv_heads=64)
    (found,) = place(replace(CPUS, memory_bytes=12 * GIB), "long.gguf", engine="llama_server")
    assert found.args["ctx-size"] == 4096
    assert found.note == SIZED.format(4096, 8192)


def test_vllm_gets_a_context_that_fits(place):
    (found,) = place(replace(CPUS, gpus=gpus(1, 20)), "qwen")
    length = found.args["max-model-len"]
    assert isinstance(length, int)
    assert 20_000 < length < 32_768
    assert found.note == SIZED.format(length, 32768)
    (found,) = place(replace(CPUS, gpus=gpus(1, 20)), "qwen", args={"max-model-len": 32768})
    assert "max-model-len" not in found.args


def test_what_was_chosen_is_said_once(folder, caplog, capsys):
    facts = replace(CPUS, gpus=gpus(2, 16))
    one = launch_of(folder, facts, "large.gguf", engine="llama_server", gpus=1)
    assert len(loadable_of(one, devices_of(facts), environ={}).placements) == 2
    said = capsys.readouterr().out + caplog.text
    assert said.count("it doesn't fit as it is configured, so it has 2") == 1


# Caches


def test_what_engines_keep_for_later_is_bounded(place):
    """So that it can be reserved. A program may not know the flag; a person's own bound stands."""
    (server,) = place(CPUS, "small.gguf", engine="llama_server")
    assert (server.args, server.grows[RAM] >> 20) == ({"cache-ram": 129}, 129)
    at = replace(CPUS, engines={"llama_server": "at /usr/bin/llama-server"})
    (program,) = place(at, "small.gguf", engine="llama_server")
    assert (program.args, program.env) == ({}, {"LLAMA_ARG_CACHE_RAM": "129"})
    assert program.estimate == server.estimate
    (own,) = place(CPUS, "small.gguf", engine="llama_server", args={"cache-ram": 0})
    assert own.args == {}
    (mac,) = place(MAC, "qwen", limits={RAM: 48 * GIB})
    assert mac.args == {"prompt-cache-bytes": 3 * GIB}
    (older,) = place(replace(MAC, engines={"mlx": "0.31"}), "qwen", limits={RAM: 48 * GIB})
    assert (older.args, older.estimate) == ({}, mac.estimate)


def test_vllm_on_cpus_takes_some_gibibytes_of_cache(place):
    """By itself it takes most of RAM."""
    (found,) = place(CPUS, "qwen", engine="vllm")
    assert found.env == {"VLLM_CPU_KVCACHE_SPACE": "4"}
    assert 19 * GIB < found.estimate[RAM] < 30 * GIB


def test_a_launch_starts_as_it_was_reserved(folder, place):
    facts = replace(CPUS, gpus=gpus(2, 16))
    (found,) = place(facts, "qwen")
    spec = placed(launch_of(folder, facts, "qwen").spec, found)
    assert spec.args["tensor-parallel-size"] == 2
    assert spec.env["CUDA_VISIBLE_DEVICES"] == "GPU-0,GPU-1"
    assert spec.claim == found.claim


# Whatever the machine and the launch

LAUNCHES: Sequence[Mapping[str, object]] = (
    {"model": "small.gguf", "engine": "llama_server"},
    {"model": "large.gguf", "engine": "llama_cpp"},
    {"model": "large.gguf", "engine": "llama_server"},
    {"model": "bad.gguf", "engine": "llama_server"},
    {"model": "qwen", "engine": "vllm"},
    {"model": "org/name", "engine": "vllm"},
    {"model": "org/name:Q4_K_M", "engine": "llama_server"},
)
MORE: Sequence[Mapping[str, object]] = (
    *({},) * 6,
    {"gpus": 0},
    {"gpus": 1},
    {"gpus": 2},
    {"gpus": [1, 0]},
    {"memory": "30GiB"},
    {"memory": {"ram": "2GiB"}},
    {"memory": {"gpu": "10GiB"}},
    {"memory": 0},
    {"args": {"ctx-size": 0, "llama_cpp": {"n_ctx": 0}}},
    {"args": {"n-gpu-layers": 5}},
    {"args": {"gpu-memory-utilization": None}},
    {"args": {"tensor_parallel_size": 1, "pipeline_parallel_size": 2}},
    {"env": {"CUDA_VISIBLE_DEVICES": "0"}},
)


def machine(random: Random) -> Facts:
    """Make up a machine: GPUs of one kind or two, some of which share its memory, or none."""
    sizes = [random.choice((6, 16, 24, 80, None)) for _ in range(2)]
    cards = [sizes[random.random() < 0.2] for _ in range(random.choice((0, 0, 1, 2, 3, 8)))]
    vendor = random.choice(("NVIDIA", "NVIDIA", "AMD"))
    found = tuple(
        Gpu(vendor, f"{size}", size and size * GIB, number=number, uuid=f"GPU-{number}", free_bytes=size and size * GIB)
        for number, size in enumerate(cards)
    )
    return replace(CPUS, gpus=found, memory_bytes=random.choice((2, 8, 64, 512)) * GIB)


@pytest.mark.parametrize("seed", range(4))
def test_every_launch_has_a_placement_that_can_be_started(folder, seed):
    """It claims the GPUs that it takes memory of; one that was fitted has room; keys and arguments are said once."""
    random = Random(seed)  # noqa: S311 -- no secret
    (folder / "bad.gguf").write_bytes(b"GGUF" + b"\0" * GIB.bit_length())
    for _ in range(40):
        facts, launch = machine(random), {**random.choice(LAUNCHES), **random.choice(MORE)}
        try:
            one = launch_of(folder, facts, **launch)
        except StartError:
            continue
        bounds = {each.name: each.limit for each in limits(devices_of(facts), gpu=random.choice((None, 0.5)))}
        found = loadable_of(one, devices_of(facts), limits=bounds, environ={}, quiet=True).placements
        assert len({placement.key for placement in found}) == len(found) > 0
        for placement in found:
            spec = placed(one.spec, placement)
            one.engine.command(spec, 1, one.python)
            assert len({name.replace("_", "-") for name in spec.args}) == len(spec.args)
            on_gpus = placement.estimate.keys() - {RAM}
            assert on_gpus <= set(spec.claim.gpus if spec.claim else ())
            if "doesn't fit" in placement.note:
                assert all(size <= bounds[name] for name, size in Footprints().needs(placement).items())
