"""Random numbers as they occur in use: lengths of prompts, times to think, moments of requests."""

from collections.abc import Callable, Iterator
from itertools import count
from math import log
from random import Random
from typing import NamedTuple

FORMS = "64, uniform:16:128, normal:64:16 (mean, deviation), lognormal:64:0.8 (median, sigma), exponential:64 (mean)"
"""How a distribution can be written, for help texts."""

ARRIVALS = "constant, poisson, or bursty:N (N at the same moment, the moments as in poisson)"
"""How arrivals can be written, for help texts."""

_Draw = Callable[[Random, float, float], float]
_KINDS: dict[str, tuple[int, _Draw]] = {
    "constant": (1, lambda _, value, __: value),
    "uniform": (2, lambda rng, low, high: rng.uniform(low, high)),
    "normal": (2, lambda rng, mean, deviation: rng.gauss(mean, deviation)),
    "lognormal": (2, lambda rng, median, sigma: rng.lognormvariate(log(median), sigma) if median else 0.0),
    "exponential": (1, lambda rng, mean, _: rng.expovariate(1 / mean) if mean else 0.0),
}


class Distribution(NamedTuple):
    """How a number is distributed: one of `FORMS`, its first number and its second."""

    kind: str
    first: float
    second: float = 0.0

    def draw(self, rng: Random) -> float:
        """Draw one; never below 0."""
        return max(0.0, _KINDS[self.kind][1](rng, self.first, self.second))

    def whole(self, rng: Random) -> int:
        """Draw a whole number, 1 at least."""
        return max(1, round(self.draw(rng)))

    def __str__(self) -> str:
        """Write it as it is read."""
        numbers = (f"{number:g}" for number in self[1 : 1 + _KINDS[self.kind][0]])
        return ":".join(numbers if self.kind == "constant" else (self.kind, *numbers))


def distribution(text: str, number: Callable[[str], float] = float) -> Distribution:
    """Read one of `FORMS`, its values by `number`. Raises ValueError."""
    kind, *values = text.split(":") if ":" in text else ("constant", text)
    expected, _ = _KINDS.get(kind, (0, None))
    if len(values) != expected:
        raise ValueError(f"expected one of {FORMS}, got {text!r}")
    second = float if kind == "lognormal" else number
    numbers = [read(value) for read, value in zip((number, second), values, strict=False)]
    if min(numbers) < 0:
        raise ValueError(f"nothing below 0 can be drawn, got {text!r}")
    return Distribution(kind, *numbers)


def burst(arrivals: str) -> int:
    """Read how many come at a time. Raises ValueError for what is none of `ARRIVALS`."""
    kind, _, many = arrivals.partition(":")
    if arrivals in ("constant", "poisson"):
        return 1
    if kind == "bursty" and many.isdecimal() and int(many) > 0:
        return int(many)
    raise ValueError(f"expected {ARRIVALS}, got {arrivals!r}")


def due(arrivals: str, rate: float, rng: Random) -> Iterator[float]:
    """Give the moments at which requests are due, `rate` a second in the mean, in seconds from the start, for ever."""
    together = burst(arrivals)
    if arrivals == "constant":
        yield from (index / rate for index in count())
    at = 0.0
    while True:
        at += rng.expovariate(rate / together)
        yield from [at] * together
