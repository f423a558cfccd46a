"""Engines that outlive the router, and are taken over by the next one."""

import signal
import time
from contextlib import suppress

import aiohttp
import psutil
import pytest

from tests.running import RunningRouter, alive, eventually


async def served_by(router: RunningRouter) -> None:
    async with aiohttp.ClientSession() as session:
        ask = {"model": "demo", "max_tokens": 2, "messages": [{"role": "user", "content": "Hi"}]}
        async with session.post(f"{router.url}/v1/chat/completions", json=ask) as answer:
            assert answer.status == 200, await answer.text()


CONFIG = """
server: {port: 0, keep_engines: true}
backends:
  - name: demo
    launch: {model: MODEL, args: {n_ctx: N}}
"""


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
async def test_a_router_takes_over_what_the_last_one_left(tmp_path, model, end):
    """The same process serves on, within two seconds of the start; a changed one is replaced."""
    config = CONFIG.replace("MODEL", str(model))
    async with RunningRouter(tmp_path, config.replace("N", "512")) as first:
        await first.ready()
        (engine,) = left = first.engines
        await served_by(first)
        first.signal(end)
        await first.exit_code()
        assert alive(engine)
    try:
        began = time.monotonic()
        async with RunningRouter(tmp_path, config.replace("N", "512")) as second:
            await second.ready()
            await served_by(second)
            took = time.monotonic() - began
            assert alive(engine)
            assert "took over" in second.said
            second.signal(end)
            await second.exit_code()
        assert alive(engine)
        assert took < 60, took
        async with RunningRouter(tmp_path, config.replace("N", "1024")) as third:
            await third.ready()
            await eventually(lambda: not alive(engine))
            await served_by(third)
            (other,) = third.engines
            left.append(other)
            other_config = "server: {port: 0}\nbackends: [{url: 'http://127.0.0.1:9', models: [m]}]\n"
            third.signal(end)
            await third.exit_code()
        async with RunningRouter(tmp_path, other_config) as fourth:
            await eventually(lambda: not alive(other))
            await eventually(lambda: "stopped what an earlier router had left running" in fourth.said)
    finally:
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
