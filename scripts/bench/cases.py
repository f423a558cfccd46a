"""The cases that a running proxy is measured with: each puts a load on it, and gives its cost."""

import contextlib
import json
import socket
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import uvloop

from scripts.bench import crowd as gathering
from scripts.bench.engine import EVENTS, PACE
from scripts.bench.load import LoadCount, chat_request, load
from scripts.bench.open_loop import Schedule
from scripts.bench.proxies import MODEL, Proxy
from scripts.bench.results import Cost, Crowd, Crowds, Latency, ProxyRun, Soak
from scripts.instruments.processes import cores, cpu, empty_folder, free_port, pinned, resident, running
from scripts.instruments.statistics import percentile

RATE = 1000
SECONDS = 10
CROWD = 10_000
SOAK_SAMPLE = 50_000


def _body(says: str = "Hello there.", **more: object) -> bytes:
    return json.dumps({"model": MODEL, "messages": [{"role": "user", "content": says}], **more}).encode()


@dataclass(frozen=True)
class Case:
    """A closed loop. Its CPU time is divided by its requests, or by its events where answers stream."""

    name: str
    body: bytes
    clients: int
    each: int
    events: int = 0
    lasts: float = 0.0
    """The least seconds that it takes: a proxy that changes the request may lose the word that sets the pace."""

    @property
    def units(self) -> int:
        """How many requests, or events."""
        return self.clients * self.each * (self.events or 1)

    def scaled(self, share: float) -> "Case":
        """Give a share of the case: of each client's requests, or, where each client asks once, of the clients."""
        if self.each == 1:
            return replace(self, clients=max(1, round(self.clients * share)))
        return replace(self, each=max(1, round(self.each * share)))


REQUEST, EVENT, PACED = CASES = (
    Case("µs a request", _body(), clients=32, each=500),
    Case("µs an event, full speed", _body(stream=True), clients=16, each=40, events=EVENTS),
    Case("µs an event, 200 streams at 50/s", _body("paced", stream=True), 200, 1, EVENTS, lasts=EVENTS * PACE * 0.9),
)
_WARM_UP = Case("", _body(), clients=32, each=50)
_SOAK = Case("", _body(), clients=50, each=SOAK_SAMPLE // 50)


def answers(port: int, api_key: str = "") -> bool:
    """Tell whether a request is answered at this port: some proxies listen before they know their backends."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
        sock.sendall(chat_request(port, _body(), api_key))
        return sock.recv(12) == b"HTTP/1.1 200"
    return False


@contextlib.contextmanager
def engine(core: int, folder: Path) -> Iterator[int]:
    """Run the engine; give its port."""
    port = free_port()
    command = [sys.executable, "-m", "scripts.bench.engine", "--port", str(port)]
    with running(command, core, lambda: answers(port), folder / "engine.log"):
        yield port


@contextlib.contextmanager
def beside_engine() -> Iterator[tuple[int, int, Path]]:
    """Run an engine for a bench of our own router: give its port, the core for the router, and an empty folder.

    The first core is the router's; engine and load have the others, where there are any.
    """
    available = cores()
    with tempfile.TemporaryDirectory() as name, pinned(available[1:] or available):
        folder = Path(name)
        with engine(available[-1], folder) as port:
            yield port, available[0], folder


@contextlib.contextmanager
def started(proxy: Proxy, engine: int, core: int, folder: Path) -> Iterator[tuple[psutil.Process, int]]:
    """Start a proxy afresh; give its process and its port, once it has answered for the first time."""
    place, port = empty_folder(folder / "files" / proxy.name), free_port()
    command = proxy.command(port, engine, place)
    with running(command, core, lambda: answers(port), place / "output.log", proxy.env) as tree:
        yield tree, port


def run(proxy: Proxy, engine: int, core: int, folder: Path, share: float) -> ProxyRun:
    """Start a proxy, put each load on it in turn, and tell what each cost."""
    share_here = share * proxy.scale
    with started(proxy, engine, core, folder) as (tree, port):
        at_start = resident(tree)
        _load(port, _WARM_UP.scaled(share_here))
        costs = {case.name: cost(tree, port, case.scaled(share_here)) for case in CASES}
        latency = open_loop(port, RATE * proxy.scale, SECONDS * share)
        return ProxyRun(costs, latency, started=at_start / 1e6, loaded=resident(tree) / 1e6)


def _load(port: int, case: Case, api_key: str = "") -> LoadCount:
    return uvloop.run(
        load(port, case.body, clients=case.clients, each=case.each, events=case.events, api_key=api_key),
    )


def cost(tree: psutil.Process, port: int, case: Case, api_key: str = "") -> Cost:
    """Put this load on a proxy, and tell what it cost."""
    before, began = cpu(tree), time.monotonic()
    lost = _load(port, case, api_key).lost
    if time.monotonic() - began < case.lasts:
        lost = case.clients * case.each
    user, system, total = (part / case.units * 1e6 for part in cpu(tree).since(before))
    return Cost(user, system, total, case.units, lost)


def open_loop(port: int, rate: float, seconds: float) -> Latency:
    """Send `rate` requests a second, whatever comes back."""

    async def go() -> Schedule:
        schedule = Schedule(port, _body(), rate, max(1, round(rate * seconds)))
        await schedule.run()
        return schedule

    schedule = uvloop.run(go())
    p50, p99 = (percentile(schedule.latencies, share) * 1000 for share in (0.5, 0.99))
    return Latency(rate, len(schedule.latencies) + schedule.lost, p50, p99, schedule.lost)


def crowds(proxy: Proxy, engine: int, core: int, folder: Path, count: int) -> Crowds:
    """Try a proxy with `count` open streams, and then, started afresh, with `count` idle connections."""
    streams, idle = _body("slow", stream=True), _body()
    found = []
    for gather, body in ((gathering.streams, streams), (gathering.idle, idle)):
        with started(proxy, engine, core, folder) as (tree, port):
            found.append(_crowd(gather, tree, port, body, count))
    return Crowds(*found)


def _crowd(
    gather: Callable[[int, bytes, int, Callable[[], float]], Awaitable[gathering.Attendance]],
    tree: psutil.Process,
    port: int,
    body: bytes,
    count: int,
) -> Crowd:
    _load(port, _WARM_UP)
    before = resident(tree)

    async def go() -> gathering.Attendance:
        return await gather(port, body, count, lambda: resident(tree))

    crowd = uvloop.run(go())
    growth = (crowd.memory - before) / max(1, crowd.at_once) / 1000
    return Crowd(count, crowd.at_once, count - crowd.good, growth)


def soak(proxy: Proxy, engine: int, core: int, folder: Path, requests: int) -> Soak:
    """Put very many requests through a proxy; its memory after each 50,000."""
    samples, lost = [], 0
    with started(proxy, engine, core, folder) as (tree, port):
        for _ in range(max(1, requests // SOAK_SAMPLE)):
            lost += _load(port, _SOAK).lost
            samples.append(resident(tree) / 1e6)
    return Soak(SOAK_SAMPLE, samples, lost)
