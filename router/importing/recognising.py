"""Whose configuration a file is. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.config import foreign
from router.importing import litellm, llama_presets, llama_swap, source

if TYPE_CHECKING:
    from router.importing.imported import Imported


def imported(raw: bytes, file: str) -> Imported | None:
    """Read another program's file; None if it is of none that is known. Raises ConfigError for broken YAML."""
    text = raw.decode(errors="replace")
    if foreign.of_text(text) == foreign.LLAMA_PRESETS:
        return llama_presets.imported(text.removeprefix("\ufeff"), file)
    found = source.parsed(raw, file)
    _, said = foreign.of_data(found.data)
    if said == foreign.LLAMA_SWAP:
        return llama_swap.imported(found)
    if said == foreign.LITELLM:
        return litellm.imported(found)
    return None
