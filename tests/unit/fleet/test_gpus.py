"""Which GPUs a launch may use, and how they are named to its process."""

import re
from dataclasses import replace

import pytest

from launchers.errors import LaunchError
from profiles import Facts
from profiles.parsers import Gpu
from router.fleet.gpus import allowed, chosen, showing, without_gpu

FOUR = tuple(Gpu("NVIDIA", "H100", 80 << 30, number=number, uuid=f"GPU-{number}") for number in range(4))
CARDS = tuple(Gpu("AMD", "MI300X", 192 << 30, number=number) for number in range(4))
MACHINE = Facts("Linux", "x86_64", "3.11.7", 8, 32 << 30, {}, gpus=FOUR)


@pytest.mark.parametrize(
    ("wish", "numbers"), [("auto", (0, 1, 2, 3)), (0, ()), (2, (0, 1, 2, 3)), ((3, 1), (3, 1)), ((0,), (0,))]
)
def test_a_number_may_use_any_and_a_list_those_alone(wish, numbers):
    assert tuple(gpu.number for gpu in allowed(wish, FOUR)) == numbers


@pytest.mark.parametrize(
    ("wish", "gpus", "why"),
    [
        (5, FOUR, "launch.gpus: 5: this machine has 4, with the numbers 0, 1, 2, 3"),
        (2, FOUR[:1], "launch.gpus: 2: this machine has 1, with the number 0"),
        (1, (), "launch.gpus: 1: this machine has no GPU that engines can use"),
        (
            (0, 7),
            FOUR[:1],
            "launch.gpus: there is no GPU 7 that engines can use: this machine has 1, with the number 0",
        ),
    ],
)
def test_more_than_there_are_is_said_with_those_that_there_are(wish, gpus, why):
    with pytest.raises(LaunchError, match=re.escape(why)):
        allowed(wish, gpus)


@pytest.mark.parametrize(
    ("wish", "used", "numbers"),
    [
        (1, [], (0,)),
        (1, ["NVIDIA 0"], (1,)),
        (2, ["NVIDIA 0", "NVIDIA 0", "NVIDIA 1", "NVIDIA 2"], (1, 3)),
        (0, [], ()),
        ("auto", ["NVIDIA 0"], (0, 1, 2, 3)),
        ((2, 1), ["NVIDIA 2"], (0, 1, 2, 3)),  # the list was applied before
    ],
)
def test_those_are_chosen_that_the_fewest_others_use(wish, used, numbers):
    assert tuple(gpu.number for gpu in chosen(wish, FOUR, used)) == numbers


def test_nvidia_s_are_named_by_their_uuids():
    assert showing(FOUR[2:], FOUR, {}) == {"CUDA_VISIBLE_DEVICES": "GPU-2,GPU-3"}


def test_without_uuids_they_are_numbered_as_nvidia_smi_does():
    nameless = [replace(gpu, uuid="") for gpu in FOUR]
    assert showing(nameless[2:], nameless, {}) == {
        "CUDA_VISIBLE_DEVICES": "2,3",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }


def test_amd_s_are_numbered_among_those_that_the_router_sees():
    assert showing(CARDS[2:], CARDS, {}) == {"HIP_VISIBLE_DEVICES": "2,3"}
    assert showing(CARDS[3:], CARDS[2:], {"HIP_VISIBLE_DEVICES": "2,3"}) == {"HIP_VISIBLE_DEVICES": "3"}
    assert showing(CARDS[3:], CARDS[2:], {"ROCR_VISIBLE_DEVICES": "2,3"}) == {"HIP_VISIBLE_DEVICES": "1"}


def test_none_are_hidden():
    assert showing((), FOUR, {}) == {"CUDA_VISIBLE_DEVICES": "-1"}
    assert showing((), CARDS, {}) == {"HIP_VISIBLE_DEVICES": "-1"}


def test_engines_leave_gpus_alone_in_their_own_words():
    assert without_gpu("llama_cpp", MACHINE) == {"n_gpu_layers": 0}
    assert without_gpu("llama_server", MACHINE) == {"n-gpu-layers": 0}
    assert without_gpu("vllm", replace(MACHINE, gpus=())) == {}


@pytest.mark.parametrize(("engine", "facts"), [("vllm", MACHINE), ("mlx", replace(MACHINE, system="Darwin", gpus=()))])
def test_an_engine_that_needs_a_gpu_is_said(engine, facts):
    with pytest.raises(LaunchError, match=f"launch.gpus: 0: {engine} needs a GPU; write `engine: llama_server`"):
        without_gpu(engine, facts)
