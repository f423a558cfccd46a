"""A thousand reloads under load (`make test-endurance`): nothing fails, nothing is lost, nothing grows."""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import aiohttp
import psutil
import pytest

from tests.engines.conftest import model
from tests.fakes.engine import FakeEngine, expected_body, expected_stream
from tests.running import RunningRouter, eventually

__all__ = ["model"]  # a fixture

RELOADS = 1000
STREAMS = 200
EVENTS, DELAY, SIZE = 40, 0.1, 20
REQUESTS_A_SECOND = 100
SETTLED = 400  # reloads, after which nothing grows any more: by then the allocator has what it ever needs


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
        async with RunningRouter(tmp_path, next(texts)[0]) as router:
            await router.ready()
            await eventually(lambda: "real: ready" in router.said, within=60)
            process = psutil.Process(router.process.pid)
            pids = [engine.pid for engine in router.engines]
            clients = Clients(router.url, session)
            tasks = clients.start()
            for number, (text, good) in zip(range(RELOADS), texts, strict=False):
                (tmp_path / "router.yaml").write_text(text)
                began = time.monotonic()
                async with session.post(f"{router.url}/admin/reload") as answer:
                    assert answer.status == (200 if good else 422), await answer.text()
                    steps = json.loads(await answer.text())["steps"]
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
            assert [engine.pid for engine in router.engines] == pids
            said = router.said
        for fake in fakes:
            await fake.__aexit__(None, None, None)
    took.sort()
    print(  # noqa: T201
        f"\n{RELOADS} reloads, seed {seed}: {took[RELOADS // 2] * 1000:.0f} ms each (median), {took[-1] * 1000:.0f} ms"
        f" (longest); meanwhile {clients.done['streams']} streams and {clients.done['requests']} requests;"
        f" memory {' '.join(memory)} MB, file descriptors {before[1]} → {after[1]},"
        f" threads {before[2]} → {after[2]}; still ending: {left}"
    )
    assert clients.failed == []
    assert "Traceback" not in said
    assert after[0] < before[0] * 1.05
    assert after[1] < before[1] + 30  # connections come and go with the load
