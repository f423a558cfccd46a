"""Ollama's models → router.yaml. Pure: what is on the disk, `stores` reads.

A model's parameters (PARAMETER in its Modelfile) are defaults of a route, or arguments of the engine.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from router.importing.imported import (
    PLAIN,
    Entry,
    Imported,
    Names,
    Route,
    Value,
    literals,
    mapping,
    number,
    texts,
    whole,
)
from router.importing.reasons import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WHOSE: Final = "Ollama"
PORT: Final = 11434

FIELDS: Final[Mapping[str, str]] = MappingProxyType({
    "temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "min_p": "min_p", "seed": "seed", "stop": "stop",
    "repeat_penalty": "repeat_penalty", "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty", "num_predict": "max_tokens", "repeat_last_n": "repeat_last_n",
    "typical_p": "typical_p",
    "mirostat": "mirostat", "mirostat_tau": "mirostat_tau", "mirostat_eta": "mirostat_eta",
})  # fmt: skip
"""A parameter → the field of a request."""

ARGS: Final[Mapping[str, str]] = MappingProxyType({
    "num_ctx": "ctx-size", "num_gpu": "n-gpu-layers", "num_thread": "threads", "num_batch": "batch-size",
    "main_gpu": "main-gpu",
})  # fmt: skip
"""A parameter → the argument of the engine."""

_SPECIAL = re.compile(r"<.*>|\[/?\w+\]|###.*")
"""How words look at which a model's own template ends."""

_DURATION = re.compile(r"(\d{1,9})(s|m|h)?")
_KEEPS: Final = "5m"
"""How long Ollama keeps a model, unless OLLAMA_KEEP_ALIVE says otherwise."""

_READ: Final = frozenset({"OLLAMA_KEEP_ALIVE", "OLLAMA_CONTEXT_LENGTH", "OLLAMA_NUM_PARALLEL"})

_NEEDLESS: Final[Mapping[str, str]] = MappingProxyType({
    "OLLAMA_MAX_LOADED_MODELS": "what fits into memory together is measured",
    "OLLAMA_MODELS": "its folder was read",
    "OLLAMA_FLASH_ATTENTION": "llama.cpp decides it by itself",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stored:
    """A model of the store, by the name that people type, and how it is launched.

    `reason`: why it can't be used. `params` are its parameters. `system`: it has words for each conversation.
    """

    name: str
    launch: Mapping[str, Any]
    about: str = ""
    reason: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    system: bool = False
    adapter: str = ""


def imported(stored: Sequence[Stored], folder: str, environ: Mapping[str, str]) -> Imported:
    """Write the entries of what is stored."""
    found = Imported(WHOSE, folder)
    kept = _kept(environ.get("OLLAMA_KEEP_ALIVE", _KEEPS))
    writing = _Writing(kept, environ, found)
    for each in stored:
        writing.write(each)
    found.advice.append(
        f"Ollama's clients look for it at port {PORT}: `server: {{ollama_port: {PORT}}}` answers them there, once "
        "Ollama itself has stopped. Models stay in Ollama's store, which the router only reads."
    )
    for name, value in environ.items():
        if name.startswith("OLLAMA_") and value and name not in _READ:
            found.leave(name, _NEEDLESS.get(name, UNKNOWN), is_lost=name not in _NEEDLESS)
    return found


def _kept(said: str) -> str:
    """Give what OLLAMA_KEEP_ALIVE means: seconds without a unit, less than nothing for ever."""
    match = _DURATION.fullmatch(said.strip())
    if match is None or said.strip() == "0":
        return "never" if said.strip().startswith("-") else "1s" if said.strip() == "0" else _KEEPS
    return f"{match[1]}{match[2] or 's'}"


class _Writing:
    """One walk over a store. Names of one file that is launched alike are one backend."""

    def __init__(self, kept: str, environ: Mapping[str, str], found: Imported) -> None:
        self._kept = kept
        self._environ = environ
        self._found = found
        self._names = Names()
        # What a backend serves, by its file and its arguments.
        self._served: dict[str, str] = {}

    def write(self, each: Stored) -> None:
        """Add an entry for a model, or a route to the one that there is."""
        found = self._found
        launch: dict[str, Value] = {name: literals(value) for name, value in each.launch.items()}
        args, default = _parameters(each, self._environ, found)
        if launch and (args := {**mapping(launch.get("args")), **args}):
            launch["args"] = args
        if each.system:
            found.leave(f"{each.name}: SYSTEM", "a route changes fields of requests, not messages")
        alike = repr((launch.get("model"), args))
        if launch and not each.reason and alike in self._served:
            found.routes[each.name] = Route([self._served[alike]], {"default": default} if default else {})
            return
        if launch and self._kept != "never":
            launch["unload_after"] = self._kept
        served = f"{each.name}{PLAIN}" if default else each.name
        keys: dict[str, Value] = {"name": self._names.new(each.name)}
        if served != keys["name"]:
            keys["models"] = [served]
        about = f"{each.name}: {each.about}" if each.about else each.name
        found.entries.append(Entry({**keys, **({"launch": launch} if launch else {})}, about, reason=each.reason))
        if each.reason:
            found.leave(each.name, each.reason)
            return
        self._served[alike] = served
        if default:
            found.routes[each.name] = Route([served], {"default": default})


def _parameters(each: Stored, environ: Mapping[str, str], found: Imported) -> tuple[dict[str, Value], dict[str, Value]]:
    """Give what a model's parameters are here: arguments of the engine, and fields of requests."""
    args: dict[str, Value] = {}
    default: dict[str, Value] = {}
    for name, said in {**_usual(environ), **each.params}.items():
        value = said if name == "stop" else whole(said)
        if value is None and name in FIELDS:
            value = number(said)
        if name not in ARGS and name not in FIELDS:
            found.leave(f"{each.name}: {name}", "no engine here has it")
        elif value is None:
            found.leave(f"{each.name}: {name}", "it is no number")
        elif name in ARGS:
            args[ARGS[name]] = value
        elif name == "stop" and all(_SPECIAL.fullmatch(word) for word in texts(value)):
            found.leave(f"{each.name}: stop", "the model's own template ends there", is_lost=False)
        elif name != "num_predict" or (whole(value) or 0) > 0:
            # -1 is no limit, which is so anyway.
            default[FIELDS[name]] = literals(value)
    if each.adapter:
        args["lora"] = each.adapter
    if parallel := whole(environ.get("OLLAMA_NUM_PARALLEL")):
        args["llama_server"] = {"parallel": parallel}
    return args, default


def _usual(environ: Mapping[str, str]) -> dict[str, Any]:
    context = whole(environ.get("OLLAMA_CONTEXT_LENGTH"))
    return {"num_ctx": context} if context else {}
