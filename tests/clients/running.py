"""How programs are run here: in a home of their own that is empty, without telemetry, and for a bounded time."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.running import REPOSITORY

INSTALLED: Final = REPOSITORY / ".clients"
"""Where `make test-clients` installs the programs."""
NODE: Final = INSTALLED / "node" / "node_modules"
PROGRAMS: Final = Path(__file__).parent / "programs"
TIMEOUT: Final = 100.0
"""Seconds that a program may take."""

QUIET: Final = {
    "ANONYMIZED_TELEMETRY": "false",
    "CI": "true",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "NO_COLOR": "1",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
    "TERM": "dumb",
}


def that_ends(engine: str) -> str:
    """Give the model whose answers end before the token limit, which some programs take for an error."""
    return engine if engine == "scripted" else f"{engine}-ends"


@dataclass(frozen=True)
class Said:
    """What a program wrote."""

    out: str
    err: str

    @property
    def last(self) -> dict[str, Any]:
        """Its last line, an object of JSON."""
        found: dict[str, Any] = json.loads(self.out.strip().splitlines()[-1])
        return found


def environment(home: Path, more: dict[str, str]) -> dict[str, str]:
    """Give all the variables that a program gets: none of this process but PATH."""
    folders = {name: str(home / name.lower()) for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME")}
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", **folders, **QUIET, **more}


async def run(*command: str | Path, home: Path, cwd: Path | None = None, **env: str) -> Said:
    """Run a program to its end; an AssertionError with all that it wrote, if it fails or takes too long."""
    written = home / "out.txt", home / "err.txt"
    with written[0].open("wb") as out, written[1].open("wb") as err:
        process = await asyncio.create_subprocess_exec(
            *map(str, command), cwd=cwd or home, env=environment(home, env), start_new_session=True,
            stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=err,
        )  # fmt: skip
        ended = f"no end within {TIMEOUT:.0f} s"
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(TIMEOUT):
                    ended = f"exit code {await process.wait()}"
        finally:
            with suppress(ProcessLookupError):  # with what it has started
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    said = Said(*(each.read_text(errors="replace") for each in written))
    words = " ".join(map(str, command))
    assert ended == "exit code 0", f"{words}\n{ended}\n--- stdout\n{said.out}\n--- stderr\n{said.err}"
    return said
