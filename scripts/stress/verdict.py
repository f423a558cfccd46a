"""What figures mean: who was in the way, how many clients are carried, what drifts, which bound is broken."""

import math
from collections.abc import Iterable, Mapping, Sequence

from scripts.instruments.statistics import Histogram
from scripts.stress.results import (
    BackendResult,
    Bound,
    Check,
    Curves,
    Drift,
    Generator,
    Goodput,
    Ratio,
    Requests,
    Spread,
    StepResult,
    Times,
)
from scripts.stress.tally import Slo, StepFigures, added

_BUSY = 0.85
"""Share of a core from which on the generator, one thread, is taken for the bottleneck."""

_LATE = 0.005
"""Seconds that it may be late at its 99th percentile."""

_CARRIED = 0.99
"""Share of the answers that must be good for a load to be carried."""


def spread(histogram: Histogram) -> Spread:
    """Say how values are spread."""
    p10, p50, p90, p95, p99, p999 = histogram.percentiles([0.1, 0.5, 0.9, 0.95, 0.99, 0.999])
    least = histogram.least if histogram.count else 0.0
    return Spread(histogram.count, histogram.mean, least, p10, p50, p90, p95, p99, p999, histogram.most)


def times(figures: StepFigures) -> Times:
    """Say it of each time."""
    return Times(**{name: spread(getattr(figures, name)) for name in Times.__struct_fields__})


def curves(figures: StepFigures) -> Curves:
    """Give what is plotted."""
    return Curves(ttft=figures.ttft.curve(), gap=figures.gap.curve())


def requests(figures: StepFigures) -> Requests:
    """Say what came of requests."""
    return Requests(figures.requests, figures.ok, figures.left, figures.failed, figures.interrupted)


def goodput(figures: StepFigures, seconds: float) -> Goodput:
    """Say how many answers were good, in so many seconds."""
    judged = figures.ok + figures.failed
    return Goodput(per_second=figures.good / seconds, share=figures.good / judged if judged else 0.0)


def backends(found: Mapping[str, StepFigures]) -> dict[str, BackendResult]:
    """Say what each backend did."""
    total = sum(figures.requests for figures in found.values())
    return {
        name: BackendResult(
            requests=requests(figures),
            share=figures.requests / max(1, total),
            tokens=figures.tokens,
            failures=dict(figures.failures),
            ttft=spread(figures.ttft),
            gap=spread(figures.gap),
        )
        for name, figures in sorted(found.items())
    }


def unharmed(check: Check, figures: StepFigures) -> Check:
    """Say of something that was done under load whether requests failed with it; what was skipped harmed none."""
    if check.state == "skipped":
        return check
    state = "failed" if figures.failed else check.state
    return Check(check.name, check.target, state, f"{check.detail}; {figures.failed} of {figures.requests} failed")


def generator(cpu: float, lag: Histogram) -> Generator:
    """Say what the load generator cost, and whether it, not the target, was the bottleneck."""
    late = spread(lag)
    return Generator(cpu=cpu, lag=late, warning=_warning(cpu, late))


def _warning(cpu: float, lag: Spread) -> str:
    if cpu > _BUSY:
        return f"the load generator used {cpu:.0%} of its core: times are its own, too; use less load or a faster core"
    if lag.p99 > _LATE:
        return f"the load generator was late by {lag.p99 * 1000:.1f} ms at p99: times are too long by up to that"
    return ""


def carried(steps: Sequence[StepResult], target: str) -> StepResult | None:
    """Give the heaviest step whose answers, and those of all lighter ones, were good: 99 of 100 within the bounds."""
    mine = sorted((step for step in steps if step.target == target), key=lambda step: (step.clients, step.rate))
    broken = [step for step in mine if step.goodput is None or step.goodput.share < _CARRIED]
    least = (broken[0].clients, broken[0].rate) if broken else (math.inf, math.inf)
    return max(
        (step for step in mine if (step.clients, step.rate) < least),
        key=lambda step: (step.clients, step.rate),
        default=None,
    )


def findings(steps: Sequence[StepResult], slo: Slo | None) -> list[str]:
    """Say in sentences what each target carries (`slo`: if asked for), and whether the generator was in the way."""
    found = []
    for target in dict.fromkeys(step.target for step in steps) if slo else ():
        heaviest = carried(steps, target)
        what = f"carries {heaviest.name}" if heaviest else "doesn't carry the lightest load"
        found.append(f"{target} {what}: 99 of 100 answers within {slo}.")
    warned = [step for step in steps if step.generator.warning]
    if warned:
        worst = max(warned, key=lambda step: (step.generator.cpu > _BUSY, step.generator.lag.p99))
        found.append(
            f"Not the target alone was measured in {len(warned)} of {len(steps)} steps. In the worst, {worst.name}, "
            f"{worst.generator.warning}."
        )
    return found


def _ratio(first: float, other: float) -> float | None:
    return other / first if first else None


def _compared(figures: StepFigures, seconds: float) -> dict[str, float]:
    return {
        "TTFT p50, s": figures.ttft.percentile(0.5),
        "TTFT p99, s": figures.ttft.percentile(0.99),
        "between tokens p50, s": figures.gap.percentile(0.5),
        "between tokens p99, s": figures.gap.percentile(0.99),
        "whole time p50, s": figures.whole.percentile(0.5),
        "whole time p99, s": figures.whole.percentile(0.99),
        "requests/s": figures.ok / seconds,
        "failed": float(figures.failed),
    }


Rounds = Sequence[tuple[StepFigures, float]]
"""The figures of each round of a load against a target, with the seconds that it took."""


def ratios(found: Mapping[tuple[str, str], Rounds]) -> list[Ratio]:
    """Compare targets by (step, target): all rounds taken together, and each with the first target's same round."""
    firsts: dict[str, Rounds] = {}
    result = []
    for (step, target), rounds in found.items():
        if step not in firsts:
            firsts[step] = rounds
            continue
        ones, others = _together(firsts[step]), _together(rounds)
        pairs = [(_compared(*one), _compared(*other)) for one, other in zip(firsts[step], rounds, strict=False)]
        for name, first in ones.items():
            each = [ratio for one, other in pairs if (ratio := _ratio(one[name], other[name])) is not None]
            if first or others[name]:
                result.append(Ratio(step, name, target, first, others[name], _ratio(first, others[name]), each))
    return result


def _together(rounds: Rounds) -> dict[str, float]:
    return _compared(added(figures for figures, _ in rounds), sum(seconds for _, seconds in rounds))


def drifts(steps: Sequence[StepResult], target: str) -> list[Drift]:
    """Compare the last of equal steps with the first; of memory, the end of both."""
    mine = [step for step in steps if step.target == target]
    if len(mine) < 2:
        return []
    early, late = mine[0], mine[-1]
    pairs = [
        ("TTFT p50, s", early.times.ttft.p50, late.times.ttft.p50),
        ("between tokens p50, s", early.times.gap.p50, late.times.gap.p50),
        ("whole time p50, s", early.times.whole.p50, late.times.whole.p50),
        ("requests/s", early.requests_per_second, late.requests_per_second),
    ]
    for name, was, is_now in (
        ("memory of the server, bytes", early.server, late.server),
        ("memory of its children, bytes", early.children, late.children),
    ):
        if was and is_now:
            pairs.append((name, was.memory_end, is_now.memory_end))
    return [Drift(name, target, was, is_now, _ratio(was, is_now)) for name, was, is_now in pairs if was or is_now]


def _worst(spreads: Iterable[Spread]) -> float | None:
    """Give the longest 99th percentile; None where there is not a single value, which holds no bound."""
    return max((spread.p99 for spread in spreads if spread.count), default=None)


def bounds(
    steps: Sequence[StepResult], checks: Sequence[Check], drifted: Sequence[Drift], asked: Mapping[str, float | None]
) -> list[Bound]:
    """Hold the worst of all steps, and all checks, against what was asked for; what wasn't is None."""
    failed = sum(step.requests.failed for step in steps)
    growth = max((drift.ratio or 0.0 for drift in drifted if drift.figure != "requests/s"), default=0.0)
    seen: dict[str, float | None] = {
        "p99 of TTFT, s": _worst(step.times.ttft for step in steps),
        "p99 between tokens, s": _worst(step.times.gap for step in steps),
        "failures": float(failed),
        "drift": growth,
    }
    found = [
        Bound(name, bound, worst or 0.0, worst is not None and worst <= bound)
        for name, bound in asked.items()
        for worst in [seen[name]]
        if bound is not None
    ]
    broken = sum(check.state == "failed" for check in checks)
    if checks:
        found.append(Bound("checks that failed", 0, broken, broken == 0))
    if any(bound is not None for bound in asked.values()) and not any(step.requests.ok for step in steps):
        found.append(Bound("no answer at all", 0, 1, holds=False))
    return found
