"""Codex, which speaks OpenAI's Responses API."""

import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.clients.running import NODE, run, that_ends
from tests.clients.scripted import HELLO, Call, ScriptedEngine
from tests.running import RunningRouter

API = "/v1/responses"
SHELL = "exec_command"
"""Its tool that runs commands."""
CONFIG = """
model = "{model}"
model_provider = "router"
[model_providers.router]
name = "router"
base_url = "{url}/v1"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 0
[analytics]
enabled = false
[otel]
exporter = "none"
"""


async def ask(router: RunningRouter, home: Path, model: str, prompt: str, more: str = "") -> list[dict[str, Any]]:
    """Ask it for one thing, with more in its configuration; give the items that it tells of."""
    (home / "codex").mkdir()
    (home / "codex" / "config.toml").write_text(more + CONFIG.format(model=model, url=router.url))
    said = await run(
        NODE / ".bin/codex", "exec", "--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox",
        prompt, home=home, cwd=home / "work", CODEX_HOME=str(home / "codex"),
    )  # fmt: skip
    events = [json.loads(line) for line in said.out.splitlines()]
    assert events[-1]["type"] == "turn.completed", said
    return [event["item"] for event in events if event["type"] == "item.completed"]


def texts(items: list[dict[str, Any]]) -> list[str]:
    """What the model said."""
    return [item["text"] for item in items if item["type"] == "agent_message"]


@pytest.mark.compatible("Codex", API, "chat, streamed")
@pytest.mark.parametrize("engine", ["scripted", "llama_cpp", "llama_server"])  # mlx reads its prompt for minutes
async def test_says_hello(router: RunningRouter, scripted: ScriptedEngine, home: Path, engine: str):
    """A prompt is answered."""
    (text,) = texts(await ask(router, home, that_ends(engine), "Say hello"))
    assert text == HELLO if engine == "scripted" else text
    assert not scripted.refused


@pytest.mark.compatible("Codex", API, "tools")
async def test_runs_a_command(router: RunningRouter, scripted: ScriptedEngine, home: Path):
    """The model asks for a command, and then has what it printed."""
    scripted.script(Call(SHELL, {"cmd": "echo sesame-$((4700 + 11))"}))
    items = await ask(router, home, "scripted", "Run the command")
    assert "sesame-4711" in texts(items)[-1]
    assert [item["aggregated_output"] for item in items if item["type"] == "command_execution"] == ["sesame-4711\n"]
    assert not scripted.refused


@pytest.mark.compatible("Codex", "/v1/models", "models")
async def test_knows_the_model(router: RunningRouter, scripted: ScriptedEngine, home: Path):
    """With the router's list as its catalogue, it knows the model, and its tools work as before."""
    async with aiohttp.ClientSession(router.url) as session:
        listed = await (await session.get("/v1/models", params={"client_version": "0.171.0"})).text()
    (home / "models.json").write_text(listed)
    scripted.script(Call(SHELL, {"cmd": "echo sesame-$((4700 + 11))"}))
    items = await ask(router, home, "scripted", "Run the command", f'model_catalog_json = "{home}/models.json"\n')
    assert not [item for item in items if item["type"] == "error"]
    assert "sesame-4711" in texts(items)[-1]
    assert not scripted.refused
