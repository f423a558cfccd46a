"""Measures the web page on a busy router: what it costs the router, and whether it stays quick itself.

    python -m scripts.bench.page                                    two minutes and a half
    python -m scripts.bench.page --seconds 3 --rate 100             a trial

50 backends, 2,000 recent requests, requests and events by a schedule, and a real Chromium. Of
each page it tells the first paint (nothing cached), the longest task of the browser's main thread, and how many
messages a second came from the router; then the router's share of a core with a page open and without, in turns. Events
are made by a program that asks the router for them, in both. The router is this checkout's: `make fast` compiles it.
"""

import argparse
import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from statistics import median

import psutil
import uvloop
from playwright.async_api import Page, async_playwright

from scripts.bench.cases import beside_engine
from scripts.bench.followers import BODY, happen, router
from scripts.bench.open_loop import Schedule
from scripts.instruments.processes import ROOT, cpu_of

PAGES = ("overview", "models", "activity", "logs")
WATCH = """() => {
  window.longest = 0
  const seen = list => { window.longest = Math.max(window.longest, ...list.getEntries().map(each => each.duration)) }
  new PerformanceObserver(seen).observe({type: "longtask", buffered: true})
}"""
PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[tuple[Page, list[float]]]:
    """Open a page in a browser of its own; give it, and the times at which the router sent it something."""
    command = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=command)
        page = await browser.new_page()
        await page.add_init_script(f"({WATCH})()")
        arrived: list[float] = []
        devtools = await page.context.new_cdp_session(page)
        await devtools.send("Network.enable")
        devtools.on("Network.dataReceived", lambda _: arrived.append(time.monotonic()))
        await page.goto(url)
        yield page, arrived
        await browser.close()


async def look(port: int, seconds: float) -> list[str]:
    """Look at each page for so long; tell how quick it was."""
    lines = []
    for name in PAGES:
        async with opened(f"http://127.0.0.1:{port}/#/{name}") as (page, arrived):
            await asyncio.sleep(3)
            paint, begun, before = await page.evaluate(PAINT), time.monotonic(), len(arrived)
            await asyncio.sleep(seconds)
            sent = (len(arrived) - before) / (time.monotonic() - begun)
            longest = await page.evaluate("window.longest")
        lines.append(f"  {name}: first paint {paint:.0f} ms, longest task {longest:.0f} ms, {sent:.1f} messages/s")
        print(lines[-1], file=sys.stderr)
    return lines


async def _share(process: psutil.Process, seconds: float) -> float:
    began, before = time.monotonic(), cpu_of(process)
    await asyncio.sleep(seconds)
    return (cpu_of(process) - before) / (time.monotonic() - began) * 100


async def cost(process: psutil.Process, port: int, pairs: int, seconds: float) -> str:
    """Measure the router's share of a core with a page open and without."""
    rows = []
    for number in range(pairs):
        shares = {}
        for watched in (False, True) if number % 2 else (True, False):
            async with contextlib.AsyncExitStack() as stack:
                if watched:
                    await stack.enter_async_context(opened(f"http://127.0.0.1:{port}/#/{PAGES[number % len(PAGES)]}"))
                await asyncio.sleep(3)
                shares[watched] = await _share(process, seconds)
        rows.append((shares[False], shares[True]))
        print(f"pair {number + 1}: {shares[False]:.2f} %, with a page {shares[True]:.2f} %", file=sys.stderr)
    more = median(watched - without for without, watched in rows)
    listed = "; ".join(f"{without:.2f} / {watched:.2f}" for without, watched in rows)
    return f"  the router's % of a core without / with a page: {listed}\n  with it {more:+.2f} % of a core (median)"


async def measure(process: psutil.Process, port: int, asked: argparse.Namespace) -> str:
    """Measure both."""
    await asyncio.sleep(2000 / asked.rate)
    lines = await look(port, asked.seconds)
    told = await cost(process, port, asked.pairs, asked.seconds)
    return "\n".join([f"{asked.rate:g} requests/s, {asked.events:g} events/s:", *lines, told])


async def burden(port: int, rate: float, events: float) -> None:
    """Send requests, and have things happen, until this process is ended."""
    happening = asyncio.create_task(happen(port, 1 / events))
    while not happening.done():
        await Schedule(port, BODY, rate, round(rate * 10)).run()


def main() -> None:
    """Measure it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5, help="default: 5")
    parser.add_argument("--seconds", type=float, default=8, help="of each measurement; default: 8")
    parser.add_argument("--rate", type=float, default=500, help="requests a second; default: 500")
    parser.add_argument("--events", type=float, default=500, help="events a second; default: 500")
    parser.add_argument("--load", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.load:
        uvloop.run(burden(asked.load, asked.rate, asked.events))
        return
    with beside_engine() as (port, core, folder), router(port, core, folder, 50) as (process, at):
        command = [sys.executable, "-m", "scripts.bench.page", "--load", str(at), "--rate", str(asked.rate)]
        with subprocess.Popen([*command, "--events", str(asked.events)], cwd=ROOT) as load:
            print(asyncio.run(measure(process, at, asked)))
            load.terminate()


if __name__ == "__main__":
    main()
