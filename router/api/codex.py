"""The list of models that Codex reads of GET /v1/models, as Codex 0.171 takes it. Pure.

Codex asks with its version in the query, and reads `models` alone. Without an entry for its model it takes a context of
272,000 tokens for granted, so that it compacts a conversation too late. One entry that isn't to its liking spoils the
whole list, so each has every field that it asks for, and none that makes it send what local engines can't do:
`apply_patch_tool_type` would bring a tool of type `custom`, whose grammar no chat can hold.
"""

from collections.abc import Mapping
from typing import Final

from launchers.abilities import Abilities

ASKS: Final = "client_version"
"""The name in the query by which Codex is known."""

INSTRUCTIONS: Final = (
    "You are Codex, a coding agent that runs in a terminal on the user's computer. Work on the user's task until it is"
    " done. Use the tools: read files and run commands with exec_command before you answer, and edit files with it."
    " Keep changes small and in the style of the code around them. Check your work by running it. Then say briefly what"
    " you did."
)
"""What stands in the place of Codex's own prompt of 4,000 tokens, which can't be asked for."""

OUTPUT: Final = 10_000
"""Tokens of a command's output, after which Codex cuts it."""

EFFORTS: Final = (
    ("low", "Answers soon"),
    ("medium", "Thinks where it helps"),
    ("high", "Thinks for longer"),
)


def models(found: Mapping[str, Abilities]) -> list[dict[str, object]]:
    """List models by their names. One that only embeds is hidden."""
    return [_model(name, abilities, place) for place, (name, abilities) in enumerate(found.items(), 1)]


def _model(name: str, abilities: Abilities, priority: int) -> dict[str, object]:
    told: dict[str, object] = {
        "slug": name,
        "display_name": name,
        "supported_reasoning_levels": [],
        "shell_type": "shell_command",
        "visibility": "hide" if abilities.completion is False else "list",
        "supported_in_api": True,
        "priority": priority,
        "support_verbosity": False,
        "truncation_policy": {"mode": "tokens", "limit": OUTPUT},
        "experimental_supported_tools": [],
        "base_instructions": INSTRUCTIONS,
        "input_modalities": ["text", "image"] if abilities.vision else ["text"],
    }
    if abilities.reasoning:
        told["supported_reasoning_levels"] = [{"effort": word, "description": text} for word, text in EFFORTS]
        told["default_reasoning_level"] = "medium"
    if abilities.context is not None:
        told["context_window"] = abilities.context
    return told
