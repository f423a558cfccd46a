"""report.html: one file, which needs no network and no script, for the screen, light or dark, and for paper."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from scripts.stress import report, svg, units
from scripts.stress.report import Sheet
from scripts.stress.results import Sample, StepResult, StressResults
from scripts.stress.svg import PlotLine

_STYLE = Path(__file__).with_name("page.css")

Read = Callable[[Sample], float | None]


def page(results: StressResults) -> str:
    """Write the whole page."""
    title = f"{results.tool}, {results.date}"
    sentences = "".join(f"<p>{escape(sentence)}</p>" for sentence in [*results.findings, report.cost(results)])
    parts = [
        f"<header><h1>{escape(results.tool)}</h1><p>{_about(results)}</p></header>",
        f"<p>{''.join(_chips(results))}</p>",
        f'<section class="tiles">{"".join(_tiles(results))}</section>',
        f'<section class="said">{sentences}</section>',
        *map(_table, report.sheets(results)),
        f'<section class="plots">{"".join(_plots(results))}</section>',
        *map(_table, report.details(results)),
    ]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>\n{_STYLE.read_text(encoding='utf-8')}</style></head>\n<body>\n{''.join(parts)}</body></html>\n"
    )


def _about(results: StressResults) -> str:
    where = " · ".join(f"{name}: {url}" for name, url in results.targets.items())
    machine = ", ".join(f"{name} {value}" for name, value in results.machine.items() if value)
    return f"{escape(results.date)} · {escape(where)}<br>{escape(machine)}<br><code>{escape(results.command)}</code>"


def _chips(results: StressResults) -> Iterable[str]:
    """Say in a word each what holds and what doesn't."""
    if results.interrupted:
        yield '<span class="chip bad">✗ interrupted</span>'
    for state, name, most, was in report.bounds(results):
        kind, sign = ("good", "✓") if state == "holds" else ("bad", "✗")
        yield f'<span class="chip {kind}">{sign} {escape(f"{name}: {was}, at most {most}")}</span>'
    if any(step.generator.warning for step in results.steps):
        yield '<span class="chip warn">! the load generator was in the way</span>'


def _tiles(results: StressResults) -> Iterable[str]:
    """Show the most important figures of each target."""
    for target in results.targets:
        steps = [step for step in results.steps if step.target == target]
        if not steps:
            continue
        fastest, slowest = max(steps, key=_tokens), max(steps, key=lambda step: step.times.ttft.p99)
        failed = sum(step.requests.failed for step in steps)
        name = f"{target}: " if len(results.targets) > 1 else ""
        yield _tile(f"{name}answers", sum(step.requests.ok + step.requests.left for step in steps), "")
        yield _tile(f"{name}failures", failed, "", "bad" if failed else "")
        yield _tile(f"{name}tokens/s, at most", fastest.tokens_per_second, fastest.name)
        yield _tile(f"{name}p99 of TTFT, at most", units.time(slowest.times.ttft.p99), slowest.name)


def _tokens(step: StepResult) -> float:
    return step.tokens_per_second


def _tile(name: str, value: float | str, of: str, kind: str = "") -> str:
    words = value if isinstance(value, str) else units.number(value)
    where = f"<small>{escape(of)}</small>" if of else ""
    return f'<div class="tile"><span>{escape(name)}</span><b class="{kind}">{escape(words)}</b>{where}</div>'


def _table(sheet: Sheet) -> str:
    # On a narrow screen each cell stands on a line of its own, behind its name (page.css).
    names = [f' data-name="{escape(name)}"' for name in report.full(sheet.heads)]

    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{' class=n' if index >= sheet.numbers else ''}{names[index] if tag == 'td' else ''}>"
            f"{escape(cell)}</{tag}>"
            for index, cell in enumerate(row)
        )

    rows = "".join(f'<tr class="{escape(row[0])}">{cells("td", row)}</tr>' for row in sheet.rows)
    return (
        f"<section><h2>{escape(sheet.title)}</h2><div class=wide><table>"
        f"<thead><tr>{cells('th', sheet.heads)}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div></section>\n"
    )


def _plots(results: StressResults) -> Iterable[str]:
    yield _curves("TTFT by percentile", results, lambda step: step.curves.ttft)
    yield _curves("Time between tokens by percentile", results, lambda step: step.curves.gap)
    yield _over_time("Tokens/s", results, {"": lambda s: s.tokens / s.seconds}, units.number)
    yield _over_time("TTFT, median", results, {"": lambda s: s.ttft}, units.time)
    yield _over_time("Requests ended/s", results, {"": lambda s: s.ended / s.seconds}, units.number)
    flying: dict[str, Read] = {"in flight": lambda s: s.in_flight, "waiting": lambda s: s.waiting}
    yield _over_time("Requests in flight", results, flying, units.number)
    yield _over_time("Failures/s", results, {"": lambda s: s.failed / s.seconds}, units.number, colour=5)
    cpu: dict[str, Read] = {
        "server": lambda s: s.server_cpu,
        "what it started": lambda s: s.children_cpu,
        "load generator": lambda s: s.generator_cpu,
    }
    yield _over_time("CPU, in cores", results, cpu, units.number)
    memory: dict[str, Read] = {
        "server": lambda s: s.server_memory,
        "what it started": lambda s: s.children_memory,
    }
    yield _over_time("Resident memory", results, memory, units.size)
    yield svg.bars("Requests by backend", _shares(results.steps))


def _curves(title: str, results: StressResults, read: Callable[[StepResult], list[tuple[float, float]]]) -> str:
    """Plot the last round of each load: its colour says which load, whether it is dashed, which target."""
    last = {(step.name, step.target): svg.by_nines(read(step)) for step in results.steps if read(step)}
    names = list(dict.fromkeys(name for name, _ in last))
    if not last:
        return ""
    if len(names) > svg.COLOURS:  # those that are spread evenly
        names = [names[round(i * (len(names) - 1) / (svg.COLOURS - 1))] for i in range(svg.COLOURS)]
    several = len(results.targets) > 1
    lines = [
        PlotLine(
            f"{name}, {target}" if several else name, points, names.index(name), target != next(iter(results.targets))
        )
        for (name, target), points in last.items()
        if name in names
    ]
    x = svg.percentile_axis(max(line.points[-1][0] for line in lines))
    return svg.plot(title, lines, x, svg.value_axis([value for line in lines for _, value in line.points], units.time))


def _over_time(
    title: str, results: StressResults, figures: Mapping[str, Read], write: svg.Write, colour: int = 0
) -> str:
    """Plot figures over time. Each of several targets has lines of its own, in pieces, as they are asked in turns."""
    if len(results.targets) < 2:
        lines = [
            PlotLine(name, _points(results.samples, read), colour + i) for i, (name, read) in enumerate(figures.items())
        ]
        return _time_plot(title, results, lines, write)
    pairs = [(figure, target) for figure in figures for target in results.targets]
    pieces = [
        PlotLine(
            ", ".join(filter(None, (figure, step.target))),
            _points(turn, read),
            colour + pairs.index((figure, step.target)),
        )
        for index, step in enumerate(results.steps)
        for turn in [[sample for sample in results.samples if sample.step == index]]
        for figure, read in figures.items()
    ]
    return _time_plot(title, results, pieces, write)


def _points(samples: Sequence[Sample], read: Read) -> list[tuple[float, float]]:
    return [(sample.at, value) for sample in samples if (value := read(sample)) is not None]


def _time_plot(title: str, results: StressResults, lines: Sequence[PlotLine], write: svg.Write) -> str:
    """Plot them, without figures that are 0 all the time."""
    there = {line.name for line in lines if any(value for _, value in line.points)}
    if not there:
        return ""
    lines = [line for line in lines if line.name in there]
    marks = [(step.begin, f"{step.name}, {step.target}") for step in results.steps[1:]]
    x = svg.time_axis(max(sample.at for sample in results.samples))
    y = svg.axis(max(value for line in lines for _, value in line.points), write)
    return svg.plot(title, lines, x, y, marks)


def _shares(steps: Sequence[StepResult]) -> list[tuple[str, float, str]]:
    counts: dict[str, int] = {}
    for step in steps:
        for name, backend in step.backends.items():
            counts[name] = counts.get(name, 0) + backend.requests.all
    total = sum(counts.values())
    if not set(counts) - {""}:
        return []
    return [
        (name or "(not said)", count / total, f"{count / total:.1%}, {count:,} requests")
        for name, count in sorted(counts.items(), key=lambda item: -item[1])
    ]
