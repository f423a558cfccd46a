"""Engines on the four nodes of a real Ray cluster: placed, scaled, killed, and said where they can't be placed."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
import yarl

from tests.cluster.conftest import (
    Nodes,
    actor_of,
    all_gone,
    config,
    engines_of,
    fake,
    node_routers,
    raylet_of,
    real,
)
from tests.running import RunningRouter, alive, eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600), pytest.mark.usefixtures("no_more")]

ASK = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}], "stream": True, "max_tokens": 8}
CLIENTS = 4
PLACED_WITHIN = 60.0
HEALED_WITHIN = 90.0


async def ask(session: aiohttp.ClientSession, url: str) -> tuple[int, str]:
    """Send one request; give its status, and the end of its answer."""
    async with session.post(f"{url}/v1/chat/completions", json=ASK) as response:
        return response.status, (await response.text())[-200:]


async def told(url: str, path: str = "/admin/status") -> Any:
    """Ask the management API."""
    async with aiohttp.ClientSession() as session, session.get(url + path) as response:
        return await response.json()


async def reasons(url: str) -> dict[str, str]:
    """Give what is said of each backend."""
    return {each["name"]: each["reason"] for each in (await told(url))["backends"]}


async def serving(router: RunningRouter, count: int, within: float = PLACED_WITHIN) -> float:
    """Wait until so many replicas serve, and no stand-in is there; give the seconds that took."""
    began, said = time.monotonic(), {}
    while time.monotonic() < began + within:
        backends = (await told(router.url))["backends"] if router.url else []
        said = {each["name"]: (each["health"], each["reason"]) for each in backends if not each.get("ending")}
        if len(said) == count and all("/" in name and up == "up" for name, (up, _) in said.items()):
            return time.monotonic() - began
        await asyncio.sleep(0.1)
    raise AssertionError(f"not {count} replicas within {within} s, but {said}")


@asynccontextmanager
async def load(url: str, clients: int = CLIENTS) -> AsyncIterator[Counter[str]]:
    """Keep so many clients asking; count their answers by what came."""
    found: Counter[str] = Counter()
    ended = asyncio.Event()

    async def client() -> None:
        async with aiohttp.ClientSession() as session:
            while not ended.is_set():
                try:
                    status, end = await ask(session, url)
                    found["whole" if status == 200 and end.rstrip().endswith("[DONE]") else f"{status} {end}"] += 1
                except aiohttp.ClientError as error:
                    found[repr(error)] += 1

    tasks = [asyncio.create_task(client()) for _ in range(clients)]
    try:
        yield found
    finally:
        ended.set()
        await asyncio.gather(*tasks)


async def scale(url: str, replicas: int) -> None:
    """Have so many replicas."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/admin/backends/demo/scale", json={"replicas": replicas}) as response,
    ):
        assert response.status == 200, await response.text()


async def test_an_engine_is_placed_serves_and_ends_with_its_router(tmp_path: Path, nodes: Nodes):
    async with RunningRouter(tmp_path, config(nodes.address, fake())) as router:
        took = await serving(router, 1)
        print(f"placed and serving after {took:.1f} s")  # noqa: T201
        async with aiohttp.ClientSession() as session:
            assert (await ask(session, router.url))[0] == 200
        (node,) = node_routers()
        everything = [node, *engines_of(node)]
        router.signal()
        assert await router.exit_code(60) == 0
        await all_gone(everything)


@pytest.mark.parametrize("launch", [fake(), real()], ids=["a fake engine", "llama_server"])
async def test_one_becomes_four_and_one_again_under_load_and_nothing_is_lost(tmp_path: Path, nodes: Nodes, launch: str):
    async with RunningRouter(tmp_path, config(nodes.address, launch)) as router:
        await serving(router, 1)
        async with load(router.url) as found:
            await scale(router.url, 4)
            print(f"four serve after {await serving(router, 4):.1f} s")  # noqa: T201
            await asyncio.sleep(1)
            assert len({raylet_of(each).pid for each in node_routers()}) == 4
            await scale(router.url, 1)
            await serving(router, 1)
            await eventually(lambda: len([each for each in node_routers() if alive(each)]) == 1, within=60)
        assert set(found) == {"whole"}, found
        print(found)  # noqa: T201


async def heals(router: RunningRouter, killed: psutil.Process, count: int) -> None:
    """Kill a process; see that clients notice nothing, and that as many replicas are there again."""
    async with load(router.url) as found:
        await asyncio.sleep(0.5)
        before = {each.pid for each in node_routers()}
        killed.kill()
        began = time.monotonic()
        while len({each.pid for each in node_routers() if alive(each)} - before) < 1:
            assert time.monotonic() < began + HEALED_WITHIN, await reasons(router.url)
            await asyncio.sleep(0.05)
        asked = time.monotonic() - began
        await serving(router, count, HEALED_WITHIN)
        print(f"a new router after {asked:.1f} s, {count} serve after {time.monotonic() - began:.1f} s; {found}")  # noqa: T201
    # A stream that had begun there breaks off, as its client sees; nothing else is lost.
    cut = sum(times for said, times in found.items() if said.startswith("ClientPayloadError"))
    assert cut <= CLIENTS
    assert cut + found["whole"] == sum(found.values()), found


async def test_a_killed_actor_is_placed_again(tmp_path: Path, nodes: Nodes):
    async with RunningRouter(tmp_path, config(nodes.address, fake(replicas=2))) as router:
        await serving(router, 2)
        await heals(router, actor_of(node_routers()[0]), 2)


async def test_a_killed_node_router_is_placed_again(tmp_path: Path, nodes: Nodes):
    async with RunningRouter(tmp_path, config(nodes.address, fake(replicas=2))) as router:
        await serving(router, 2)
        await heals(router, node_routers()[0], 2)


async def test_what_can_not_be_placed_is_said_in_status_and_to_clients(tmp_path: Path, nodes: Nodes):
    launch = fake("{cluster: ray, cpus: 3, resources: {place: 2}, labels: {kind: worker}}")
    words = config(nodes.address, launch).replace("queue_timeout: 60s", "queue_timeout: 2s")
    async with RunningRouter(tmp_path, words) as router:
        await eventually(lambda: router.url)
        said: dict[str, str] = {}
        while "no node has as much" not in said.get("demo", ""):
            said = await reasons(router.url)
            await asyncio.sleep(0.1)
        assert "Ray is asked for 3 CPUs and 2 place, with kind=worker" in said["demo"]
        async with aiohttp.ClientSession() as session:
            status, words = await ask(session, router.url)
        assert status == 503
        assert "no node has as much" in words


async def test_when_the_router_is_killed_nothing_runs_on(tmp_path: Path, nodes: Nodes):
    async with RunningRouter(tmp_path, config(nodes.address, fake(replicas=3))) as router:
        await serving(router, 3)
        running = node_routers()
        everything = [*running, *(each for one in running for each in engines_of(one))]
        everything += psutil.Process(router.process.pid).children(recursive=True)
        router.signal(signal.SIGKILL)
        began = time.monotonic()
        await all_gone(everything)
        print(f"all gone after {time.monotonic() - began:.1f} s")  # noqa: T201


async def test_a_killed_helper_costs_its_replicas_which_are_placed_again(tmp_path: Path, nodes: Nodes):
    async with RunningRouter(tmp_path, config(nodes.address, fake(replicas=2))) as router:
        await serving(router, 2)
        before = node_routers()
        children = psutil.Process(router.process.pid).children()
        (helper,) = [each for each in children if "ray_helper.py" in " ".join(each.cmdline())]
        helper.kill()
        await all_gone(before)
        await serving(router, 2)


async def pull(url: str, lever: str, name: str) -> None:
    """Have an admin do something with a backend."""
    path = f"{url}/admin/backends/{name.replace('/', '%2F')}/{lever}"
    async with aiohttp.ClientSession() as session, session.post(yarl.URL(path, encoded=True)) as response:
        assert response.status == 200, await response.text()


async def test_a_replica_has_the_levers_of_a_peers_model(tmp_path: Path, nodes: Nodes):
    """It is drained and restarted by its name here; its engine's words come from its node."""
    async with RunningRouter(tmp_path, config(nodes.address, fake(replicas=2))) as router:
        await serving(router, 2)
        await pull(router.url, "drain", "demo-2/demo")
        backends = (await told(router.url))["backends"]
        assert [each["name"] for each in backends if each.get("drained_by")] == ["demo-2/demo"]
        async with aiohttp.ClientSession() as session:
            for _ in range(6):
                async with session.post(f"{router.url}/v1/chat/completions", json=ASK) as response:
                    assert response.headers["x-router-backend"] == "demo/demo"
        await pull(router.url, "undrain", "demo-2/demo")
        before = {each.pid for one in node_routers() for each in engines_of(one)}
        await pull(router.url, "restart", "demo/demo")
        await eventually(lambda: {each.pid for one in node_routers() for each in engines_of(one)} - before, within=60)
        await serving(router, 2)


# Last: it costs the cluster a node.


async def test_a_killed_raylet_is_a_dead_node_and_its_replica_placed_elsewhere(tmp_path: Path, nodes: Nodes):
    async with RunningRouter(tmp_path, config(nodes.address, fake(replicas=2))) as router:
        await serving(router, 2)
        await heals(router, raylet_of(node_routers()[0]), 2)
