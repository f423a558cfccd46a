"""Claude Code, which speaks Anthropic's Messages API."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.clients.running import NODE, run, that_ends
from tests.clients.scripted import HELLO, Call, ScriptedEngine
from tests.running import RunningRouter

API = "/v1/messages"


async def ask(router: RunningRouter, home: Path, model: str, prompt: str, *options: str) -> dict[str, Any]:
    """Ask it for one thing; give the object that it prints."""
    said = await run(
        NODE / ".bin/claude", "-p", prompt, "--output-format", "json", *options,
        home=home, cwd=home / "work", CLAUDE_CONFIG_DIR=str(home / "claude"),
        ANTHROPIC_BASE_URL=router.url, ANTHROPIC_AUTH_TOKEN="none", ANTHROPIC_MODEL=model,
        ANTHROPIC_DEFAULT_HAIKU_MODEL=model, CLAUDE_CODE_MAX_RETRIES="0",
    )  # fmt: skip
    assert not said.last["is_error"], said
    return said.last


@pytest.mark.compatible("Claude Code", API, "chat, streamed")
@pytest.mark.parametrize("engine", ["scripted", "llama_cpp", "llama_server"])  # mlx reads its prompt for minutes
async def test_says_hello(router: RunningRouter, scripted: ScriptedEngine, home: Path, engine: str):
    """A prompt is answered."""
    answer = await ask(router, home, that_ends(engine), "Say hello")
    assert answer["result"] == HELLO if engine == "scripted" else answer["result"]
    assert answer["usage"]["output_tokens"] > 0
    assert not scripted.refused


@pytest.mark.compatible("Claude Code", API, "tools")
async def test_runs_a_command(router: RunningRouter, scripted: ScriptedEngine, home: Path):
    """The model asks for a command, and then has what it printed."""
    scripted.script(Call("Bash", {"command": "echo sesame-$((4700 + 11))", "description": "Print a word"}))
    answer = await ask(router, home, "scripted", "Run the command", "--allowedTools", "Bash")
    assert answer["result"] == "The tool said: sesame-4711"
    assert answer["num_turns"] == 2
    assert not scripted.refused


@pytest.mark.compatible("Claude Code", API, "several tools")
async def test_reads_a_file_and_changes_it(router: RunningRouter, scripted: ScriptedEngine, home: Path):
    """The model reads a file, changes it and reads it again: four requests of one conversation."""
    file = home / "work" / "note.txt"
    file.write_text("the word is sesame\n")
    read = Call("Read", {"file_path": str(file)})
    scripted.script(read, Call("Edit", {"file_path": str(file), "old_string": "sesame", "new_string": "poppy"}), read)
    answer = await ask(router, home, "scripted", "Change the word", "--allowedTools", "Read,Edit")
    assert file.read_text() == "the word is poppy\n"
    assert answer["num_turns"] == 4
    assert not scripted.refused


@pytest.mark.compatible("Claude Code", API, "failed tool")
async def test_a_tool_that_fails(router: RunningRouter, scripted: ScriptedEngine, home: Path):
    """What a failed command said reaches the model."""
    scripted.script(Call("Bash", {"command": "ls /no/such/folder", "description": "Look"}))
    answer = await ask(router, home, "scripted", "Look there", "--allowedTools", "Bash")
    assert "/no/such/folder" in answer["result"]
    assert not scripted.refused


@pytest.mark.compatible("Claude Code", API, "prompt cache")
@pytest.mark.parametrize("engine", ["llama_server"])
async def test_the_engine_has_the_prompt_cached(router: RunningRouter, home: Path, engine: str):
    """The next turn of a conversation finds all that was before in the engine's cache, whatever its billing line."""
    await ask(router, home, that_ends(engine), "Say hello")
    usage = (await ask(router, home, that_ends(engine), "Say good morning", "--continue"))["usage"]
    assert usage["cache_read_input_tokens"] > 9 * usage["input_tokens"]


@pytest.mark.compatible("Claude Code", API, "same prompt each time")
async def test_the_prompt_is_the_same_each_time(router: RunningRouter, scripted: ScriptedEngine, home: Path):
    """Two conversations begin with the same system prompt, so that an engine's cache of it is of use."""
    beginnings = []
    for _ in range(2):
        await ask(router, home, "scripted", "Say hello")
        beginnings.append(json.dumps(scripted.requests[-1]["messages"][0]))
        scripted.script()
    assert beginnings[0] == beginnings[1]
    assert "x-anthropic-billing-header" not in beginnings[0]
