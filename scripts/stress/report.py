"""The results as tables, for the terminal and for report.html."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scripts.stress import units
from scripts.stress.results import ProcessResult, Spread, StepResult, StressResults

_COLOURS = {"passed": "green", "failed": "bold red", "skipped": "dim", "holds": "green", "BROKEN": "bold red"}


_OF_BACKENDS = (
    "load", "target", "backend", "requests", "failed", "TTFT\np50", "\np99", "token\ngap p50", "\np99",
)  # fmt: skip


_NAMES = 2
"""Columns of words at most that a table has, which may be turned."""


class Sheet(NamedTuple):
    """A table: its title, its heads, its rows, and from which column on there are numbers."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: int


def sheets(results: StressResults) -> list[Sheet]:
    """Give all tables with rows, without those that only a page has room for."""
    return [sheet for sheet in (_loads(results), *_others(results)) if sheet.rows]


def _others(results: StressResults) -> list[Sheet]:
    failures = [
        (step.name, step.target, kind, step.examples.get(kind, ""), units.number(count))
        for step in results.steps
        for kind, count in step.failures.items()
    ]
    drifts = [
        (_named(each.figure), each.target, *_both(each.figure, each.early, each.late), _ratio(each.ratio))
        for each in results.drifts
    ]
    checks = [(each.state, each.name, each.detail) for each in results.checks]
    return [
        Sheet("Failures", ("load", "target", "kind", "said first", "number"), failures, 4),
        _ratios(results),
        Sheet("Late over early", ("figure", "target", "early", "late", "ratio"), drifts, 2),
        Sheet("Behaviour", ("", "check", "what was seen"), checks, 3),
    ]


def bounds(results: StressResults) -> list[tuple[str, str, str, str]]:
    """Write each bound: whether it holds, of which figure, its limit, and the value."""
    return [
        ("holds" if each.holds else "BROKEN", _named(each.name), *_both(each.name, each.bound, each.value))
        for each in results.bounds
    ]


def _ratios(results: StressResults) -> Sheet:
    """Write a row for each load and target, a column for each figure; in brackets, from which to which round."""
    first, figures = next(iter(results.targets), ""), list(dict.fromkeys(each.figure for each in results.ratios))
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for each in results.ratios:
        spread = f" ({min(each.rounds):.2f} to {max(each.rounds):.2f})" if len(each.rounds) > 1 else ""
        rows.setdefault((each.step, each.target), {})[each.figure] = _ratio(each.ratio) + spread
    cells = [(*where, *(row.get(figure, "-") for figure in figures)) for where, row in rows.items()]
    return Sheet(
        f"Ratios to {first}, and from which to which round", ("load", "target", *map(_named, figures)), cells, 2
    )


def _loads(results: StressResults) -> Sheet:
    several, judged = len(results.targets) > 1, any(step.goodput for step in results.steps)
    queued = any(step.times.queue.count for step in results.steps)
    columns: dict[str, Callable[[StepResult], str]] = {
        "load": lambda step: step.name,
        **({"target": lambda step: f"{step.target} {step.round}"} if several else {}),
        "answers": lambda step: units.number(step.requests.ok + step.requests.left),
        "failed": lambda step: units.number(step.requests.failed),
        "requests\n/s": lambda step: units.number(step.requests_per_second),
        "tokens\n/s": lambda step: units.number(step.tokens_per_second),
        "of\neach": lambda step: units.number(step.times.speed.p50) if step.times.speed.count else "-",
        "TTFT\np50": lambda step: _time(step.times.ttft, "p50"),
        "\np99": lambda step: _time(step.times.ttft, "p99"),
        "token\ngap p50": lambda step: _gap(step.times.gap, "p50"),
        "\np99 ": lambda step: _gap(step.times.gap, "p99"),
        "whole\np50": lambda step: _time(step.times.whole, "p50"),
        "\np99  ": lambda step: _time(step.times.whole, "p99"),
        **({"queue\np99": lambda step: _time(step.times.queue, "p99")} if queued else {}),
        **({"good\n/s": _good, "good\nshare": _good_share} if judged else {}),
    }
    rows = [[write(step) for write in columns.values()] for step in results.steps]
    title = "The loads" + (", as far as they came" if results.interrupted else "")
    return Sheet(title, [name.rstrip(" ") for name in columns], rows, 2 if several else 1)


def _good(step: StepResult) -> str:
    return units.number(step.goodput.per_second) if step.goodput else "-"


def _good_share(step: StepResult) -> str:
    return f"{step.goodput.share:.0%}" if step.goodput else "-"


def details(results: StressResults) -> list[Sheet]:
    """Give the tables that only a page has room for."""
    generators = [
        (step.name, step.target, step.generator.warning, f"{step.generator.cpu:.2f}",
         *(units.time(late) for late in (step.generator.lag.p50, step.generator.lag.p99)))
        for step in results.steps
    ]  # fmt: skip
    servers = [
        (step.name, step.target, *_process(step.server), *_process(step.children))
        for step in results.steps
        if step.server
    ]
    heads = ("load", "target", "CPU, cores", "memory, most", "at the end", "started: CPU", "memory, most", "at the end")
    backends = [
        (step.name, step.target, name or "(not said)", *map(units.number, (each.requests.all, each.requests.failed)),
         *(_time(each.ttft, share) for share in ("p50", "p99")), *(_gap(each.gap, share) for share in ("p50", "p99")))
        for step in results.steps
        for name, each in step.backends.items()
        if len(step.backends) > 1
    ]  # fmt: skip
    told = [(name, str(value)) for name, value in results.options.items()]
    return [
        sheet
        for sheet in (
            Sheet("By backend", _OF_BACKENDS, backends, 3),
            Sheet("The server and what it started, on this machine", heads, servers, 2),
            Sheet("The load generator", ("load", "target", "", "CPU, cores", "late p50", "late p99"), generators, 3),
            Sheet("The options", ("option", "value"), told, 2),
        )
        if sheet.rows
    ]


def _process(process: ProcessResult | None) -> tuple[str, str, str]:
    if process is None:
        return "-", "-", "-"
    return f"{process.cpu:.2f}", units.size(process.memory_most), units.size(process.memory_end)


def _time(spread: Spread, name: str) -> str:
    return units.time(getattr(spread, name)) if spread.count else "-"


def _gap(spread: Spread, name: str) -> str:
    """Write a time between tokens; it is 0 where they come several at a time."""
    said = _time(spread, name)
    return "at once" if said == "0" else said


def full(heads: Sequence[str]) -> list[str]:
    """Write heads on one line each: one that stands below the group of the head before it has the group's name, too."""
    names: list[str] = []
    group = ""
    for head in heads:
        words = head.replace("\n", " ").strip()
        if head.startswith("\n"):
            words = f"{group} {words}"
        else:
            group = words.rpartition(" ")[0]
        names.append(words)
    return names


def _named(figure: str) -> str:
    """Leave out a figure's unit, which `_both` writes behind each value."""
    return figure.removesuffix(", s").removesuffix(", bytes")


def _both(figure: str, one: float, other: float) -> tuple[str, str]:
    """Write two values of a figure, with its unit."""
    write = units.time if figure.endswith(", s") else units.size if figure.endswith(", bytes") else units.number
    return write(one), write(other)


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def cost(results: StressResults) -> str:
    """Write the cost of the load generator itself."""
    if not results.steps:
        return "Nothing was measured."
    busiest = max(results.steps, key=lambda step: step.generator.cpu)
    latest = max(results.steps, key=lambda step: step.generator.lag.p99)
    return (
        f"The load generator used {busiest.generator.cpu:.0%} of a core at most, and was late by "
        f"{units.time(latest.generator.lag.p99)} at p99 (timers round to 1 ms)."
    )


def _table(sheet: Sheet) -> Table:
    table = Table(
        title=sheet.title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    for index, head in enumerate(sheet.heads):
        table.add_column(head, justify="right" if index >= sheet.numbers else "left", overflow="fold")
    for row in sheet.rows:
        table.add_row(Text(row[0], _COLOURS.get(row[0], "")), *map(Text, row[1:]))
    return table


def _turned(sheet: Sheet) -> Sheet:
    """Make columns of the rows, where almost all of it is numbers: for narrow terminals."""
    if sheet.numbers > _NAMES:
        return sheet
    heads, *rows = zip(*(full(sheet.heads), *sheet.rows), strict=True)
    return sheet._replace(heads=heads, rows=rows, numbers=1)


def show(results: StressResults, console: Console) -> None:
    """Print it."""
    limits = Sheet("Bounds", ("", "bound", "at most", "it was"), bounds(results), 2)
    for sheet in [*reversed(sheets(results)), *([limits] if limits.rows else [])]:  # what matters most stands last
        table = _table(sheet)
        if console.measure(table, options=console.options.update(max_width=1000)).maximum > console.width:
            table = _table(_turned(sheet))
        console.print(table)
    for sentence in [*results.findings, cost(results)]:
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)
