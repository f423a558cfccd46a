"""An answer that a stress test watches: each token is counted, and each time between two tokens is recorded."""

from collections.abc import Callable

from scripts.instruments.answers import TimedAnswer
from scripts.stress.meter import Meter

RecordTime = Callable[[float], None]
"""Records a time, in seconds."""


class WatchedAnswer(TimedAnswer):
    """One answer. `gaps` gives, for a backend's name, where the times between its tokens are recorded."""

    __slots__ = ("_gaps", "_meter", "_record_gap")

    def __init__(self, due: float, meter: Meter, gaps: Callable[[str], RecordTime], leave_after: int = 0) -> None:
        super().__init__(due, leave_after)
        self._meter = meter
        self._gaps = gaps

    def _read_head(self, head: bytes, now: float) -> None:
        super()._read_head(head, now)
        self._record_gap = self._gaps(self.backend)

    def _token(self, now: float) -> None:
        if self.tokens:
            self._record_gap(now - self.last)
        else:
            self._meter.first_token(now - self.due)
        self._meter.tokens += 1
        super()._token(now)
