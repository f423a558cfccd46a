"""Measures what a reload of a large router.yaml costs: 1,000 backends and 5,000 routes, most of them new.

    python -m scripts.bench.reload

It gives the time to read and to apply, the longest time that the loop was held, and the cost of a lookup. The backends
don't exist: the router alone is measured, in this process.
"""

import argparse
import asyncio
import logging
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog
import uvloop

from router.app import App
from router.cli.run import settle_garbage_collector
from router.config import load
from router.fleet.reload import threads_take_turns

TICK = 0.0005
"""Seconds between two readings of the clock."""


def text(backends: int, routes: int, first: int = 0) -> str:
    """Write a router.yaml; `first` numbers the first of its backends."""
    lines = ["server: {port: 0}", "health: {interval: 1h}", "backends:"]
    lines += [
        f"  - {{name: b{i}, url: 'http://127.0.0.1:{10_000 + i}', models: [m{i % 200}]}}"
        for i in range(first, first + backends)
    ]
    lines.append("routes:")
    lines += [f"  r{i}: [m{i % 200}, m{(i + 1) % 200}]" for i in range(routes * 9 // 10)]
    lines += [f'  "w{i}-*": m{i % 200}' for i in range(routes // 10)]
    return "\n".join(lines) + "\n"


class Ticker:
    """Reads the clock as often as the loop allows; `longest` is the longest time between, in seconds, above `TICK`."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def tick(self) -> None:
        """Go on until cancelled."""
        last = time.perf_counter()
        while True:
            await asyncio.sleep(TICK)
            now = time.perf_counter()
            self.longest = max(self.longest, now - last - TICK)
            last = now


async def measure(backends: int, routes: int) -> str:
    """Start a router with a small configuration, reload large ones, and give the costs as text."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "router.yaml"
        file.write_text(text(1, 1))
        app = App(load(file, {}).config, Path(folder))
        await app.start()
        settle_garbage_collector()  # as the router does
        try:
            said = []
            for name, first in (
                ("all new", 0),
                ("a tenth of them others", backends // 10),
                ("the same again", backends // 10),
            ):
                file.write_text(text(backends, routes, first))
                ticker = Ticker()
                ticking = asyncio.create_task(ticker.tick())
                await asyncio.sleep(0.05)
                ticker.longest = 0
                began = time.perf_counter()
                with threads_take_turns():
                    loaded = await asyncio.to_thread(load, file, {})
                    read, held_by_reading, ticker.longest = time.perf_counter(), ticker.longest, 0
                    await app.reload(loaded.config)
                applied = time.perf_counter()
                await asyncio.sleep(0.2)
                said.append(
                    f"{name:24} read in {(read - began) * 1e3:5.0f} ms "
                    f"(the loop held {held_by_reading * 1e3:.0f} ms at a time), "
                    f"applied in {(applied - read) * 1e3:4.0f} ms (held {ticker.longest * 1e3:.1f} ms at a time)"
                )
                ticking.cancel()
                with suppress(asyncio.CancelledError):
                    await ticking
            resolve = app.plane.catalog.resolve
            names = [f"m{i}" for i in range(200)] + [f"r{i}" for i in range(200)] + [f"w{i}-x" for i in range(200)]
            said.append(f"a lookup of a name that was asked for before: {lookup(resolve, names) * 1e6:.2f} µs")
            new = [f"w{i % 500}-{i}" for i in range(4000)]
            said.append(f"a lookup of a new name, by wildcard: {once(resolve, new) * 1e6:.2f} µs")
            return "\n".join(said)
        finally:
            await app.kill()


def lookup(resolve: Callable[[str], object], names: list[str]) -> float:
    """Give the seconds of a lookup where all names are known."""
    once(resolve, names)
    return min(once(resolve, names) for _ in range(50))


def once(resolve: Callable[[str], object], names: list[str]) -> float:
    """Give the seconds of a lookup."""
    began = time.perf_counter()
    for name in names:
        resolve(name)
    return (time.perf_counter() - began) / len(names)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--backends", type=int, default=1000)
    parser.add_argument("--routes", type=int, default=5000)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(runner.run(measure(options.backends, options.routes)))


if __name__ == "__main__":
    main()
