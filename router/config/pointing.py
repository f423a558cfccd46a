"""The lines that the problems of files are about. Nothing is shown that `redact` hides, or whose key isn't known."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from router.config.problems import ConfigError
from router.config.reading import places
from router.config.reading.excerpt import excerpt
from router.config.reading.files import LINE_BREAK
from router.config.redact import is_of_a_flag, is_secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from router.config.problems import KeyPath, Problem
    from router.config.reading.document import Document

_SHORT = 4
"""Characters of a value from which on it may be a secret: a shorter one, such as `0`, would blank half of a line."""

_REFERENCE = re.compile(r"\$\{\w+\}")

UNKNOWN = "unknown key"
"""How messages about keys begin whose values might be anything."""


def pointed(problems: Iterable[Problem], texts: Mapping[str, str]) -> list[Problem]:
    """Give problems their lines; `texts` are those of the files, which are valid YAML."""
    problems = list(problems)
    files = {name: _File(name, text, problems) for name, text in texts.items()}
    return [
        replace(each, excerpt=files[each.file].line(each)) if each.file in files and not each.excerpt else each
        for each in problems
    ]


class _File:
    """A file, and the texts in it that must not be shown."""

    def __init__(self, name: str, text: str, problems: Iterable[Problem]) -> None:
        self._lines = LINE_BREAK.split(text)
        unknown = {
            (each.line, each.column) for each in problems if each.file == name and each.message.startswith(UNKNOWN)
        }
        self._secrets: list[str] = []
        # Once more: the values that were checked have words from the environment in them.
        with suppress(ConfigError):
            document = places.parse(text.encode(), name)
            self._secrets = sorted(set(_secrets(document.data, (), document, unknown)), key=len, reverse=True)
        # A text with escapes is written otherwise than it is read, and can't be found in its line.
        self._clear = all(secret in text for secret in self._secrets)

    def line(self, problem: Problem) -> str:
        """Give a problem's line with a caret under its place; empty where it may not be shown."""
        if problem.line is None or problem.column is None or problem.line > len(self._lines) or not self._clear:
            return ""
        return excerpt(self._lines[problem.line - 1], problem.column, self._hidden)

    def _hidden(self, said: str) -> str:
        for secret in self._secrets:
            said = said.replace(secret, "…")
        return said


def _secrets(
    value: Any,  # noqa: ANN401 - whatever a file holds
    path: KeyPath,
    document: Document,
    unknown: set[tuple[int | None, int | None]],
    *,
    hide: bool = False,
) -> Iterator[str]:
    """The texts of all values that must not be shown."""
    place = document.places.get(path)
    hide = hide or (place is not None and (place.line, place.column) in unknown)
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            below = hide or (isinstance(value, list) and is_of_a_flag(value, key))
            yield from _secrets(inner, (*path, key), document, unknown, hide=below)
    elif hide or any(is_secret(key, value) for key in path):
        said = str(value)
        if len(said) >= _SHORT and _REFERENCE.fullmatch(said) is None:
            yield said
