"""What each program needs to be told of the router, as docs/clients.md says it. Pure."""

import json
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from router.config import scalars

VARIABLE: Final = "ROUTER_KEY"
"""The variable that has the key, wherever a program can be told a variable's name."""
_PLAIN: Final = re.compile(r"[A-Za-z][\w.-]*", re.ASCII)
"""Words that mean themselves in YAML, where they are no numbers and the like."""

NONE: Final = "none"
"""The key where none is needed: many programs refuse to start without one."""


AGENTS: Final = 32768
"""Tokens of context that Claude Code and Codex need: their first prompts take 12,000 and 14,000, and work follows."""

FILE: Final = "{file}"
"""Stands for the place of a file of ours in a program's arguments."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a program is told: where the router is, the model, and the key as it may be `shown`.

    `is_secret`: there is a key. `home` is the person's home folder.
    """

    url: str
    model: str
    shown: str = NONE
    is_secret: bool = False
    home: str = "/home/me"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a program is set up, and started.

    A person is told of `file`, a place and what belongs there, and of `before`, a command that makes another file. With
    `--exec` the program gets `more` variables and `arguments` instead: of these, FILE is a file of ours with `written`,
    a text or what the router answers at a path. `context` is the tokens that a model needs for its first prompt, which
    is long, and what follows; 0: any will do.
    """

    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    file: tuple[str, str] | None = None
    before: str = ""
    more: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    written: str = ""
    context: int = 0

    def lines(self) -> list[str]:
        """Write it for a person: for a shell, with what belongs into a file as comments before."""
        found = []
        if self.file is not None:
            place, text = self.file
            found += [f"# in {place}:", *text.rstrip("\n").split("\n"), "", "# and then:"]
            found += [self.before] if self.before else []
        found += [f"export {name}={_quoted(value)}" for name, value in self.env.items()]
        return [*found, shlex.join(self.command)]


def _quoted(value: str) -> str:
    """Write a value for a shell; a variable in it stays one."""
    return f'"{value}"' if value == f"${VARIABLE}" else shlex.quote(value)


def _claude(told: Told) -> Recipe:
    return Recipe(
        ("claude",),
        {
            "ANTHROPIC_BASE_URL": told.url,
            "ANTHROPIC_AUTH_TOKEN": told.shown,
            "ANTHROPIC_MODEL": told.model,
            "ANTHROPIC_DEFAULT_HAIKU_MODEL": told.model,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        },
        context=AGENTS,
    )


def _codex(told: Told) -> Recipe:
    top = {"model": told.model, "model_provider": "router"}
    # It learns there how long the model's context is.
    place, path = "/.codex/router-models.json", "/v1/models?client_version=0.171.0"
    provider = {"name": "router", "base_url": f"{told.url}/v1", "wire_api": "responses"}
    if told.is_secret:
        provider["env_key"] = VARIABLE
    shown = top | {"model_catalog_json": told.home + place}
    toml = [f"{key} = {json.dumps(value)}" for key, value in shown.items()]
    toml += ["", "[model_providers.router]", *(f"{key} = {json.dumps(value)}" for key, value in provider.items())]
    said = top | {f"model_providers.router.{key}": value for key, value in provider.items()}
    given = [f"{key}={json.dumps(value)}" for key, value in said.items()] + [f'model_catalog_json="{FILE}"']
    arguments = tuple(word for each in given for word in ("-c", each))
    key = f' -H "authorization: Bearer ${VARIABLE}"' if told.is_secret else ""
    before = f"curl{key} {shlex.quote(told.url + path)} >~{place}"
    env = {VARIABLE: told.shown} if told.is_secret else {}
    file = ("~/.codex/config.toml", "\n".join(toml))
    return Recipe(("codex",), env, file, before, arguments=arguments, written=path, context=AGENTS)


def _opencode(told: Told) -> Recipe:
    config = {
        "$schema": "https://opencode.ai/config.json",
        "provider": {
            "router": {
                "npm": "@ai-sdk/openai-compatible",
                "name": "router",
                "options": {
                    "baseURL": f"{told.url}/v1",
                    "apiKey": f"{{env:{VARIABLE}}}" if told.is_secret else NONE,
                },
                "models": {told.model: {"name": told.model}},
            }
        },
        "model": f"router/{told.model}",
    }
    text = json.dumps(config, indent=2, ensure_ascii=False)
    return Recipe(
        ("opencode",),
        {VARIABLE: told.shown} if told.is_secret else {},
        ("~/.config/opencode/opencode.json", text),
        more={"OPENCODE_CONFIG_CONTENT": text},
    )


def _aider(told: Told) -> Recipe:
    env = {"OPENAI_API_BASE": f"{told.url}/v1", "OPENAI_API_KEY": told.shown}
    return Recipe(("aider", "--model", f"openai/{told.model}"), env)


def _open_webui(told: Told) -> Recipe:
    return Recipe(
        ("open-webui", "serve"),
        {"OPENAI_API_BASE_URL": f"{told.url}/v1", "OPENAI_API_KEY": told.shown, "ENABLE_OLLAMA_API": "false"},
    )


def _yaml(text: str) -> str:
    """Write a word for YAML; JSON's texts are YAML's."""
    is_plain = _PLAIN.fullmatch(text) is not None and isinstance(scalars.read(text), str)
    return text if is_plain else json.dumps(text, ensure_ascii=False)


def _continue(told: Told) -> Recipe:
    key = f"${{{{ secrets.{VARIABLE} }}}}" if told.is_secret else NONE
    text = f"""\
name: router
version: 0.0.1
schema: v1
models:
  - name: {_yaml(told.model)}
    provider: openai
    model: {_yaml(told.model)}
    apiBase: {told.url}/v1
    apiKey: {key}
    roles: [chat, edit, apply]
    capabilities: [tool_use]
"""
    env = {VARIABLE: told.shown} if told.is_secret else {}
    return Recipe(("cn",), env, ("~/.continue/config.yaml", text), arguments=("--config", FILE), written=text)


RECIPES: Final[Mapping[str, Callable[[Told], Recipe]]] = MappingProxyType({
    "claude": _claude, "codex": _codex, "opencode": _opencode, "aider": _aider, "open-webui": _open_webui,
    "continue": _continue,
})  # fmt: skip
"""The programs by the names that `connect` knows."""
