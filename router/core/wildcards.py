"""Patterns of names and paths, in which `*` stands for any text, also none. Pure."""

from collections.abc import Iterable, Sequence
from typing import Final

_MOST_TOLD: Final = 20

_LATEST: Final = ":latest"


class Wildcards:
    """What any of several patterns matches; a pattern without `*` is one name alone."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._said = tuple(patterns)
        self._names = frozenset([each for each in self._said if "*" not in each])
        self._parts = [each.split("*") for each in self._said if "*" in each]
        self.everything: Final = "*" in self._said

    def __str__(self) -> str:
        """The patterns, as they were given; no more than a person reads."""
        return few(self._said)

    def match(self, name: str) -> bool:
        """Tell whether one of them matches the whole name."""
        if self.everything or name in self._names:
            return True
        for parts in self._parts:  # noqa: SIM110  (compiled, a loop is cheaper than a generator)
            if matches(parts, name):
                return True
        return False


def few(names: Sequence[str]) -> str:
    """List names, but no more than a person reads."""
    shown, more = ", ".join(names[:_MOST_TOLD]), len(names) - _MOST_TOLD
    return f"{shown} and {more} more" if more > 0 else shown


def other_name(name: str) -> str:
    """Give the name of a model that means the same to Ollama's clients: with `:latest`, or without it."""
    return name.removesuffix(_LATEST) if name.endswith(_LATEST) else name + _LATEST


def matches(parts: Sequence[str], name: str) -> bool:
    """Tell whether a wildcard, split at its asterisks, matches a name: all parts in order, the outer ones at the ends.

    The time is linear in the name: the first place where a part is found is always good enough.
    """
    first, *middle, last = parts
    if len(name) < len(first) + len(last) or not name.startswith(first) or not name.endswith(last):
        return False
    at, end = len(first), len(name) - len(last)
    for part in middle:
        found = name.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True
