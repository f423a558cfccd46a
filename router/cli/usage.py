"""`usage`: say what was used, by key, model and day: as the running router knows it, else as its database has it."""

import argparse
import csv
import io
import os
import sys
from collections.abc import Sequence
from datetime import date
from typing import Final

from router.api.admin.usage import USAGE, UsageAsked, UsageRow, UsageTold, first_day, told_apart
from router.cli import running, tables
from router.cli.exits import BAD_START, CommandError, printed
from router.config import load
from router.store import tally
from router.store.remembered import StoreError
from router.telemetry.logs import printable
from router.telemetry.terminal import say

COUNTS: Final = ("requests", "estimated", "prompt_tokens", "cached_tokens", "completion_tokens", "cost")
_NUMBERS: Final = ("REQUESTS", "ESTIMATED", "PROMPT", "CACHED", "GENERATED", "COST")
_SPARE: Final = ("CACHED", "COST", "ESTIMATED")


def run(options: argparse.Namespace) -> int:
    """Print it. Raises ConfigError and CommandError."""
    asked = _asked(options)
    try:
        reply = running.ask(options, lambda router: router.call(USAGE, by=asked.by, since=asked.since))
    except running.NoRouterError:
        if options.url is not None or "ROUTER_URL" in os.environ:
            raise
        say("No router runs there: this is what its database has.\n", sys.stderr)
        told = kept(options, asked)
        reply = running.Reply(told, told.model_dump(mode="json", exclude_unset=True))
    if options.csv and reply.told is not None:
        return printed("\n".join(as_csv(reply.told)))
    return running.shown(options, reply, lines)


def _asked(options: argparse.Namespace) -> UsageAsked:
    """Read what is asked for. Raises CommandError."""
    try:
        told_apart(options.by)
        first_day(options.since, date.max)
    except ValueError as error:
        raise CommandError(str(error), BAD_START) from None
    return UsageAsked(by=options.by, since=options.since)


def kept(options: argparse.Namespace, asked: UsageAsked) -> UsageTold:
    """Read what a router that doesn't run has left. Raises ConfigError and CommandError."""
    from router.management.usage import usage_told  # noqa: PLC0415 -- a running router needs none of it here

    path = options.config.resolve().parent / load(options.config, os.environ).config.state.dir / tally.NAME
    by, since = told_apart(asked.by), first_day(asked.since, date.today())  # noqa: DTZ011  (this machine's day)
    try:
        return usage_told(by, since, tally.read(path, by, since))
    except StoreError as error:
        raise CommandError(f"{path} can't be read: {error}", BAD_START) from None


def lines(told: UsageTold) -> list[str]:
    """Draw it as a table, with the total below it."""
    if not told.rows:
        return ["Nothing was used." if told.since is None else f"Nothing was used since {told.since}."]
    rows = [_row(told.by, each) for each in told.rows]
    if len(rows) > 1 and told.by:
        names = dict.fromkeys((name.upper() for name in told.by), "")
        rows.append({**names, told.by[0].upper(): "total", **_counts(told.total)})
    return tables.table(rows, numbers=_NUMBERS, spare=_SPARE)


def _row(by: Sequence[str], each: UsageRow) -> tables.Row:
    names = {name.upper(): printable(getattr(each, name) or "-") for name in by}
    return {**names, **_counts(each)}


def _counts(each: UsageRow) -> tables.Row:
    return {
        "REQUESTS": str(each.requests),
        "ESTIMATED": str(each.estimated or ""),
        "PROMPT": str(each.prompt_tokens),
        "CACHED": str(each.cached_tokens or ""),
        "GENERATED": str(each.completion_tokens),
        "COST": f"{each.cost:.4f}" if each.cost else "",
    }


def as_csv(told: UsageTold) -> list[str]:
    """Write it for spreadsheets: a line of names, and one for each row."""
    said = io.StringIO()
    writer = csv.writer(said, lineterminator="\n")
    writer.writerow([*told.by, *COUNTS])
    for each in told.rows:
        writer.writerow(
            [_cell(getattr(each, name) or "") for name in told.by] + [getattr(each, name) for name in COUNTS]
        )
    return said.getvalue().splitlines()


def _cell(text: str) -> str:
    """Write a name so that no spreadsheet takes it for a formula."""
    return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text
