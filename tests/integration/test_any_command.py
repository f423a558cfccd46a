"""Any command as an engine: started, sent requests at its own paths, loaded on demand, stopped."""

import os
import signal
import sys

import aiohttp
import pytest

from tests.running import eventually

SERVER = """
import http.server, json, os, sys
from http.server import ThreadingHTTPServer

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, fields):
        body = json.dumps(fields).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(200 if self.path == "/alive" else 404, {})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        if self.headers["content-type"].startswith("multipart/"):
            body = json.dumps(body)
        keyed = self.headers["authorization"] == "Bearer " + os.environ["ROUTER_KEY"]
        self.answer(200, {"path": self.path, "body": json.loads(body), "keyed": keyed})

    def log_message(self, *_):
        pass

ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture
def command(tmp_path):
    (tmp_path / "serve.py").write_text(SERVER)
    return {
        "name": "whisper",
        "models": {"whisper-large": "w-1"},
        "launch": {
            "cmd": [sys.executable, "./serve.py", "{port}"],
            "ready": "/alive",
            "paths": ["/inference"],
            "memory": "64MiB",
        },
    }


@pytest.mark.parametrize("load", ["startup", "on_demand"])
async def test_a_command_is_started_and_sent_requests(start_router, session, command, load):
    """Under /v1 and at its own paths, by the name that it knows, with the router's key."""
    command["launch"]["load"] = load
    router = await start_router([command])
    for path in ("/inference", "/v1/audio/speech"):
        async with session.post(router.url + path, json={"model": "whisper-large", "x": 1}) as answer:
            assert answer.status == 200, await answer.text()
            assert await answer.json() == {"path": path, "body": {"model": "w-1", "x": 1}, "keyed": True}
            assert answer.headers["x-router-backend"] == "whisper"


@pytest.mark.parametrize("model", ["whisper-large", ""])
async def test_forms_and_requests_without_a_model(start_router, session, command, fake, model):
    """whisper.cpp takes a form with a file: where none is named, the model is the one that the path belongs to."""
    router = await start_router([{"url": fake.url, "models": ["demo"], "name": "fake"}, command])
    form = aiohttp.FormData()
    form.add_field("file", b"RIFF", filename="a.wav")
    if model:
        form.add_field("model", model)
    async with session.post(router.url + "/inference", data=form) as answer:
        assert answer.status == 200, await answer.text()
        said = await answer.json()
    assert "RIFF" in said["body"]
    assert "w-1" in said["body"]
    async with session.post(router.url + "/inference", json={"model": model, "x": 1} if model else {"x": 1}) as answer:
        assert answer.status == 200, await answer.text()
        assert (await answer.json())["body"] == {"model": "w-1", "x": 1}


@pytest.mark.parametrize("as_form", [False, True])
async def test_its_path_with_the_model_of_another(start_router, session, command, as_form):
    """Is a 400 that names its own: the other's 404 would say that the model is gone."""
    other = {**command, "name": "other", "models": ["other"], "launch": {**command["launch"], "paths": ["/other"]}}
    router = await start_router([command, other])
    form = aiohttp.FormData({"model": "other"})
    form.add_field("file", b"RIFF", filename="a.wav")
    asked = {"data": form} if as_form else {"json": {"model": "other"}}
    async with session.post(router.url + "/inference", **asked) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]["message"] == (
            "This model runs on a command, which has no /inference. Models that have it: whisper-large."
        )


async def test_other_paths_are_not_served(start_router, session, command):
    """Nor is what isn't a POST."""
    router = await start_router([command])
    async with session.post(router.url + "/load", json={"model": "whisper-large"}) as answer:
        assert answer.status == 404
    async with session.get(router.url + "/inference") as answer:
        assert answer.status == 404


async def test_its_paths_need_a_key_as_all_do(start_router, session, command):
    router = await start_router([command], auth={"keys": ["sesame"]})
    async with session.post(router.url + "/inference", json={"model": "whisper-large"}) as answer:
        assert answer.status == 401
    bearer = {"authorization": "Bearer sesame"}
    async with session.post(router.url + "/inference", json={"model": "whisper-large"}, headers=bearer) as answer:
        assert (answer.status, (await answer.json())["keyed"]) == (200, True)


async def test_it_is_started_again_when_it_ends(start_router, session, command):
    """As every engine is."""
    router = await start_router([command])
    async with session.post(router.url + "/inference", json={"model": "whisper-large"}) as answer:
        assert answer.status == 200
    (pid,) = router.fleet.pids.values()
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: pid not in router.fleet.pids.values())
    async with session.post(router.url + "/inference", json={"model": "whisper-large"}) as answer:
        assert answer.status == 200
