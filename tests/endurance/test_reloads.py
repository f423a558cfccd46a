"""A thousand reloads under load (`make test-endurance`): nothing fails, nothing is lost, nothing grows."""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import aiohttp
import psutil
import pytest

from router.proxy.pool import MAX_IDLE
from tests.engines.conftest import model
from tests.fakes.engine import FakeEngine, expected_body, expected_stream
from tests.running import RunningRouter, eventually

__all__ = ["model"]  # a fixture

RELOADS = 1000
STREAMS = 200
EVENTS, DELAY, SIZE = 40, 0.1, 20
REQUESTS_A_SECOND = 100
SETTLED = 400  # reloads, after which nothing grows any more: by then the allocator has what it ever needs
SPARE = 16
"""File descriptors that a router may hold at rest after the load, and not before it: files opened when needed."""


def at_rest(model: Path) -> str:
    """Give the text of router.yaml before and after the load. Without the fakes, no idle connection to them is kept."""
    launch = f"{{engine: llama_cpp, model: '{model}'}}"
    return f"server: {{port: 0}}\nbackends: [{{name: real, models: [real], launch: {launch}}}]\n"


def edits(fakes: list[FakeEngine], model: Path, source: random.Random) -> Iterator[tuple[str, bool]]:
    """Give texts of router.yaml, and whether each is a good one. Two backends and the engine are in all of them."""
    for number in count():
        some = fakes[:2] + source.sample(fakes[2:], source.randint(0, len(fakes) - 2))
        lines = ["server: {port: 0}", f"limits: {{retries: {source.randint(2, 5)}}}", "backends:"]
        lines += [
            f"  - {{name: b{fakes.index(fake)}, url: '{fake.url}', models: [demo], weight: {source.choice([1, 2])}}}"
            for fake in some
        ]
        lines += [f"  - {{name: real, models: [real], launch: {{engine: llama_cpp, model: '{model}'}}}}"]
        lines += ["routes:", "  alias: demo", f"  r{number % 7}: {{to: [demo, real], hidden: true}}"]
        good = number % 10 != 9
        yield "\n".join(lines if good else [*lines, "mistake: 1"]) + "\n", good


class Clients:
    """Streams without end, and requests at a steady rate; each must be whole."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.done: Counter[str] = Counter()
        self.failed: list[str] = []
        self._url = f"{url}/v1/chat/completions"
        self._session = session

    async def ask(self, *, stream: bool) -> None:
        """Ask for one answer, and look at each byte of it."""
        wishes: dict[str, float] = {"events": EVENTS, "size": SIZE} | ({"delay": DELAY} if stream else {})
        name = "alias" if stream else "demo"
        body: dict[str, object] = {"model": name, "stream": stream, "messages": [], "fake": wishes}
        expected = expected_stream(0, EVENTS, SIZE) if stream else expected_body(0, EVENTS)
        try:
            async with self._session.post(self._url, json=body) as answer:
                said = await answer.read()
                if answer.status != 200 or said != expected:
                    self.failed.append(f"{answer.status} {said[-300:]!r}")
        except aiohttp.ClientError as error:
            self.failed.append(repr(error))
        self.done["streams" if stream else "requests"] += 1

    async def streams(self, first: float) -> None:
        """One after another."""
        await asyncio.sleep(first)
        while True:
            await self.ask(stream=True)

    async def requests(self) -> None:
        """So many a second, whatever becomes of those before."""
        loop, tasks = asyncio.get_running_loop(), set[asyncio.Task[None]]()
        for number in count():
            await asyncio.sleep(max(0.0, number / REQUESTS_A_SECOND - (loop.time() - self.began)))
            task = asyncio.create_task(self.ask(stream=False))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    def start(self) -> list[asyncio.Task[None]]:
        """Begin."""
        self.began = asyncio.get_running_loop().time()
        spread = EVENTS * DELAY / STREAMS
        streams = [asyncio.create_task(self.streams(i * spread)) for i in range(STREAMS)]
        return [*streams, asyncio.create_task(self.requests())]


async def reload(
    router: RunningRouter, session: aiohttp.ClientSession, text: str, status: int = 200
) -> list[dict[str, object]]:
    """Have the router read this text; give the steps that it answers with."""
    (router.folder / "router.yaml").write_text(text)
    async with session.post(f"{router.url}/admin/reload") as answer:
        assert answer.status == status, await answer.text()
        steps: list[dict[str, object]] = json.loads(await answer.text())["steps"]
        return steps


async def rested(router: RunningRouter, text: str, most: int) -> int:
    """Reload this text, and wait until the router holds `most` file descriptors, or fewer; give how many it holds."""
    process = psutil.Process(router.process.pid)
    async with aiohttp.ClientSession() as session:
        await reload(router, session, text)
    with suppress(AssertionError):
        await eventually(lambda: process.num_fds() <= most, within=60)
    return process.num_fds()


@pytest.mark.timeout(1800)
async def test_a_thousand_reloads(tmp_path: Path, model: Path) -> None:
    """Backends come and go, routes and settings change, mistakes are refused; whoever asks meanwhile is served."""
    seed = time.time_ns()
    fakes = [FakeEngine() for _ in range(6)]
    took: list[float] = []
    memory: list[str] = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        for fake in fakes:
            await fake.__aenter__()
        texts = edits(fakes, model, random.Random(seed))  # noqa: S311
        async with RunningRouter(tmp_path, at_rest(model)) as router:
            await router.ready()
            await eventually(lambda: "real: ready" in router.said, within=60)
            process = psutil.Process(router.process.pid)
            resting = process.num_fds()
            await reload(router, session, next(texts)[0])
            pids = [engine.pid for engine in router.engines]
            clients = Clients(router.url, session)
            tasks = clients.start()
            for number, (text, good) in zip(range(RELOADS), texts, strict=False):
                began = time.monotonic()
                steps = await reload(router, session, text, 200 if good else 422)
                took.append(time.monotonic() - began)
                assert not [step for step in steps if step["name"] == "real" and step["do"] != "keep"]
                await asyncio.sleep(0.05)
                if number % 100 == 0:
                    memory.append(f"{process.memory_info().rss / 1e6:.1f}")
                if number == SETTLED:
                    before = process.memory_info().rss, process.num_fds(), process.num_threads()
            after = process.memory_info().rss, process.num_fds(), process.num_threads()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            async with session.get(f"{router.url}/admin/status") as answer:
                left = [backend["name"] for backend in (await answer.json())["backends"] if "ending" in backend]
            await session.close()
            # Under load, their number follows the machine: each stall has hundreds of requests connect at once. So it
            # is looked at without load, first with the backends that were in all texts, then without them.
            kept, _ = next(edits(fakes[:2], model, random.Random(seed)))  # noqa: S311
            idle = await rested(router, kept, resting + 2 * MAX_IDLE + SPARE)
            empty = await rested(router, at_rest(model), resting + SPARE)
            assert [engine.pid for engine in router.engines] == pids
            said = router.said
        for fake in fakes:
            await fake.__aexit__(None, None, None)
    took.sort()
    print(  # noqa: T201
        f"\n{RELOADS} reloads, seed {seed}: {took[RELOADS // 2] * 1000:.0f} ms each (median), {took[-1] * 1000:.0f} ms"
        f" (longest); meanwhile {clients.done['streams']} streams and {clients.done['requests']} requests;"
        f" memory {' '.join(memory)} MB, file descriptors {before[1]} → {after[1]},"
        f" {resting} → {idle} → {empty} at rest,"
        f" threads {before[2]} → {after[2]}; still ending: {left}"
    )
    assert clients.failed == []
    assert "Traceback" not in said
    assert after[0] < before[0] * 1.05
    assert idle <= resting + 2 * MAX_IDLE + SPARE
    assert empty <= resting + SPARE
