"""Libraries that programs are built with; each runs in a program of its own (see programs/)."""

from pathlib import Path

import pytest

from tests.clients.running import INSTALLED, NODE, PROGRAMS, Said, run, that_ends
from tests.clients.scripted import HELLO, Call, ScriptedEngine
from tests.running import RunningRouter

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
CLIENTS = {
    "LangChain": ("with_langchain.py", [CHAT, MESSAGES, RESPONSES, "/api/chat"]),
    "pydantic-ai": ("with_pydantic_ai.py", [CHAT, MESSAGES, RESPONSES]),
    "openai-agents": ("with_agents.py", [CHAT, RESPONSES]),
    "ollama-python, as Home Assistant uses it": ("with_ollama.py", ["/api/chat"]),
    "Vercel AI SDK": ("with_ai_sdk.mjs", [CHAT, MESSAGES, RESPONSES, f"{CHAT} (compatible)"]),
}
ENGINES = ["scripted", "llama_cpp", "llama_server", "mlx"]
EACH = [(client, api) for client, (_, apis) in CLIENTS.items() for api in apis]


async def use(client: str, api: str, feature: str, router: RunningRouter, model: str, home: Path) -> Said:
    """Run the program that uses a client."""
    program = PROGRAMS / CLIENTS[client][0]
    runs = "node" if program.suffix == ".mjs" else INSTALLED / "sdks/bin/python"
    return await run(runs, program, api, feature, router.url, model, home=home, NODE=str(NODE))


@pytest.mark.compatible("client", "api", "chat, streamed")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("client", "api"), EACH)
async def test_chat(router: RunningRouter, scripted: ScriptedEngine, home: Path, client: str, api: str, engine: str):
    """A question is answered, in pieces."""
    model = that_ends(engine) if client == "openai-agents" else engine
    said = (await use(client, api, "chat", router, model, home)).last
    assert said["text"] == HELLO if engine == "scripted" else said["text"]
    assert said["pieces"] > (model == engine)
    assert not scripted.refused


@pytest.mark.compatible("client", "api", "tools")
@pytest.mark.parametrize(("client", "api"), EACH)
async def test_tools(router: RunningRouter, scripted: ScriptedEngine, home: Path, client: str, api: str):
    """The model asks for two calls, one after the other, and answers with what the last gave."""
    scripted.script(Call("look_up", {"word": "sesame"}), Call("look_up", {"word": "poppy"}))
    said = (await use(client, api, "tools", router, "scripted", home)).last
    assert said["text"].endswith("The tool said: poppy means yppop")
    assert len([body for body in scripted.requests if body.get("stream")]) == 3  # beside the router's own probes
    assert not scripted.refused


@pytest.mark.compatible("pydantic-ai", "api", "structured output")
@pytest.mark.parametrize("api", CLIENTS["pydantic-ai"][1])
async def test_structured_output(router: RunningRouter, scripted: ScriptedEngine, home: Path, api: str):
    """An object of a type is asked for as the call of a tool."""
    scripted.script(Call("final_result", {"word": "sesame", "meaning": "a seed"}))
    said = (await use("pydantic-ai", api, "structured output", router, "scripted", home)).last
    assert said["text"] == "a seed"
    assert not scripted.refused


@pytest.mark.compatible("client", "api", "embeddings")
@pytest.mark.parametrize("engine", ["scripted", "llama_cpp", "llama_server"])
@pytest.mark.parametrize(
    ("client", "api"),
    [("LangChain", "/v1/embeddings"), ("LangChain", "/api/embed"), ("Vercel AI SDK", "/v1/embeddings")],
)
async def test_embeddings(router: RunningRouter, home: Path, client: str, api: str, engine: str):
    """Two texts become two vectors of the model's size."""
    size = 2 if engine == "scripted" else 64
    assert (await use(client, api, "embeddings", router, engine, home)).last["sizes"] == [size, size]


@pytest.mark.compatible("ollama-python, as Home Assistant uses it", "/api/tags, /api/show", "models")
@pytest.mark.parametrize("engine", ENGINES)
async def test_models(router: RunningRouter, home: Path, engine: str):
    """The models are listed, and one is shown with what it can do."""
    client = "ollama-python, as Home Assistant uses it"
    said = (await use(client, "/api/tags", "models", router, engine, home)).last
    assert f"{engine}:latest" in said["names"] or engine in said["names"]
    assert "completion" in said["capabilities"]
