"""Commands for the terminal: aider and llm."""

from pathlib import Path

import pytest

from tests.clients.running import INSTALLED, Said, run, that_ends
from tests.clients.scripted import HELLO, Call, ScriptedEngine
from tests.running import RunningRouter

ENGINES = ["scripted", "llama_cpp", "llama_server", "mlx"]
AIDER = {"/v1/chat/completions": "openai", "/v1/messages": "anthropic", "/api/chat": "ollama_chat"}
"""By the API, what aider wants before the model's name."""


@pytest.mark.compatible("aider", "api", "chat, streamed")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("api", AIDER)
async def test_aider(router: RunningRouter, scripted: ScriptedEngine, home: Path, api: str, engine: str):
    """A question is answered."""
    model = f"{AIDER[api]}/{that_ends(engine)}"
    said = await run(
        INSTALLED / "aider/bin/aider", "--model", model, "--weak-model", model,
        "--message", "Say hello", "--no-git", "--yes-always", "--no-check-update", "--no-show-model-warnings",
        "--no-show-release-notes", "--no-detect-urls", "--analytics-disable", "--no-pretty", "--stream",
        "--edit-format", "ask",
        home=home, cwd=home / "work", OPENAI_API_BASE=router.url + "/v1", OPENAI_API_KEY="none",
        ANTHROPIC_API_BASE=router.url, ANTHROPIC_API_KEY="none", OLLAMA_API_BASE=router.url,
    )  # fmt: skip
    assert HELLO in said.out or engine != "scripted"
    assert "Tokens: " in said.out
    assert "litellm." not in said.out  # which its errors begin with
    assert not scripted.refused


async def llm(router: RunningRouter, home: Path, model: str, *options: str | Path) -> Said:
    """Run llm with a model of the router's."""
    (home / "llm").mkdir()
    (home / "llm/extra-openai-models.yaml").write_text(
        f"- {{model_id: {model}, model_name: {model}, api_base: '{router.url}/v1', supports_tools: true}}\n"
    )
    return await run(
        INSTALLED / "sdks/bin/llm", "-m", model, *options, "Say hello",
        home=home, LLM_USER_PATH=str(home / "llm"), OPENAI_API_KEY="none",
    )  # fmt: skip


@pytest.mark.compatible("llm", "/v1/chat/completions", "chat, streamed")
@pytest.mark.parametrize("engine", ENGINES)
async def test_llm(router: RunningRouter, scripted: ScriptedEngine, home: Path, engine: str):
    """A prompt is answered."""
    said = await llm(router, home, engine)
    assert said.out.strip() == HELLO if engine == "scripted" else said.out.strip()
    assert not scripted.refused


@pytest.mark.compatible("llm", "/v1/chat/completions", "tools")
async def test_llm_with_a_tool(router: RunningRouter, scripted: ScriptedEngine, home: Path):
    """A function of the user's is called, and the model answers with what it gave."""
    file = home / "functions.py"
    file.write_text('def backwards(word: str) -> str:\n    "Turn a word around"\n    return word[::-1]\n')
    scripted.script(Call("backwards", {"word": "sesame"}))
    said = await llm(router, home, "scripted", "--functions", file)
    assert said.out.strip() == "The tool said: emases"
    assert not scripted.refused
