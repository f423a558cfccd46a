"""Command lines: of llama-server, a model with its arguments; of any other program, `cmd`. Pure."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from launchers.engines import llama_server
from launchers.engines.common import HUB_ID
from launchers.engines.flags import LONG
from router.config import scalars

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from router.importing.imported import Value

LLAMA_SERVER: Final = "llama-server"
PORT: Final = "{port}"
"""Stands in router.yaml's commands for the port that the router chooses."""

QUANTISATION: Final = "Q4_K_M"
"""The one that llama-server looks for first where none is named."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_NUMBER = re.compile(r"-[0-9.]")
_KEYS: Final = frozenset({"--api-key", "--api-keys", "--api-key-file"})
"""Flags of many programs for the key that they ask for: the router shows each program one that it made."""

_SECRET = re.compile(r"(?:^|[-_])(?:api[-_]?key|key|token|secret|passw(?:or)?d|cookie|authorization)$", re.IGNORECASE)
_IN_A_LINE = re.compile(
    r"(?<![\w-])-{0,2}(?P<name>(?:[\w-]{0,60}[-_])?(?:api[-_]?key|token|secret|passw(?:or)?d))(?:=|\s+)(?P<value>[^\s\"'$]{4,})",
    re.IGNORECASE,
)

_OURS: Final = frozenset({"host", "port", "alias", "reuse_port"})
"""Flags that the router gives an engine anyway, so that nothing is lost."""

_WHERE: Final = frozenset({"model", "hf-repo", "hf-file", "hf-token"})
_ELSEWHERE: Final = frozenset({"model-url", "docker-repo", "models-dir", "models-preset"})
_ENGINES: Final = (
    (re.compile(r"(?:^|[\s/])vllm(?:\.entrypoints\S*)?\s"), "vllm"),
    (re.compile(r"(?:^|[\s/])mlx_lm[._]server\s"), "mlx"),
    (re.compile(r"\bllama_cpp\.server\b"), "llama_cpp"),
    (re.compile(r"(?:^|/)[\w.-]*llama-server[\w.-]*\s"), "llama_server"),
)
"""How the commands of engines look, so that they get nothing that is private to them."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command line, taken apart. `env` are variables that stand before the program."""

    words: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def program(self) -> str:
        """The name of the program, without its folder."""
        return self.words[0].replace("\\", "/").rpartition("/")[2].removesuffix(".exe")

    @property
    def engine(self) -> str:
        """The engine that it is; "" if it is none of ours, or can't be told."""
        line = f"{' '.join(self.words)} "
        return next((name for pattern, name in _ENGINES if pattern.search(line)), "")


@dataclass(frozen=True, slots=True)
class Launched:
    """A model of llama-server's command line, and its arguments. `left` are flags that can't be carried over: why."""

    model: str
    args: Mapping[str, Value]
    env: Mapping[str, str]
    left: Mapping[str, str]
    guessed: bool = False


def uncommented(text: str) -> str:
    """Take the lines that are comments out of a command, and the marks that it goes on in the next line."""
    lines = [line for line in text.split("\n") if not line.strip().startswith("#")]
    return "\n".join(f"{line.rstrip()[:-1]} " if line.rstrip().endswith("\\") else line for line in lines)


def split(text: str) -> Command:
    """Take a command line apart, as a shell would. Raises ValueError."""
    words = shlex.split(uncommented(text))
    env: dict[str, str] = {}
    if words[:1] == ["env"]:
        words = words[1:]
        while words and _VARIABLE.match(words[0]):
            name, _, value = words.pop(0).partition("=")
            env[name] = value
    if not words:
        raise ValueError("it names no program")
    return Command(tuple(words), env)


def flags(words: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Give each flag with its value; None where it has none. What is no flag has an empty name."""
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if not word.startswith("-") or _NUMBER.match(word):
            yield "", word
            continue
        name, equals, value = word.partition("=")
        if equals:
            yield name, value
        elif at < len(words) and (not words[at].startswith("-") or _NUMBER.match(words[at])):
            yield name, words[at]
            at += 1
        else:
            yield name, None


def value_of(word: str) -> Value:
    """Give what an argument means: a number only where writing it gives the same word again."""
    read = scalars.read(word)
    return read if isinstance(read, int | float) and str(read) == word else word


def launched(command: Command) -> Launched | str:
    """Give the model that a command of llama-server runs, or why router.yaml can't have it so."""
    said: dict[str, Value] = {}
    for name, value in flags(command.words[1:]):
        if not name:
            return "a word stands in it that belongs to no flag"
        long = LONG.get(name.lstrip("-"), name.lstrip("-"))
        given: Value = True if value is None else value_of(value)
        if long in said and isinstance(given, str):
            # A flag that is given several times: they count together.
            before = said[long]
            said[long] = [*before, given] if isinstance(before, list) else [str(before), given]
        else:
            said[long] = given
    return of_options(said, command.env)


def of_options(said: Mapping[str, Value], env: Mapping[str, str]) -> Launched | str:
    """The same, of options by their long names."""
    if elsewhere := next((name for name in said if name in _ELSEWHERE), ""):
        return f"--{elsewhere} has nothing like it in `model`"
    model, is_guessed = _model(said)
    if not model:
        return "it names no model"
    args: dict[str, Value] = {}
    left: dict[str, str] = {}
    for name, value in said.items():
        key = name.replace("-", "_")
        if name in _WHERE or key in _OURS:
            continue
        if reason := llama_server.NOT_TO_SET.get(key):
            left[f"--{name}"] = reason
        else:
            args[name] = value
    token = said.get("hf-token")
    return Launched(model, args, {**env, **({"HF_TOKEN": str(token)} if token else {})}, left, is_guessed)


def _model(said: Mapping[str, Value]) -> tuple[str, bool]:
    """Give what `launch.model` is, and whether its quantisation is a guess."""
    if path := said.get("model"):
        return str(path), False
    hub, file = str(said.get("hf-repo") or ""), said.get("hf-file")
    if file:
        return f"{hub.partition(':')[0]}:{file}", False
    is_guessed = HUB_ID.fullmatch(hub) is not None
    return (f"{hub}:{QUANTISATION}" if is_guessed else hub), is_guessed


def with_port(words: Sequence[str], port: int | None) -> tuple[str, ...]:
    """Put the router's mark in the place of a fixed port; of one that isn't known, behind the flag that is named so."""
    if any(PORT in word for word in words):
        return tuple(words)
    if port is not None:
        fixed = re.compile(rf"(?<![\w.]){port}(?![\w.])")
        return tuple(fixed.sub(PORT, word) for word in words)
    found = list(words)
    for at, word in enumerate(words[:-1]):
        if word.startswith("-") and word.endswith("port") and words[at + 1].isdigit():
            found[at + 1] = PORT
    return tuple(found)


def without_keys(words: Sequence[str]) -> tuple[tuple[str, ...], bool]:
    """Take out the key that a program would ask for; tell whether there was one."""
    kept: list[str] = []
    skips = had = False
    for word in words:
        if skips:
            skips = False
            continue
        name, equals, _ = word.partition("=")
        if name in _KEYS:
            skips, had = not equals, True
            continue
        kept.append(word)
    return tuple(kept), had


def secrets(words: Sequence[str]) -> Iterator[tuple[int, str, str]]:
    """Give each word that holds a secret: its place, what it is called, and the secret itself."""
    for at, word in enumerate(words):
        name, equals, value = word.partition("=")
        flag = words[at - 1] if at else ""
        if flag.startswith("-") and is_name_of_secret(flag):
            found = [(flag.lstrip("-"), word)]
        elif " " in word:
            # A line for a shell.
            found = [(each["name"], each["value"]) for each in _IN_A_LINE.finditer(word)]
        else:
            found = [(name.lstrip("-"), value)] if equals and is_name_of_secret(name) else []
        yield from ((at, called, secret) for called, secret in found if not _is_plain(secret))


def is_name_of_secret(name: str) -> bool:
    """Whether a flag or a variable of this name is a secret, and no file that has one."""
    return _SECRET.search(name) is not None


def _is_plain(value: str) -> bool:
    return not value or "${" in value or value.isdigit() or value.startswith("-")
