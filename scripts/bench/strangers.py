"""Measures what a flood of requests with wrong keys costs: the other clients, the router's memory, its logs.

    python -m scripts.bench.strangers                                      five pairs, then a million; six minutes
    python -m scripts.bench.strangers --pairs 1 --seconds 3 --whole 10000  a trial

1. Requests with a right key, by a schedule, beside so many a second with wrong ones, each of which is another. Each
   pair has p99 without them, with them, and without them again: what they cost is to be compared with the largest
   difference between the two without.
2. As many wrong keys as are asked for, as fast as they are refused: the router's memory at each tenth of the way, and
   the bytes that its logs have grown by.

The router is this checkout's: compile it first, with `make fast`. It has the first core for itself where there are two.
Figures of one run may be compared, those of two not.
"""

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import uvloop

from scripts.bench.cases import answers, beside_engine
from scripts.bench.followers import BODY
from scripts.bench.load import chat_request
from scripts.bench.open_loop import Schedule
from scripts.bench.pairs import beside
from scripts.bench.proxies import MODEL
from scripts.instruments.processes import ROOT, free_port, running
from scripts.instruments.statistics import percentile

KEY = "a-key-that-is-right"
STRANGERS = 8
"""Those who ask at a time."""


@contextlib.contextmanager
def router(engine_port: int, core: int, folder: Path) -> Iterator[tuple[psutil.Process, int]]:
    """Run a router that has a key; give its process and its port."""
    port, file = free_port(), folder / "router.yaml"
    file.write_text(
        f"server: {{port: {port}}}\nlogging: {{dir: '{folder}/logs'}}\nauth: {{keys: [{KEY}]}}\n"
        f"backends: [{{name: box, url: 'http://127.0.0.1:{engine_port}', models: [{MODEL}]}}]\n"
    )
    command = [sys.executable, "-P", "-m", "router", "--config", str(file)]
    with running(command, core, lambda: answers(port, KEY), folder / "router.out") as process:
        yield process, port


async def intrude(port: int, count: int, rate: float, *, anew: bool) -> None:
    """Send so many requests, each with another wrong key, `rate` a second; 0: as fast as they are refused."""
    share = count // STRANGERS
    await asyncio.gather(
        *(_intrude(port, place * share, share, rate / STRANGERS, anew=anew) for place in range(STRANGERS))
    )


async def _intrude(port: int, first: int, count: int, rate: float, *, anew: bool) -> None:
    """One after the other, on one connection, as long as it is kept; `anew`: each on another."""
    began, writer = time.monotonic(), None
    for number in range(count):
        if writer is None:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(chat_request(port, BODY, f"wrong-{first + number:012}"))
        head = await reader.read(65536)
        if not head.startswith(b"HTTP/1.1 401 "):
            raise SystemExit(f"a wrong key was answered with {head[:60]!r}")
        if anew or b"connection: close" in head:
            writer.close()
            writer = None
        if rate:
            await asyncio.sleep(began + (number + 1) / rate - time.monotonic())


def p99(port: int, rate: float, seconds: float) -> tuple[float, int]:
    """Give the p99 of requests with the right key, in milliseconds, and how many were lost."""
    schedule = Schedule(port, BODY, rate, max(1, round(rate * seconds)), KEY)
    uvloop.run(schedule.run())
    return percentile(schedule.latencies, 0.99) * 1000, schedule.lost


def _flood(port: int, count: int, rate: float, *, anew: bool) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "scripts.bench.strangers", "--port", str(port), "--whole", str(count)]
    return subprocess.Popen([*command, "--strangers", str(rate), *["--anew"] * anew], cwd=ROOT)


@contextlib.contextmanager
def flooded(port: int, rate: float, *, anew: bool) -> Iterator[None]:
    """Have strangers in the block, so many a second."""
    with _flood(port, 10**9, rate, anew=anew) as flood:
        try:
            time.sleep(1)
            yield
        finally:
            flood.terminate()


def others(port: int, asked: argparse.Namespace) -> str:
    """Measure requests with strangers and without; say what was found."""
    p99(port, asked.rate, 2)
    told = beside(
        "strangers",
        asked.pairs,
        lambda: p99(port, asked.rate, asked.seconds),
        lambda: flooded(port, asked.strangers, anew=asked.anew),
    )
    return f"{asked.strangers:g} wrong keys a second, {asked.rate:g} requests/s for {asked.seconds:g} s:\n{told}"


def whole(process: psutil.Process, port: int, logs: Path, count: int, *, anew: bool) -> str:
    """Send as many wrong keys; say what became of memory and logs."""
    sizes, memory = _size(logs), [process.memory_info().rss / 1e6]
    began = time.monotonic()
    for _ in range(10):
        with _flood(port, count // 10, 0, anew=anew) as flood:
            if flood.wait():
                raise SystemExit("the flood broke off")
        memory.append(process.memory_info().rss / 1e6)
    seconds = time.monotonic() - began
    return (
        f"{count} wrong keys in {seconds:.0f} s, {count / seconds:.0f} a second:\n"
        f"  memory in MB: {', '.join(f'{each:.1f}' for each in memory)}; logs grew by {_size(logs) - sizes} bytes"
    )


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5, help="default: 5")
    parser.add_argument("--seconds", type=float, default=15, help="of each measurement; default: 15")
    parser.add_argument("--rate", type=float, default=500, help="requests a second; default: 500")
    parser.add_argument("--strangers", type=float, default=1000, help="wrong keys a second; default: 1000")
    parser.add_argument("--whole", type=int, default=1_000_000, help="wrong keys in the end; default: 1000000")
    parser.add_argument("--anew", action="store_true", help="each wrong key on a connection of its own")
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.port:
        os.nice(19)
        uvloop.run(intrude(asked.port, asked.whole, asked.strangers, anew=asked.anew))
        return
    with beside_engine() as (port, core, folder), router(port, core, folder) as (process, at):
        print(others(at, asked))
        print(whole(process, at, folder / "logs", asked.whole, anew=asked.anew))


if __name__ == "__main__":
    main()
