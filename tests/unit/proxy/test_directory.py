"""What is served under which name, and for how long an unknown name may still come to mean something."""

import asyncio

import pytest

from launchers.abilities import UNKNOWN
from router.core.catalog import Backend, Route
from router.core.errors import ModelNotFoundError
from router.core.hops import LoopError
from router.proxy import directory as module
from router.proxy.directory import DISCOVERY_TIMEOUT, Directory
from tests.running import eventually


@pytest.fixture
async def changes():
    return []


@pytest.fixture
async def directory(changes):
    made = Directory(lambda: changes.append(len(made.backends)))
    yield made
    made.close()


async def test_changes_are_gathered_into_one_rebuild(directory, changes):
    """And the next change is one more."""
    for name in "abc":
        directory.add(Backend(name, {"m": "m"}), discovers=False)
    directory.route({"x": Route(("m",))})
    await eventually(lambda: changes)
    assert changes == [3]
    assert [each.backend.name for each in directory.catalog.resolve("x").tiers[0]] == ["a", "b", "c"]
    directory.remove(directory.backends["a"])
    await eventually(lambda: len(changes) == 2)
    assert changes == [3, 2]


async def test_a_rebuild_now_takes_the_place_of_the_one_that_is_planned(directory, changes, monkeypatch):
    """Who asked for it has what is new at once."""
    monkeypatch.setattr(module, "REBUILD_AFTER", 0.0)
    directory.add(Backend("a", {"m": "m"}), discovers=False)
    directory.rebuild()
    assert directory.catalog.resolve("m").tiers
    await asyncio.sleep(0.01)
    assert changes == [1]


async def test_a_request_keeps_what_it_resolved(directory):
    """The catalog is another one after each rebuild."""
    directory.add(Backend("a", {"m": "m"}), discovers=False)
    directory.rebuild()
    before = directory.catalog
    directory.remove(directory.backends["a"])
    directory.rebuild()
    assert before.resolve("m").tiers
    with pytest.raises(ModelNotFoundError):
        directory.catalog.resolve("m")


async def test_an_unknown_name_is_waited_for_until_the_new_one_has_said_what_it_serves(directory):
    """Or until its time is over; nobody waits for one whose models are told."""
    now = asyncio.get_running_loop().time()
    assert not directory.may_learn(now)
    directory.add(Backend("told"), discovers=False)
    assert not directory.may_learn(now)
    silent, slow = Backend("silent"), Backend("slow")
    directory.add(silent, discovers=True)
    directory.add(slow, discovers=True)
    assert directory.may_learn(now)
    assert not directory.may_learn(now + DISCOVERY_TIMEOUT + 60)
    directory.discovered(silent)
    assert directory.may_learn(now)
    directory.remove(slow)
    directory.rebuild()
    assert not directory.may_learn(now)


async def test_another_one_of_its_name_stays(directory):
    """The one that took its place."""
    old, new = Backend("a"), Backend("a")
    directory.add(old, discovers=False)
    directory.add(new, discovers=False)
    assert (directory.has(old), directory.has(new)) == (False, True)
    directory.remove(old)
    assert directory.backends == {"a": new}


async def test_what_others_of_the_same_models_were_asked_is_counted(directory):
    """By their models' names, or by a route that leads to both; its own attempts don't count, nor do strangers'."""
    given_up = Backend("a", {"m": "m"}, ended=100)
    directory.add(given_up, discovers=False)
    assert directory.asked_beside(given_up) == 0
    directory.add(Backend("same", {"m": "m"}, in_flight=1, ended=2), discovers=False)
    directory.add(Backend("routed", {"n": "n"}, in_flight=10, ended=20), discovers=False)
    directory.add(Backend("stranger", {"o": "o"}, ended=1000), discovers=False)
    assert directory.asked_beside(given_up) == 3
    directory.route({"x": Route(("m", "n")), "y": Route(("o",))})
    assert directory.asked_beside(given_up) == 33


async def test_what_models_can_do_is_forgotten_with_their_backend(directory):
    """That of one that isn't served is not kept at all."""
    backend, other = Backend("a", {"m": "m"}), Backend("a", {"m": "m"})
    directory.add(backend, discovers=False)
    directory.tell(backend, {"m": UNKNOWN})
    directory.tell(other, {"m": UNKNOWN})
    assert list(directory.abilities) == [backend]
    directory.remove(backend)
    assert not directory.abilities


async def test_a_request_goes_to_no_router_that_it_comes_through(directory):
    """Nor to one that leads back there; where no other has the model, it is refused, as it is if it came from here."""
    own, peer, far = (Backend(name, {"m": "m"}) for name in ("own", "peer/m", "far/m"))
    for each in (own, peer, far):
        directory.add(each, discovers=False)
    a, b = "a" * 16, "b" * 16
    directory.through = {peer: frozenset({a}), far: frozenset({b, a})}
    directory.rebuild()
    way = directory.catalog.resolve("m")
    assert [each.backend for each in directory.onward(way, b.encode()).tiers[0]] == [own, peer]
    assert [each.backend for each in directory.onward(way, a.encode()).tiers[0]] == [own]
    assert directory.onward(way, b"c" * 16) is way
    directory.remove(own)
    directory.rebuild()
    with pytest.raises(LoopError, match="from those alone"):
        directory.onward(directory.catalog.resolve("m"), a.encode())
    with pytest.raises(LoopError, match="in a circle"):
        directory.onward(way, directory.instance.encode())
    directory.remove(far)
    assert far not in directory.through
