"""Agents that can speak several APIs: GitHub Copilot's command and Continue's."""

from pathlib import Path

import pytest

from tests.clients.running import NODE, Said, run, that_ends
from tests.clients.scripted import HELLO, Call, ScriptedEngine
from tests.running import RunningRouter

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
COPILOT = {CHAT: ("openai", "/v1"), MESSAGES: ("anthropic", ""), RESPONSES: ("openai", "/v1")}
"""By the API, the kind of provider and what stands behind the router's address."""
CONTINUE = {CHAT: ("openai", "/v1"), MESSAGES: ("anthropic", "/v1"), "/api/chat": ("ollama", "")}


async def copilot(router: RunningRouter, home: Path, api: str, model: str, prompt: str) -> Said:
    """Ask Copilot for one thing."""
    kind, path = COPILOT[api]
    return await run(
        NODE / ".bin/copilot", "-p", prompt, "--allow-all-tools", "--no-color", "--silent",
        home=home, cwd=home / "work", COPILOT_OFFLINE="true", COPILOT_MODEL=model, COPILOT_PROVIDER_TYPE=kind,
        COPILOT_PROVIDER_BASE_URL=router.url + path, COPILOT_PROVIDER_API_KEY="none",
        COPILOT_PROVIDER_WIRE_API="responses" if api == RESPONSES else "completions",
    )  # fmt: skip


@pytest.mark.compatible("GitHub Copilot's CLI", "api", "chat, streamed")
@pytest.mark.parametrize("engine", ["scripted", "llama_cpp", "llama_server"])
@pytest.mark.parametrize("api", COPILOT)
async def test_copilot(router: RunningRouter, scripted: ScriptedEngine, home: Path, api: str, engine: str):
    """A prompt is answered."""
    said = await copilot(router, home, api, that_ends(engine), "Say hello")
    assert HELLO in said.out if engine == "scripted" else said.out.strip()
    assert not scripted.refused


@pytest.mark.compatible("GitHub Copilot's CLI", "api", "tools")
@pytest.mark.parametrize("api", COPILOT)
async def test_copilot_runs_a_command(router: RunningRouter, scripted: ScriptedEngine, home: Path, api: str):
    """The model asks for a command, and then has what it printed."""
    scripted.script(Call("bash", {"command": "echo sesame-$((4700 + 11))", "description": "Print a word"}))
    said = await copilot(router, home, api, "scripted", "Run the command")
    assert "The tool said: sesame-4711" in said.out
    assert not scripted.refused


async def proceed(router: RunningRouter, home: Path, api: str, model: str, prompt: str) -> Said:
    """Ask Continue for one thing."""
    provider, path = CONTINUE[api]
    config = home / "config.yaml"
    config.write_text(
        f"name: test\nversion: 1.0.0\nschema: v1\nmodels:\n  - name: {model}\n    provider: {provider}\n"
        f"    model: {model}\n    apiBase: {router.url}{path}\n    apiKey: none\n    roles: [chat]\n"
        "    capabilities: [tool_use]\n"
    )
    return await run(
        NODE / ".bin/cn", "--config", config, "--auto", "-p", prompt,
        home=home, cwd=home / "work", CONTINUE_TELEMETRY_ENABLED="0", CONTINUE_GLOBAL_DIR=str(home / "continue"),
    )  # fmt: skip


@pytest.mark.compatible("Continue's CLI", "api", "chat, streamed")
@pytest.mark.parametrize("engine", ["scripted", "llama_cpp", "llama_server"])
@pytest.mark.parametrize("api", CONTINUE)
async def test_continue(router: RunningRouter, scripted: ScriptedEngine, home: Path, api: str, engine: str):
    """A prompt is answered."""
    said = await proceed(router, home, api, that_ends(engine), "Say hello")
    assert HELLO in said.out if engine == "scripted" else said.out.strip()
    assert not scripted.refused


@pytest.mark.compatible("Continue's CLI", "api", "tools")
@pytest.mark.parametrize("api", CONTINUE)
async def test_continue_runs_a_command(router: RunningRouter, scripted: ScriptedEngine, home: Path, api: str):
    """The model asks for a command, and then has what it printed."""
    scripted.script(Call("Bash", {"command": "echo sesame-$((4700 + 11))"}))
    said = await proceed(router, home, api, "scripted", "Run the command")
    assert "sesame-4711" in said.out
    assert not scripted.refused
