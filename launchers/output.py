"""An engine's last lines of output, why it ended, and of which memory it ran out.

Its keeper writes the whole output to a file.
"""

import json
import re
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from copy import copy

from launchers.reason import FirstError
from launchers.shortage import Shortages
from launchers.spec import LaunchSpec

KEPT_LINES = 40
MAX_LINE = 2000
"""Bytes of a line that are kept; the rest is only in the file."""

SHORTEST = 6
"""Characters of a secret that is looked for: fewer are in words that mean something else."""

HIDDEN = "(hidden)"
_SECRET = re.compile(r"key|token(?!iz)|secret|passw|credential|auth", re.IGNORECASE)
_NO_SECRET = re.compile(r"VISIBLE_DEVICES\Z")
"""Variables that name devices, by ids that no word is."""

_PATH = re.compile(r"~?(?:/[\w.@+-]+)+/?", re.ASCII)
_PLAIN = re.compile(rf"[\d.,:\s-]*|[A-Z_]+|(?i:true|false)|{_PATH.pattern}", re.ASCII)
"""What a variable that isn't named like a secret may say: a number, a program's constant, a path."""


class Output:
    """Takes an engine's output as it comes, in any pieces. None of the `hidden` texts is told."""

    def __init__(self, hidden: Collection[str] = ()) -> None:
        self._hidden = hidden
        self._first_error = FirstError()
        self._shortages = Shortages()
        self._lines: deque[bytes] = deque(maxlen=KEPT_LINES)
        # The line that has no end yet, cut at MAX_LINE.
        self._unfinished = b""

    @property
    def last_lines(self) -> tuple[str, ...]:
        """The last lines that aren't blank, oldest first."""
        lines = (*self._lines, self._unfinished) if self._unfinished.strip() else self._lines
        return tuple(self._told(line, is_whole=line is not self._unfinished).rstrip() for line in lines)[-KEPT_LINES:]

    @property
    def reason(self) -> str:
        """Why it ended, if it ended before it was ready: its first error, however many lines ago."""
        heard = copy(self._first_error)
        heard.hear(self._told(self._unfinished, is_whole=False))
        return heard.text

    @property
    def shortages(self) -> Shortages:
        """What it said of a lack of memory."""
        heard = copy(self._shortages)
        heard.hear(self._told(self._unfinished, is_whole=False))
        return heard

    def feed(self, data: bytes) -> None:
        """Take in a piece of output."""
        # Each step of a progress bar, which ends in a carriage return, counts as a line.
        *ended, rest = data.replace(b"\r", b"\n").split(b"\n")
        for piece in ended:
            line = (self._unfinished + piece[:MAX_LINE])[:MAX_LINE]
            self._unfinished = b""
            if line.strip():
                self._lines.append(line)
                text = self._told(line)
                self._first_error.hear(text)
                self._shortages.hear(text)
        self._unfinished = (self._unfinished + rest[:MAX_LINE])[:MAX_LINE]

    def _told(self, line: bytes, *, is_whole: bool = True) -> str:
        return without(self._hidden, line.decode(errors="replace"), is_whole=is_whole and len(line) < MAX_LINE)


def without(hidden: Collection[str], text: str, *, is_whole: bool = True) -> str:
    """Give a text without these secrets, as `secrets_of` gives them; one that isn't whole may end within one."""
    for each in hidden:
        text = text.replace(each, HIDDEN)
    if not is_whole:
        begun = (each[:size] for each in hidden for size in range(len(each) - 1, 3, -1))
        if part := next((each for each in begun if text.endswith(each)), ""):
            text = text.removesuffix(part) + HIDDEN
    return text


def secrets_of(spec: LaunchSpec, key: str, inherited: Mapping[str, str]) -> list[str]:
    """Give the secrets that an engine knows, the longest first: one may be a part of another.

    They are its own key, its variables but for plain ones, and what is named like a secret: of its arguments, and of
    the router's environment, which it inherits.
    """
    values = [key, *_of_arguments(spec.args, "")]
    values += [
        value
        for name, value in spec.env.items()
        if not _NO_SECRET.search(name) and (_SECRET.search(name) or not _PLAIN.fullmatch(value))
    ]
    values += [value for name, value in inherited.items() if _SECRET.search(name) and not _PATH.fullmatch(value)]
    # Engines write a line at a time, and some in quotes.
    lines = {line.strip() for value in values for line in value.splitlines()}
    lines |= {quoted[1:-1] for line in lines for quoted in (repr(line), json.dumps(line))}
    return sorted((line for line in lines if len(line) >= SHORTEST), key=lambda line: (-len(line), line))


def _flag(item: object) -> str:
    """Give an item of a command, if it is a flag whose value is the next one."""
    return item if isinstance(item, str) and item.startswith("-") and "=" not in item else ""


def _of_arguments(value: object, name: str) -> Iterator[str]:
    """Give the arguments that are named like secrets, or that follow a flag that is."""
    if isinstance(value, Mapping):
        for inner, below in value.items():
            yield from _of_arguments(below, f"{name} {inner}")
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for before, item in zip(("", *value), value, strict=False):
            flag, equals, said = str(item).partition("=")
            if equals and flag.startswith("-"):
                yield from _of_arguments(said, flag)
            else:
                yield from _of_arguments(item, f"{name} {_flag(before)}")
    elif isinstance(value, str) and _SECRET.search(name):
        yield value
