"""Processes killed at random moments, again and again (`make test-endurance`). It prints how soon they were back."""

import asyncio
import random
import time
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from tests.engines.conftest import model
from tests.running import RunningRouter, alive, eventually

__all__ = ["model"]  # a fixture

ROUNDS = 50
CONFIG = """
server: {port: 0}
backends:
  - name: demo
    launch: {model: MODEL, engine: ENGINE}
"""


async def asked(session: aiohttp.ClientSession, url: str) -> bool:
    """Ask for a few tokens; tell whether they came."""
    ask = {"model": "demo", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}
    with suppress(aiohttp.ClientError):
        async with session.post(f"{url}/v1/chat/completions", json=ask) as answer:
            return answer.status == 200
    return False


@pytest.mark.timeout(900)
@pytest.mark.parametrize("engine", ["llama_cpp", "llama_server"])
async def test_kills_at_random_moments(tmp_path: Path, model: Path, engine: str) -> None:
    """After each it serves again; nothing is left over at the end."""
    seed = time.time_ns()
    source = random.Random(seed)  # noqa: S311
    print(f"seed {seed}")  # noqa: T201
    took: list[float] = []
    killed = []
    config = CONFIG.replace("MODEL", str(model)).replace("ENGINE", engine)
    async with RunningRouter(tmp_path, config) as router, aiohttp.ClientSession() as session:
        await router.ready()
        for _ in range(ROUNDS):
            await asyncio.sleep(source.random())
            tree = router.engines
            if tree:
                killed.append(source.choice(tree))
                killed[-1].kill()
            since = time.monotonic()
            await asyncio.sleep(0.05)  # its end is noticed
            while not await asked(session, router.url):
                assert time.monotonic() - since < 60
                await asyncio.sleep(0.02)
            took.append(time.monotonic() - since)
        left = router.engines
        router.signal()
        assert await router.exit_code() == 0
    await eventually(lambda: not any(alive(each) for each in (*left, *killed)))
    took.sort()
    print(f"{engine}: back after {took[len(took) // 2]:.2f} s (median), {took[-1]:.2f} s (longest)")  # noqa: T201
