"""The Dockerfile as docker reads it: its stages with their instructions, and which files of the checkout it gets."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from tests.running import REPOSITORY

DOCKERFILE = REPOSITORY / "Dockerfile"
_IGNORED = [
    line for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")
]


@dataclass
class Stage:
    """A stage: what it is built from, and its instructions, each a word and what stands behind it."""

    base: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, word: str) -> list[str]:
        """Give what stands behind each instruction of a word."""
        return [rest for each, rest in self.instructions if each == word]


def stages() -> dict[str, Stage]:
    """Read the Dockerfile; give its stages by their names."""
    text = re.sub(r"^ *#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found: dict[str, Stage] = {}
    stage = Stage("")  # of what stands before the first one
    for line in filter(None, map(str.strip, text.splitlines())):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, _, name = rest.split()
            stage = found[name] = Stage(base)
        else:
            stage.instructions.append((word, re.sub(r"\s+", " ", rest)))
    return found


def is_sent(name: str) -> bool:
    """Whether docker gets a file, by its path: the last line that fits it, or a folder of it, decides."""
    sent = True
    for line in _IGNORED:
        pattern = line.removeprefix("!").removeprefix("**/")
        parts = Path(name).parts
        if any(fnmatch(place, pattern) for place in (parts if line.startswith("**") else (name, parts[0]))):
            sent = line.startswith("!")
    return sent
