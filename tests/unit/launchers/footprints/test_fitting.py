"""Arguments with which a model fits: caches, context, layers. Sizes are small, so that they can be followed."""

from dataclasses import replace

import pytest

from launchers.footprints.estimate import estimate
from launchers.footprints.fitting import (
    LAST_CONTEXT,
    LEAST_CONTEXT,
    Fitted,
    fit_llama,
    fit_vllm,
    fits,
    frugal,
    spelled,
    vllm_room,
    vllm_token,
)
from launchers.footprints.model import Layer, Model, Weights
from launchers.footprints.parts import RAM, Device

GIB = 1 << 30
MODEL = Model(
    "llama", (Layer(512, 512),) * 32, 16, 2048, 8192, 32_000, 32768, Weights((GIB // 4,) * 32, GIB // 8, GIB // 8)
)
ON_GPU = [Device(RAM, 64 * GIB, 64 * GIB), Device("gpu 0", 80 * GIB, 80 * GIB)]
CPU = [Device(RAM, 64 * GIB, 64 * GIB)]
SERVER = {"parallel": 4, "ctx-size": 16384, "cache-ram": 0, "n-gpu-layers": 99}
PLAIN = {"n_ctx": 4096, "n_gpu_layers": -1, "logits_all": False}


def needs(engine, args, devices=ON_GPU):
    return estimate(MODEL, engine, args, devices)


def test_a_device_without_room_is_told_whatever_the_others_have():
    found = needs("llama_server", SERVER)
    rooms = {name: parts.most for name, parts in found.devices.items()}
    assert fits(found, rooms)
    assert not fits(found, {**rooms, "gpu 0": rooms["gpu 0"] - 1})
    assert not fits(found, {RAM: 1 << 50})


@pytest.mark.parametrize("context", [8192, 10_000])
def test_the_largest_half_of_the_context_is_taken_with_which_all_layers_fit(context):
    room = needs("llama_server", {**SERVER, "ctx-size": context}).devices["gpu 0"].most
    found = fit_llama(MODEL, "llama_server", SERVER, ON_GPU, {RAM: 64 * GIB, "gpu 0": room})
    assert found == Fitted({"ctx-size": 8192}, note="a context of 8192 tokens instead of 16384, as no more fits")


@pytest.mark.parametrize(("engine", "args", "slots"), [("llama_server", SERVER, 4), ("llama_cpp", PLAIN, 1)])
@pytest.mark.parametrize("gibibytes", range(2, 9))
def test_with_one_layer_more_the_gpu_had_no_room(engine, args, slots, gibibytes):
    """Whatever there is, as much as possible of it is used; the context is whole."""
    rooms = {RAM: 64 * GIB, "gpu 0": gibibytes * GIB}
    found = fit_llama(MODEL, engine, args, ON_GPU, rooms)
    assert found is not None
    layers = found.args["n-gpu-layers"]
    assert isinstance(layers, int)
    assert set(found.args) == {"n-gpu-layers"}
    name = spelled(engine, "n-gpu-layers")
    assert fits(needs(engine, {**args, name: layers}), rooms)
    assert not fits(needs(engine, {**args, name: layers + 1}), rooms)
    assert LEAST_CONTEXT * slots <= 16384


def test_where_ram_has_no_room_for_the_rest_context_is_given_up_too():
    whole = needs("llama_server", {**SERVER, "n-gpu-layers": 8, "ctx-size": 8192})
    rooms = {name: parts.most for name, parts in whole.devices.items()}
    found = fit_llama(MODEL, "llama_server", SERVER, ON_GPU, rooms)
    assert found is not None
    assert found.args["ctx-size"] in {4096, 8192}
    assert found.note.endswith("tokens instead of 16384, as no more fits")
    assert fits(needs("llama_server", {**SERVER, **found.args}), rooms)


def test_llama_cpp_gives_up_log_probabilities_before_context():
    """They take a part of RAM for each token of the context, which few ask for."""
    args = {"n_ctx": 4096}
    whole, plain = (needs("llama_cpp", {**args, "logits_all": said}, CPU).devices[RAM].most for said in (True, False))
    assert whole - plain == 4096 * 32_000 * 4
    assert fit_llama(MODEL, "llama_cpp", args, CPU, {RAM: plain}) == Fitted(
        {"logits-all": False}, note="no log probabilities"
    )
    found = fit_llama(MODEL, "llama_cpp", args, CPU, {RAM: plain - 1})
    assert found is not None
    assert found.args == {"n-ctx": 2048, "logits-all": False}
    assert found.note == "a context of 2048 tokens instead of 4096, as no more fits; no log probabilities"
    kept = fit_llama(MODEL, "llama_cpp", {**args, "logits_all": True}, CPU, {RAM: plain}, {"logits-all"})
    assert kept is not None
    assert kept.args == {"n-ctx": 1024}
    assert fit_llama(MODEL, "llama_cpp", args, CPU, {RAM: plain // 2}) is None


def test_on_a_gpu_it_keeps_them_where_ram_has_room():
    rooms = {RAM: 64 * GIB, "gpu 0": 4 * GIB}
    found = fit_llama(MODEL, "llama_cpp", {"n_ctx": 4096, "n_gpu_layers": -1}, ON_GPU, rooms)
    assert found is not None
    assert set(found.args) == {"n-gpu-layers"}


def test_on_a_cpu_the_context_may_fall_further():
    args = {"parallel": 2, "ctx-size": 8192, "cache-ram": 0}
    room = needs("llama_server", {**args, "ctx-size": 2 * LAST_CONTEXT}, CPU).devices[RAM].most
    found = fit_llama(MODEL, "llama_server", args, CPU, {RAM: room})
    assert found is not None
    assert found.args == {"ctx-size": 2 * LAST_CONTEXT}
    assert fit_llama(MODEL, "llama_server", args, CPU, {RAM: room - GIB}) is None


def test_without_a_context_the_model_s_own_is_halved():
    room = needs("llama_server", {**SERVER, "ctx-size": 20_000}).devices["gpu 0"].most
    without = {name: value for name, value in SERVER.items() if name != "ctx-size"}
    found = fit_llama(MODEL, "llama_server", without, ON_GPU, {RAM: 64 * GIB, "gpu 0": room})
    assert found is not None
    assert found.args == {"ctx-size": 16384}


@pytest.mark.parametrize("written", [{"ctx-size", "n-gpu-layers"}, {"ctx-size", "gpu-layers"}])
def test_what_a_person_wrote_stays(written):
    assert fit_llama(MODEL, "llama_server", SERVER, ON_GPU, {RAM: 64 * GIB, "gpu 0": 4 * GIB}, written) is None


def test_a_written_context_is_kept_with_fewer_layers():
    found = fit_llama(MODEL, "llama_server", SERVER, ON_GPU, {RAM: 64 * GIB, "gpu 0": 4 * GIB}, {"ctx-size"})
    assert found is not None
    assert set(found.args) == {"n-gpu-layers"}


def test_vllm_s_weights_and_work_leave_room_for_cache():
    """On a large GPU it reads more tokens in a step; heads are divided among GPUs, latent vectors are not."""
    small, large = vllm_room(MODEL, {}, 20 * GIB, 1, 24 * GIB), vllm_room(MODEL, {}, 20 * GIB, 1, 80 * GIB)
    assert 10 * GIB < large < small < 12 * GIB
    assert vllm_room(MODEL, {"max-num-batched-tokens": 8192}, 20 * GIB, 1, 24 * GIB) == large
    assert vllm_room(MODEL, {}, 20 * GIB, 2, 24 * GIB) > small + 4 * GIB
    assert vllm_token(MODEL, 1) == 32 * 1024 * 2 == 2 * vllm_token(MODEL, 2)
    latent = replace(MODEL, layers=(Layer(576, 0),) * 32)
    assert vllm_token(latent, 1) == vllm_token(latent, 4)


def test_vllm_gets_as_much_context_as_has_room():
    whole = 32768 * vllm_token(MODEL, 1)
    assert fit_vllm(MODEL, {}, whole, 1) == Fitted()
    found = fit_vllm(MODEL, {}, whole // 2, 1)
    assert found is not None
    assert found.args == {"max-model-len": 14592}
    assert found.note == "a context of 14592 tokens instead of 32768, as no more fits"
    assert fit_vllm(MODEL, {"max-model-len": 4096}, whole // 2, 1) == Fitted()
    assert fit_vllm(MODEL, {}, whole // 2, 1, {"max-model-len"}) is None
    assert fit_vllm(MODEL, {}, whole // 64, 1) is None
    assert fit_vllm(MODEL, {}, -1, 1) is None
    assert fit_vllm(replace(MODEL, context=0), {}, whole, 1) is None


@pytest.mark.parametrize(
    ("engine", "version", "args", "env", "devices", "found"),
    [
        ("llama_server", "2026.10", {}, {}, CPU, Fitted({"cache-ram": 2048})),
        ("llama_server", "at /bin/llama-server", {}, {}, CPU, Fitted(env={"LLAMA_ARG_CACHE_RAM": "2048"})),
        ("llama_server", "2026.10", {"cache_ram": 5}, {}, CPU, Fitted()),
        ("llama_server", "2026.10", {}, {"LLAMA_ARG_CACHE_RAM": "5"}, CPU, Fitted()),
        ("llama_cpp", "0.3.36", {}, {}, CPU, Fitted()),
        ("mlx", "0.32.2", {}, {}, CPU, Fitted({"prompt-cache-bytes": 4 * GIB})),
        ("mlx", "0.31.9", {}, {}, CPU, Fitted()),
        ("mlx", "0.32.2", {"prompt-cache-bytes": 1}, {}, CPU, Fitted()),
        ("vllm", "0.32.0", {}, {}, CPU, Fitted(env={"VLLM_CPU_KVCACHE_SPACE": "4"})),
        ("vllm", "0.32.0", {}, {}, [Device(RAM, 64 * GIB, 12 * GIB)], Fitted(env={"VLLM_CPU_KVCACHE_SPACE": "1"})),
        ("vllm", "0.32.0", {}, {"VLLM_CPU_KVCACHE_SPACE": "9"}, CPU, Fitted()),
        ("vllm", "0.32.0", {"kv_cache_memory_bytes": "64M"}, {}, CPU, Fitted()),
        ("vllm", "0.32.0", {}, {}, ON_GPU, Fitted()),
    ],
)
def test_caches_are_bounded_unless_a_person_bounded_them(engine, version, args, env, devices, found):
    assert frugal(engine, version, args, env, devices) == found


def test_no_more_idle_contexts_are_kept_than_twice_what_the_engine_works_with():
    """Half a GiB for 8192 tokens here; of a long context, what RAM has for it."""
    kept = [
        frugal("llama_server", "2026.10", {"ctx-size": context}, {}, CPU, MODEL).args for context in (8192, 1 << 20)
    ]
    assert kept == [{"cache-ram": 1025}, {"cache-ram": 2048}]
