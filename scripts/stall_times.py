"""Measures how soon a router finds an engine that is frozen (SIGSTOP), by what is in flight there, in seconds.

    .venv/bin/python -m scripts.stall_times --engine mlx [--remote] [--replicas 3] [--router ANOTHER/CHECKOUT]

Each row freezes the largest process of the engine (where there are several, of the one at work). It says when the
router took the engine out, when the slowest client had its answer or its error, and when a request was served again.
"""

import argparse
import asyncio
import json
import re
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from launchers.engines import ENGINES
from scripts.instruments.answers import HttpAnswer
from scripts.instruments.client import ClientPool, LoadTarget

HERE = Path(__file__).parent.parent
LONG = 3000
"""Tokens of an answer that is under way while the engine is frozen."""

LONGEST = 60.0
"""Seconds after which a row is over."""

ARGS = {
    "llama_cpp": "{n_ctx: 8192}",
    "llama_server": "{ctx-size: 16384, threads: 1}",
    "mlx": "{}",
    "vllm": "{max-model-len: 4096, max-num-seqs: 16, enforce-eager: true, kv-cache-memory-bytes: 64M}",
}
ENV = {"vllm": '{VLLM_CPU_OMP_THREADS_BIND: nobind, OMP_NUM_THREADS: "1"}'}
KINDS = ("nothing", "a stream", "one piece", "both", "queued ones", "one piece, giving up after 2 s each")


class StartedRouter:
    """A router of a checkout, in a process of its own; `said` is its output so far."""

    def __init__(self, checkout: Path, folder: Path, config: str) -> None:
        self.said = ""
        self.url = ""
        self._checkout = checkout
        self._config = folder / "router.yaml"
        folder.mkdir(exist_ok=True)
        self._config.write_text(config)

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            self._checkout / ".venv/bin/python", "-m", "router", "--config", str(self._config),
            cwd=self._checkout, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        self._listening = asyncio.create_task(self._listen())
        while not self.said.count("Ready at"):
            await asyncio.sleep(0.05)
            if self._process.returncode is not None:
                sys.exit(self.said)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.send_signal(signal.SIGINT)
        await asyncio.sleep(0.2)
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGINT)
        await self._process.wait()
        await self._listening

    async def _listen(self) -> None:
        stdout = self._process.stdout
        while stdout is not None and (line := await stdout.readline()):
            self.said += line.decode(errors="replace")
            if found := re.search(r"listening at (http://\S+)", self.said):
                self.url = found[1]

    def engines(self) -> list[psutil.Process]:
        """Give the processes of its engines, the largest first."""
        found = psutil.Process(self._process.pid).children(recursive=True)
        return sorted(
            (each for each in found if "launchers.keeper" not in " ".join(each.cmdline())),
            key=lambda each: -each.memory_info().rss,
        )


async def ask(pool: ClientPool, *, stream: bool, tokens: int = LONG, within: float = 600) -> str:
    """Ask, and say how it ended: a status, or what went wrong. `within` is in seconds."""
    body = {"model": "m", "max_tokens": tokens, "stream": stream, "messages": [{"role": "user", "content": "Hello"}]}
    request, answer = pool.target.request("POST", "/v1/chat/completions", json.dumps(body).encode()), HttpAnswer()
    await pool.ask(request, answer, within)
    if answer.failure == "timeout":
        return "gave up"
    return answer.failure.removeprefix("status ") or str(answer.status)


async def served(pool: ClientPool, until: float) -> bool:
    """Wait until a request is answered; False, if none is by `until`."""
    while time.monotonic() < until:
        if await ask(pool, stream=False, tokens=1, within=5) == "200":
            return True
        await asyncio.sleep(0.1)
    return False


async def clients(kind: str, pool: ClientPool) -> list["asyncio.Task[str]"]:
    """Begin the requests that a row has in flight."""
    streams = {"nothing": [], "a stream": [True], "one piece": [False], "both": [True, False]}
    wanted = streams.get(kind, [False] * 5 if kind == "queued ones" else [])
    return [asyncio.create_task(ask(pool, stream=stream)) for stream in wanted]


async def row(kind: str, router: StartedRouter, holder: StartedRouter, pool: ClientPool) -> str:
    """Freeze the engine once; give the row of the table."""
    await served(pool, time.monotonic() + 120)
    await ask(pool, stream=True, tokens=20)
    asking = await clients(kind, pool)
    await asyncio.sleep(0.4)
    before = len(router.said)
    busiest = holder.engines()[0]
    if len(holder.engines()) > 1 and asking:
        answer = HttpAnswer()
        await pool.ask(pool.target.request("GET", "/admin/status"), answer, LONGEST)
        status = json.loads(answer.body)
        pids = [each["pid"] for each in status["backends"] if each.get("in_flight") and each.get("pid")]
        if pids:
            tree = [psutil.Process(pids[0]), *psutil.Process(pids[0]).children(recursive=True)]
            busiest = max(tree, key=lambda each: each.memory_info().rss)
    busiest.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    until, ended, found = began + LONGEST, 0.0, 0.0
    giving_up = asyncio.create_task(keep_giving_up(pool)) if "giving" in kind else None
    while time.monotonic() < until and not (found and all(each.done() for each in asking)):
        if not found and re.search(r"backend is down.*|stalled", router.said[before:]):
            found = time.monotonic() - began
        if all(each.done() for each in asking) and not ended:
            ended = time.monotonic() - began
        await asyncio.sleep(0.02)
    if giving_up is not None:
        giving_up.cancel()
        with suppress(asyncio.CancelledError):
            await giving_up
    if asking and all(each.done() for each in asking):
        ended = ended or time.monotonic() - began
    with suppress(psutil.NoSuchProcess):
        if router is not holder or not found:
            busiest.send_signal(signal.SIGCONT)
    again = await served(pool, time.monotonic() + 120)
    back = time.monotonic() - began
    results = sorted({each.result() if each.done() else "hangs" for each in asking})
    for each in asking:
        each.cancel()
    out = f"{found:.1f} s" if found else "never"
    told = f"{ended:.1f} s: {', '.join(results)}" if asking and ended else ", ".join(results) or "nobody asked"
    return f"| {kind} | {out} | {told} | {f'{back:.1f} s' if again else 'no'} |"


async def keep_giving_up(pool: ClientPool) -> None:
    """Ask again and again; each client gives up after 2 s."""
    while True:
        await ask(pool, stream=False, within=2)


@asynccontextmanager
async def started(options: argparse.Namespace, folder: Path) -> AsyncIterator[tuple[StartedRouter, StartedRouter]]:
    """Start the router; give it, and the router that holds the engine: the same one, or another with --remote."""
    model = folder / "model"
    made = await asyncio.create_subprocess_exec(sys.executable, HERE / "scripts/make_demo_model.py", model)
    await made.wait()
    launch = (
        f"{{engine: {options.engine}, model: '{model}', args: {ARGS[options.engine]}, "
        f"env: {ENV.get(options.engine, '{}')}, replicas: {options.replicas}}}"
    )
    health = f"health: {{stall_after: {options.stall_after}}}"
    backend = f"{{name: b, models: [m], launch: {launch}, max_in_flight: 2}}"
    if not options.remote:
        config = f"server: {{port: 0}}\n{health}\nbackends:\n  - {backend}\n"
        async with StartedRouter(options.router, folder / "router", config) as router:
            yield router, router
        return
    config = f"server: {{port: 0}}\nhealth: {{stall_after: never, unhealthy_after: 100}}\nbackends:\n  - {backend}\n"
    async with StartedRouter(HERE, folder / "holder", config) as holder:
        listening = [
            (each.laddr.port, process)
            for process in holder.engines()
            for each in process.net_connections("tcp")
            if each.status == psutil.CONN_LISTEN
        ]
        port, process = listening[0]
        key = process.environ()[ENGINES[options.engine].key_variable]
        name = "default_model" if options.engine == "mlx" else "m"
        url = f"http://127.0.0.1:{port}"
        backend = f"{{name: b, url: '{url}', api_key: '{key}', models: {{m: {name}}}}}"
        config = f"server: {{port: 0}}\n{health}\nbackends:\n  - {backend}\n"
        async with StartedRouter(options.router, folder / "router", config) as router:
            yield router, holder


async def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=ARGS, default="llama_cpp")
    parser.add_argument("--stall-after", default="4s")
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--remote", action="store_true", help="the engine belongs to another router, and is a URL here")
    parser.add_argument("--router", type=Path, default=HERE, help="the checkout whose router is measured")
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=KINDS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        async with started(options, Path(name)) as (router, holder):
            pool = ClientPool(LoadTarget("router", router.url))
            print("| in flight | out after | clients had their answers after | served again after |\n|---|---|---|---|")
            for kind in options.kinds:
                print(await row(kind, router, holder, pool), flush=True)
            pool.close()


if __name__ == "__main__":
    asyncio.run(main())
