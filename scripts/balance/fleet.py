"""The processes of one run: a policy's own engines and routers, from their start to their end."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from scripts.balance.simulation.scenarios import Scenario, weights_of
from scripts.balance.simulation.traffic import MODEL
from scripts.instruments.answers import HttpAnswer
from scripts.instruments.client import ClientPool, LoadTarget
from scripts.instruments.processes import ROOT, DidNotStartError, empty_folder

_START_WITHIN = 60.0
_ANSWER_WITHIN = 30.0
_LISTENING = re.compile(r"listening at (http://[\d.:]+)")

# What the simulation takes these to be, in seconds: they go as fast as the engines do.
_TIMES = {"interval": 5.0, "ramp": 30.0, "stall_after": 60.0}
_LEAST = {"interval": 0.1, "ramp": 0.0, "stall_after": 1.0}


@dataclass(frozen=True)
class Member:
    """A process that listens."""

    url: str
    process: psutil.Process

    def cpu(self) -> float:
        """Tell the CPU time that it has taken, in seconds."""
        times = self.process.cpu_times()
        return float(times.user + times.system)


@asynccontextmanager
async def running(command: Sequence[str], log: Path) -> AsyncIterator[Member]:
    """Run a process of this Python, from when it says where it listens to the end of the block."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", *command, cwd=ROOT, stdout=output, stderr=output
        )
    try:
        url = await asyncio.wait_for(_listens(process, log), _START_WITHIN)
        yield Member(url, psutil.Process(process.pid))
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _listens(process: asyncio.subprocess.Process, log: Path) -> str:
    while process.returncode is None:
        if found := _LISTENING.search(_read(log)):
            return found[1]
        await asyncio.sleep(0.05)
    raise DidNotStartError(f"A process ended at once; it said:\n{_read(log)}")


def _read(log: Path) -> str:
    return log.read_text(encoding="utf-8")


async def ask(url: str, method: str, path: str) -> bytes:
    """Ask a process something, and give its answer. Raises OSError, where that isn't 200."""
    pool, answer = ClientPool(LoadTarget("member", url)), HttpAnswer()
    await pool.ask(pool.target.request(method, path), answer, _ANSWER_WITHIN)
    pool.close()
    if answer.status != 200:
        raise OSError(f"{method} {url}{path}: {answer.failure or answer.status} {answer.detail}")
    return answer.body


def configuration(scenario: Scenario, policy: str, pace: float, urls: Sequence[str]) -> str:
    """Write the router.yaml of a router before engines at these URLs. `weighted` alone is told their capacities."""
    weights: Sequence[float] = weights_of(scenario) if policy == "weighted" else [1.0] * len(urls)
    times = {name: f"{max(_LEAST[name], seconds / pace) * 1000:.0f}ms" for name, seconds in _TIMES.items()}
    backends = [
        f"  - {{name: engine-{number}, url: '{url}', models: [{MODEL}], weight: {weight}}}"
        for number, (url, weight) in enumerate(zip(urls, weights, strict=True))
    ]
    health = ", ".join(f"{name}: {time}" for name, time in times.items())
    lines = ["server: {port: 0}", f"balance: {{policy: {policy}}}", f"health: {{{health}}}", "backends:", *backends]
    return "\n".join([*lines, ""])


@dataclass(frozen=True)
class Fleet:
    """What stands for one policy: engines of a scenario, and routers before them."""

    engines: Sequence[Member]
    routers: Sequence[Member]

    async def start(self) -> None:
        """Start the engines' clocks."""
        async with asyncio.TaskGroup() as group:
            for engine in self.engines:
                group.create_task(ask(engine.url, "POST", "/start"))

    async def lateness(self) -> float:
        """Ask how late first tokens were written, in 99 of 100 cases: the worst of the engines that are there."""
        asking = (ask(engine.url, "GET", "/lateness") for engine in self.engines)
        said = await asyncio.gather(*asking, return_exceptions=True)
        return max(float(each) for each in said if isinstance(each, bytes))

    def cpu(self) -> Mapping[str, float]:
        """Tell the most CPU time that an engine, and that a router, has taken."""
        return {
            "engine": max(each.cpu() for each in self.engines),
            "router": max(each.cpu() for each in self.routers),
        }


@asynccontextmanager
async def fleet(scenario: Scenario, policy: str, pace: float, folder: Path) -> AsyncIterator[Fleet]:
    """Start all that a run of a scenario with a policy takes."""
    engine = ["scripts.balance.engine", "--scenario", scenario.name, "--pace", str(pace), "--number"]
    async with AsyncExitStack() as stack:

        async def together(commands: Mapping[str, Sequence[str]]) -> list[Member]:
            async with asyncio.TaskGroup() as group:
                starting = [
                    group.create_task(stack.enter_async_context(running(command, empty_folder(folder / name) / "log")))
                    for name, command in commands.items()
                ]
            return [each.result() for each in starting]

        numbers = range(len(scenario.engines))
        engines = await together({f"engine-{number}": [*engine, str(number)] for number in numbers})
        written = configuration(scenario, policy, pace, [each.url for each in engines])
        configs = [empty_folder(folder / f"config-{number}") / "router.yaml" for number in range(scenario.routers)]
        for config in configs:
            config.write_text(written)
        routers = await together({f"router-{each.parent.name}": ["router", "--config", str(each)] for each in configs})
        for each in routers:
            await _ready(each)
        yield Fleet(engines, routers)


async def _ready(router: Member) -> None:
    async with asyncio.timeout(_START_WITHIN):
        while True:
            with suppress(OSError):
                await ask(router.url, "GET", "/ready")
                return
            await asyncio.sleep(0.05)
