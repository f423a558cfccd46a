"""The custom collector of prometheus-client: our families as its metrics, which it writes in both of its forms."""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client import Metric, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics_exposition
from prometheus_client.registry import Collector

from router.telemetry.families import Family
from router.telemetry.metrics import Histogram, Point

_AS_THEY_ARE: Final = "allow-utf-8"
"""Names are valid everywhere. Said so, they aren't looked at letter by letter."""


class OneFamily(Collector):
    """Collects one family, or a part of it."""

    def __init__(self, family: Family, points: Sequence[Point]) -> None:
        self._family = family
        self._points = points

    def collect(self) -> Iterator[Metric]:
        """Give the family."""
        family = self._family
        # A counter's name has its suffix in its samples alone.
        metric = Metric(family.name.removesuffix("_total"), family.meaning, family.kind)
        for values, figure in self._points:
            labels = dict(zip(family.labels, values, strict=True))
            if isinstance(figure, Histogram):
                _add(metric, labels, figure)
            else:
                metric.add_sample(family.name, labels, figure)
        yield metric


def _add(metric: Metric, labels: dict[str, str], histogram: Histogram) -> None:
    """Add the series of a histogram: each bucket counts what is in those below, too."""
    bucket, counts = f"{metric.name}_bucket", list(accumulate(histogram.counts))
    for bound, count in zip((*map(_bound, histogram.bounds), "+Inf"), counts, strict=True):
        metric.add_sample(bucket, {**labels, "le": bound}, count)
    metric.add_sample(f"{metric.name}_count", labels, counts[-1])
    metric.add_sample(f"{metric.name}_sum", labels, histogram.sum)


def _bound(bound: float) -> str:
    """Write a bound as a float, as Prometheus compares it."""
    return str(float(bound))


def text(family: Family, points: Sequence[Point]) -> bytes:
    """Write points of a family in Prometheus's own form."""
    return generate_latest(OneFamily(family, points), _AS_THEY_ARE)


def openmetrics(family: Family, points: Sequence[Point]) -> bytes:
    """Write them as OpenMetrics."""
    written: bytes = openmetrics_exposition.generate_latest(  # type: ignore[no-untyped-call]
        OneFamily(family, points), _AS_THEY_ARE
    )
    return written
