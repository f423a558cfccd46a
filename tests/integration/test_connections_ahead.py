"""An engine that accepts connections slowly has them before they are needed."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from launchers.spec import Command, LaunchSpec
from router.app import App
from router.config import Config
from tests.fakes import slow_accept
from tests.fakes.launched import FACTS, LaunchedFake
from tests.running import eventually

ASK = {"model": "demo", "stream": True, "messages": []}


@dataclasses.dataclass(frozen=True)
class Slow(LaunchedFake):
    """It is written as vllm is."""

    parallel: int = 256
    accepts_slowly: bool = True

    def command(self, spec: LaunchSpec, port: int, python: str) -> Command:
        """Run the engine that accepts slowly."""
        return Command((python, slow_accept.__file__, "--port", str(port)), dict(spec.env), ())


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    """Give a router with one such engine, which serves."""
    backend = {"name": "demo", "launch": {"engine": "llama_cpp", "model": "any"}}
    config = Config.model_validate({"server": {"port": 0}, "health": {"interval": "1h"}, "backends": [backend]})
    made = App(config, tmp_path, engines={"llama_cpp": Slow()}, facts=FACTS)
    await made.start()
    await eventually(lambda: made.fleet.told()[0]["state"] == "running")
    yield made
    await made.kill()


async def accepted(session: aiohttp.ClientSession, app: App) -> int:
    """How many connections the engine has accepted; this one counts, too."""
    address = app.plane.connections.address(app.plane.backends["demo"])
    async with session.get(f"{address}/accepted") as answer:
        return int(await answer.text())


async def test_a_burst_finds_its_connections_made(app):
    """As many as the engine works on at once; none is left to be accepted by a busy engine."""
    pool = app.plane.pool(app.plane.backends["demo"])
    await eventually(lambda: len(pool._idle) == 256)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def stream() -> None:
            async with session.post(f"{app.url}/v1/chat/completions", json=ASK) as answer:
                assert answer.status == 200
                assert (await answer.read()).endswith(b"data: [DONE]\n\n")

        await asyncio.gather(*(stream() for _ in range(256)))
        assert await accepted(session, app) == 256 + 1
        assert len(pool._idle) == 256


async def test_what_was_closed_meanwhile_is_made_again(app):
    """With the next probe; a request that meets a closed one doesn't fail."""
    backend = app.plane.backends["demo"]
    pool = app.plane.pool(backend)
    await eventually(lambda: len(pool._idle) == 256)
    for connection in list(pool._idle)[:100]:
        connection.abort()
    assert len(pool._idle) == 156
    app.plane.connections.warm(backend)
    await eventually(lambda: len(pool._idle) == 256)


async def test_no_more_than_files_allow(app):
    """Clients' own connections go before these."""
    backend = app.plane.backends["demo"]
    pool = app.plane.pool(backend)
    await eventually(lambda: len(pool._idle) == 256)
    for connection in list(pool._idle):
        connection.abort()
    app.plane.connections.spare = 16
    app.plane.connections.warm(backend)
    await eventually(lambda: pool._warming is None)
    assert len(pool._idle) == 16


async def test_an_engine_that_goes_away_ends_it(app):
    """Without a complaint: the next request tells."""
    backend = app.plane.backends["demo"]
    pool = app.plane.pool(backend)
    await eventually(lambda: len(pool._idle) == 256)
    app.plane.withdraw(backend, "gone")
    assert (pool.open, pool._warming) == (0, None)
    pool.warm(256)
    assert pool._warming is None
