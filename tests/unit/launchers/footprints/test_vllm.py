import pytest

from launchers.footprints.estimate import estimate
from launchers.footprints.model import Layer, Model, Weights
from launchers.footprints.parts import RAM, Device
from launchers.footprints.vllm import BASE, GPU_BASE, SHARE, WORKER

GIB = 1 << 30
MODEL = Model("qwen2", (Layer(256, 256),) * 4, 12, 768, 2304, 32_000, 8192, Weights((GIB // 2,) * 4))
CPU = [Device(RAM, 24 * GIB, 20 * GIB)]
GPUS = [*CPU, Device("gpu 0", 80 * GIB, 79 * GIB), Device("gpu 1", 80 * GIB, 79 * GIB)]


@pytest.mark.parametrize(
    ("args", "env", "cache"),
    [
        ({"kv-cache-memory-bytes": "64M"}, {}, 64 << 20),
        ({"kv_cache_memory_bytes": "64m"}, {}, 64_000_000),
        ({"kv-cache-memory-bytes": "1.5GiB"}, {}, 3 * GIB // 2),
        ({"kv-cache-memory-bytes": 1000}, {"VLLM_CPU_KVCACHE_SPACE": "4"}, 1000),
        ({}, {"VLLM_CPU_KVCACHE_SPACE": "4"}, 4 * GIB),
        ({"gpu-memory-utilization": 0.5}, {}, 12 * GIB - 2 * GIB - WORKER),
        ({"gpu-memory-utilization": "0.5"}, {"VLLM_CPU_KVCACHE_SPACE": "0"}, 12 * GIB - 2 * GIB - WORKER),
        ({}, {}, int(SHARE * 24 * GIB) - 2 * GIB - WORKER),
        ({"gpu-memory-utilization": "much"}, {}, int(SHARE * 24 * GIB) - 2 * GIB - WORKER),
    ],
)
def test_on_cpus_the_cache_is_as_large_as_it_is_told(args, env, cache):
    found = estimate(MODEL, "vllm", args, CPU, env).devices
    assert list(found) == [RAM]
    assert found[RAM].cache == cache
    assert (found[RAM].weights, found[RAM].base, found[RAM].per_token) == (2 * GIB, BASE, 0)


def test_on_a_gpu_it_takes_its_whole_share():
    found = estimate(MODEL, "vllm", {"gpu-memory-utilization": 0.45}, GPUS).devices
    assert list(found) == [RAM, "gpu 0"]
    assert found["gpu 0"].loaded == int(0.45 * 80 * GIB)
    assert found["gpu 0"].weights == 2 * GIB
    assert found[RAM].loaded == BASE


def test_a_cache_in_bytes_is_taken_instead():
    found = estimate(MODEL, "vllm", {"kv-cache-memory-bytes": "2G"}, GPUS).devices
    assert found["gpu 0"].loaded == 2 * GIB + 2 * GIB + GPU_BASE


def test_several_gpus_share_the_weights():
    found = estimate(MODEL, "vllm", {"tensor-parallel-size": 2}, GPUS).devices
    assert [found[name].weights for name in ("gpu 0", "gpu 1")] == [GIB, GIB]


def test_mlx_reads_weights_and_makes_its_cache_as_it_is_used():
    found = estimate(MODEL, "mlx", {}, CPU).devices[RAM]
    assert (found.weights, found.cache) == (2 * GIB, 0)
    assert found.per_token == 4 * 512 * 2
    assert found.most_tokens == 10 * 8192
    less = estimate(MODEL, "mlx", {"prompt-cache-size": 2, "prefill_step_size": 256}, CPU).devices[RAM]
    assert less.most_tokens == 2 * 8192
    assert less.compute < found.compute
