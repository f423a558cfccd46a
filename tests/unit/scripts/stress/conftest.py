"""Steps that were never run, for tests of what is made of them."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from scripts.instruments.statistics import Histogram
from scripts.stress import verdict
from scripts.stress.results import Check, ProcessResult, Sample, StepResult, StressResults
from scripts.stress.tally import Outcome, Slo, StepFigures


@pytest.fixture
def make_step() -> Callable[..., StepResult]:
    """Give a function that makes a step of figures, all else as plain as can be, but for what is named."""

    def make(figures: StepFigures, **changes: Any) -> StepResult:
        fields: dict[str, Any] = {
            "name": "1 client", "target": "base", "round": 1, "clients": 1, "rate": 0.0, "begin": 0.0, "seconds": 10.0,
            "requests": verdict.requests(figures), "failures": dict(figures.failures), "examples": figures.examples,
            "requests_per_second": figures.ok / 10, "tokens": figures.tokens, "tokens_per_second": figures.tokens / 10,
            "goodput": None, "times": verdict.times(figures), "curves": verdict.curves(figures),
            "backends": verdict.backends({"demo": figures}), "generator": verdict.generator(0.1, Histogram()),
            "server": None, "children": None,
        }  # fmt: skip
        return StepResult(**fields | changes)

    return make


@pytest.fixture
def finished(make_step: Callable[..., StepResult]) -> StressResults:
    """Give what a run with a failure, another target and a check found."""
    figures = StepFigures()
    for number in range(100):
        kind = "timeout" if number == 99 else ""
        times = (0.0, 0.0, 0.1 + number / 1000, 1.0, 1.1)
        figures.count(Outcome(*times, kind, "<b>late</b>" * len(kind), 200, True, 10, 5, "demo", 0.002), Slo(ttft=0.15))
        figures.gap.record(0.01)
    process = ProcessResult(0.5, 1e6, 2e6, 3e6)
    good = verdict.goodput(figures, 10.0)
    steps = [
        make_step(figures, target=name, goodput=good, server=process, children=process) for name in ("base", "<other>")
    ]
    rounds = [(figures, 10.0)]
    samples = [Sample(float(at), 1.0, 0, 1, 0, 10, at % 2, 100, 0.1, 0.1) for at in range(1, 20)]
    samples[5:] = [msgspec.structs.replace(each, server_cpu=0.5, server_memory=1e6) for each in samples[5:]]
    checks = [Check("a stream's form", "base", "passed", "40 events")]
    return StressResults(
        tool="concurrent_test", date="2026-01-01T00:00:00+00:00", command="concurrent_test.py", seed=1,
        interrupted=False, seconds=20.0, targets={"base": "http://a", "<other>": "http://b"},
        machine={"cpu": "A CPU"}, options={"clients": "[1]"}, steps=steps, samples=samples, checks=checks,
        ratios=verdict.ratios({("1 client", step.target): rounds for step in steps}),
        drifts=verdict.drifts(steps * 2, "base"),
        bounds=verdict.bounds(steps, checks, [], {"p99 of TTFT, s": 0.1, "failures": 5}),
        findings=verdict.findings(steps, Slo(ttft=0.15)),
    )  # fmt: skip
