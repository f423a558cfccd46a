"""Names that people write for `engine` and that are none: servers that run already, and programs that `cmd` starts."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

SERVERS: Final[Mapping[str, str]] = MappingProxyType({
    "ollama": "http://127.0.0.1:11434",
    "lmstudio": "http://127.0.0.1:1234",
    "jan": "http://127.0.0.1:1337",
    "localai": "http://127.0.0.1:8080",
    "litellm": "http://127.0.0.1:4000",
    "openai": "https://api.openai.com",
    "openrouter": "https://openrouter.ai/api/v1",
    "anthropic": "https://api.anthropic.com",
    "groq": "https://api.groq.com/openai/v1",
    "gemini": "https://generativelanguage.googleapis.com/v1beta/openai",
    "router": "http://other-machine:8001",
    "url": "http://other-machine:8000",
})  # fmt: skip
"""Servers that run already, by their names without dashes and blanks, with the address at which each usually is."""

PROGRAMS: Final = frozenset({
    "sglang", "tgi", "whisper", "whispercpp", "whisperserver", "koboldcpp", "tabbyapi", "exllama", "exllamav2",
    "exllamav3", "llamafile", "lmdeploy", "tensorrtllm", "trtllm", "aphrodite", "transformers", "docker", "podman",
    "command", "cmd", "stablediffusion", "sdserver", "mistralrs", "ktransformers", "piper", "kokoro", "infinity",
})  # fmt: skip
"""Programs that serve HTTP, and that a launch can start by their commands."""


def what_it_is(name: object) -> str:
    """Say what to write instead of `engine: NAME`; empty if the name is of no program that is known."""
    plain = re.sub(r"[^a-z0-9]", "", str(name).lower())
    if plain in SERVERS:
        key = "router" if plain == "router" else "url"
        return f"{{got}} is no engine that is started here: write `{key}: {SERVERS[plain]}` instead of `launch`"
    if plain in PROGRAMS:
        return "{got} is started by its command: write `cmd` instead of `engine` and `model` (docs/commands.md)"
    return ""
