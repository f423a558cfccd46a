"""Draws tables for commands: as wide as the terminal, whole lines where there is none, columns to spare left out."""

import io
import sys
from collections.abc import Collection, Sequence
from typing import Final, Literal

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

WIDE: Final = 500
"""Columns where no terminal says how many there are: programs read lines, which mustn't be wrapped."""

NARROWEST: Final = 12
"""Letters that a wrapped column has at least: in fewer, nobody can read it."""

Row = dict[str, str]
"""What stands in each column, by its name."""


def table(
    rows: Sequence[Row], *, numbers: Collection[str] = (), whole: Collection[str] = (), spare: Collection[str] = ()
) -> list[str]:
    """Draw rows, and give the lines. `numbers` stand at the right, and what is `whole` isn't wrapped.

    The first column isn't wrapped either: people copy from it. Where a terminal is too narrow, columns that are to
    `spare` are left out, empty ones first, then from the last; where it is far too narrow, each row is a few lines.
    """
    if not rows:
        return []
    said, terminal = io.StringIO(), sys.stdout.isatty()
    width = None if terminal else WIDE
    console = Console(file=said, force_terminal=terminal, width=width, markup=False, emoji=False, highlight=False)
    names = list(rows[0])
    unbounded = console.options.update(max_width=WIDE)
    while console.measure(drawn := _drawn(rows, names, numbers, whole), options=unbounded).maximum > console.width:
        empty = [name for name in names if name in spare and not any(row[name] for row in rows)]
        if not empty and names[-1] not in spare:
            break
        names.remove(empty[-1] if empty else names[-1])
    if _is_squeezed(rows, names, {names[0], *whole, *numbers}, console.width):
        return _listed(rows, names)
    console.print(drawn)
    return [line.rstrip() for line in said.getvalue().splitlines()]


def _is_squeezed(rows: Sequence[Row], names: Sequence[str], whole: Collection[str], width: int) -> bool:
    """Tell whether so little room is left for what may be wrapped that it would be a strip."""
    longest = {name: max(len(name), *(cell_len(row[name]) for row in rows)) for name in names}
    least = [longest[name] if name in whole else min(longest[name], NARROWEST) for name in names]
    return sum(least) + len(names) - 1 > width


def _listed(rows: Sequence[Row], names: Sequence[str]) -> list[str]:
    """Write a line for each value; the terminal breaks those that are too long for it."""
    lines: list[str] = []
    for row in rows:
        lines += [
            *([""] if lines else []),
            row[names[0]],
            *(f"  {name} {row[name]}" for name in names[1:] if row[name]),
        ]
    return lines


def _drawn(rows: Sequence[Row], names: Sequence[str], numbers: Collection[str], whole: Collection[str]) -> Table:
    """Draw these columns."""
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        justify: Literal["left", "right"] = "right" if name in numbers else "left"
        drawn.add_column(name, justify=justify, overflow="fold", no_wrap=name in whole or name == names[0])
    for row in rows:
        drawn.add_row(*(row[name] for name in names))
    return drawn
