"""`pin`: keep a model of a running router loaded."""

import argparse

from router.api.admin.models import PIN, ModelsTold
from router.cli import running
from router.telemetry.logs import printable


def run(options: argparse.Namespace) -> int:
    """Do it. Raises ConfigError and CommandError."""
    return running.shown(options, running.ask(options, lambda router: router.call(PIN, name=options.name)), lines)


def lines(told: ModelsTold) -> list[str]:
    """Say what was done."""
    return [f"{printable(each.name)} stays loaded until its entry in router.yaml changes" for each in told.models]
