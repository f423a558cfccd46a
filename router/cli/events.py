"""`events`: print what happens at a running router, as it happens."""

import argparse
import json
import time

from router.api.admin.logs import EVENTS, EventTold
from router.cli import running
from router.cli.exits import goes_on
from router.cli.running import Running
from router.telemetry.logs import printable


def run(options: argparse.Namespace) -> int:
    """Print them until Ctrl-C. Raises ConfigError and CommandError."""
    return running.follow(options, lambda router: follow(router, options, None))


async def follow(router: Running, options: argparse.Namespace, after: int | None) -> None:
    """Print each event behind this one, a line each."""
    async for each in router.follow(EVENTS, after=after):
        if options.json:
            goes_on(json.dumps(each.model_dump(exclude_unset=True)))
            continue
        if each.missed:
            goes_on(f"({each.missed} lines were passed over)")
        goes_on(line(each))


def line(each: EventTold) -> str:
    """Write an event for people."""
    details = "".join(f"  {printable(name)}={printable(str(value))}" for name, value in each.details.items())
    mark = "" if each.level == "info" else "! "
    return f"{time.strftime('%H:%M:%S', time.localtime(each.at))} {mark}{printable(each.message)}{details}"
