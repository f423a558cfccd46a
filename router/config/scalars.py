"""How a word of the file becomes a value, and what is kept of words that came from the environment.

YAML 1.1 turns `on`, `no`, `12:30`, `017` and `2024-01-01` into things that nobody meant. Here an unquoted word is
what JSON (and YAML 1.2) would make of it:

    null, ~, nothing at all   → None
    true, false               → a bool (also True, TRUE, False, FALSE)
    42, -1, 0.5, .5, 1e-3     → a number
    anything else             → text: yes, off, 017, 0x10, 1_000, 2024-01-01

A whole number is only taken for one if writing it back gives the same word, so where text is wanted, `7` is as
good as `"7"`. Quoted words are always text.
"""

from __future__ import annotations

import re
from typing import Self

Scalar = str | int | float | bool | None

BROKEN = object()
"""Stands where a value could not be made, which is reported. No key takes it, so none seems to be absent."""

_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,30}")  # bounded: no number of ours is longer, and int() is quadratic
_FRACTION = re.compile(
    r"-?(?:(?:0|[1-9][0-9]{0,30})(?:\.[0-9]{0,60})?|\.[0-9]{1,60})(?:[eE][-+]?[0-9]{1,4})?",
)


class FromEnvironment(str):
    """Text that an environment variable had a part in.

    Its type is decided by the key it stands at: `port: ${PORT}` is a number, `api_key: ${KEY}` is text even if it
    is all digits. Where a key takes anything (`launch.args`), `unquoted` says whether to read it as a plain word.
    """

    __slots__ = ("unquoted",)

    unquoted: bool

    def __new__(cls, text: str, *, unquoted: bool = True) -> Self:
        """Mark `text`; `unquoted` is whether the word around it had no quotes."""
        self = super().__new__(cls, text)
        self.unquoted = unquoted
        return self


def read(word: str) -> Scalar:
    """The value of an unquoted word."""
    if word in _WORDS:
        return _WORDS[word]
    if _WHOLE.fullmatch(word):
        return int(word)
    if _FRACTION.fullmatch(word) and word.strip("-0123456789"):
        return float(word)
    return word


def typed(value: object) -> object:
    """The value where something other than text is wanted: words from the environment are read, others stay."""
    return read(value) if isinstance(value, FromEnvironment) else value
