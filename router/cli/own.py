"""Starts a router of a command's own, with one model, at a free port; it ends with the command, however that ends."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from launchers.files import read_ordinary
from router.cli.exits import BAD_START, CommandError
from router.cli.lock import NAME
from router.scan.entries import Entry

START_WITHIN: Final = 60.0
"""Seconds until it listens; the model is loaded by the first request."""
STOP_WITHIN: Final = 15.0
LOOK_EVERY: Final = 0.02
MOST_SAID: Final = 4000
"""Letters of what it says that are shown where it doesn't start."""

CONFIG: Final = """\
server: {port: 0}
logging: {level: warning}
backends:
"""


@contextmanager
def started(entry: Entry) -> Iterator[str]:
    """Start a router with this entry alone; give its address. Raises CommandError where it doesn't start."""
    with tempfile.TemporaryDirectory(prefix="router-run-") as folder:
        config, said = Path(folder) / "router.yaml", Path(folder) / "said"
        config.write_text(CONFIG + "".join(f"{line}\n" for line in entry.lines()), encoding="utf-8")
        command = [sys.executable, "-m", "router.cli.attended", "--config", str(config)]
        # What the environment says of router.yaml is meant for another one.
        env = {name: value for name, value in os.environ.items() if not name.startswith("ROUTER_")}
        # Ctrl-C ends an answer, not the router: it gets a session of its own.
        with said.open("wb") as output:
            router = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True, env=env
            )
        try:
            yield _address(router, Path(folder) / "logs" / NAME, said)
        finally:
            assert router.stdin is not None  # noqa: S101  (it is a pipe)
            router.stdin.close()
            try:
                router.wait(STOP_WITHIN)
            except subprocess.TimeoutExpired:
                router.kill()
                router.wait()


def _address(router: "subprocess.Popen[bytes]", lock: Path, said: Path) -> str:
    """Wait until it listens; give where."""
    until = time.monotonic() + START_WITHIN
    while router.poll() is None and time.monotonic() < until:
        with suppress(OSError, ValueError, KeyError, TypeError):
            return str(json.loads(read_ordinary(lock))["url"])
        time.sleep(LOOK_EVERY)
    words = read_ordinary(said).decode(errors="replace")[-MOST_SAID:].strip()
    raise CommandError(f"the router for it doesn't start:\n{words}", BAD_START)
