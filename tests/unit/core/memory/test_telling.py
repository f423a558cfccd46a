from math import inf

from router.core.memory.footprints import Learned, Placement
from router.core.memory.resident import Policy
from router.core.memory.states import State
from router.core.memory.telling import AT_LEAST, RECHECK
from tests.fakes.memory_scene import G, Scene, backend


def reason(scene: Scene, request: str) -> str:
    """Tell what a request is told."""
    place = scene.residency.place(request, scene.now)
    assert place is not None
    return place.reason


def test_one_that_does_not_wait_has_no_place():
    """Neither one that was sent nor one that isn't known."""
    scene = Scene("a")
    scene.serve("a1")
    scene.want("a2")
    assert scene.residency.place("a2", 1.0) is None
    assert scene.residency.place("x", 1.0) is None


def test_a_load_tells_its_share_and_what_remains():
    """By its share, once it tells one."""
    scene = Scene("a")
    scene.want("a1", "a2")
    scene.residency.progress("a", 4.0, 0.5)
    scene.at(5)
    place = scene.residency.place("a2", 5.0)
    assert place is not None
    assert (place.stage, place.ahead, place.models_ahead, place.share, place.seconds) == (State.LOADING, 1, 0, 0.5, 5.0)
    assert place.reason == "'a' is loading."


def test_those_who_wait_for_memory_are_told_who_is_ahead():
    """And how long the others have at most."""
    scene = Scene(*[backend(each, 12) for each in "abcd"])
    scene.want("a1", "b1", "c1", "d1")
    assert reason(scene, "b1") == "'b' waits for memory; other models have it for at most 108 s more."
    assert reason(scene, "c1") == "'c' waits for memory behind 1 other model."
    assert reason(scene, "d1") == "'d' waits for memory behind 2 other models."
    assert scene.residency.seconds("d", 0.0) == 10 + 2 * 12
    scene.at(200)
    assert reason(scene, "b1") == "'b' waits for memory and is next; other models end what they have."


def test_what_makes_room_or_is_busy_says_so():
    """One that drains is loaded again; one that is loaded has as many in flight as it serves at once."""
    scene = Scene(backend("a", 12, load_seconds=2, slots=1), backend("b", 12))
    scene.want("a1")
    scene.at(2).loaded("a")
    scene.want("b1", "a2")
    assert reason(scene, "a2") == "'a' is busy."
    scene.at(60).tick()
    assert reason(scene, "a2") == "'a' makes room for others and is loaded again in its turn."
    assert scene.residency.seconds("a", 60.0) == 2.0 + 12.0 + 2.0


def test_the_place_among_its_own_goes_by_rank_and_age():
    """Those of a lower rank go before it, and those of the same that came before."""
    scene = Scene("a")
    scene.want("a1", "a2", "a3")
    scene.residency.residents()["a"].waiting["a3"].rank = -1.0
    places = [scene.residency.place(each, 0.0) for each in ("a1", "a2", "a3")]
    assert [place.ahead for place in places if place is not None] == [1, 2, 0]


def test_nothing_wakes_a_router_that_has_nothing_to_decide():
    """No time is waited for while nobody waits and nothing is to be unloaded."""
    scene = Scene("a", "b")
    assert scene.residency.wake(0.0) == inf
    scene.serve("a1")
    assert scene.residency.wake(11.0) == inf


def test_while_somebody_waits_for_memory_it_wakes_at_what_comes_next():
    """A turn's end, a wait's end; soon, while another is idle; and at the latest after some seconds."""
    scene = Scene(backend("a", 12), backend("b", 12), policy=Policy(max_wait=20.0))
    scene.want("a1", "b1")
    scene.at(3).loaded("a")
    assert scene.residency.wake(3.0) == 3.0 + AT_LEAST
    assert scene.residency.wake(6.0) == 10.0  # b has waited for half of max_wait, as a swap takes more than that
    scene.residency.residents()["a"].gaps.note(0.1)
    scene.end("a1")
    assert scene.states() == "a loaded, b queued"
    assert scene.residency.wake(3.0) == 3.0 + RECHECK


# ---------------------------------------------------------------- described


def told(scene: Scene, name: str = "a") -> dict[str, object]:
    """Give what is told of a backend."""
    return next(each for each in scene.residency.told(scene.now) if each["name"] == name)


def test_a_backend_that_was_never_loaded_is_described():
    """With what its load would take, and how that is known."""
    scene = Scene(
        backend(
            "a",
            placements=(Placement("file", {"gpu0": 10 * G}, note="it has less context"), Placement("cpu", {"ram": G})),
        )
    )
    assert told(scene) == {
        "name": "a",
        "state": "unloaded",
        "pinned": False,
        "placement": "file",
        "footprint": {"gpu0": 11 * G},
        "source": "estimated",
        "note": "it has less context",
        "reserved": {},
        "waiting": 0,
        "in_flight": 0,
        "leased": 0,
        "idle": 0.0,
        "expires": None,
        "share": None,
        "seconds": 10.0,
        "failure": None,
    }
    scene.residency.footprints.restore("file", Learned({"gpu0": 3 * G}, 2))
    assert (told(scene)["source"], told(scene)["footprint"]) == ("learned", {"gpu0": 3 * G})


def test_one_that_can_be_loaded_nowhere_is_described():
    """No placement, no footprint."""
    described = told(Scene(backend("a", placements=())))
    assert (described["placement"], described["footprint"], described["source"]) == (None, {}, None)


def test_a_load_under_way_is_described():
    """How far it is, what it has reserved, who waits and holds a lease; who waits for memory counts those ahead."""
    scene = Scene(backend("a", 12), backend("b", 12), backend("c", 12))
    scene.want("a1", "b1", "c1", "a2")
    scene.residency.progress("a", 4.0, 0.25)
    scene.at(5)
    described = told(scene)
    assert (described["state"], described["share"], described["seconds"]) == ("loading", 0.25, 15.0)
    assert (described["reserved"], described["source"]) == ({"gpu0": 12 * G}, "told")
    assert (described["waiting"], described["in_flight"], described["leased"]) == (2, 0, 1)
    assert (described["idle"], described["expires"]) == (None, None)
    assert (told(scene, "c")["state"], told(scene, "c")["seconds"]) == ("queued", 10 + 12)


def test_one_that_is_loaded_tells_how_long_it_stays():
    """Counted from now while it is used, from its last use when it is idle; None: it stays."""
    scene = Scene(backend("a", unload_after=30.0), backend("b"), backend("p", 1, pinned=True, unload_after=30.0))
    scene.want("a1")
    scene.at(10).loaded("a")
    scene.at(15)
    assert (told(scene)["in_flight"], told(scene)["idle"], told(scene)["expires"]) == (1, None, 30.0)
    scene.at(20).end("a1")
    scene.at(24)
    assert (told(scene)["seconds"], told(scene)["idle"], told(scene)["expires"]) == (0.0, 4.0, 26.0)
    scene.at(60)
    assert told(scene)["expires"] == 0.0
    scene.serve("b1")
    scene.serve("p1")
    assert (told(scene, "b")["expires"], told(scene, "p")["expires"], told(scene, "p")["pinned"]) == (None, None, True)


def test_a_failure_is_told_until_a_load_succeeds():
    """Its reason, how many in a row, and when it is tried again."""
    scene = Scene("a")
    scene.want("a1")
    scene.failed("a", "its file is damaged")
    scene.exited("a")
    scene.at(2)
    assert told(scene)["failure"] == {"reason": "its file is damaged", "count": 1, "retry_in": 3.0}
    assert told(scene)["state"] == "failed"
    scene.at(10).want("a2")
    failure = told(scene)["failure"]
    assert isinstance(failure, dict)
    assert failure["retry_in"] == 0.0
    scene.loaded("a")
    assert told(scene)["failure"] is None
