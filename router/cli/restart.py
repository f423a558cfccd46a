"""`restart`: start an engine of a running router afresh."""

import argparse

from router.api.admin.backends import RESTART
from router.cli import running


def run(options: argparse.Namespace) -> int:
    """Do it. Raises ConfigError and CommandError."""
    return running.act(options, RESTART, running.said_of("starts afresh"), name=options.name)
