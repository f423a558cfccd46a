"""Requests of many kinds at a router, of which engines know what they used: for tests of usage."""

import asyncio
import random
import sqlite3
from collections import Counter
from contextlib import AsyncExitStack, closing, suppress
from pathlib import Path
from typing import Any

import aiohttp

from router.app import App
from router.config import Config
from router.store import tally
from router.store.usage import NOTHING
from tests.fakes.engine import FakeEngine
from tests.running import RunningRouter, eventually

CHAT = "/v1/chat/completions"
AT_ONCE = 50
STAYS, LEAVES = "stays", "leaves"
"""Names of the keys of clients that wait for the end of their answer, and of those that don't."""

Truth = dict[str, Counter[str]]
"""What each key has used, as the engines know it."""


async def load(requests: int, share: float, folder: Path, seed: int) -> tuple[Truth, Truth]:
    """Send so many requests, of which this share leaves midway; give what was used, and what the router tells."""
    source = random.Random(seed)  # noqa: S311
    truth: Truth = {STAYS: Counter(), LEAVES: Counter()}
    async with AsyncExitStack() as stack:
        # One tells its streams' tokens by itself; the other has to be asked, as the router does where there is a price.
        box = await stack.enter_async_context(FakeEngine(counts="timings"))
        dear = await stack.enter_async_context(FakeEngine(models=["dear"], counts="asked"))
        backends = [
            {"url": box.url, "models": ["demo"], "name": "box"},
            {"url": dear.url, "models": ["dear"], "name": "dear", "price": {"input": 1, "output": 1}},
        ]
        auth = {"keys": [{"name": name, "key": f"{name}'s key"} for name in truth]}
        config = {"server": {"port": 0}, "backends": backends, "auth": auth, "health": {"interval": "1h"}}
        app = App(Config.model_validate(config), folder)
        await app.start()
        stack.push_async_callback(app.kill)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        left = asyncio.Semaphore(AT_ONCE)

        async def ask(model: str, events: int, size: int, *, stream: bool, leave_after: int) -> None:
            key = LEAVES if leave_after else STAYS
            prompt = 20 + size // 3
            fake = {"events": events, "prompt": prompt, "delay": 0.002 if leave_after else 0.0}
            text = {"role": "user", "content": "x" * size}
            body = {"model": model, "stream": stream, "messages": [text], "fake": fake}
            async with left, session.post(app.url + CHAT, json=body, headers={"x-api-key": f"{key}'s key"}) as answer:
                assert answer.status == 200
                truth[key].update(requests=1, prompt=prompt)
                if leave_after:
                    got = b""
                    while got.count(b"\n\n") < leave_after:
                        got += await answer.content.readany()
                    answer.close()
                    return
                said = await answer.text()
                assert '"choices":[],' not in said
                truth[key].update(completion=events)
                # The engine writes an answer in one piece by halves, and two events more than a stream has tokens.
                written[model] += events + 2 if stream else 2

        written = Counter[str]()
        tasks = []
        for _ in range(requests):
            leaves = source.random() < share
            stream, events = (
                leaves or source.random() < 0.7,
                source.randint(100, 200) if leaves else source.randint(1, 40),
            )
            after = source.randint(20, 80) if leaves else 0
            model, size = source.choice(("demo", "dear")), source.randint(100, 4000)
            tasks.append(ask(model, events, size, stream=stream, leave_after=after))
        await asyncio.gather(*tasks)
        await eventually(lambda: not (box.stats.in_flight or dear.stats.in_flight))
        made = box.stats.events + dear.stats.events - written.total()
        truth[LEAVES].update(completion=made)
        told = await _told(session, app.url, requests)
    return truth, told


async def _told(session: aiohttp.ClientSession, url: str, requests: int) -> Truth:
    async with asyncio.timeout(60):
        while True:
            async with session.get(f"{url}/admin/usage", params={"by": "key"}) as answer:
                found: Any = await answer.json()
            if found["total"]["requests"] >= requests:
                return {
                    row["key"]: Counter(
                        requests=row["requests"],
                        estimated=row["estimated"],
                        prompt=row["prompt_tokens"],
                        completion=row["completion_tokens"],
                    )
                    for row in found["rows"]
                }
            await asyncio.sleep(0.02)


def check(truth: Truth, told: Truth) -> dict[str, float]:
    """Compare what the router tells with what is true; give by how much the estimates are off."""
    assert told[STAYS] == truth[STAYS]
    assert told[LEAVES]["estimated"] == told[LEAVES]["requests"] == truth[LEAVES]["requests"]
    off = {name: told[LEAVES][name] / truth[LEAVES][name] - 1 for name in ("prompt", "completion")}
    assert all(abs(each) <= 0.1 for each in off.values()), off
    return off


async def kills(rounds: int, folder: Path, seed: int, within: float = 1.0) -> list[tuple[int, int]]:
    """Kill a router under load at so many random moments; give after each what its file has lost, and could have lost.

    The file must be whole. What was answered `within` so many seconds of the kill may be missing.
    """
    source = random.Random(seed)  # noqa: S311
    lost: list[tuple[int, int]] = []
    async with FakeEngine() as engine:
        config = f"server: {{port: 0}}\nbackends: [{{url: '{engine.url}', models: [demo]}}]\n"
        known = 0
        for _ in range(rounds):
            async with RunningRouter(folder, config) as router:
                await router.ready(60)
                ended, killed_at = await _until_killed(router, source.uniform(0.3, 2.5))
            path = folder / "state" / tally.NAME
            with closing(sqlite3.connect(path)) as db:
                assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            requests = tally.read(path, (), "").get((), NOTHING).requests
            assert known + sum(at < killed_at - within for at in ended) <= requests, f"seed {seed}"
            lost.append((known + len(ended) - requests, sum(at >= killed_at - within for at in ended)))
            known = requests
    return lost


async def _until_killed(router: RunningRouter, seconds: float) -> tuple[list[float], float]:
    """Ask a router without a pause, and kill it; give when each answer came, and when it was killed."""
    loop = asyncio.get_running_loop()
    ended: list[float] = []

    async def ask(session: aiohttp.ClientSession) -> None:
        with suppress(aiohttp.ClientError, OSError):
            while True:
                async with session.post(router.url + CHAT, json={"model": "demo", "messages": []}) as answer:
                    await answer.read()
                ended.append(loop.time())

    async with aiohttp.ClientSession() as session:
        asking = [asyncio.create_task(ask(session)) for _ in range(4)]
        await asyncio.sleep(seconds)
        router.process.kill()
        at = loop.time()
        await asyncio.gather(*asking)
    await router.process.wait()
    return ended, at
