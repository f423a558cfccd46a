"""A run: each stage against each target, in turns; what was found so far is there at any time, and after Ctrl-C."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from scripts.instruments.answers import TimedAnswer
from scripts.instruments.client import ClientPool, LoadTarget
from scripts.instruments.statistics import Histogram
from scripts.stress import verdict
from scripts.stress.answer import WatchedAnswer
from scripts.stress.load import Asking, Stage, StageLoad
from scripts.stress.machine import Watch
from scripts.stress.meter import Meter
from scripts.stress.progress import ProgressWatcher
from scripts.stress.results import Check, StepResult
from scripts.stress.sampler import Sampler, probe, processes
from scripts.stress.shapes import DrawnRequest
from scripts.stress.tally import Outcome, Slo, StepFigures, Tally

_SAMPLE_EVERY = 0.5

Told = Callable[[int, LoadTarget, Outcome], None]


class UnreachableError(Exception):
    """A target that doesn't answer, or not well, before anything is measured."""


class StressRun:
    """Runs stages. `targets` are asked in this order, each for a model of its own; `told` hears of each outcome."""

    def __init__(
        self,
        targets: Mapping[LoadTarget, Asking],
        *,
        seed: int,
        slo: Slo | None,
        watcher: ProgressWatcher,
        told: Told = lambda *_: None,
        answers: type[WatchedAnswer] = WatchedAnswer,
    ) -> None:
        self.steps: list[StepResult] = []
        self.checks: list[Check] = []
        self.found: defaultdict[tuple[str, str], list[tuple[StepFigures, float]]] = defaultdict(list)  # for `ratios`
        self.sampler = Sampler(Meter(), _SAMPLE_EVERY, watcher.sample)
        self._targets = targets
        self._pools = {target: ClientPool(target) for target in targets}
        self._watches = {target: Watch(target.host, target.port) for target in targets}
        self._seed = seed
        self._slo = slo
        self._watcher = watcher
        self._told = told
        self._answers = answers

    async def greet(self) -> None:
        """Ask each target for one short answer, which isn't counted. Raises UnreachableError."""
        hello = DrawnRequest(({"role": "user", "content": "Hello"},), 1, stream=False, leave_after=0, think=0)
        for target, asking in self._targets.items():
            answer = TimedAnswer(time.perf_counter())
            request = target.request("POST", f"/v1/{asking.endpoint}", asking.body(hello))
            await self._pools[target].ask(request, answer, asking.timeout)
            if answer.failure:
                raise UnreachableError(f"{target.url} can't be measured: {answer.failure}: {answer.detail}")

    async def stages(self, stages: Sequence[Stage], rounds: int) -> None:
        """Run them: a stage against each target in turn, so many rounds of it, then the next stage."""
        sampling = asyncio.create_task(self.sampler.run())
        try:
            for number, stage in enumerate(stages):
                for turn in range(rounds):
                    for target in self._targets:
                        await self._stage(stage, target, turn + 1, f"{self._seed}/{number}/{turn}")
        finally:
            sampling.cancel()
            for pool in self._pools.values():
                pool.close()

    async def _stage(self, stage: Stage, target: LoadTarget, turn: int, seed: str) -> None:
        tally, index, lag, sampler = Tally(self._slo or Slo()), len(self.steps), Histogram(), self.sampler

        def told(one: Outcome) -> None:
            self._watcher.ended(one)
            self._told(index, target, one)

        title = stage.name if len(self._targets) == 1 else f"{stage.name}, {target.name}, round {turn}"
        self._watcher.begin(title, stage.seconds)
        await sampler.begin(index, self._watches[target])
        first_sample, begin, cpu = len(sampler.samples), time.perf_counter(), time.process_time()
        window = _Window(sampler.meter, stage.seconds)
        probing = asyncio.create_task(probe(lag))
        load = StageLoad(self._pools[target], self._targets[target], tally, sampler.meter, told, self._answers)
        checks: list[Check] = []
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(load.run(stage, seed))
                group.create_task(_during(stage, target, checks))
        finally:
            probing.cancel()
            window.close()
            took = time.perf_counter() - begin
            sampler.end()
            figures = tally.all()
            if len(self._targets) > 1:
                self.found[stage.name, target.name].append((figures, took))
            self.checks += [verdict.unharmed(check, figures) for check in checks]
            server, children = processes(sampler.samples[first_sample:])
            self.steps.append(
                StepResult(
                    name=stage.name,
                    target=target.name,
                    round=turn,
                    clients=stage.clients,
                    rate=stage.rate,
                    begin=begin - sampler.start,
                    seconds=window.seconds,
                    requests=verdict.requests(figures),
                    failures=dict(figures.failures),
                    examples=figures.examples,
                    requests_per_second=window.ended / window.seconds,
                    tokens=figures.tokens,
                    tokens_per_second=window.tokens / window.seconds,
                    goodput=verdict.goodput(figures, took) if self._slo else None,
                    times=verdict.times(figures),
                    curves=verdict.curves(figures),
                    backends=verdict.backends(tally.backends),
                    generator=verdict.generator((time.process_time() - cpu) / took, lag),
                    server=server,
                    children=children,
                )
            )
            self._watcher.finish(self.steps[-1])


class _Window:
    """What the meter counted from now on, until so many seconds later, or until it is closed."""

    def __init__(self, meter: Meter, seconds: float) -> None:
        self._meter = meter
        self._begin = time.perf_counter(), meter.ended, meter.tokens
        self._timer = asyncio.get_running_loop().call_later(seconds, self.close)
        self._closed = False
        self.seconds = self.ended = self.tokens = 0.0

    def close(self) -> None:
        """Count no more."""
        if not self._closed:
            begin, ended, tokens = self._begin
            self._closed = True
            self._timer.cancel()
            self.seconds = max(time.perf_counter() - begin, 1e-6)
            self.ended, self.tokens = self._meter.ended - ended, self._meter.tokens - tokens


async def _during(stage: Stage, target: LoadTarget, checks: list[Check]) -> None:
    if stage.during is not None:
        await asyncio.sleep(stage.seconds / 2)
        checks.append(await stage.during(target))
