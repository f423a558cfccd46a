"""Whether a backend has stopped working, though it may still answer. Pure.

A stuck engine says 200 to every probe of its health, and pings to every stream. Only progress shows that it works. All
signs of it come together in one `Progress` a backend: content of an answer, the end of one, what it says of a prompt's
reading, CPU time of its processes, its own counters of tokens. Each sign sets the silence back to nothing. The silence
is the time since the last sign in which requests were in flight there, be it those of clients that have left since.

`judge` has the one rule, whatever is in flight: silent for `stall_after`, and it is stalled. How long a silence may be
honest depends on what can be seen of the backend's work (`Sight`):

  1. ALL: its CPU time tells, one of its processes is stopped, or it no longer answers probes as it did while it worked.
     Whatever it were doing would show. Nothing excuses the silence.
  2. COUNTED: its own counters tell of each step, and they stand still. A step may be the reading of a prompt: for as
     long as the longest that waits may take to be read, at the slowest speed that this backend has shown, or at
     `SLOWEST` while it has shown none.
  3. NOTHING but answers: their reading excuses it as above, and one request, or ours for a token, must itself have
     waited for long. An answer in one piece is silent to its end. Where one is in flight, silence counts only beside a
     token that isn't answered: where the backend has room for it; else where the token was asked for before any such
     answer, and `PATIENCE` times as long as these take has passed, as the engine may go on for clients that have left.

A backend that is silent for a part of the time (`QUIET`) is looked into: its CPU time and its counters are read, it is
probed (`router.proxy.watching.examine`). Silent for `SILENT` of it, what has no byte yet goes elsewhere.
"""

import re
from collections.abc import Sequence
from enum import Enum
from math import inf
from typing import Final, NamedTuple

from router.core.estimate.reading import SlowestReading

QUIET: Final = 0.2
"""Share of `stall_after` from which on a silent backend is looked into: early enough for several looks."""

SILENT: Final = 1 / 3
"""Share of `stall_after` after which what has no byte yet goes elsewhere: two looks have found nothing by then."""

EVERY: Final = 0.1
"""Share of `stall_after` between two looks."""

DEAF: Final = 2
"""Probes in a row without an answer that show more than a lost packet."""

CORES: Final = 0.05
"""Cores that an engine keeps busy at least while it works. Pings, probes and idling take less than half of it."""

TICKS: Final = 0.03
"""Seconds of CPU time at least that count as work: systems count in hundredths."""

DEAF_FACTOR: Final = 3.0
"""Times that answers in one piece have taken of late, for which another may take, where nothing else can be seen."""

_NO_CONTENT = re.compile(rb"(?m)^[:eir].*")  # comments, which are pings, and the fields event, id and retry

_PROGRESS = re.compile(rb"(?:^|\n): ?keepalive (\d{1,9})/\d{1,9}[ \t]*\r?\n")


class Silence(NamedTuple):
    """One attempt under way at a backend."""

    seconds: float  # since its last content, or since it was sent
    begun: bool  # whether it has had any
    streams: bool
    size: int  # bytes of the request


class Sight(Enum):
    """How much of a backend's work can be seen now, beside what its answers show."""

    NOTHING = "nothing"
    COUNTED = "its counters"
    ALL = "all"


class StallVerdict(Enum):
    """What a backend's silence comes to."""

    WORKS = "works"
    QUIET = "quiet"  # it is to be looked into
    SILENT = "silent"  # what has no byte yet had better go elsewhere
    STALLED = "stalled"


class Progress:
    """One backend's signs of work, and how long it has owed any. All times are seconds of one clock.

    `at` is when it gave the last sign, and `in_flight` how many requests it holds. `excuse` is the longest time, in
    seconds, that a prompt sent since then may take to be read.
    """

    def __init__(self) -> None:
        self.at = 0.0
        self.in_flight = 0
        self.excuse = 0.0
        self.answers_busy = False  # whether it has answered a probe while it held requests
        self._deaf_at_work = False  # whether it has worked on while it answered none
        self._deaf_before = False  # whether it answered none before its last sign, and has answered none since
        self._since = 0.0  # when the first of these in flight was sent
        self._owed = 0.0  # seconds of silence before that
        self._evidence = False  # whether anything below is of this silence
        self._clear()

    def _clear(self) -> None:
        self.stopped = False  # whether one of its processes is
        self.unanswered = 0  # probes in a row
        self._deaf_since = inf
        self._cpu: tuple[float, float] | None = None  # the first reading: seconds of CPU time, and when
        self._idle_until = -inf  # when CPU time was last found not to have grown
        self._count: float | None = None
        self._still_until = -inf  # as `_idle_until`, of the counters

    # What is told

    def began(self, now: float) -> None:
        """Count a request."""
        if self.in_flight == 0:
            self._since = now
        self.in_flight += 1

    def ended(self, now: float) -> None:
        """Count it out again."""
        self.in_flight -= 1
        if self.in_flight == 0:
            self._owed += now - max(self._since, self.at)

    def moved(self, now: float) -> None:
        """Note a sign of work; or that none can be expected before now."""
        self.at, self._owed, self.excuse = now, 0.0, 0.0
        if self._evidence:
            deaf = self.unanswered >= DEAF and self._since <= self._deaf_since  # else it had nothing to do then
            self._deaf_before = self._deaf_before or deaf
            self._evidence = False
            self._clear()

    def back(self, now: float) -> None:
        """Note that it is there again: what it didn't answer meanwhile says nothing of how it works."""
        self._clear()
        self._deaf_before = False
        self.moved(now)

    def cpu(self, seconds: float, now: float, *, stopped: bool, tells: bool) -> None:
        """Note the CPU time that its processes have used, and whether one is stopped. Much is a sign of work.

        `tells`: it can't work without, so that little is a sign that it doesn't.
        """
        self._evidence, self.stopped = True, stopped
        if self._cpu is None or seconds < self._cpu[0]:  # a process of it has ended
            self._cpu = seconds, now
            return
        used, span = seconds - self._cpu[0], now - self._cpu[1]
        if used >= max(TICKS, CORES * span):
            self.moved(now)
            self._evidence, self._cpu = True, (seconds, now)
        elif tells:
            self._idle_until = now

    def counted(self, value: float, now: float, *, tells: bool) -> None:
        """Note what its own counters of work come to. One that has grown is a sign; `tells`: each step would show."""
        self._evidence = True
        if self._count is not None and value > self._count:
            self.moved(now)
            self._evidence = True
        elif self._count == value and tells:
            self._still_until = now
        self._count = value

    def probed(self, sent: float, *, answered: bool) -> None:
        """Note a probe that was sent then, and what became of it."""
        if answered:
            self.unanswered, self._deaf_since, self._deaf_before = 0, inf, False
            if self.in_flight:
                self.answers_busy, self._deaf_at_work = True, False
        else:
            self._evidence = True
            self._deaf_at_work = self._deaf_at_work or (self._deaf_before and self.in_flight > 0)
            self.unanswered, self._deaf_since = self.unanswered + 1, min(self._deaf_since, sent)

    # What is asked

    def silence(self, now: float) -> float:
        """Tell for how many seconds it has held requests since its last sign."""
        return self._owed + (now - max(self._since, self.at) if self.in_flight else 0.0)

    def sight(self, now: float, stall_after: float) -> Sight:
        """Tell what can be seen of its work: of what was read not long ago."""
        late = now - 3 * EVERY * stall_after
        if self.stopped or self._idle_until >= late or self._is_deaf(now, stall_after):
            return Sight.ALL
        return Sight.COUNTED if self._still_until >= late else Sight.NOTHING

    def deaf(self, now: float) -> float:
        """Tell for how many seconds it has answered no probe."""
        return max(0.0, now - self._deaf_since)

    def _is_deaf(self, now: float, stall_after: float) -> bool:
        """Tell whether it answers no probe, and that isn't its way while it works; or has gone on for very long."""
        if self.unanswered < DEAF or self._deaf_at_work:
            return False
        return self.answers_busy or self.deaf(now) >= DEAF_FACTOR * stall_after

    def why(self, now: float, stall_after: float) -> str:
        """Say what shows that it doesn't work."""
        sight = self.sight(now, stall_after)
        if sight is Sight.COUNTED:
            return "its own counters stand still"
        if sight is Sight.NOTHING:
            return "no content"
        if self.stopped:
            return "a process of it is stopped"
        return "no answer to probes" if self.unanswered >= DEAF else "no CPU time"


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
    """Tell what a backend's silence comes to. `waits` are the attempts in flight that their clients don't hold up.

    `token` is for how many seconds one that was asked for has not been given; `room`: nothing there is before it.
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
    if whole and not room:  # the token waits behind those before it, and behind what goes on for clients that have left
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
