"""A router whose engines run on a real Ray cluster of four nodes, on this machine."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import psutil
import pytest
import pytest_asyncio

from tests.running import REPOSITORY, alive, eventually

RAY_PYTHON = Path(os.environ.get("RAY_PYTHON", REPOSITORY / ".venv-ray/bin/python"))
ENGINE = REPOSITORY / "tests/fakes/engine.py"


class Nodes:
    """A cluster of so many nodes; `redis` is where its head keeps its state, if anywhere but in memory."""

    def __init__(self, nodes: int, redis: str = "") -> None:
        self._nodes = nodes
        self._redis = redis
        self.address = ""

    async def __aenter__(self) -> Self:
        env = {**os.environ, "PYTHONPATH": "", "RAY_DISABLE_IMPORT_WARNING": "1"}
        env |= {"RAY_REDIS_ADDRESS": self._redis} if self._redis else {}
        self.process = await asyncio.create_subprocess_exec(
            str(RAY_PYTHON), str(REPOSITORY / "tests/cluster/four_nodes.py"), str(self._nodes), env=env,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        self.address = (await self._said("address"))["address"]
        return self

    async def __aexit__(self, *_: object) -> None:
        left = psutil.Process(self.process.pid).children(recursive=True)
        assert self.process.stdin is not None
        self.process.stdin.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(30):
                await self.process.wait()
        with suppress(ProcessLookupError):
            self.process.kill()
        for each in left:
            with suppress(psutil.NoSuchProcess):
                each.kill()

    async def tell(self, word: str) -> None:
        """Have it do something, and wait until it is done."""
        assert self.process.stdin is not None
        self.process.stdin.write(word.encode() + b"\n")
        await self._said("done")

    async def _said(self, key: str) -> dict[str, Any]:
        assert self.process.stdout is not None
        async with asyncio.timeout(120):
            async for line in self.process.stdout:
                with suppress(ValueError):
                    said = json.loads(line)
                    if isinstance(said, dict) and key in said:
                        return said
        raise AssertionError("the cluster has ended")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nodes() -> AsyncIterator[Nodes]:
    """Give a cluster of four nodes, each with a place for one engine."""
    async with Nodes(4) as started:
        yield started


def config(address: str, launch: str, more: str = "") -> str:
    """Write router.yaml with one launch on Ray."""
    return f"""
server: {{port: 0}}
ray: {{address: "{address}", python: {RAY_PYTHON}, node_python: {sys.executable}}}
limits: {{queue_timeout: 60s, drain_timeout: 20s}}
backends:
  - name: demo
    launch: {{{launch}}}
{more}"""


def fake(on: str = "{cluster: ray, cpus: 1, resources: {place: 1}}", replicas: int = 1) -> str:
    """Write the launch of a fake engine whose answers take a tenth of a second."""
    said = ["--port", "{port}", "--model", "demo", "--events", "5", "--delay", "0.02"]
    cmd = json.dumps([sys.executable, str(ENGINE), *said])
    return f"cmd: {cmd}, parallel: 8, replicas: {replicas}, on: {on}"


def real() -> str:
    """Write the launch of llama.cpp's own server on the demo model."""
    on = "{cluster: ray, cpus: 1, resources: {place: 1}}"
    return f"engine: llama_server, model: {REPOSITORY / 'models/demo'}, args: {{ctx-size: 4096, threads: 1}}, on: {on}"


def node_routers() -> list[psutil.Process]:
    """Give the routers that run on nodes."""
    found = psutil.process_iter(["cmdline"])
    return [each for each in found if "router.cluster.ray_node" in (each.info["cmdline"] or ())]


def actor_of(router: psutil.Process) -> psutil.Process:
    """Give the process of a node router's actor."""
    parent = router.parent()
    assert parent is not None
    return parent


def raylet_of(router: psutil.Process) -> psutil.Process:
    """Give what runs the node of a node router."""
    raylet = actor_of(router).parent()
    assert raylet is not None
    return raylet


def engines_of(router: psutil.Process) -> list[psutil.Process]:
    """Give a node router's descendants."""
    return router.children(recursive=True)


async def all_gone(processes: list[psutil.Process], within: float = 30) -> None:
    """Wait until none of these runs."""
    await eventually(lambda: not any(alive(each) for each in processes), within=within)


@pytest.fixture
def no_more() -> Any:
    """Fail if a node router outlives its test."""
    yield
    until = time.monotonic() + 20
    while left := [each.pid for each in node_routers() if alive(each)]:
        assert time.monotonic() < until, left
        time.sleep(0.05)
