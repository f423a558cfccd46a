"""`doctor`: say what this machine is, what the router would run on it, and what would be in its way."""

import argparse
import asyncio
import os
import sys

from router.cli.exits import printed
from router.doctor import findings, looking
from router.telemetry.terminal import painter


def run(options: argparse.Namespace) -> int:
    """Print the findings; give 1 if one of them would stop the router."""
    sections = asyncio.run(looking.examine(options.config, os.environ))
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    # Not every terminal has a ✗.
    text = findings.render(sections, painter(sys.stdout)).encode(encoding, errors="replace").decode(encoding)
    return max(printed(text), findings.exit_code(sections))
