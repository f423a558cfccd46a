"""`scale`: have so many processes of a launch of a running router."""

import argparse

from router.api.admin.backends import SCALE, BackendsTold
from router.cli import running
from router.cli.status import state_of
from router.telemetry.logs import printable


def run(options: argparse.Namespace) -> int:
    """Do it. Raises ConfigError and CommandError."""
    return running.act(options, SCALE, lines, name=options.name, replicas=options.replicas)


def lines(told: BackendsTold) -> list[str]:
    """Say what there is now."""
    return [f"{printable(each.name)}: {state_of(each)}" for each in told.backends]
