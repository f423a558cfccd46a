"""Measures what engines that fail cost: one that fails fast, one that is killed again and again, all killed at once.

    python -m scripts.balance.failures                                    this checkout; Markdown
    python -m scripts.balance.failures --checkout ../other --python ../other/.venv/bin/python
    python -m scripts.balance.failures --part kills --smg PATH/bin/smg    beside SMG, with probes each second

Engines are processes of this script: raw sockets, so that one starts in a tenth of a second, a bound on what it works
on at once, a true queue. Routers are started as a person would start them. Requests come when they are due, whatever is
answered; TTFT counts from there to the first event of the stream.

  fast    two engines, one of which refuses each request at once: 200 requests, eight at a time, by each policy
  kills   three engines, one after the other killed every 4 s and back after 2.5 s; 15 requests a second
  all     three launched engines (llama_server, the demo model), all killed at once; 35 requests then, and as many
          after a restart of the router
"""

import argparse
import asyncio
import json
import os
import re
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import psutil

from scripts.instruments.statistics import percentile

HERE = Path(__file__).resolve().parents[2]
PARTS = ("fast", "kills", "all")
CHAT = "/v1/chat/completions"
MODEL = "demo"
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'
POLICIES = ("least_latency", "least_in_flight", "least_response_time", "round_robin", "weighted", "random")
REFUSALS = (401, 404, 500)

SLOTS, TTFT, EVENTS, PACE = 4, 0.25, 6, 0.01
"""An engine: requests at once, seconds until the first event, events, seconds between them: 0.3 s a request."""

KILL_EVERY, DOWN_FOR, RATE = 4.0, 2.5, 15.0

TUNED = "health: {interval: 1s, ramp: 0s, trial: 100, healthy_after: 1}\n"

# --------------------------------------------------------------------------- an engine


class Engine:
    """One engine. `status` is what it answers, in place of an answer; 0: none."""

    def __init__(self, status: int) -> None:
        self._status = status
        self._slots = asyncio.Semaphore(SLOTS)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's requests."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                said = re.search(rb"\r\ncontent-length: *(\d+)", head)
                await reader.readexactly(int(said[1]) if said else 0)
                if head.startswith(b"post") and self._status:
                    writer.write(reply(self._status, {"error": {"message": "no", "type": "server_error"}}))
                elif head.startswith(b"post"):
                    await self._stream(writer)
                else:
                    writer.write(reply(200, {"object": "list", "data": [{"id": MODEL, "object": "model"}]}))
                await writer.drain()
        writer.close()

    async def _stream(self, writer: asyncio.StreamWriter) -> None:
        async with self._slots:
            await asyncio.sleep(TTFT)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            for number in range(EVENTS):
                if number:
                    await asyncio.sleep(PACE)
                writer.write(b"%x\r\n%b\r\n" % (len(EVENT), EVENT))
                await writer.drain()
            writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")


def reply(status: int, said: object) -> bytes:
    """Build a whole answer in JSON."""
    body = json.dumps(said).encode()
    head = f"HTTP/1.1 {status} Said\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def be_engine(port: int, status: int, delay: float) -> None:
    """Serve until it is killed."""
    await asyncio.sleep(delay)
    server = await asyncio.start_server(Engine(status).serve, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


class Process:
    """An engine's process, which can be killed and started again at the same port."""

    def __init__(self, status: int = 0) -> None:
        self.port = free_port()
        self._status = status
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start it, and wait until it listens."""
        command = [sys.executable, __file__, "--engine", str(self.port), "--status", str(self._status)]
        env = os.environ | {"PYTHONPATH": str(HERE)}
        self._process = await asyncio.create_subprocess_exec(*command, cwd=HERE, env=env)
        await listens(self.port)

    async def kill(self) -> None:
        """Kill it."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


def free_port() -> int:
    """Find a port that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


async def listens(port: int, within: float = 60.0) -> None:
    """Wait until somebody listens there."""
    until = time.monotonic() + within
    while True:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        if time.monotonic() > until:
            raise SystemExit(f"nobody listens at port {port} after {within:g} s")
        await asyncio.sleep(0.02)


@asynccontextmanager
async def engines(*statuses: int) -> AsyncIterator[list[Process]]:
    """Run engines, which answer with these statuses."""
    made = [Process(status) for status in statuses]
    try:
        for each in made:
            await each.start()
        yield made
    finally:
        for each in made:
            await each.kill()


# --------------------------------------------------------------------------- a router


@dataclass
class Router:
    """A router's process."""

    process: asyncio.subprocess.Process
    url: str

    def children(self) -> list[psutil.Process]:
        """Give the engines that it has started, and what stands between."""
        return psutil.Process(self.process.pid).children(recursive=True)


@asynccontextmanager
async def router(asked: argparse.Namespace, config: str, folder: Path, *, waits: bool = True) -> AsyncIterator[Router]:
    """Run a checkout's router on a router.yaml of these words; with `waits`, until it is ready."""
    port = free_port()
    (folder / "router.yaml").write_text(f"server: {{port: {port}}}\nlogging: {{dir: {folder}/logs}}\n{config}")
    command = [asked.python, "-m", "router", "--config", str(folder / "router.yaml")]
    with (folder / "said.txt").open("w") as said:
        process = await asyncio.create_subprocess_exec(*command, cwd=asked.checkout, stdout=said, stderr=said)
    try:
        await listens(port)
        found = Router(process, f"http://127.0.0.1:{port}")
        if waits:
            await ready(f"{found.url}/ready")
        yield found
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), 15)
        if process.returncode is None:
            process.kill()
            await process.wait()


@asynccontextmanager
async def smg(program: str, urls: Sequence[str]) -> AsyncIterator[Router]:
    """Run SMG, with probes each second."""
    port = free_port()
    command = [program, "launch", "--host", "127.0.0.1", "--port", str(port), "--worker-urls", *urls]
    command += ["--policy", "round_robin", "--log-level", "error", "--health-check-interval-secs", "1"]
    command += ["--prometheus-port", str(free_port())]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await listens(port)
        found = Router(process, f"http://127.0.0.1:{port}")
        await asyncio.sleep(5)  # it listens before it has looked at its workers
        yield found
    finally:
        process.kill()
        await process.wait()


async def ready(url: str, within: float = 60.0) -> None:
    """Wait until a page answers 200."""
    until = time.monotonic() + within
    async with aiohttp.ClientSession() as session:
        while True:
            with suppress(aiohttp.ClientError):
                async with session.get(url) as answer:
                    if answer.status == 200:
                        return
            if time.monotonic() > until:
                raise SystemExit(f"{url} isn't 200 after {within:g} s")
            await asyncio.sleep(0.02)


# --------------------------------------------------------------------------- requests


@dataclass
class Outcomes:
    """What became of requests: seconds to the first event of each that was answered whole, and the others' statuses."""

    ttfts: list[float] = field(default_factory=list)
    failed: dict[str, int] = field(default_factory=dict)

    def fail(self, how: str) -> None:
        """Count one that wasn't answered whole."""
        self.failed[how] = self.failed.get(how, 0) + 1

    def said(self) -> str:
        """Put it into words."""
        lost = sum(self.failed.values())
        how = f" ({', '.join(f'{count} x {how}' for how, count in sorted(self.failed.items()))})" if lost else ""
        p50, p99 = (1000 * percentile(self.ttfts, share) for share in (0.5, 0.99))
        return f"{len(self.ttfts)} answered, {lost} failed{how}; TTFT p50 {p50:.0f} ms, p99 {p99:.0f} ms"


async def ask(session: aiohttp.ClientSession, url: str, outcomes: Outcomes) -> None:
    """Ask once."""
    began = time.monotonic()
    body = {"model": MODEL, "stream": True, "max_tokens": 40, "messages": [{"role": "user", "content": "Hello"}]}
    first, tail = 0.0, b""
    try:
        async with session.post(url + CHAT, json=body) as answer:
            if answer.status != 200:
                outcomes.fail(str(answer.status))
                return
            async for piece in answer.content.iter_any():
                first = first or (time.monotonic() if b"data:" in piece else 0.0)
                tail = (tail + piece)[-40:]
    except (aiohttp.ClientError, OSError) as error:
        outcomes.fail(type(error).__name__)
        return
    if b"[DONE]" in tail:
        outcomes.ttfts.append(first - began)
    else:
        outcomes.fail("broke off")


@asynccontextmanager
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    """Make a client without limits of its own."""
    limits = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=limits) as session:
        yield session


# --------------------------------------------------------------------------- the parts


def remote(fleet: Sequence[Process], more: str = "") -> str:
    """Write the part of router.yaml that names these engines."""
    return "backends:\n" + "".join(f"  - {{url: '{each.url}', models: [{MODEL}]}}\n" for each in fleet) + more


async def fast(asked: argparse.Namespace, folder: Path) -> None:
    """One of two engines refuses each request."""
    print("\n| policy | refuses with | 200 requests |\n|---|---|---|")
    for status in REFUSALS:
        async with engines(status, 0) as fleet:
            for policy in asked.policy or POLICIES:
                outcomes = Outcomes()
                config = remote(fleet, f"balance: {{policy: {policy}}}\n")
                async with router(asked, config, folder) as there, client() as session:
                    turns = iter(range(200))
                    await asyncio.gather(*(in_turn(session, there.url, turns, outcomes) for _ in range(8)))
                print(f"| {policy} | {status} | {outcomes.said()} |", flush=True)


async def in_turn(session: aiohttp.ClientSession, url: str, turns: Iterator[int], outcomes: Outcomes) -> None:
    """Ask one request after the other."""
    for _ in turns:
        await ask(session, url, outcomes)


async def kills(asked: argparse.Namespace, folder: Path) -> None:
    """One engine after the other is killed, and comes back."""
    print("\n| router | three engines, one killed every 4 s and back after 2.5 s |\n|---|---|")
    async with engines(0, 0, 0) as fleet:
        for name, more in (("as it is", ""), ("tuned", TUNED)):
            async with router(asked, remote(fleet, more), folder) as there:
                print(f"| {name} | {(await killing(fleet, there, asked.seconds)).said()} |", flush=True)
        if asked.smg:
            async with smg(asked.smg, [each.url for each in fleet]) as there:
                print(f"| smg | {(await killing(fleet, there, asked.seconds)).said()} |", flush=True)


async def killing(fleet: Sequence[Process], there: Router, seconds: float) -> Outcomes:
    """Kill them in turn while requests come."""

    async def kill() -> None:
        for number in range(int(seconds / KILL_EVERY)):
            each = fleet[number % len(fleet)]
            await each.kill()
            await asyncio.sleep(DOWN_FOR)
            await each.start()
            await asyncio.sleep(max(0.0, began + (number + 1) * KILL_EVERY - time.monotonic()))

    outcomes = Outcomes()
    async with client() as session, asyncio.TaskGroup() as group:
        began = time.monotonic()
        group.create_task(kill())
        for number in range(int(seconds * RATE)):
            await asyncio.sleep(max(0.0, began + number / RATE - time.monotonic()))
            group.create_task(ask(session, there.url, outcomes))
    return outcomes


async def everything(asked: argparse.Namespace, folder: Path) -> None:
    """All replicas are killed, and the router is restarted."""
    launch = f"{{engine: llama_server, model: {HERE}/models/demo, replicas: 3}}"
    config = f"backends: [{{name: {MODEL}, launch: {launch}}}]\n"
    print("\n| what | 35 requests |\n|---|---|")
    async with router(asked, config, folder) as there, client() as session:
        await asyncio.sleep(2)  # all three are there
        outcomes = Outcomes()
        async with asyncio.TaskGroup() as group:
            for number in range(35):
                if number == 5:
                    for each in there.children():
                        if "--port" in each.cmdline():
                            each.send_signal(signal.SIGKILL)
                group.create_task(ask(session, there.url, outcomes))
                await asyncio.sleep(0.02)
        print(f"| all three replicas killed at once | {outcomes.said()} |", flush=True)
    outcomes = Outcomes()
    async with router(asked, config, folder, waits=False) as there, client() as session, asyncio.TaskGroup() as group:
        for _ in range(35):
            group.create_task(ask(session, there.url, outcomes))
            await asyncio.sleep(0.02)
    print(f"| after a restart of the router | {outcomes.said()} |", flush=True)


async def measure(asked: argparse.Namespace) -> None:
    """Measure the parts that were asked for."""
    run = {"fast": fast, "kills": kills, "all": everything}
    for part in asked.part or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            await run[part](asked, Path(folder))


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", action="append", choices=PARTS, help="again for more (default: all)")
    parser.add_argument("--policy", action="append", choices=POLICIES, help="of fast; again for more (default: all)")
    parser.add_argument("--checkout", type=Path, default=HERE, help="whose router (default: this one's)")
    parser.add_argument("--python", default=sys.executable, help="that checkout's Python")
    parser.add_argument("--smg", default="", metavar="PROGRAM", help="of kills: measure SMG, too")
    parser.add_argument("--seconds", type=float, default=60.0, help="of kills (default: 60)")
    return parser.parse_args(arguments)


def main() -> None:
    """Be an engine, or measure."""
    if "--engine" in sys.argv:
        found = dict(zip(sys.argv, sys.argv[1:], strict=False))
        port = int(found.get("--port", found["--engine"]))
        asyncio.run(be_engine(port, int(found.get("--status", 0)), float(found.get("--delay", 0))))
        return
    asyncio.run(measure(options()))


if __name__ == "__main__":
    main()
