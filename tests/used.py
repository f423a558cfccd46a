"""Requests of many kinds at a router, of which engines know what they used: for tests of usage."""

import asyncio
import random
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp

from router.app import App
from router.config import Config
from tests.fakes.engine import FakeEngine
from tests.running import eventually

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
