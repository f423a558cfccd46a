"""Writes entries of router.yaml. Pure."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from router.config import scalars
from router.config.inserting import USUAL, Layout
from router.config.reading.environment import literal
from router.telemetry.logs import printable

Value = str | int | bool | list[str] | Mapping[str, "Value"]

_BARE: Final = re.compile(r"[A-Za-z0-9/_.][\w./+@-]*|https?://[\w.:/-]*\w", re.ASCII)
"""Words that mean themselves in YAML, without quotes."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry below `backends`, with a line about it. `reason`: why it can't be used, and so is a comment."""

    keys: Mapping[str, Value]
    about: str
    reason: str = ""

    def lines(self, layout: Layout = USUAL) -> Iterator[str]:
        """Write it, as the file is laid out."""
        before = " " * layout.dash
        about = f"{self.about}. {self.reason}" if self.reason else self.about
        yield f"{before}# {printable(about)}"
        first = f"-{' ' * (layout.key - 1)}"
        for line in _mapping(self.keys, layout.step):
            if self.reason:
                yield f"{before}# {first}{line}"
            else:
                yield f"{before}{first}{line}"
            first = " " * layout.key


def text(value: str) -> str:
    """Write text so that router.yaml means just this by it."""
    return quoted(literal(value))


def quoted(value: str) -> str:
    """Write router.yaml's own text, in which `${NAME}` is a variable: in quotes, unless it means itself without."""
    if _BARE.fullmatch(value) and isinstance(scalars.read(value), str):
        return value
    # Whatever it has, it stays one line: a file's name mustn't add keys, not even behind a #.
    return '"' + "".join(_letter(each) for each in value) + '"'


def _letter(letter: str) -> str:
    if letter in {"\\", '"'}:
        return f"\\{letter}"
    return letter if letter.isprintable() else f"\\U{ord(letter):08x}"


def _mapping(keys: Mapping[str, Value], step: int) -> Iterator[str]:
    for key, value in keys.items():
        if isinstance(value, Mapping):
            yield f"{key}:"
            yield from (" " * step + line for line in _mapping(value, step))
        elif isinstance(value, list):
            yield f"{key}:"
            yield from (f"{' ' * step}- {text(each)}" for each in value)
        else:
            yield f"{key}: {text(value) if isinstance(value, str) else str(value).lower()}"
