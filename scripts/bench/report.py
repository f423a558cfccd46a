"""The tables of a benchmark, as Markdown.

.venv/bin/python -m scripts.bench.report [--docs]      from bench/results.json, without measuring again
"""

import argparse
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.bench.cases import CASES, EVENT, PACED, RATE, REQUEST, Case
from scripts.bench.proxies import OURS, ROUTERS
from scripts.bench.results import BenchResults, Crowd, Crowds, Latency, ProxyRun, read
from scripts.instruments.processes import ROOT

DOCS = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- make bench writes from here -->", "<!-- to here -->"
NOTHING = "-"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table: the first column is words, the others are figures."""
    lines = [f"| {' | '.join(heads)} |", "|---" + "|---:" * (len(heads) - 1) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def report(results: BenchResults) -> str:
    """Write all tables, the machine and the versions."""
    parts = [_how(results)]
    if results.runs or results.no_proxy:
        parts.append(runs_table(results))
    if results.crowds:
        parts.append(crowds_table(results))
    if results.soak:
        parts.append(_soak(results))
    bounds = bounds_table(results)
    if bounds:
        parts += ["Ours against the others, and against what it must hold:", bounds]
    return "\n\n".join([*parts, _versions(results)]) + "\n"


# ---------------------------------------------------------------- a run's figures


def _how(results: BenchResults) -> str:
    many = max((len(runs) for runs in results.runs.values()), default=0)
    lines = [
        "CPU time and resident memory are those of the proxy's process tree, on a core of its own where there are two.",
        f"Latencies are at {RATE:,} requests a second, sent by a schedule that doesn't wait.",
    ]
    if many > 1:
        lines.append(f"Medians of {many} runs.")
    if results.share != 1:
        lines.append(f"A trial with {results.share:g} of the usual counts.")
    for name, scale in results.scales.items():
        lines.append(
            f"{name} was measured with {scale:g} of the counts, of the {PACED.clients} streams and of the rate:"
            " it can't carry more."
        )
    return " ".join(lines)


def runs_table(results: BenchResults) -> str:
    """Write the CPU time, latency and memory of each proxy, and the latency without one."""
    heads = ["proxy", *(case.name for case in CASES), "p50 ms", "p99 ms", "MB at start", "MB after the loads"]
    rows = [
        [name, *_costs(runs), *_latency([run.latency for run in runs]), *_memory(runs)] for name, runs in _all(results)
    ]
    if results.no_proxy:
        rows.append(["no proxy", *[NOTHING] * len(CASES), *_latency(results.no_proxy), NOTHING, NOTHING])
    return table(heads, rows)


def _all(results: BenchResults) -> Iterable[tuple[str, list[ProxyRun]]]:
    return ((name, runs) for name, runs in results.runs.items() if runs)


def _costs(runs: list[ProxyRun]) -> list[str]:
    return [_unless_lost(sum(run.costs[case.name].lost for run in runs), _cost(runs, case), 1) for case in CASES]


def _cost(runs: list[ProxyRun], case: Case) -> float:
    return statistics.median(run.costs[case.name].total for run in runs)


def _latency(latencies: list[Latency]) -> list[str]:
    lost = sum(each.lost for each in latencies)
    return [_unless_lost(lost, _median(latencies, lambda each: each.p50), 2), _unless_lost(lost, _p99(latencies), 2)]


def _p99(latencies: list[Latency]) -> float:
    return _median(latencies, lambda each: each.p99)


def _median(latencies: list[Latency], of: Callable[[Latency], float]) -> float:
    return statistics.median(of(each) for each in latencies)


def _memory(runs: list[ProxyRun]) -> list[str]:
    return [f"{_started(runs):.1f}", f"{statistics.median(run.loaded for run in runs):.1f}"]


def _started(runs: list[ProxyRun]) -> float:
    return statistics.median(run.started for run in runs)


def _unless_lost(lost: int, value: float, digits: int) -> str:
    return f"lost {lost:,}" if lost else f"{value:.{digits}f}"


# ---------------------------------------------------------------- crowds and the soak


def crowds_table(results: BenchResults) -> str:
    """Write what became of very many streams, and of very many idle connections."""
    count = max(each.streams.count for each in results.crowds.values())
    heads = ["proxy", f"{count:,} open streams", "KB a stream", f"{count:,} idle connections", "KB a connection"]
    return table(heads, ([name, *_crowd(each.streams), *_crowd(each.idle)] for name, each in results.crowds.items()))


def _crowd(crowd: Crowd) -> list[str]:
    if crowd.lost:
        return [f"lost {crowd.lost:,}", NOTHING]
    if crowd.at_once < crowd.count:
        return [f"lost 0, {crowd.at_once:,} at once", NOTHING]
    return ["lost 0", f"{crowd.growth:.1f}"]


def _soak(results: BenchResults) -> str:
    soak = results.soak
    if soak is None:
        return ""
    requests, first = soak.every * len(soak.resident), soak.every * (len(soak.resident) - len(soak.settled) + 1)
    return (
        f"{requests:,} requests through ours, {soak.lost:,} lost: {soak.settled[0]:.1f} MB resident after the first"
        f" {first:,}, {soak.resident[-1]:.1f} MB at the end; between them never more than {soak.deviation:.1f} % away"
        " from the first."
    )


# ---------------------------------------------------------------- ours against the others


@dataclass(frozen=True)
class Row:
    """A figure of ours beside another's, and whether its bound holds; None where there is no bound."""

    name: str
    ours: str
    other: str = NOTHING
    ratio: str = NOTHING
    bound: str = NOTHING
    holds: bool | None = None

    def cells(self) -> list[str]:
        """Write it as a table's row."""
        holds = {True: "holds", False: "does not", None: NOTHING}[self.holds]
        return [self.name, self.ours, self.other, self.ratio, self.bound, holds]


COST_BOUNDS = ((REQUEST, 1.5, 0.5), (EVENT, 1.0, None), (PACED, 1.0, None))
"""For each case: the most that ours may cost, as a multiple of nginx and of the cheapest router."""


def bounds_table(results: BenchResults) -> str:
    """Write ours beside nginx and the cheapest router, and the bounds that ours must hold; empty without ours."""
    rows = [*_cost_rows(results), *_run_rows(results), *_crowd_rows(results.crowds.get(OURS)), *_soak_rows(results)]
    if not rows:
        return ""
    return table(["", "ours", "the other", "ratio", "bound", ""], [row.cells() for row in rows])


def _cost_rows(results: BenchResults) -> Iterable[Row]:
    if not results.runs.get(OURS):
        return
    for case, of_nginx, of_router in COST_BOUNDS:
        own = _whole_cost(results, OURS, case)
        for names, most in ((("nginx",), of_nginx), (ROUTERS, of_router)):
            other, who = min((_whole_cost(results, name, case), name) for name in names)
            if other < math.inf:
                yield ratio_row(case.name, own, other, who, most)


def _whole_cost(results: BenchResults, name: str, case: Case) -> float:
    """Give the cost; infinite, if something was lost or nothing was measured."""
    runs = results.runs.get(name, [])
    return _cost(runs, case) if runs and not any(run.costs[case.name].lost for run in runs) else math.inf


def ratio_row(name: str, own: float, other: float, who: str, most: float | None) -> Row:
    """Compare a cost with another's."""
    ratio, bound = own / other, NOTHING if most is None else f"≤ {most:g} times {who}"
    holds = None if most is None else bool(ratio <= most)
    return Row(name, f"{own:.1f}", f"{who} {other:.1f}", f"{ratio:.2f}", bound, holds)


def _run_rows(results: BenchResults) -> Iterable[Row]:
    own, nginx = results.runs.get(OURS), results.runs.get("nginx")
    if own and nginx and not any(run.latency.lost for run in nginx):
        ours, other = (_p99([run.latency for run in runs]) for runs in (own, nginx))
        whole = not any(run.latency.lost for run in own)
        within, apart = "within 1 ms of nginx", f"{ours - other:+.2f} ms"
        yield Row("p99 ms", f"{ours:.2f}", f"nginx {other:.2f}", apart, within, whole and ours - other <= 1)
    if own:
        yield _most("MB at start", _started(own), 64)


def _crowd_rows(crowds: Crowds | None) -> Iterable[Row]:
    if crowds is None:
        return
    for crowd, what, most in ((crowds.streams, "stream", 24), (crowds.idle, "idle connection", 12)):
        all_there = crowd.lost == 0 and crowd.at_once == crowd.count
        yield Row(f"{what}s lost, of {crowd.count:,}", f"{crowd.lost:,}", bound="0", holds=all_there)
        yield _most(f"KB a {what}" if what == "stream" else f"KB an {what}", crowd.growth, most)


def _soak_rows(results: BenchResults) -> Iterable[Row]:
    if results.soak:
        deviation = results.soak.deviation
        yield Row("soak, % of memory", f"{deviation:.1f}", bound="≤ 5", holds=deviation <= 5 and not results.soak.lost)


def _most(name: str, value: float, most: float) -> Row:
    return Row(name, f"{value:.1f}", bound=f"< {most:g}", holds=value < most)


# ---------------------------------------------------------------- where, with what, and into which files


def _versions(results: BenchResults) -> str:
    machine = results.machine
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    return (
        f"Measured on {results.date}: {machine.cpu}, {machine.cores} cores, {machine.system} {machine.kernel}, Python"
        f" {machine.python}, uvloop {machine.uvloop}; {versions}."
    )


def between_marks(page: str, block: str) -> str:
    """Put a block between the two marks of a page, in place of what is there."""
    if not 0 <= page.find(BEGIN) < page.find(END):
        raise SystemExit(f"{DOCS}: the marks {BEGIN} and {END} aren't there")
    before, after = page.split(BEGIN, 1)[0], page.split(END, 1)[1]
    return f"{before}{BEGIN}\n\n{block}\n{END}{after}"


def write(results: BenchResults, folder: Path, *, docs: bool) -> None:
    """Write results.json and results.md, and the page of the documentation if asked to."""
    results.write(folder / "results.json")
    (folder / "results.md").write_text(report(results))
    if docs:
        DOCS.write_text(between_marks(DOCS.read_text(), report(results)))


def main() -> None:
    """Write the tables of results that are there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "bench", help="folder of results.json (default: bench)")
    parser.add_argument("--docs", action="store_true", help="write them into docs/performance.md, too")
    options = parser.parse_args()
    results = read(options.out / "results.json")
    write(results, options.out, docs=options.docs)
    print(report(results))


if __name__ == "__main__":
    main()
