"""What the load generator itself adds, on this machine.

    python -m scripts.stress.calibrate                     2,000 streams at 20 events/s each, for 20 s

An engine of known times (scripts/stress/engine.py), on a core of its own where there are two, writes into each event
when it wrote it. From then to when the generator took note of it is what kernel and generator added.
"""

import argparse
import contextlib
import socket
import sys
import tempfile
import time
from pathlib import Path

import uvloop
from rich.console import Console

from scripts.bench_processes import cores, free_port, pinned, raise_file_limit, running
from scripts.stress import options, units
from scripts.stress.client import Target
from scripts.stress.distribution import Distribution
from scripts.stress.histogram import Histogram
from scripts.stress.load import Asking, Stage
from scripts.stress.progress import watcher
from scripts.stress.results import Step
from scripts.stress.run import Run
from scripts.stress.shapes import Shape
from scripts.stress.wire import Answer

_MARK = b'"content":"'
_added = Histogram()


class Stamped(Answer):
    """An answer whose events say when they were written."""

    __slots__ = ()

    def _event(self, line: bytes, now: float) -> None:
        super()._event(line, now)
        at = line.find(_MARK)
        if at > 0:
            _added.record(max(0.0, now - float(line[at + len(_MARK) :][:16])))


async def _measure(url: str, streams: int, rate: float, duration: float) -> Step:
    events = round(duration * rate / 2)  # a stream lasts half the time; so many begin a second that all are there
    shape = Shape(answer=Distribution("constant", events))
    run = Run(
        {Target("engine", url): Asking("paced")}, seed=1, slo=None, answers=Stamped,
        watcher=watcher(Console(), plain=False),
    )  # fmt: skip
    await run.stages([Stage(shape, duration, rate=streams / (events / rate), arrivals="constant")], 1)
    most = max(sample.in_flight for sample in run.sampler.samples)
    print(f"\n{most:,} streams at once at most, {run.steps[0].tokens:,} events, {run.steps[0].requests.failed} failed")
    return run.steps[0]


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def main() -> int:
    """Measure; 1 if anything was lost, or more than 5 ms were added at p99."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=2000, metavar="N", help="at a time (default: 2000)")
    parser.add_argument("--rate", type=float, default=20.0, metavar="R", help="events/s of a stream (default: 20)")
    parser.add_argument("--duration", type=options.seconds, default=20.0, metavar="TIME", help="(default: 20s)")
    asked = parser.parse_args()
    raise_file_limit()
    available, port = cores(), free_port()
    events = round(asked.duration * asked.rate / 2)
    command = [sys.executable, "-m", "scripts.stress.engine", "--port", str(port), "--events", str(events)]
    command += ["--first", "100ms", "--gap", f"{1000 / asked.rate:g}ms"]
    with (
        tempfile.TemporaryDirectory() as folder,
        pinned(available[:1]),
        running(command, available[-1], lambda: _answers(port), Path(folder) / "engine.log"),
    ):
        begin = time.perf_counter()
        step = uvloop.run(_measure(f"http://127.0.0.1:{port}", asked.streams, asked.rate, asked.duration))
        took = time.perf_counter() - begin
    whole = step.requests.all * events == step.tokens
    p50, p99, p999 = _added.percentiles([0.5, 0.99, 0.999])
    print(
        f"added: p50 {units.time(p50)}, p99 {units.time(p99)}, p99.9 {units.time(p999)}, at most "
        f"{units.time(_added.most)}\n"
        f"{step.generator.cpu:.0%} of a core, late by {units.time(step.generator.lag.p99)} at p99, "
        f"{step.tokens / took:,.0f} events/s; {'nothing' if whole else 'SOMETHING'} was lost"
    )
    return 0 if whole and not step.requests.failed and p99 < 0.005 else 1


if __name__ == "__main__":
    sys.exit(main())
