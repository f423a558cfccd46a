"""After how many seconds of silence a request is hedged (Dean & Barroso, The Tail at Scale, 2013). Pure.

It is either a fixed time, or the time within which 95% of the recent answers began; then about one request in twenty is
sent twice. Answers in one piece begin when they end, so streams are measured separately.
"""

from collections import OrderedDict, deque
from math import ceil, inf

P95 = "p95"

_KEPT = 256
"""Times that are kept of each model."""

_LEAST = 20
"""Times below which there is no percentile."""

_ANEW = 16
"""Times after which the percentile is computed again."""

_MOST_MODELS = 256


class _Recent:
    """The recent times of one model."""

    def __init__(self) -> None:
        self.times: deque[float] = deque(maxlen=_KEPT)
        self.p95 = inf
        self._noted = 0

    def note(self, seconds: float) -> None:
        self.times.append(seconds)
        self._noted += 1
        if self._noted == _LEAST or (self._noted > _LEAST and self._noted % _ANEW == 0):
            self.p95 = sorted(self.times)[ceil(0.95 * len(self.times)) - 1]


class Patience:
    """How long to wait for an answer's first byte before hedging. `after` is in seconds, inf for never, or `P95`."""

    def __init__(self) -> None:
        self.after: float | str = inf
        # By model and whether it streams; the one used last is at the end.
        self._recent: OrderedDict[tuple[str, bool], _Recent] = OrderedDict()

    @property
    def ends(self) -> bool:
        """Whether any request is hedged."""
        return self.after != inf

    def seconds(self, model: str, *, stream: bool) -> float:
        """Give the seconds to wait for a request of this kind; inf while there are too few measurements."""
        if not isinstance(self.after, str):
            return self.after
        recent = self._recent.get((model, stream))
        return inf if recent is None else recent.p95

    def note(self, model: str, seconds: float, *, stream: bool) -> None:
        """Note the seconds from a request's first attempt to the beginning of its answer."""
        if not isinstance(self.after, str):
            return
        kind = model, stream
        recent = self._recent.get(kind)
        if recent is None:
            recent = self._recent[kind] = _Recent()
            if len(self._recent) > _MOST_MODELS:
                self._recent.popitem(last=False)
        self._recent.move_to_end(kind)
        recent.note(seconds)
