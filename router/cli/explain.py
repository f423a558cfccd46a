"""`explain`: say where a running router would send a request now, and why."""

import argparse

from router.api.admin.status import EXPLAIN, CandidateTold, Explained
from router.cli import running, tables
from router.cli.shown import lasting
from router.telemetry.logs import printable

_NUMBERS = ("EXPECTED", "QUEUE", "READING", "IN FLIGHT", "CACHED")


def run(options: argparse.Namespace) -> int:
    """Print it. Raises ConfigError and CommandError."""
    model, size = options.model, options.size
    return running.shown(
        options, running.ask(options, lambda router: router.call(EXPLAIN, model=model, size=size)), lines
    )


def lines(told: Explained) -> list[str]:
    """Draw the candidates."""
    if not told.root:
        return ["No backend serves it."]
    return tables.table([_row(each) for each in told.root], numbers=_NUMBERS, spare=("CACHED", "READING", "QUEUE"))


def _row(each: CandidateTold) -> tables.Row:
    return {
        "BACKEND": printable(each.backend),
        "TAKES IT": printable(_takes(each)),
        "EXPECTED": _seconds(each.expected),
        "IN FLIGHT": "" if each.in_flight is None else str(each.in_flight),
        "QUEUE": _seconds(each.queue),
        "READING": _seconds(each.reading),
        "CACHED": "" if each.cached is None else f"{each.cached}B",
    }


def _takes(each: CandidateTold) -> str:
    if each.loads_in is not None:
        return f"yes, once it is loaded: in {lasting(each.loads_in)}"
    return f"no: {each.passed_over}" if each.passed_over else "yes"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}s"
