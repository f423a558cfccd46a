from math import inf

import pytest

from router.core.memory.devices import RELEASE_TIMEOUT, Device
from router.core.memory.footprints import Learned, Placement
from router.core.memory.refusals import LoadFailedError, MemoryShortageError, size_text
from router.core.memory.resident import FOREVER, Policy
from router.core.memory.states import State
from tests.fakes.memory_scene import G, Scene, backend

MEASURED = (Device("gpu0", 20 * G, 24 * G),)


# ------------------------------------------------------------------ loading


def test_one_start_however_many_ask():
    """The first request loads the backend; all that wait are sent when it is loaded, in order."""
    scene = Scene("a")
    assert scene.want("a1") == "load a"
    assert scene.want(*[f"a{n}" for n in range(2, 200)]) == ""
    assert scene.at(10).loaded("a") == ", ".join(f"send a{n}" for n in range(1, 200))


def test_a_loaded_backend_is_sent_to_at_once():
    """A model that is loaded costs a request no wait."""
    scene = Scene("a", "b")
    scene.serve("a1")
    assert scene.want("a2") == "send a2"
    assert scene.residency.seconds("a", 20) == 0
    assert scene.residency.state("a") is State.LOADED


def test_what_fits_loads_beside_each_other():
    """Two backends that fit together load together; a third waits for memory that nobody may give yet."""
    scene = Scene("a", "b", "c")
    assert scene.want("a1", "b1", "c1") == "load a, load b"
    assert scene.states() == "a loading, b loading, c queued"
    assert scene.residency.reservations.room("gpu0") == 4 * G


def test_a_request_is_told_once():
    """An unknown backend or a request that waits already is a bug of the caller's."""
    scene = Scene("a")
    with pytest.raises(KeyError):
        scene.want("x1")
    scene.want("a1")
    with pytest.raises(ValueError, match="waiting or in flight"):
        scene.want("a1")
    with pytest.raises(ValueError, match="there is a backend a"):
        scene.residency.add(backend("a"), 0.0)
    assert scene.end("never came") == ""


def test_engines_that_are_late_change_nothing():
    """What an engine says after it was told to end is no move."""
    scene = Scene("a")
    scene.want("a1")
    scene.end("a1")
    assert scene.states() == "a unloading"
    assert scene.loaded("a") == ""
    assert scene.failed("a") == ""
    assert scene.told(scene.residency.progress("a", 1.0, 0.5)) == ""
    assert scene.states() == "a unloading"
    scene.exited("a")
    assert scene.exited("a") == ""
    assert scene.failed("a", oom="gpu0") == ""
    assert scene.states() == ""


# ----------------------------------------------------------------- eviction


def test_an_idle_backend_makes_room():
    """Another's memory is asked for, waited for, and only then reserved."""
    scene = Scene(backend("a", 12), backend("b", 12), devices=MEASURED)
    scene.free(24)
    scene.serve("a1")
    scene.free(12)
    assert scene.at(100).want("b1") == "unload a"
    assert scene.tick() == ""
    assert scene.at(101).exited("a") == ""
    assert scene.states() == "a releasing, b queued"
    assert scene.free(12) == ""
    assert scene.free(24) == "load b"
    assert scene.states() == "b loading"


def test_memory_that_is_never_confirmed_counts_in_time():
    """A device that doesn't confirm a release holds up a load for some seconds, and no longer."""
    scene = Scene(backend("a", 8), backend("b", 14), devices=MEASURED)
    scene.free(24)
    scene.serve("a1")
    scene.free(16)
    scene.at(100).want("b1")
    scene.at(101).exited("a")
    assert scene.residency.wake(101) <= 101 + RELEASE_TIMEOUT
    assert scene.at(101 + RELEASE_TIMEOUT).tick() == "load b"


def test_a_busy_backend_is_never_cut():
    """What is in flight is served first; while it drains, its new requests wait; then it is loaded again in turn."""
    scene = Scene(backend("a", 12, load_seconds=2), backend("b", 12))
    scene.want("a1")
    scene.at(2).loaded("a")
    assert scene.at(3).want("b1") == ""
    assert scene.at(60).tick() == "drain a"
    assert scene.states() == "a draining, b queued"
    assert scene.want("a2") == ""
    assert scene.at(70).end("a1") == "unload a"
    assert scene.exited("a") == "load b"
    assert scene.states() == "a queued, b loading"
    assert scene.at(80).loaded("b") == "send b1"


def test_a_drain_that_nobody_needs_any_more_ends():
    """Where the one that wanted the memory has left, the backend goes on, and its waiting requests with it."""
    scene = Scene(backend("a", 12, load_seconds=2), backend("b", 12))
    scene.want("a1")
    scene.at(2).loaded("a")
    scene.at(3).want("b1")
    scene.at(60).tick()
    scene.want("a2")
    assert scene.end("b1") == "resume a, send a2"
    assert scene.states() == "a loaded"


def test_its_own_first_request_reaches_it():
    """Those who caused a load are served before it may leave, whoever waits and however long."""
    scene = Scene(backend("a", 12, slots=1, service_seconds=20), backend("b", 12), policy=Policy(max_wait=1.0))
    scene.serve("b0")
    scene.at(100).want("a1", "a2")
    scene.exited("b")
    assert scene.want("b1") == ""
    assert scene.at(110).loaded("a") == "drain a, send a1"
    assert scene.at(500).tick() == ""
    assert scene.states() == "a draining, b queued"
    assert scene.want("a3") == ""
    assert scene.end("a1") == "send a2"
    assert scene.end("a2") == "unload a"
    assert scene.exited("a") == "load b"
    assert scene.states() == "a queued, b loading"


def test_who_caused_a_load_and_left_holds_nothing():
    """A lease ends with its request."""
    scene = Scene(backend("a", 12, slots=1, service_seconds=9), backend("b", 12), policy=Policy(max_wait=1.0))
    scene.serve("b0")
    scene.at(100).want("a1", "a2")
    scene.exited("b")
    scene.want("b1")
    scene.at(110).loaded("a")
    scene.at(500).tick()
    assert scene.end("a2") == ""
    assert scene.end("a1") == "unload a"


def test_leases_are_a_turn_s_worth():
    """Of very many that wait, as many hold a lease as a turn serves; the others wait for the next turn."""
    scene = Scene(backend("a", 12, slots=2, service_seconds=10), backend("b", 12), policy=Policy(max_wait=1.0))
    scene.serve("b0")
    scene.at(500).want(*[f"a{n}" for n in range(20)])
    scene.exited("b")
    scene.want("b1")
    assert scene.at(510).loaded("a") == "drain a, send a0, send a1"
    # A turn is four swaps of 12 s; each of two slots serves one in 10 s: ten in all, of which two are in flight.
    assert len(scene.residency.residents()["a"].leases) == 10 - 2


def test_pinned_stays():
    """A pinned backend leaves for nobody, is not unloaded for being idle, and leaves when a person says so."""
    scene = Scene(backend("a", 12, pinned=True, unload_after=5.0), backend("b", 12), backend("c", 4))
    scene.serve("a1")
    assert scene.at(1000).tick() == ""
    assert scene.want("b1") == "refuse b1"
    assert scene.want("c1") == "load c"
    assert scene.unload("a") == "unload a"


def test_the_least_is_evicted_for_the_bytes_needed():
    """Of idle backends the one goes that costs least to lose, on the device where memory is lacking."""
    two = (Device("gpu0", 20 * G), Device("gpu1", 20 * G))
    scene = Scene(
        backend("a", 8, load_seconds=50.0),
        backend("b", 8),
        backend("c", {"gpu1": 8}, load_seconds=1.0),
        backend("d", 8),
        devices=two,
    )
    scene.want("a1", "b1", "c1")
    scene.at(40).loaded("a")
    scene.at(10).loaded("b")
    scene.at(1).loaded("c")
    scene.at(50).end("a1", "b1", "c1")
    assert scene.at(500).want("d1") == "unload b"


def test_nobody_leaves_for_what_is_coming():
    """While memory is on its way that is enough, no other backend is told to leave."""
    scene = Scene(*"abcd")
    scene.serve("a1")
    scene.serve("b1")
    assert scene.at(500).want("c1") == "unload a"
    assert scene.want("d1") == "unload b"
    assert scene.tick() == ""
    assert scene.exited("b") == "load c"
    assert scene.exited("a") == "load d"


def test_a_backend_of_several_devices_takes_the_free_one():
    """The placement that fits goes before one that needs an eviction; else the cheapest eviction decides."""
    two = (Device("gpu0", 10 * G), Device("gpu1", 10 * G))
    either = tuple(Placement(f"x@{gpu}", {gpu: 8 * G}, is_told=True) for gpu in ("gpu0", "gpu1"))
    scene = Scene(
        backend("a", 8, load_seconds=99.0),
        backend("b", placements=either),
        backend("c", placements=either),
        devices=two,
    )
    scene.want("a1")
    scene.at(99).loaded("a")
    scene.end("a1")
    scene.serve("b1")
    assert scene.loads[-1].placement.key == "x@gpu1"
    assert scene.at(500).want("c1") == "unload b"
    assert scene.exited("b") == "load c"
    assert scene.loads[-1].placement.key == "x@gpu1"


# -------------------------------------------------------------- unload after


def test_idle_backends_are_unloaded_after_their_time():
    """`unload_after` counts from the end of the last request."""
    scene = Scene(backend("a", unload_after=30.0))
    scene.serve("a1", 5.0)
    assert scene.residency.wake(15) == 45
    assert scene.at(44).tick() == ""
    assert scene.at(45).tick() == "unload a"
    assert scene.residency.wake(45) == inf


def test_what_a_request_says_holds_until_the_next_one():
    """One that says nothing has the backend kept as the configuration has it."""
    scene = Scene(backend("a", unload_after=FOREVER))
    scene.want("a1", keep_alive=60)
    scene.loaded("a")
    scene.end("a1")
    assert scene.residency.residents()["a"].keeps_for() == 60
    scene.want("a2")
    scene.end("a2")
    assert scene.residency.residents()["a"].keeps_for() == FOREVER


@pytest.mark.parametrize(("keep_alive", "expected"), [(0, "unload a"), (60, ""), (FOREVER, "")])
def test_a_request_says_how_long_it_is_kept(keep_alive, expected):
    """`keep_alive` of the latest request counts instead of `unload_after`."""
    scene = Scene(backend("a", unload_after=30.0))
    scene.want("a1", keep_alive=keep_alive)
    scene.at(10).loaded("a")
    assert scene.at(20).end("a1") == expected
    assert scene.at(50).tick() == ""
    assert scene.at(1000).tick() == ("unload a" if keep_alive == 60 else "")


def test_another_request_keeps_it():
    """With `keep_alive` 0 it stays until the last request has ended."""
    scene = Scene("a")
    scene.serve("a0")
    scene.want("a1", keep_alive=0)
    scene.want("a2", keep_alive=0)
    assert scene.end("a1") == ""
    assert scene.end("a2") == "unload a"


def test_a_person_loads_and_unloads():
    """A load that was asked for by name needs no request; an unload waits for what is in flight."""
    scene = Scene("a", "b", "c")
    assert scene.load("a") == "load a"
    assert scene.load("a") == ""
    scene.at(10).loaded("a")
    assert scene.load("a") == ""
    scene.want("a1")
    assert scene.unload("a") == "drain a"
    assert scene.states() == "a draining"
    assert scene.want("a2") == ""
    assert scene.end("a1") == "unload a"
    assert scene.exited("a") == "load a"
    assert scene.unload("b") == ""


def test_a_load_that_a_person_asked_for_needs_no_request():
    """It goes on when the requests have left, and follows an unload that is under way."""
    scene = Scene("a")
    scene.want("a1")
    assert scene.load("a") == ""
    assert scene.end("a1") == ""
    scene.at(10).loaded("a")
    assert scene.unload("a") == "unload a"
    assert scene.load("a") == ""
    assert scene.exited("a") == "load a"


def test_unloading_while_it_loads():
    """What loads for nobody is cancelled; what is waited for serves those and ends then."""
    scene = Scene("a", "b")
    scene.load("a")
    assert scene.unload("a") == "cancel a"
    scene.want("b1")
    assert scene.unload("b") == ""
    assert scene.at(10).loaded("b") == "drain b, send b1"
    assert scene.states() == "a unloading, b draining"
    assert scene.load("b") == "resume b"
    assert scene.states() == "a unloading, b loaded"


def test_preloads_take_free_memory_in_order():
    """Without leave to evict, what doesn't fit is dropped; a request for it may evict."""
    scene = Scene("a", "b", "c")
    assert [scene.load(name, evict=False) for name in "abc"] == ["load a", "load b", ""]
    assert scene.states() == "a loading, b loading"
    scene.at(10).loaded("a")
    scene.loaded("b")
    assert scene.at(20).load("c") == "unload a"


def test_a_preload_waits_for_memory_on_its_way():
    """What leaves anyway is waited for; a request that comes then has it evict others, too."""
    scene = Scene("a", "b", backend("c", 12))
    scene.serve("a1")
    scene.serve("b1")
    scene.at(500).unload("a")
    assert scene.load("c", evict=False) == ""
    assert scene.states() == "a unloading, b loaded, c queued"
    assert scene.exited("a") == "load c"


def test_a_request_makes_a_preload_urgent():
    """While it waits for memory on its way, a request for it counts at once."""
    scene = Scene("a", "b", backend("c", 10))
    scene.serve("a1")
    scene.serve("b1")
    scene.at(500).unload("a")
    scene.load("c", evict=False)
    assert scene.want("c1") == ""
    assert scene.residency.residents()["c"].state is State.QUEUED
    assert scene.exited("a") == "load c"


# ------------------------------------------------------------ configuration


def test_limits_change_while_it_runs():
    """Where less may be held than is, idle backends leave; where more may, those who wait load."""
    scene = Scene("a", "b", backend("c", 6))
    scene.serve("a1")
    scene.serve("b1")
    assert scene.told(scene.residency.configure([Device("gpu0", 12 * G)], Policy(), 500.0)) == "unload a"
    scene.exited("a")
    scene.want("b2", "c1")
    assert (
        scene.told(scene.residency.configure([Device("gpu0", 15 * G), Device("ram", G)], Policy(), 501.0)) == "load c"
    )


def test_settings_of_a_backend_change_while_it_is_loaded():
    """One that is pinned no more may leave for those who wait."""
    scene = Scene(backend("a", 12, pinned=True), backend("b", 12), backend("c", 1))
    scene.serve("a1")
    assert scene.told(scene.residency.change(backend("a", 12, unload_after=5.0), 12.0)) == ""
    assert scene.at(12).tick() == ""
    assert scene.at(500).want("b1") == "unload a"


# ------------------------------------------------------------------ removal


def test_removed_backends_serve_what_they_have():
    """Those who wait are refused, those in flight served; then it is forgotten."""
    scene = Scene(backend("a", 12), backend("b", 12), "c")
    scene.serve("a0")
    scene.want("a1")
    scene.want("b1")
    assert scene.remove("b") == "refuse b1"
    assert scene.remove("a") == "drain a"
    with pytest.raises(KeyError):
        scene.want("a2")
    assert scene.end("a1") == "unload a"
    scene.exited("a")
    scene.remove("c")
    assert not scene.residency.residents()


def test_a_backend_that_ends_while_removed_is_forgotten():
    """One that unloads already needs nothing more than its exit, even after a load that failed."""
    scene = Scene("a")
    scene.want("a1")
    scene.failed("a")
    assert scene.remove("a") == ""
    scene.exited("a")
    assert not scene.residency.residents()


# ----------------------------------------------------------------- failures


def test_a_lack_of_memory_is_tried_once_more_with_more():
    """The footprint rises, what is needed is evicted, and the same requests wait."""
    scene = Scene("b", backend("a", 10))
    scene.serve("b1")
    scene.at(500).want("a1")
    assert scene.failed("a", "out of memory", oom="gpu0") == "cancel a"
    assert scene.remembered[-1].learned == Learned({"gpu0": int(12.5 * G)}, 0, raised=True)
    assert scene.exited("a") == "unload b"
    assert scene.exited("b") == "load a"
    assert (scene.loads[-1].attempt, scene.loads[-1].reserved) == (2, {"gpu0": int(12.5 * G)})
    assert scene.loaded("a") == "send a1"


def test_a_second_lack_of_memory_is_told():
    """Then those who wait are refused with the reason, and it rests, twice as long each time."""
    scene = Scene("a")
    scene.want("a1")
    scene.failed("a", "out of memory", oom="")
    assert scene.exited("a") == "load a"
    assert scene.failed("a", "out of memory", oom="") == "refuse a1, cancel a"
    assert isinstance(scene.refused[-1].error, LoadFailedError)
    assert str(scene.refused[-1].error) == "'a' could not be loaded: out of memory"
    assert scene.refused[-1].error.retry_after == 5
    assert scene.want("a2") == ""
    assert scene.exited("a") == "refuse a2"
    assert scene.at(4).want("a3") == "refuse a3"
    assert scene.at(5).want("a4") == "load a"
    assert scene.failed("a") == "refuse a4, cancel a"
    assert scene.refused[-1].error.retry_after == 10


def test_memory_that_is_released_after_the_rest_is_over_is_tried_at_once():
    """Those who came meanwhile aren't refused for a failure that may be tried again by then."""
    scene = Scene("a", devices=MEASURED)
    scene.free(24)
    scene.want("a1")
    scene.failed("a")
    scene.exited("a")
    scene.at(6).want("a2")
    assert scene.states() == "a releasing"
    assert scene.free(24) == "load a"


def test_a_retry_that_nobody_waits_for_is_not_made():
    """Whoever wants it later has a first try again."""
    scene = Scene("a")
    scene.want("a1")
    scene.failed("a", oom="gpu0")
    scene.end("a1")
    assert scene.exited("a") == ""
    assert scene.want("a2") == "load a"
    assert scene.loads[-1].attempt == 1


def test_a_person_ends_a_rest():
    """A load that was asked for by name is tried at once."""
    scene = Scene("a")
    scene.want("a1")
    assert scene.exited("a") == "refuse a1"
    assert "ended while it loaded" in scene.refused[0].error.message
    assert scene.states() == "a failed"
    assert scene.residency.seconds("a", 1.0) == 4 + 10
    assert scene.load("a") == "load a"
    scene.loaded("a")
    assert scene.residency.residents()["a"].failures.count == 0


def test_a_load_without_progress_is_given_up():
    """Each sign of progress begins its time anew."""
    scene = Scene(backend("a", start_timeout=60.0))
    scene.want("a1")
    assert scene.residency.wake(0) == 60
    scene.residency.progress("a", 50.0)
    assert scene.at(100).tick() == ""
    assert scene.at(110).tick() == "refuse a1, cancel a"
    assert "no progress for 60 s" in scene.refused[0].error.message


def test_an_engine_that_dies_loses_what_it_had():
    """Its requests end with it, and those who come next have it loaded again."""
    scene = Scene("a")
    scene.serve("a1")
    scene.want("a2")
    assert scene.exited("a") == ""
    assert scene.end("a2") == ""
    assert scene.want("a3") == "load a"


def test_those_who_wait_have_a_dead_engine_loaded_again():
    """One that dies while it drains has others that wait for it."""
    scene = Scene(backend("a", 12, load_seconds=2), backend("b", 12))
    scene.want("a1")
    scene.at(2).loaded("a")
    scene.at(3).want("b1")
    scene.at(60).tick()
    scene.want("a2")
    assert scene.exited("a") == "load b"
    assert scene.states() == "a queued, b loading"


def test_a_lack_of_memory_while_serving_raises_the_footprint():
    """What it died of is reserved the next time."""
    scene = Scene("a")
    scene.serve("a1")
    assert scene.failed("a", "out of memory", oom="gpu0") == ""
    scene.exited("a")
    scene.want("a2")
    assert scene.loads[-1].reserved == {"gpu0": 10 * G}


def test_abandoned_loads_are_cancelled_where_that_is_cheaper():
    """Early in a load of a model that is seldom wanted yes; near its end no; never, where it was asked for by name."""
    scene = Scene(backend("a", load_seconds=100.0))
    scene.want("a1")
    scene.residency.progress("a", 50.0, 0.2)
    assert scene.at(50).end("a1") == "cancel a"
    scene.exited("a")
    scene.want("a2")
    scene.residency.progress("a", 149.0, 0.99)
    assert scene.at(149).end("a2") == ""
    assert scene.loaded("a") == ""
    assert scene.states() == "a loaded"


def test_abandoned_loads_give_way_to_others():
    """One that is nearly done is cancelled, too, where others wait for memory for longer than it would save."""
    scene = Scene(backend("a", 12, load_seconds=100.0), *[backend(each, 12) for each in "bcdefgh"])
    scene.want("a1", "b1", "c1", "d1", "e1", "f1", "g1", "h1")
    assert scene.at(80).end("a1") == "cancel a"


def test_who_waits_for_memory_and_leaves_is_forgotten():
    """With the last request goes the wait for memory."""
    scene = Scene(backend("a", 12), backend("b", 12))
    scene.want("a1", "b1")
    assert scene.end("b1") == ""
    assert scene.states() == "a loading"


# ----------------------------------------------------------------- refusals


def test_what_can_never_fit_is_refused_with_the_figures():
    """It says what is needed, what can be free, and who holds the rest."""
    scene = Scene(backend("a", 12, pinned=True), backend("b", 12))
    scene.serve("a1")
    assert scene.want("b1") == "refuse b1"
    error = scene.refused[0].error
    assert isinstance(error, MemoryShortageError)
    assert (error.status, error.code) == (503, "insufficient_memory")
    assert error.message == (
        "'b' can't be loaded. It needs 12.0 GiB of gpu0, of which 8.0 GiB can be free (12.0 GiB by a stays). "
        "Unpin a model, raise memory.limit, or use a smaller one."
    )
    assert (error.shortages[0].needs, error.shortages[0].free) == (12 * G, 8 * G)


def test_what_is_larger_than_the_device_is_refused():
    """Of several placements, the one that lacks on fewest devices is told."""
    two = tuple(
        Placement(f"a{n}", sizes, is_told=True)
        for n, sizes in enumerate([{"gpu0": 99 * G, "gpu9": 1}, {"gpu0": 30 * G}, {"gpu0": 40 * G}])
    )
    scene = Scene(backend("a", placements=two))
    assert scene.want("a1") == "refuse a1"
    assert "It needs 30.0 GiB of gpu0, of which 20.0 GiB can be free. Unpin" in scene.refused[0].error.message
    assert scene.states() == ""


def test_other_programs_are_waited_for_some_seconds():
    """A figure may be older than an exit, so what others hold refuses nobody at once."""
    scene = Scene(backend("a", 12), devices=MEASURED)
    assert scene.free(4) == ""
    assert scene.want("a1") == ""
    assert scene.at(5).tick() == ""
    assert scene.at(10).tick() == "refuse a1"
    assert "of which 4.0 GiB can be free (16.0 GiB by other programs stays)" in scene.refused[0].error.message
    scene.want("a2")
    assert scene.at(12).free(20) == "load a"


@pytest.mark.parametrize(
    ("size", "expected"), [(3 * G, "3.0 GiB"), (G // 5, "0.2 GiB"), (50 * 2**20, "50 MiB"), (0, "0 MiB")]
)
def test_sizes_are_written_for_people(size, expected):
    """GiB, or MiB where that would be a tenth of one."""
    assert size_text(size) == expected


# --------------------------------------------------------- wrong footprints


def test_one_that_takes_more_than_expected_has_idle_ones_leave():
    """Nothing loads until reservations are within the limit again, and the one that grew isn't cut."""
    scene = Scene("a", "b", "c")
    scene.serve("a1")
    scene.want("b1")
    assert scene.at(30).loaded("b", gpu0=15) == "unload a, send b1"
    assert scene.want("c1") == ""
    assert scene.exited("a") == ""
    assert scene.states() == "b loaded, c queued"


def test_what_is_measured_is_not_taken_below_what_was_told():
    """`launch.memory` is reserved while it is loaded, too; a device without a figure keeps its reservation."""
    scene = Scene(backend("a", {"gpu0": 8, "ram": 2}), devices=(Device("gpu0", 20 * G), Device("ram", 9 * G)))
    scene.want("a1")
    scene.loaded("a", gpu0=3)
    assert scene.residency.reservations.held("a") == {"gpu0": 8 * G, "ram": 2 * G}


def test_what_was_learned_is_reserved_the_next_time():
    """An estimate is replaced by what was measured."""
    placement = Placement("file", {"gpu0": 10 * G})
    scene = Scene(backend("a", placements=(placement,)))
    scene.want("a1")
    assert scene.loads[-1].reserved == {"gpu0": 11 * G}
    scene.at(7).loaded("a", gpu0=4)
    assert scene.remembered[-1].learned == Learned({"gpu0": 4 * G}, 1)
    assert scene.remembered[-1].load_seconds == 7.0
    assert scene.residency.reservations.room("gpu0") == 16 * G
