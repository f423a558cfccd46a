"""What each second looked like, and what the load generator itself cost in it."""

import asyncio
import statistics
import time
from collections.abc import Callable

import msgspec

from scripts.instruments.statistics import Histogram
from scripts.stress.machine import Used, Watch
from scripts.stress.meter import Meter
from scripts.stress.results import ProcessResult, Sample

_PROBE = 0.005
"""Seconds between two looks at how late the loop is. Its timers round to 1 ms, so that much is always there."""

_MOST = 2000
"""Samples that are kept at most: each two become one then, whose counts are those of both."""

_COUNTS = ("seconds", "ended", "failed", "tokens")


async def probe(lag: Histogram) -> None:
    """Record how late the loop comes back to what is ready, until cancelled."""
    while True:
        asked = time.perf_counter()
        await asyncio.sleep(_PROBE)
        lag.record(max(0.0, time.perf_counter() - asked - _PROBE))


def coarser(samples: list[Sample]) -> list[Sample]:
    """Make one sample of each two neighbours of a step."""
    found: list[Sample] = []
    for index, sample in enumerate(samples):
        before = samples[index - 1]
        if index % 2 and before.step == sample.step:
            found[-1] = _merged(before, sample)
        else:
            found.append(sample)
    return found


def _merged(before: Sample, sample: Sample) -> Sample:
    counts = {name: getattr(before, name) + getattr(sample, name) for name in _COUNTS}
    return msgspec.structs.replace(sample, **counts, ttft=sample.ttft or before.ttft)


class Sampler:
    """Takes samples of a run; `step` is the index of the step under way. `told` hears of each."""

    def __init__(self, meter: Meter, every: float, told: Callable[[Sample, Meter], None]) -> None:
        self.step = 0
        self.watch: Watch | None = None
        self.samples: list[Sample] = []
        self.meter = meter
        self.start = self._at = time.perf_counter()
        self._every = every
        self._told = told
        self._before = self._counts()
        self._cpu = time.process_time()
        self._used: tuple[Used, Used] | None = None

    async def begin(self, step: int, watch: Watch) -> None:
        """Begin a step."""
        self.step, self.watch = step, watch
        await asyncio.to_thread(watch.look)
        self.meter.ttft = Histogram()
        self._take()  # ends what was before, which belongs to no step

    def end(self) -> None:
        """End a step. Its last sample, where it is a short one, becomes part of the one before."""
        self._tell()
        if len(self.samples) > 1:
            before, last = self.samples[-2:]
            if before.step == last.step and last.seconds < self._every / 2:
                self.samples[-2:] = [_merged(before, last)]

    async def run(self) -> None:
        """Take samples until cancelled."""
        while True:
            await asyncio.sleep(max(0.01, self._at + self._every - time.perf_counter()))
            if self.watch is not None and time.perf_counter() > self._at + self._every / 2:  # else a step has begun
                await asyncio.to_thread(self.watch.look)
                self._tell()

    def _tell(self) -> None:
        sample = self._take()
        self.samples.append(sample)
        if len(self.samples) > _MOST:
            self.samples[:] = coarser(self.samples)
        self._told(sample, self.meter)

    def _counts(self) -> tuple[int, int, int]:
        return self.meter.ended, self.meter.failed, self.meter.tokens

    def _take(self) -> Sample:
        now, cpu, counts, first = time.perf_counter(), time.process_time(), self._counts(), self.meter.take_recent()
        took = max(now - self._at, 1e-6)
        ended, failed, tokens = (new - old for new, old in zip(counts, self._before, strict=True))
        sample = Sample(
            at=now - self.start,
            seconds=took,
            step=self.step,
            in_flight=self.meter.in_flight,
            waiting=self.meter.waiting,
            ended=ended,
            failed=failed,
            tokens=tokens,
            ttft=statistics.median(first) if first else None,
            generator_cpu=(cpu - self._cpu) / took,
        )
        self._look_at_server(sample)
        self._at, self._cpu, self._before = now, cpu, counts
        return sample

    def _look_at_server(self, sample: Sample) -> None:
        before, self._used = self._used, None
        if self.watch is None or not self.watch.found:
            return
        server, children = self._used = self.watch.server(), self.watch.children()
        sample.server_memory, sample.children_memory = server.memory, children.memory
        if before is not None:  # a process that came or went since would count whole
            sample.server_cpu = max(0.0, server.cpu - before[0].cpu) / sample.seconds
            sample.children_cpu = max(0.0, children.cpu - before[1].cpu) / sample.seconds


def processes(samples: list[Sample]) -> tuple[ProcessResult | None, ProcessResult | None]:
    """Sum up what the server and its children used in these samples."""
    server = _process([(s.seconds, s.server_cpu, s.server_memory) for s in samples])
    return server, _process([(s.seconds, s.children_cpu, s.children_memory) for s in samples])


def _process(readings: list[tuple[float, float | None, float | None]]) -> ProcessResult | None:
    memory = [each for _, _, each in readings if each]
    if not memory:
        return None
    spent = [(seconds, cpu) for seconds, cpu, _ in readings if cpu is not None]
    total = sum(seconds for seconds, _ in spent)
    cpu = sum(seconds * cpu for seconds, cpu in spent) / total if total else 0.0
    return ProcessResult(cpu=cpu, memory_begin=memory[0], memory_end=memory[-1], memory_most=max(memory))
