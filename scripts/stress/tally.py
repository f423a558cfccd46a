"""What came of a step's requests: counted by backend, added up over all of them."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from scripts.instruments.answers import TimedAnswer
from scripts.instruments.statistics import Histogram
from scripts.stress import units
from scripts.stress.answer import RecordTime

LEFT = "left"
INTERRUPTED = "interrupted"
_NO_FAILURES = ("", LEFT, INTERRUPTED)


class Outcome(NamedTuple):
    """What came of a request. Times are on one clock, in seconds; None: it didn't come to that, or can't be told."""

    due: float
    sent: float
    first: float | None  # its first token
    last: float | None  # its last token
    ended: float
    kind: str  # empty: whole; LEFT, INTERRUPTED, or the kind of its failure
    detail: str
    status: int
    streamed: bool
    tokens: int
    prompt_tokens: int
    backend: str
    queue: float | None

    @property
    def failed(self) -> bool:
        """Whether it failed: neither whole, nor left or interrupted by us."""
        return self.kind not in _NO_FAILURES

    @property
    def ttft(self) -> float | None:
        """Time to first token: from when it was due, so that waiting to be sent counts."""
        return None if self.first is None else self.first - self.due

    @property
    def tpot(self) -> float | None:
        """Time for each token after the first, in the mean of this request."""
        if self.first is None or self.last is None or self.tokens < 2:
            return None
        return (self.last - self.first) / (self.tokens - 1)

    @property
    def whole(self) -> float:
        """The whole time, from when it was due."""
        return self.ended - self.due


def outcome(answer: TimedAnswer, ended: float, *, interrupted: bool) -> Outcome:
    """Read what came of a request from its answer."""
    kind = INTERRUPTED if interrupted else answer.failure or (LEFT if answer.left else "")
    return Outcome(
        due=answer.due,
        sent=answer.sent,
        first=answer.first if answer.tokens else None,
        last=answer.last if answer.tokens else None,
        ended=ended,
        kind=kind,
        detail=answer.detail,
        status=answer.status,
        streamed=answer.streamed,
        tokens=max(answer.tokens, answer.usage),
        prompt_tokens=answer.prompt_tokens,
        backend=answer.backend,
        queue=answer.queue_time,
    )


@dataclass(frozen=True)
class Slo:
    """What a good answer keeps to, in seconds."""

    ttft: float = math.inf
    tpot: float = math.inf
    whole: float = math.inf

    def __str__(self) -> str:
        return ", ".join(f"{name} {units.time(bound)}" for name, bound in vars(self).items() if bound != math.inf)

    def met(self, one: Outcome) -> bool:
        """Whether an answer is whole and within the bounds; one without tokens has no ttft and no tpot to break."""
        times = ((one.ttft, self.ttft), (one.tpot, self.tpot), (one.whole, self.whole))
        return not one.kind and all(time is None or time <= bound for time, bound in times)


@dataclass
class StepFigures:
    """Counts and histograms. Of what failed, the tokens that came are in the histograms, its whole time isn't."""

    ok: int = 0
    left: int = 0
    interrupted: int = 0
    good: int = 0  # within the bounds of the Slo
    tokens: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)  # of each failure, what was said first
    ttft: Histogram = field(default_factory=Histogram)
    gap: Histogram = field(default_factory=Histogram)  # between two tokens
    tpot: Histogram = field(default_factory=Histogram)
    whole: Histogram = field(default_factory=Histogram)
    wait: Histogram = field(default_factory=Histogram)  # from due to sent
    queue: Histogram = field(default_factory=Histogram)  # in the router
    speed: Histogram = field(default_factory=Histogram)  # tokens/s of a stream, after its first token

    @property
    def failed(self) -> int:
        """How many failed."""
        return self.failures.total()

    @property
    def requests(self) -> int:
        """How many there were, whatever came of them."""
        return self.ok + self.left + self.interrupted + self.failed

    def count(self, one: Outcome, slo: Slo) -> None:
        """Count what came of a request."""
        self.tokens += one.tokens
        self.good += slo.met(one)
        self.ok += not one.kind
        self.left += one.kind == LEFT
        self.interrupted += one.kind == INTERRUPTED
        if one.failed:
            self.failures[one.kind] += 1
            self.examples.setdefault(one.kind, one.detail)
        self.wait.record(one.sent - one.due)
        _record(self.ttft, one.ttft)
        _record(self.tpot, one.tpot)
        _record(self.speed, 1 / one.tpot if one.tpot else None)
        _record(self.queue, one.queue)
        _record(self.whole, None if one.kind else one.whole)

    def add(self, other: "StepFigures") -> None:
        """Count all that another has counted."""
        for name, value in vars(other).items():
            mine = getattr(self, name)
            if isinstance(mine, Histogram):
                mine.add(value)
            elif isinstance(mine, dict):
                setattr(self, name, Counter(mine) + value if isinstance(mine, Counter) else {**value, **mine})
            else:
                setattr(self, name, mine + value)


def _record(histogram: Histogram, value: float | None) -> None:
    if value is not None:
        histogram.record(value)


class Tally:
    """The figures of each backend; that of no name has what no backend is known of."""

    def __init__(self, slo: Slo) -> None:
        self.backends: dict[str, StepFigures] = {}
        self._slo = slo

    def gaps(self, backend: str) -> RecordTime:
        """Say where times between tokens of a backend are recorded."""
        return self._of(backend).gap.record

    def count(self, one: Outcome) -> None:
        """Count what came of a request."""
        self._of(one.backend).count(one, self._slo)

    def _of(self, backend: str) -> StepFigures:
        return (
            self.backends.setdefault(backend, StepFigures()) if backend not in self.backends else self.backends[backend]
        )

    def all(self) -> StepFigures:
        """Add up all backends."""
        return added(self.backends.values())


def added(parts: Iterable[StepFigures]) -> StepFigures:
    """Add up figures; the percentiles are those of all values."""
    total = StepFigures()
    for part in parts:
        total.add(part)
    return total
