"""`doctor`: say what this machine is, what the router would run on it, and what would be in its way."""

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path

from launchers.engines import ENGINES
from launchers.files import at_once
from router.cli.exits import REFUSED, CommandError, printed
from router.doctor import findings, looking
from router.doctor.report import report
from router.telemetry.terminal import painter


def run(options: argparse.Namespace) -> int:
    """Print the findings; give 1 if one of them would stop the router. Raises CommandError."""
    facts = looking.look_at_machine(ENGINES)
    sections = asyncio.run(looking.examine(options.config, os.environ, facts=facts))
    if options.report is not None:
        text = report(options.config, os.environ, facts, sections, time.time())
        return printed(text) if str(options.report) == "-" else _write(options.report, text)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    # Not every terminal has a ✗.
    text = findings.render(sections, painter(sys.stdout)).encode(encoding, errors="replace").decode(encoding)
    return max(printed(text), findings.exit_code(sections))


def _write(path: Path, text: str) -> int:
    try:
        with open(path, "w", encoding="utf-8", opener=at_once) as stream:
            stream.write(text)
    except OSError as error:
        raise CommandError(f"{path} can't be written: {error.strerror or error}", REFUSED) from None
    return printed(
        f"{path} is written. Secrets are hidden in it, and no prompts are in it; read it before you give it away."
    )
