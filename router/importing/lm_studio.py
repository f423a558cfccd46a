"""LM Studio's models, with the settings that each has → router.yaml. Pure: what is on the disk, `stores` reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from launchers.engines.flags import SERVERS
from router.importing.imported import PLAIN, Entry, Imported, Route, Value, duration, literals, mapping, number, whole
from router.importing.reasons import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WHOSE: Final = "LM Studio"
PORT: Final = 1234

ARGS: Final[Mapping[str, str]] = MappingProxyType({
    "llm.load.contextLength": "ctx-size",
    "llm.load.seed": "seed",
    "llm.load.numParallelSessions": "parallel",
    "llm.load.useUnifiedKvCache": "kv-unified",
    "llm.load.offloadKVCacheToGpu": "kv-offload",
    "llm.load.llama.flashAttention": "flash-attn",
    "llm.load.llama.cpuThreadPoolSize": "threads",
    "llm.load.llama.evalBatchSize": "batch-size",
    "llm.load.llama.physicalBatchSize": "ubatch-size",
    "llm.load.llama.kCacheQuantizationType": "cache-type-k",
    "llm.load.llama.vCacheQuantizationType": "cache-type-v",
    "llm.load.llama.keepModelInMemory": "mlock",
    "llm.load.llama.tryMmap": "mmap",
    "llm.load.llama.ropeFrequencyBase": "rope-freq-base",
    "llm.load.llama.ropeFrequencyScale": "rope-freq-scale",
})  # fmt: skip
"""A setting of a model's load → the argument of llama.cpp."""

FIELDS: Final[Mapping[str, str]] = MappingProxyType({
    "llm.prediction.temperature": "temperature",
    "llm.prediction.topKSampling": "top_k",
    "llm.prediction.topPSampling": "top_p",
    "llm.prediction.minPSampling": "min_p",
    "llm.prediction.repeatPenalty": "repeat_penalty",
    "llm.prediction.llama.presencePenalty": "presence_penalty",
    "llm.prediction.llama.frequencyPenalty": "frequency_penalty",
    "llm.prediction.maxPredictedTokens": "max_tokens",
    "llm.prediction.stopStrings": "stop",
})  # fmt: skip
"""A setting of answers → the field of a request."""

_OFFLOAD: Final = "llm.load.llama.acceleration.offloadRatio"
_SYSTEM: Final = "llm.prediction.systemPrompt"
_NEEDLESS: Final = frozenset(
    {"llm.load.llama.autoFit", "llm.load.llama.contextCheckpoints", "llm.prediction.llama.cpuThreads"}
)
_NUMBERS: Final = frozenset({"cache-type-k", "cache-type-v"})


@dataclass(frozen=True, slots=True)
class Kept:
    """A model of LM Studio's folder. `load` and `answers` are the settings that it has there."""

    name: str
    keys: Mapping[str, Any]
    about: str = ""
    reason: str = ""
    load: Mapping[str, Any] = field(default_factory=dict)
    answers: Mapping[str, Any] = field(default_factory=dict)
    is_gguf: bool = True


def fields_of(said: object, part: str) -> dict[str, Any]:
    """Give the settings of a part of a model's file: those that are on, without their switches."""
    found = {}
    listed = mapping(mapping(said).get(part)).get("fields")
    for each in listed if isinstance(listed, list) else []:
        value = mapping(each).get("value")
        if "checked" in mapping(value):
            if not mapping(value)["checked"]:
                continue
            value = mapping(value).get("value")
        found[str(mapping(each).get("key"))] = value
    return found


def imported(kept: Sequence[Kept], folder: str, settings: Mapping[str, Any], server: Mapping[str, Any]) -> Imported:
    """Write the entries of what is kept. `settings` are the application's, `server` its server's."""
    found = Imported(WHOSE, folder, whole(server.get("port")) or PORT)
    after = _unloads(mapping(mapping(settings.get("developer")).get("jitModelTTL")))
    usual = settings.get("defaultContextLength")
    usual = mapping(usual).get("value") if mapping(usual).get("type") == "custom" else usual
    for each in kept:
        found.entries.append(_entry(each, after, whole(usual), found))
    if str(server.get("networkInterface", "127.0.0.1")) not in {"127.0.0.1", "localhost"}:
        found.leave(
            "networkInterface", "other machines need a key here: `server.host` and `auth.keys`, as docs/keys.md says"
        )
    if server.get("cors") is True:
        found.leave("cors", "no web page is let in unless `server.cors` names it")
    if server.get("justInTimeModelLoading") is False:
        found.leave(
            "justInTimeModelLoading", "models are loaded by the first request; without `load: on_demand`, at the start"
        )
    found.advice.append("Models stay in LM Studio's folder, which the router only reads.")
    return found


def _unloads(said: Mapping[str, Any]) -> str:
    """Say how long a model that a request has loaded stays: an hour, unless the settings say otherwise."""
    if said.get("enabled") is False:
        return ""
    return duration(number(said.get("ttlSeconds")) or 3600)


def _entry(each: Kept, after: str, context: int | None, found: Imported) -> Entry:
    keys: dict[str, Value] = {name: literals(value) for name, value in each.keys.items()}
    launch: dict[str, Value] = dict(mapping(keys.get("launch")))
    if each.is_gguf and (args := _args(each, context, found)):
        launch["args"] = {**mapping(launch.get("args")), **args}
    if after and launch:
        launch["unload_after"] = after
    entry = Entry({**keys, **({"launch": launch} if launch else {})}, f"{each.name}: {each.about}", reason=each.reason)
    default: dict[str, Value] = {}
    for key, value in each.answers.items():
        if key in FIELDS:
            if value not in (None, [], ""):
                default[FIELDS[key]] = literals(value)
        elif key == _SYSTEM:
            if value:
                found.leave(
                    f"{each.name}: system prompt",
                    "clients say what a model is told: a route changes fields, not messages",
                )
        elif key not in _NEEDLESS:
            found.leave(f"{each.name}: {key}", UNKNOWN)
    if default and not each.reason:
        name = str(keys["name"])
        entry.keys = {"name": name, "models": [f"{name}{PLAIN}"], "launch": launch}
        found.routes[name] = Route([f"{name}{PLAIN}"], {"default": default})
    return entry


def _args(each: Kept, context: int | None, found: Imported) -> dict[str, Value]:
    args: dict[str, Value] = {"ctx-size": context} if context else {}
    servers: dict[str, Value] = {}
    for key, value in each.load.items():
        if name := ARGS.get(key):
            said: Value = ("on" if value else "off") if name == "flash-attn" else literals(value)
            (servers if name in SERVERS else args)[name] = said
        elif key == _OFFLOAD:
            if value in (0, "off"):
                args["n-gpu-layers"] = 0
            elif value not in ("max", 1, 1.0):
                found.leave(f"{each.name}: {key}", "the router measures how much of a model fits on a GPU")
        elif key not in _NEEDLESS:
            found.leave(f"{each.name}: {key}", UNKNOWN)
    return {**args, **({"llama_server": servers} if servers else {})}
