"""A file's content as plain data that remembers where each part of it was written.

A document belongs to one load: `places` builds it, `environment` changes it in place, and the types are checked
against its data. It alone decides what of the user's values a message may show.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from router.config.problems import KeyPath, Place, Problem, dotted, shortened

_SECRET_KEY = re.compile(r"key|token|secret|password|\bauth\b|\benv\b", re.IGNORECASE)
_HIDDEN = "a hidden value"


@dataclass
class Document:
    """Data, its places, and what must be remembered of single values. Paths are those of the data."""

    file: str
    data: dict[str, Any] = field(default_factory=dict)
    places: dict[KeyPath, Place] = field(default_factory=dict)  # of its key, for a value in a mapping
    unquoted: set[KeyPath] = field(default_factory=set)  # words that were written without quotes
    hidden: dict[KeyPath, str] = field(default_factory=dict)  # what ${…} became; never shown
    broken: set[KeyPath] = field(default_factory=set)  # said to be wrong already: one error is enough
    problems: list[Problem] = field(default_factory=list)

    def problem(self, path: KeyPath, message: str) -> Problem:
        """A problem with the value at `path`, or with the nearest thing around it that was written."""
        if path and path not in self.places and isinstance(path[-1], int):
            path = path[:-1]  # the only item of what was written without a list
        written = path
        while written and written not in self.places:
            written = written[:-1]
        place = self.places.get(written, Place(self.file))
        message = message.replace("{got}", self.shown(path))
        for text in self.hidden.values():  # a suggestion may name one, too
            message = message.replace(repr(text), "'…'")
        return Problem(*place, key=dotted(path), message=message)

    def shown(self, path: KeyPath) -> str:
        """The value at `path` as a message may show it: short, and never a secret."""
        value = self.value(path)
        if isinstance(value, dict | list):
            return "a mapping" if isinstance(value, dict) else "a list"
        if value is None or isinstance(value, bool):
            return "nothing" if value is None else str(value).lower()
        if path in self.hidden or any(_SECRET_KEY.search(str(key)) for key in path):
            return _HIDDEN
        if isinstance(value, str) and "://" in value and ("@" in value or "?" in value):
            return _HIDDEN  # http://user:password@host
        return shortened(str(value) if isinstance(value, str) else value)

    def value(self, path: KeyPath) -> object:
        """The value at `path`; None where there is none."""
        value: Any = self.data
        for key in path:
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                return None
        return value
