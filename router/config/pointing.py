"""The lines that the problems of files are about. Nothing is shown that `redact` hides, or whose key isn't known.

What is hidden is found in the parser's events, and not in the data: a key that stands twice, an anchor's name or a tag
are in no data, and may be a secret that was written amiss.
"""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

import yaml

from router.config import scalars
from router.config.reading import places
from router.config.reading.excerpt import excerpt
from router.config.reading.files import LINE_BREAK
from router.config.redact import is_hidden_key, is_of_a_flag, is_secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from router.config.problems import Problem
    from router.config.reading.excerpt import Span

_SHORT = 4
"""Characters of a value from which on it may be a secret, where only its key isn't known: `wieght: 0` is no secret."""

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
    """A file, and the parts of it that must not be shown."""

    def __init__(self, name: str, text: str, problems: Iterable[Problem]) -> None:
        self._text = text
        breaks = [*LINE_BREAK.finditer(text)]
        ends = [*(each.start() for each in breaks), len(text)]
        self._lines = list(zip([0, *(each.end() for each in breaks)], ends, strict=True))
        unknown = {
            (each.line, each.column) for each in problems if each.file == name and each.message.startswith(UNKNOWN)
        }
        walk = _Walk(places.events(text, name), unknown)
        self._hidden = sorted(walk.hidden())

    def line(self, problem: Problem) -> str:
        """Give a problem's line with a caret under its place; empty where there is none."""
        if problem.line is None or problem.column is None or problem.line > len(self._lines):
            return ""
        begin, end = self._lines[problem.line - 1]
        hidden = [
            (max(first, begin) - begin, min(behind, end) - begin)
            for first, behind in self._hidden
            if first < end and behind > begin
        ]
        return excerpt(self._text[begin:end], problem.column, hidden)


class _Walk:
    """One walk over a file's events, which collects where that stands which must not be shown."""

    def __init__(self, events: list[Any], unknown: set[tuple[int | None, int | None]]) -> None:
        self._events = events
        self._unknown = unknown
        self._next = 0
        # By anchor, the events of its node: from the first on, up to that behind its last.
        self._anchors: dict[str, Span] = {}
        self._hidden: set[int] = set()

    def hidden(self) -> Iterator[Span]:
        """Give all such parts."""
        if self._events:
            self._value(hide=False)
        for at in self._hidden:
            event = self._events[at]
            yield event.start_mark.index, event.end_mark.index

    def _value(self, *, hide: bool) -> None:
        first, event = self._next, self._events[self._next]
        self._next += 1
        if isinstance(event, yaml.AliasEvent):
            self._alias(event, first, hide=hide)
            return
        if isinstance(event, yaml.ScalarEvent):
            hide = is_secret("", event.value) or (
                hide and (_REFERENCE.fullmatch(event.value) is None or _is_named(event))
            )
        elif isinstance(event, yaml.MappingStartEvent):
            self._mapping(hide=hide)
        else:
            self._list(hide=hide)
        if hide and _is_shown(event):
            self._hidden.add(first)
        if event.anchor:
            self._anchors[event.anchor] = (first, self._next)

    def _alias(self, event: Any, at: int, *, hide: bool) -> None:  # noqa: ANN401 - PyYAML's events have no types
        """Hide what an alias stands for, where it is written."""
        if not hide:
            return
        self._hidden.add(at)
        # Once is enough.
        for each in range(*self._anchors.pop(event.anchor, (0, 0))):
            inner = self._events[each]
            if isinstance(inner, yaml.AliasEvent):
                self._alias(inner, each, hide=True)
            elif _is_shown(inner):
                self._hidden.add(each)

    def _mapping(self, *, hide: bool) -> None:
        while not self._ends(yaml.MappingEndEvent):
            key, place = self._events[self._next], self._events[self._next].start_mark
            if not isinstance(key, yaml.ScalarEvent):
                self._value(hide=hide)
                self._value(hide=hide)
                continue
            if hide and is_hidden_key(key.value):
                self._hidden.add(self._next)
            self._value(hide=False)
            said = self._events[self._next]
            is_scalar = isinstance(said, yaml.ScalarEvent)
            number = scalars.read(said.value) if is_scalar and not said.style else ""
            is_unknown = (place.line + 1, place.column + 1) in self._unknown and not (
                is_scalar and len(said.value) < _SHORT
            )
            self._value(hide=hide or is_unknown or is_secret(key.value, number))

    def _list(self, *, hide: bool) -> None:
        # Looked at once before, for its words: a flag may tell that the next one is secret.
        words = self._words()
        for at in count():
            if self._ends(yaml.SequenceEndEvent):
                break
            self._value(hide=hide or is_of_a_flag(words, at))

    def _words(self) -> list[str]:
        words, depth = [], 0
        for at in range(self._next, len(self._events)):
            event = self._events[at]
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth < 0:
                break
            if not depth and isinstance(event, yaml.NodeEvent):
                words.append(event.value if isinstance(event, yaml.ScalarEvent) else "")
            depth += isinstance(event, yaml.CollectionStartEvent)
        return words

    def _ends(self, kind: type[yaml.Event]) -> bool:
        if isinstance(self._events[self._next], kind):
            self._next += 1
            return True
        return False


def _is_shown(event: Any) -> bool:  # noqa: ANN401
    """Whether an event's own part of the text may tell something: of a list or a mapping, that is its anchor or tag."""
    if isinstance(event, yaml.ScalarEvent):
        return bool(event.value) or _is_named(event)
    return isinstance(event, yaml.CollectionStartEvent) and _is_named(event)


def _is_named(event: Any) -> bool:  # noqa: ANN401
    return bool(event.anchor or event.tag)
