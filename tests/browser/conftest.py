"""A real browser, pages of several sites for it, and a router beside them on this machine."""

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path

import pytest
from aiohttp import web
from playwright.async_api import Browser, Page, async_playwright

from tests.fakes.engine import FakeEngine
from tests.running import RunningRouter

NAMES = ("chromium", "chromium-browser", "google-chrome")
HERE = "127.0.0.1"

StartRouter = Callable[..., Awaitable[RunningRouter]]


def chromium() -> str:
    """Find the system's Chromium, or the one that CHROMIUM names."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    assert found, "no Chromium here: apt install chromium, or set CHROMIUM to the path of one"
    return found


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Give a browser for which every name that ends with .test is this machine, as after DNS rebinding.

    Its own guard of this machine, which others don't have, is off: what is tested is the router's.
    """
    options = [f"--host-resolver-rules=MAP *.test {HERE}", "--disable-features=LocalNetworkAccessChecks"]
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=chromium(), args=options)
        yield launched
        await launched.close()


@pytest.fixture
async def page(browser: Browser) -> Page:
    """Give a window of it."""
    return await browser.new_page()


@pytest.fixture
async def site() -> AsyncIterator[str]:
    """Give the port of a server of empty pages, whatever they are called."""

    async def empty(_: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><title>a page</title><body></body>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/{rest:.*}", empty)
    runner = web.AppRunner(app)
    await runner.setup()
    listening = web.TCPSite(runner, HERE, 0)
    await listening.start()
    assert listening._server is not None
    yield str(listening._server.sockets[0].getsockname()[1])  # type: ignore[attr-defined]
    await runner.cleanup()


@pytest.fixture
async def fake() -> AsyncIterator[FakeEngine]:
    """Give an engine."""
    async with FakeEngine() as engine:
        yield engine


@pytest.fixture
async def start_router(tmp_path: Path, fake: FakeEngine) -> AsyncIterator[StartRouter]:
    """Give a function that starts a router before that engine, with more in its router.yaml."""
    numbers = count()
    async with AsyncExitStack() as stack:

        async def start(server: str = "port: 0", more: str = "", keys: str = "weight: 1") -> RunningRouter:
            folder = tmp_path / f"router-{next(numbers)}"
            folder.mkdir()
            config = (
                f"server: {{{server}}}\n{more}\n"
                f"backends: [{{url: '{fake.url}', models: [demo], {keys}}}]\nlogging: {{dir: {folder}/logs}}\n"
            )
            router = await stack.enter_async_context(RunningRouter(folder, config))
            return await router.ready()

        yield start
