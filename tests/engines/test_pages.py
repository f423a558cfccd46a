"""What web pages get of a launched engine itself: its port is on the machine of whoever looks at them."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import aiohttp
import psutil
import pytest
import pytest_asyncio

from tests.running import RunningRouter

CONFIG = """
server: {port: 0}
backends: [{name: demo, launch: {engine: ENGINE, model: "FOLDER"}}]
logging: {dir: "LOGS"}
"""
CHAT = "/v1/chat/completions"
BODY = json.dumps({"model": "demo", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1})


pytestmark = pytest.mark.asyncio(loop_scope="module")

Ask = Callable[..., Awaitable[tuple[int, Mapping[str, str]]]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def router(tmp_path_factory, model, name):
    """Start a router with one engine, which its tests share."""
    folder = tmp_path_factory.mktemp(name)
    config = CONFIG.replace("ENGINE", name).replace("FOLDER", str(model)).replace("LOGS", str(folder / "logs"))
    async with RunningRouter(folder, config) as running:
        yield await running.ready()


@pytest_asyncio.fixture(loop_scope="module")
async def ask(router) -> AsyncIterator[Ask]:
    """Ask the engine itself; give the answer's status and headers."""
    connections = [each for process in router.engines for each in process.net_connections("tcp")]
    (port,) = {each.laddr.port for each in connections if each.status == psutil.CONN_LISTEN}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:

        async def asked(method: str, path: str, headers: Mapping[str, str]) -> tuple[int, Mapping[str, str]]:
            body = BODY if method == "POST" else None
            async with session.request(method, path, data=body, headers=headers) as answer:
                return answer.status, answer.headers

        yield asked


@pytest.mark.parametrize("name", ["llama_cpp", "llama_server", "mlx"], scope="module")
async def test_an_engine_answers_nobody_without_its_key(router, ask):
    """Neither a page's simple POST, nor one whose name was pointed here, nor another program of this machine."""
    for more in (
        {"origin": "https://evil.test", "content-type": "text/plain"},
        {"host": "evil.test", "content-type": "application/json"},
        {"content-type": "application/json"},
        {"content-type": "application/json", "authorization": "Bearer guessed"},
    ):
        for method, path in (("POST", CHAT), ("POST", "/v1/completions"), ("GET", "/v1/models")):
            status, _ = await ask(method, path, more)
            assert status in {401, 403}, (method, path, more)
    status, _ = await ask("POST", CHAT, {"content-type": "application/json", **router.key()})
    assert status == 200


@pytest.mark.parametrize("name", ["llama_cpp", "mlx"], scope="module")
async def test_no_page_is_answered_by_an_engine(router, ask):
    """Not even one that has its key."""
    for more in ({"origin": "https://evil.test"}, {"origin": "null"}, {"host": "evil.test"}):
        for method, path in (("POST", CHAT), ("GET", "/v1/models"), ("OPTIONS", CHAT)):
            asks = {"access-control-request-method": "POST"} if method == "OPTIONS" else router.key()
            status, headers = await ask(method, path, {"content-type": "application/json", **more, **asks})
            assert status == 403
            assert not any(header.lower().startswith("access-control") for header in headers)


@pytest.mark.parametrize("name", ["llama_server"], scope="module")
async def test_no_page_can_read_what_an_engine_answers(ask):
    """A browser keeps from the page what the package's server says to it."""
    asks = {"origin": "https://evil.test", "access-control-request-method": "POST"}
    for method, more in (("POST", {"origin": "https://evil.test", "content-type": "text/plain"}), ("OPTIONS", asks)):
        _, headers = await ask(method, CHAT, more)
        assert headers["access-control-allow-origin"] == "http://127.0.0.1"


@pytest.mark.parametrize("name", ["llama_cpp"], scope="module")
async def test_the_key_of_an_engine_stands_where_no_other_user_reads_it(router):
    """In its record, for the next router, and in its environment; on no command line, and in no log."""
    key = router.key()["authorization"].removeprefix("Bearer ")
    assert len(key) >= 32
    (record,) = router.folder.rglob("run/demo.json")
    assert record.stat().st_mode & 0o777 == 0o600
    assert not any(key in word for process in (router.keeper, *router.engines) for word in process.cmdline())
    logs = [path.read_text(errors="replace") for path in (router.folder / "logs").glob("*.log")]
    assert logs
    assert not any(key in said for said in (router.said, *logs))
