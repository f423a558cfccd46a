"""The router as a person runs it, on the real llama_cpp.server and a demo model made afresh."""

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from openai import AsyncOpenAI

from launchers.engines import ENGINES
from router.core.apis import MESSAGES
from tests.engines.fronts import Front, Fronts
from tests.engines.test_contract import config, installed
from tests.engines.test_forms import MORE
from tests.running import REPOSITORY, RunningRouter

BASIS = "llama_cpp"
"""The engine on which `make test` tries what is ours alone, and so the same with each engine."""

CONFIG = """
server: {port: 0}
backends:
  - name: demo
    models: [demo]
    launch: {model: MODEL, args: {embedding: true, n_ctx: 8192}}
routes: {gpt-4o-mini: demo}
"""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave what is marked `same_with_each` to `make test-engines`, except with the basis."""
    for item in items:
        if item.get_closest_marker("same_with_each") and item.callspec.params["name"] != BASIS:  # type: ignore[attr-defined]
            item.add_marker(pytest.mark.long)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the demo model."""
    folder = tmp_path_factory.mktemp("model")
    subprocess.run([sys.executable, REPOSITORY / "scripts/make_demo_model.py", folder], check=True)
    return folder


@pytest.fixture
async def router(tmp_path: Path, model: Path) -> AsyncIterator[RunningRouter]:
    """Start a router that is ready."""
    async with RunningRouter(tmp_path, CONFIG.replace("MODEL", str(model))) as running:
        yield await running.ready()


@pytest.fixture
async def client(router: RunningRouter) -> AsyncIterator[AsyncOpenAI]:
    """Give OpenAI's own client, which doesn't try again by itself."""
    async with AsyncOpenAI(base_url=router.url + "/v1", api_key="none", max_retries=0) as openai:
        yield openai


# What the tests of official SDKs share


@pytest.fixture(scope="module", params=installed())
def name(request: pytest.FixtureRequest) -> str:
    """Name an engine."""
    return str(request.param)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fronts(tmp_path_factory: pytest.TempPathFactory, model: Path, name: str) -> AsyncIterator[Fronts]:
    """Start an engine, and the routers before it."""
    words = config(name, model)
    if name in MORE:
        words = words.replace("args: {", "args: {" + MORE[name] + ", ")
    async with Fronts(tmp_path_factory.mktemp(name), words, name) as started:
        yield started


@pytest.fixture(params=["launched", "a server"])
def front(request: pytest.FixtureRequest, fronts: Fronts, name: str) -> Front:
    """Give the router that has launched the engine, or the one that has to translate; it is the same for some."""
    if request.param == "launched":
        return fronts.native
    if MESSAGES not in ENGINES[name].apis:
        pytest.skip("it is translated anyway")
    return fronts.translated
