"""What a model takes in mlx, which has one kind of memory: the machine's. Pure.

1. Weights are read into buffers of mlx's own, in the type that they have in their files (mlx_lm.utils.load_model).
2. Keys and values are made as a context grows, in steps of 256 tokens (mlx_lm.models.cache.KVCache.step), in the
   model's own type; a layer with a window keeps that many. The server keeps prompts of up to PROMPTS contexts, or as
   many bytes of them as --prompt-cache-bytes says.
3. A step reads PREFILL tokens of a prompt at once; what it has in between goes back to mlx's own store of buffers,
   which keeps it.
"""

from collections.abc import Mapping
from typing import Final

from launchers.engines.common import number
from launchers.footprints.model import Model
from launchers.footprints.parts import RAM, Breakdown, Parts
from launchers.spec import ArgValue

PREFILL: Final = 2048
"""Tokens; --prefill-step-size says otherwise."""
PROMPTS: Final = 10
"""--prompt-cache-size says otherwise."""
BASE: Final = 110 << 20
PER_WORD: Final = 600
"""Bytes of transformers' tokenizer for each token."""
IN_BETWEEN: Final = 4
"""Times hidden + feed-forward numbers, for each token of a step."""


def estimate(model: Model, args: Mapping[str, ArgValue]) -> Breakdown:
    """Tell what RAM will hold."""
    step = min(number(args, "prefill-step-size") or PREFILL, model.context or PREFILL)
    between = IN_BETWEEN * step * (model.hidden + model.feed_forward) * model.number_size
    prompts = number(args, "prompt-cache-size") or PROMPTS
    token = model.cache_per_token(model.number_size, model.number_size)
    tokens = model.context * prompts
    if token and (kept := number(args, "prompt-cache-bytes")):
        tokens = min(tokens, kept // token)
    parts = Parts(
        model.weights.total,
        0,
        between + model.vocabulary * 4,
        BASE + model.vocabulary * PER_WORD,
        token,
        tokens,
    )
    return Breakdown({RAM: parts}, model.gaps)
