"""Measures what /metrics costs: a scrape, for how long it holds the event loop, and the counting of a request.

    python -m scripts.bench.scrape                    2,000 series
    python -m scripts.bench.scrape --series 20000

The modules are as they are: compiled (`make fast`), or as they stand. Times are the thread's CPU time, which other work
on the machine changes little.
"""

import argparse
import asyncio
import time
from functools import partial
from itertools import cycle, islice
from statistics import median

import uvloop

from router.core.ending import Ending
from router.core.record import Record
from router.telemetry.exposition import exposition
from router.telemetry.metrics import Metrics
from scripts.bench.pick import micros

ROUNDS = 15
STREAM = partial(
    Record, id="id", path="/v1/chat/completions", model="model 0", backend="box 0", status=200, outcome="answered",
    attempts=1, ttft=0.25, duration=1.0, sent=9000, events=64, tail=b"", key="a",
)  # fmt: skip
SAID = Ending(40, 64, "stop", error=False, cached_tokens=30)


class Names:
    """Names that mean themselves."""

    now = object()

    def meant(self, asked: str, backend: str | None) -> tuple[str, str]:  # noqa: ARG002
        """Give the model and no route."""
        return asked, ""


def filled(series: int) -> tuple[Metrics, int]:
    """Make metrics of so many series at least; tell how many they are."""
    metrics, made, pair = Metrics(Names()), 0, 0
    while made < series:
        metrics.ended(STREAM(model=f"model {pair}", backend=f"box {pair}"), SAID)
        pair += 1
        made = sum(
            len(points) * (len(family.buckets) + 3 if family.buckets else 1) for family, points in metrics.points()
        )
    return metrics, made


async def scrapes(metrics: Metrics, *, openmetrics: bool) -> tuple[float, float, int]:
    """Give the milliseconds of a scrape, for how many it holds the loop at most, and its bytes: medians."""
    took, held, size = [], [], 0
    longest = 0.0

    async def others() -> None:
        nonlocal longest
        last = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            longest, last = max(longest, now - last), now

    await exposition([], openmetrics=openmetrics)  # the first one imports what writes it
    task = asyncio.create_task(others())
    for _ in range(ROUNDS):
        await asyncio.sleep(0.01)
        longest, began = 0.0, time.thread_time()
        size = len(await exposition(metrics.points(), openmetrics=openmetrics))
        took.append((time.thread_time() - began) * 1000)
        held.append(longest * 1000)
    task.cancel()
    return median(took), median(held), size


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--series", type=int, default=2000)
    metrics, made = filled(parser.parse_args().series)
    for name, openmetrics in (("Prometheus's text", False), ("OpenMetrics", True)):
        took, held, size = uvloop.run(scrapes(metrics, openmetrics=openmetrics))
        print(
            f"{name}: {made} series, {size / 1000:.0f} kB in {took:.1f} ms; the loop is held for {held:.1f} ms at most"
        )
    for name, events in (("a stream", 64), ("an answer in one piece", 0)):
        some = cycle([STREAM(events=events, duration=0.1 * n, ttft=0.01 * n) for n in range(1, 100)])

        def count(some: "cycle[Record]" = some) -> None:
            for each in islice(some, 100):
                metrics.ended(each, SAID)

        print(f"to count {name}: {micros(count, 100) / 100:.2f} µs")


if __name__ == "__main__":
    main()
