"""The processes of one run: a policy's own engines and routers, from their start to their end."""

import asyncio
import sys
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.balance.process import ListeningProcess, running
from scripts.balance.simulation.scenarios import Scenario, weights_of
from scripts.balance.simulation.traffic import MODEL
from scripts.instruments.processes import empty_folder

# What the simulation takes these to be, in seconds: they go as fast as the engines do.
_TIMES = {"interval": 5.0, "ramp": 30.0, "stall_after": 60.0}
_LEAST = {"interval": 0.1, "ramp": 0.0, "stall_after": 1.0}


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
class BenchFleet:
    """What stands for one policy: engines of a scenario, and routers before them."""

    engines: Sequence[ListeningProcess]
    routers: Sequence[ListeningProcess]

    async def start(self) -> None:
        """Start the engines' clocks."""
        async with asyncio.TaskGroup() as group:
            for engine in self.engines:
                group.create_task(engine.ask("POST", "/start"))

    async def lateness(self) -> float:
        """Ask how late first tokens were written, in 99 of 100 cases: the worst of the engines that are there."""
        asking = (engine.ask("GET", "/lateness") for engine in self.engines)
        said = await asyncio.gather(*asking, return_exceptions=True)
        return max(float(each) for each in said if isinstance(each, bytes))

    def cpu(self) -> Mapping[str, float]:
        """Tell the most CPU time that an engine, and that a router, has taken."""
        return {
            "engine": max(each.cpu() for each in self.engines),
            "router": max(each.cpu() for each in self.routers),
        }


@asynccontextmanager
async def fleet(scenario: Scenario, policy: str, pace: float, folder: Path) -> AsyncIterator[BenchFleet]:
    """Start all that a run of a scenario with a policy takes."""
    engine = ["scripts.balance.engine", "--scenario", scenario.name, "--pace", str(pace), "--number"]
    async with AsyncExitStack() as stack:

        def starting(name: str, command: Sequence[str]) -> Coroutine[None, None, ListeningProcess]:
            whole = [sys.executable, "-m", *command]
            return stack.enter_async_context(running(whole, empty_folder(folder / name) / "log"))

        async def together(commands: Mapping[str, Sequence[str]]) -> list[ListeningProcess]:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(starting(name, command)) for name, command in commands.items()]
            return [each.result() for each in tasks]

        numbers = range(len(scenario.engines))
        engines = await together({f"engine-{number}": [*engine, str(number)] for number in numbers})
        written = configuration(scenario, policy, pace, [each.url for each in engines])
        configs = [empty_folder(folder / f"config-{number}") / "router.yaml" for number in range(scenario.routers)]
        for config in configs:
            config.write_text(written)
        routers = await together({f"router-{each.parent.name}": ["router", "--config", str(each)] for each in configs})
        for each in routers:
            await each.ready()
        yield BenchFleet(engines, routers)
