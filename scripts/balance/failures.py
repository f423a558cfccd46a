"""Measures what engines that fail cost: one that fails fast, one that is killed again and again, all killed at once.

    python -m scripts.balance.failures                                    this checkout; Markdown
    python -m scripts.balance.failures --checkout ../other --python ../other/.venv/bin/python
    python -m scripts.balance.failures --part kills --smg PATH/bin/smg    beside SMG, with probes each second

Engines are processes of their own (scripts.balance.failing_engine), with a bound on requests at once and a true queue.
Routers are started as a person would start them. Requests come when they are due, whatever is answered; TTFT counts
from there to the first event of the stream.

  fast    two engines, one of which refuses each request at once: 200 requests, eight at a time, by each policy
  kills   three engines, one after the other killed every 4 s and back after 2.5 s; 15 requests a second
  all     three launched engines (llama_server, the demo model), all killed at once; 35 requests then, and as many
          after a restart of the router
"""

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from scripts.balance.failing_engine import MODEL, EngineProcess, engines, listens
from scripts.balance.process import ListeningProcess, end, running
from scripts.instruments.answers import TimedAnswer
from scripts.instruments.client import ClientPool, LoadTarget
from scripts.instruments.processes import ROOT, free_port
from scripts.instruments.statistics import percentile

PARTS = ("fast", "kills", "all")
POLICIES = ("least_latency", "least_in_flight", "least_response_time", "round_robin", "weighted", "random")
REFUSALS = (401, 404, 500)

KILL_EVERY, DOWN_FOR, RATE = 4.0, 2.5, 15.0
"""Seconds between two kills; seconds until a killed engine is started again; requests a second."""

TUNED = "health: {interval: 1s, ramp: 0s, trial: 100, healthy_after: 1}\n"

_ENDS_WITHIN = 15.0
"""Seconds that a router has to end, and its engines with it."""

_ANSWER_WITHIN = 120.0
_BODY = json.dumps(
    {"model": MODEL, "stream": True, "max_tokens": 40, "messages": [{"role": "user", "content": "Hello"}]}
).encode()

# --------------------------------------------------------------------------- routers


@asynccontextmanager
async def router(
    asked: argparse.Namespace, config: str, folder: Path, *, waits: bool = True
) -> AsyncIterator[ListeningProcess]:
    """Run a checkout's router on this router.yaml; with `waits`, from when it is ready."""
    (folder / "router.yaml").write_text(f"server: {{port: 0}}\nlogging: {{dir: {folder}/logs}}\n{config}")
    command = [asked.python, "-m", "router", "--config", str(folder / "router.yaml")]
    async with running(command, folder / "said.txt", asked.checkout, _ENDS_WITHIN) as found:
        if waits:
            await found.ready()
        yield found


@asynccontextmanager
async def smg(program: str, urls: Sequence[str]) -> AsyncIterator[str]:
    """Run SMG, with probes each second; gives its URL."""
    port = free_port()
    command = [program, "launch", "--host", "127.0.0.1", "--port", str(port), "--worker-urls", *urls]
    command += ["--policy", "round_robin", "--log-level", "error", "--health-check-interval-secs", "1"]
    command += ["--prometheus-port", str(free_port())]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await listens(port)
        await asyncio.sleep(5)  # it listens before it has looked at its workers
        yield f"http://127.0.0.1:{port}"
    finally:
        await end(process)


# --------------------------------------------------------------------------- requests


@dataclass
class FailureCount:
    """What came of requests: seconds to the first event of each whole answer, and how the others failed."""

    ttfts: list[float] = field(default_factory=list)
    failed: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        lost = sum(self.failed.values())
        how = f" ({', '.join(f'{count} x {how}' for how, count in sorted(self.failed.items()))})" if lost else ""
        p50, p99 = (1000 * percentile(self.ttfts, share) for share in (0.5, 0.99))
        return f"{len(self.ttfts)} answered, {lost} failed{how}; TTFT p50 {p50:.0f} ms, p99 {p99:.0f} ms"


class _FirstEvent(TimedAnswer):
    """An answer whose first event counts, whether it has content or not."""

    __slots__ = ("first_event",)

    def __init__(self, due: float) -> None:
        super().__init__(due)
        self.first_event = 0.0

    def _event(self, line: bytes, now: float) -> None:
        self.first_event = self.first_event or now
        super()._event(line, now)


async def ask(pool: ClientPool, count: FailureCount) -> None:
    """Ask once."""
    answer = _FirstEvent(time.perf_counter())
    await pool.ask(pool.target.request("POST", "/v1/chat/completions", _BODY), answer, _ANSWER_WITHIN)
    if answer.failure:
        how = answer.failure.removeprefix("status ")
        count.failed[how] = count.failed.get(how, 0) + 1
    else:
        count.ttfts.append(answer.first_event - answer.due)


@asynccontextmanager
async def client(url: str) -> AsyncIterator[ClientPool]:
    """Open a client of a router or an engine."""
    pool = ClientPool(LoadTarget("router", url))
    try:
        yield pool
    finally:
        pool.close()


# --------------------------------------------------------------------------- the parts


def remote(fleet: Sequence[EngineProcess], more: str = "") -> str:
    """Write the part of router.yaml that names these engines."""
    return "backends:\n" + "".join(f"  - {{url: '{each.url}', models: [{MODEL}]}}\n" for each in fleet) + more


async def fast(asked: argparse.Namespace, folder: Path) -> None:
    """One of two engines refuses each request."""
    print("\n| policy | refuses with | 200 requests |\n|---|---|---|")
    for status in REFUSALS:
        async with engines(status, 0) as fleet:
            for policy in asked.policy or POLICIES:
                count = FailureCount()
                config = remote(fleet, f"balance: {{policy: {policy}}}\n")
                async with router(asked, config, folder) as there, client(there.url) as pool:
                    turns = iter(range(200))
                    await asyncio.gather(*(in_turn(pool, turns, count) for _ in range(8)))
                print(f"| {policy} | {status} | {count} |", flush=True)


async def in_turn(pool: ClientPool, turns: Iterator[int], count: FailureCount) -> None:
    """Ask one request after the other."""
    for _ in turns:
        await ask(pool, count)


async def kills(asked: argparse.Namespace, folder: Path) -> None:
    """One engine after the other is killed, and comes back."""
    print("\n| router | three engines, one killed every 4 s and back after 2.5 s |\n|---|---|")
    async with engines(0, 0, 0) as fleet:
        for name, more in (("as it is", ""), ("tuned", TUNED)):
            async with router(asked, remote(fleet, more), folder) as there:
                print(f"| {name} | {await killing(fleet, there.url, asked.seconds)} |", flush=True)
        if asked.smg:
            async with smg(asked.smg, [each.url for each in fleet]) as url:
                print(f"| smg | {await killing(fleet, url, asked.seconds)} |", flush=True)


async def killing(fleet: Sequence[EngineProcess], url: str, seconds: float) -> FailureCount:
    """Kill them in turn while requests come."""

    async def kill() -> None:
        for number in range(int(seconds / KILL_EVERY)):
            each = fleet[number % len(fleet)]
            await each.kill()
            await asyncio.sleep(DOWN_FOR)
            await each.start()
            await asyncio.sleep(max(0.0, began + (number + 1) * KILL_EVERY - time.monotonic()))

    count = FailureCount()
    async with client(url) as pool, asyncio.TaskGroup() as group:
        began = time.monotonic()
        group.create_task(kill())
        for number in range(int(seconds * RATE)):
            await asyncio.sleep(max(0.0, began + number / RATE - time.monotonic()))
            group.create_task(ask(pool, count))
    return count


async def everything(asked: argparse.Namespace, folder: Path) -> None:
    """All replicas are killed, and the router is restarted."""
    launch = f"{{engine: llama_server, model: {ROOT}/models/demo, replicas: 3}}"
    config = f"backends: [{{name: {MODEL}, launch: {launch}}}]\n"
    print("\n| what | 35 requests |\n|---|---|")
    async with router(asked, config, folder) as there, client(there.url) as pool:
        await asyncio.sleep(2)  # all three are there
        count = FailureCount()
        async with asyncio.TaskGroup() as group:
            for number in range(35):
                if number == 5:
                    for each in there.process.children(recursive=True):
                        if "--port" in each.cmdline():
                            each.send_signal(signal.SIGKILL)
                group.create_task(ask(pool, count))
                await asyncio.sleep(0.02)
        print(f"| all three replicas killed at once | {count} |", flush=True)
    count = FailureCount()
    async with (
        router(asked, config, folder, waits=False) as there,
        client(there.url) as pool,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(35):
            group.create_task(ask(pool, count))
            await asyncio.sleep(0.02)
    print(f"| after a restart of the router | {count} |", flush=True)


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
    parser.add_argument("--checkout", type=Path, default=ROOT, help="whose router (default: this one's)")
    parser.add_argument("--python", default=sys.executable, help="that checkout's Python")
    parser.add_argument("--smg", default="", metavar="PROGRAM", help="of kills: measure SMG, too")
    parser.add_argument("--seconds", type=float, default=60.0, help="of kills (default: 60)")
    return parser.parse_args(arguments)


def main() -> None:
    """Measure."""
    asyncio.run(measure(options()))


if __name__ == "__main__":
    main()
