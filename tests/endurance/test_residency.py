"""Real engines whose models come and go: those of `python -m scripts.residency_load`, with fewer requests.

`make load-models` does them at full size.
"""

import asyncio
import random
import shutil
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
from psutil import Process

from launchers.footprints.parts import RAM
from scripts.residency_load import loads
from scripts.residency_load.__main__ import options, settings_of
from scripts.residency_load.asking import Outcomes, ask
from scripts.residency_load.fleet import ARGS, RouterProcess
from scripts.residency_load.loads import Result
from scripts.residency_load.models import ModelFile, copy_demo, write_models
from tests.running import alive, eventually

pytestmark = [pytest.mark.timeout(1800), pytest.mark.parametrize("engine", ARGS)]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ModelFile]]:
    """Write models of different sizes, 5 GB in all, and remove them at the end."""
    folder = tmp_path_factory.mktemp("large")
    yield write_models(folder, 8, 0.3, 1.2)
    shutil.rmtree(folder)


def router(folder: Path, engine: str, models: Sequence[ModelFile], *words: str) -> RouterProcess:
    """Give a router with the settings that the command has for a load."""
    return RouterProcess(folder, settings_of(options([*words, "--engine", engine]), models))


def holds(result: Result) -> None:
    """Check that nothing is wrong; show the figures."""
    print(*(f"\n  {name}: {value}" for name, value in result.figures.items()))  # noqa: T201
    assert result.problems == []


async def test_models_come_and_go_within_the_limit(tmp_path, engine, large):
    async with router(tmp_path, engine, large, "zipf") as running:
        holds(await loads.zipf(running, requests=150, clients=6, seed=1))


async def test_two_agents_whose_models_do_not_fit_together(tmp_path, engine, large):
    async with router(tmp_path, engine, [large[1], large[2]], "agents") as running:
        holds(await loads.agents(running, requests=200, swaps=6))


async def test_many_requests_for_one_model(tmp_path, engine, large):
    async with router(tmp_path, engine, large[:1], "burst") as running:
        holds(await loads.burst(running, 200))


async def test_fifty_models_at_once(tmp_path, engine):
    async with router(tmp_path, engine, copy_demo(tmp_path / "models", 50), "crowd") as running:
        holds(await loads.crowd(running, each=2))


async def test_loads_and_unloads_leave_nothing_behind(tmp_path, engine):
    async with router(tmp_path, engine, copy_demo(tmp_path / "models", 1), "churn") as running:
        holds(await loads.churn(running, rounds=300))


async def asked(running: RouterProcess) -> list[str]:
    """Ask for the first model; give the failure, if there is one."""
    outcomes = Outcomes()
    await ask(running, "m0", 0, outcomes)
    return outcomes.failures


def none_alive(processes: Sequence[Process]) -> bool:
    """Whether all of these have ended."""
    return not any(alive(each) for each in processes)


def moments() -> random.Random:
    """Give a source of random moments; what it begins with is shown."""
    seed = time.time_ns()
    print(f"\n  seed {seed}")  # noqa: T201
    return random.Random(seed)  # noqa: S311


async def test_an_engine_killed_at_any_moment_of_its_load(tmp_path, engine, large):
    """Who waits for it is answered all the same, and its memory is reserved once."""
    source = moments()
    async with router(tmp_path, engine, large[:1], "burst") as running:
        for _ in range(8):
            asking = asyncio.create_task(asked(running))
            await eventually(running.engines)
            await asyncio.sleep(source.uniform(0, 1.5))
            for each in running.engines():
                each.kill()
            await asking
            assert await asked(running) == []
            (told,) = (await running.models())["models"]
            assert told["reserved"][RAM] <= running.settings.limit
            assert len(running.engines()) == 1
            await running.unload("m0")
            assert running.engines() == []


async def test_a_router_killed_at_any_moment_of_a_load(tmp_path, engine, large):
    """Nothing of the engine is left, and the next router serves."""
    source = moments()
    for _ in range(5):
        async with router(tmp_path, engine, large[:1], "burst") as running:
            asking = asyncio.create_task(asked(running))
            await eventually(running.engines)
            await asyncio.sleep(source.uniform(0, 1.5))
            left = running.members()
            await running.kill()
            assert len(await asking) <= 1
            await eventually(partial(none_alive, left))
        assert [*(tmp_path / "tmp").iterdir()] == []
    async with router(tmp_path, engine, large[:1], "burst") as running:
        assert await asked(running) == []
        assert len(running.engines()) == 1
