"""`python -m router` as a person meets it: what it says, and how it ends."""

import asyncio
import os
import signal
import socket

import aiohttp
import pytest

from tests.fakes.engine import FakeEngine
from tests.running import RunningRouter, alive, eventually

CHAT = "/v1/chat/completions"
ASK = {"model": "demo", "messages": []}


def remote(fake: FakeEngine, more: str = "") -> str:
    return f"server: {{port: 0}}\nbackends: [{{url: '{fake.url}', models: [demo]}}]\n{more}"


async def refused(folder, config, *options, env=None) -> str:
    """Start what can't start; give its words."""
    async with RunningRouter(folder, config, *options, env=env) as router:
        assert await router.exit_code() == 2
    assert "Traceback" not in router.said
    return router.said


async def test_mistakes_in_router_yaml(tmp_path):
    """All of them at once, each with file, line, column and key."""
    said = await refused(
        tmp_path, "server:\n  port: many\nbackends:\n  - name: x\n    launch: {model: m, engine: vlm}\n"
    )
    assert "router.yaml:2:3 server.port: expected a whole number, got 'many'" in said
    assert "router.yaml:5:24 backends[0].launch.engine: 'vlm' is not an engine; did you mean 'vllm'?" in said


async def test_no_router_yaml(tmp_path):
    """The file that was looked for is named."""
    said = await refused(tmp_path, "", "--config", str(tmp_path / "nowhere.yaml"))
    assert "nowhere.yaml" in said


async def test_a_port_in_use(tmp_path):
    """No engine is started for nothing; the way out is said."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = await refused(tmp_path, f"server: {{port: {port}}}\nbackends: [{{url: 'http://127.0.0.1:1'}}]\n")
    assert f"{port} is in use" in said
    assert f"ROUTER_SERVER__PORT={port + 1}" in said


async def test_a_missing_model_and_an_engine_that_is_not_there(tmp_path):
    """Every backend's trouble is told in one go."""
    said = await refused(
        tmp_path,
        "backends:\n"
        "  - {name: a, launch: {model: ./nowhere.gguf, engine: llama_cpp}}\n"
        "  - {name: b, launch: {model: m, engine: vllm}}\n",
    )
    assert "backends[0] (a): " in said
    assert f"{tmp_path}/nowhere.gguf: there is no such file or folder" in said
    assert "backends[1] (b): vllm is not installed" in said


async def test_an_argument_that_is_the_routers(tmp_path):
    """What would break the supervision is refused, with the reason."""
    (tmp_path / "m.gguf").touch()
    said = await refused(tmp_path, "backends: [{name: a, launch: {model: m.gguf, args: {port: 1}}}]\n")
    assert "port can't be set" in said


async def test_the_environment_overrides(tmp_path):
    """A container needs no edited file."""
    async with FakeEngine() as fake:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        env = {**os.environ, "ROUTER_SERVER__PORT": str(port)}
        async with RunningRouter(tmp_path, remote(fake), env=env) as router:
            await router.ready()
            assert router.url.endswith(f":{port}")


async def test_what_is_said_when_it_is_ready(tmp_path):
    """The address, and a line to try; the secret isn't shown."""
    async with FakeEngine() as fake:
        config = remote(fake, "auth: {keys: [s3cret]}\n")
        async with RunningRouter(tmp_path, config) as router:
            await router.ready()
            await eventually(lambda: "curl" in router.said)
        assert f"{router.url}/v1/chat/completions" in router.said
        assert "authorization: Bearer" in router.said
        assert "s3cret" not in router.said + (tmp_path / "logs" / "router.log").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_stops_it(tmp_path, number):
    """With nothing in flight, at once, and with 0."""
    async with FakeEngine() as fake, RunningRouter(tmp_path, remote(fake)) as router:
        await router.ready()
        router.signal(number)
        assert await router.exit_code(within=5) == 0
        assert "Traceback" not in router.said


async def test_a_second_ctrl_c_stops_now(tmp_path):
    """The request that would never end is cut, and its client told."""
    async with (
        FakeEngine(fault="hang", fault_after=0) as fake,
        RunningRouter(tmp_path, remote(fake)) as router,
        aiohttp.ClientSession() as session,
    ):
        await router.ready()
        asking = asyncio.create_task(session.post(router.url + CHAT, json=ASK))
        await eventually(lambda: fake.stats.in_flight == 1)
        router.signal()
        await eventually(lambda: "Ctrl-C again stops now" in router.said)
        assert router.process.returncode is None
        router.signal()
        assert await router.exit_code(within=5) == 130
        assert (await asking).status == 503
        assert "Traceback" not in router.said


async def test_an_engine_that_can_not_start(tmp_path):
    """Its last words are shown, it is tried again, and the rest serves on."""
    (tmp_path / "broken.gguf").write_bytes(b"this is no model")
    async with FakeEngine() as fake:
        broken = "{name: broken, launch: {model: broken.gguf}}"
        config = remote(fake).replace("models: [demo]}", f"models: [demo]}}, {broken}")
        async with RunningRouter(tmp_path, config) as router:
            await router.ready()
            await eventually(lambda: "next try in" in router.said, within=60)
            assert "exited with code" in router.said
            reason = "while starting: llama_model_load: error loading model: "
            assert reason in router.said
            assert "\n    | " in router.said
            async with aiohttp.ClientSession() as session:
                async with session.post(router.url + CHAT, json=ASK) as answer:
                    assert answer.status == 200
                async with session.post(router.url + CHAT, json={**ASK, "model": "broken"}) as answer:
                    assert answer.status == 503
                    assert "failed to load model from" in await answer.text()
                async with session.get(router.url + "/admin/status") as answer:
                    broken_one = next(each for each in (await answer.json())["backends"] if each["name"] == "broken")
                    assert "failed to load model from" in broken_one["detail"]
            router.signal()
            assert await router.exit_code() == 0
            assert not any(alive(engine) for engine in router.engines)


async def test_ctrl_c_while_an_engine_starts(tmp_path):
    """It isn't waited for, and nothing of it is left."""
    (tmp_path / "m.gguf").write_bytes(b"this is no model")
    async with RunningRouter(tmp_path, "server: {port: 0}\nbackends: [{name: m, launch: {model: m.gguf}}]\n") as router:
        await eventually(lambda: router.engines)
        engines = router.engines
        router.signal()
        assert await router.exit_code() == 0
        assert not any(alive(engine) for engine in engines)


async def test_version_and_help(tmp_path):
    """Both say what they should and end with 0."""
    for option, word in (("--version", "router 0."), ("--help", "--config")):
        async with RunningRouter(tmp_path, "", option) as router:
            assert await router.exit_code() == 0
        assert word in router.said
