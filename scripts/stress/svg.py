"""Plots as SVG inside HTML: no library, no script. Colours are the page's variables, so they suit light and dark."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 560, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 12, 34
COLOURS = 8
"""How many series have colours of their own: --c0, --c1, …"""

Write = Callable[[float], str]


@dataclass(frozen=True)
class Line:
    """A series: its name, its points, and which colour it has."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: int


@dataclass(frozen=True)
class Axis:
    """From where to where, the ticks between, and how they are written."""

    low: float
    high: float
    ticks: Sequence[tuple[float, str]]

    def place(self, value: float) -> float:
        """Give where a value lies, from 0 to 1."""
        return (value - self.low) / (self.high - self.low)


def axis(most: float, write: Write) -> Axis:
    """Make an axis from 0 to a round number that holds `most`, of about five ticks."""
    most = most or 1.0
    power = 10.0 ** math.floor(math.log10(most / 4))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor * 5 >= most)
    count = math.ceil(most / step - 1e-9)
    return Axis(0.0, count * step, [(index * step, write(index * step)) for index in range(count + 1)])


def percentile_axis(nines: float) -> Axis:
    """Make an axis of percentiles, on which each further nine is as wide as the last: places are -log10(1 - share)."""
    names = {0.0: "0", -math.log10(0.5): "50", 1.0: "90", 2.0: "99", 3.0: "99.9", 4.0: "99.99", 5.0: "99.999"}
    high = max(1.0, nines)
    return Axis(0.0, high, [(place, name) for place, name in names.items() if place <= high + 1e-9])


def by_nines(curve: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Put a curve's points where `percentile_axis` has them."""
    return [(-math.log10(max(1 - share, 1e-12)), value) for share, value in curve]


def plot(title: str, lines: Sequence[Line], x: Axis, y: Axis, *, x_name: str) -> str:
    """Draw lines, with their names below where there are two or more."""
    lines = [line for line in lines if line.points]
    if not lines:
        return ""
    drawn = "".join(_line(line, x, y) for line in lines)
    grid = "".join(_grid_y(y.place(value), text) for value, text in y.ticks)
    grid += "".join(_grid_x(x.place(value), text) for value, text in x.ticks)
    name = f'<text class="axis" x="{WIDTH - _RIGHT}" y="{HEIGHT - 2}" text-anchor="end">{escape(x_name)}</text>'
    return _figure(title, _legend(lines), HEIGHT, grid + drawn + name)


def bars(title: str, rows: Sequence[tuple[str, float, str]]) -> str:
    """Draw a bar for each (name, share, what is written behind it)."""
    high, height = 26, 26 * len(rows) + 6
    drawn = []
    for index, (name, share, words) in enumerate(rows):
        y, width = index * high + 4, max(1.0, share * (WIDTH - 320))
        drawn.append(
            f'<text x="150" y="{y + 14}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="158" y="{y}" width="{width:.1f}" height="18" rx="3" fill="var(--c0)"/>'
            f'<text x="{164 + width:.1f}" y="{y + 14}">{escape(words)}</text>'
        )
    return _figure(title, "", height, "".join(drawn)) if rows else ""


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
    return (
        f'<text class="axis" x="{_x(place):.1f}" y="{HEIGHT - _BOTTOM + 16}" text-anchor="middle">{escape(text)}</text>'
    )


def _line(line: Line, x: Axis, y: Axis) -> str:
    points = [(_x(x.place(at)), _y(y.place(value))) for at, value in line.points]
    colour = f"var(--c{line.colour % COLOURS})"
    title = f"<title>{escape(line.name)}</title>"
    if len(points) == 1:
        return f'<circle cx="{points[0][0]:.1f}" cy="{points[0][1]:.1f}" r="4" fill="{colour}">{title}</circle>'
    path = " ".join(f"{at:.1f},{value:.1f}" for at, value in points)
    return f'<polyline class="line" points="{path}" stroke="{colour}">{title}</polyline>'


def _legend(lines: Sequence[Line]) -> str:
    if len(lines) < 2:
        return ""
    entries = (f'<li><i style="background:var(--c{ln.colour % COLOURS})"></i>{escape(ln.name)}</li>' for ln in lines)
    return f'<ul class="legend">{"".join(entries)}</ul>'
