"""The loads. Each gives a `Result`: its figures, in order, and what is wrong; nothing wrong means that all held."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from scripts.residency_load.asking import Outcomes, ask, ask_all
from scripts.residency_load.watching import MemoryWatch, books_checked, leavings
from scripts.stress import units

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scripts.residency_load.fleet import RouterProcess

GAIN: Final = 5.0
"""How many times the throughput of swapping at each request two agents must get, if the bound allows it."""
SWAPPING: Final = 0.2
"""The share of the time that swaps may take between models in use."""
NEARLY: Final = 0.75
"""The share of the bound that must be reached: answers of a busy machine don't take the same time each."""

SETTLES_AFTER: Final = 50
"""Loads and unloads after which the router's memory must not grow any more."""
GROWTH: Final = 4 << 20
"""Bytes that it may grow after that."""


@dataclass
class Result:
    """What a load has found."""

    figures: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def take(self, outcomes: Outcomes) -> None:
        """Take over the figures of requests, each failure as a problem."""
        asked = outcomes.answered + len(outcomes.failures)
        self.figures |= {
            "requests": f"{asked}, of which {len(outcomes.failures)} failed",
            "throughput": f"{outcomes.throughput:.2f} requests/s, in {units.time(outcomes.took)}",
            "to the first token": ", ".join(
                f"{name} {units.time(outcomes.wait(share))}" for name, share in
                (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("longest", 1.0))
            ),
        }  # fmt: skip
        self.problems += [f"{count} times: {what}" for what, count in Counter(outcomes.failures).most_common(10)]

    def take_memory(self, watch: MemoryWatch, limit: int) -> None:
        """Take over the samples of memory; each above the limit is a problem."""
        above = watch.above(limit)
        self.figures["memory"] = (
            f"at most {units.size(watch.most)} of {units.size(limit)}, in {len(watch.samples)} samples"
        )
        if above:
            self.problems.append(
                f"{len(above)} samples of memory are above the limit, the largest {units.size(max(above))}"
            )

    def take_starts(self, router: RouterProcess, before: dict[str, int] | None = None) -> dict[str, int]:
        """Take over how often each model was loaded since `before`; give the counts."""
        starts = {name: count - (before or {}).get(name, 0) for name, count in router.starts().items()}
        self.figures["loads"] = f"{sum(starts.values())}: " + ", ".join(
            f"{name} {count}" for name, count in sorted(starts.items(), key=lambda each: -each[1])
        )
        return starts


def popularity(names: Sequence[str], requests: int, source: random.Random) -> list[str]:
    """Draw models by Zipf's law: the one of rank n has the weight 1/n. Ranks are drawn, too."""
    ranked = source.sample(list(names), len(names))
    weights = list(accumulate(1 / rank for rank in range(1, len(ranked) + 1)))
    return source.choices(ranked, cum_weights=weights, k=requests)


async def zipf(router: RouterProcess, requests: int, clients: int, seed: int) -> Result:
    """Ask for many models of which few fit: no request fails, no answer is cut, and memory stays below its limit."""
    result, settings = Result(), router.settings
    drawn = popularity([each.name for each in settings.models], requests, random.Random(seed))  # noqa: S311
    with MemoryWatch(router) as watch:
        async with books_checked(router, result.problems):
            outcomes = await ask_all(router, drawn, clients)
    result.take(outcomes)
    result.take_starts(router)
    result.take_memory(watch, settings.limit)
    return result


async def agents(router: RouterProcess, requests: int, swaps: int) -> Result:
    """Let two agents ask for a model each, one request after the other; compare it with a swap for each request."""
    result, settings = Result(), router.settings
    first, second = (each.name for each in settings.models[:2])
    alone, again = Outcomes(), Outcomes()
    for number in range(swaps):
        model, other = (first, second) if number % 2 else (second, first)
        began = time.perf_counter()
        await router.unload(other)
        await router.load(model)
        await ask(router, model, number, alone)
        swapped = time.perf_counter()
        await ask(router, model, number, again)
        alone.took += swapped - began
        again.took += time.perf_counter() - swapped
    before = router.starts()
    with MemoryWatch(router) as watch:
        both = await _two_agents(router, (first, second), requests)
    result.figures["a swap and an answer"] = units.time(alone.took / swaps)
    result.figures["an answer alone"] = units.time(again.took / swaps)
    result.take(both)
    result.take_starts(router, before)
    result.take_memory(watch, settings.limit)
    result.problems += alone.failures + again.failures
    gain, bound = both.throughput * alone.took / swaps, alone.took / again.took * (1 - SWAPPING)
    result.figures["gain"] = f"{gain:.1f} times the throughput of a swap for each request; {bound:.1f} is the bound"
    if gain < (due := min(GAIN, NEARLY * bound)):
        result.problems.append(f"the gain is {gain:.1f}; at least {due:.1f} is due")
    # One that waits may meet the start of a load and a running answer, which `max_wait` doesn't bound.
    longest, most = both.wait(1.0), settings.max_wait + 2 * alone.took / max(swaps, 1)
    if longest > most:
        result.problems.append(f"somebody waited {units.time(longest)}; {units.time(most)} is the most")
    return result


async def _two_agents(router: RouterProcess, models: Sequence[str], requests: int) -> Outcomes:
    """Let each agent ask until all requests together are done, so that both are there all the time."""
    outcomes, began, left = Outcomes(), time.perf_counter(), requests

    async def agent(model: str) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await ask(router, model, left, outcomes)

    async with asyncio.TaskGroup() as group:
        for model in models:
            group.create_task(agent(model))
    outcomes.took = time.perf_counter() - began
    return outcomes


async def burst(router: RouterProcess, requests: int) -> Result:
    """Ask for one model that isn't loaded, all at once: one start, and all are answered."""
    result, name = Result(), router.settings.models[0].name
    with MemoryWatch(router) as watch:
        outcomes = await ask_all(router, [name] * requests, requests)
    result.take(outcomes)
    result.take_memory(watch, router.settings.limit)
    if result.take_starts(router) != {name: 1}:
        result.problems.append(f"it was started {router.starts().get(name, 0)} times; once is due")
    return result


async def crowd(router: RouterProcess, each: int) -> Result:
    """Ask for all models at once, `each` requests for each of them: all are answered, none is loaded twice."""
    result, names = Result(), [model.name for model in router.settings.models]
    with MemoryWatch(router) as watch:
        async with books_checked(router, result.problems):
            outcomes = await ask_all(router, names * each, len(names) * each)
    result.take(outcomes)
    result.take_memory(watch, router.settings.limit)
    starts = result.take_starts(router)
    result.problems += [f"{name} was loaded {starts.get(name, 0)} times" for name in names if starts.get(name, 0) != 1]
    return result


async def churn(router: RouterProcess, rounds: int) -> Result:
    """Load and unload a model again and again: nothing is left over, and the router's memory stays flat."""
    result, name = Result(), router.settings.models[0].name
    began, outcomes = time.perf_counter(), Outcomes()
    settles, settled = min(SETTLES_AFTER, rounds // 2), leavings(router)
    for number in range(1, rounds + 1):
        await router.load(name)
        await ask(router, name, number, outcomes)
        await router.unload(name)
        if number == settles:
            # What is counted of requests has a file of its own, from half a second after the first one on.
            await router.admin("GET", "/admin/usage")
            settled = leavings(router)
    last = leavings(router)
    outcomes.took = time.perf_counter() - began
    result.take(outcomes)
    starts = result.take_starts(router)
    if starts != {name: rounds}:
        result.problems.append(f"{rounds} loads are {starts.get(name, 0)} starts")
    if left := router.engines():
        result.problems.append(f"{len(left)} processes are left")
    result.problems += last.beyond(settled, GROWTH)
    result.figures["the router's memory"] = (
        f"{units.size(settled.memory)} after {settles} loads, {units.size(last.memory)} after {rounds}"
    )
    result.figures["left"] = (
        f"{last.processes} processes, {last.ports} ports, {last.descriptors} descriptors, {last.files} files"
    )
    return result
