"""llama.cpp's presets (`llama-server --models-preset models.ini`) → router.yaml. Pure.

version = 1
[*]                     for all models
ctx-size = 8192
[qwen]                  a model: its name, and flags of llama-server without their dashes
model = models/qwen.gguf
load-on-startup = true
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from launchers.engines.common import HUB_FILE, HUB_ID
from launchers.engines.flags import LONG
from launchers.engines.llama_server import SWITCHES
from router.config.reading.environment import literal
from router.importing.commands import Launched, is_name_of_secret, of_options, value_of
from router.importing.imported import Entry, Imported, Names, Route, Value, duration, literals, number
from router.importing.reasons import ENDS, FOUND_OUT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

WHOSE: Final = "llama.cpp"
PORT: Final = 8080
ALL: Final = "*"
DEFAULT: Final = "default"
"""The section of what stands before any."""

PAIRS: Final = SWITCHES | {
    "cache-prompt", "cont-batching", "context-shift", "direct-io", "escape", "jinja", "kv-offload", "kv-unified",
    "mmap", "mmproj-auto", "mmproj-offload", "op-offload", "perf", "prefill-assistant", "repack", "slots",
    "spec-default", "ui", "warmup", "webui", "models-autoload", "spm-infill", "fim-qwen-7b-default",
}  # fmt: skip
"""Flags that are on or off: in a preset each has a word for that."""

_VARIABLES: Final[Mapping[str, str]] = MappingProxyType({
    "n-parallel": "parallel", "ubatch": "ubatch-size", "batch": "batch-size", "n-predict": "predict",
    "think": "reasoning-format", "endpoint-metrics": "metrics", "endpoint-slots": "slots", "endpoint-props": "props",
})  # fmt: skip
"""What a flag is called behind LLAMA_ARG_, where that isn't its name."""

_HEADER = re.compile(r"[ \t]*\[[ \t]*(?P<name>[^\]\n]*?)[ \t]*\][ \t]*(?:[;#].*)?")
_KEY = re.compile(r"[ \t]*(?P<key>[A-Za-z_][A-Za-z0-9_.-]*)[ \t]*=[ \t]*(?P<value>.*)")
_COMMENT = re.compile(r"[ \t]*[;#]")
_VARIABLE: Final = "LLAMA_ARG_"
_ON: Final = frozenset({"on", "enabled", "true", "1"})
_OFF: Final = frozenset({"off", "disabled", "false", "0"})
_OURS: Final = frozenset(
    {"load-on-startup", "sleep-idle-seconds", "alias", "version", "tags", "stop-timeout", "hf-token"}
)


class Line(NamedTuple):
    """A line of a section."""

    key: str
    value: str
    number: int


def imported(text: str, file: str) -> Imported:
    """Read presets."""
    found = Imported(WHOSE, file, PORT)
    sections, begins = _sections(text, found)
    names = Names()
    common = sections.pop(ALL, [])
    for name, lines in sections.items():
        if name != DEFAULT or any(_long(line.key) in {"model", "hf-repo"} for line in lines):
            found.entries.append(_entry(name, begins.get(name, 0), [*common, *lines], found, names))
    found.advice.append(
        "llama-server keeps four models loaded, or as many as --models-max says. Here models stay as long as they fit "
        "into memory together. Those of --models-dir are found by `python -m router models --scan FOLDER`."
    )
    return found


def _sections(text: str, found: Imported) -> tuple[dict[str, list[Line]], dict[str, int]]:
    """Give the lines of each section, and where it begins. Of two with one name the last counts."""
    sections: dict[str, list[Line]] = {}
    begins: dict[str, int] = {}
    lines = sections.setdefault(DEFAULT, [])
    for at, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.fullmatch(line):
            lines = sections[header["name"]] = []
            begins[header["name"]] = at
        elif key := _KEY.fullmatch(line):
            value = _COMMENT.split(key["value"], maxsplit=1)[0].rstrip()
            lines.append(Line(key["key"], value, at))
        elif line.strip() and not _COMMENT.match(line):
            found.leave("a line", "it is no `key = value`", at)
    return sections, begins


def _long(key: str) -> str:
    """Give a flag's long name: presets have short ones, too, and variables of the environment."""
    if key.startswith(_VARIABLE):
        key = key.removeprefix(_VARIABLE).lower().replace("_", "-")
        key = _VARIABLES.get(key, key)
    return LONG.get(key, key)


def _value(key: str, word: str) -> Value:
    if key.removeprefix("no-") in PAIRS and word.lower() in _ON | _OFF:
        return word.lower() in _ON
    return value_of(word)


def _entry(name: str, first: int, lines: list[Line], found: Imported, names: Names) -> Entry:
    said = {_long(line.key): line for line in lines}
    options = {key: _value(key, line.value) for key, line in said.items() if key not in _OURS}
    if not options.keys() & {"model", "hf-repo", "model-url", "docker-repo"} and _is_hub(name):
        options["hf-repo"] = name
    entry = Entry({"name": names.new(name)}, name, first)
    if entry.name != name:
        entry.keys["models"] = [name]
    runs = of_options(options, {})
    if not isinstance(runs, Launched):
        entry.reason = runs
        found.leave(f"[{name}]", runs, first)
        return entry
    if runs.guessed:
        entry.about += ". Its quantisation isn't named: the usual one is taken"
    for flag, why in runs.left.items():
        found.leave(f"[{name}] {flag}", why, said[flag.removeprefix("--")].number)
    args = {key: _argument(key, each, name, found) for key, each in runs.args.items()}
    launch: dict[str, Value] = {"engine": "llama_server", "model": literal(runs.model)}
    entry.keys["launch"] = {**launch, **({"args": args} if args else {}), **dict(_kept(name, said, found))}
    for other in (each.strip() for each in said["alias"].value.split(",")) if "alias" in said else ():
        if other and other != name and other not in found.routes:
            found.routes[other] = Route([name], {"hidden": True}, said["alias"].number)
    return entry


def _argument(key: str, value: Value, name: str, found: Imported) -> Value:
    if isinstance(value, str) and is_name_of_secret(key):
        return found.secret(key, f"{key} of {name}")
    return literals(value)


def _kept(name: str, said: Mapping[str, Line], found: Imported) -> Iterator[tuple[str, Value]]:
    """Say when it is loaded, for how long, and with which token."""
    if "hf-token" in said:
        yield "env", {"HF_TOKEN": found.refer("HF_TOKEN", f"of line {said['hf-token'].number}")}
    startup = said.get("load-on-startup")
    if startup is None or startup.value.lower() not in _ON:
        yield "load", "on_demand"
    idle = said.get("sleep-idle-seconds")
    if idle is not None and (seconds := number(idle.value) or 0) > 0:
        yield "unload_after", duration(seconds)
    for key, why in (
        ("stop-timeout", ENDS),
        ("tags", FOUND_OUT),
    ):
        if key in said:
            found.leave(f"[{name}] {key}", why, said[key].number, is_lost=False)


def _is_hub(name: str) -> bool:
    return HUB_ID.fullmatch(name) is not None or HUB_FILE.fullmatch(name) is not None
