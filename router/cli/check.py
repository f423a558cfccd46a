"""`check`: say all that is wrong with router.yaml, and start nothing."""

import argparse
import os

from router.cli.exits import printed
from router.config import load
from router.doctor.findings import Mark
from router.doctor.judging import of_doors


def run(options: argparse.Namespace) -> int:
    """Say that a configuration can be used, and what stands open. Raises ConfigError."""
    loaded = load(options.config, os.environ)
    config = loaded.config
    lines = [f"{loaded.path} can be used. Backends: {len(config.backends)}, routes: {len(config.routes)}."]
    lines += [f"{each.what}: {each.text}" for each in of_doors(config) if each.mark is Mark.LOOK]
    return printed("\n".join(lines))
