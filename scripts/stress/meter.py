"""The counts of a running load, for its display: plain numbers, written in the hot path."""

from dataclasses import dataclass, field

from scripts.instruments.statistics import Histogram


@dataclass(slots=True)
class Meter:
    """Counts since the start of the run; `waiting` and `in_flight` are of this moment."""

    waiting: int = 0  # now: due, and not sent yet
    in_flight: int = 0  # now: sent, and not ended
    ended: int = 0  # whole, or left on purpose
    failed: int = 0
    tokens: int = 0
    ttft: Histogram = field(default_factory=Histogram)  # of the step, as far as it has come
    _recent: list[float] = field(default_factory=list)

    def first_token(self, after: float) -> None:
        """Count a time to first token, in seconds."""
        self.ttft.record(after)
        self._recent.append(after)

    def take_recent(self) -> list[float]:
        """Give the times to first token since the last call."""
        taken, self._recent = self._recent, []
        return taken
