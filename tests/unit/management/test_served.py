"""What peers are told of the models here."""

import asyncio
from math import inf

import pytest

from launchers.abilities import Abilities
from router.api.admin.peers import ServedAsked
from router.core.access import Access
from router.core.admission import Cap
from router.core.catalog import Backend
from router.core.errors import UnavailableError
from router.core.gate import Gate
from router.core.health import WELL, Thresholds, declared
from router.core.keys import Key, Keys, digest
from router.core.scopes import Admin
from router.management import served as module
from router.management.served import Seen, Served, Stage, served, stage_of, usable
from router.proxy.plane import Balancing, ExchangeLimits, Plane
from router.telemetry.feed import MOST_FOLLOWERS

UP, GONE = WELL, declared(up=False, reason="exited")
COMING = declared(up=False, reason="starting", coming=True)
ADMIN = Admin("ops", frozenset())
A, B = "a" * 16, "b" * 16
KEYLESS = Gate(Keys(), {}, Access())


def backend(name="m", health=UP, **known) -> Backend:
    return Backend(name, {"m": "m"}, health=health, **known)


@pytest.mark.parametrize(
    ("seen", "stage"),
    [
        (Seen(backend()), Stage("loaded", 0.0)),
        (Seen(backend(health=GONE)), Stage("failed", reason="exited")),
        (Seen(backend(health=COMING)), Stage("loading")),
        (Seen(backend(), drained_by="ops"), Stage("drained", reason="it is drained by ops")),
        (Seen(backend(health=COMING), {"state": "unloaded", "seconds": 20.0}), Stage("unloaded", 20.0)),
        (Seen(backend(health=COMING), {"state": "loading", "seconds": 9.0, "share": 0.5}), Stage("loading", 9.0, 0.5)),
        (Seen(backend(), {"state": "loaded", "seconds": 0.0}), Stage("loaded", 0.0)),
        (
            Seen(backend(health=GONE), {"state": "failed", "failure": {"reason": "no memory", "retry_in": 27.3}}),
            Stage("failed", reason="no memory", retry_in=30.0),
        ),
        (Seen(backend(health=GONE), {"state": "failed"}), Stage("failed", reason="exited")),
    ],
)
def test_how_far_a_backend_is(seen, stage):
    """In the words of /admin/models; a time that runs down is rounded, so that it isn't told again and again."""
    assert stage_of(seen) == stage


def test_a_model_is_told_by_its_best_backend():
    """How many requests it takes, what it can do, and what it lacks, is of all of them."""
    unloaded = {"state": "unloaded", "seconds": 20.0, "footprint": {"gpu0": 5}, "engine": "vllm", "in_flight": 0}
    loading = {**unloaded, "state": "loading", "seconds": 4.0, "in_flight": 3}
    there = [
        Seen(backend("m", COMING, cap=Cap(4)), unloaded, "", Abilities(4096, tools=True), frozenset({"/x", "/y"})),
        Seen(backend("m-2", COMING, cap=Cap(8)), loading, "", Abilities(8192, tools=True), frozenset({"/y"})),
        Seen(backend("m-3", GONE, cap=Cap(16)), {}, "", Abilities(tools=True), frozenset({"/y"})),
    ]
    told = served("m", (), there, 2)
    assert (told.state, told.seconds, told.engine, told.footprint) == ("loading", 4.0, "vllm", {"gpu0": 5})
    assert (told.max_in_flight, told.in_flight, told.waiting) == (12, 3, 2)
    assert (told.context, told.capabilities, told.lacks) == (8192, ("tools",), ("/y",))
    assert told.backends == ("m", "m-2", "m-3")


def test_a_model_without_a_bound():
    """Where all are out, each might be back; one that takes any number has no bound."""
    assert served("m", ("x",), [Seen(backend(health=GONE, cap=Cap(2)))], 0).max_in_flight == 2
    told = served("m", ("x",), [Seen(backend(cap=Cap(2))), Seen(backend(cap=Cap(inf)))], 0)
    assert (told.max_in_flight, told.targets) == (None, ("x",))


def test_the_routers_that_every_request_passes():
    """Where one backend leads elsewhere, there is a way without them."""
    one, other = Seen(backend(), through=frozenset({A, B})), Seen(backend(), through=frozenset({B}))
    assert served("m", (), [one, other], 0).through == (B,)
    assert served("m", (), [one, Seen(backend())], 0).through == ()


def gate(**keys: Key) -> Gate:
    return Gate(Keys({digest(shown.encode()): key for shown, key in keys.items()}), {}, Access())


def test_what_a_peers_key_may_use():
    """As /v1/models lists it for that key; a route has the models that it may use, too. Who doesn't say is told all."""
    found = {
        each.name: each
        for each in (
            served(name, targets, [Seen(backend())], 0) for name, targets in (("a", ()), ("b", ()), ("r", ("a", "b")))
        )
    }
    keys = gate(
        all=Key("all"),
        some=Key("some", models=["a", "r"]),
        route=Key("route", models=["r"]),
        old=Key("old", expires=5.0),
    )

    def told(shown: str | None, now: float = 9.0) -> tuple[dict[str, tuple[str, ...]], str]:
        models, why = usable(found, keys, shown, now)
        return {name: each.targets for name, each in models.items()}, why

    whole: dict[str, tuple[str, ...]] = {"a": (), "b": (), "r": ("a", "b")}
    assert told(None) == told("all") == told("old", 4.0) == (whole, "")
    assert told("some") == ({"a": (), "r": ("a",)}, "")
    assert told("route") == ({"r": ()}, "")
    assert told("old") == ({}, "has expired")
    assert told("what") == ({}, "is none of its keys")
    assert usable(found, KEYLESS, "what", 9.0) == (found, "")


@pytest.fixture
async def plane(monkeypatch):
    monkeypatch.setattr(module, "LOOK_EVERY", 0.01)
    made = Plane(ExchangeLimits(), Thresholds(), Balancing(), lambda _: 0)
    yield made
    made.directory.close()


def join(plane: Plane, name: str, model: str) -> Backend:
    made = Backend(name, {model: model}, health=WELL)
    plane.add(made)
    plane.directory.rebuild()
    return made


async def test_a_follower_is_told_all_and_then_what_changes(plane):
    """And that it goes on, when nothing does; not what is served through itself."""
    over: list[int] = []
    part = Served(list, plane, lambda: bool(over), lambda: KEYLESS)
    first = join(plane, "one", "a")
    plane.directory.through[join(plane, "theirs/b", "b")] = frozenset({A})
    plane.directory.through[join(plane, "others/c", "c")] = frozenset({B})
    stream = await part.served(ServedAsked(hops=A), ADMIN)
    async with asyncio.timeout(20):
        ((told,),) = [await anext(stream.events)]
        assert (told.told.whole, told.told.instance) == (True, plane.directory.instance)
        assert [(each.name, each.through) for each in told.told.models] == [("a", ()), ("c", (B,))]
        first.health = GONE
        ((told,),) = [await anext(stream.events)]
        assert (told.told.whole, [(each.name, each.state) for each in told.told.models]) == (False, [("a", "failed")])
        plane.retire(first, "was taken out")
        plane.directory.rebuild()
        ((told,),) = [await anext(stream.events)]
        assert (told.told.models, told.told.gone) == ((), ("a",))
        over.append(1)
        assert [each async for each in stream.events] == []


async def test_a_follower_whose_key_is_taken_away(plane):
    """And given again: it is told why there is nothing, also where there was nothing before."""
    now = gate(key=Key("desk"))
    part = Served(list, plane, lambda: False, lambda: now)
    stream = await part.served(ServedAsked(key="key"), ADMIN)
    async with asyncio.timeout(20):
        ((told,),) = [await anext(stream.events)]
        assert (told.told.models, told.told.refused) == ((), "")
        now = gate(other=Key("desk"))
        ((told,),) = [await anext(stream.events)]
        assert (told.told.models, told.told.refused) == ((), "is none of its keys")
        join(plane, "one", "a")
        now = gate(key=Key("desk"))
        ((told,),) = [await anext(stream.events)]
        assert ([each.name for each in told.told.models], told.told.refused) == (["a"], "")
    await stream.events.aclose()


async def test_a_sign_of_life(plane, monkeypatch):
    """So that nobody takes it for dead."""
    monkeypatch.setattr(module, "QUIET", 0.02)
    stream = await Served(list, plane, lambda: False, lambda: KEYLESS).served(ServedAsked(), ADMIN)
    async with asyncio.timeout(20):
        assert [len(await anext(stream.events)) for _ in range(2)] == [1, 0]
    await stream.events.aclose()


async def test_too_many_followers(plane):
    """The next one is refused."""
    part = Served(list, plane, lambda: False, lambda: KEYLESS)
    part._followers = MOST_FOLLOWERS
    with pytest.raises(UnavailableError):
        await part.served(ServedAsked(), ADMIN)
