"""Figures that llama.cpp said (llama-cpp-python 0.3.36, xllamacpp 2026.10) are what the formulas are held against."""

from typing import TYPE_CHECKING

import pytest

from launchers.footprints.estimate import estimate
from launchers.footprints.llama import GPU_BASE
from launchers.footprints.model import Layer, Model, Weights
from launchers.footprints.parts import RAM, Device, Parts

if TYPE_CHECKING:
    from launchers.spec import ArgValue

MIB = 1 << 20
RAM_ALONE = [Device(RAM, 24 << 30, 20 << 30)]
GPUS = [*RAM_ALONE, Device("gpu 0", 80 << 30, 60 << 30), Device("gpu 1", 80 << 30, 20 << 30)]


def a_model(hidden=768, feed_forward=2304, layers=4, vocabulary=32_000, window=0, output=7, kinds=None) -> Model:
    """Of the shape of those that were measured: heads of 64, 4 of keys and values."""
    return Model(
        "qwen2",
        tuple(Layer(256, 256, window if at % 2 else 0) for at in range(layers)),
        hidden // 64,
        hidden,
        feed_forward,
        vocabulary,
        8192,
        Weights((10,) * layers, 5, output, 3, kinds or {"f16": 10 * layers}, "f16"),
    )


def ram(model, engine, args) -> Parts:
    return estimate(model, engine, args, RAM_ALONE).devices[RAM]


@pytest.mark.parametrize(
    ("hidden", "feed_forward", "engine", "args", "said"),
    [
        (768, 2304, "llama_server", {"ctx-size": 8192, "parallel": 2}, 29.02),
        (768, 2304, "llama_server", {"ctx-size": 8192, "parallel": 2, "kv-unified": False}, 25.02),
        (768, 2304, "llama_server", {"ctx-size": 2048, "parallel": 1}, 23.02),
        (768, 2304, "llama_server", {"ctx-size": 8192, "parallel": 2, "ubatch-size": 256, "kv_unified": False}, 12.51),
        (1280, 3456, "llama_server", {"ctx-size": 8192, "parallel": 64}, 40.77),
        (1792, 4864, "llama_server", {"ctx-size": 8192, "parallel": 2}, 54.02),
        (4096, 14336, "llama_server", {"ctx-size": 8192, "parallel": 64}, 132.02),
        (768, 2304, "llama_cpp", {"n_ctx": 4096}, 112.51),
        (768, 2304, "llama_cpp", {"n_ctx": 512}, 65.50),
        (768, 2304, "llama_cpp", {"n_ctx": 4096, "flash_attn": True}, 65.50),
        (768, 2304, "llama_cpp", {"n_ctx": 4096, "n_ubatch": 128}, 28.13),
        (1280, 3456, "llama_cpp", {"n_ctx": 4096}, 181.51),
        (1792, 4864, "llama_cpp", {"n_ctx": 4096}, 250.51),
        (4096, 14336, "llama_cpp", {"n_ctx": 4096}, 561.01),
        (4096, 14336, "llama_cpp", {"n_ctx": 4096, "flash_attn": True}, 120.01),
        (2048, 2048, "llama_cpp", {"n_ctx": 4096}, 285.01),
    ],
)
def test_compute_buffers_are_what_llama_cpp_said(hidden, feed_forward, engine, args, said):
    logits = 32_000 * 4 * (args.get("parallel") or args.get("n_ubatch") or 512)  # beside the buffers
    found = (ram(a_model(hidden, feed_forward), engine, args).compute - logits) / MIB
    assert said * 0.98 < found < said * 1.12


@pytest.mark.parametrize(
    ("engine", "args", "cells"),
    [
        ("llama_server", {"ctx-size": 8192}, 8192),
        ("llama_server", {"ctx_size": 8100}, 8192),  # in steps of 256
        ("llama_server", {}, 8192),  # the model's own
        ("llama_cpp", {}, 2048),
        ("llama_cpp", {"n_ctx": 0}, 8192),
        ("llama_cpp", {"n_ctx": 4096}, 4096),
    ],
)
def test_the_cache_has_all_cells_from_the_start(engine, args, cells):
    assert ram(a_model(), engine, args).cache == cells * 4 * 512 * 2


@pytest.mark.parametrize(
    ("engine", "args", "token"),
    [
        ("llama_server", {"cache-type-k": "q8_0", "cache-type-v": "q4_0"}, 256 * 34 / 32 + 256 * 18 / 32),
        ("llama_server", {"cache_type_k": "f32"}, 256 * 4 + 256 * 2),
        ("llama_server", {"cache_type_k": "what"}, 512 * 2),
        ("llama_cpp", {"n_ctx": 8192, "type_k": 8, "type_v": "8"}, 512 * 34 / 32),
    ],
)
def test_the_type_of_the_cache_counts(engine, args, token):
    assert ram(a_model(), engine, args).cache == 8192 * 4 * token


@pytest.mark.parametrize(
    ("args", "cells"),
    [
        ({"parallel": 2}, 1536),  # 512 for each slot, and a step
        ({"parallel": 2, "kv-unified": False}, 2 * 1024),
        ({"parallel": 1, "ubatch-size": 100}, 768),
        ({"parallel": 64}, 8192),  # no more than the context
        ({"parallel": 2, "swa-full": True}, 8192),
    ],
)
def test_a_layer_with_a_window_has_fewer_cells(args, cells):
    found = ram(a_model(window=512), "llama_server", {"ctx-size": 8192, **args})
    assert found.cache == (2 * 8192 + 2 * cells) * 512 * 2


@pytest.mark.parametrize(("args", "said"), [({"flash_attn": True}, 33.77), ({}, 105.76)])
def test_layers_with_a_window_have_a_mask_of_their_own(args, said):
    """A Gemma 3 with 8 layers, 4 heads of 256, hidden 640, a window of 512, as llama-cpp-python put it."""
    layers = tuple(Layer(256, 256, 0 if at == 5 else 512) for at in range(8))
    model = Model("gemma3", layers, 4, 640, 2048, 742, 32768, Weights((1,) * 8))
    logits = 742 * 4 * 512
    found = ram(model, "llama_cpp", {"n_ctx": 8192, **args})
    assert said * 0.96 < (found.compute - logits) / MIB < said * 1.04
    assert found.cache == 64 * MIB


def test_a_state_is_kept_for_each_slot():
    model = a_model()
    model = Model(**{**{name: getattr(model, name) for name in model.__slots__}, "layers": (Layer(0, 0, state=1000),)})
    assert ram(model, "llama_server", {"parallel": 3}).cache == 3000
    assert ram(model, "llama_cpp", {}).cache == 1000
    assert ram(model, "llama_cpp", {"embedding": True}).cache == 256_000


def test_logits_of_a_whole_context_are_kept_unless_told_otherwise():
    found = ram(a_model(), "llama_cpp", {"n_ctx": 4096})
    assert (found.per_token, found.most_tokens) == (4 * 32_000, 4096)
    assert found.most == found.loaded + 4 * 32_000 * 4096
    assert ram(a_model(), "llama_cpp", {"logits_all": False}).per_token == 0


def test_idle_contexts_are_kept_up_to_a_bound():
    token = 4 * 512 * 2
    found = ram(a_model(), "llama_server", {})
    assert found.per_token * found.most_tokens == 8 << 30
    assert found.kept(10) == 10 * token
    assert found.kept(1 << 40) == 8 << 30
    assert ram(a_model(), "llama_server", {"cache-ram": 0}).per_token == 0


def test_what_is_laid_out_anew_is_spare_once():
    kinds = {"q4_0": 900, "f32": 50}
    found = ram(a_model(kinds=kinds), "llama_server", {})
    assert found.spare == 900
    assert found.weights == 4 * 10 + 5 + 7 + 3


# Devices


def test_without_a_gpu_all_is_in_ram():
    found = estimate(a_model(), "llama_server", {"n-gpu-layers": 99}, RAM_ALONE)
    assert list(found.devices) == [RAM]
    assert found.devices[RAM].weights == 4 * 10 + 5 + 7 + 3


def test_the_last_layers_and_the_output_are_on_gpus_by_what_they_have_free():
    found = estimate(a_model(layers=7), "llama_server", {"n-gpu-layers": 4, "ctx-size": 256}, GPUS).devices
    layer = 256 * 512 * 2
    assert (found[RAM].weights, found[RAM].cache) == (4 * 10 + 5, 4 * layer)
    assert (found["gpu 0"].weights, found["gpu 0"].cache) == (3 * 10, 3 * layer)
    assert (found["gpu 1"].weights, found["gpu 1"].cache) == (7 + 3, 0)
    assert found["gpu 0"].base == GPU_BASE


@pytest.mark.parametrize(
    ("engine", "args", "on_gpus"),
    [
        ("llama_server", {}, 4),  # as many as fit
        ("llama_server", {"gpu_layers": "all"}, 4),
        ("llama_server", {"n-gpu-layers": 0}, 0),
        ("llama_cpp", {}, 0),
        ("llama_cpp", {"n_gpu_layers": -1}, 4),
        ("llama_cpp", {"n_gpu_layers": "2"}, 1),
    ],
)
def test_each_engine_has_its_own_default_of_layers(engine, args, on_gpus):
    found = estimate(a_model(), engine, args, GPUS[:2]).devices
    assert found[RAM].weights == (4 - on_gpus) * 10 + 5 + (0 if "gpu 0" in found else 10)


def test_a_person_may_split_layers_otherwise():
    args: dict[str, ArgValue] = {"n-gpu-layers": 99, "tensor-split": "1,1", "ctx-size": 256}
    found = estimate(a_model(layers=7), "llama_server", args, GPUS).devices
    assert (found["gpu 0"].weights, found["gpu 1"].weights) == (4 * 10, 3 * 10 + 7 + 3)


def test_a_tied_output_is_copied_to_its_gpu():
    found = estimate(a_model(output=0), "llama_cpp", {"n_gpu_layers": -1}, GPUS[:2]).devices
    assert (found[RAM].weights, found["gpu 0"].weights) == (5, 4 * 10 + 5 + 3)


@pytest.mark.parametrize(
    ("engine", "args"), [("llama_server", {"no-kv-offload": True}), ("llama_cpp", {"offload_kqv": False})]
)
def test_the_cache_may_stay_in_ram(engine, args):
    found = estimate(a_model(), engine, {**args, "n_gpu_layers": 99}, GPUS[:2]).devices
    assert found["gpu 0"].cache == 0
    assert found[RAM].cache > 0


def test_no_other_engine_is_estimated():
    with pytest.raises(KeyError):
        estimate(a_model(), "other", {}, RAM_ALONE)
