"""A file's content as plain data that remembers where each part of it was written.

A document belongs to one load: `places` builds it, `environment` changes it in place, and its data is checked against
the types. It alone decides which of the user's values a message may show.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from router.config.problems import MOST_PROBLEMS, ConfigError, KeyPath, Problem, SourcePosition, dotted, shortened
from router.config.redact import is_secret, public


@dataclass
class Document:
    """Data, and what must be known about single values, by their paths in the data.

    `places` has where each value stands; for a value in a mapping, where its key does. `unquoted` are words that were
    written without quotes. `hidden` has texts that ${…} became, which are never shown. `broken` are reported as wrong
    already: one error is enough. `size` is the number of values after aliases are expanded. `texts` has each
    file's text.
    """

    file: str
    data: dict[str, Any] = field(default_factory=dict)
    places: dict[KeyPath, SourcePosition] = field(default_factory=dict)
    unquoted: set[KeyPath] = field(default_factory=set)
    hidden: dict[KeyPath, str] = field(default_factory=dict)
    broken: set[KeyPath] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)
    size: int = 0
    texts: dict[str, str] = field(default_factory=dict)

    def report(self, *problems: Problem) -> None:
        """Keep problems, to raise them with later ones. Raises ConfigError at once if there are too many."""
        self.problems += problems
        if len(self.problems) >= MOST_PROBLEMS:
            raise ConfigError(self.problems)

    def problem(self, path: KeyPath, message: str, other: KeyPath = ()) -> Problem:
        """A problem with the value at `path`, placed at the nearest written thing around it.

        In the message, `{got}` becomes the value, and `{other}` the other path with its place.
        """
        path = self.as_written(path)
        place = self._nearest(path)
        if other:
            message = message.replace("{other}", f"{dotted(public(other))} ({self.place(other)})")
        message = message.replace("{got}", self.shown(path))
        if "'" in message:
            # "did you mean" may quote a hidden value, too.
            for text in set(self.hidden.values()):
                message = message.replace(repr(text), "'…'")
        return Problem(*place, key=dotted(public(path)), message=message)

    def place(self, path: KeyPath) -> str:
        """Where the value at a path was written: `conf.d/a.yaml:14:7`."""
        return str(self._nearest(self.as_written(path)))

    def _nearest(self, path: KeyPath) -> SourcePosition:
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, SourcePosition(self.file))

    def as_written(self, path: KeyPath) -> KeyPath:
        """The path without the steps that a short form leaves out: `x: a` is short for `x: {to: [a]}`."""
        written: KeyPath = ()
        here: Any = self.data
        for key in path:
            if isinstance(here, dict if isinstance(key, str) else list):
                written = (*written, key)
                here = self.value(written)
        return written

    def shown(self, path: KeyPath) -> str:
        """The value at `path` as a message may show it: short, and never a secret."""
        value = self.value(path)
        if isinstance(value, dict | list):
            return "a mapping" if isinstance(value, dict) else "a list"
        if value is None or isinstance(value, bool):
            return "nothing" if value is None else str(value).lower()
        if path in self.hidden or any(is_secret(key, value) for key in path):
            return "a hidden value"
        return shortened(str(value) if isinstance(value, str) else value)

    def value(self, path: KeyPath) -> object:
        """The value at `path`; None if there is none."""
        value: Any = self.data
        for key in path:
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                return None
        return value
