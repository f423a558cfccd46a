"""Processes killed at random moments, again and again (`make test-endurance`). It prints how soon they were back."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import psutil
import pytest

from launchers.states import RestartPolicy
from router.app import App
from router.config import Config
from tests.engines.conftest import model
from tests.running import alive, descendants, eventually

__all__ = ["model"]  # a fixture

ROUNDS = 20
SOON = RestartPolicy(longest_delay=1.0, give_up_after=ROUNDS)
"""Kills in quick succession look like an engine that can't run: by default, the waits would grow to half a minute."""


@asynccontextmanager
async def running(folder: Path, model: Path, engine: str) -> AsyncIterator[App]:
    """Start a router in this very loop."""
    launch = {"name": "demo", "launch": {"model": str(model), "engine": engine}}
    app = App(Config.model_validate({"server": {"port": 0}, "backends": [launch]}), folder, policy=SOON)
    await app.start()
    try:
        yield app
    finally:
        await app.stop()


async def asked(session: aiohttp.ClientSession, url: str) -> bool:
    """Ask for a few tokens; tell whether they came."""
    ask = {"model": "demo", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}
    with suppress(aiohttp.ClientError):
        async with session.post(f"{url}/v1/chat/completions", json=ask) as answer:
            return answer.status == 200
    return False


async def back(session: aiohttp.ClientSession, url: str) -> float:
    """Wait until it serves; tell how long that took."""
    since = time.monotonic()
    while not await asked(session, url):
        assert time.monotonic() - since < 60
        await asyncio.sleep(0.02)
    return time.monotonic() - since


@pytest.mark.timeout(900)
@pytest.mark.parametrize("engine", ["llama_cpp", "llama_server"])
async def test_kills_at_random_moments(tmp_path: Path, model: Path, engine: str) -> None:
    """After each it serves again; nothing is left over at the end."""
    seed = time.time_ns()
    source = random.Random(seed)  # noqa: S311
    took: list[float] = []
    killed: list[psutil.Process] = []
    here = psutil.Process().pid
    async with running(tmp_path, model, engine) as app, aiohttp.ClientSession() as session:
        start = await back(session, app.url)
        for _ in range(ROUNDS):
            await asyncio.sleep(source.random())
            tree = [each for each in descendants(here) if alive(each)]
            if tree:
                killed.append(source.choice(tree))
                with suppress(psutil.NoSuchProcess):
                    killed[-1].kill()
            await asyncio.sleep(0.05)  # its end is noticed
            took.append(await back(session, app.url))
        left = descendants(here)
    await eventually(lambda: not any(alive(each) for each in (*left, *killed)))
    took.sort()
    print(  # noqa: T201
        f"\n{engine}, seed {seed}: started in {start:.2f} s; {len(killed)} kills, "
        f"back after {took[len(took) // 2]:.2f} s"
        f" (median), {took[-1]:.2f} s (longest)"
    )
