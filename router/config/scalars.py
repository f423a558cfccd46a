"""How an unquoted word becomes a value, and how words from the environment are marked.

YAML 1.1 turns `on`, `no`, `12:30`, `017` and `2024-01-01` into values that nobody meant. Here an unquoted word means
the same as in JSON (and YAML 1.2):

    null, ~, nothing at all   → None
    true, false               → a bool (also True, TRUE, False, FALSE)
    42, -1, 0.5, .5, 1e-3     → a number
    anything else             → text: yes, off, 017, 0x10, 1_000, 2024-01-01

A word is a whole number only if writing the number back gives the same word; so where text is expected, `7` can be
taken as `"7"`. Quoted words are always text.
"""

from __future__ import annotations

import re
from typing import Self

Scalar = str | int | float | bool | None

BROKEN = object()
"""Stands for a value that could not be read, which is reported. No key accepts it, and none seems to be absent."""

_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
# Bounded: no number of ours is longer, and int() takes quadratic time.
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,30}")
_FRACTION = re.compile(
    r"-?(?:(?:0|[1-9][0-9]{0,30})(?:\.[0-9]{0,60})?|\.[0-9]{1,60})(?:[eE][-+]?[0-9]{1,4})?",
)


class FromEnvironment(str):
    """Text that comes from the environment, wholly or in part.

    Its key decides its type: `port: ${PORT}` is a number, `api_key: ${KEY}` is text even if it is all digits. If a key
    takes values of any type (`launch.args`), `unquoted` says whether to read it as an unquoted word.
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
    """The value for a key that wants something other than text: a word from the environment is read, others stay."""
    return read(value) if isinstance(value, FromEnvironment) else value
