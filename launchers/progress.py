"""How far the load of an engine has come, and whether it has come further: from samples and from output. Pure.

What counts as progress, each against the most that this load has shown so far:

1. Bytes, `LEAST_BYTES` of them: memory of its processes has grown, they have read, or they have written (a download).
   Less is no sign of life: a hung engine may leak a little, and its threads may read /proc.
2. A line of a kind that it hasn't said before in this load. Lines are of one kind if their words without digits are the
   same: a health check, a counter of seconds and a spinner are each one kind, however often they come.
3. A larger amount in a line of a known kind: `45%`, `3/7`, or the dots that llama.cpp prints.

CPU time is no progress: an engine that hangs often spins. What this can't tell from progress (a leak, a new line from
time to time) is bounded by `RestartPolicy.longest_start`.

The share of the load is what the engine says of its weights. An engine that says nothing has as large a share as it has
bytes in memory, or has read, of its model's files.
"""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

LEAST_BYTES: Final = 16 << 20
"""Bytes that count as progress. In the usual start_timeout of 10 min, these are 28 kB/s: any disk reads faster."""

MOST_SHARE: Final = 0.99
"""The share of a load that isn't ready: an engine has more to do after it has read its weights."""

MOST_KINDS: Final = 500
"""Kinds of lines that are told apart; further ones are no progress."""

MOST_LINE: Final = 1000
"""Characters of a line that are looked at."""

TELLS: Final[Mapping[str, re.Pattern[str]]] = MappingProxyType({
    "vllm": re.compile(r"\bLoading [^:]*:\s+(\d{1,3})% Completed"),
})  # fmt: skip
"""Engines that always tell their share. What is in memory tells nothing of it: vllm's libraries take 2 GB."""

_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_DOTS = re.compile(r"\s*(\.{3,100})\s*")
_PERCENT = re.compile(r"(\d{1,3})(?:\.\d+)?%")
_OF = re.compile(r"(?<![\w./])(\d{1,9})/(\d{1,9})(?![\w./])")
_DIGIT = re.compile(r"\d")
_NO_LETTERS = re.compile(r"[\W_]+")


class Sample(NamedTuple):
    """Bytes of a process and its living descendants: resident, read (from files or from the disk), and written."""

    resident: int = 0
    read: int = 0
    wrote: int = 0


class Progress(NamedTuple):
    """`share`: of the load, 0 to 1, 0 where it isn't known. `moved`: it has come further since the last look."""

    share: float
    moved: bool


class Load:
    """One load of an engine. `size` is the bytes of its model's files, 0 if unknown."""

    def __init__(self, engine: str, size: int = 0) -> None:
        self.share = 0.0
        self._size = 0 if engine in TELLS else size
        self._tells = TELLS.get(engine)
        # The most of each so far, and their sum at the last progress.
        self._most = Sample()
        self._marked = 0
        # A kind of line → the largest amount in one.
        self._said: dict[str, int] = {}
        # What was given at the last look.
        self._lines: frozenset[str] = frozenset()

    def look(self, sample: Sample, lines: Iterable[str]) -> Progress:
        """Take in a sample and the engine's last lines, of which the same may be given again."""
        self._most = Sample(*map(max, self._most, sample))
        moved = sum(self._most) >= self._marked + LEAST_BYTES
        told = None
        given = frozenset(lines)
        for line in given - self._lines:
            short = _COLOUR.sub("", line[:MOST_LINE])
            moved |= self._hear(short)
            told = max(told or 0.0, found) if (found := self._told(short)) is not None else told
        self._lines = given
        if moved:
            self._marked = sum(self._most)
        share = self._by_bytes() if told is None else told
        self.share = max(self.share, round(min(share, MOST_SHARE), 3))
        return Progress(self.share, moved)

    def _hear(self, line: str) -> bool:
        """Tell whether a line shows progress, and note it."""
        kind, amount = _read(line)
        known = self._said.get(kind)
        if known is None and (len(self._said) >= MOST_KINDS or not (kind or amount)):
            return False
        if known is not None and amount <= known:
            return False
        self._said[kind] = amount
        return True

    def _told(self, line: str) -> float | None:
        if self._tells is not None:
            found = self._tells.search(line)
            return None if found is None else int(found[1]) / 100
        dots = _DOTS.fullmatch(line)
        return None if dots is None else len(dots[1]) / 100

    def _by_bytes(self) -> float:
        return max(self._most.resident, self._most.read) / self._size if self._size else 0.0


def _read(line: str) -> tuple[str, int]:
    """Give a line's kind, and the largest amount that it tells; 0 if none."""
    words = (word for word in line.split() if not _DIGIT.search(word))
    kind = _NO_LETTERS.sub(" ", " ".join(words)).strip()
    if dots := _DOTS.fullmatch(line):
        return kind, len(dots[1])
    amounts = [int(found) for found in _PERCENT.findall(line)]
    amounts += [int(part) for part, whole in _OF.findall(line) if int(part) <= int(whole)]
    return kind, max(amounts, default=0)
