"""An engine's last lines of output, why it ended, and of which memory it ran out.

Its keeper writes the whole output to a file.
"""

import re
from collections import deque
from collections.abc import Collection, Mapping
from copy import copy

from launchers.reason import FirstError
from launchers.shortage import Shortages

KEPT_LINES = 40
MAX_LINE = 2000
"""Bytes of a line that are kept; the rest is only in the file."""

SHORTEST = 6
"""Characters of a secret that is looked for: fewer are in words that mean something else."""

HIDDEN = "(hidden)"
_SECRET = re.compile(r"key|token(?!iz)|secret|passw|credential|auth", re.IGNORECASE)


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
        return tuple(self._told(line).rstrip() for line in lines)[-KEPT_LINES:]

    @property
    def reason(self) -> str:
        """Why it ended, if it ended before it was ready: its first error, however many lines ago."""
        heard = copy(self._first_error)
        heard.hear(self._told(self._unfinished))
        return heard.text

    @property
    def shortages(self) -> Shortages:
        """What it said of a lack of memory."""
        heard = copy(self._shortages)
        heard.hear(self._told(self._unfinished))
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

    def _told(self, line: bytes) -> str:
        return without(self._hidden, line.decode(errors="replace"))


def without(hidden: Collection[str], text: str) -> str:
    """Give a text without these secrets, as `secrets_of` gives them."""
    for each in hidden:
        text = text.replace(each, HIDDEN)
    return text


def secrets_of(env: Mapping[str, str], key: str) -> list[str]:
    """Give the secrets that an engine knows: its own key, and those of its variables that are named like secrets.

    The longest come first: one may be a part of another.
    """
    named = [value for name, value in env.items() if _SECRET.search(name)]
    return sorted((text for text in (key, *named) if len(text) >= SHORTEST), key=len, reverse=True)
