"""`pin`: keep a model of a running router loaded."""

import argparse

from router.api.admin.models import PIN
from router.cli import running


def run(options: argparse.Namespace) -> int:
    """Do it. Raises ConfigError and CommandError."""
    return running.act(
        options, PIN, running.said_of("stays loaded until its entry in router.yaml changes"), name=options.name
    )
