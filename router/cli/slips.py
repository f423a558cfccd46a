"""What a command line with a slip in it probably means. argparse would take `--confg x` for a command named x."""

from __future__ import annotations

import argparse
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from router.config.problems import did_you_mean, either

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SETTINGS: Final[Mapping[str, str]] = MappingProxyType({
    "--port": "server.port", "-p": "server.port", "--host": "server.host", "--bind": "server.host",
    "--listen": "server.host", "--log-level": "logging.level", "--debug": "logging.level", "--verbose": "logging.level",
    "-v": "logging.level", "--policy": "balance.policy", "--profile": "profile", "--ollama-port": "server.ollama_port",
    "--log-dir": "logging.dir",
})  # fmt: skip
"""Options of other servers → the key of router.yaml that says it here."""

_LISTED: Final[Mapping[str, str]] = MappingProxyType({
    "--model": "backends[].launch.model", "-m": "backends[].launch.model", "--api-key": "auth.keys",
    "--backend": "backends[].url", "--url": "backends[].url",
})  # fmt: skip
"""The same, where the key is one of several."""

_NUMBER: Final = re.compile(r"-\d+|-\d*\.\d+")
"""Matches a number below 0, as argparse takes it: for a value, since no option is called so."""

_VERBOSE: Final = frozenset({"--debug", "--verbose", "-v"})
_CONFIG: Final = frozenset({"-c", "-f", "--file", "--yaml", "--conf", "--cfg"})
_STARTS: Final = frozenset({"start", "serve", "up", "server", "router"})
_SAME: Final[Mapping[str, str]] = MappingProxyType({
    "validate": "check", "lint": "check", "test": "check", "list": "ps",
    "stop": "unload", "diff": "plan", "diagnose": "doctor", "info": "doctor",
})  # fmt: skip
"""Words for commands in other programs → the command here."""


def slip(described: argparse.ArgumentParser, arguments: Sequence[str]) -> str:
    """Say what is meant by the first word that nothing knows; empty if all are known."""
    commands = _commands(described)
    parser, words = described, iter(arguments)
    may_be_value = False
    for word in words:
        if word == "--":
            return ""
        if may_be_value and not _is_option(parser, word):
            may_be_value = False
            continue
        may_be_value = False
        if _is_option(parser, word):
            option = word.partition("=")[0]
            action = _action(parser, option)
            if action is None and (parser is described or _action(described, option) is None):
                return _unknown_option(described, parser, word, next(words, ""))
            if action is not None and action.nargs is None and "=" not in word:
                # Its value.
                next(words, None)
            may_be_value = action is not None and action.nargs == "?" and "=" not in word
        elif parser is described:
            if word not in commands:
                return _unknown_command(described.prog, word, list(commands))
            parser = commands[word]
        elif _has_options_alone(parser):
            return f"{word}: name the file with --config {word}"
    return ""


def _commands(described: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    for action in described._actions:  # noqa: SLF001 - argparse lists them nowhere else
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            return action.choices
    return {}


def _has_options_alone(parser: argparse.ArgumentParser) -> bool:
    return all(action.option_strings for action in parser._actions)  # noqa: SLF001


def _is_option(parser: argparse.ArgumentParser, word: str) -> bool:
    """Whether a word is meant as an option: `-1` is a value, where there may be one."""
    if not word.startswith("-") or word == "-":
        return False
    return _has_options_alone(parser) or _NUMBER.fullmatch(word) is None


def _options(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.Action]]:
    for action in parser._actions:  # noqa: SLF001
        for option in action.option_strings:
            yield option, action


def _action(parser: argparse.ArgumentParser, word: str) -> argparse.Action | None:
    """Find an option by its name, or by a beginning of it."""
    known = dict(_options(parser))
    if word in known or not word.startswith("--"):
        return known.get(word)
    return next((action for option, action in known.items() if option.startswith(word)), None)


def _unknown_option(described: argparse.ArgumentParser, parser: argparse.ArgumentParser, word: str, value: str) -> str:
    option, _, given = word.partition("=")
    value = given or (value if not value.startswith("-") else "")
    if (key := SETTINGS.get(option)) is not None:
        value = "debug" if option in _VERBOSE else value or "…"
        variable = "ROUTER_" + key.upper().replace(".", "__")
        return f"there is no option {option}: {key} in router.yaml says it, or {variable}={value} before the command"
    if (key := _LISTED.get(option)) is not None:
        return f"there is no option {option}: {key} in router.yaml says it"
    known = [name for name, _ in _options(parser)] + [name for name, _ in _options(described)]
    near = "--config" if option in _CONFIG else did_you_mean(option, [name for name in known if name != "-h"])
    if near:
        return f"there is no option {option}; did you mean {near}?"
    return f"there is no option {option}; `{parser.prog} --help` lists all"


def _unknown_command(program: str, word: str, commands: Sequence[str]) -> str:
    if word.endswith((".yaml", ".yml")):
        return f"{word} is no command; to start the router with this file: {program} --config {word}"
    if word in _STARTS:
        return f"there is no command {word}: the router starts without one: {program} --config router.yaml"
    near = _SAME.get(word) or did_you_mean(word, commands)
    if near:
        return f"there is no command {word}; did you mean {near}?"
    return f"there is no command {word}; there are {either(commands).replace(' or ', ' and ')}"
