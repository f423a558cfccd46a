"""What a GGUF model takes in llama.cpp, for both engines that run it. Pure.

Where each formula comes from, in llama.cpp's sources:

1. Layers on GPUs: `llama_model::load_tensors`. The last n_gpu_layers of all layers and the output are on GPUs, which
   share them by their free memory, or by tensor_split; the table of tokens always stays in RAM. Where it is the
   output, too, a GPU gets a copy.
2. Keys and values: llama-kv-cache.cpp. All cells are made at the start and set to zero, so they are resident. A layer
   with a window has fewer (llama-kv-cache-iswa.cpp). A recurrent layer has a state for each slot.
3. Compute buffers: `graph_reserve` sizes them for a full step of n_ubatch tokens. They hold the mask of attention, and
   at once the largest of what attention, feed-forward and the output have in between. Of the factors that the graph's
   allocator arrives at, ATTENTION and FEED are the largest that was seen over models of five shapes (hidden 768 to
   4096, feed-forward 1 to 3.5 times that).
4. A type in REPACKED is laid out anew for the CPU, as a copy: what was mapped of the file is spare then.
5. llama-cpp-python keeps all logits unless logits_all is false: n_ctx x vocabulary x 4 bytes, which fill as a context
   does. llama_server saves idle contexts in RAM, up to --cache-ram.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from types import MappingProxyType
from typing import Final

from launchers.engines.common import number
from launchers.footprints.gguf import TYPES
from launchers.footprints.model import Layer, Model
from launchers.footprints.parts import RAM, Breakdown, Device, Parts
from launchers.spec import ArgValue

REPACKED: Final = frozenset({"q4_0", "q4_k", "iq4_nl", "mxfp4"})
"""Types that ggml lays out anew on a CPU with AVX2 (ggml-cpu/repack.cpp). Others are so on ARM alone."""

ATTENTION: Final = 5
"""Times hidden x n_ubatch numbers, beside the scores."""
FEED: Final = 3
"""Times feed-forward x n_ubatch numbers, beside ATTENTION."""
ALIGNMENT: Final = 256
"""Cells in which a cache grows."""
PER_WORD: Final = 200
"""Bytes of the tokenizer for each token."""
GPU_BASE: Final = 300 << 20
"""Bytes of CUDA's context and libraries on each GPU that is used."""

LLAMA_CPP_BASE: Final = 60 << 20
LLAMA_SERVER_BASE: Final = 24 << 20
CACHE_RAM: Final = 8192
"""MiB that llama_server keeps of idle contexts, unless --cache-ram says otherwise."""
SAVED: Final = "LLAMA_ARG_CACHE_RAM"
"""The variable that says it where no argument does."""
ALL_LAYERS: Final = 1 << 20

NOTHING: Final[Mapping[str, str]] = MappingProxyType({})

_F16, _F32 = 2, 4


@dataclass(frozen=True, slots=True)
class Settings:
    """The arguments of an engine that decide how much memory it takes.

    `context` is the tokens of all slots together; 0: as many as the model knows. `unified`: slots share one cache.
    `step` is n_ubatch. `outputs` are the tokens of a step whose logits are kept; `scores`: those of all tokens are.
    `key_size` and `value_size` are the bytes of a number of the cache. `whole_window` is swa-full. `split` has the
    shares of the GPUs; none: by what they have free. `saved` is the bytes of idle contexts that are kept.
    """

    context: int
    slots: int
    unified: bool
    step: int
    outputs: int
    key_size: float
    value_size: float
    flash: bool
    gpu_layers: int
    cache_on_gpu: bool
    whole_window: bool
    split: tuple[float, ...]
    base: int
    scores: bool
    saved: int


def llama_cpp(args: Mapping[str, ArgValue]) -> Settings:
    """Read the arguments of llama_cpp.server; defaults are those of llama_cpp/server/settings.py."""
    scores = _truth(args, "logits-all", default=True)
    batch = number(args, "n-batch") or 512
    step = min(number(args, "n-ubatch") or 512, batch)
    embeds = _truth(args, "embedding", default=False)
    return Settings(
        context=number(args, "n-ctx") if "n_ctx" in args else 2048,
        slots=256 if embeds else 1,
        unified=True,
        step=step,
        outputs=step,
        key_size=_type_size(args, "type-k"),
        value_size=_type_size(args, "type-v"),
        flash=_truth(args, "flash-attn", default=False),
        gpu_layers=_gpu_layers(args, "n-gpu-layers", unsaid=0),
        cache_on_gpu=_truth(args, "offload-kqv", default=True),
        whole_window=True,
        split=_split(args),
        base=LLAMA_CPP_BASE,
        scores=scores,
        saved=0,
    )


def llama_server(args: Mapping[str, ArgValue], env: Mapping[str, str] = NOTHING) -> Settings:
    """Read the arguments of llama-server, with those that the router sets (launchers.engines.llama_server)."""
    slots = number(args, "parallel") or 4
    batch = number(args, "batch-size") or 2048
    saved = number(args, "cache-ram") if _said(args, "cache-ram") is not None else _saved(env)
    return Settings(
        context=number(args, "ctx-size"),
        slots=slots,
        unified=_truth(args, "kv-unified", default=True),
        step=min(number(args, "ubatch-size") or 512, batch),
        outputs=slots,
        key_size=_type_size(args, "cache-type-k"),
        value_size=_type_size(args, "cache-type-v"),
        flash=_truth(args, "flash-attn", default=True),
        gpu_layers=_gpu_layers(args, "n-gpu-layers", "gpu-layers", unsaid=ALL_LAYERS),
        cache_on_gpu=_truth(args, "kv-offload", default=True) and not _truth(args, "no-kv-offload", default=False),
        whole_window=_truth(args, "swa-full", default=False),
        split=_split(args),
        base=LLAMA_SERVER_BASE,
        scores=False,
        saved=saved << 20,
    )


def estimate(model: Model, settings: Settings, devices: Sequence[Device]) -> Breakdown:
    """Tell what each device will hold. Devices other than RAM are the GPUs that the engine may use, in its order."""
    context = -(-(settings.context or model.context) // ALIGNMENT) * ALIGNMENT
    places = _places(len(model.layers), settings, [device for device in devices if device.name != RAM])
    weights = dict.fromkeys([RAM, *places], 0)
    cache = dict(weights)
    for at, layer in enumerate(model.layers):
        weights[places[at]] += model.weights.layers[at]
        cache[places[at] if settings.cache_on_gpu else RAM] += _cache(layer, settings, context)
    output = places[-1]
    weights[RAM] += model.weights.embedding
    weights[output] += model.weights.output + model.weights.rest
    if output != RAM and model.weights.output_tied:
        weights[output] += model.weights.embedding
    compute = _compute(model, settings, context)
    gpus = set(places) - {RAM}
    found = {name: Parts(weights[name], cache[name], compute, GPU_BASE) for name in sorted(gpus)}
    return Breakdown({RAM: _ram(model, settings, context, weights[RAM], cache[RAM], gpus), **found}, model.gaps)


def cache_of(model: Model, settings: Settings) -> int:
    """Give the bytes of the keys, values and states of all slots, on whatever devices."""
    context = -(-(settings.context or model.context) // ALIGNMENT) * ALIGNMENT
    return sum(_cache(layer, settings, context) for layer in model.layers)


def _ram(model: Model, settings: Settings, context: int, weights: int, cache: int, gpus: set[str]) -> Parts:
    per_token = model.vocabulary * _F32 if settings.scores else 0
    tokens = context
    if settings.saved:
        per_token = model.cache_per_token(settings.key_size, settings.value_size)
        tokens = settings.saved // per_token if per_token else 0
    compute = _compute(model, settings, context)
    if gpus and weights <= model.weights.embedding:
        compute = model.hidden * settings.step * _F32 + _masks(model, settings, context)  # the input alone
    spare = 0
    if not gpus:
        spare = sum(size for kind, size in model.weights.kinds.items() if kind in REPACKED)
        spare -= model.weights.embedding if model.weights.embedding_kind in REPACKED else 0
    return Parts(
        weights,
        cache,
        # The logits that are handed over stand beside the buffers of the step that makes them.
        compute + model.vocabulary * _F32 * settings.outputs,
        settings.base + model.vocabulary * PER_WORD,
        per_token,
        tokens,
        spare,
    )


def _places(layers: int, settings: Settings, gpus: Sequence[Device]) -> list[str]:
    """Where each layer is, and, last, the output; 1 above."""
    on_gpus = min(settings.gpu_layers, layers + 1) if gpus else 0
    first = layers + 1 - on_gpus
    shares = settings.split[: len(gpus)] or [float(gpu.free) for gpu in gpus]
    total = sum(shares)
    ends = list(accumulate(share / total for share in shares)) if total else [1.0]
    return [
        RAM
        if at < first
        else next((gpus[n].name for n, end in enumerate(ends) if (at - first) / on_gpus < end), "")
        or gpus[len(ends) - 1].name
        for at in range(layers + 1)
    ]


def _cells(layer: Layer, settings: Settings, context: int) -> int:
    """Tokens of one stream that a layer has room for."""
    cells = context if settings.unified else context // settings.slots
    if not layer.window or settings.whole_window:
        return cells
    seen = layer.window * (settings.slots if settings.unified else 1) + settings.step
    return -(-min(cells, seen) // ALIGNMENT) * ALIGNMENT


def _cache(layer: Layer, settings: Settings, context: int) -> int:
    """Bytes of a layer's keys, values and states; 2 above."""
    token = layer.keys * settings.key_size + layer.values * settings.value_size
    streams = 1 if settings.unified else settings.slots
    return round(_cells(layer, settings, context) * streams * token) + layer.state * settings.slots


def _masks(model: Model, settings: Settings, context: int) -> int:
    """Bytes of the masks of attention: one for layers that see all, one for those with a window."""
    attend = [layer for layer in model.layers if layer.keys]
    cells = {layer.window > 0: _cells(layer, settings, context) for layer in attend}
    return sum(cells.values()) * settings.step * (_F16 if settings.flash else _F32)


def _compute(model: Model, settings: Settings, context: int) -> int:
    """Bytes of the buffers that a step works in; 3 above."""
    row = settings.step * _F32
    most = max((_cells(layer, settings, context) for layer in model.layers if layer.keys), default=0)
    masks = _masks(model, settings, context)
    scores = 0 if settings.flash else model.heads * most * row
    values = 0 if settings.flash else max((layer.values for layer in model.layers), default=0) * settings.step * 8
    attention = masks + scores + values + ATTENTION * model.hidden * row
    feed = masks + (ATTENTION * model.hidden + FEED * model.feed_forward) * row
    logits = min(settings.outputs, settings.step) * model.vocabulary * _F32 + 2 * model.hidden * row
    return max(attention, feed, logits)


# Arguments


def _said(args: Mapping[str, ArgValue], *names: str) -> ArgValue:
    return next((value for name, value in args.items() if name.replace("_", "-") in names), None)


def _saved(env: Mapping[str, str]) -> int:
    said = env.get(SAVED, "")
    return int(said) if said.isdecimal() else CACHE_RAM


def _truth(args: Mapping[str, ArgValue], name: str, *, default: bool) -> bool:
    said = _said(args, name)
    return default if said is None else str(said).lower() not in {"false", "off", "0", "no"}


def _gpu_layers(args: Mapping[str, ArgValue], *names: str, unsaid: int) -> int:
    said = _said(args, *names)
    if said is None or isinstance(said, bool):
        return unsaid
    try:
        layers = int(said) if isinstance(said, int | str) else unsaid
    except ValueError:
        return ALL_LAYERS  # auto, all
    return layers if layers >= 0 else ALL_LAYERS


def _type_size(args: Mapping[str, ArgValue], name: str) -> float:
    """Bytes of a number of a type, said by ggml's name of it, or by its number; f16 where none is said."""
    said = str(_said(args, name) or "f16").lower()
    for kind, (label, block, size) in TYPES.items():
        if said in {label, str(kind)}:
            return size / block
    return float(_F16)


def _split(args: Mapping[str, ArgValue]) -> tuple[float, ...]:
    said = _said(args, "tensor-split")
    shares = said.split(",") if isinstance(said, str) else said if isinstance(said, Sequence) else ()
    try:
        return tuple(float(share) for share in shares)
    except (TypeError, ValueError):
        return ()
