"""How much of a GPU's memory a model takes in vllm, by its config.json. Pure; every figure is an upper bound.

vllm fills its whole share with cache. For most models more is better: a prompt's beginning stays cached for the next
request with it. But a small model can't use a large GPU. If all requests at once, each as long as the model's context,
need less, the model gets only that (`whole`), and others may have the rest.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from launchers.engines.common import number
from launchers.footprints.errors import HeaderError
from launchers.footprints.model import from_config
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

_BLOCK = 128
"""Most tokens of a block, the unit in which the cache is allocated."""

_STEP = 16384
"""Most tokens of one step; a layer's activations are for as many."""


@dataclass(frozen=True, slots=True)
class ShareNeeds:
    """Bytes of each GPU: the `least` that the model needs, the `whole` that it can use, if known, and its `cache`."""

    least: int
    whole: int | None = None
    cache: int = 0


def share_needs(
    config: Mapping[str, object], weights: int, args: Mapping[str, ArgValue], seqs: int, gpus: int
) -> ShareNeeds:
    """Compute what a model with this config.json takes, whose files have `weights` bytes.

    It works on `seqs` requests at once, and is spread over `gpus`.
    """
    least = weights // gpus + LITTLE
    if not weights or config.get("model_type") not in DENSE or config.get("rope_scaling"):
        return ShareNeeds(least)
    if {name.replace("_", "-") for name in args} - HARMLESS:
        return ShareNeeds(least)
    try:
        model = from_config(config, ())
    except HeaderError:
        return ShareNeeds(least)
    said = next((value for name, value in args.items() if name.replace("_", "-") == "max-model-len"), None)
    length = number(args, "max-model-len") if said is not None else model.context
    width = model.number_size
    token = model.cache_per_token(width, width)
    if not all((model.heads, token, model.hidden, length)):
        return ShareNeeds(least)
    cache = token * -(-length // _BLOCK) * _BLOCK * (seqs + 1)
    work = _STEP * (4 * model.hidden + 3 * model.feed_forward) * width + seqs * model.vocabulary * 16
    return ShareNeeds(least, cache + work + weights + weights // 5 + ENGINE, cache)
