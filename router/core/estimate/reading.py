"""How long prompts take to be read, learned from first tokens: see **Reading** in the package's theory."""

from math import inf
from typing import Final

from router.core.estimate.ask import Sent

GAIN: Final = 1 / 32
"""Weight of the newest sample in an average: it follows a lasting change within some thirty requests."""

OUTLIER: Final = 3.0
"""Times what was expected, at which a sample is cut off: a stall isn't a speed."""

UNKNOWN: Final = 0.001
"""Seconds for a prompt where nothing has been measured: little, so that it soon is."""

STALE: Final = 60.0
"""Seconds without a first token, after which a backend is taken for faster than it was."""

FADE: Final = 120.0
"""Seconds in which, from then on, what its reading is expected to take halves."""

_WORTH: Final = 1024  # bytes in the cache, from which on the time tells whether they were there
_ORIGIN: Final = 0.05  # weight of the line's going through the origin, where samples of like sizes leave it open
_SHRINK: Final = 1 / 256  # by which the longest prompt that counts gets shorter with each sample


class Line:
    """Seconds over bytes: `base + slope * bytes`, neither negative; least squares, old samples counting less.

    `reach` is the longest prompt of late. Longer ones are taken to take no longer: who was given none but short ones
    would never get a long one again if the line, which is a guess out there, made it look slow.
    """

    def __init__(self) -> None:
        self.base = UNKNOWN
        self.slope = 0.0
        self.samples = 0
        self.reach = 0.0
        self._x = 0.0  # the mean size, of late
        self._y = 0.0
        self._xx = 0.0
        self._xy = 0.0
        self._bound = inf  # what prompts take of which hardly anything has to be read

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
        """Take what a prompt took of which hardly anything had to be read: the base can't be more."""
        self._bound = seconds if self._bound == inf else self._bound + GAIN * (seconds - self._bound)
        if self.base > self._bound:
            self._draw()

    def _draw(self) -> None:
        slope = (self._xy + _ORIGIN * self._x * self._y) / (self._xx + _ORIGIN * self._x * self._x)
        self.slope = min(max(slope, (self._y - self._bound) / self._x, 0.0), self._y / self._x)
        self.base = self._y - self.slope * self._x

    def at(self, size: float) -> float:
        """Tell the seconds for so many bytes."""
        return self.base + self.slope * min(size, self.reach)

    def usual(self) -> float:
        """Tell the seconds for a prompt of the usual size."""
        return self.at(self._x)


class Reading:
    """The line of one backend, and how much of a prompt has to be read that is believed to be in its cache.

    `heard` is when the last first token came; inf: never. What was measured long ago fades.
    """

    def __init__(self) -> None:
        self.line = Line()
        self.heard = inf
        # Of prompts in its cache: bytes that were read, and bytes that aren't believed to be there, on average.
        self._read = self._unknown = float(_WORTH)

    def seconds(self, size: int, cached: int, now: float) -> float:
        """Seconds for a prompt of so many bytes once it is its turn; `cached` bytes of it are in the cache."""
        seconds, old = self.line.at(self.bytes(size, cached)), now - self.heard - STALE
        return seconds * 2 ** (-old / FADE) if old > 0 else seconds

    def bytes(self, size: int, cached: int) -> float:
        """Bytes that have to be read of a prompt."""
        return size if cached < _WORTH else min(size, self._read / self._unknown * (size - cached))

    def measured(self, sent: Sent, takes: float) -> None:
        """Learn from the time that one prompt took: of the line, or of what is left to read of those in the cache."""
        line = self.line
        if sent.cached < _WORTH or line.slope <= 0:
            line.note(sent.size, takes)
            return
        line.bound(takes)
        was_read = min(max((takes - line.base) / line.slope, 0.0), sent.size)
        self._read += GAIN * (was_read - self._read)
        self._unknown += GAIN * (sent.size - sent.cached - self._unknown)
