"""`undrain`: send a drained backend requests again."""

import argparse

from router.api.admin.backends import UNDRAIN, BackendsTold
from router.cli import running
from router.telemetry.logs import printable


def run(options: argparse.Namespace) -> int:
    """Do it. Raises ConfigError and CommandError."""
    return running.shown(options, running.ask(options, lambda router: router.call(UNDRAIN, name=options.name)), lines)


def lines(told: BackendsTold) -> list[str]:
    """Say what was done."""
    return [f"{printable(name)} gets requests again" for name in dict.fromkeys(each.name for each in told.backends)]
