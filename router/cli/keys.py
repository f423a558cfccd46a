"""`keys`: say what each key and team of a running router may use now, and what it has used."""

import argparse
from collections.abc import Sequence
from typing import Final

from router.api.admin.keys import KEYS, KeysTold, LimitTold
from router.cli import running, tables
from router.cli.shown import lasting
from router.telemetry.logs import printable

_NUMBERS: Final = ("MOST", "USED", "LEFT")
_SPARE: Final = ("RESETS IN", "TEAM")


def run(options: argparse.Namespace) -> int:
    """Print them. Raises ConfigError and CommandError."""
    return running.act(options, KEYS, lines)


def lines(told: KeysTold) -> list[str]:
    """Draw a table, with a row for each limit."""
    if not told.keys:
        return ["router.yaml has no keys: programs on this machine need none."]
    rows: list[tables.Row] = []
    for key in told.keys:
        rows += _rows(key.name, key.team or "", key.limits)
    for team in told.teams:
        rows += _rows(f"team {team.name}", "", team.limits)
    return tables.table(rows, numbers=_NUMBERS, spare=_SPARE)


def _rows(name: str, team: str, limits: Sequence[LimitTold]) -> list[tables.Row]:
    first = {"NAME": printable(name), "TEAM": printable(team)}
    blank = dict.fromkeys(("LIMIT", "MOST", "USED", "LEFT", "RESETS IN"), "")
    if not limits:
        return [first | blank | {"LIMIT": "none"}]
    return [(first if each is limits[0] else dict.fromkeys(first, "")) | _cells(each) for each in limits]


def _cells(each: LimitTold) -> tables.Row:
    resets = "" if each.resets_in is None or not each.used else lasting(each.resets_in)
    return {
        "LIMIT": each.limit,
        "MOST": _number(each.most),
        "USED": _number(each.used),
        "LEFT": _number(each.left),
        "RESETS IN": resets,
    }


def _number(value: float) -> str:
    return f"{value:.4f}".rstrip("0").rstrip(".")
