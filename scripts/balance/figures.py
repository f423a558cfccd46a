"""The figures of real runs beside the simulator's of the same requests, and the tables that show both."""

from collections.abc import Iterator, Mapping, Sequence
from math import nan
from statistics import fmean
from typing import NamedTuple

from scripts.balance.load import TurnOutcome
from scripts.balance.simulation.choosing import ORACLE
from scripts.balance.simulation.figures import SOON, Key, RunFigures
from scripts.instruments.statistics import percentile

_TIMES = "\N{MULTIPLICATION SIGN}"
_OURS = "least_latency"

TOO_LATE = 0.05
"""The share of the p99 of TTFT above which lateness in sending and answering spoils it."""


class Measured(NamedTuple):
    """One real run. Times are in seconds of the model, as in `scripts.balance.simulation.figures`.

    `sent_late` and `written_late` are 99th percentiles of how late requests were sent and first tokens written: the
    figures may be wrong by this much. `busiest` is the largest share of a core that a process of the run took.
    """

    requests: int
    pace: float
    mean: float
    p50: float
    p99: float
    hits: float
    failed: int
    soon: float
    sent_late: float
    written_late: float
    busiest: Mapping[str, float]

    @property
    def late(self) -> float:
        """The larger of both latenesses."""
        return max(self.sent_late, self.written_late)


class Beside(NamedTuple):
    """A real run, and the simulated ones of the same requests: with its policy, and with the oracle."""

    real: Measured
    simulated: RunFigures
    oracle: RunFigures


Results = Mapping[Key, Beside]


def measured(
    outcomes: Sequence[TurnOutcome], written_late: float, pace: float, busiest: Mapping[str, float]
) -> Measured:
    """Reckon the figures of a run from its outcomes, without those of its warm-up."""
    ttfts = [each.ttft for each in outcomes if each.ttft is not None]
    return Measured(
        requests=len(outcomes),
        pace=pace,
        mean=fmean(ttfts) if ttfts else nan,
        p50=percentile(ttfts, 0.5, of_nothing=nan),
        p99=percentile(ttfts, 0.99, of_nothing=nan),
        hits=sum(each.cached for each in outcomes) / max(1, sum(each.prompt for each in outcomes)),
        failed=sum(each.failed for each in outcomes),
        soon=sum(ttft <= SOON for ttft in ttfts) / max(1, len(outcomes)),
        sent_late=percentile([each.late for each in outcomes], 0.99, of_nothing=nan),
        written_late=written_late,
        busiest=busiest,
    )


def best_other(key: Key, results: Results) -> tuple[str, float] | None:
    """Give the other policy with the least p99 at the same scenario and load, and that p99."""
    others = [
        (other.policy, run.real.p99)
        for other, run in results.items()
        if other[:2] == key[:2] and other.policy != key.policy
    ]
    return min(others, key=lambda each: each[1], default=None)


def _row(key: Key, run: Beside, results: Results) -> str:
    real, simulated = run.real, run.simulated
    best = best_other(key, results) if key.policy == _OURS else None
    cells = (
        key.scenario,
        f"{key.load:.0%}",
        key.policy,
        f"{real.p50:.3g} ({simulated.p50:.3g})",
        f"{real.p99:.3g} ({simulated.p99:.3g})",
        f"{real.soon:.1%} ({simulated.soon:.1%})",
        f"{real.failed} ({simulated.failed})",
        f"{run.oracle.p99:.3g}",
        f"{real.p99 / best[1]:.2f}{_TIMES} {best[0]}" if best else "",
    )
    return "| " + " | ".join(cells) + " |"


def table(results: Results) -> Iterator[str]:
    """Write the lines of the table: measured figures, and in brackets the simulator's."""
    heads = (
        "scenario",
        "load",
        "policy",
        "p50, s",
        "p99, s",
        "within 1 s",
        "failed",
        "oracle's p99",
        "best other",
    )
    yield from (f"| {' | '.join(heads)} |", "|---|---:|---|---:|---:|---:|---:|---:|---|")
    for key, run in results.items():
        yield _row(key, run, results)
    yield ""


def hits(results: Results) -> Iterator[str]:
    """Write the lines of cache hits, of the runs that had any."""
    found = {key: run for key, run in results.items() if run.real.hits}
    if not found:
        return
    yield from ("| scenario | load | policy | tokens of prompts found in caches |", "|---|---:|---|---:|")
    for key, (real, simulated, _) in found.items():
        yield f"| {key.scenario} | {key.load:.0%} | {key.policy} | {real.hits:.1%} ({simulated.hits:.1%}) |"
    yield ""


def conditions(results: Results) -> Iterator[str]:
    """Write the lines that show whether the machine kept up."""
    heads = ("scenario", "load", "requests", "pace", "sent late", "first tokens late", "router's CPU", "engine's CPU")
    yield from (f"| {' | '.join(heads)} |", "|---|---:|---:|---:|---:|---:|---:|---:|")
    for name, load in dict.fromkeys(key[:2] for key in results):
        runs = [run.real for key, run in results.items() if key[:2] == (name, load)]
        sent, written = max(each.sent_late for each in runs), max(each.written_late for each in runs)
        times = (f"{late / runs[0].pace * 1000:.1f} ms = {late:.3f} s" for late in (sent, written))
        shares = (f"{max(each.busiest[kind] for each in runs):.0%}" for kind in ("router", "engine"))
        cells = (name, f"{load:.0%}", str(runs[0].requests), f"{runs[0].pace:.1f}", *times, *shares)
        yield "| " + " | ".join(cells) + " |"
    yield ""


def warnings(results: Results) -> Iterator[str]:
    """Name the runs whose figures are spoiled because the machine was late."""
    for key, run in results.items():
        late, p99 = run.real.late, run.real.p99
        if late > TOO_LATE * p99:
            yield (
                f"{key.scenario}, {key.load:.0%}, {key.policy}: this machine's own lateness of {late:.3f} s is much "
                f"beside a p99 of {p99:.3f} s. Try a lower --rate, or fewer --engines."
            )


def as_json(results: Results) -> list[dict[str, object]]:
    """Give all figures as plain data, a run an entry."""
    return [
        {
            **key._asdict(),
            "real": run.real._asdict(),
            "simulated": run.simulated._asdict(),
            ORACLE: run.oracle._asdict(),
        }
        for key, run in results.items()
    ]
