"""Measures the balancing policies on real processes: real routers, and engines with true queues, beside the simulator.

    python -m scripts.balance.bench                                    a quarter of an hour; Markdown
    python -m scripts.balance.bench --scenario chats --load 0.9 --policy least_latency --policy random
    python -m scripts.balance.bench --requests 5000 --seed 7 --json figures.json

Each engine is a process that serves HTTP (scripts.balance.engine) and drives the simulator's model of an engine by the
clock (scripts.balance.real_time). Each router is `python -m router`. The requests are those of the simulation, byte by
byte, at the same moments, whatever is answered (scripts.balance.load). So the difference to the simulator's figures is
what the simulator leaves out: sockets, the router's data plane, its probes, the operating system. TTFT counts from the
moment at which a request was due; the first tenth of the requests is left out.

The engines' time runs faster than the clock by a scenario's pace, so that `--rate` requests a second come. All figures
are in the engines' time, so the milliseconds that a real machine takes for anything count as many times more. Policies
run side by side, each with engines and routers of its own; at most `--engines` engines run at a time. No real oracle
can be built; the p99 of the simulated one stands beside the others.
"""

import argparse
import asyncio
import json
import multiprocessing
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import uvloop

from router.core.balance import POLICIES
from scripts.balance.figures import Beside, Measured, as_json, conditions, hits, measured, table, warnings
from scripts.balance.fleet import BenchFleet, fleet
from scripts.balance.load import ConversationLoad
from scripts.balance.simulation.choosing import ORACLE
from scripts.balance.simulation.figures import Key, RunFigures, figures_of
from scripts.balance.simulation.scenarios import SCENARIOS, Scenario, conversations_of, play, starts_of
from scripts.balance.simulation.traffic import Conversation
from scripts.instruments.processes import raise_file_limit

_NOT_HERE = {"half-streaming", "serial"}
POSSIBLE = tuple(
    name
    for name, scenario in SCENARIOS.items()
    if name not in _NOT_HERE and not scenario.guests and not scenario.engines[0].publishes
)
"""The scenarios that real processes can play. Left out are answers that don't stream, since they show no first token;
engines that a router must launch; and engines that publish their load."""

DEFAULT_SCENARIOS = tuple(name for name in POSSIBLE if name not in {"bursty", "chats-skewed"})
FASTEST = 20.0
"""The highest pace of a part: above it the milliseconds of a real machine count for too much in the model's time."""

DEFAULT_POLICIES = ("least_latency", "least_in_flight", "round_robin", "least_response_time")


class Part(NamedTuple):
    """One scenario at one load: its requests, when they come, and how many times as fast as in the model."""

    scenario: Scenario
    load: float
    conversations: Sequence[Conversation]
    starts: Sequence[float]
    pace: float

    def key(self, policy: str) -> Key:
        """Tell the run of a policy."""
        return Key(self.scenario.name, self.load, policy)


def scenario_of(name: str) -> Scenario:
    """Give a scenario for routers that launched none of its engines, so that no supervisor tells them of a restart."""
    return replace(SCENARIOS[name], supervised=False)


def part_of(name: str, load: float, requests: int, seed: int, rate: float) -> Part:
    """Plan a part, at a pace that makes about `rate` requests a second."""
    scenario = scenario_of(name)
    conversations = conversations_of(scenario.asked, requests, seed, keep_bodies=True)
    starts = starts_of(scenario, conversations, load, seed)
    return Part(scenario, load, conversations, starts, pace=round(min(FASTEST, rate * starts[-1] / requests), 3))


def simulate(key: Key, *, requests: int, seed: int) -> RunFigures:
    """Simulate the same requests."""
    return figures_of(play(scenario_of(key.scenario), key.load, key.policy, requests=requests, seed=seed))


def simulate_all(keys: Sequence[Key], asked: argparse.Namespace) -> dict[Key, RunFigures]:
    """Simulate all runs, in two processes. They ignore Ctrl-C: this process ends them."""
    tell("simulating")
    work = partial(simulate, requests=asked.requests, seed=asked.seed)
    with multiprocessing.Pool(2, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        return dict(zip(keys, pool.map(work, keys), strict=True))


async def real(part: Part, policies: Sequence[str], folder: Path) -> dict[Key, Measured]:
    """Run a part with these policies, side by side."""
    async with AsyncExitStack() as stack:
        fleets = [
            await stack.enter_async_context(fleet(part.scenario, policy, part.pace, folder / policy))
            for policy in policies
        ]
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(_one(part, each)) for each in fleets]
    return {part.key(policy): each.result() for policy, each in zip(policies, running, strict=True)}


async def _one(part: Part, stands: BenchFleet) -> Measured:
    await stands.start()
    began, spent = time.monotonic(), stands.cpu()
    outcomes = await ConversationLoad([each.url for each in stands.routers], part.pace).run(
        part.conversations, part.starts
    )
    took, spent_now = time.monotonic() - began, stands.cpu()
    busiest = {kind: (spent_now[kind] - spent[kind]) / took for kind in spent}
    warm_up = round(part.scenario.warm_up * sum(map(len, part.conversations)))
    return measured(outcomes[warm_up:], await stands.lateness(), part.pace, busiest)


def groups(policies: Sequence[str], engines: int, most: int) -> Iterator[Sequence[str]]:
    """Group the policies that run side by side, so that a group has at most `most` engines, or is a single policy."""
    size = max(1, most // engines)
    for first in range(0, len(policies), size):
        yield policies[first : first + size]


async def run(parts: Sequence[Part], policies: Sequence[str], most: int, folder: Path) -> dict[Key, Measured]:
    """Run all parts, one after the other."""
    main = asyncio.current_task()
    assert main is not None  # noqa: S101  (it is one)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, main.cancel)
    found: dict[Key, Measured] = {}
    for part in parts:
        for together in groups(policies, len(part.scenario.engines), most):
            said = f"{part.scenario.name}, {part.load:.0%}: {', '.join(together)}; pace {part.pace:.1f}"
            tell(said)
            found |= await real(part, together, folder)
    return found


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", action="append", choices=POSSIBLE, help="again for more (default: most of them)")
    parser.add_argument("--policy", action="append", choices=POLICIES, help="again for more (default: four of them)")
    parser.add_argument("--load", action="append", type=float, help="share of capacity (default: a middling one)")
    parser.add_argument("--requests", type=int, default=2000, metavar="N", help="of each run (default: 2000)")
    parser.add_argument("--seed", type=int, default=1, help="of all that is random (default: 1)")
    parser.add_argument("--rate", type=float, default=40.0, metavar="N", help="requests a second (default: 40)")
    parser.add_argument("--engines", type=int, default=24, metavar="N", help="processes at once (default: 24)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Run all that was asked for, and print the tables."""
    asked, began = options(arguments), time.monotonic()
    raise_file_limit()
    policies = asked.policy or DEFAULT_POLICIES
    parts = [
        part_of(name, load, asked.requests, asked.seed, asked.rate)
        for name in asked.scenario or DEFAULT_SCENARIOS
        for load in asked.load or [middling(name)]
    ]
    try:
        simulated = simulate_all([part.key(policy) for part in parts for policy in (*policies, ORACLE)], asked)
        with tempfile.TemporaryDirectory() as folder, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found = runner.run(run(parts, policies, asked.engines, Path(folder)))
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise SystemExit("Ended before its time.") from None
    results = {
        key: Beside(figures, simulated[key], simulated[key._replace(policy=ORACLE)]) for key, figures in found.items()
    }
    print("\n".join((*table(results), *hits(results), *conditions(results), *warnings(results))))
    print(f"{asked.requests} requests a run, seed {asked.seed}; {time.monotonic() - began:.0f} s.")
    if asked.json:
        asked.json.write_text(json.dumps(as_json(results), indent=1) + "\n")


def middling(name: str) -> float:
    """Give the middle of a scenario's own loads."""
    loads = SCENARIOS[name].loads
    return loads[len(loads) // 2] if len(loads) % 2 else loads[0]


def tell(progress: str) -> None:
    """Print progress to stderr."""
    print(f"{time.strftime('%X')} {progress}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
