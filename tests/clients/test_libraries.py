"""Libraries that programs are built with; each runs in a program of its own (see programs/)."""

from pathlib import Path

import pytest

from tests.clients.running import INSTALLED, NODE, PROGRAMS, Said, run, that_ends
from tests.clients.scripted import HELLO, Call, ScriptedEngine
from tests.running import RunningRouter

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
CLIENTS = {
    "OpenAI's Python SDK": ("with_openai.py", [CHAT, RESPONSES]),
    "OpenAI's Node SDK": ("with_openai.mjs", [CHAT, RESPONSES]),
    "Anthropic's Python SDK": ("with_anthropic.py", [MESSAGES]),
    "Anthropic's Node SDK": ("with_anthropic.mjs", [MESSAGES]),
    "LangChain": ("with_langchain.py", [CHAT, MESSAGES, RESPONSES, "/api/chat"]),
    "pydantic-ai": ("with_pydantic_ai.py", [CHAT, MESSAGES, RESPONSES]),
    "openai-agents": ("with_agents.py", [CHAT, RESPONSES]),
    "ollama-python, as Home Assistant uses it": ("with_ollama.py", ["/api/chat"]),
    "Vercel AI SDK": ("with_ai_sdk.mjs", [CHAT, MESSAGES, RESPONSES, f"{CHAT} (compatible)"]),
}
NEED_AN_END = {("openai-agents", CHAT), ("openai-agents", RESPONSES), ("OpenAI's Python SDK", CHAT)}
"""Clients for which an answer that stops at the token limit is an error."""
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
    model = that_ends(engine) if (client, api) in NEED_AN_END else engine
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


async def instruct(router: RunningRouter, api: str, feature: str, model: str, home: Path) -> str:
    """Ask instructor for an object of a type, and give one of its fields."""
    python, program = INSTALLED / "instructor/bin/python", PROGRAMS / "with_instructor.py"
    return str((await run(python, program, api, feature, router.url, model, home=home)).last["text"])


@pytest.mark.compatible("instructor", "api", "structured output as a call")
@pytest.mark.parametrize("api", [CHAT, MESSAGES])
async def test_an_object_as_the_call_of_a_tool(router: RunningRouter, scripted: ScriptedEngine, home: Path, api: str):
    """The model calls the tool that the library makes of a type."""
    scripted.script(Call("Meaning", {"word": "sesame", "meaning": "a seed"}))
    assert await instruct(router, api, "a call", "scripted", home) == "a seed"
    assert not scripted.refused


@pytest.mark.compatible("instructor", "/v1/chat/completions", "structured output")
@pytest.mark.parametrize("engine", ["llama_cpp", "llama_server"])  # mlx holds no answer to a form, and says so
async def test_an_object_as_the_answers_form(router: RunningRouter, home: Path, engine: str):
    """The engine holds the answer to the schema."""
    assert await instruct(router, CHAT, "structured output", f"by-{engine}", home) in {"a seed", "a flower"}


@pytest.mark.compatible("client", "api", "embeddings")
@pytest.mark.parametrize("engine", ["scripted", "llama_cpp", "llama_server"])
@pytest.mark.parametrize(
    ("client", "api"),
    [
        ("LangChain", "/v1/embeddings"),
        ("LangChain", "/api/embed"),
        ("OpenAI's Python SDK", "/v1/embeddings"),
        ("OpenAI's Node SDK", "/v1/embeddings"),
        ("Vercel AI SDK", "/v1/embeddings"),
    ],
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
