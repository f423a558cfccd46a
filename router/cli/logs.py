"""`logs`: print what a running router, or one of its engines, has written last; with --follow, what comes, too."""

import argparse

from router.api.admin.logs import FOLLOW, LINES, LOGS
from router.cli import events, running
from router.cli.exits import goes_on
from router.cli.running import Running
from router.telemetry.logs import printable


def run(options: argparse.Namespace) -> int:
    """Print them. Raises ConfigError and CommandError."""
    name, limit = options.name, options.limit
    if name is None:
        said = running.ask(options, lambda router: router.call(LOGS, limit=limit))
        code = running.shown(options, said, lambda told: [events.line(each) for each in told.events])
        last = said.told.events[-1].id if said.told is not None and said.told.events else None
        if options.follow and not code:
            return running.follow(options, lambda router: events.follow(router, options, last))
        return code
    lines = running.ask(options, lambda router: router.call(LINES, name=name, limit=limit))
    code = running.shown(options, lines, lambda told: [printable(each) for each in told.lines])
    return running.follow(options, lambda router: _engine(router, name)) if options.follow and not code else code


async def _engine(router: Running, name: str) -> None:
    async for each in router.follow(FOLLOW, name=name):
        if each.missed:
            goes_on(f"({each.missed} lines were passed over)")
        goes_on(printable(each.line))
