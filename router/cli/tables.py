"""Draws tables for commands: as wide as the terminal, whole lines where there is none, columns to spare left out."""

import io
import sys
from collections.abc import Collection, Sequence
from typing import Final, Literal

from rich.console import Console
from rich.table import Table

WIDE: Final = 500
"""Columns where no terminal says how many there are: programs read lines, which mustn't be wrapped."""

Row = dict[str, str]
"""What stands in each column, by its name."""


def table(
    rows: Sequence[Row], *, numbers: Collection[str] = (), whole: Collection[str] = (), spare: Collection[str] = ()
) -> list[str]:
    """Draw rows, and give the lines. `numbers` stand at the right, and what is `whole` isn't wrapped.

    Where a terminal is too narrow, the last columns are left out, if they are to `spare`.
    """
    if not rows:
        return []
    said, terminal = io.StringIO(), sys.stdout.isatty()
    width = None if terminal else WIDE
    console = Console(file=said, force_terminal=terminal, width=width, markup=False, emoji=False, highlight=False)
    names = list(rows[0])
    unbounded = console.options.update(max_width=WIDE)
    while console.measure(drawn := _drawn(rows, names, numbers, whole), options=unbounded).maximum > console.width:
        if names[-1] not in spare:
            break
        names.pop()
    console.print(drawn)
    return [line.rstrip() for line in said.getvalue().splitlines()]


def _drawn(rows: Sequence[Row], names: Sequence[str], numbers: Collection[str], whole: Collection[str]) -> Table:
    """Draw these columns."""
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        justify: Literal["left", "right"] = "right" if name in numbers else "left"
        drawn.add_column(name, justify=justify, overflow="fold", no_wrap=name in whole)
    for row in rows:
        drawn.add_row(*(row[name] for name in names))
    return drawn
