"""Engines that run already, and what a backend came to take while it worked."""

import pytest

from router.core.memory.devices import Device
from router.core.memory.footprints import Placement, Source
from router.core.memory.resident import Loadable
from router.core.memory.states import State
from tests.fakes.memory_scene import G, Scene, backend

ESTIMATED = Placement("key", {"gpu0": 8 * G})


def estimated(name: str = "a") -> Loadable:
    """Make a backend of which nothing but an estimate is known."""
    return Loadable(name, (ESTIMATED,))


# ---------------------------------------------------------------- taken over


def test_an_engine_that_runs_has_its_memory():
    """Whether there is room or not: it has it. Then who is idle leaves."""
    scene = Scene(backend("a", 12, pinned=True), backend("b", 12), backend("c", 4))
    scene.serve("a1")
    scene.serve("c1")
    assert scene.told(scene.residency.adopt("b", scene.now)) == "load b, unload c"
    assert scene.states() == "a loaded, b loading, c unloading"
    assert scene.residency.reservations.room("gpu0") == -8 * G


def test_one_that_waits_for_memory_is_taken_over_too():
    scene = Scene(backend("a", 12), backend("b", 12))
    scene.serve("a1")
    scene.want("b1")
    assert scene.residency.state("b") is State.QUEUED
    assert scene.told(scene.residency.adopt("b", scene.now)) == "load b"
    assert "send b1" in scene.loaded("b")


def test_what_is_loaded_is_not_taken_over_again():
    scene = Scene("a")
    scene.serve("a1")
    assert scene.told(scene.residency.adopt("a", scene.now)) == ""
    assert scene.states() == "a loaded"


# -------------------------------------------------------- what it came to take


def holds(scene: Scene) -> float:
    return scene.residency.reservations.held("a")["gpu0"] / G


def test_what_it_may_grow_counts_until_it_is_known():
    """The first load is followed by more: caches fill when it works."""
    scene = Scene(estimated(), devices=(Device("gpu0", 20 * G),))
    scene.want("a1")
    scene.told(scene.residency.loaded("a", 5.0, {"gpu0": 6 * G}, {"gpu0": 3 * G}))
    assert holds(scene) == 9
    assert scene.remembered[-1].learned.bytes == {"gpu0": 9 * G}


def test_what_it_came_to_take_is_what_its_next_load_gets():
    """A quarter of the difference at a time; and a load that has just begun to work says nothing against it."""
    scene = Scene(estimated(), devices=(Device("gpu0", 20 * G),))
    scene.want("a1")
    scene.told(scene.residency.loaded("a", 5.0, {"gpu0": 6 * G}, {"gpu0": 2 * G}))
    scene.told(scene.residency.used("a", {"gpu0": 6 * G}, 9.0))
    assert scene.residency.footprints.source(ESTIMATED) is Source.LEARNED
    assert scene.residency.footprints.needs(ESTIMATED) == {"gpu0": 7.5 * G}
    scene.end("a1")
    scene.told(scene.residency.unload("a", 10.0))
    scene.exited("a")
    scene.want("a2")
    scene.told(scene.residency.loaded("a", 20.0, {"gpu0": 5 * G}, {"gpu0": 2 * G}))
    assert holds(scene) == 7.5


def test_more_than_was_known_counts_at_once():
    scene = Scene(estimated(), devices=(Device("gpu0", 20 * G),))
    scene.want("a1")
    scene.loaded("a")
    scene.told(scene.residency.used("a", {"gpu0": 11 * G}, 9.0))
    assert scene.residency.footprints.needs(ESTIMATED) == {"gpu0": 11 * G}


def test_nothing_is_learned_of_what_was_never_loaded():
    scene = Scene(estimated())
    scene.told(scene.residency.used("a", {"gpu0": 11 * G}, 9.0))
    scene.want("a1")
    scene.loaded("a")
    scene.told(scene.residency.used("a", {}, 9.0))
    assert scene.remembered == []


# ------------------------------------------------------------- other settings


def told(size: int, key: str = "key") -> Loadable:
    """Make a backend of which a person says what it takes."""
    return Loadable("a", (Placement(key, {"gpu0": size * G}, is_told=True),))


def test_a_size_that_is_written_stands_for_what_is_loaded_too():
    """Whether it is more or less than what was measured."""
    scene = Scene(told(8))
    scene.want("a1")
    scene.loaded("a")
    for size in (12, 6):
        scene.told(scene.residency.change(told(size), 10.0))
        assert holds(scene) == size


def test_a_size_that_is_written_is_not_learned():
    """When it is written no more, what was measured counts."""
    scene = Scene(told(8))
    scene.want("a1")
    scene.told(scene.residency.loaded("a", 5.0, {"gpu0": G}))
    assert holds(scene) == 8
    assert scene.residency.footprints.needs(Placement("key", {"gpu0": 3 * G})) == {"gpu0": G}


def test_what_was_not_reserved_for_is_reserved_when_memory_comes_to_decide():
    """It ran before anything was loaded on demand, under a key of its own."""
    scene = Scene(Loadable("a", (Placement("whole", {}, is_told=True),)))
    scene.want("a1")
    scene.told(scene.residency.loaded("a", 5.0, {"gpu0": G}))
    scene.told(scene.residency.change(estimated(), 10.0))
    assert holds(scene) == pytest.approx(8.8)
    assert scene.residency.residents()["a"].placement == ESTIMATED


def test_an_estimate_takes_nothing_off_what_was_measured():
    scene = Scene(estimated())
    scene.want("a1")
    scene.told(scene.residency.loaded("a", 5.0, {"gpu0": 10 * G}))
    scene.told(scene.residency.change(Loadable("a", (Placement("other", {"gpu0": 2 * G}), ESTIMATED)), 10.0))
    assert holds(scene) == 10
    assert scene.residency.residents()["a"].placement == ESTIMATED


def test_what_is_not_loaded_takes_other_settings_for_its_next_load():
    scene = Scene(told(8))
    scene.told(scene.residency.change(told(30), 1.0))
    assert scene.want("a1") == "refuse a1"
