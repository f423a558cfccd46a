"""`doctor`: say what this machine is, what the router would run on it, and what would be in its way."""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

from launchers.engines import ENGINES
from launchers.files import read_ordinary
from router.cli.exits import BAD_START, REFUSED, CommandError, printed
from router.doctor import findings, looking
from router.doctor.report import TITLE, report
from router.telemetry.terminal import painter


def run(options: argparse.Namespace) -> int:
    """Print the findings; give 1 if one of them would stop the router. Raises CommandError."""
    is_written = options.report is not None and str(options.report) != "-"
    if is_written:
        _refuse_other_file(options.report, options.config)
    facts = looking.look_at_machine(ENGINES)
    sections = asyncio.run(looking.examine(options.config, os.environ, facts=facts))
    if options.report is not None:
        text = report(options.config, os.environ, facts, sections, time.time())
        return _write(options.report, text) if is_written else printed(text)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    # Not every terminal has a ✗.
    text = findings.render(sections, painter(sys.stdout)).encode(encoding, errors="replace").decode(encoding)
    return max(printed(text), findings.exit_code(sections))


def _refuse_other_file(path: Path, config: Path) -> None:
    """Refuse to replace what is no report. Raises CommandError."""
    if path.resolve() == config.resolve():
        raise CommandError(f"{path} is the configuration: name another file for the report, with --report", BAD_START)
    try:
        old = read_ordinary(path, len(TITLE))
    except FileNotFoundError:
        return
    except OSError as error:
        raise CommandError(f"{path} can't be written: {error.strerror or error}", REFUSED) from None
    if old != TITLE.encode():
        raise CommandError(f"{path} is there already, and is no report: name another file", BAD_START)


def _write(path: Path, text: str) -> int:
    """Write it aside, for its owner alone, and put it in its place once it is whole. Raises CommandError."""
    # A link stays one.
    target = path.resolve()
    try:
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
            written = Path(folder) / target.name
            written.touch(0o600)
            written.write_text(text, encoding="utf-8")
            written.replace(target)
    except OSError as error:
        raise CommandError(f"{path} can't be written: {error.strerror or error}", REFUSED) from None
    return printed(
        f"{path} is written. Secrets are hidden in it, and no prompts are in it; read it before you give it away."
    )
