"""The head of a Ray cluster dies (its GCS, by kill -9): with its state in memory alone, and with it in Redis."""

import asyncio
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from launchers.ports import free_port
from tests.cluster.conftest import Nodes, all_gone, config, engines_of, fake, node_routers
from tests.cluster.test_ray import load, scale, serving
from tests.running import RunningRouter, alive, eventually

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(600), pytest.mark.usefixtures("no_more")]

SECONDS = 10
"""How long nodes wait for the head; by default, Ray has them wait for 60 s."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nodes, and the helper, wait for the head for less time than by default."""
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", str(SECONDS))


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """Run a Redis; give its address."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("there is no redis-server: apt install redis-server")
    port = free_port()
    process = subprocess.Popen([program, "--port", str(port), "--save", "", "--dir", str(folder)])
    try:
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


async def test_without_external_storage_engines_answer_on_for_a_while_and_all_is_placed_anew(tmp_path: Path):
    """Ray promises nothing here: nodes end some time after their head. The router says so, and waits for a cluster."""
    async with Nodes(2) as nodes, RunningRouter(tmp_path, config(nodes.address, fake())) as router:
        await serving(router, 1)
        (before,) = node_routers()
        async with load(router.url, clients=1) as found:
            await nodes.tell("head")
            began = time.monotonic()
            await asyncio.sleep(3)
            assert alive(before)
            assert found["whole"] > 10
            assert set(found) == {"whole"}
            await all_gone([before, *engines_of(before)], within=SECONDS + 60)
            print(f"its engine ended {time.monotonic() - began:.1f} s after the head")  # noqa: T201
        await eventually(lambda: "out of reach" in router.said or "can't be reached" in router.said, within=60)
    async with Nodes(2) as another, RunningRouter(tmp_path, config(another.address, fake())) as router:
        await serving(router, 1)


async def test_with_redis_engines_answer_on_and_the_head_comes_back(tmp_path: Path):
    with redis(tmp_path) as address:
        async with Nodes(2, redis=address) as nodes, RunningRouter(tmp_path, config(nodes.address, fake())) as router:
            await serving(router, 1)
            before = node_routers()
            async with load(router.url, clients=1) as found:
                await nodes.tell("head")
                await asyncio.sleep(3)
                began = time.monotonic()
                await nodes.tell("again")
                await scale(router.url, 2)
                await serving(router, 2, within=90)
                print(f"another is placed {time.monotonic() - began:.1f} s after the head is back")  # noqa: T201
            assert set(found) == {"whole"}, found
            assert {each.pid for each in before} <= {each.pid for each in node_routers()}
