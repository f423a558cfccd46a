"""Peers without sockets: the test says what each tells, and looks how their models stand here."""

import asyncio
from math import inf
from typing import Any
from unittest.mock import Mock

import pytest

from router.cluster.household import Home
from router.cluster.peer import Peer
from router.cluster.peers import BREAKS_OFF, Peers
from router.cluster.picture import Served, Told
from router.config import BackendConfig
from router.core.catalog import Backend
from router.core.health import RETURNS_WITHIN, Thresholds
from router.core.retry import Failure
from router.proxy.dialling import Address
from router.proxy.plane import Balancing, ExchangeLimits, Plane
from router.proxy.watching.sleepers import Sleepers
from router.tls.trust import SYSTEM, Trust

A, B, FAR = "a" * 16, "b" * 16, "f" * 16


class Fleet(Home):
    """Takes in all but those of `taken` names."""

    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self.members: dict[str, Backend] = {}
        self.taken: set[str] = set()
        self.tuned: list[str] = []

    def join(self, entry: BackendConfig, trust: Trust) -> Backend | None:  # noqa: ARG002
        """Add a backend."""
        if entry.name in self.taken:
            return None
        backend = self.members[entry.name] = Backend(entry.name, dict(entry.models), entry.weight)
        self.plane.add(backend, Address.of(str(entry.router)), None)
        return backend

    def tune(self, entry: BackendConfig, trust: Trust) -> None:  # noqa: ARG002
        """Note it."""
        self.tuned.append(entry.name)

    def leave(self, name: str) -> None:
        """Remove a backend."""
        self.plane.retire(self.members.pop(name), "was taken out")


def settle(peer: Peer) -> None:
    """Have time pass since its start."""
    peer._settles_at = 0.0
    peer._settle()


class Clock:
    """The loop's, which the test moves."""

    def __init__(self, plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = plane.loop.time()
        monkeypatch.setattr(plane, "loop", self)
        self.call_soon = lambda *_: None

    def time(self) -> float:
        """Tell it."""
        return self.now


class Scene:
    """One router with peers that tell what the test says."""

    def __init__(self, plane: Plane, clock: Clock) -> None:
        self.plane = plane
        self.clock = clock
        self.fleet = Fleet(plane)
        self.peers = Peers(plane, self.fleet)

    def add(self, name: str = "there", **keys: object) -> Peer:
        """Have a peer that wasn't heard of yet."""
        config = BackendConfig.model_validate({"router": f"http://{name}:1", "name": name} | keys)
        return self.peers.add(config)

    def tell(self, peer: Peer, *models: Served, instance: str = A, **said: Any) -> None:
        """Have a peer that can be reached tell this."""
        peer.away = ""
        peer._learn(Told(instance, models=models, **said))

    def lose(self, peer: Peer, why: str = "no answer in 2 s") -> None:
        """Have a peer be away."""
        peer.away = why
        self.peers.gone(peer)

    def at(self, name: str) -> Backend:
        """Give a backend."""
        return self.fleet.members[name]


@pytest.fixture
async def scene(monkeypatch):
    plane = Plane(ExchangeLimits(), Thresholds(), Balancing(), lambda _: 0)
    made = Scene(plane, Clock(plane, monkeypatch))
    yield made
    plane.directory.close()
    await made.peers.stop()


async def test_models_join_as_they_are_told(scene):
    """And leave with what is told next."""
    peer = scene.add()
    assert scene.fleet.members == {}
    assert scene.plane.may_learn(scene.clock.now)
    scene.tell(peer, Served("qwen"), Served("llama", "unloaded", 20.0))
    assert set(scene.fleet.members) == {"there/qwen", "there/llama"}
    assert not scene.plane.may_learn(scene.clock.now)
    assert scene.peers.of("there/qwen") == (peer, "qwen")
    assert scene.peers.of("qwen") is None
    scene.tell(peer, Served("qwen"), whole=False, gone=("llama",))
    assert set(scene.fleet.members) == {"there/qwen"}
    scene.peers.remove("there")
    assert (scene.fleet.members, scene.peers.by_name) == ({}, {})


async def test_how_a_model_stands_here(scene):
    """As it does there: it takes requests at once, or for a load's time more, or none, for the peer's reason."""
    peer = scene.add()
    scene.tell(peer, Served("m"))
    backend = scene.at("there/m")
    assert (backend.health.usable, backend.estimate.unloaded) == (True, False)
    scene.tell(peer, Served("m", "unloaded", 20.0), whole=False)
    assert (backend.health.usable, backend.estimate.unloaded) == (True, True)
    scene.tell(peer, Served("m", "loading", 9.0), whole=False)
    assert backend.estimate.loading
    scene.tell(peer, Served("m", "failed", reason="no memory"), whole=False)
    assert (backend.health.usable, backend.health.reason, backend.health.coming) == (False, "no memory", False)
    scene.tell(peer, Served("m", "loaded"), whole=False)
    assert (backend.health.usable, backend.estimate.unloaded) == (True, False)


async def test_a_peer_that_is_away(scene):
    """Its models are out: awaited for a while, and then no more; they are back with the first news."""
    peer = scene.add()
    scene.tell(peer, Served("m"))
    backend = scene.at("there/m")
    scene.lose(peer)
    assert (backend.health.usable, backend.health.coming) == (False, True)
    assert backend.health.reason == "its router can't be reached: no answer in 2 s"
    scene.peers.waits(peer)
    assert backend.health.coming
    scene.clock.now += RETURNS_WITHIN + 1
    scene.peers.waits(peer)
    assert not backend.health.coming
    (told,) = scene.peers.models_told()
    assert (told["state"], told["detail"]) == ("failed", "can't be reached: no answer in 2 s")
    assert scene.peers.by_name["there"].away
    scene.tell(peer, Served("m"), instance=B)
    assert backend.health.usable
    assert not scene.peers.by_name["there"].away


async def test_what_a_peer_has_that_is_away(scene):
    """It goes elsewhere, as soon as there is room: it is asked again and again while the peer is away."""
    peer = scene.add()
    scene.tell(peer, Served("m"))
    backend = scene.at("there/m")
    asked = Mock(backend=backend)
    scene.plane.exchanges.add(asked)
    backend.in_flight = 1
    scene.lose(peer)
    scene.peers.waits(peer)
    assert [each.args for each in asked.leave.mock_calls] == [(scene.clock.now, "its router can't be reached")] * 2


async def test_what_a_peer_has_that_does_not_come_back(scene):
    """What finds no other place is told so once others are, who wait; an answer that has begun may go on for longer."""
    peer = scene.add()
    scene.tell(peer, Served("m"))
    backend = scene.at("there/m")
    silent, begun = Mock(backend=backend), Mock(backend=backend)
    silent.answer.first_byte_at, begun.answer.first_byte_at = None, 1.0
    scene.plane.exchanges.update({silent, begun})
    backend.in_flight = 2
    scene.lose(peer)
    scene.peers.waits(peer)
    assert (silent.fail.called, begun.fail.called) == (False, False)
    scene.clock.now += RETURNS_WITHIN
    scene.peers.waits(peer)
    silent.fail.assert_called_once_with(Failure.AWAY, "its router can't be reached: no answer in 2 s")
    assert not begun.fail.called
    scene.clock.now += BREAKS_OFF
    scene.peers.waits(peer)
    assert begun.fail.call_count == 1


async def test_a_peer_whose_words_cannot_be_read(scene, monkeypatch):
    """It is asked more and more seldom."""
    peer, pauses = scene.add(), []

    async def unreadable() -> None:
        raise ValueError("nonsense")

    async def rest(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 7:
            raise asyncio.CancelledError

    monkeypatch.setattr(peer, "_list", unreadable)
    monkeypatch.setattr(peer, "_rest", rest)
    peer._reached.set()
    with pytest.raises(asyncio.CancelledError):
        await peer._follow()
    assert pauses == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


class Waker(Sleepers):
    """Takes all that nobody answers for as asleep, and keeps what is to be kept."""

    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self.kept: dict[str, str] = {}

    def unreached(self, backend: Backend) -> bool:
        """Have it asleep."""
        self.plane.sleeps(backend, "is asleep")
        return True

    def remember(self, key: str, told: str) -> None:
        """Keep it."""
        self.kept[key] = told

    def recall(self, key, use) -> None:
        """Use it at once."""
        if key in self.kept:
            use(self.kept[key])


MAC = "00:11:22:33:44:55"


async def test_a_peer_whose_machine_sleeps(scene):
    """Nobody is there: that is no failure. Where its router alone is gone, it is."""
    scene.peers.sleepers = Waker(scene.plane)
    peer = scene.add(wake=MAC)
    scene.tell(peer, Served("m"))
    backend = scene.at("there/m")
    peer.nobody = True
    scene.lose(peer)
    assert (backend.health.word, backend.health.coming) == ("asleep", False)
    (told,) = scene.peers.models_told()
    assert (told["state"], told["detail"], told["failure"]) == ("asleep", "is asleep", None)
    scene.clock.now += RETURNS_WITHIN + 1
    scene.peers.waits(peer)
    assert (backend.health.word, peer.sleeps) == ("asleep", True)
    # While it is woken, its router may start some time after its machine.
    scene.plane.sleeps(backend, "is being woken", coming=True)
    peer.nobody = False
    scene.peers.waits(peer)
    assert (backend.health.word, peer.sleeps) == ("waking", False)
    scene.plane.sleeps(backend, "is asleep")
    peer.nobody = True
    scene.peers.waits(peer)
    peer.nobody = False
    scene.peers.waits(peer)
    assert (backend.health.word, backend.health.reason) == ("down", "its router can't be reached: no answer in 2 s")
    peer.nobody = True
    scene.peers.waits(peer)
    assert backend.health.word == "asleep"
    scene.tell(peer, Served("m"))
    assert backend.health.usable


async def test_the_models_of_a_peer_that_sleeps_are_known_after_a_restart(scene):
    """With what doesn't change; what it tells itself goes before that."""
    scene.peers.sleepers = waker = Waker(scene.plane)
    peer = scene.add(wake=MAC)
    scene.tell(peer, Served("m", "loading", 9.0, waiting=4, context=4096, capabilities=("completion",)), Served("n"))
    scene.peers.remove("there")
    again = scene.add(wake=MAC)
    assert again.models["m"] == Served("m", "unloaded", context=4096, capabilities=("completion",))
    assert dict(scene.at("there/m").models) == {"m": "m"}
    assert scene.at("there/n").health.coming
    scene.tell(again, Served("n"))
    settle(again)
    assert set(scene.fleet.members) == {"there/n"}
    scene.peers.remove("there")
    waker.kept[str(again.address)] = "nonsense"
    assert scene.add(wake=MAC).models == {}


async def test_a_peer_that_was_not_heard_of_yet(scene):
    """What router.yaml names of it is known, and is awaited for a while; what isn't there leaves."""
    peer = scene.add(models={"big": "qwen", "best": "qwen", "x": "gone"})
    backend = scene.at("there/qwen")
    assert (dict(backend.models), backend.health.coming) == ({"big": "qwen", "best": "qwen"}, True)
    scene.tell(peer, Served("qwen"), Served("llama"))
    assert scene.at("there/gone").health.coming
    settle(peer)
    assert set(scene.fleet.members) == {"there/qwen"}


async def test_peers_that_lead_to_each_other(scene):
    """A model comes from its own router while that can be reached; nothing comes from this one, or twice."""
    near, far = scene.add("near"), scene.add("far")
    itself, again = scene.add("itself"), scene.add("again")
    own = scene.plane.directory.instance
    scene.tell(near, Served("a"), Served("f", through=(FAR,)), Served("mine", through=(own,)))
    assert set(scene.fleet.members) == {"near/a", "near/f"}
    assert scene.plane.directory.through[scene.at("near/f")] == {A, FAR}
    scene.tell(far, Served("f"), instance=FAR)
    scene.tell(itself, Served("mine"), instance=own)
    scene.tell(again, Served("a"), instance=A)
    assert set(scene.fleet.members) == {"near/a", "far/f"}
    scene.lose(far)
    assert set(scene.fleet.members) == {"near/a", "near/f", "far/f"}
    scene.tell(far, Served("f"), instance=FAR)
    assert set(scene.fleet.members) == {"near/a", "far/f"}


async def test_what_a_model_takes_at_once(scene):
    """What the peer says, or less where router.yaml says so; what others have there counts."""
    peer = scene.add(max_in_flight=4)
    scene.tell(
        peer, Served("m", max_in_flight=8, in_flight=3, waiting=1, backends=("m",)), Served("n", max_in_flight=2)
    )
    assert [scene.at(f"there/{name}").cap.requests for name in "mn"] == [4, 2]
    assert scene.at("there/m").estimate.others(scene.clock.now) == 4.0
    peer = scene.add("other")
    scene.tell(peer, Served("m"), instance=B)
    assert scene.at("other/m").cap.requests == inf


async def test_a_peer_that_lives_looks_after_its_engines(scene):
    """What it holds is being worked on; one that failed requests is probed by that."""
    peer = scene.add()
    scene.tell(peer, Served("m"))
    backend = scene.at("there/m")
    backend.in_flight = 1
    scene.clock.now += 10
    for _ in range(3):
        scene.plane.failed(backend, "answered 503")
    assert not backend.health.usable
    scene.clock.now += 1
    for _ in range(2):
        scene.peers.beat(peer)
    assert backend.health.usable
    assert backend.worked_at == scene.clock.now
    scene.plane.failed(backend, "refused", refused=True)
    assert not backend.health.usable


async def test_a_peer_behind_a_proxy(scene):
    """Its paths begin with the proxy's, whether or not the URL has a /v1 at its end."""
    for url in ("http://box/mac/", "http://box/mac/v1"):
        peer = scene.add(router=url)
        assert [peer.address.url(path) for path in ("/v1/models", "/health", "/admin/status")] == [
            "http://box:80/mac/v1/models", "http://box:80/mac/health", "http://box:80/mac/admin/status",
        ]  # fmt: skip
        scene.peers.remove("there")
    assert scene.add().address.url("/v1/models") == "http://there:1/v1/models"


async def test_another_entry_for_the_same_peer(scene):
    """Its models are told it, and those join and leave that it names."""
    peer = scene.add()
    scene.tell(peer, Served("a"), Served("b"))
    entry = BackendConfig.model_validate({"router": "http://there:1", "name": "there", "models": ["a"], "weight": 2})
    scene.peers.tune(entry, SYSTEM)
    assert scene.fleet.tuned == ["there/a", "there/b"]
    assert set(scene.fleet.members) == {"there/a"}


async def test_a_name_that_is_taken(scene):
    """It doesn't join, until the name is free."""
    scene.fleet.taken = {"there/m"}
    peer = scene.add()
    scene.tell(peer, Served("m"))
    assert scene.fleet.members == {}
    scene.fleet.taken = set()
    scene.tell(peer, Served("m"))
    assert set(scene.fleet.members) == {"there/m"}


async def test_what_is_heard_of_a_peer_that_left(scene):
    """It is of no interest."""
    peer = scene.add()
    scene.peers.remove("there")
    scene.tell(peer, Served("m"))
    scene.peers.beat(peer)
    scene.peers.gone(peer)
    scene.peers.waits(peer)
    assert scene.fleet.members == {}


async def test_a_peer_without_models_is_told_of(scene):
    """Each with its reason: it is away or asleep, refuses, has yet to tell, has nothing, or is another peer."""

    def silent() -> dict[object, tuple[object, object]]:
        return {each["name"]: (each["health"], each["reason"]) for each in scene.peers.silent()}

    peer = scene.add()
    assert silent() == {"there": ("unknown", "not asked yet")}
    scene.lose(peer)
    assert silent() == {"there": ("down", "its router can't be reached: no answer in 2 s")}
    peer.away = ""
    assert silent() == {"there": ("unknown", "has told nothing of its models yet")}
    peer._complain("it answers 401: see api_key")
    assert silent() == {"there": ("down", "it answers 401: see api_key")}
    scene.tell(peer, refused="has expired")
    assert silent() == {"there": ("down", "none of its models may be used: api_key has expired")}
    scene.tell(peer)
    assert silent() == {"there": ("up", "serves no model")}
    scene.tell(peer, instance=scene.plane.directory.instance)
    assert silent() == {"there": ("down", "is this router itself")}
    scene.tell(peer, Served("m"))
    assert silent() == {}
    scene.tell(scene.add("twin"), Served("m"))
    assert silent() == {"twin": ("down", "is the same router as 'there'")}
    scene.peers.remove("twin")
    few = scene.add("few", models=["x"])
    assert silent() == {}
    scene.tell(few, Served("m"), instance=B)
    settle(few)
    assert silent() == {"few": ("up", "serves none of the models that router.yaml names")}
    scene.peers.remove("few")
    asleep = scene.add("pc", wake=MAC)
    asleep.nobody = True
    scene.lose(asleep)
    assert silent()["pc"][0] == "asleep"


async def test_a_model_that_router_yaml_names_is_woken_at_the_first_start(scene):
    """Though its machine has never told of it."""
    scene.peers.sleepers = Waker(scene.plane)
    peer = scene.add(wake=MAC, models=["m"])
    peer.nobody = True
    scene.lose(peer)
    assert scene.at("there/m").health.word == "asleep"


async def test_requests_for_a_model_that_is_drained_there_wait(scene):
    """As they do there; clients aren't told who has drained it."""
    peer = scene.add()
    scene.tell(peer, Served("m", "drained", reason="it is drained by ops"))
    health = scene.at("there/m").health
    assert (health.usable, health.coming, health.reason, health.word) == (False, True, "is drained there", "down")


@pytest.mark.parametrize(
    ("url", "status", "hint"),
    [
        ("http://there", 401, ": see api_key"),
        ("http://there", 403, ": see api_key"),
        ("http://there", 404, ": no router is at this path"),
        ("http://there", 302, ": it sends elsewhere, which isn't followed"),
        ("http://there", 400, ": if it has a certificate, write https://"),
        ("https://there", 400, ""),
        ("http://there", 500, ""),
    ],
)
async def test_what_a_refusal_is_about(scene, url, status, hint):
    """A key only where it is one."""
    peer = scene.add(router=url)
    assert peer._hint(status, "api_key").partition(";")[0] == hint
