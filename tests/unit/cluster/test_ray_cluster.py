"""Replicas on Ray: what the helper is told, and what the fleet is told of what it says."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from router.cluster.ray_cluster import RayCluster
from router.config import BackendConfig, Config
from router.config.keys.limits import LimitsConfig
from router.core.keys import digest
from tests.running import eventually

NODES = [{"node": "a", "ip": "10.0.0.1", "total": {"CPU": 4}, "free": {"CPU": 4}, "labels": {}}]


class Home:
    """A fleet that notes what it is told."""

    def __init__(self) -> None:
        self.waits: dict[str, tuple[str, float | None]] = {}
        self.peers: dict[str, BackendConfig] = {}
        self.joined: set[str] = set()
        self.in_flight = 0

    def wait_for(self, name: str, entry: BackendConfig, reason: str, due: float | None) -> None:
        """Note who waits, and why."""
        assert "qwen" in entry.models
        self.waits[name] = reason, due

    def joins(self, peer: BackendConfig) -> None:
        """Note a peer."""
        self.peers[peer.name] = peer

    def has_joined(self, name: str) -> bool:
        """Tell whether the test says so."""
        return name in self.joined

    def stop_waiting(self, name: str) -> None:
        """Note who waits no more."""
        del self.waits[name]

    def leaves(self, name: str) -> Callable[[], int]:
        """Note who has left."""
        del self.peers[name]
        self.joined.discard(name)
        return lambda: self.in_flight


class Helper:
    """A helper that notes what it is told."""

    def __init__(self) -> None:
        self.started: tuple[str | None, str] | None = None
        self.told: list[dict[str, Any]] = []

    def start(self, python: str | None, address: str) -> None:
        """Note what it is started with."""
        self.started = python, address

    def send(self, message: dict[str, Any]) -> None:
        """Note what it is told."""
        self.told.append(message)

    async def stop(self) -> None:
        """Note its end."""
        self.started = None


class Scene:
    """A cluster with both."""

    def __init__(self) -> None:
        self.config = Config.model_validate({
            "ray": {"address": "head:6379", "python": "/opt/ray/bin/python"},
            "backends": [{"name": "qwen", "launch": {"model": "x/y", "on": "ray"}}],
        })  # fmt: skip
        self.home, self.helper = Home(), Helper()
        self.cluster = RayCluster(self.home, Path("/nowhere"))
        self.cluster._link = self.helper  # type: ignore[assignment]

    def limit(self, **limits: object) -> None:
        """Have other limits."""
        self.config = self.config.model_copy(update={"limits": LimitsConfig.model_validate(limits)})

    def add(self, name: str = "qwen") -> None:
        """Have a replica."""
        self.cluster.add(name, self.config.backends[0], self.config)

    def say(self, kind: str, **fields: object) -> None:
        """Have the helper say something."""
        self.cluster._hear({"is": kind, **fields})

    async def told(self, count: int) -> dict[str, Any]:
        """Wait for the helper's message of this number."""
        await eventually(lambda: len(self.helper.told) >= count)
        return self.helper.told[count - 1]

    async def runs(self) -> None:
        """Have the router of one replica run, which hasn't told its models yet."""
        self.add()
        self.cluster.start()
        self.say("connected", ray="2.60.0", nodes=NODES)
        await self.told(1)
        self.say("placed", name="qwen#1", ip="10.0.0.1", gpus=[])
        self.say("up", name="qwen#1", url="http://10.0.0.1:1234")

    async def up(self) -> None:
        """Have one replica up."""
        await self.runs()
        self.home.joined.add("qwen")
        await eventually(lambda: not self.home.waits)


@pytest.fixture
async def scene():
    made = Scene()
    yield made
    await made.cluster.stop()


async def test_before_there_is_a_cluster_it_is_said_that_there_is_none(scene):
    scene.add()
    assert scene.home.waits["qwen"] == ("Ray at head:6379 can't be reached: it is being looked for", 0.0)
    assert scene.helper.started is None
    scene.cluster.start()
    assert scene.helper.started == ("/opt/ray/bin/python", "head:6379")


async def test_without_a_replica_no_helper_is_started(scene):
    scene.cluster.start()
    assert scene.helper.started is None
    scene.add()
    assert scene.helper.started is not None


async def test_a_replica_is_asked_for_and_becomes_a_peer_that_its_keys_open(scene):
    await scene.up()
    peer, config = scene.home.peers["qwen"], scene.helper.told[0]["config"]
    assert peer.elsewhere == "http://10.0.0.1:1234"
    assert peer.models == {"qwen": "qwen"}
    assert peer.api_key is not None
    assert peer.admin_key is not None
    for key, section in ((peer.api_key, "keys"), (peer.admin_key, "admin_keys")):
        assert config["auth"][section][0]["hash"] == f"sha256:{digest(key.get_secret_value().encode()).hex()}"


async def test_until_its_models_have_joined_it_is_waited_for(scene):
    await scene.runs()
    await eventually(lambda: scene.home.waits["qwen"] == ("its router runs on 10.0.0.1", 0.0))
    scene.home.joined.add("qwen")
    await eventually(lambda: not scene.home.waits)


async def test_one_that_is_gone_is_placed_again_with_other_keys(scene):
    await scene.up()
    first = scene.home.peers["qwen"].api_key
    scene.say("gone", name="qwen#1", why="it died")
    assert "it died" in scene.home.waits["qwen"][0]
    assert scene.home.peers == {}
    assert (await scene.told(2))["name"] == "qwen#2"
    scene.say("up", name="qwen#1", url="http://10.0.0.1:1")  # of the one before
    scene.say("placed", name="qwen#2", ip="10.0.0.1", gpus=[])
    scene.say("up", name="qwen#2", url="http://10.0.0.1:2")
    assert scene.home.peers["qwen"].elsewhere == "http://10.0.0.1:2"
    assert scene.home.peers["qwen"].api_key != first


async def test_without_the_helper_all_are_gone_and_placed_by_the_next_one(scene):
    await scene.up()
    scene.cluster._lost("the head is dead")
    assert scene.home.waits["qwen"] == ("Ray at head:6379 can't be reached: the head is dead", 0.0)
    assert scene.home.peers == {}
    scene.say("connected", ray="2.60.0", nodes=NODES)
    assert (await scene.told(2))["name"] == "qwen#2"


async def test_what_waits_for_longer_than_requests_do_is_refused_with_the_reason(scene):
    scene.limit(queue_timeout=0)
    scene.add()
    scene.cluster.start()
    scene.say("connected", ray="2.60.0", nodes=[])
    await eventually(lambda: scene.home.waits["qwen"][1] is None)
    assert "Ray is asked for 1 CPU; no node is there" in scene.home.waits["qwen"][0]


async def test_without_a_cluster_for_longer_than_requests_wait_they_are_refused_with_the_reason(scene):
    scene.limit(queue_timeout=0)
    scene.add()
    scene.cluster.start()
    scene.cluster._lost("no cluster answers")
    await eventually(lambda: scene.home.waits["qwen"][1] is None)
    assert scene.home.waits["qwen"][0].startswith("Ray at head:6379 can't be reached: no cluster answers")


async def test_one_that_is_removed_ends_when_its_requests_have(scene):
    await scene.up()
    scene.home.in_flight = 1
    scene.cluster.remove("qwen")
    assert scene.home.peers == {}
    await asyncio.sleep(0)
    assert len(scene.helper.told) == 1
    scene.home.in_flight = 0
    assert await scene.told(2) == {"do": "remove", "name": "qwen#1", "seconds": 5.0}


async def test_requests_that_take_too_long_are_cut(scene):
    scene.limit(drain_timeout=0)
    await scene.up()
    scene.home.in_flight = 1
    scene.cluster.remove("qwen")
    assert (await scene.told(2))["do"] == "remove"


async def test_one_that_was_never_asked_for_ends_at_once(scene):
    scene.add()
    scene.cluster.remove("qwen")
    assert scene.home.waits == {}
    assert scene.helper.told == []


async def test_a_model_beside_router_yaml_is_told_by_its_whole_path(tmp_path):
    (tmp_path / "m.gguf").touch()
    cluster = RayCluster(Home(), tmp_path)
    assert cluster._locate("m.gguf") == str(tmp_path / "m.gguf")
    assert cluster._locate("x/y") == "x/y"
