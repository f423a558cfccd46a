"""`unpin`: let a model of a running router leave again."""

import argparse

from router.api.admin.models import UNPIN
from router.cli import running


def run(options: argparse.Namespace) -> int:
    """Do it. Raises ConfigError and CommandError."""
    return running.act(options, UNPIN, running.said_of("may be unloaded again"), name=options.name)
