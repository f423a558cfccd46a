"""Open WebUI's backend, with its two kinds of connection: OpenAI's API, and Ollama's."""

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import suppress

import aiohttp
import pytest
import pytest_asyncio

from tests.clients.running import INSTALLED, environment
from tests.clients.scripted import HELLO, ScriptedEngine
from tests.running import RunningRouter

ENGINES = ["scripted", "llama_cpp", "llama_server", "mlx"]
START = 100
"""Seconds that its start may take: the first makes its database, in a hundred steps."""


@pytest_asyncio.fixture(
    scope="module", loop_scope="session", params=["/v1/chat/completions", "/api/chat"], ids=["openai", "ollama"]
)
async def webui(
    request: pytest.FixtureRequest, router: RunningRouter, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[aiohttp.ClientSession]:
    """Start it with one kind of connection, to the router; give a session that is signed in."""
    home = tmp_path_factory.mktemp("webui")
    settings = {
        "DATA_DIR": str(home),
        "ENABLE_OLLAMA_API": str(request.param == "/api/chat"),
        "ENABLE_OPENAI_API": str(request.param != "/api/chat"),
        "FROM_INIT_PY": "true",
        "OFFLINE_MODE": "true",
        "OLLAMA_BASE_URL": router.url,
        "OPENAI_API_BASE_URL": router.url + "/v1",
        "OPENAI_API_KEY": "none",
        "USE_SLIM": "true",
        "USE_SLIM_DOCKER": "true",
        "WEBUI_AUTH": "false",
        "WEBUI_SECRET_KEY": "none",
    }
    with (home / "log").open("wb") as log, socket.create_server(("127.0.0.1", 0)) as listening:
        port, fd = listening.getsockname()[1], listening.fileno()
        process = await asyncio.create_subprocess_exec(
            str(INSTALLED / "webui/bin/python"), "-m", "uvicorn", "open_webui.main:app", "--fd", str(fd),
            cwd=home, env=environment(home, settings), start_new_session=True, stdout=log, stderr=log, pass_fds=[fd],
        )  # fmt: skip
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            try:
                # Its socket is there before it is: the answer comes once it has started, or an error if it dies.
                async with session.get("/health", timeout=aiohttp.ClientTimeout(START), raise_for_status=True):
                    pass
            except (TimeoutError, aiohttp.ClientError):
                pytest.fail((home / "log").read_text(errors="replace"))
            signed_in = await (await session.post("/api/v1/auths/signin", json={"email": "", "password": ""})).json()
            session.headers["authorization"] = f"Bearer {signed_in['token']}"
            yield session
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


@pytest.mark.compatible("Open WebUI", "webui", "models")
async def test_lists_models(webui: aiohttp.ClientSession):
    """Each model can be chosen."""
    listed = await (await webui.get("/api/models")).json()
    names = {each["id"].removesuffix(":latest") for each in listed["data"]}
    assert set(ENGINES) <= names


@pytest.mark.compatible("Open WebUI", "webui", "chat, streamed")
@pytest.mark.parametrize("engine", ENGINES)
async def test_chat(webui: aiohttp.ClientSession, scripted: ScriptedEngine, engine: str):
    """A message is answered, in pieces."""
    listed = await (await webui.get("/api/models")).json()
    name = next(each["id"] for each in listed["data"] if each["id"].removesuffix(":latest") == engine)
    body = {"model": name, "stream": True, "messages": [{"role": "user", "content": "Say hello"}]}
    async with webui.post("/api/chat/completions", json=body) as answer:
        assert answer.status == 200, await answer.text()
        lines = [line async for line in answer.content]
    events = [json.loads(line[6:]) for line in lines if line.startswith(b"data: {")]
    deltas = [choice["delta"].get("content") or "" for event in events for choice in event.get("choices", [])]
    pieces = list(filter(None, deltas))
    assert len(pieces) > 1, lines
    assert "".join(pieces) == HELLO or engine != "scripted"
    assert not scripted.refused
