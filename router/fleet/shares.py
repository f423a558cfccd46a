"""What each launch claims of the GPUs, and what it is told of them: which it uses, and which part of their memory.

`launchers.gpus` deals the shares, and later the turns of starting; here is what they are asked for: by router.yaml, by
the profile, and by the model on disk (`launchers.footprint`). What a person wrote always stands.
"""

import math
import os
from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from launchers.engines.common import number
from launchers.footprint import Footprint, footprint
from launchers.gpus import CACHE, LEAST_SHARE, SHARE, TOGETHER, Claim, dealt, floored, raised
from launchers.spec import ArgValue, LaunchSpec
from launchers.weights import described, size_of, weights
from profiles import Facts
from profiles.detect import usable_gpus
from profiles.parsers import Gpu, visible

SPREAD = "tensor-parallel-size"
SPREADS = (SPREAD, "pipeline-parallel-size", "data-parallel-size")
"""vllm's options that have it use several GPUs."""

LAYERS = "n-gpu-layers"
"""llama.cpp's option for how much of a model is on the GPUs."""

VLLMS_OWN = 0.92
"""The share that vllm takes where none is said (`gpu-memory-utilization: null`)."""

SOME = "of some kind"
"""In the place of a GPU's number, where it isn't known which is used."""

ORDER, IN_ORDER = "CUDA_DEVICE_ORDER", "PCI_BUS_ID"
"""The variable that has CUDA count GPUs as nvidia-smi does; else it counts the fastest first."""

UNKNOWN = Gpu("NVIDIA", "a GPU", None)
"""What stands for the GPUs of a profile that says there are some, where none could be read."""


def seen_by(facts: Facts, env: Mapping[str, str]) -> Facts:
    """The machine, with the GPUs that a process with these variables sees."""
    wishes = (env.get(name) for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"))
    wish = next((wish for wish in wishes if wish is not None), None)
    if wish is None or not facts.gpus:
        return facts
    everyone = {gpu.number: gpu for gpu in facts.gpus}
    placed = [everyone.get(place, replace(facts.gpus[0], number=place)) for place in range(max(everyone) + 1)]
    return replace(facts, gpus=visible(placed, wish))


def counted(env: Mapping[str, str], facts: Facts) -> dict[str, str]:
    """Give a launch's variables, with which a GPU's number is what nvidia-smi and doctor call it."""
    numbered = "CUDA_VISIBLE_DEVICES" in env and ORDER not in {**os.environ, **env}
    return {**env, ORDER: IN_ORDER} if numbered and len(set(facts.gpus)) > 1 else dict(env)


def claimed(
    spec: LaunchSpec, written: Container[str], facts: Facts, *, seqs: int, launched: int, of_gpus: bool
) -> LaunchSpec:
    """Give a launch its claim; a share that isn't known yet is 0 (see `settled`).

    With it goes over how many GPUs it is spread, and, where the model can't use more, its share and its cache.

    `facts` are as the launch sees them, `of_gpus` says that its profile is one of GPUs. `written` names, with dashes,
    the arguments that a person wrote; `seqs` is how many requests it works on, `launched` how many engines there are.
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
    most = min(0 if gpu.uuid.startswith("MIG-") else gpu.memory_bytes or 0 for gpu in gpus)  # of a part: not known
    alone = footprint(config, size, own, seqs, 1)
    small = SHARE not in written and _fits(alone, most, launched)
    if SPREAD in args and SPREAD not in written:
        args[SPREAD] = 1 if small else _spread(args, config, len(gpus))
    width = _width(args)
    least = footprint(config, size, own, seqs, width).least
    claim = Claim(_ids(gpus, width, in_order=in_order), 0.0, least=least, needs=least / most if most else 0.0)
    if SHARE in written:
        return _over(spec, args, replace(claim, share=_said(args[SHARE]), written=True))
    if not small:
        return _over(spec, args, claim)
    share = max(raised((alone.whole or 0) / most), LEAST_SHARE)
    return _over(spec, args | {SHARE: share, CACHE: alone.cache}, replace(claim, share=share, sized=True))


def settled(specs: Sequence[LaunchSpec]) -> list[LaunchSpec]:
    """Deal the shares that nobody wrote, among all that are to run."""
    claims = dealt({spec.name: spec.claim for spec in specs if spec.claim is not None})
    return [
        spec if spec.claim is None or claims[spec.name] is spec.claim
        else _over(spec, {SHARE: claims[spec.name].share}, claims[spec.name])
        for spec in specs
    ]  # fmt: skip


def _over(spec: LaunchSpec, more: Mapping[str, ArgValue], claim: Claim) -> LaunchSpec:
    """A launch with other arguments; those that stay as they are stay as they were written."""
    args = {name: more.get(name.replace("_", "-"), value) for name, value in spec.args.items()}
    added = {name: value for name, value in more.items() if name not in {known.replace("_", "-") for known in args}}
    return replace(spec, args=args | added, claim=claim)


def _ids(gpus: Sequence[Gpu], width: int, *, in_order: bool) -> tuple[str, ...]:
    """Those that it uses: the first. Of GPUs of several kinds CUDA has an order of its own, if it isn't told ours."""
    if width < len(gpus) and len(set(gpus)) > 1 and not in_order:
        return (f"{gpus[0].vendor} {SOME}",)  # all who use some of them take turns; what is free isn't known
    return tuple(gpu.id for gpu in gpus[:width])


def _width(args: Mapping[str, ArgValue]) -> int:
    """Over how many GPUs it is spread."""
    return math.prod(number(args, name) or 1 for name in SPREADS)


def _spread(args: Mapping[str, ArgValue], config: Mapping[str, object], gpus: int) -> int:
    """Of the GPUs that the profile gives it, as many as its attention heads can be dealt out to, and there are."""
    said, heads = number(args, SPREAD) or 1, config.get("num_attention_heads")
    dealt_out = heads if isinstance(heads, int) and heads > 0 else said
    while said > 1 and (dealt_out % said or _width({**args, SPREAD: said}) > gpus):
        said //= 2
    return said


def _said(share: ArgValue) -> float:
    """The share that a person wrote."""
    with suppress(ValueError):
        if isinstance(share, int | float | str):
            return float(share)
    return VLLMS_OWN


def _fits(needs: Footprint, memory: int, launched: int) -> bool:
    """Whether the model can't use more than its part of one GPU."""
    return needs.whole is not None and bool(memory) and needs.whole <= floored(TOGETHER / max(launched, 1)) * memory
