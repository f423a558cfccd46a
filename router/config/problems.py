"""Problems of a configuration, and their wording.

A problem has a place (the file or environment variable, a line, a column), the path of its key, and one sentence that
says what would be right. Problems are collected, never raised one by one.

A validator knows neither whether a value may be shown nor where other values were written. It writes `{got}` for its
value and `{other}` for the path of another one; `reading.document.Document` fills them in, or hides them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

KeyPath = tuple[str | int, ...]
"""Where a value stands in the data: `("backends", 2, "launch", "engine")`."""

MOST_PROBLEMS = 100
"""Problems that are reported at most: nobody reads more, and a file of another kind would have 100,000."""

MOST_ITEMS = 10_000
TOO_LONG = f"a list may have {MOST_ITEMS} items at most"

_MOST_CHOICES = 1000
_BOUNDS: Mapping[str, str] = MappingProxyType({
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
})  # fmt: skip
"""What a number must be, by pydantic's kind of error, whose context has the bound."""

_SIMPLE_KEY = re.compile(r"[A-Za-z0-9_-]+|…")


class SourcePosition(NamedTuple):
    """Where a value was written. Lines and columns count from 1; an environment variable has neither."""

    file: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        """`router.yaml:14:7`."""
        return ":".join(str(part) for part in self if part is not None)


class Fault(NamedTuple):
    """What is wrong with the value at `path`, and perhaps with the one at `other`: a problem without its place."""

    path: KeyPath
    message: str
    other: KeyPath = ()


@dataclass(frozen=True)
class Problem:
    """One mistake, or one key without effect, and where it is.

    `excerpt` is its line with a caret under the place, on two lines; empty if there is none that may be shown.
    """

    file: str
    line: int | None
    column: int | None
    key: str
    message: str
    excerpt: str = ""

    def __str__(self) -> str:
        """`router.yaml:14:7 backends[2].launch.engine: 'vlm' is not an engine; did you mean 'vllm'?`."""
        if not self.file:
            return self.message if self.message.isprintable() else _printable(self.message)
        place = SourcePosition(self.file, self.line, self.column)
        text = f"{place} {self.key}: {self.message}" if self.key else f"{place}: {self.message}"
        return text if text.isprintable() else _printable(text)

    def told(self) -> dict[str, str | int | None]:
        """Describe it as plain data."""
        at = {"file": self.file or None, "line": self.line, "column": self.column}
        return {**at, "key": self.key, "message": self.message}

    @property
    def pointed(self) -> str:
        """The same, with its line below it, if that may be shown."""
        return f"{self}\n{self.excerpt}" if self.excerpt else str(self)


def _printable(text: str) -> str:
    """The text on one line: names of files and variables may hold any character."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


class ConfigError(Exception):
    """A configuration can't be used. `problems` are all the reasons, in the order of their places.

    `files` and `patterns` are those of `Loaded`, as far as they are known: a change of these files may mend it.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.files: tuple[Path, ...] = ()
        self.patterns: tuple[str, ...] = ()
        self.problems = tuple(sorted(set(problems), key=_by_place))
        super().__init__(self.problems)

    def __str__(self) -> str:
        """All problems, a line each."""
        return "\n".join(map(str, self.problems))


def _by_place(problem: Problem) -> tuple[str, int, int, str, str]:
    return problem.file, problem.line or 0, problem.column or 0, problem.key, problem.message


def nowhere(message: str) -> Problem:
    """A mistake that isn't at one place: of this machine, say."""
    return Problem("", None, None, "", message)


def bound(kind: str, context: Mapping[str, object]) -> str:
    """What a number beyond its bound must be, by pydantic's kind of error and its context; "" for other errors."""
    if kind not in _BOUNDS:
        return ""
    # A bound of a field with fractions is one, too: 1.0.
    numbers = {name: int(it) if isinstance(it, float) and it.is_integer() else it for name, it in context.items()}
    return _BOUNDS[kind].format(**numbers)


def dotted(path: KeyPath) -> str:
    """A path as people write it: `backends[2].launch.engine`, `routes['gpt-4.1']`."""
    text = ""
    for key in path:
        if isinstance(key, str) and _SIMPLE_KEY.fullmatch(key):
            text += f".{key}" if text else key
        else:
            text += f"[{shortened(key)}]"
    return text


def shortened(value: object, most: int = 60) -> str:
    """The value's repr, on one line and of bounded length."""
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def repeated(values: Iterable[object]) -> Iterator[tuple[int, int]]:
    """The index of each value that occurred before, and the index of its first occurrence."""
    first: dict[object, int] = {}
    for index, value in enumerate(values):
        if first.setdefault(value, index) != index:
            yield index, first[value]


def did_you_mean(word: str, choices: Iterable[str]) -> str | None:
    """The choice that `word` probably means, if one is similar."""
    near = get_close_matches(word[:64].lower(), list(islice(choices, _MOST_CHOICES)), n=1)
    return near[0] if near else None


def either(choices: Iterable[str]) -> str:
    """`a, b or c`."""
    *first, last = choices
    return f"{', '.join(first)} or {last}" if first else last
