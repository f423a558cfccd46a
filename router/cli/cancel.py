"""`cancel`: end a request of a running router."""

import argparse

from router.api.admin.requests import CANCEL, RequestsTold
from router.cli import running
from router.telemetry.logs import printable


def run(options: argparse.Namespace) -> int:
    """End it. Raises ConfigError and CommandError."""
    return running.act(options, CANCEL, lines, id=options.id)


def lines(told: RequestsTold) -> list[str]:
    """Say what was ended."""
    return [f"cancelled {printable(each.id)}, after {each.age:.1f} s" for each in told.requests]
