"""Whether a backend has stopped working, though it may still answer: silence beside what may take its time. Pure.

A stuck engine says 200 to every probe of its health, and pings to every stream. Only content shows that it works. So
of each stream that waits at a backend it is known how long it has had none (`Silence`), and:

  1. a stream whose content has begun may pause for `stall_after`;
  2. one that waits for its first may take as long as its prompt may take to be read, too: at the slowest speed that
     this backend has shown, or at `SLOWEST` while it has shown none;
  3. a backend that sends content to anybody works: the others wait for their turn, and their time counts from there;
  4. one that tells how far it has come in reading a prompt (`progress`) works, too, while that advances;
  5. an answer that doesn't stream is silent to its end, whatever the engine does: where one is under way, nothing can
     be told.
"""

import re
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

SLOWEST = 80.0
"""Bytes of a prompt that any machine reads in a second: about 20 tokens, as a large model does on a small CPU."""

MEMORABLE = 1024
"""Bytes of a request below which its time to the first token says nothing of the prompt's reading."""

_REMEMBERED = 32

_NO_CONTENT = re.compile(rb"(?m)^[:eir].*")  # comments, which are pings, and the fields event, id and retry

_PROGRESS = re.compile(rb"(?:^|\n): ?keepalive (\d{1,9})/\d{1,9}[ \t]*\r?\n")


class Silence(NamedTuple):
    """One attempt under way at a backend."""

    seconds: float  # since its last content, or since it was sent
    begun: bool  # whether it has had any
    streams: bool
    size: int  # bytes of the request


class Prefill:
    """How fast a backend reads prompts, in bytes of the request a second: the slowest of the last few times counts.

    Prompts that it had read before take no time, and a queue takes some, so that only the slowest is safe to expect.
    """

    def __init__(self) -> None:
        self._speeds: deque[float] = deque(maxlen=_REMEMBERED)

    def note(self, size: int, seconds: float) -> None:
        """Take note of a request's bytes, and of the time that its first token took."""
        if size >= MEMORABLE and seconds > 0:
            self._speeds.append(size / seconds)

    @property
    def speed(self) -> float:
        """Bytes a second."""
        return min(self._speeds, default=SLOWEST)


def progress(tail: bytes) -> int:
    """Tell how many tokens of a prompt have been read, as the end of a stream says it that has no event yet; else 0.

    mlx_lm.server sends `: keepalive READ/ALL` while it reads a long prompt.
    """
    said = _PROGRESS.findall(tail)
    return int(said[-1]) if said else 0


def content(data: bytes, line: bytes) -> tuple[bool, bytes]:
    """Tell whether the next bytes of a stream of events, cut anywhere, hold content: anything of a line of data.

    `line` is the first byte of the line in which they begin, empty where they begin one. Given back with the answer is
    the same of the line in which they end.
    """
    text = (line + data).replace(b"\r", b"\n")
    left = _NO_CONTENT.sub(b"", text)
    if line and _NO_CONTENT.match(line) is None:
        left = left[1:]
    return bool(left.strip()), text.rpartition(b"\n")[2][:1]


def is_stalled(silences: Iterable[Silence], worked: float, stall_after: float, speed: float) -> bool:
    """Tell whether what waits at a backend has waited too long.

    `worked` is how long ago, in seconds, anybody got content from it; `speed` is Prefill's.
    """
    overdue = False
    for silence in silences:
        if not silence.streams:
            return False
        reading = 0.0 if silence.begun else silence.size / speed
        overdue = overdue or min(silence.seconds, worked) >= stall_after + reading
    return overdue
