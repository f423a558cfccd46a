"""Names of llama.cpp's flags: people write them as on llama-server's command line, `ngl` as well as `n-gpu-layers`.

Both engines that run llama.cpp understand them all; llama_cpp has names of its own.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType

from launchers.engines import llama_cpp
from launchers.errors import ArgumentError
from launchers.spec import ArgValue

LONG: Mapping[str, str] = MappingProxyType({
    "a": "alias", "b": "batch-size", "c": "ctx-size", "cb": "cont-batching", "cd": "ctx-size-draft",
    "cmoe": "cpu-moe", "cram": "cache-ram", "ctk": "cache-type-k", "ctkd": "cache-type-k-draft", "ctv": "cache-type-v",
    "ctvd": "cache-type-v-draft", "dev": "device", "devd": "device-draft", "fa": "flash-attn",
    "gpu-layers": "n-gpu-layers", "hf": "hf-repo", "hff": "hf-file", "hfr": "hf-repo",
    "hft": "hf-token", "j": "json-schema",
    "kvo": "kv-offload", "kvu": "kv-unified", "l": "logit-bias", "lv": "verbosity", "m": "model",
    "md": "model-draft", "mg": "main-gpu", "mm": "mmproj", "mu": "model-url", "n": "predict", "n-predict": "predict",
    "ncmoe": "n-cpu-moe", "ngl": "n-gpu-layers", "ngld": "n-gpu-layers-draft", "np": "parallel",
    "ot": "override-tensor", "s": "seed", "sm": "split-mode", "sps": "slot-prompt-similarity", "t": "threads",
    "tb": "threads-batch", "tbd": "threads-batch-draft", "td": "threads-draft", "to": "timeout", "ts": "tensor-split",
    "ub": "ubatch-size", "v": "verbose",
})  # fmt: skip
"""A flag's short or other name → the long one that llama-server knows it by."""

SETTINGS: Mapping[str, str] = MappingProxyType({
    "batch-size": "n_batch", "cache-type-k": "type_k", "cache-type-v": "type_v", "ctx-size": "n_ctx",
    "embeddings": "embedding", "kv-offload": "offload_kqv", "lora": "lora_path", "mlock": "use_mlock",
    "mmap": "use_mmap", "mmproj": "clip_model_path", "threads": "n_threads", "threads-batch": "n_threads_batch",
    "ubatch-size": "n_ubatch",
})  # fmt: skip
"""llama-server's name → llama_cpp's setting, where it has another one than that with underscores."""

SERVERS = frozenset({
    "cache-ram", "cont-batching", "cpu-moe", "device", "jinja", "kv-unified", "metrics", "model-draft", "n-cpu-moe",
    "override-tensor", "parallel", "predict", "props", "reasoning-budget", "reasoning-format", "repeat-penalty",
    "rerank", "reranking", "samplers", "slot-prompt-similarity", "slots", "temp", "top-k", "top-p", "min-p", "warmup",
    "ctx-size-draft", "n-gpu-layers-draft", "device-draft", "context-shift",
})  # fmt: skip
"""Flags of llama-server that llama_cpp has nothing for."""

TYPES: Mapping[str, int] = MappingProxyType({
    "f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8, "iq4_nl": 20, "bf16": 30,
})  # fmt: skip
"""ggml's numbers of the types that a cache may have."""

_OFTEN = frozenset({"ngl", "n-gpu-layers", "gpu-layers", "c", "ctx-size", "n-ctx", "fa", "ctk", "ctv", "ub"})
_ON = {"on": True, "auto": True, "off": False}


_WHOLE: Mapping[str, frozenset[str]] = MappingProxyType({
    "llama_cpp": frozenset({
        "n-ctx", "n-batch", "n-ubatch", "n-threads", "n-threads-batch", "n-gpu-layers", "main-gpu", "seed",
    }),
    "llama_server": frozenset({
        "ctx-size", "batch-size", "ubatch-size", "threads", "threads-batch", "parallel", "predict", "main-gpu", "top-k",
    }),
    "mlx": frozenset({
        "max-tokens", "decode-concurrency", "prompt-concurrency", "prefill-step-size", "prompt-cache-size", "kv-bits",
        "kv-group-size", "quantized-kv-start", "num-draft-tokens", "top-k",
    }),
})  # fmt: skip
"""An engine → options that are whole numbers in every version of it; llama_server takes words for others, too."""

_NUMBER = re.compile(r"\s*[+-]?\d+\s*")


def named(engine: str, args: Mapping[str, ArgValue]) -> dict[str, ArgValue]:
    """Give an engine's arguments the names by which it knows them. Raises ArgumentError for one that it can't know."""
    known = {name: _named(engine, name, value) for name, value in args.items()}
    for name, (option, value) in known.items():
        if option.replace("_", "-") in _WHOLE.get(engine, ()) and not _may_be_whole(value):
            raise ArgumentError(f"launch.args: {name} can't be set to this for {engine}: it is a whole number")
    return dict(known.values())


def _named(engine: str, name: str, value: ArgValue) -> tuple[str, ArgValue]:
    if engine == "llama_server":
        return _long(name, value)
    if engine == "llama_cpp":
        return _setting(name, value)
    if name.replace("_", "-").lstrip("-") in _OFTEN and engine in {"vllm", "mlx"}:
        raise ArgumentError(
            f"launch.args: {name} can't be set for {engine}: it is a flag of llama.cpp; below `llama_cpp` or "
            "`llama_server` in args it is for that engine alone"
        )
    return name, value


def _may_be_whole(value: ArgValue) -> bool:
    """Tell whether an engine may read a value as a whole number; None leaves the option out."""
    if isinstance(value, str):
        return _NUMBER.fullmatch(value) is not None
    if isinstance(value, float):
        return value.is_integer()
    return value is None or (isinstance(value, int) and not isinstance(value, bool))


def _long(name: str, value: ArgValue) -> tuple[str, ArgValue]:
    """Give llama-server's long name, with dashes; `no-mmap: true` is `mmap: false`."""
    name = name.lstrip("-")
    if name not in LONG:
        name = name.replace("_", "-")
    name = LONG.get(name, name)
    if name.startswith("no-") and isinstance(value, bool):
        return name.removeprefix("no-"), not value
    return name, value


def _setting(name: str, value: ArgValue) -> tuple[str, ArgValue]:
    """Give llama_cpp's setting; a name that it doesn't know stays as it was written."""
    written, (long, value) = value, _long(name, value)
    if long in SERVERS:
        raise ArgumentError(
            f"launch.args: {name} can't be set for llama_cpp: it is llama-server's; write `engine: llama_server` for it"
        )
    if long == "flash-attn" and isinstance(value, str):
        value = _ON.get(value, value)
    if long in {"cache-type-k", "cache-type-v"} and isinstance(value, str):
        value = TYPES.get(value.lower(), value)
    setting = SETTINGS.get(long, long.replace("-", "_"))
    return (setting, value) if setting in llama_cpp.SETTINGS else (name, written)
