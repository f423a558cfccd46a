"""Whose configuration a file is. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.config import foreign
from router.importing import litellm, llama_presets, llama_swap, source

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.importing.imported import Imported


def imported(raw: bytes, file: str, runs: Callable[[str], bool] = lambda _: False) -> Imported | None:
    """Read another program's file; None if it is of none that is known. Raises ConfigError for broken YAML.

    `runs` tells of a path whether it is the llama-server that the router itself runs.
    """
    # Some editors write a byte order mark.
    text = raw.decode("utf-8-sig", errors="replace")
    said = foreign.of_text(text)
    if said == foreign.LLAMA_PRESETS:
        return llama_presets.imported(text, file)
    if said == foreign.OLLAMA:
        return None
    found = source.parsed(raw, file)
    _, said = foreign.of_data(found.data)
    if said == foreign.LLAMA_SWAP:
        return llama_swap.imported(found, runs)
    if said == foreign.LITELLM:
        return litellm.imported(found)
    return None
