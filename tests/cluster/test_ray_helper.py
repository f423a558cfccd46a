"""The helper with a real Ray cluster, driven by the messages that the router sends it."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import pytest
import pytest_asyncio

from router.cluster.ray_link import HELPER
from router.cluster.ray_placing import Asks
from tests.cluster.conftest import ENGINE, RAY_PYTHON, Nodes, engines_of, node_routers
from tests.running import alive, eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

HASHES = {
    "keys": [{"name": "router", "hash": "sha256:" + "a" * 64}],
    "admin_keys": [{"name": "router", "hash": "sha256:" + "b" * 64}],
}


class Helper:
    """A helper's process. `heard` is what it has said, but for its news of nodes."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.heard: list[dict[str, Any]] = []
        self.nodes: list[dict[str, Any]] = []

    async def __aenter__(self) -> Self:
        self.process = await asyncio.create_subprocess_exec(
            str(RAY_PYTHON), str(HELPER), self._address, limit=1 << 23,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        self._listening = asyncio.create_task(self._listen())
        await self.says("connected")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        async with asyncio.timeout(30):
            await self.process.wait()
            await self._listening
        await eventually(lambda: not any(map(alive, node_routers())))

    async def _listen(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            said = json.loads(line)
            self.nodes = said.get("nodes", self.nodes)
            if said["is"] != "nodes":
                self.heard.append(said)

    def tell(self, **fields: object) -> None:
        """Send it a message."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(fields).encode() + b"\n")

    def place(self, name: str, asks: Asks, **launch: object) -> None:
        """Have it place a fake engine."""
        cmd = [sys.executable, str(ENGINE), "--port", "{port}", "--model", "demo"]
        entry = {"name": "demo", "models": {"demo": "demo"}, "launch": {"cmd": cmd, **launch}}
        config = {"backends": [entry], "auth": HASHES, "logging": {"level": "info", "dir": "logs"}}
        self.tell(do="place", name=name, asks=asks.told(), python=sys.executable, config=config, start_within=60)

    async def says(self, kind: str) -> dict[str, Any]:
        """Wait until it says something of this kind; give the last of it."""
        await eventually(lambda: any(each["is"] == kind for each in self.heard), within=60)
        return [each for each in self.heard if each["is"] == kind][-1]


@pytest_asyncio.fixture(loop_scope="module")
async def helper(nodes: Nodes) -> AsyncIterator[Helper]:
    """Give a helper that has found the cluster."""
    async with Helper(nodes.address) as started:
        yield started


async def test_one_that_is_removed_gives_its_place_back(helper: Helper):
    helper.place("demo#1", Asks(resources={"place": 1}), gpus=0)
    await helper.says("up")
    (router,) = node_routers()
    folder = Path(router.cmdline()[-1]).parent
    helper.tell(do="remove", name="demo#1", seconds=5)
    await helper.says("removed")
    assert not alive(router)
    assert not folder.exists()
    await eventually(lambda: all(each["free"].get("place") == each["total"].get("place") for each in helper.nodes))


async def test_the_gpus_that_ray_assigns_are_those_of_its_router(helper: Helper):
    """This machine has none, and its router says so: the reason comes back whole."""
    helper.place("demo#1", Asks(gpus=2, resources={"place": 1}))
    assert (await helper.says("placed"))["gpus"] == ["0", "1"]
    gone = await helper.says("gone")
    assert gone["failed"]
    assert "launch.gpus: there is no GPU 0 that engines can use" in gone["why"]


async def test_an_engine_over_several_nodes_is_on_the_first_of_those_that_have_room(helper: Helper, nodes: Nodes):
    """The group that shows it is given back, so that the engine can have one of its own, of this cluster."""
    helper.place("demo#1", Asks(gpus=4, cpus=1, nodes=2), gpus=0)
    placed = await helper.says("placed")
    assert placed["gpus"] == []
    assert placed["labels"]["kind"] == "worker"
    await helper.says("up")
    (router,) = node_routers()
    await eventually(lambda: any(str(ENGINE) in each.cmdline() for each in engines_of(router)))
    (engine,) = [each for each in engines_of(router) if str(ENGINE) in each.cmdline()]
    assert engine.environ()["RAY_ADDRESS"] == nodes.address
    await eventually(lambda: all(each["free"].get("GPU") == each["total"].get("GPU") for each in helper.nodes))


async def test_one_that_can_not_be_placed_is_forgotten_when_it_is_removed(helper: Helper):
    helper.place("demo#1", Asks(gpus=8), gpus=0)
    helper.place("demo#2", Asks(gpus=6, nodes=2), gpus=0)
    for name in ("demo#1", "demo#2"):
        helper.tell(do="remove", name=name, seconds=0)
    await eventually(lambda: [each["is"] for each in helper.heard].count("removed") == 2, within=60)


async def test_a_cluster_that_is_not_there_is_told():
    process = await asyncio.create_subprocess_exec(
        str(RAY_PYTHON), str(HELPER), "127.0.0.1:1",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    said, _ = await asyncio.wait_for(process.communicate(), 120)
    (failed,) = map(json.loads, said.splitlines())
    assert failed["is"] == "failed"
    assert failed["why"]
