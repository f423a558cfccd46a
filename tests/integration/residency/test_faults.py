"""Engines, routers and disks that fail while a model loads: the next request works, and nothing is counted twice."""

import asyncio
import os
import shutil
import signal
import subprocess
import time

import psutil
import pytest

from launchers.footprints.parts import RAM
from scripts.residency_load.asking import Outcomes, ask
from scripts.residency_load.fleet import RouterProcess
from tests.running import alive, eventually

pytestmark = pytest.mark.timeout(300)

HANGS = "--start-delay 600"
SOON = 60.0
"""Seconds within which a model that has failed must answer again."""


async def answered(router: RouterProcess, model: str = "m0") -> Outcomes:
    """Ask once."""
    outcomes = Outcomes()
    await ask(router, model, 1, outcomes)
    return outcomes


async def answers_again(router: RouterProcess, model: str = "m0") -> None:
    """Ask until there is an answer, as clients do that are told to come again."""
    until = time.monotonic() + SOON
    while (outcomes := await answered(router, model)).failures:
        assert time.monotonic() < until, outcomes.failures
        await asyncio.sleep(0.2)


async def counts_once(router: RouterProcess, *loaded: str) -> None:
    """Check that these models are loaded, each with one engine, and that their reservations are all there is."""
    reserved = {each["name"]: each["reserved"] for each in (await router.models())["models"]}
    assert {name: held for name, held in reserved.items() if held} == {
        name: {RAM: told_size(router)} for name in loaded
    }
    assert len(router.engines()) == len(loaded)


def told_size(router: RouterProcess) -> int:
    """Give the bytes that each model is said to take."""
    size = router.settings.launch["memory"]
    assert isinstance(size, int)
    return size


def kill(pid: int) -> None:
    """Kill a process as the kernel does."""
    os.kill(pid, signal.SIGKILL)


async def test_a_loading_engine_that_is_killed_is_started_again(router, fakes):
    async with router(2) as running:
        fakes.tell("m0", HANGS)
        asking = asyncio.create_task(answered(running))
        await eventually(lambda: fakes.starts("m0"))
        fakes.tell("m0", "")
        kill(fakes.starts("m0")[0])
        assert (await asking).failures == []
        assert len(fakes.starts("m0")) == 2
        assert (await answered(running, "m1")).failures == []
        await counts_once(running, "m0", "m1")


async def test_a_router_that_is_killed_while_it_loads_leaves_nothing(router, fakes):
    """Neither the loading engine, nor the loaded one; its next start knows of no reservation of either."""
    fakes.model("m1")
    fakes.tell("m1", HANGS)
    async with router(2, 2) as running:
        assert (await answered(running)).failures == []
        asking = asyncio.create_task(answered(running, "m1"))
        await eventually(lambda: fakes.starts("m1"))
        engines = [psutil.Process(pid) for pid in (*fakes.starts("m0"), *fakes.starts("m1"))]
        await running.kill()
        assert (await asking).failures
        await eventually(lambda: not any(alive(each) for each in engines))
    fakes.tell("m1", "")
    async with router(2, 2) as running:
        assert (await answered(running, "m1")).failures == []
        await counts_once(running, "m1")
        assert (await answered(running)).failures == []
        await counts_once(running, "m0", "m1")
    folder = running.folder
    assert [*(folder / "tmp").iterdir(), *(folder / "logs" / "run").iterdir()] == []


async def test_an_engine_that_hangs_while_it_loads_gives_its_memory_back(router, fakes):
    """Others load in its room meanwhile; when it works again, it is loaded as ever."""
    async with router(2, 1, start_timeout="1s") as running:
        fakes.tell("m0", HANGS)
        asking = asyncio.create_task(answered(running))
        await eventually(lambda: fakes.starts("m0"))
        others = asyncio.create_task(answered(running, "m1"))
        assert len((await asking).failures) == 1
        fakes.tell("m0", "")
        assert (await others).failures == []
        assert not any(psutil.pid_exists(pid) for pid in fakes.starts("m0"))
        await answers_again(running)
        await counts_once(running, "m0")


def may_mount() -> bool:
    """Tell whether a disk of its own can be had."""
    command = ["unshare", "-U", "-r", "-m", "mount", "-t", "tmpfs", "-o", "size=4k", "none", "/mnt"]
    return (
        shutil.which("unshare") is not None
        and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )


@pytest.mark.skipif(not may_mount(), reason="this system lets nobody mount a small disk")
async def test_a_full_disk_costs_only_what_was_learned(router, tmp_path):
    state = tmp_path / "router" / "state"
    state.mkdir(parents=True)
    mount = f'mount -t tmpfs -o size=4k none "{state}" && exec "$@"'
    async with router(2, 1, within=("unshare", "-U", "-r", "-m", "sh", "-c", mount, "sh")) as running:
        for model in ("m0", "m1"):
            assert (await answered(running, model)).failures == []
            await counts_once(running, model)
        complaints = [line for line in running.lines if "disk is full" in line]
        assert len(complaints) == 1, running.lines


@pytest.mark.parametrize("content", [b"garbage" * 4096, b"SQLite format 3\0" + b"\xff" * 5000])
async def test_a_torn_database_costs_only_what_was_learned(router, tmp_path, content):
    state = tmp_path / "router" / "state"
    state.mkdir(parents=True)
    (state / "state.db").write_bytes(content)
    async with router(2, 1) as running:
        for model in ("m0", "m1"):
            assert (await answered(running, model)).failures == []
            await counts_once(running, model)
        assert [*state.glob("state.db.broken-*")]
