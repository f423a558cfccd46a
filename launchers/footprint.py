"""How much of a GPU's memory a model takes in vllm, by its config.json. Pure; every figure is an upper bound.

vllm fills its whole share with cache. For most models more is better: a prompt's beginning stays cached for the next
request with it. But a small model can't use a large GPU. If all requests at once, each as long as the model's context,
need less, the model gets only that (`whole`), and others may have the rest.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from launchers.engines.common import number
from launchers.spec import ArgValue

DENSE = frozenset({"llama", "mistral", "qwen2", "qwen3"})
"""Kinds of models with a known cache: keys and values of all layers for each token. Others get their full share."""

HARMLESS = frozenset({
    "max-model-len", "max-num-seqs", "max-num-batched-tokens", "tensor-parallel-size", "enforce-eager", "seed", "dtype",
    "enable-auto-tool-choice", "tool-call-parser", "reasoning-parser", "chat-template", "generation-config",
    "enable-prefix-caching", "shutdown-timeout", "disable-log-requests", "enable-log-requests", "uvicorn-log-level",
})  # fmt: skip
"""Arguments for which these sums hold; with any other, the model gets its full share."""

ENGINE = 3 << 30
"""Bytes for CUDA's context, graphs and the sampler's buffers."""

LITTLE = 1 << 30
"""The part of these bytes without which nothing runs."""

KEYS = (
    "num_hidden_layers", "num_attention_heads", "hidden_size", "intermediate_size", "max_position_embeddings",
    "vocab_size",
)  # fmt: skip

_BLOCK = 128
"""Most tokens of a block, the unit in which the cache is allocated."""

_STEP = 16384
"""Most tokens of one step; a layer's activations are for as many."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes of each GPU: the `least` that the model needs, the `whole` that it can use, if known, and its `cache`."""

    least: int
    whole: int | None = None
    cache: int = 0


def footprint(
    config: Mapping[str, object], weights: int, args: Mapping[str, ArgValue], seqs: int, gpus: int
) -> Footprint:
    """Compute what a model with this config.json takes; `size` is that of its files, in bytes.

    It works on `seqs` requests at once, and is spread over `gpus`.
    """
    least = weights // gpus + LITTLE
    if not weights or config.get("model_type") not in DENSE or config.get("rope_scaling"):
        return Footprint(least)
    if {name.replace("_", "-") for name in args} - HARMLESS:
        return Footprint(least)
    layers, heads, hidden, between, longest, vocabulary = (_of(config, key) for key in KEYS)
    said = next((value for name, value in args.items() if name.replace("_", "-") == "max-model-len"), None)
    length = number(args, "max-model-len") if said is not None else longest
    if not all((layers, heads, hidden, length)):
        return Footprint(least)
    width = 2 if config.get("torch_dtype", config.get("dtype")) in {"bfloat16", "float16"} else 4
    token = (
        2
        * layers
        * (_of(config, "num_key_value_heads") or heads)
        * (_of(config, "head_dim") or hidden // heads)
        * width
    )
    cache = token * -(-length // _BLOCK) * _BLOCK * (seqs + 1)
    work = _STEP * (4 * hidden + 3 * between) * width + seqs * vocabulary * 16
    return Footprint(least, cache + work + weights + weights // 5 + ENGINE, cache)


def _of(config: Mapping[str, object], key: str) -> int:
    value = config.get(key)
    return value if isinstance(value, int) and value > 0 else 0
