"""report.html: one file, which needs no network and no script, for the screen, light or dark, and for paper."""

from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path

from scripts.stress import report, svg, units
from scripts.stress.results import Results, Sample, Step
from scripts.stress.svg import Line

_STYLE = Path(__file__).with_name("page.css")
_POINTS = 400
"""Most points that a line over time has; several samples become one where there are more."""


def page(results: Results) -> str:
    """Write the whole page."""
    title = f"{results.tool}, {results.date}"
    state = "".join(_chips(results))
    parts = [
        f"<header><h1>{escape(results.tool)}</h1><p>{_about(results)}</p><p>{state}</p></header>",
        "".join(f"<p>{escape(sentence)}</p>" for sentence in [*results.findings, report.cost(results)]),
        *map(_table, report.sheets(results)),
        f'<section class="plots">{"".join(_plots(results))}</section>',
        *map(_table, report.details(results)),
    ]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>\n{_STYLE.read_text(encoding='utf-8')}</style></head>\n<body>\n{''.join(parts)}</body></html>\n"
    )


def _about(results: Results) -> str:
    where = ", ".join(f"{name} is {url}" for name, url in results.targets.items())
    machine = ", ".join(f"{name} {value}" for name, value in results.machine.items())
    return f"{escape(results.date)} · {escape(where)}<br>{escape(machine)}<br><code>{escape(results.command)}</code>"


def _chips(results: Results) -> Iterable[str]:
    """Say in a word each what holds and what doesn't."""
    if results.interrupted:
        yield '<span class="chip bad">interrupted</span>'
    for bound in results.bounds:
        state, sign = ("good", "✓") if bound.holds else ("bad", "✗")
        words = f"{sign} {bound.name}: {units.number(bound.value)}, at most {units.number(bound.bound)}"
        yield f'<span class="chip {state}">{escape(words)}</span>'
    if any(step.generator.warning for step in results.steps):
        yield '<span class="chip bad">✗ the load generator was in the way</span>'


def _table(sheet: report.Sheet) -> str:
    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{' class=n' if index >= sheet.numbers else ''}>{escape(cell)}</{tag}>"
            for index, cell in enumerate(row)
        )

    rows = "".join(f'<tr class="{escape(row[0])}">{cells("td", row)}</tr>' for row in sheet.rows)
    return (
        f"<section><h2>{escape(sheet.title)}</h2><div class=wide><table>"
        f"<thead><tr>{cells('th', sheet.heads)}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div></section>\n"
    )


def _plots(results: Results) -> Iterable[str]:
    yield _curves("TTFT by percentile", results.steps, lambda step: step.curves.ttft)
    yield _curves("Time between tokens by percentile", results.steps, lambda step: step.curves.gap)
    samples = results.samples
    rate = _over_time(samples, lambda s: s.tokens / s.seconds)
    yield _time_plot("Tokens per second", [Line("tokens/s", rate, 0)], units.number)
    ended = _over_time(samples, lambda s: s.ended / s.seconds)
    failed = _over_time(samples, lambda s: s.failed / s.seconds)
    lines = [Line("answers", ended, 0), Line("failures", failed, 5)]
    yield _time_plot("Requests ended per second", lines, units.number)
    flying, waiting = _over_time(samples, lambda s: s.in_flight), _over_time(samples, lambda s: s.waiting)
    yield _time_plot("Requests in flight", [Line("in flight", flying, 0), Line("waiting", waiting, 1)], units.number)
    yield _time_plot("TTFT over time, median", [Line("TTFT", _over_time(samples, lambda s: s.ttft), 0)], units.time)
    yield svg.bars("Requests by backend", _shares(results.steps))
    cpu: list[tuple[str, Callable[[Sample], float | None]]] = [
        ("server", lambda s: s.server_cpu),
        ("its children", lambda s: s.children_cpu),
        ("load generator", lambda s: s.generator_cpu),
    ]
    lines = [Line(name, _over_time(samples, read), index) for index, (name, read) in enumerate(cpu)]
    yield _time_plot("CPU, in cores", lines, units.number)
    memory: list[tuple[str, Callable[[Sample], float | None]]] = [
        ("server", lambda s: s.server_memory),
        ("its children", lambda s: s.children_memory or None),
    ]
    lines = [Line(name, _over_time(samples, read), index) for index, (name, read) in enumerate(memory)]
    yield _time_plot("Resident memory", lines, units.size)


def _curves(title: str, steps: Sequence[Step], read: Callable[[Step], list[tuple[float, float]]]) -> str:
    """Plot each step; where there are more than colours, the ones that are spread evenly over them."""
    shown = [(step, svg.by_nines(read(step))) for step in steps if read(step)]
    if len(shown) > svg.COLOURS:
        shown = [shown[round(i * (len(shown) - 1) / (svg.COLOURS - 1))] for i in range(svg.COLOURS)]
    if not shown:
        return ""
    several = len({step.target for step, _ in shown}) > 1
    names = [f"{step.name}, {step.target}" if several else step.name for step, _ in shown]
    lines = [Line(name, points, index) for index, (name, (_, points)) in enumerate(zip(names, shown, strict=True))]
    x = svg.percentile_axis(max(points[-1][0] for _, points in shown))
    y = svg.axis(max(points[-1][1] for _, points in shown), units.time)
    return svg.plot(title, lines, x, y, x_name="percentile")


def _over_time(samples: Sequence[Sample], read: Callable[[Sample], float | None]) -> list[tuple[float, float]]:
    points = [(sample.at, value) for sample in samples if (value := read(sample)) is not None]
    many = len(points) // _POINTS + 1
    groups = [points[start : start + many] for start in range(0, len(points), many)]
    return [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]


def _time_plot(title: str, lines: Sequence[Line], write: svg.Write) -> str:
    lines = [line for line in lines if any(value for _, value in line.points)]
    if not lines:
        return ""
    x = svg.axis(max(line.points[-1][0] for line in lines), units.time)
    y = svg.axis(max(value for line in lines for _, value in line.points), write)
    return svg.plot(title, lines, x, y, x_name="time")


def _shares(steps: Sequence[Step]) -> list[tuple[str, float, str]]:
    counts: dict[str, int] = {}
    for step in steps:
        for name, backend in step.backends.items():
            counts[name] = counts.get(name, 0) + backend.requests.all
    total = sum(counts.values())
    if not set(counts) - {""}:
        return []
    return [
        (name or "(none known)", count / total, f"{count / total:.1%}, {count:,} requests")
        for name, count in sorted(counts.items(), key=lambda item: -item[1])
    ]
