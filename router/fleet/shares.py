"""The claim of each launch on GPUs, and its arguments for them: which GPUs it uses, and which part of their memory.

`launchers.gpus` divides the shares, and later the turns to start. The claims come from router.yaml, from the profile,
and from the model on disk (`launchers.footprints.share`). Whatever a person wrote is kept.
"""

import math
import os
from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from launchers.engines.common import number
from launchers.errors import LaunchError
from launchers.footprints.share import ShareNeeds, share_needs
from launchers.gpus import CACHE, LEAST_SHARE, SHARE, SOME, TOGETHER, Claim, dealt, floored, raised
from launchers.spec import ArgValue, LaunchSpec
from launchers.weights import described, size_of, weights
from profiles import Facts
from profiles.detect import usable_gpus
from profiles.parsers import Gpu, visible
from router.fleet.gpus import IN_ORDER, ORDER

SPREAD = "tensor-parallel-size"
SPREADS = (SPREAD, "pipeline-parallel-size", "data-parallel-size")
"""vllm's options that spread a model over several GPUs."""

LAYERS = "n-gpu-layers"
"""llama.cpp's option for how much of a model is on the GPUs."""

VLLMS_OWN = 0.92
"""The share that vllm takes by default (`gpu-memory-utilization: null`)."""

UNKNOWN = Gpu("NVIDIA", "a GPU", None)
"""Stands for the GPUs of a GPU profile if none could be read."""


def seen_by(facts: Facts, env: Mapping[str, str]) -> Facts:
    """Give the machine with only the GPUs that a process with these variables sees."""
    wishes = (env.get(name) for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"))
    wish = next((wish for wish in wishes if wish is not None), None)
    if wish is None or not facts.gpus:
        return facts
    everyone = {gpu.number: gpu for gpu in facts.gpus}
    placed = [everyone.get(place, replace(facts.gpus[0], number=place)) for place in range(max(everyone) + 1)]
    return replace(facts, gpus=visible(placed, wish))


def counted(env: Mapping[str, str], facts: Facts) -> dict[str, str]:
    """Give a launch's variables, completed so that GPU numbers mean what nvidia-smi and doctor mean by them."""
    numbered = "CUDA_VISIBLE_DEVICES" in env and ORDER not in {**os.environ, **env}
    return {**env, ORDER: IN_ORDER} if numbered and len(set(facts.gpus)) > 1 else dict(env)


def claimed(
    spec: LaunchSpec,
    written: Container[str],
    facts: Facts,
    *,
    seqs: int,
    launched: int,
    of_gpus: bool,
    width: int | None = None,
) -> LaunchSpec:
    """Give a launch its claim; a share that isn't known yet is 0 (see `settled`).

    Its arguments get the number of GPUs it is spread over, and, if the model can't use more, its share and its cache.

    `facts` are as the launch sees them; `of_gpus`: its profile is for GPUs. `written` are the names, with dashes, of
    the arguments that a person wrote; `seqs` is how many requests it works on, `launched` how many engines there are.
    `width` is over how many GPUs it must be spread, if a person said that. Raises LaunchError where that can't be.
    """
    args: dict[str, ArgValue] = {name.replace("_", "-"): value for name, value in spec.args.items()}
    gpus = usable_gpus(facts.gpus) or ((UNKNOWN,) if of_gpus else ())
    if not gpus:
        return spec
    if SHARE not in args:
        on_gpus = args.get(LAYERS) not in {None, 0, "0"}
        return replace(spec, claim=Claim(tuple(gpu.id for gpu in gpus))) if on_gpus else spec
    environ = {**os.environ, **spec.env}
    in_order = environ.get(ORDER) == IN_ORDER
    files = weights(spec.model, environ) or []
    size, config = size_of(files), described(spec.model, environ)
    own = {name: value for name, value in args.items() if name in written}
    # 0, unknown, for a part of a GPU.
    most = min(0 if gpu.uuid.startswith("MIG-") else gpu.memory_bytes or 0 for gpu in gpus)
    alone = share_needs(config, size, own, seqs, 1)
    small = SHARE not in written and (width or 1) == 1 and _fits(alone, most, launched)
    if width is not None:
        args[SPREAD] = spread_over(width, args, config, is_written=SPREAD in written)
    elif SPREAD in args and SPREAD not in written:
        args[SPREAD] = 1 if small else _spread(args, config, len(gpus))
    width = width_of(args)
    least = share_needs(config, size, own, seqs, width).least
    claim = Claim(_ids(gpus, width, in_order=in_order), 0.0, least=least, needs=least / most if most else 0.0)
    if SHARE in written:
        return _over(spec, args, replace(claim, share=share_said(args[SHARE]), written=True))
    if not small:
        return _over(spec, args, claim)
    share = max(raised((alone.whole or 0) / most), LEAST_SHARE)
    return _over(spec, args | {SHARE: share, CACHE: alone.cache}, replace(claim, share=share, sized=True))


def settled(specs: Sequence[LaunchSpec]) -> list[LaunchSpec]:
    """Divide the shares that no person wrote among all launches."""
    claims = dealt({spec.name: spec.claim for spec in specs if spec.claim is not None})
    return [
        spec if spec.claim is None or claims[spec.name] is spec.claim
        else _over(spec, {SHARE: claims[spec.name].share}, claims[spec.name])
        for spec in specs
    ]  # fmt: skip


def unsettled(specs: Sequence[LaunchSpec]) -> list[LaunchSpec]:
    """Give those whose share isn't known yet, the one that needs most first."""
    found = [spec for spec in specs if spec.claim is not None and spec.claim.share == 0 and not spec.claim.written]
    return sorted(found, key=lambda spec: -spec.claim.needs if spec.claim is not None else 0.0)


def _over(spec: LaunchSpec, more: Mapping[str, ArgValue], claim: Claim) -> LaunchSpec:
    """Give a launch with other arguments; unchanged ones keep their spelling."""
    args = {name: more.get(name.replace("_", "-"), value) for name, value in spec.args.items()}
    added = {name: value for name, value in more.items() if name not in {known.replace("_", "-") for known in args}}
    return replace(spec, args=args | added, claim=claim)


def _ids(gpus: Sequence[Gpu], width: int, *, in_order: bool) -> tuple[str, ...]:
    """Give the ids of the GPUs that it uses: the first ones. With several kinds, CUDA's order may differ from ours."""
    if width < len(gpus) and len(set(gpus)) > 1 and not in_order:
        # All who use some of them take turns; what is free isn't known.
        return (f"{gpus[0].vendor} {SOME}",)
    return tuple(gpu.id for gpu in gpus[:width])


def width_of(args: Mapping[str, ArgValue]) -> int:
    """Tell over how many GPUs vllm's arguments spread a model."""
    return math.prod(number(args, name) or 1 for name in SPREADS)


def _spread(args: Mapping[str, ArgValue], config: Mapping[str, object], gpus: int) -> int:
    """Give the most GPUs, of those that the profile gives it, that there are and that divide its attention heads."""
    said, heads = number(args, SPREAD) or 1, config.get("num_attention_heads")
    dealt_out = heads if isinstance(heads, int) and heads > 0 else said
    while said > 1 and (dealt_out % said or width_of({**args, SPREAD: said}) > gpus):
        said //= 2
    return said


def spread_over(gpus: int, args: Mapping[str, ArgValue], config: Mapping[str, object], *, is_written: bool) -> int:
    """Give the tensor-parallel-size with which a model uses so many GPUs. `is_written`: a person wrote one.

    Raises LaunchError where its attention heads can't be divided so, or the arguments say otherwise.
    """
    others = width_of({name: value for name, value in args.items() if name != SPREAD})
    tensor = number(args, SPREAD) or 1 if is_written else max(gpus // others, 1)
    if tensor * others != gpus:
        raise LaunchError(f"launch.gpus: the arguments spread it over {tensor * others} GPUs, and not {gpus}")
    heads = config.get("num_attention_heads")
    if isinstance(heads, int) and heads > 0 and heads % tensor and not is_written:
        fits = ", ".join(str(count) for count in range(1, tensor) if heads % count == 0)
        raise LaunchError(
            f"launch.gpus: the model's {heads} attention heads can't be divided among {tensor} GPUs: write {fits}, or"
            f" `args: {{{SPREAD}: 1, pipeline-parallel-size: {tensor}}}`"
        )
    return tensor


def share_said(share: ArgValue) -> float:
    """Read a share among arguments; vllm's own where none can be read."""
    with suppress(ValueError):
        if isinstance(share, int | float | str):
            return float(share)
    return VLLMS_OWN


def _fits(needs: ShareNeeds, memory: int, launched: int) -> bool:
    """Tell whether an equal part of one GPU is all that the model can use."""
    return needs.whole is not None and bool(memory) and needs.whole <= floored(TOGETHER / max(launched, 1)) * memory
