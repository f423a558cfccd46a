"""`restart`: start an engine of a running router afresh."""

import argparse

from router.api.admin.backends import RESTART, BackendsTold
from router.cli import running
from router.telemetry.logs import printable


def run(options: argparse.Namespace) -> int:
    """Do it. Raises ConfigError and CommandError."""
    return running.shown(options, running.ask(options, lambda router: router.call(RESTART, name=options.name)), lines)


def lines(told: BackendsTold) -> list[str]:
    """Say what was done."""
    return [f"{printable(name)} starts afresh" for name in dict.fromkeys(each.name for each in told.backends)]
