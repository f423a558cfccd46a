"""What web pages get of a launched engine itself: its port is on the machine of whoever looks at them."""

import json

import aiohttp
import psutil
import pytest

from tests.running import RunningRouter

CONFIG = """
server: {port: 0}
backends: [{name: demo, launch: {engine: ENGINE, model: "FOLDER"}}]
"""
CHAT = "/v1/chat/completions"
ASK = json.dumps({"model": "demo", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1})


@pytest.fixture
async def session(tmp_path, model, name):
    """Ask the engine itself."""
    config = CONFIG.replace("ENGINE", name).replace("FOLDER", str(model))
    async with RunningRouter(tmp_path, config) as router:
        await router.ready()
        connections = [each for process in router.engines for each in process.net_connections("tcp")]
        (port,) = {each.laddr.port for each in connections if each.status == psutil.CONN_LISTEN}
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as asking:
            yield asking


@pytest.mark.parametrize("name", ["llama_cpp", "mlx"])
async def test_no_page_is_answered_by_an_engine(session):
    """Neither a simple POST, nor a preflight, nor one whose name was pointed here; a program is."""
    for more in (
        {"origin": "https://evil.test", "content-type": "text/plain"},
        {"origin": "null", "content-type": "application/json"},
        {"host": "evil.test", "content-type": "application/json"},
    ):
        async with session.post(CHAT, data=ASK, headers=more) as answer:
            assert answer.status == 403
            assert not any(header.lower().startswith("access-control") for header in answer.headers)
        async with session.get("/v1/models", headers=more) as answer:
            assert answer.status == 403
    asks = {"origin": "https://evil.test", "access-control-request-method": "POST"}
    async with session.options(CHAT, headers=asks) as answer:
        assert answer.status == 403
        assert "access-control-allow-origin" not in answer.headers
    async with session.post(CHAT, data=ASK, headers={"content-type": "application/json"}) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("name", ["llama_server"])
async def test_no_page_can_read_what_an_engine_answers(session):
    """The package's server answers whoever asks; a browser keeps what it says from the page."""
    asks = {"origin": "https://evil.test", "access-control-request-method": "POST"}
    for method, more in (("POST", {"origin": "https://evil.test", "content-type": "text/plain"}), ("OPTIONS", asks)):
        async with session.request(method, CHAT, data=ASK, headers=more) as answer:
            assert answer.headers["access-control-allow-origin"] == "http://127.0.0.1"
