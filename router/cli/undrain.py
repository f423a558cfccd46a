"""`undrain`: send a drained backend requests again."""

import argparse

from router.api.admin.backends import UNDRAIN
from router.cli import running


def run(options: argparse.Namespace) -> int:
    """Do it. Raises ConfigError and CommandError."""
    return running.act(options, UNDRAIN, running.said_of("gets requests again"), name=options.name)
