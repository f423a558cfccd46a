"""After how long a silence a second backend is asked, too (Dean & Barroso, The Tail at Scale, 2013). Pure.

Either so many seconds, or the time within which 95 of 100 answers of late began: then about one request in twenty is
asked twice. Answers in one piece begin when they end, so streams are measured apart from them.
"""

from collections import OrderedDict, deque
from math import ceil, inf

P95 = "p95"

_KEPT = 256  # times, of each model
_LEAST = 20  # of them, before which nothing is known
_ANEW = 16  # times after which the percentile is looked up anew
_MOST_MODELS = 256


class _Recent:
    """The times of late of one model."""

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
    """How long to wait for an answer's first byte. `after` is in seconds, infinity for ever, or `P95`."""

    def __init__(self) -> None:
        self.after: float | str = inf
        self._recent: OrderedDict[tuple[str, bool], _Recent] = OrderedDict()  # the one noted last at the end

    @property
    def ends(self) -> bool:
        """Whether a second backend is ever asked."""
        return self.after != inf

    def seconds(self, model: str, *, stream: bool) -> float:
        """Tell how long to wait for a request of this kind; infinity while too little is known of its like."""
        if not isinstance(self.after, str):
            return self.after
        recent = self._recent.get((model, stream))
        return inf if recent is None else recent.p95

    def note(self, model: str, seconds: float, *, stream: bool) -> None:
        """Note how long an answer took to begin, from when its request was first sent."""
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
