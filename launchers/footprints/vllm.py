"""What a model takes in vllm. Pure.

On GPUs: the share that --gpu-memory-utilization says of each, whatever the model is; the rest of the share is cache.
On CPUs: the weights, and a cache of as many bytes as it is told: --kv-cache-memory-bytes, or VLLM_CPU_KVCACHE_SPACE in
GiB, or else a share of RAM, by the same --gpu-memory-utilization (vllm/v1/worker/cpu_worker.py).
"""

import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from launchers.footprints.model import Model
from launchers.footprints.parts import RAM, Breakdown, Device, Parts
from launchers.spec import ArgValue

SHARE: Final = 0.92
"""vllm's own default of --gpu-memory-utilization."""
PARTS: Final = ("tensor-parallel-size", "pipeline-parallel-size")
COPIES: Final = ("data-parallel-size",)
"""Options that give each GPU a part of the model, and those that give each the whole."""
SPACE: Final = "VLLM_CPU_KVCACHE_SPACE"
"""The variable with the GiB of cache on a CPU."""
BASE: Final = 1400 << 20
"""RAM of its three processes, without a model."""
WORKER: Final = 1 << 30
"""Of that, what the process has that reserves the cache."""
GPU_BASE: Final = 1 << 30
"""Bytes of a share that are neither weights nor cache: CUDA's context, graphs, buffers."""
STEP: Final = 2048
"""Tokens of a step on a CPU, unless --max-num-batched-tokens says otherwise."""
IN_BETWEEN: Final = 14
"""Times (hidden + feed-forward) x STEP numbers: within 5 % of what vllm-cpu 0.32 took for models of 0.3, 1 and 2 GB."""

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)


def estimate(
    model: Model, args: Mapping[str, ArgValue], env: Mapping[str, str], devices: Sequence[Device]
) -> Breakdown:
    """Tell what each device will hold."""
    said = {name.replace("_", "-"): value for name, value in args.items()}
    gpus = [device for device in devices if device.name != RAM]
    if not gpus:
        ram = next((device.total for device in devices if device.name == RAM), 0)
        return Breakdown({RAM: _on_cpu(model, said, env, ram)}, model.gaps)
    parts, copies = (math.prod(_number(said.get(name)) or 1 for name in names) for names in (PARTS, COPIES))
    share = _share(said)
    found = {RAM: Parts(base=BASE)}
    for gpu in gpus[: parts * copies]:
        weights = model.weights.total // parts
        cache = _bytes(said.get("kv-cache-memory-bytes"))
        if cache is None:
            cache = max(int(share * gpu.total) - weights - GPU_BASE, 0)
        found[gpu.name] = Parts(weights, cache, 0, GPU_BASE)
    return Breakdown(found, model.gaps)


def _on_cpu(model: Model, said: Mapping[str, ArgValue], env: Mapping[str, str], ram: int) -> Parts:
    cache = _bytes(said.get("kv-cache-memory-bytes"))
    if cache is None and (space := _bytes(f"{env.get(SPACE, '')}GiB")):
        cache = space
    if cache is None:
        cache = max(int(_share(said) * ram) - model.weights.total - WORKER, 0)
    step = _number(said.get("max-num-batched-tokens")) or STEP
    between = IN_BETWEEN * step * (model.hidden + model.feed_forward) * model.number_size
    return Parts(model.weights.total, cache, between, BASE)


def _share(said: Mapping[str, ArgValue]) -> float:
    value = said.get("gpu-memory-utilization")
    with suppress(ValueError):
        return float(value) if isinstance(value, int | float | str) else SHARE
    return SHARE


def _number(value: ArgValue) -> int:
    return int(value) if isinstance(value, int | str) and str(value).isdecimal() else 0


def _bytes(value: ArgValue) -> int | None:
    """Read 64M, 1.5GiB, 1000; None for what is no size. As vllm has it: k is 1000, and K, ki, Ki are 1024."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        return None
    letter = found[2]
    base = 1024 if found[3] or letter.isupper() else 1000
    return int(float(found[1]) * base ** " kmgt".index(letter.lower() or " "))
