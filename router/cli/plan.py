"""`plan`: say what a reload would do, and do nothing."""

import argparse
import os
import sys

from launchers.engines import ENGINES
from router.cli.exits import printed
from router.config import load
from router.fleet import planning
from router.telemetry.terminal import say


def run(options: argparse.Namespace) -> int:
    """Print the steps from the configuration that runs to another. Raises ConfigError and StartError."""
    old, new = load(options.running, os.environ), load(options.config, os.environ)
    facts = planning.look(ENGINES)
    for note in () if facts.gpus else facts.notes:
        say(f"{note}\n", sys.stderr)
    found = planning.preview(old.config, new.config, options.running.resolve().parent, ENGINES, facts)
    return printed(f"{options.running} → {options.config}\n{planning.told(found)}")
