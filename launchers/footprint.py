"""What a model takes of a GPU's memory in vllm, from what its config.json says. Pure; every figure is an upper bound.

vllm fills whatever share it gets with cache. For most models more is better: a prompt's beginning stays there for the
next who sends it. But a small model can't use a large GPU: where all requests at once, each as long as the model reads,
have room in less, that is all that it gets (`whole`), and others may have the rest.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from launchers.engines.common import number
from launchers.spec import ArgValue

DENSE = frozenset({"llama", "mistral", "qwen2", "qwen3"})
"""Kinds of models whose cache is known: keys and values of all layers for each token. Others get their full share."""

HARMLESS = frozenset({
    "max-model-len", "max-num-seqs", "max-num-batched-tokens", "tensor-parallel-size", "enforce-eager", "seed", "dtype",
    "enable-auto-tool-choice", "tool-call-parser", "reasoning-parser", "chat-template", "generation-config",
    "enable-prefix-caching", "shutdown-timeout", "disable-log-requests", "enable-log-requests", "uvicorn-log-level",
})  # fmt: skip
"""Arguments with which the sums here hold; with any other, the model gets its full share."""

ENGINE = 3 << 30
"""Bytes for CUDA's context, graphs and the sampler's buffers."""

LITTLE = 1 << 30
"""Bytes of these without which nothing runs."""

KEYS = (
    "num_hidden_layers", "num_attention_heads", "hidden_size", "intermediate_size", "max_position_embeddings",
    "vocab_size",
)  # fmt: skip

_BLOCK = 128  # tokens, at most, in which the cache is dealt out
_STEP = 16384  # tokens, at most, that are worked on at once: what a layer has in between


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes of each GPU that the model can't do without; all that it can ever use, if known, and of that its cache."""

    least: int
    whole: int | None = None
    cache: int = 0


def footprint(
    config: Mapping[str, object], weights: int, args: Mapping[str, ArgValue], seqs: int, gpus: int
) -> Footprint:
    """Tell what a model of this config.json takes, whose files have so many bytes.

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
