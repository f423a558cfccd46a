"""Which versions of programs and engines are installed."""

from __future__ import annotations

import json
from importlib import metadata
from typing import TYPE_CHECKING, Final

from tests.clients.running import INSTALLED, NODE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PACKAGES: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "Anthropic's Node SDK": ("node", ("@anthropic-ai/sdk",)),
    "Anthropic's Python SDK": ("sdks", ("anthropic",)),
    "Claude Code": ("node", ("@anthropic-ai/claude-code",)),
    "Codex": ("node", ("@openai/codex",)),
    "Continue's CLI": ("node", ("@continuedev/cli",)),
    "GitHub Copilot's CLI": ("node", ("@github/copilot",)),
    "Vercel AI SDK": ("node", ("ai", "@ai-sdk/openai", "@ai-sdk/anthropic", "@ai-sdk/openai-compatible")),
    "aider": ("aider", ("aider-chat",)),
    "instructor": ("instructor", ("instructor",)),
    "llm": ("sdks", ("llm",)),
    "LangChain": ("sdks", ("langchain-openai", "langchain-anthropic", "langchain-ollama")),
    "pydantic-ai": ("sdks", ("pydantic-ai-slim",)),
    "openai-agents": ("sdks", ("openai-agents",)),
    "ollama-python, as Home Assistant uses it": ("sdks", ("ollama",)),
    "OpenAI's Node SDK": ("node", ("openai",)),
    "OpenAI's Python SDK": ("sdks", ("openai",)),
    "Open WebUI": ("webui", ("open-webui",)),
}
"""Of each client, the folder it is installed in and its packages."""

ENGINES: Final[Mapping[str, str]] = {"llama_cpp": "llama-cpp-python", "llama_server": "xllamacpp", "mlx": "mlx-lm"}


def versions() -> dict[str, str]:
    """Give the version of each client and engine; of several packages, each behind its name."""
    found = {client: _version(folder, packages) for client, (folder, packages) in PACKAGES.items()}
    return {**found, **{engine: metadata.version(package) for engine, package in ENGINES.items()}}


def _version(folder: str, packages: tuple[str, ...]) -> str:
    found = dict(_of_node(packages) if folder == "node" else _of_python(folder, packages))
    return found[packages[0]] if len(packages) == 1 else ", ".join(f"{name} {found[name]}" for name in packages)


def _of_node(packages: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for name in packages:
        yield name, json.loads((NODE / name / "package.json").read_text(encoding="utf-8"))["version"]


def _of_python(folder: str, packages: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    where = [str(each) for each in (INSTALLED / folder).glob("lib/python3*/site-packages")]
    for name in packages:
        (found,) = metadata.distributions(name=name, path=where)
        yield name, found.version
