"""Plots as SVG inside HTML: no library, no script. Colours are the page's variables, so they suit light and dark."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 560, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 16, 12, 26
_NAME = 16
"""Letters of a name that have room before a bar."""
COLOURS = 8
"""How many series have colours of their own: --c0, --c1, …"""

_WIDE = 30.0
"""Largest over smallest value, from which on an axis is logarithmic."""

Write = Callable[[float], str]
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class PlotLine:
    """A series, or a piece of one: its name, its points, which colour it has, and whether it is dashed."""

    name: str
    points: Points
    colour: int
    dashed: bool = False


@dataclass(frozen=True)
class Axis:
    """From where to where, the ticks between, and how they are written."""

    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """Give where a value lies, from 0 to 1."""
        if self.logarithmic:
            return math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def _step(most: float) -> float:
    power = 10.0 ** math.floor(math.log10(most / 4))
    return next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor * 5 >= most)


def axis(most: float, write: Write) -> Axis:
    """Make an axis from 0 to a round number that holds `most`, of about five ticks."""
    step = _step(most or 1.0)
    count = max(1, math.ceil(most / step - 1e-9))
    return Axis(0.0, count * step, [(index * step, write(index * step)) for index in range(count + 1)])


def value_axis(values: Sequence[float], write: Write) -> Axis:
    """Make an axis that holds these values: a logarithmic one, where they are of very different sizes."""
    least, most = min((value for value in values if value > 0), default=1.0), max(values, default=1.0)
    if most < _WIDE * least:
        return axis(most, write)
    first, last = math.floor(math.log10(least)), math.ceil(math.log10(most) - 1e-9)
    factors = (1, 2, 5) if last - first <= 2 else (1,)
    ticks = [factor * 10.0**power for power in range(first, last + 1) for factor in factors]
    low = max(tick for tick in ticks if tick <= least * (1 + 1e-9))
    high = min(tick for tick in ticks if tick >= most * (1 - 1e-9))
    return Axis(low, high, [(tick, write(tick)) for tick in ticks if low <= tick <= high], logarithmic=True)


def time_axis(seconds: float) -> Axis:
    """Make an axis from 0 to this moment, in one unit throughout."""
    units = ((180.0, 1, "s"), (10800.0, 60, "min"), (math.inf, 3600, "h"))
    unit, name = next((unit, name) for most, unit, name in units if seconds <= most)
    step = _step(seconds / unit / 2 or 1.0)
    places = [index * step for index in range(math.floor(seconds / unit / step + 1e-9) + 1)]
    return Axis(0.0, seconds or 1.0, [(place * unit, f"{place:g} {name}") for place in places])


def percentile_axis(nines: float) -> Axis:
    """Make an axis of percentiles, on which each further nine is as wide as the last: places are -log10(1 - share)."""
    names = {0.0: "0", -math.log10(0.5): "p50", 1.0: "p90", 2.0: "p99", 3.0: "p99.9", 4.0: "p99.99", 5.0: "p99.999"}
    high = max(1.0, nines)
    return Axis(0.0, high, [(place, name) for place, name in names.items() if place <= high + 1e-9])


def by_nines(curve: Points) -> list[tuple[float, float]]:
    """Put a curve's points where `percentile_axis` has them."""
    return [(-math.log10(max(1 - share, 1e-12)), value) for share, value in curve]


def plot(title: str, lines: Sequence[PlotLine], x: Axis, y: Axis, marks: Sequence[tuple[float, str]] = ()) -> str:
    """Draw lines, named below where there are several, and marks on the x axis, named when pointed at."""
    lines = [line for line in lines if line.points]
    if not lines:
        return ""
    grid = "".join(_grid_y(y.place(value), text) for value, text in y.ticks)
    grid += "".join(_mark(x.place(value), text) for value, text in marks)
    grid += "".join(_grid_x(x.place(value), text) for value, text in x.ticks)
    return _figure(title, _legend(lines), HEIGHT, grid + "".join(_line(line, x, y) for line in lines))


def bars(title: str, rows: Sequence[tuple[str, float, str]]) -> str:
    """Draw a bar for each (name, share, what is written behind it)."""
    high, height = 28, 28 * len(rows) + 6
    drawn = []
    for index, (name, share, words) in enumerate(rows):
        y, width = index * high + 4, max(1.0, share * (WIDTH - 300))
        drawn.append(
            f'<text x="120" y="{y + 14}" text-anchor="end">{escape(_short(name))}<title>{escape(name)}</title></text>'
            f'<rect x="130" y="{y}" width="{width:.1f}" height="18" rx="3" fill="var(--c{index % COLOURS})"/>'
            f'<text class="axis" x="{138 + width:.1f}" y="{y + 14}">{escape(words)}</text>'
        )
    return _figure(title, "", height, "".join(drawn)) if rows else ""


def _short(name: str) -> str:
    """Shorten a name to what there is room for before a bar."""
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"


def _figure(title: str, legend: str, height: int, inner: str) -> str:
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">{inner}</svg>{legend}</figure>\n'
    )


def _x(place: float) -> float:
    return _LEFT + min(max(place, 0.0), 1.0) * (WIDTH - _LEFT - _RIGHT)


def _y(place: float) -> float:
    return HEIGHT - _BOTTOM - min(max(place, 0.0), 1.0) * (HEIGHT - _TOP - _BOTTOM)


def _grid_y(place: float, text: str) -> str:
    y = _y(place)
    return (
        f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="axis" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(text)}</text>'
    )


def _grid_x(place: float, text: str) -> str:
    anchor = "end" if place > 0.96 else "middle"  # so that it is not cut off
    return f'<text class="axis" x="{_x(place):.1f}" y="{HEIGHT - 8}" text-anchor="{anchor}">{escape(text)}</text>'


def _mark(place: float, text: str) -> str:
    x = _x(place)
    return (
        f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}">'
        f"<title>{escape(text)}</title></line>"
    )


def _line(line: PlotLine, x: Axis, y: Axis) -> str:
    points = [(_x(x.place(at)), _y(y.place(value))) for at, value in line.points]
    colour, title = f"var(--c{line.colour % COLOURS})", f"<title>{escape(line.name)}</title>"
    if len(points) == 1:
        return f'<circle cx="{points[0][0]:.1f}" cy="{points[0][1]:.1f}" r="3" fill="{colour}">{title}</circle>'
    path = " ".join(f"{at:.1f},{value:.1f}" for at, value in points)
    kind = "line dashed" if line.dashed else "line"
    return f'<polyline class="{kind}" points="{path}" stroke="{colour}">{title}</polyline>'


def _legend(lines: Sequence[PlotLine]) -> str:
    names = {line.name: line for line in lines}
    if len(names) < 2:
        return ""
    entries = (
        f'<li><i class="{"dashed" if line.dashed else ""}" style="color:var(--c{line.colour % COLOURS})"></i>'
        f"{escape(name)}</li>"
        for name, line in names.items()
    )
    return f'<ul class="legend">{"".join(entries)}</ul>'
