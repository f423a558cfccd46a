"""The line that a problem is about, with a caret under its place, and without what must not be shown."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from router.config.reading.files import LINE_BREAK
from router.config.redact import NOT_SHOWN, is_secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from router.config.problems import Problem

WIDTH: Final = 100
"""Characters of a line that are shown; of a longer one, those around the place."""

Span = tuple[int, int]
"""A part of a text: where it begins, and where it ends."""

_BEFORE = 60
_COMMENT = re.compile(r"(?:^|\s)#.*")
_SECTION = re.compile(
    r"(?:server|profile|backends|routes|balance|health|limits|memory|auth|logging|state|include|telemetry|ray)\s*:"
)
_WORD = re.compile(r"[\w.-]+")
_REFERENCE = re.compile(r"""[\w.-]+["']?\s*:\s*(?P<quote>["']?)\$\{\w+\}(?P=quote)(?=\s|[,\]}]|$)""")


def excerpt(line: str, column: int, hidden: Sequence[Span] = ()) -> str:
    """Write a line, and below it a caret under `column`, which counts from 1. The `hidden` parts are left out."""
    place = column - 1
    end = place + len(_COMMENT.sub("", line[place:]))
    shown, caret = _without(line[:end], hidden), len(_without(line[:place], hidden))
    if not shown.strip():
        return ""
    first = max(0, caret - _BEFORE) if len(shown) > WIDTH else 0
    part = "…" * bool(first) + shown[first : first + WIDTH] + "…" * (len(shown) > first + WIDTH)
    part = "".join(each if each.isprintable() else " " for each in part)
    return f"    {part.rstrip()}\n    {' ' * (caret - first + bool(first))}^"


def _without(line: str, hidden: Sequence[Span]) -> str:
    parts, at = [], 0
    for begin, end in hidden:
        if begin < len(line):
            parts += [line[at:begin], NOT_SHOWN]
            at = max(at, end)
    return "".join([*parts, line[at:]])


def with_excerpts(problems: Iterable[Problem], text: str) -> Iterator[Problem]:
    """Give problems of a text that is no YAML their lines, except where a secret may stand."""
    lines = LINE_BREAK.split(text)
    for problem in problems:
        if problem.line is None or problem.column is None or _may_be_secret(lines[: problem.line]):
            yield problem
            continue
        line = lines[problem.line - 1] if problem.line <= len(lines) else ""
        is_in_comment = _COMMENT.search(line[: problem.column - 1]) is not None
        yield problem if is_in_comment else replace(problem, excerpt=excerpt(line, problem.column))


def _may_be_secret(lines: list[str]) -> bool:
    """Whether anything is named like a secret between the beginning of the last line's section and its end."""
    begin = next((at for at in range(len(lines) - 1, -1, -1) if _SECTION.match(lines[at])), 0)
    words = _REFERENCE.sub("", "\n".join(_COMMENT.sub("", line) for line in lines[begin:]))
    return any(is_secret(word, "") for word in _WORD.findall(words)) or ("://" in words and "@" in words)
