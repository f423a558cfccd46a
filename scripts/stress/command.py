"""A stress test from its flags to its exit code."""

import argparse
import asyncio
import csv
import datetime as dt
import gc
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from enum import Enum, auto
from pathlib import Path
from typing import Any

from rich.console import Console

from launchers.files import own_folder
from scripts.bench.results import this_machine
from scripts.instruments.client import LoadTarget
from scripts.instruments.processes import raise_file_limit
from scripts.stress import options, page, report, verdict
from scripts.stress.load import Asking, Stage
from scripts.stress.progress import watcher
from scripts.stress.results import Check, StressResults, write
from scripts.stress.run import StressRun, UnreachableError
from scripts.stress.tally import Outcome

if sys.platform != "win32":
    import uvloop

OK, BROKEN, WRONG, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: all bounds hold, one is broken, it could not begin, it was interrupted."""

_COLUMNS = ("step", "target", *Outcome._fields, "ttft", "tpot", "whole")


class StageOrder(Enum):
    """How a test's stages belong together."""

    STEPS = auto()  # of rising load: how much is carried at most?
    PARTS = auto()  # of the same load: what has drifted?
    ANY = auto()


Checks = Callable[[LoadTarget, Asking], AsyncIterator[Check]]


async def no_checks(_: LoadTarget, __: Asking) -> AsyncIterator[Check]:
    """Look at no behaviour."""
    return
    yield  # which makes it a generator


def start(
    asked: argparse.Namespace, stages: Sequence[Stage], *, checks: Checks = no_checks, of: StageOrder = StageOrder.ANY
) -> int:
    """Run the stages; print and write what was found. Gives the exit code."""
    console = Console() if sys.stdout.isatty() else Console(width=180)
    try:
        targets = {target: options.asking(asked, model) for target, model in options.targets(asked).items()}
        if asked.out:
            own_folder(asked.out)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG
    raise_file_limit()
    gc.freeze()  # imports are never garbage, so the collector need not look through them
    test = _Test(asked, targets, stages, checks, console)
    try:
        _loop(test.go())
    except UnreachableError as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG
    finally:
        test.close()
    results = test.results(of)
    if asked.out:
        write(results, asked.out / "results.json")
        (asked.out / "report.html").write_text(page.page(results), encoding="utf-8")
        console.print(f"Written to {asked.out}: results.json, requests.csv, report.html", highlight=False)
    report.show(results, console)
    if results.interrupted:
        return INTERRUPTED
    return OK if all(bound.holds for bound in results.bounds) else BROKEN


def _loop(work: Coroutine[Any, Any, None]) -> None:
    if sys.platform == "win32":
        asyncio.run(work)
    else:
        uvloop.run(work)


class _Test:
    """One run with its surroundings: the terminal, requests.csv, Ctrl-C."""

    def __init__(
        self,
        asked: argparse.Namespace,
        targets: dict[LoadTarget, Asking],
        stages: Sequence[Stage],
        checks: Checks,
        console: Console,
    ) -> None:
        self._asked = asked
        self._targets = targets
        self._stages = stages
        self._checks = checks
        self._watcher = watcher(console, plain=asked.plain)
        self._csv = _Csv(asked.out / "requests.csv") if asked.out else None
        self._run: StressRun | None = None
        self._interrupted = False
        self._begin = time.perf_counter()

    async def go(self) -> None:
        """Run all, until the end or Ctrl-C. Raises UnreachableError."""
        asked = self._asked
        run = self._run = StressRun(
            self._targets, seed=asked.seed, slo=asked.slo, watcher=self._watcher, told=self._csv or _nobody
        )
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  (a coroutine that runs is a task's)
        with _cancelled_by_signals(task), suppress(asyncio.CancelledError):
            self._interrupted = True  # until the end is reached
            await run.greet()
            base, asking = next(iter(self._targets.items()))
            async for check in self._checks(base, asking):
                run.checks.append(check)
                self._watcher.say(f"{check.state}: {check.name}: {check.detail}")
            await run.stages(self._stages, asked.rounds or (2 if asked.compare else 1))
            self._interrupted = False

    def close(self) -> None:
        """Close what is open."""
        self._watcher.close()
        if self._csv:
            self._csv.close()

    def results(self, of: StageOrder) -> StressResults:
        """Give what was found, whether it came to the end or not."""
        run, asked = self._run, self._asked
        assert run is not None  # noqa: S101  (it was begun)
        drifts = [
            each for name in self._targets for each in verdict.drifts(run.steps, name.name) if of is StageOrder.PARTS
        ]
        asked_for = {
            "p99 of TTFT, s": asked.max_p99_ttft,
            "p99 between tokens, s": asked.max_p99_gap,
            "failures": asked.max_failures,
            "drift": asked.max_drift,
        }
        return StressResults(
            tool=Path(sys.argv[0]).stem,
            date=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            command=options.command(sys.argv),
            seed=asked.seed,
            interrupted=self._interrupted,
            seconds=time.perf_counter() - self._begin,
            targets={target.name: target.url for target in self._targets},
            machine={name: str(value) for name, value in asdict(this_machine()).items()},
            options=options.shown(asked),
            steps=run.steps,
            samples=run.sampler.samples,
            checks=run.checks,
            ratios=verdict.ratios(run.found),
            drifts=drifts,
            bounds=verdict.bounds(run.steps, run.checks, drifts, asked_for),
            findings=verdict.findings(run.steps, asked.slo if of is StageOrder.STEPS else None),
        )


def _nobody(_: int, __: LoadTarget, ___: Outcome) -> None:
    """Ignore an outcome."""


class _Csv:
    """requests.csv: a line for each request, written as it ends. Times are in seconds from the first one's."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", newline="", encoding="utf-8")
        self._rows = csv.writer(self._file)
        self._rows.writerow(_COLUMNS)
        self._start: float | None = None

    def __call__(self, step: int, target: LoadTarget, one: Outcome) -> None:
        """Write a line."""
        if self._start is None:
            self._start = one.due
        start = self._start
        after = [None if at is None else round(at - start, 6) for at in one[:5]]
        times = (None if value is None else round(value, 6) for value in (one.ttft, one.tpot, one.whole))
        self._rows.writerow([step, target.name, *after, *one[5:], *times])

    def close(self) -> None:
        """End the file."""
        self._file.close()


@contextmanager
def _cancelled_by_signals(task: asyncio.Task[object]) -> Iterator[None]:
    """Let the first Ctrl-C or SIGTERM cancel the task; the second acts as usual."""
    loop, signals = asyncio.get_running_loop(), (signal.SIGINT, signal.SIGTERM)

    def once() -> None:
        for number in signals:
            loop.remove_signal_handler(number)
        task.cancel()

    with suppress(NotImplementedError):  # on Windows, where asyncio.run does it for Ctrl-C
        for number in signals:
            loop.add_signal_handler(number, once)
    try:
        yield
    finally:
        with suppress(NotImplementedError):
            for number in signals:
                loop.remove_signal_handler(number)
