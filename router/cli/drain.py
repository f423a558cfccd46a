"""`drain`: send a backend of a running router nothing more."""

import argparse

from router.api.admin.backends import DRAIN, BackendsTold
from router.cli import running
from router.telemetry.logs import printable


def run(options: argparse.Namespace) -> int:
    """Do it. Raises ConfigError and CommandError."""
    return running.shown(options, running.ask(options, lambda router: router.call(DRAIN, name=options.name)), lines)


def lines(told: BackendsTold) -> list[str]:
    """Say what was done."""
    return [f"{printable(name)} gets nothing more" for name in dict.fromkeys(each.name for each in told.backends)]
