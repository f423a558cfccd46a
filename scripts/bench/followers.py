"""Measures what it costs to be watched: followers of events and logs, and `top`.

    python -m scripts.bench.followers                                        five pairs of each, about six minutes
    python -m scripts.bench.followers --pairs 1 --seconds 3 --rate 100       a trial

1. 100 followers of events and of an engine's log, 20 of which never read, beside requests by a schedule. Each pair has
   p99 without them, with them, and without them again: what followers cost is to be compared with the largest
   difference between the two without. The log has 100 lines a second, and 20 events a second happen, in all three.
   It also says what the router's memory was, and whether one that comes and goes missed any event.
2. `top` beside 50 backends and requests by a schedule: the router's share of a core with it and without it, in turns.

The router is this checkout's: compile it first, with `make fast`. It has the first core for itself where there are two.
Figures of one run may be compared, those of two not.
"""

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp
import psutil
import uvloop

from scripts.bench.cases import answers, beside_engine
from scripts.bench.open_loop import Schedule
from scripts.bench.pairs import beside
from scripts.bench.proxies import MODEL
from scripts.instruments.processes import ROOT, cpu_of, free_port, running
from scripts.instruments.statistics import percentile

BODY = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "Hello there."}]}).encode()
EVENTS_EACH = 0.05
"""Seconds between two events that happen."""

LINES = 100
"""Lines a second that the engine `writer` writes."""


def config(port: int, engine_port: int, folder: Path, backends: int) -> str:
    """Write a router.yaml: so many backends, which are one engine, and one that is launched and writes."""
    listed = "".join(
        f"  - {{name: box-{number:02}, url: 'http://127.0.0.1:{engine_port}', models: [{MODEL}]}}\n"
        for number in range(backends)
    )
    command = [sys.executable, "-m", "scripts.bench.following", "--writes", str(LINES), "--port", "{port}"]
    launch = {"cmd": command, "ready": "/health", "parallel": 1, "env": {"PYTHONPATH": str(ROOT)}}
    return f"""
server: {{port: {port}}}
logging: {{dir: '{folder}/logs'}}
backends:
{listed}  - {{name: writer, models: [written], launch: {json.dumps(launch)}}}
"""


@contextlib.contextmanager
def router(engine_port: int, core: int, folder: Path, backends: int) -> Iterator[tuple[psutil.Process, int]]:
    """Run a router; give its process and its port."""
    port, file = free_port(), folder / "router.yaml"
    file.write_text(config(port, engine_port, folder, backends))
    command = [sys.executable, "-P", "-m", "router", "--config", str(file)]
    with running(command, core, lambda: answers(port), folder / "router.out") as process:
        yield process, port


async def happen(port: int, apart: float = EVENTS_EACH) -> None:
    """Have something happen over and over, so many seconds apart: each is an event."""
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        while True:
            for lever in ("drain", "undrain"):
                async with session.post(f"/admin/backends/writer/{lever}") as answer:
                    answer.raise_for_status()
                await asyncio.sleep(apart)


def p99(port: int, rate: float, seconds: float) -> tuple[float, int]:
    """Give the p99 of requests in milliseconds, and how many were lost, while things happen."""

    async def go() -> Schedule:
        schedule = Schedule(port, BODY, rate, max(1, round(rate * seconds)))
        happening = asyncio.create_task(happen(port))
        await schedule.run()
        happening.cancel()
        return schedule

    schedule = uvloop.run(go())
    return percentile(schedule.latencies, 0.99) * 1000, schedule.lost


@contextlib.contextmanager
def followed(port: int, count: int, slow: int, counts: dict[str, int]) -> Iterator[None]:
    """Have followers in the block; `counts` are added up from what they saw."""
    command = [sys.executable, "-m", "scripts.bench.following", "--port", str(port)]
    command += ["--count", str(count), "--slow", str(slow)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None  # noqa: S101  (it is a pipe)
        process.stdout.readline()
        try:
            yield
        finally:
            said, _ = process.communicate()
    for name, value in json.loads(said).items():
        counts[name] = counts.get(name, 0) + value


def follow(process: psutil.Process, port: int, asked: argparse.Namespace) -> str:
    """Measure requests with followers and without; say what was found."""
    counts = dict[str, int]()
    p99(port, asked.rate, 2)
    memory = [process.memory_info().rss / 1e6]

    @contextlib.contextmanager
    def watching() -> Iterator[None]:
        with followed(port, asked.followers, asked.slow, counts):
            yield
            memory.append(process.memory_info().rss / 1e6)

    told = beside("followers", asked.pairs, lambda: p99(port, asked.rate, asked.seconds), watching)
    return (
        f"{asked.followers} followers, {asked.slow} slow, {asked.rate:g} requests/s for {asked.seconds:g} s:\n{told}\n"
        f"  memory in MB at first, then with them: {', '.join(f'{each:.1f}' for each in memory)}\n"
        f"  one came back {counts['returned']} times: of {counts['told']} events it missed {counts['missed']}\n"
        f"  the others saw {counts['events']} events and {counts['lines']} lines; {counts['left']} streams ended early"
    )


def top(process: psutil.Process, port: int, asked: argparse.Namespace) -> str:
    """Measure the router's share of a core with `top` and without; say what was found."""
    rows = []
    for number in range(asked.pairs):
        shares = []
        for watched in (False, True) if number % 2 else (True, False):
            command = [sys.executable, "-m", "router", "top", "--url", f"http://127.0.0.1:{port}"]
            watching: Any = contextlib.nullcontext()
            if watched:
                watching = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
            with watching:
                time.sleep(2)
                shares.append((watched, _share(process, port, asked)))
                if watched:
                    watching.terminate()
        both = dict(shares)
        rows.append((both[False], both[True]))
        print(f"top, pair {number + 1}: {both[False]:.2f} %, with it {both[True]:.2f} %", file=sys.stderr)
    more, ratio = median(w - o for o, w in rows), median(w / o for o, w in rows)
    listed = "; ".join(f"{without:.2f} / {watched:.2f}" for without, watched in rows)
    return (
        f"top, {asked.backends} backends, {asked.rate:g} requests/s for {asked.seconds:g} s:\n"
        f"  the router's % of a core without / with: {listed}\n"
        f"  with it {more:+.2f} % of a core, {ratio:.3f} times as much (medians)"
    )


def _share(process: psutil.Process, port: int, asked: argparse.Namespace) -> float:
    """Give the share of a core that the router takes under the load, in percent."""

    async def go() -> None:
        await Schedule(port, BODY, asked.rate, max(1, round(asked.rate * asked.seconds))).run()

    began, before = time.monotonic(), cpu_of(process)
    uvloop.run(go())
    return (cpu_of(process) - before) / (time.monotonic() - began) * 100


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5, help="default: 5")
    parser.add_argument("--seconds", type=float, default=15, help="of each measurement; default: 15")
    parser.add_argument("--rate", type=float, default=500, help="requests a second; default: 500")
    parser.add_argument("--followers", type=int, default=100, help="default: 100")
    parser.add_argument("--slow", type=int, default=20, help="of them, never read; default: 20")
    parser.add_argument("--backends", type=int, default=50, help="default: 50")
    asked = parser.parse_args()
    with beside_engine() as (port, core, folder), router(port, core, folder, asked.backends) as (process, at):
        print(follow(process, at, asked))
        print(top(process, at, asked))


if __name__ == "__main__":
    main()
