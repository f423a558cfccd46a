"""The line that a problem is about, with a caret under its place, and without what must not be shown."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from router.config.reading.files import LINE_BREAK
from router.config.redact import is_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from router.config.problems import Problem

WIDTH: Final = 100
"""Characters of a line that are shown; of a longer one, those around the place."""

_BEFORE = 60
_COMMENT = re.compile(r"\s#.*")
_SECTION = re.compile(
    r"(?:server|profile|backends|routes|balance|health|limits|memory|auth|logging|state|include|telemetry|ray)\s*:"
)
_KEY = re.compile(r"""([\w.-]+)["']?\s*:(?!\s*["']?\$\{)""")

_VALUE = re.compile(r"""((?P<key>[\w.-]+)["']?\s*:\s+)(?!["']?[…$])[^\s,\[{}\]][^,}\]]*""")


def excerpt(line: str, column: int, hide: Callable[[str], str]) -> str:
    """Write a line, and below it a caret under `column`, which counts from 1. `hide` takes secrets out of a text."""
    before, behind = line[: column - 1], _COMMENT.sub("", line[column - 1 :])
    shown, caret = _blanked(hide(before + behind)), len(_blanked(hide(before)))
    if not shown.strip():
        return ""
    first = max(0, caret - _BEFORE) if len(shown) > WIDTH else 0
    part = "…" * bool(first) + shown[first : first + WIDTH] + "…" * (len(shown) > first + WIDTH)
    part = "".join(each if each.isprintable() else " " for each in part)
    return f"    {part.rstrip()}\n    {' ' * (caret - first + bool(first))}^"


def _blanked(text: str) -> str:
    """Take out what stands behind a key that is named like a secret: written twice, it isn't in the file's data."""
    return _VALUE.sub(lambda found: f"{found[1]}…" if is_secret(found["key"], "") else found[0], text)


def with_excerpts(problems: Iterable[Problem], text: str) -> Iterator[Problem]:
    """Give problems of a text that is no YAML their lines, except where a secret may stand."""
    lines = LINE_BREAK.split(text)
    for problem in problems:
        if problem.line is None or problem.column is None or _may_be_secret(lines[: problem.line]):
            yield problem
        else:
            line = lines[problem.line - 1] if problem.line <= len(lines) else ""
            yield replace(problem, excerpt=excerpt(line, problem.column, lambda said: said))


def _may_be_secret(lines: list[str]) -> bool:
    """Whether any key is named like a secret between the beginning of the last line's section and its end."""
    begin = next((at for at in range(len(lines) - 1, -1, -1) if _SECTION.match(lines[at])), 0)
    words = "\n".join(lines[begin:])
    return any(is_secret(key, "") for key in _KEY.findall(words)) or ("://" in words and "@" in words)
