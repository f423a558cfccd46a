"""Backends that are called by names, beside others whose names hang."""

import asyncio
import socket
import threading
import time

import aiohttp
import pytest

from router.app import App
from router.config import Config
from router.core.health import Verdict
from router.proxy.resolve import Names
from tests.integration.raw import ASK, CHAT
from tests.running import eventually

HANGING = [f"hangs-{number}.example" for number in range(20)]


@pytest.fixture
async def names():
    """Give a resolver that knows `good.example`, and hangs for whatever begins with `hangs`."""
    go_on = threading.Event()

    def look_up(host: str) -> tuple[str, ...]:
        if host.startswith("hangs"):
            go_on.wait(120)
        if host != "good.example":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return ("127.0.0.1",)

    yield Names(look_up)
    go_on.set()


async def test_names_that_hang_take_no_other_backend_down(tmp_path, fake, names):
    """Twenty hang: those at localhost, at an address and at a good name answer and are well, and all stops at once."""
    hosts = ["localhost", "127.0.0.1", "good.example"]
    backends = [
        *({"url": f"http://{host}:80", "name": host, "models": [host]} for host in (*HANGING, "unknown.example")),
        *({"url": f"http://{host}:{fake.port}", "name": host, "models": [host]} for host in hosts),
    ]
    limits = {"connect_timeout": "1s", "retries": 0}
    config = Config.model_validate(
        {"server": {"port": 0}, "backends": backends, "limits": limits, "health": {"interval": "200ms"}}
    )
    app = App(config, tmp_path, names=names)
    await app.start()
    try:
        async with aiohttp.ClientSession() as session:

            async def ask(model: str) -> tuple[int, str]:
                async with session.post(app.url + CHAT.decode(), json={**ASK, "model": model}) as answer:
                    return answer.status, await answer.text()

            hanging = [asyncio.create_task(ask(host)) for host in HANGING]
            for _ in range(5):
                for host in hosts:
                    assert (await ask(host))[0] == 200
            status, said = await ask("unknown.example")
            assert status in {502, 503}
            assert {status for status, _ in await asyncio.gather(*hanging)} <= {502, 503, 504}
            await eventually(lambda: all(app.plane.backends[host].health.verdict is Verdict.UP for host in hosts))
            await eventually(lambda: not any(app.plane.backends[host].health.usable for host in HANGING))
            for name, why in ((HANGING[0], "no answer in"), ("unknown.example", "Name or service not known")):
                reason = app.plane.backends[name].health.reason
                # A probe's words, or those of the request, if that was first.
                words = (f"the name '{name}' can't be resolved ({why}", "can't be found by its name")
                assert any(each in reason for each in words), (said, reason)
    finally:
        began = time.monotonic()
        await app.stop()
    assert time.monotonic() - began < 10
