"""Reads what a person writes for a model of the hub. Pure."""

import re
from typing import Final, NamedTuple

_BEGINNING: Final = re.compile(r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/|hf://", re.IGNORECASE)
"""What people copy from the hub's pages, or know from other programs."""

_NAME: Final = re.compile(r"(?P<repository>\w[\w.-]*/\w[\w.-]*)(?::(?P<what>[^\s:]+))?", re.ASCII)


class Name(NamedTuple):
    """A repository, and what is wanted of it: a quantisation or a file; empty: what suits best."""

    repository: str
    what: str = ""

    def __str__(self) -> str:
        """Write it as a person does."""
        return f"{self.repository}:{self.what}" if self.what else self.repository


def name_of(text: str) -> Name | None:
    """Read ORG/NAME or ORG/NAME:QUANT; None if it is neither."""
    match = _NAME.fullmatch(_BEGINNING.sub("", text, count=1).rstrip("/"))
    # The hub has no such names, and its cache and a path mean something else by them.
    if match is None or ".." in match["repository"] or "--" in match["repository"]:
        return None
    return Name(match["repository"], match["what"] or "")
