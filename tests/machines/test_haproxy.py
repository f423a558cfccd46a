"""Two routers before the same engines, behind HAProxy as docs/machines.md sets it up."""

import asyncio
from contextlib import AsyncExitStack

import aiohttp
import pytest

from launchers.ports import free_port
from tests.fakes.engine import FakeEngine, expected_stream
from tests.machines.conftest import block, folder_of, haproxy
from tests.running import RunningRouter, eventually

CHAT = {"model": "demo", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
QUICK = "health: {interval: 200ms}\n"


class Balanced:
    """HAProxy in front of two routers, `one` and `two`, before two engines that tell their load."""

    def __init__(self, folder):
        self._folder = folder
        self._stack = AsyncExitStack()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    async def __aenter__(self):
        enter = self._stack.enter_async_context
        self.session = await enter(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)))
        self.engines = [await enter(FakeEngine(publishes=True)) for _ in range(2)]
        listed = ", ".join(f"{{url: '{each.url}', name: e{number}}}" for number, each in enumerate(self.engines))
        text = f"server: {{port: 0}}\nauth: {{open: true}}\n{QUICK}backends: [{listed}]\n"
        self.one, self.two = [
            await enter(
                RunningRouter(
                    folder_of(self._folder / name), text, "--config", str(self._folder / name / "router.yaml")
                )
            )
            for name in ("one", "two")
        ]
        await eventually(lambda: self.one.url and self.two.url)
        written = block("haproxy").replace(":8000", f"127.0.0.1:{self.port}")
        for address, router in (("192.168.1.10:8001", self.one), ("192.168.1.20:8001", self.two)):
            assert address in written
            written = written.replace(address, router.url.removeprefix("http://"))
        (self._folder / "haproxy.cfg").write_text(written)
        self._process = await asyncio.create_subprocess_exec(haproxy(), "-f", str(self._folder / "haproxy.cfg"), "-db")
        self._stack.push_async_callback(self._end)
        await self._until(200)
        return self

    async def _end(self):
        self._process.kill()
        await self._process.wait()

    async def __aexit__(self, *_):
        await self._stack.aclose()

    async def status(self) -> int:
        """Ask through it; 0: nobody listens yet."""
        try:
            async with self.session.get(f"{self.url}/ready") as answer:
                return answer.status
        except aiohttp.ClientError:
            return 0

    async def _until(self, status):
        async with asyncio.timeout(30):
            while await self.status() != status:  # noqa: ASYNC110  (it is another process)
                await asyncio.sleep(0.02)

    def ask(self, url="", **fake):
        """Ask for a stream."""
        return self.session.post(
            f"{url or self.url}/v1/chat/completions", json={**CHAT, "fake": {"events": 3, "size": 8, **fake}}
        )

    async def told(self, router):
        """Ask a router how its backends are."""
        async with self.session.get(f"{router.url}/admin/status") as answer:
            return {each["name"]: each for each in (await answer.json())["backends"]}


@pytest.fixture
async def balanced(tmp_path):
    async with Balanced(tmp_path) as made:
        yield made


async def answered(router, session) -> int:
    """Count what a router's backends have answered."""
    async with session.get(f"{router.url}/admin/status") as answer:
        return sum(each["answered"] for each in (await answer.json())["backends"])


async def test_two_routers_behind_haproxy(balanced, tmp_path):
    """Streams come as they are made; both get requests, and heed each other's; one may go, and come back."""
    # Who comes through it is not on this machine, even where it is.
    async with balanced.session.get(f"{balanced.url}/admin/status") as answer:
        assert answer.status == 401
    # Nothing is held up: the first event is here while the engine holds the second one back.
    held = tmp_path / "held"
    held.touch()
    async with balanced.ask(held_by=str(held)) as answer:
        first = await answer.content.readuntil(b"\n\n")
        held.unlink()
        assert first + await answer.read() == expected_stream(0, 3, 8)
    # Nothing sticks, once both are ready.
    async with asyncio.timeout(30):
        while min([await answered(each, balanced.session) for each in (balanced.one, balanced.two)]) < 2:
            async with balanced.ask() as answer:
                assert await answer.read() == expected_stream(0, 3, 8)
    # What one router has sent to an engine, the other one avoids.
    held.touch()
    streams = [await balanced.ask(balanced.one.url, held_by=str(held)) for _ in range(4)]
    loaded = {name: each["in_flight"] for name, each in (await balanced.told(balanced.one)).items()}
    assert sum(loaded.values()) == 4
    async with asyncio.timeout(30):
        while True:
            async with balanced.ask(balanced.two.url) as answer:
                await answer.read()
            seen = {name: each.get("published") for name, each in (await balanced.told(balanced.two)).items()}
            if all(seen[name] and seen[name]["running"] == loaded[name] for name in loaded):
                break
            await asyncio.sleep(0.05)
    held.unlink()
    for each in streams:
        await each.read()
    # One router is killed: nobody notices.
    balanced.one.process.kill()
    await balanced.one.process.wait()
    for _ in range(20):
        async with balanced.ask() as answer:
            assert (answer.status, await answer.read()) == (200, expected_stream(0, 3, 8))
    # A router without a backend that works gets nothing; without any, clients are told.
    for each in balanced.engines:
        each.ready = False
    await balanced._until(503)
    for each in balanced.engines:
        each.ready = True
    await balanced._until(200)
