"""A router inside the test's own loop, in front of whatever backends the test names, and a client of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
import uvloop

from router.app import App
from router.config import Config

StartRouter = Callable[..., Awaitable[App]]


@pytest.fixture
async def start_router(tmp_path: Path) -> AsyncIterator[StartRouter]:
    """Give a function that starts routers: backends, then sections. Probes come once, unless asked for."""
    async with AsyncExitStack() as stack:

        async def start(backends: list[dict[str, object]], **sections: object) -> App:
            sections.setdefault("health", {"interval": "1h"})
            config = Config.model_validate({"server": {"port": 0}, "backends": backends, **sections})
            app = App(config, tmp_path)
            await app.start()
            stack.push_async_callback(app.kill)
            return app

        yield start


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTP client without limits of its own."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:
        yield client


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run on the loop that the router itself runs on."""
    return {"uvloop": uvloop.new_event_loop}
