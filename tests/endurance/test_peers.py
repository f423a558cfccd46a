"""Three routers on a network of their own: one asks, two are its peers (`make test-endurance`). It prints the times.

Each peer is in a network namespace, at a port of a switch, which this machine has an address at. A port that is down is
a cable that is pulled: nobody is told, and nothing comes.
"""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import aiohttp
import pytest

from tests.running import REPOSITORY, RunningRouter, eventually

CHAT = "/v1/chat/completions"
IP, TC = shutil.which("ip") or "", shutil.which("tc") or ""
PORT = 8001
CLIENTS = 8
ENGINE = ("--port", "9000", "--model", "demo", "--first-delay", "0.05", "--delay", "0.01", "--events", "10")

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not (IP and TC), reason="network namespaces need root, and iproute2"
)


def ip(*words: str, where: str = "") -> None:
    """Run a command of iproute2."""
    subprocess.run([IP, *(["-n", where] if where else []), *words], check=True, capture_output=True)


@dataclass
class Port:
    """A port of the switch, with the namespace that is at it."""

    namespace: str
    name: str
    address: str

    def up(self, *, on: bool) -> None:
        """Plug the cable in, or pull it."""
        ip("link", "set", self.name, "up" if on else "down")

    def slow(self, rate: str) -> None:
        """Let no more than this through, in either direction."""
        shape = ["root", "tbf", "rate", rate, "burst", "4kb", "latency", "5s"]
        inside = [IP, "netns", "exec", self.namespace, "tc", "qdisc", "add", "dev", "eth0", *shape]
        subprocess.run([TC, "qdisc", "add", "dev", self.name, *shape], check=True)
        subprocess.run(inside, check=True)

    def fast(self) -> None:
        """Let everything through again."""
        subprocess.run([TC, "qdisc", "del", "dev", self.name, "root"], check=True)
        subprocess.run([IP, "netns", "exec", self.namespace, "tc", "qdisc", "del", "dev", "eth0", "root"], check=True)


@contextmanager
def switch(*names: str) -> Iterator[list[Port]]:
    """Have a switch with a port for each of these."""
    mark = f"{os.getpid() % 10000}"
    bridge, made = f"rb{mark}", []
    try:
        ip("link", "add", bridge, "type", "bridge")
        ip("addr", "add", "10.77.0.1/24", "dev", bridge)
        ip("link", "set", bridge, "up")
        for number, name in enumerate(names):
            port = Port(f"r{name}{mark}", f"rp{number}{mark}", f"10.77.0.{11 + number}")
            ip("netns", "add", port.namespace)
            made.append(port)
            ip("link", "add", port.name, "type", "veth", "peer", "name", "eth0", "netns", port.namespace)
            ip("link", "set", port.name, "master", bridge, "up")
            ip("addr", "add", f"{port.address}/24", "dev", "eth0", where=port.namespace)
            ip("link", "set", "eth0", "up", where=port.namespace)
            ip("link", "set", "lo", "up", where=port.namespace)
        yield made
    finally:
        for port in made:
            with suppress(subprocess.CalledProcessError):
                ip("netns", "del", port.namespace)
        with suppress(subprocess.CalledProcessError):
            ip("link", "del", bridge)


class There:
    """An engine and a router in a namespace; the router can be killed, and started again."""

    def __init__(self, port: Port, folder: Path) -> None:
        self.port = port
        self._folder = folder
        self._log = (folder / "out").open("wb")
        config = {
            "server": {"host": "0.0.0.0", "port": PORT},
            "auth": {"open": True, "admin_keys": ["ops"]},
            "backends": [{"url": "http://127.0.0.1:9000", "name": "box"}],
        }
        (folder / "router.yaml").write_text(json.dumps(config))

    async def _run(self, *command: str) -> asyncio.subprocess.Process:
        inside = (IP, "netns", "exec", self.port.namespace, sys.executable, *command)
        return await asyncio.create_subprocess_exec(*inside, cwd=REPOSITORY, stdout=self._log, stderr=self._log)

    async def __aenter__(self) -> Self:
        self._engine = await self._run("tests/fakes/engine.py", *ENGINE)
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for each in (self._router, self._engine):
            with suppress(ProcessLookupError):
                each.kill()
            await each.wait()
        self._log.close()

    async def start(self) -> None:
        """Start the router, and wait until it listens."""
        self._router = await self._run("-P", "-m", "router", "--config", str(self._folder / "router.yaml"))
        said = (self._folder / "out").stat().st_size
        await eventually(lambda: b"listening at" in (self._folder / "out").read_bytes()[said:])

    async def end(self, how: signal.Signals) -> None:
        """Kill the router, or have it end well."""
        self._router.send_signal(how)
        await self._router.wait()


@dataclass
class Answered:
    """A request that has ended: when it was sent, its seconds to the first byte, by whom, and what went wrong."""

    sent: float
    ttft: float | None = None
    backend: str = ""
    failure: str = ""


@dataclass
class Clients:
    """Clients that ask one router one thing after the other."""

    url: str
    ended: list[Answered] = field(default_factory=list)

    @asynccontextmanager
    async def asking(self) -> AsyncIterator[None]:
        """Ask in the block."""
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            tasks = [asyncio.create_task(self._ask(session)) for _ in range(CLIENTS)]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, session: aiohttp.ClientSession) -> None:
        body = {"model": "demo", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
        while True:
            one = Answered(time.monotonic())
            try:
                async with session.post(self.url + CHAT, json=body) as answer:
                    one.backend = answer.headers.get("x-router-backend", "")
                    async for piece in answer.content.iter_any():
                        one.ttft = one.ttft or time.monotonic() - one.sent
                        last = piece
                    if answer.status != 200 or not last.endswith(b"data: [DONE]\n\n"):
                        one.failure = f"{answer.status}: {last[-200:].decode()}"
            except aiohttp.ClientError as error:
                one.failure = str(error)
            self.ended.append(one)
            if one.failure:
                await asyncio.sleep(0.05)

    async def by(self, peer: str, within: float = 30.0) -> float:
        """Wait until a request that is sent from now on was answered by a peer; give when it was sent."""
        now = time.monotonic()
        found: list[float] = []

        def answered() -> bool:
            found.extend(each.sent for each in self.ended if each.backend.startswith(peer) and each.sent >= now)
            return bool(found)

        await eventually(answered, within)
        return min(found) - now

    def since(self, moment: float) -> str:
        """Tell what became of the requests that were sent since then; none may have failed before a byte."""
        ended = [each for each in self.ended if each.sent >= moment - 1]
        lost = [each for each in ended if each.failure and each.ttft is None]
        assert not lost, lost[:3]
        broken = sum(bool(each.failure) for each in ended)
        slowest = max(each.ttft or 0.0 for each in ended)
        return f"{len(ended)} requests, {broken} cut in the middle, slowest first byte {slowest:.2f} s"


@pytest.mark.timeout(300)
async def test_peers_that_fail(tmp_path: Path) -> None:
    """Killed, started again, cut off, slow: requests go elsewhere before a byte, and back soon after its return."""
    told: list[str] = []
    with switch("one", "two") as ports:
        for name in ("one", "two", "front"):
            (tmp_path / name).mkdir()
        peers = [
            {"router": f"http://{port.address}:{PORT}", "name": name, "admin_key": "ops"}
            for name, port in zip(("one", "two"), ports, strict=True)
        ]
        config = json.dumps({"server": {"port": 0}, "backends": peers})
        async with (
            There(ports[0], tmp_path / "one") as one,
            There(ports[1], tmp_path / "two"),
            RunningRouter(tmp_path / "front", config) as front,
        ):
            await eventually(lambda: front.url)
            await eventually(lambda: "one/demo: is loaded" in front.said and "two/demo: is loaded" in front.said)
            clients = Clients(front.url)
            async with clients.asking():
                await clients.by("one")
                for what, how in (("killed", signal.SIGKILL), ("stopped", signal.SIGTERM)):
                    moment = time.monotonic()
                    await one.end(how)
                    await clients.by("two")
                    await asyncio.sleep(3)
                    await one.start()
                    back = await clients.by("one")
                    told.append(f"{what}: back after {back:.2f} s; {clients.since(moment)}")
                moment = time.monotonic()
                one.port.up(on=False)
                await asyncio.sleep(8)
                one.port.up(on=True)
                back = await clients.by("one")
                told.append(f"cut for 8 s: back after {back:.2f} s; {clients.since(moment)}")
                moment = time.monotonic()
                one.port.slow("64kbit")
                await asyncio.sleep(8)
                one.port.fast()
                back = await clients.by("one")
                told.append(f"64 kbit/s for 8 s: back after {back:.2f} s; {clients.since(moment)}")
    print(*told, sep="\n")  # noqa: T201
