"""Arguments with which a model fits into the memory that there is: bounded caches, less context, fewer layers. Pure.

1. `frugal`: what an engine keeps for later is bounded, so that it can be reserved. By itself llama_server keeps up to
   8 GiB of idle contexts, and mlx ten whole contexts, whatever the machine has.
2. `fit_llama`: where a model can never fit whole, no log probabilities in llama_cpp; less context for all of its
   layers on the GPU; where that isn't enough, as many layers there as fit. A layer in RAM is read from there for each
   token, so a part of the context is given up first, but not below LEAST_CONTEXT for each request at once.
3. `fit_vllm`: a max-model-len whose cache fits beside the weights.

What a person wrote is never changed. Whoever calls says how much memory there is (`rooms`).
"""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from launchers.engines.common import number
from launchers.footprints import llama, vllm
from launchers.footprints.estimate import estimate
from launchers.footprints.model import Model
from launchers.footprints.parts import RAM, Breakdown, Device
from launchers.spec import ArgValue

KEPT: Final = 32
"""llama_server keeps idle contexts of at most what there is of RAM, divided by this."""
KEPT_CACHES: Final = 2
"""And at most so many times what it works with: more than that is seldom found again."""
MLX_KEPT: Final = 16
"""The same of mlx, whose contexts at work are in it."""
MLX_SINCE: Final = (0, 32)
"""The first version of mlx-lm that is known to have --prompt-cache-bytes."""
CPU_SPACE: Final = 4
"""GiB of cache of vllm on a CPU, less of a small machine; by itself it takes most of RAM."""

LEAST_CONTEXT: Final = 2048
"""Tokens for each request at once below which layers leave the GPU rather than context is given up."""
LAST_CONTEXT: Final = 1024
"""Tokens for each request at once below which a model is of no use."""
NO_SCORES: Final = "no log probabilities"
LARGE_GPU: Final = 70 << 30
"""Bytes from which vllm reads 8192 tokens of prompts in a step, and not 2048."""
SURELY: Final = 0.9
"""The part of the memory for vllm's cache that is counted on: what a step takes is known about."""

_GIB = 1 << 30
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Fitted:
    """Arguments, by names with dashes, and variables that go over a launch's. `note` says what they cost."""

    args: Mapping[str, ArgValue] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


def fits(found: Breakdown, rooms: Mapping[str, int]) -> bool:
    """Whether each device has room for all that a model may come to take there."""
    return all(parts.most <= rooms.get(name, 0) for name, parts in found.devices.items())


# Caches


def frugal(
    engine: str,
    version: str,
    args: Mapping[str, ArgValue],
    env: Mapping[str, str],
    devices: Sequence[Device],
    model: Model | None = None,
) -> Fitted:
    """Bound what an engine keeps for later, by what `devices` have free, and by its model if that is known.

    `version` is its version, or "at " and the place of its program.
    """
    ram = next((device.free for device in devices if device.name == RAM), 0)
    said = {name.replace("_", "-") for name in args}
    if engine == "llama_server" and "cache-ram" not in said and llama.SAVED not in env:
        kept = min(llama.CACHE_RAM, ram // KEPT // _MIB)
        if model is not None:
            kept = min(kept, KEPT_CACHES * llama.cache_of(model, llama.llama_server(args)) // _MIB + 1)
        # A program may be older than the flag; it passes over a variable that it doesn't know.
        return Fitted(env={llama.SAVED: str(kept)}) if version.startswith("at ") else Fitted({"cache-ram": kept})
    if engine == "mlx" and "prompt-cache-bytes" not in said and _numbers(version) >= MLX_SINCE:
        return Fitted({"prompt-cache-bytes": ram // MLX_KEPT})
    bounds_itself = said & {"kv-cache-memory-bytes", "gpu-memory-utilization"} or vllm.SPACE in env
    if engine == "vllm" and len(devices) == 1 and not bounds_itself:
        return Fitted(env={vllm.SPACE: str(max(min(CPU_SPACE, ram // 8 // _GIB), 1))})
    return Fitted()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())


# llama.cpp


def fit_llama(
    model: Model,
    engine: str,
    args: Mapping[str, ArgValue],
    devices: Sequence[Device],
    rooms: Mapping[str, int],
    written: Container[str] = (),
    env: Mapping[str, str] = llama.NOTHING,
) -> Fitted | None:
    """Find arguments with which a model fits that doesn't fit as it is; None if there are none.

    `written` are the names, with dashes, of the arguments that a person wrote; `env` are the engine's variables.
    """
    search = _Search(model, engine, args, devices, rooms, env)
    on_gpus = any(device.name != RAM for device in devices)
    scores = {"logits-all", "logits_all"}
    if engine != "llama_cpp" or not scores.isdisjoint(args) or "logits-all" in written:
        return search.fitted(written)
    # llama_cpp keeps what log probabilities are made of, for its whole context: few ask for them.
    without: Mapping[str, ArgValue] = {"logits-all": False}
    if fits(search.estimate(without), rooms):
        return Fitted(without, note=NO_SCORES)
    if on_gpus and (found := search.fitted(written)):
        return found
    found = replace(search, args={**args, "logits_all": False}).fitted(written)
    return found and Fitted({**found.args, **without}, note=f"{found.note}; {NO_SCORES}")


def _slots(engine: str, args: Mapping[str, ArgValue]) -> int:
    return 1 if engine == "llama_cpp" else llama.llama_server(args).slots


def _contexts(model: Model, engine: str, args: Mapping[str, ArgValue]) -> Iterator[int]:
    """Give the context that an engine would have, and halves of it."""
    settings = llama.llama_cpp(args) if engine == "llama_cpp" else llama.llama_server(args)
    context = settings.context or model.context
    while context >= LAST_CONTEXT * _slots(engine, args):
        yield context
        context = context // 2 // llama.ALIGNMENT * llama.ALIGNMENT


def _less_context(context: int, usual: int) -> str:
    return f"a context of {context} tokens instead of {usual}, as no more fits"


def _fewer_layers(model: Model, layers: int, found: Breakdown) -> str:
    size = max(found.devices[RAM].weights - model.weights.embedding, 0)
    return (
        f"{layers} of {len(model.layers) + 1} layers on the GPU, as no more fit: the CPU reads the other"
        f" {size / _GIB:.1f} GiB for each token"
    )


@dataclass(frozen=True, slots=True)
class _Search:
    """What a model takes with other arguments than those that it has."""

    model: Model
    engine: str
    args: Mapping[str, ArgValue]
    devices: Sequence[Device]
    rooms: Mapping[str, int]
    env: Mapping[str, str]

    def estimate(self, more: Mapping[str, ArgValue]) -> Breakdown:
        left = {name: value for name, value in self.args.items() if name.replace("_", "-") not in more}
        written = {spelled(self.engine, name): value for name, value in more.items()}
        # llama.cpp divides layers among GPUs by what they have free: here, what they may come to have.
        devices = [replace(device, free=self.rooms.get(device.name, 0)) for device in self.devices]
        return estimate(self.model, self.engine, left | written, devices, self.env)

    def fitted(self, written: Container[str]) -> Fitted | None:
        """Find arguments with which it fits; None if there are none."""
        model, engine, args = self.model, self.engine, self.args
        option = "n-ctx" if engine == "llama_cpp" else "ctx-size"
        on_gpus = any(device.name != RAM for device in self.devices)
        contexts = [] if option in written else list(_contexts(model, engine, args))
        # 1. The whole model, with less context.
        least = (LEAST_CONTEXT if on_gpus else LAST_CONTEXT) * _slots(engine, args)
        for context in contexts[1:]:
            if context >= least and fits(self.estimate({option: context}), self.rooms):
                return Fitted({option: context}, note=_less_context(context, contexts[0]))
        if not on_gpus or "n-gpu-layers" in written or "gpu-layers" in written:
            return None
        # 2. A part of its layers on the GPU, with as much context as fits.
        for context in contexts or [0]:
            less = {option: context} if context != (contexts or [0])[0] else {}
            layers = self.most_layers(less)
            if layers is not None:
                found = self.estimate({**less, "n-gpu-layers": layers})
                said = [_less_context(context, contexts[0])] if less else []
                note = "; ".join([_fewer_layers(model, layers, found), *said])
                return Fitted({**less, "n-gpu-layers": layers}, note=note)
        return None

    def most_layers(self, less: Mapping[str, ArgValue]) -> int | None:
        """Find the most layers for which the GPUs have room; None if RAM has none for the others, or no layer fits."""
        low, high = 0, len(self.model.layers) + 1
        while low < high:
            layers = (low + high + 1) // 2
            found = self.estimate({**less, "n-gpu-layers": layers})
            if all(parts.most <= self.rooms.get(name, 0) for name, parts in found.devices.items() if name != RAM):
                low = layers
            else:
                high = layers - 1
        return low if fits(self.estimate({**less, "n-gpu-layers": low}), self.rooms) else None


def spelled(engine: str, name: str) -> str:
    """Write an argument's name as an engine reads it: llama_cpp with underscores, all others with dashes."""
    return name.replace("-", "_") if engine == "llama_cpp" else name


# vllm


def vllm_room(model: Model, args: Mapping[str, ArgValue], share: int, width: int, total: int) -> int:
    """Give the bytes of cache on each GPU that a share of so many bytes leaves, spread over `width`; below 0: none.

    `total` is what the GPU has.
    """
    step = number(args, "max-num-batched-tokens") or (8192 if total >= LARGE_GPU else 2048)
    work = step * (4 * model.hidden + 3 * model.feed_forward) * model.number_size
    return share - model.weights.total // width - work // width - vllm.GPU_BASE


def vllm_token(model: Model, width: int) -> int:
    """Give the bytes of cache that a token takes on each of `width` GPUs: heads are divided, latent vectors aren't."""
    shared = any(layer.values for layer in model.layers)
    return max(model.cache_per_token(model.number_size, model.number_size) // (width if shared else 1), 1)


def fit_vllm(
    model: Model, args: Mapping[str, ArgValue], room: int, width: int, written: Container[str] = ()
) -> Fitted | None:
    """Find a max-model-len whose cache has room on each GPU; None if there is none. Nothing changes where all fits."""
    usual = number(args, "max-model-len") or model.context
    token = vllm_token(model, width)
    if usual and token * usual <= room:
        return Fitted()
    length = int(room * SURELY) // token // llama.ALIGNMENT * llama.ALIGNMENT
    if "max-model-len" in written or length < LAST_CONTEXT or not usual:
        return None
    return Fitted({"max-model-len": length}, note=_less_context(length, usual))
