"""`connect --exec`: programs that are started by the router's own command, and need nothing else."""

import json
import sys
from pathlib import Path

import pytest

from tests.clients.running import INSTALLED, NODE, Said, run
from tests.clients.scripted import HELLO, ScriptedEngine
from tests.running import RunningRouter

ASK = {
    "claude": ("-p", "Say hello"),
    "codex": ("exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "Say hello"),
    "opencode": ("run", "Say hello"),
    "aider": (
        "--message", "Say hello", "--no-git", "--yes-always", "--no-check-update", "--no-show-model-warnings",
        "--no-show-release-notes", "--no-detect-urls", "--analytics-disable", "--no-pretty", "--edit-format", "ask",
    ),
    "continue": ("-p", "Say hello"),
}  # fmt: skip
"""By program, what has it ask one thing."""


async def start(router: RunningRouter, home: Path, client: str, *, path: str) -> Said:
    """Start a program by `connect`; give what it says."""
    return await run(
        sys.executable, "-m", "router", "connect", client, "--model", "scripted", "--exec", "--url", router.url, "--",
        *ASK[client], home=home, cwd=home / "work", PATH=path,
    )  # fmt: skip


@pytest.mark.parametrize("client", ASK)
async def test_says_hello(router: RunningRouter, scripted: ScriptedEngine, home: Path, client: str):
    """It asks the router, and shows the answer."""
    said = await start(router, home, client, path=f"{NODE / '.bin'}:{INSTALLED / 'aider/bin'}:/usr/bin:/bin")
    assert HELLO in said.out, json.dumps([said.out, said.err])
    assert not scripted.refused
