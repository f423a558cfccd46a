"""The YAML parser's complaints about syntax, reworded to say what would be right.

libyaml and PyYAML's own parser word the same mistakes differently; the table has both wordings.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from router.config.problems import ConfigError, SourcePosition
from router.config.reading.files import LINE_BREAK, fatal

if TYPE_CHECKING:
    from yaml import Mark, MarkedYAMLError

MAX_DEPTH = 32
"""Levels that a file may be nested."""

TOO_DEEP = f"is nested deeper than {MAX_DEPTH} levels"

_AT_ITS_BEGINNING = r"could not find expected ':'|unexpected end of stream"
"""Mistakes that are placed where they begin, rather than where the parser noticed them."""

_WHAT_WOULD_BE_RIGHT = {
    r"mapping values": "a second `: ` stands here, or one too deep: put text that has one in quotes, or check the"
    " indentation",
    r"could not find expected ':'": "this is no `key: value`: is the colon missing, or the blank behind it?",
    r"start any token": "this character has a meaning in YAML: put the text in quotes",
    r"expected ',' or": "the bracket of line {line} is not closed before this; text that has a bracket, a comma or a"
    " colon in it belongs in quotes",
    r"unexpected end of stream": "these quotes are not closed",
    r"node content": "a value is missing before this, or a bracket is too many",
    r"'-' indicator|expected key|<block end>": "this doesn't fit what stands before it: check the indentation and the"
    " quotes",
    r"alphabetic or numeric": "text that starts with * or & belongs in quotes",
    r"escape|hexdecimal": "a \\ means something in double quotes: use single ones",
}


def syntax_error(error: MarkedYAMLError, text: str, file: str) -> ConfigError:
    """The parser's complaint about a text, with its place."""
    problem, begun = error.problem or error.context or "", error.context_mark
    mark = (re.search(_AT_ITS_BEGINNING, problem) and begun) or error.problem_mark or begun
    place = SourcePosition(file, mark.line + 1, mark.column + 1) if mark else SourcePosition(file, 1, 1)
    line = _line(text, mark)
    column = mark.column if mark else 0
    if "\t" in line[: len(line) - len(line.lstrip())] or line[column : column + 1] == "\t":
        return fatal(place, "a tab stands where only spaces may: YAML is indented with spaces")
    if "nesting depth" in problem:
        # libyaml has had a bound of its own since 0.2.6. Where it applies, ours is never reached: the parser reads on
        # along a line of brackets before it gives the first of them.
        return fatal(place, TOO_DEEP)
    right = next((words for known, words in _WHAT_WOULD_BE_RIGHT.items() if re.search(known, problem)), None)
    if "${" in line and "expected ','" in problem:
        right = "inside [ ] and { }, put ${…} in quotes"
    # A "tag" may be an unquoted secret.
    said = right or re.sub(r"handle '.*'", "handle '…'", problem)
    return fatal(place, f"this is no valid YAML: {said}".replace("{line}", str(begun.line + 1 if begun else 1)))


def _line(text: str, mark: Mark | None) -> str:
    lines = LINE_BREAK.split(text)
    return lines[mark.line] if mark and mark.line < len(lines) else ""
