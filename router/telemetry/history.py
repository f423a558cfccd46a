"""What the router did in the last hour, for charts: samples of a few seconds each, of which the latest are kept.

A sample has the requests that ended since the one before, and how things are at its end. A stream's tokens count as
they come, by its events; at its end it is put right by what the engine says.

Series are arrays: an hour of a backend takes 23 KB. A backend has some from its first request on, until it has had none
for as long as samples are kept. Pure: the time is an argument.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Final

from router.core.ending import Ending
from router.core.record import ANSWERED, Record
from router.core.statuses import TOO_MANY

EVERY: Final = 5.0
"""Seconds that a sample covers."""

MOST: Final = 720
"""Samples that are kept: an hour."""

MOST_TIMES: Final = 1000
"""Times to the first token that are kept of a sample: of more, every second one, or fourth, and so on."""

MOST_ROWS: Final = 500
"""Backends, and devices, that have series at a time: 12 MB."""

UNKNOWN: Final = -1

OF_ALL: Final[Mapping[str, float]] = {
    "at": 0.0, "seconds": 0.0, "ended": 0, "failed": 0, "prompt_tokens": 0, "tokens": 0, "ttft_p50": float(UNKNOWN),
    "ttft_p99": float(UNKNOWN), "in_flight": 0, "queued": 0, "cpu_percent": 0.0, "router_cpu_percent": 0.0,
}  # fmt: skip
OF_BACKEND: Final[Mapping[str, float]] = {"ended": 0, "failed": 0, "tokens": 0, "in_flight": 0}
OF_DEVICE: Final[Mapping[str, float]] = {"used": UNKNOWN, "utilisation": UNKNOWN}
"""The series, each with the figure of a sample without any; where that is UNKNOWN, there may be samples without."""

Series = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Moment:
    """How things are at the end of a sample.

    `devices` are the bytes that are used of each, and its utilisation. `in_flight_by` is by backend, and so is
    `streamed`: the events that were sent so far of streams under way.
    """

    in_flight: int = 0
    queued: int = 0
    cpu_percent: float = 0.0
    router_cpu_percent: float = 0.0
    devices: Mapping[str, tuple[int, int | None]] = field(default_factory=dict)
    in_flight_by: Mapping[str, int] = field(default_factory=dict)
    streamed: Mapping[str, int] = field(default_factory=dict)


class History:
    """The samples: `ended` counts requests, `sample` ends a sample, `told` gives the latest."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._all = Rows(OF_ALL, most)
        self._backends: dict[str, Rows] = {}
        self._devices: dict[str, Rows] = {}
        # By backend; None has the requests that reached none.
        self._counts: dict[str | None, Counts] = {}
        self._prompt_tokens = 0
        self._times = Times()

    def ended(self, record: Record, said: Ending) -> None:
        """Count a request that has ended; `said` is what the end of its answer says."""
        counts = self._counts.get(record.backend)
        if counts is None:
            counts = self._counts[record.backend] = Counts()
        counts.ended += 1
        counts.failed += has_failed(record)
        tokens = said.completion_tokens
        counts.tokens += record.events if tokens is None else tokens
        self._prompt_tokens += said.prompt_tokens or 0
        if record.ttft is not None:
            self._times.add(record.ttft)

    def sample(self, at: float, seconds: float, now: Moment) -> None:
        """End a sample that covers so many seconds. `at` is in seconds since the epoch."""
        by_backend = {name: self._take(name, now) for name in {*self._counts, *now.in_flight_by, *now.streamed}}
        ended, failed, tokens = (sum(row[place] for row in by_backend.values()) for place in range(3))
        self._all.add((
            at, seconds, ended, failed, self._prompt_tokens, tokens, *self._times.take(),
            now.in_flight, now.queued, now.cpu_percent, now.router_cpu_percent,
        ))  # fmt: skip
        self._prompt_tokens = 0
        of_backends = {name: row for name, row in by_backend.items() if name is not None and any(row)}
        of_devices = {name: (used, UNKNOWN if busy is None else busy) for name, (used, busy) in now.devices.items()}
        self._add(self._backends, OF_BACKEND, of_backends)
        self._add(self._devices, OF_DEVICE, of_devices)

    def _take(self, backend: str | None, now: Moment) -> tuple[int, int, int, int]:
        """Give a backend's row, and begin anew."""
        counts, name = self._counts.pop(backend, None) or Counts(), backend or ""
        came = max(0, counts.tokens + now.streamed.get(name, 0))
        if counts.tokens != came:
            left = self._counts[backend] = Counts()
            left.tokens = counts.tokens - came
        return counts.ended, counts.failed, came, now.in_flight_by.get(name, 0)

    def _add(self, rows: "dict[str, Rows]", none: Mapping[str, float], found: Mapping[str, Iterable[float]]) -> None:
        """Add what was found to the rows of each name, or `none`; rows that have had none for long are dropped."""
        for name in found.keys() - rows.keys():
            if len(rows) < MOST_ROWS:
                rows[name] = Rows(none, self._most, len(self._all) - 1)
        for name, each in list(rows.items()):
            each.idle = 0 if name in found else each.idle + 1
            each.add(found.get(name, none.values()))
            if each.idle >= self._most:
                del rows[name]
                self._counts.pop(name, None)

    def told(self, since: float = 0.0, *, backends: bool = False) -> dict[str, Any]:
        """Give the samples that ended after `since`: a list for each series, with None where a figure isn't known."""
        last = len(self._all) - bisect_right(self._all.series["at"], since)
        return self._all.told(last) | {
            "devices": {name: each.told(last) for name, each in self._devices.items()},
            "backends": {name: each.told(last) for name, each in self._backends.items()} if backends else {},
        }


class Counts:
    """What has ended at a backend since the last sample.

    `tokens` are those that are in no sample yet. They are below 0 while samples have some of streams under way.
    """

    __slots__ = ("ended", "failed", "tokens")

    def __init__(self) -> None:
        self.ended = self.failed = self.tokens = 0


def has_failed(record: Record) -> bool:
    """Tell whether a request failed, and not by its client's doing: 5xx, no room for it (429), or an answer cut off."""
    return record.status >= 500 or record.status == TOO_MANY or (record.status < 400 and record.outcome != ANSWERED)


class Rows:
    """Series of equal length, which get a figure each with every sample; `idle` is for how many they had none."""

    def __init__(self, none: Mapping[str, float], most: int, missed: int = 0) -> None:
        """`none` has a figure for each series; it is that of the samples that were `missed`."""
        self._most = most
        self._has_gaps = {name for name, figure in none.items() if figure == UNKNOWN}
        self.series = {
            name: array("q" if isinstance(figure, int) else "d", [figure]) * missed for name, figure in none.items()
        }
        self.idle = 0

    def __len__(self) -> int:
        return len(next(iter(self.series.values())))

    def add(self, figures: Iterable[float]) -> None:
        """Add a figure to each, in their order."""
        for series, figure in zip(self.series.values(), figures, strict=True):
            series.append(figure)
            del series[: -self._most]

    def told(self, last: int) -> dict[str, Series]:
        """Give so many of the last figures of each."""
        return {name: self._told(name, series[len(series) - last :].tolist()) for name, series in self.series.items()}

    def _told(self, name: str, figures: Series) -> Series:
        return [None if each == UNKNOWN else each for each in figures] if name in self._has_gaps else figures


class Times:
    """Times to the first token, in seconds, since the last sample; of very many, some."""

    def __init__(self) -> None:
        self._kept: list[float] = []
        # Of so many, one is kept; and how many are passed over until the next one.
        self._of = 1
        self._skip = 0

    def add(self, time: float) -> None:
        """Add one."""
        if self._skip:
            self._skip -= 1
            return
        self._kept.append(time)
        if len(self._kept) > MOST_TIMES:
            del self._kept[1::2]
            self._of *= 2
        self._skip = self._of - 1

    def take(self) -> tuple[float, float]:
        """Give their median and their 99th percentile, and begin anew; UNKNOWN, of none."""
        kept, self._kept, self._of, self._skip = sorted(self._kept), [], 1, 0
        return (quantile(kept, 0.5), quantile(kept, 0.99)) if kept else (UNKNOWN, UNKNOWN)


def quantile(ordered: Sequence[float], share: float) -> float:
    """Give the least of these rising times that so many are no greater than. There is one at least."""
    return round(ordered[max(0, ceil(share * len(ordered)) - 1)], 4)
