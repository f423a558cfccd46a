"""One router for all programs, before a scripted engine and the real ones; and a record of what worked with which."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Final

import aiohttp
import pytest
import pytest_asyncio
from pytest_asyncio import is_async_test

from scripts import make_demo_model
from tests.clients.running import INSTALLED
from tests.clients.scripted import ScriptedEngine
from tests.clients.versions import versions
from tests.running import RunningRouter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

RESULTS: Final = INSTALLED / "results.json"
"""What `scripts.make_compatibility_docs` reads."""
CONTEXT: Final = 65536
"""Tokens of context: the prompts of coding agents take 14,000 of them."""

CONFIG: Final = """
server: {port: 0}
backends:
  - {name: scripted, url: "SCRIPTED", models: [scripted]}
  - name: llama_cpp
    models: [by-llama_cpp]
    launch: {engine: llama_cpp, model: MODEL, args: {n_ctx: CONTEXT, embedding: true}}
  - name: llama_server
    models: [by-llama_server]
    launch:
      engine: llama_server
      model: MODEL
      args: {ctx-size: CONTEXT, parallel: 2, kv-unified: true, embedding: true}
  - {name: mlx, models: [by-mlx], launch: {engine: mlx, model: MODEL}}
routes:
  llama_cpp: {to: by-llama_cpp, set: {max_tokens: 40}}
  llama_server: {to: by-llama_server, set: {max_tokens: 40}}
  mlx: {to: by-mlx, set: {max_tokens: 40}}
  # The demo model never ends by itself. For programs that take the token limit for an error, there are strings that
  # reach from one word to the next: they come soon, and never before the first word.
  llama_cpp-ends:
    to: by-llama_cpp
    set: &ends {max_tokens: 3000, stop: &stops [e t, s a, d o, n e], stop_sequences: *stops}
  llama_server-ends: {to: by-llama_server, set: *ends}
  mlx-ends: {to: by-mlx, set: *ends}
logging: {dir: FOLDER/logs}
state: {dir: FOLDER/state}
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run all tests on the loop that the router and the scripted engine are on."""
    for item in items:
        if is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


# ---------------------------------------------------------------- what is in front of the programs


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the demo model with a longer context."""
    folder = tmp_path_factory.mktemp("model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(make_demo_model, "CONTEXT", CONTEXT)
        make_demo_model.write_files(folder, make_demo_model.build_files())
    return folder


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def engine_with_script() -> AsyncIterator[ScriptedEngine]:
    """Start the scripted engine."""
    async with ScriptedEngine() as engine:
        yield engine


@pytest.fixture
def scripted(engine_with_script: ScriptedEngine) -> ScriptedEngine:
    """Give the scripted engine, which asks for no tools yet."""
    engine_with_script.script()
    return engine_with_script


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def router(
    tmp_path_factory: pytest.TempPathFactory, engine_with_script: ScriptedEngine, model: Path
) -> AsyncIterator[RunningRouter]:
    """Start a router before all engines, each of which serves a model of its own name."""
    folder = tmp_path_factory.mktemp("router")
    words = {"SCRIPTED": engine_with_script.url, "MODEL": str(model), "CONTEXT": str(CONTEXT), "FOLDER": str(folder)}
    config = CONFIG
    for word, value in words.items():
        config = config.replace(word, value)
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(RunningRouter(folder, config))
        yield await _all_ready(await running.ready())


async def _all_ready(running: RunningRouter) -> RunningRouter:
    async with asyncio.timeout(60), aiohttp.ClientSession(running.url) as session:
        while True:
            listed = await (await session.get("/v1/models")).json()
            if all(each["state"] == "ready" for each in listed["data"]):
                return running
            await asyncio.sleep(0.1)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Make an empty home, and in it an empty `work` to stand in."""
    (tmp_path / "work").mkdir()
    return tmp_path


# ---------------------------------------------------------------- what worked


@dataclass(frozen=True)
class Result:
    """One cell of the table: whether a feature of a client works by an API on an engine."""

    client: str
    api: str
    feature: str
    engine: str
    worked: bool


def _results(item: pytest.Item, *, worked: bool) -> Iterator[Result]:
    chosen: dict[str, str] = item.callspec.params if hasattr(item, "callspec") else {}
    for marker in item.iter_markers("compatible"):
        client, api, feature = (chosen.get(word, word) for word in marker.args)
        yield Result(client, api, feature, chosen.get("engine", "scripted"), worked)


WORDS: Final = ("client", "api", "feature", "engine")
"""The fields of a result that say which cell it is."""
FOUND: Final = pytest.StashKey[dict[tuple[str, ...], Result]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Keep what a test found, on the session's stash."""
    report: pytest.TestReport = yield  # type: ignore[assignment]
    if report.when == "call" or report.failed:
        found = item.config.stash.setdefault(FOUND, {})
        for result in _results(item, worked=report.passed):
            key = tuple(getattr(result, word) for word in WORDS)
            found[key] = result if result.worked and found.get(key, result).worked else replace(result, worked=False)
    return report  # type: ignore[return-value]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write what was found. What other tests found before stays, while the versions are the same."""
    found = session.config.stash.get(FOUND, {})
    if not found:
        return
    results = {key: asdict(result) for key, result in found.items()}
    if RESULTS.exists():
        earlier = json.loads(RESULTS.read_text(encoding="utf-8"))
        if earlier["versions"] == versions():
            results = {tuple(each[word] for word in WORDS): each for each in earlier["results"]} | results
    document = {"versions": versions(), "results": list(results.values())}
    RESULTS.write_text(json.dumps(document, indent=1), encoding="utf-8")
