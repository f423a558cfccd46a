"""`drain`: send a backend of a running router nothing more."""

import argparse

from router.api.admin.backends import DRAIN
from router.cli import running


def run(options: argparse.Namespace) -> int:
    """Do it. Raises ConfigError and CommandError."""
    return running.act(options, DRAIN, running.said_of("gets nothing more"), name=options.name)
