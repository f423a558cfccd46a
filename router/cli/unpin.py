"""`unpin`: let a model of a running router leave again."""

import argparse

from router.api.admin.models import UNPIN, ModelsTold
from router.cli import running
from router.telemetry.logs import printable


def run(options: argparse.Namespace) -> int:
    """Do it. Raises ConfigError and CommandError."""
    return running.shown(options, running.ask(options, lambda router: router.call(UNPIN, name=options.name)), lines)


def lines(told: ModelsTold) -> list[str]:
    """Say what was done."""
    return [f"{printable(each.name)} may be unloaded again" for each in told.models]
