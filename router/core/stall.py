"""Whether a backend has stopped working, though it may still answer probes. Pure.

A stuck engine answers every health probe with 200 and pings every stream. Only progress shows that it works. Each
backend has one `Progress`, which takes all signs of work: content of an answer, the end of an answer, reported progress
in a prompt's reading, CPU time of its processes, its own counters of tokens. Each sign ends the silence. The silence is
the time since the last sign in which the backend held requests, those of clients that have left since included.

`judge` has one rule, whatever is in flight: a backend that is silent for `stall_after` is stalled. Some of the silence
may be excused, depending on how much of the backend's work can be seen (`Sight`):

  1. ALL: its CPU time shows each work, or one of its processes is stopped, or it no longer answers probes as it did
     while it worked. Any work would show, so nothing excuses the silence.
  2. COUNTED: its own counters show each step, and they stand still. One step may be the reading of a prompt. So the
     silence is excused for as long as the longest waiting prompt may take to be read, at the slowest speed that this
     backend has shown (`SlowestReading`).
  3. NOTHING but answers. The reading of prompts excuses the silence as above, and at least one request, or our token,
     must itself have waited for long. An answer in one piece is silent to its end. If one is in flight, the silence
     counts only together with a token that isn't given: if the backend has room for the token; else if the token was
     asked for before any such answer, and `DEAF_FACTOR` times the usual time of such answers has passed, as the engine
     may go on for clients that have left.

A backend that is silent for the share `QUIET` of `stall_after` is looked into: its CPU time and its counters are read,
and it is probed (`router.proxy.watching.examine`). After the share `SILENT`, requests without a byte of their answer go
elsewhere.
"""

import re
from collections.abc import Sequence
from enum import Enum
from math import inf
from typing import Final, NamedTuple

from router.core.estimate.reading import SlowestReading

QUIET: Final = 0.2
"""Share of `stall_after` after which a silent backend is looked into: early enough for several looks."""

SILENT: Final = 1 / 3
"""Share of `stall_after` after which requests without a byte of an answer go elsewhere: two looks found nothing."""

EVERY: Final = 0.1
"""Share of `stall_after` between two looks."""

DEAF: Final = 2
"""Unanswered probes in a row that show more than a lost packet."""

CORES: Final = 0.05
"""CPU cores that a working engine keeps busy at least. Pings, probes and idling take less than half of that."""

TICKS: Final = 0.03
"""Least seconds of CPU time that count as work: systems count in hundredths of a second."""

DEAF_FACTOR: Final = 3.0
"""How long an answer in one piece may take, as a multiple of their recent times, if nothing else of the work is seen.
Also how long probes may go unanswered, as a multiple of `stall_after`, if the backend never answered any at work."""

# Lines of a stream without content: comments, which are pings, and the fields event, id and retry.
_NO_CONTENT = re.compile(rb"(?m)^[:eir].*")

_PROGRESS = re.compile(rb"(?:^|\n): ?keepalive (\d{1,9})/\d{1,9}[ \t]*\r?\n")


class Silence(NamedTuple):
    """The silence of one attempt under way: `seconds` since its last content, or since it was sent.

    `begun`: it has had content. `streams`: its answer streams. `size` is the bytes of the request.
    """

    seconds: float
    begun: bool
    streams: bool
    size: int


class Sight(Enum):
    """How much of a backend's work can be seen now, besides its answers."""

    NOTHING = "nothing"
    COUNTED = "its counters"
    ALL = "all"


class StallVerdict(Enum):
    """What a backend's silence means.

    QUIET: look into it. SILENT: requests without a byte of an answer had better go elsewhere. STALLED: take it out.
    """

    WORKS = "works"
    QUIET = "quiet"
    SILENT = "silent"
    STALLED = "stalled"


class Progress:
    """One backend's signs of work, and its silence. All times are seconds of one clock.

    `at` is when it gave the last sign, and `in_flight` how many requests it holds. `excuse` is the most seconds that
    reading a prompt sent since then may take. `answered` is the backend's count of whole answers when they were last
    taken for a sign. "Deaf" is a backend that doesn't answer probes.
    """

    def __init__(self) -> None:
        self.at = 0.0
        self.in_flight = 0
        self.excuse = 0.0
        self.answered = 0
        # Whether it has answered a probe while it held requests.
        self.answers_busy = False
        # Whether it has worked on while it was deaf.
        self._deaf_at_work = False
        # Whether it was deaf before its last sign, and still is.
        self._deaf_before = False
        # When the first of the requests in flight was sent, and the seconds of silence before that.
        self._since = 0.0
        self._owed = 0.0
        # Whether any of the evidence below is from this silence.
        self._evidence = False
        self._clear()

    def _clear(self) -> None:
        # Whether one of its processes is stopped.
        self.stopped = False
        # Unanswered probes in a row, and when the first of them was sent.
        self.unanswered = 0
        self._deaf_since = inf
        # The first reading: seconds of CPU time, and when it was taken.
        self._cpu: tuple[float, float] | None = None
        # When its CPU time was last found not to have grown.
        self._idle_until = -inf
        # The last reading of its counters, and when they were last found not to have grown.
        self._count: float | None = None
        self._still_until = -inf

    # Signs of work, and of none

    def began(self, now: float) -> None:
        """Count a request."""
        if self.in_flight == 0:
            self._since = now
        self.in_flight += 1

    def ended(self, now: float) -> None:
        """Release a request's place; with none in flight, the silence stands still."""
        self.in_flight -= 1
        if self.in_flight == 0:
            self._owed += now - max(self._since, self.at)

    def moved(self, now: float) -> None:
        """Note a sign of work; or that no sign could be expected before now."""
        self.at, self._owed, self.excuse = now, 0.0, 0.0
        if self._evidence:
            # Without requests in flight it had nothing to do, so it wasn't deaf at work.
            deaf = self.unanswered >= DEAF and self._since <= self._deaf_since
            self._deaf_before = self._deaf_before or deaf
            self._evidence = False
            self._clear()

    def back(self, now: float) -> None:
        """Note that it is back. Probes that went unanswered meanwhile say nothing of how it works."""
        self._clear()
        self._deaf_before = False
        self.moved(now)

    def cpu(self, seconds: float, now: float, *, stopped: bool, tells: bool) -> None:
        """Note the CPU seconds that its processes have used, and whether one is stopped. Much is a sign of work.

        `tells`: it can't work without CPU time, so little is a sign that it doesn't work.
        """
        self._evidence, self.stopped = True, stopped
        # The total shrinks if one of its processes has ended.
        if self._cpu is None or seconds < self._cpu[0]:
            self._cpu = seconds, now
            return
        used, span = seconds - self._cpu[0], now - self._cpu[1]
        if used >= max(TICKS, CORES * span):
            self.moved(now)
            self._evidence, self._cpu = True, (seconds, now)
        elif tells:
            self._idle_until = now

    def counted(self, value: float, now: float, *, tells: bool) -> None:
        """Note its own counters of work. Growth is a sign of work; `tells`: each step would show in them."""
        self._evidence = True
        if self._count is not None and value > self._count:
            self.moved(now)
            self._evidence = True
        elif self._count == value and tells:
            self._still_until = now
        self._count = value

    def probed(self, sent: float, *, answered: bool) -> None:
        """Note whether a probe, sent at `sent`, was answered."""
        if answered:
            self.unanswered, self._deaf_since, self._deaf_before = 0, inf, False
            if self.in_flight:
                self.answers_busy, self._deaf_at_work = True, False
        else:
            self._evidence = True
            self._deaf_at_work = self._deaf_at_work or (self._deaf_before and self.in_flight > 0)
            self.unanswered, self._deaf_since = self.unanswered + 1, min(self._deaf_since, sent)

    # Questions

    def silence(self, now: float) -> float:
        """Give the seconds in which it has held requests since its last sign."""
        return self._owed + (now - max(self._since, self.at) if self.in_flight else 0.0)

    def sight(self, now: float, stall_after: float) -> Sight:
        """Tell how much of its work can be seen, by readings that aren't old."""
        late = now - 3 * EVERY * stall_after
        if self.stopped or self._idle_until >= late or self._is_deaf(now, stall_after):
            return Sight.ALL
        return Sight.COUNTED if self._still_until >= late else Sight.NOTHING

    def deaf(self, now: float) -> float:
        """Give the seconds in which it has answered no probe."""
        return max(0.0, now - self._deaf_since)

    def _is_deaf(self, now: float, stall_after: float) -> bool:
        """Tell whether it doesn't answer probes although it does so while it works, or hasn't for very long."""
        if self.unanswered < DEAF or self._deaf_at_work:
            return False
        return self.answers_busy or self.deaf(now) >= DEAF_FACTOR * stall_after

    def why(self, now: float, stall_after: float) -> str:
        """Say which evidence shows that it doesn't work."""
        sight = self.sight(now, stall_after)
        if sight is Sight.COUNTED:
            return "its own counters stand still"
        if sight is Sight.NOTHING:
            return "no content"
        if self.stopped:
            return "a process of it is stopped"
        return "no answer to probes" if self.unanswered >= DEAF else "no CPU time"


def progress(tail: bytes) -> int:
    """Give the tokens of a prompt that have been read, if the end of a stream reports them; else 0.

    mlx_lm.server sends `: keepalive READ/ALL` before the first event, while it reads a long prompt.
    """
    said = _PROGRESS.findall(tail)
    return int(said[-1]) if said else 0


def content(data: bytes, line: bytes) -> tuple[bool, bytes]:
    """Tell whether the next bytes of a stream of events, cut anywhere, hold content: any part of a data line.

    `line` is the first byte of the line in which they begin, empty if they begin a line. The second result is the
    same for the line in which they end.
    """
    text = (line + data).replace(b"\r", b"\n")
    left = _NO_CONTENT.sub(b"", text)
    if line and _NO_CONTENT.match(line) is None:
        left = left[1:]
    return bool(left.strip()), text.rpartition(b"\n")[2][:1]


def judge(
    progress: Progress,
    waits: Sequence[Silence],
    now: float,
    stall_after: float,
    reading: SlowestReading,
    token: float = 0.0,
    *,
    room: bool = False,
) -> StallVerdict:
    """Judge a backend's silence. `waits` are the attempts in flight that slow clients don't hold up.

    `token` is for how many seconds a token has been owed that a probe asked for; `room`: it needn't wait behind others.
    """
    silence = progress.silence(now)
    longest = max((wait.size for wait in waits if not wait.begun), default=0)
    progress.excuse = max(progress.excuse, longest / reading.speed)
    if silence < QUIET * stall_after:
        return StallVerdict.WORKS
    sight, excuse = progress.sight(now, stall_after), progress.excuse
    if sight is Sight.ALL:
        return _of(silence, stall_after)
    if sight is Sight.COUNTED:
        return _of(silence - excuse, stall_after)
    whole = any(not wait.streams for wait in waits)
    waited = 0.0 if whole else max((wait.seconds for wait in waits), default=0.0)
    if whole and not room:
        # The token waits behind earlier requests, and behind work that goes on for clients that have left.
        excuse += DEAF_FACTOR * (reading.longest or stall_after)
        if any(not wait.streams and wait.seconds > token for wait in waits):
            return StallVerdict.QUIET
    if max(waited, token) < stall_after / 2:
        return StallVerdict.QUIET
    verdict = _of(silence - excuse, stall_after)
    return StallVerdict.QUIET if whole and verdict is StallVerdict.SILENT else verdict


def _of(silence: float, stall_after: float) -> StallVerdict:
    if silence >= stall_after:
        return StallVerdict.STALLED
    return StallVerdict.SILENT if silence >= SILENT * stall_after else StallVerdict.QUIET
