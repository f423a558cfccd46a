"""Processes for `scripts.bench.followers`: those who follow events and logs, and an engine that writes a lot.

    python -m scripts.bench.following --port PORT --count 100 --slow 20     follows until its input ends
    python -m scripts.bench.following --port PORT --writes 100              an engine that writes so many lines a second

Half of the followers follow /admin/events, the others the log of the engine `writer`. Slow ones never read. One more
follows events, leaves after every few, and comes back with the last id. At the end it prints what was seen as JSON.
"""

import argparse
import asyncio
import json
import os
import socket
import sys
from contextlib import closing, suppress
from dataclasses import asdict, dataclass

import uvloop

from scripts.bench.engine import CheapConnection
from scripts.instruments.engine import serve

EVENTS = "/admin/events"
LINES = "/admin/backends/writer/logs/stream"

LEAVES_AFTER = 7
"""Events after which the one that comes and goes leaves."""

STAYS_AWAY = 0.3
"""Seconds for which it does."""

_LINE = "x" * 150
_NICENESS = 19
"""Of the followers: they share a core with the load, which is measured."""


@dataclass
class Counts:
    """What the followers saw. `returned`: how often the one came back; `missed`: events that it didn't get.

    `left`: followers whose stream the router ended.
    """

    events: int = 0
    lines: int = 0
    returned: int = 0
    told: int = 0
    missed: int = 0
    left: int = 0


async def _open(port: int, path: str, after: int | None = None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    last = "" if after is None else f"last-event-id: {after}\r\n"
    writer.write(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n{last}\r\n".encode())
    return reader, writer


async def _read(port: int, path: str, counts: Counts) -> None:
    """Follow until cancelled, and count."""
    reader, writer = await _open(port, path)
    with closing(writer):
        async for line in reader:
            if line.startswith(b"data: "):
                if path == EVENTS:
                    counts.events += 1
                else:
                    counts.lines += 1
    counts.left += 1


async def _come_and_go(port: int, counts: Counts) -> None:
    """Follow events with breaks, and look whether each id is the one behind the last."""
    after: int | None = None
    while True:
        reader, writer = await _open(port, EVENTS, after)
        counts.returned += after is not None
        with closing(writer):
            for _ in range(LEAVES_AFTER):
                found = await _next_id(reader)
                if after is not None:
                    counts.missed += found - after - 1
                after = found
                counts.told += 1
        await asyncio.sleep(STAYS_AWAY)


async def _next_id(reader: asyncio.StreamReader) -> int:
    async for line in reader:
        if line.startswith(b"id: "):
            return int(line[4:])
    raise ConnectionError("the router ended the stream")


def never_read(port: int, path: str) -> socket.socket:
    """Ask for a stream, with the smallest buffer, and never read it."""
    follower = socket.socket()
    follower.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    follower.connect(("127.0.0.1", port))
    follower.sendall(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n".encode())
    return follower


async def followers(port: int, count: int, slow: int) -> Counts:
    """Follow until this process's input ends."""
    counts, loop = Counts(), asyncio.get_running_loop()
    paths = [LINES if number % 2 else EVENTS for number in range(count)]
    asleep = [never_read(port, path) for path in paths[:slow]]
    tasks = [loop.create_task(_read(port, path, counts)) for path in paths[slow:]]
    tasks.append(loop.create_task(_come_and_go(port, counts)))
    print("here", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    for task in tasks:
        task.cancel()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    counts.left += sum(not isinstance(end, asyncio.CancelledError) and end is not None for end in ends)
    for each in asleep:
        each.close()
    return counts


async def writer(port: int, writes: float) -> None:
    """Be an engine that writes so many lines a second."""

    async def write() -> None:
        number = 0
        while True:
            print(number, _LINE, flush=True)
            number += 1
            await asyncio.sleep(1 / writes)

    writing = asyncio.create_task(write())
    await serve(CheapConnection, port)
    writing.cancel()


def main() -> None:
    """Follow, or write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--slow", type=int, default=20)
    parser.add_argument("--writes", type=float)
    asked = parser.parse_args()
    if asked.writes:
        uvloop.run(writer(asked.port, asked.writes))
        return
    with suppress(OSError):
        os.nice(_NICENESS)
    print(json.dumps(asdict(uvloop.run(followers(asked.port, asked.count, asked.slow)))))


if __name__ == "__main__":
    main()
