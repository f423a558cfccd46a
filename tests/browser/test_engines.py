"""What web pages can do to a launched engine, whose port is on the machine of whoever looks at them."""

import importlib.util
import re
from collections.abc import AsyncIterator

import aiohttp
import psutil
import pytest

from tests.running import REPOSITORY, RunningRouter

ENGINE = "llama_server" if importlib.util.find_spec("xllamacpp") else "llama_cpp"
CONFIG = f"""
server: {{port: 0}}
backends: [{{name: demo, launch: {{engine: {ENGINE}, model: {REPOSITORY}/models/demo}}}}]
logging: {{dir: LOGS}}
"""
TRIES = """async (engine) => {
  const body = JSON.stringify({model: "demo", max_tokens: 1, prompt: "a", messages: [{role: "user", content: "a"}]})
  const found = []
  const read = async (path, options) => {
    try { found.push((await fetch(engine + path, options)).status) } catch (error) { found.push(0) }
  }
  for (const path of ["/v1/chat/completions", "/v1/completions"]) {
    await read(path, {method: "POST", mode: "no-cors", headers: {"content-type": "text/plain"}, body})
    await read(path, {method: "POST", headers: {"content-type": "application/json"}, body})
    navigator.sendBeacon(engine + path, body)
  }
  await read("/v1/models", {})
  await read("/metrics", {})
  return found
}"""


@pytest.fixture
async def router(tmp_path) -> AsyncIterator[RunningRouter]:
    """Start a router with a real engine."""
    async with RunningRouter(tmp_path, CONFIG.replace("LOGS", str(tmp_path / "logs"))) as running:
        yield await running.ready()


@pytest.fixture
def engine(router) -> str:
    """Give the port of the engine itself."""
    connections = [each for process in router.engines for each in process.net_connections("tcp")]
    (port,) = {each.laddr.port for each in connections if each.status == psutil.CONN_LISTEN}
    return str(port)


async def work_of(engine: str, router: RunningRouter) -> float:
    """Tell how many tokens the engine has read and made, if it is one that says so."""
    async with (
        aiohttp.ClientSession(headers=router.key()) as session,
        session.get(f"http://127.0.0.1:{engine}/metrics") as answer,
    ):
        counted = re.findall(
            r"^llamacpp:(?:prompt_tokens|tokens_predicted)_total (\S+)", await answer.text(), re.MULTILINE
        )
    return sum(map(float, counted))


async def test_a_page_of_another_site_drives_no_engine(router, engine, page, site):
    """It can send, and reads nothing; and the engine does nothing of what it says."""
    before = await work_of(engine, router)
    await page.goto(f"http://evil.test:{site}/")
    found = await page.evaluate(TRIES, f"http://127.0.0.1:{engine}")
    assert 200 not in found
    assert await work_of(engine, router) == before


async def test_a_page_whose_name_was_pointed_at_an_engine_reads_nothing(router, engine, page):
    """It is the engine's own page, to the browser; what it lacks is the key."""
    before = await work_of(engine, router)
    await page.goto(f"http://evil.test:{engine}/health")
    found = await page.evaluate(TRIES, "")
    assert set(found) <= {401, 403, 404}
    assert 404 not in found[:-1]  # /metrics, which one has and another hasn't
    assert await work_of(engine, router) == before
