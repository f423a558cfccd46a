"""Configuration files of other programs, recognised by what only they have, and what to write here instead."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_SWAP: Final = frozenset({"healthCheckTimeout", "startPort", "groups", "macros", "hooks", "logLevel", "matrix"})
_LITELLM: Final = frozenset({"model_list", "litellm_settings", "general_settings", "router_settings"})
_MODELFILE = re.compile(r"FROM[ \t]+\S", re.IGNORECASE)
_VARIABLE = re.compile(r"(?:export[ \t]+)?OLLAMA_[A-Z_]+=")
_SECTION = re.compile(r"\[[^\]]+\][ \t]*(?:[;#].*)?")
_KEY = re.compile(r"[A-Za-z_][\w.-]*[ \t]*=")
_PRESET = re.compile(
    r"(?:model|m|hf|hfr|hf-repo|n-gpu-layers|gpu-layers|ngl|ctx-size|c|load-on-startup|LLAMA_ARG_\w+)[ \t]*="
)

_IMPORT: Final = ": `python -m router import FILE` makes a router.yaml of it, and says what can't be carried over. "
_MORE: Final = "; docs/coming-from.md has more"
LLAMA_SWAP: Final = (
    "this is a configuration of llama-swap" + _IMPORT + "Each of its `models` is one of `backends` here, such as "
    "`- {name: qwen, launch: {engine: llama_server, model: qwen.gguf, args: {ngl: 99}, load: on_demand, "
    "unload_after: 5m}}`" + _MORE
)
LITELLM: Final = (
    "this is a configuration of LiteLLM" + _IMPORT + "Each entry of its `model_list` is one of `backends` here, such "
    'as `- {url: "https://api.example.com/v1", api_key: "${KEY}", models: {gpt-4o: their-name}}`' + _MORE
)
LLAMA_PRESETS: Final = (
    "these are presets of llama.cpp's server" + _IMPORT + "Each of its sections is one of `backends` here, such as "
    "`- {name: qwen, launch: {engine: llama_server, model: qwen.gguf, args: {ctx-size: 8192}, load: on_demand}}`"
    + _MORE
)
OLLAMA: Final = (
    "this is a configuration of Ollama: `python -m router import --ollama` makes a router.yaml of the models that it "
    "has. To have the models of an Ollama that runs, write `backends: [{url: "
    '"http://127.0.0.1:11434"}]`; to run a file, `backends: [{name: mine, launch: {model: /path/to/model.gguf}}]`'
    + _MORE
)


def of_data(data: Mapping[str, Any]) -> tuple[str, str]:
    """Find the key that only another program's file has, and say what to write instead; empty if there is none."""
    if "backends" in data:
        return "", ""
    if mine := next((key for key in data if key in _LITELLM), ""):
        return mine, LITELLM
    models = data.get("models")
    if isinstance(models, dict) and (
        data.keys() & _SWAP or any(isinstance(each, dict) and "cmd" in each for each in models.values())
    ):
        return "models", LLAMA_SWAP
    return "", ""


def of_text(text: str) -> str:
    """Say what to write instead of a file that isn't YAML; empty if it is of no program that is known."""
    # Line by line: a pattern over all of them takes for ever at many empty ones.
    lines = (line for line in map(str.strip, text.splitlines()) if line and not line.startswith(("#", ";")))
    first = next(lines, "")
    if _MODELFILE.match(first) or _VARIABLE.match(first):
        return OLLAMA
    if not _SECTION.fullmatch(first) and not _KEY.match(first):
        return ""
    has_section = _SECTION.fullmatch(first) is not None
    has_preset = _PRESET.match(first) is not None
    for line in lines:
        has_section = has_section or _SECTION.fullmatch(line) is not None
        has_preset = has_preset or _PRESET.match(line) is not None
        if has_section and has_preset:
            return LLAMA_PRESETS
    return ""
