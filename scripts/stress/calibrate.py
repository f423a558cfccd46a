"""Measures what the load generator itself adds, and how true its figures are, on this machine.

    python -m scripts.stress.calibrate          2,000 streams at 20 events/s each; then known times, with a stall

An engine of known times (scripts/stress/engine.py), on a core of its own where there are two, writes into each event
the moment of writing. The time from there to the generator's note of it is what kernel and generator added. Then the
engine answers after 100 ms, with 10 ms between tokens, and stalls for a second: the report is compared with its
moments.
"""

import argparse
import contextlib
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import uvloop
from rich.console import Console

from scripts.instruments.client import LoadTarget
from scripts.instruments.processes import cores, free_port, pinned, raise_file_limit, running
from scripts.instruments.statistics import Histogram
from scripts.stress import options, units
from scripts.stress.answer import RecordTime, WatchedAnswer
from scripts.stress.distribution import Distribution
from scripts.stress.engine import KnownTimes
from scripts.stress.load import Asking, Stage
from scripts.stress.meter import Meter
from scripts.stress.progress import watcher
from scripts.stress.results import Spread
from scripts.stress.run import StressRun
from scripts.stress.shapes import Shape

_CORES = cores()
_MOST_ADDED = 0.005
_MOST_WRONG = 0.03
_TICK = 0.001
_KNOWN = KnownTimes(first=0.1, gap=0.01, events=20)
_STALL_AFTER, _STALL, _RATE, _SECONDS = 4.0, 1.0, 100.0, 8.0

_MARK = b'"content":"'
_added = Histogram()
_answers: list["Stamped"] = []


class Stamped(WatchedAnswer):
    """An answer whose events say when they were written."""

    __slots__ = ("written",)

    def __init__(self, due: float, meter: Meter, gaps: Callable[[str], RecordTime], leave_after: int = 0) -> None:
        super().__init__(due, meter, gaps, leave_after)
        self.written: list[float] = []
        _answers.append(self)

    def _event(self, line: bytes, now: float) -> None:
        super()._event(line, now)
        at = line.find(_MARK)
        if at > 0:
            written = float(line[at + len(_MARK) :][:16])
            self.written.append(written)
            _added.record(max(0.0, now - written))


@contextlib.contextmanager
def _engine(times: KnownTimes, stall_after: float = 0.0) -> Iterator[tuple[str, KnownTimes]]:
    """Run an engine on the last core; give its URL, and its times with the moment of its stall."""
    port = free_port()
    command = [sys.executable, "-m", "scripts.stress.engine", "--port", str(port), "--events", str(times.events)]
    command += ["--first", f"{times.first * 1000:g}ms", "--gap", f"{times.gap * 1000:g}ms"]
    command += ["--stall-after", f"{stall_after:g}s", "--stall", f"{times.stall:g}s"]

    def answers() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        return False

    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "engine.log"
        with running(command, _CORES[-1], answers, log):
            stall_at = float(log.read_text().split()[0])
            yield f"http://127.0.0.1:{port}", KnownTimes(times.first, times.gap, times.events, stall_at, times.stall)


async def _measured(url: str, stage: Stage) -> StressRun:
    run = StressRun(
        {LoadTarget("engine", url): Asking("paced")}, seed=1, slo=None, answers=Stamped,
        watcher=watcher(Console(), plain=False),
    )  # fmt: skip
    await run.stages([stage], 1)
    return run


def _streams(streams: int, rate: float, seconds: float) -> bool:
    # A stream lasts half the time, and enough begin each second that all are there at once.
    events = round(seconds * rate / 2)
    shape = Shape(answer=Distribution("constant", events))
    stage = Stage(shape, seconds, rate=streams / (events / rate), arrivals="constant")
    with _engine(KnownTimes(first=0.1, gap=1 / rate, events=events)) as (url, _):
        run = uvloop.run(_measured(url, stage))
    (step,) = run.steps
    lost = step.requests.all * events - step.tokens
    most = max(sample.in_flight for sample in run.sampler.samples)
    p50, p99, p999 = _added.percentiles([0.5, 0.99, 0.999])
    print(
        f"\n{most:,} streams at once at most, {step.tokens:,} events, {lost} lost, {step.requests.failed} failed\n"
        f"added: p50 {units.time(p50)}, p99 {units.time(p99)}, p99.9 {units.time(p999)}, {units.time(_added.most)} at "
        f"most; the generator used {step.generator.cpu:.0%} of its core, and was late by "
        f"{units.time(step.generator.lag.p99)} at p99\n"
    )
    return not lost and not step.requests.failed and p99 < _MOST_ADDED


def _truth() -> bool:
    _answers.clear()  # those of the streams
    stage = Stage(Shape(), _SECONDS, rate=_RATE, arrivals="constant")
    with _engine(_KNOWN._replace(stall=_STALL), _STALL_AFTER) as (url, times):
        (step,) = uvloop.run(_measured(url, stage)).steps
    first, gaps, whole = Histogram(), Histogram(), Histogram()
    for one in _answers:
        first.record(one.written[0] - one.due)
        whole.record(one.written[-1] - one.due)
        for earlier, later in pairwise(one.written):
            gaps.record(later - earlier)
    print("\nreported, and the truth: when the engine wrote it")
    pairs = (
        ("TTFT", step.times.ttft, first),
        ("between tokens", step.times.gap, gaps),
        ("whole", step.times.whole, whole),
    )
    worst = max([_wrong(name, spread, truth) for name, spread, truth in pairs])
    held = [one for one in _answers if times.due(one.due, 0) > one.due + _KNOWN.first]
    shown = sum(one.first >= times.due(one.due, 0) - _TICK for one in held)
    print(f"the stall held {len(held)} requests, and shows in {shown} of them; {step.requests.failed} failed\n")
    return worst < _MOST_WRONG and shown == len(held) > 0 and not step.requests.failed


def _wrong(name: str, spread: Spread, truth: Histogram) -> float:
    """Print and give the largest error of a percentile, as a share."""
    worst, words = 0.0, []
    for label, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        seen, true = getattr(spread, label), truth.percentile(share)
        worst = max(worst, abs(seen / true - 1))
        words.append(f"{label} {units.time(seen)}, {units.time(true)} ({seen / true - 1:+.1%})")
    print(f"  {name}: {'; '.join(words)}")
    return worst


def main() -> int:
    """Measure; give 1 if anything was lost, p99 of the added time is above 5 ms, or a percentile is wrong by 3 %."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=2000, metavar="N", help="at a time (default: 2000)")
    parser.add_argument("--rate", type=float, default=20.0, metavar="R", help="events/s of a stream (default: 20)")
    parser.add_argument("--duration", type=options.seconds, default=20.0, metavar="TIME", help="(default: 20s)")
    asked = parser.parse_args()
    raise_file_limit()
    with pinned(_CORES[:1]):
        begin = time.perf_counter()
        held = [_streams(asked.streams, asked.rate, asked.duration), _truth()]
        print(f"all of it took {units.time(time.perf_counter() - begin)}: {'it holds' if all(held) else 'IT BREAKS'}")
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
