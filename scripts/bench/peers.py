"""Measures what it costs to reach backends through other routers: time to the first token, beside the same ones direct.

    python -m scripts.bench.peers                          five pairs of 30 s each; six minutes
    python -m scripts.bench.peers --pairs 1 --seconds 5    a trial

Two engines, each of which reads a prompt in `--ttft` and then writes a token every 10 ms. One router has both as URLs.
Another has two routers as peers, each with one of the engines. They are asked in turns, by the same schedule; each pair
gives p99 of the one, of the other, and their ratio.

The routers are this checkout's: compile it first, with `make fast`. All of them have the first core, and engines and
clients the others, where there are two. Figures of one run may be compared, those of two not.
"""

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import uvloop

from scripts.bench.cases import answers
from scripts.bench.proxies import MODEL
from scripts.instruments.answers import TimedAnswer
from scripts.instruments.client import ClientPool, LoadTarget
from scripts.instruments.engine import STREAM_END, EngineConnection, as_json, event, reply, serve, stream_head
from scripts.instruments.processes import cores, free_port, pinned, running
from scripts.instruments.statistics import percentile

EVENTS = 20
EVERY = 0.01
"""Seconds between two tokens."""

LONGEST = 60.0
"""Seconds after which an answer is lost."""

SAID = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "so "}}]}
BODY = json.dumps({"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "Hello there."}]}).encode()
LIST = reply(as_json({"object": "list", "data": [{"id": MODEL, "object": "model"}]}))


class Reading(EngineConnection):
    """A connection to an engine that takes its time."""

    ttft = 0.05

    def asked(self, head: bytes, body: bytes) -> None:  # noqa: ARG002
        """Answer at once what isn't for the model."""
        if head.startswith(b"get "):
            self.transport.write(LIST)
        else:
            asyncio.get_running_loop().call_later(self.ttft, self._say, 0)

    def _say(self, said: int) -> None:
        if self.gone:
            return
        if said == EVENTS:
            self.transport.write(STREAM_END)
            return
        self.transport.write((b"" if said else stream_head()) + event(SAID))
        asyncio.get_running_loop().call_later(EVERY, self._say, said + 1)


@contextlib.contextmanager
def engine(core: int, ttft: float, folder: Path) -> Iterator[int]:
    """Run an engine; give its port."""
    port = free_port()
    command = [sys.executable, "-m", "scripts.bench.peers", "--engine", str(port), "--ttft", str(ttft)]
    with running(command, core, lambda: answers(port), folder / "engines.log"):
        yield port


@contextlib.contextmanager
def router(name: str, backends: list[dict[str, object]], core: int, folder: Path) -> Iterator[int]:
    """Run a router; give its port."""
    port, place = free_port(), folder / name
    place.mkdir()
    told = {
        "server": {"port": port},
        "logging": {"dir": str(place / "logs")},
        "auth": {"admin_keys": ["ops"]},
        "backends": backends,
    }
    # JSON is YAML, too.
    (place / "router.yaml").write_text(json.dumps(told))
    command = [sys.executable, "-P", "-m", "router", "--config", str(place / "router.yaml")]
    with running(command, core, lambda: answers(port), place / "router.out"):
        yield port


async def ask(port: int, rate: float, seconds: float) -> tuple[list[float], int]:
    """Ask for streams by a schedule; give the seconds from when each was due to its first token, and the lost ones."""
    pool, began = ClientPool(LoadTarget("router", f"http://127.0.0.1:{port}")), time.perf_counter() + 0.1
    request = pool.target.request("POST", "/v1/chat/completions", BODY)

    async def one(due: float) -> TimedAnswer:
        await asyncio.sleep(due - time.perf_counter())
        answer = TimedAnswer(time.perf_counter())
        await pool.ask(request, answer, LONGEST)
        return answer

    ended = await asyncio.gather(*(one(began + number / rate) for number in range(round(rate * seconds))))
    pool.close()
    good = [each.first - each.due for each in ended if not each.failure and each.first]
    return good, len(ended) - len(good)


def p99(port: int, asked: argparse.Namespace, seconds: float) -> tuple[float, float, int]:
    """Give the p50 and p99 of the time to the first token, in milliseconds, and the requests that were lost."""
    times, lost = uvloop.run(ask(port, asked.rate, seconds))
    return percentile(times, 0.5) * 1000, percentile(times, 0.99) * 1000, lost


def measure(direct: int, through: int, asked: argparse.Namespace) -> str:
    """Measure all pairs; say what was found."""
    for port in (direct, through):
        p99(port, asked, 2)
    ratios, lost = [], 0
    for number in range(asked.pairs):
        # Each goes first in every other pair.
        order = (direct, through) if number % 2 == 0 else (through, direct)
        found = {port: p99(port, asked, asked.seconds) for port in order}
        (half, most, lost_here), (half_through, most_through, lost_there) = found[direct], found[through]
        ratios.append(most_through / most)
        lost += lost_here + lost_there
        print(
            f"pair {number + 1}: p50 {half:.2f} and {half_through:.2f} ms, "
            f"p99 {most:.2f} and {most_through:.2f} ms, {ratios[-1]:.3f} times",
            file=sys.stderr,
        )
    return (
        f"TTFT p99 through peers, as a multiple of direct, {asked.rate:g} streams/s for {asked.seconds:g} s: "
        f"{', '.join(f'{each:.3f}' for each in ratios)}; median {median(ratios):.3f}; {lost} lost"
    )


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5, help="default: 5")
    parser.add_argument("--seconds", type=float, default=30, help="of each measurement; default: 30")
    parser.add_argument("--rate", type=float, default=20, help="streams a second; default: 20")
    parser.add_argument("--ttft", type=float, default=0.05, help="seconds that the engines take; default: 0.05")
    parser.add_argument("--engine", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.engine:
        Reading.ttft = asked.ttft
        uvloop.run(serve(Reading, asked.engine))
        return
    available = cores()
    first, last = available[0], available[-1]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(pinned(available[1:] or available))
        engines = [stack.enter_context(engine(last, asked.ttft, folder)) for _ in range(2)]
        urls: list[dict[str, object]] = [{"url": f"http://127.0.0.1:{port}", "name": f"e{port}"} for port in engines]
        direct = stack.enter_context(router("direct", urls, first, folder))
        behind = [stack.enter_context(router(f"peer{place}", [url], first, folder)) for place, url in enumerate(urls)]
        peers: list[dict[str, object]] = [
            {"router": f"http://127.0.0.1:{port}", "name": f"p{port}", "admin_key": "ops"} for port in behind
        ]
        print(measure(direct, stack.enter_context(router("front", peers, first, folder)), asked))


if __name__ == "__main__":
    main()
