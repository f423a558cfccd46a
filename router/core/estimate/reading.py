"""How long prompts take to be read.

It is learned here alone, as two statistics:

- `Reading.line`: what is typical, for balancing. Its samples leave the queue out; see **Reading** in the package's
  theory.
- `Reading.slowest`: what is safe to expect, for finding stalls (`router.core.stall`). Its samples include the queue,
  because a request that waits shows no sign of work either.
"""

from collections import deque
from math import inf
from typing import Final

from router.core.estimate.ask import Sent

GAIN: Final = 1 / 32
"""Weight of the newest sample in an average: it follows a lasting change within some thirty requests."""

OUTLIER: Final = 3.0
"""Multiple of the expected value at which a sample is cut off: a stall isn't a speed."""

UNKNOWN: Final = 0.001
"""Seconds for a prompt while nothing has been measured: little, so that it is measured soon."""

STALE: Final = 60.0
"""Seconds without a first token after which a backend is expected to be faster than it was."""

FADE: Final = 120.0
"""Seconds in which, from then on, the expected reading time halves."""

SLOWEST: Final = 80.0
"""Bytes of a prompt that any machine reads in a second: about 20 tokens, as a large model does on a small CPU."""

MEMORABLE: Final = 1024
"""Bytes of a request below which its time to the first content says nothing about the reading of its prompt."""

_REMEMBERED = 32

_WORTH: Final = 1024
"""Cached bytes from which on the time shows whether they really were in the cache."""

_SUSPICIOUS: Final = 1 / 50
"""Share of cached prompts that weren't in the cache after all, from which on a late prompt is taken for one of them."""

_ORIGIN: Final = 0.05
"""Weight that pulls the line through the origin, where samples of similar sizes leave its slope open."""

_SHRINK: Final = 1 / 256
"""Share by which `Line.reach` shrinks with each sample."""


class Line:
    """Seconds over bytes: `base + slope * bytes`, neither negative; least squares, old samples counting less.

    `reach` is the longest prompt of late. Longer prompts are expected to take no longer than that: the line is only a
    guess beyond it, and if that guess looked slow, a backend that got only short prompts would never get a long one
    that could correct it.
    """

    def __init__(self) -> None:
        self.base = UNKNOWN
        self.slope = 0.0
        self.samples = 0
        self.reach = 0.0
        # Weighted means: of the sizes, of the seconds, of the squared deviations of size, of size times seconds.
        self._x = 0.0
        self._y = 0.0
        self._xx = 0.0
        self._xy = 0.0
        # Upper bound of the base: the time of prompts that hardly needed any reading.
        self._bound = inf

    def note(self, size: float, seconds: float) -> None:
        """Take a sample, and move the line."""
        self.samples += 1
        self.reach = max(size, self.reach * (1 - _SHRINK))
        gain = max(1 / self.samples, GAIN)
        if self.samples > 4:
            seconds = min(seconds, OUTLIER * self._y * max(1.0, size / self._x))
        dx, dy = size - self._x, seconds - self._y
        self._x += gain * dx
        self._y += gain * dy
        self._xx = (1 - gain) * (self._xx + gain * dx * dx)
        self._xy = (1 - gain) * (self._xy + gain * dx * dy)
        self._draw()

    def bound(self, seconds: float) -> None:
        """Take the time of a prompt that hardly needed any reading: the base can't be more."""
        self._bound = seconds if self._bound == inf else self._bound + GAIN * (seconds - self._bound)
        if self.base > self._bound:
            self._draw()

    def _draw(self) -> None:
        slope = (self._xy + _ORIGIN * self._x * self._y) / (self._xx + _ORIGIN * self._x * self._x)
        self.slope = min(max(slope, (self._y - self._bound) / self._x, 0.0), self._y / self._x)
        self.base = self._y - self.slope * self._x

    def at(self, size: float) -> float:
        """Give the seconds for so many bytes."""
        return self.base + self.slope * min(size, self.reach)

    def usual(self) -> float:
        """Give the seconds for a prompt of average size."""
        return self.at(self._x)


class SlowestReading:
    """How fast a backend surely reads prompts, in bytes of the request a second: the slowest of the last samples.

    Only the slowest is safe to expect: prompts from the cache take no time, and a queue takes some. While no stream has
    been measured, answers in one piece show a lower bound. `longest` is how many seconds these took of late at most.
    """

    def __init__(self) -> None:
        self.longest = 0.0
        self._speeds: deque[float] = deque(maxlen=_REMEMBERED)
        self._wholes: deque[float] = deque(maxlen=_REMEMBERED)

    def note(self, size: int, seconds: float) -> None:
        """Note a request's bytes, and the seconds from its sending to its first content."""
        if size >= MEMORABLE and seconds > 0:
            self._speeds.append(size / seconds)

    def whole(self, size: int, seconds: float) -> None:
        """Note a request's bytes, and the seconds that its answer in one piece took."""
        self.longest = max(seconds, self.longest * (1 - 1 / _REMEMBERED))
        if size >= MEMORABLE and seconds > 0:
            self._wholes.append(size / seconds)

    @property
    def speed(self) -> float:
        """Bytes a second."""
        return min(self._speeds) if self._speeds else max(SLOWEST, min(self._wholes, default=SLOWEST))


class Reading:
    """What one backend's prompts have shown: both statistics, and how much of a cached prompt it really has to read.

    `heard` is when the last first token came; inf: never. Old measurements fade. `doubt` is how likely it is, from 0 to
    1, that a prompt which is late has to be read whole, and that nothing else is wrong.
    """

    def __init__(self) -> None:
        self.line = Line()
        self.slowest = SlowestReading()
        self.heard = inf
        # Averages over prompts that are believed to be cached: bytes that were read, and bytes beyond those cached.
        self._read = self._uncached = float(_WORTH)
        self.doubt = 0.0
        # The share of them that had to be read whole; below 0: none was sent yet.
        self._missed = -1.0

    def seconds(self, size: int, cached: int, now: float) -> float:
        """Give the seconds for a prompt of so many bytes once it is its turn; `cached` of them are in the cache."""
        seconds, old = self.line.at(self.bytes(size, cached)), now - self.heard - STALE
        return seconds * 2 ** (-old / FADE) if old > 0 else seconds

    def bytes(self, size: int, cached: int) -> float:
        """Give the bytes of a prompt that have to be read."""
        return size if cached < _WORTH else min(size, self._read / self._uncached * (size - cached))

    def believed(self, cached: int) -> None:
        """Note that a prompt is sent of which so much is believed to be cached. The first time, that is mere belief."""
        if self._missed < 0 and cached >= _WORTH:
            self._missed, self.doubt = 0.5, 1.0

    def whole(self, size: int) -> float:
        """Give the seconds for a prompt of which nothing is cached, however long it is."""
        return self.line.base + self.line.slope * size

    def measured(self, sent: Sent, takes: float) -> None:
        """Learn from the seconds that one prompt took, its time in the queue left out.

        An uncached prompt moves the line; a cached one shows how much of such prompts has to be read.
        """
        line = self.line
        if sent.cached < _WORTH or line.slope <= 0:
            line.note(sent.size, takes)
            return
        line.bound(takes)
        was_read = min(max((takes - line.base) / line.slope, 0.0), sent.size)
        self._missed += 2 * GAIN * ((was_read > sent.size - sent.cached / 2) - self._missed)
        self.doubt = min(1.0, self._missed / _SUSPICIOUS)
        self._read += GAIN * (was_read - self._read)
        self._uncached += GAIN * (sent.size - sent.cached - self._uncached)
