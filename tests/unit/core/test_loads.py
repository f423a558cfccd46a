from math import inf

import pytest

from router.core import loads
from router.core.admission import Bounds
from router.core.catalog import DIRECT, Backend, Candidate, Catalog, Way
from router.core.dispatch import Dispatcher
from router.core.estimate.ask import Ask
from router.core.health import WELL, Health, Verdict, declared
from router.core.ledger import Ledger
from router.core.memory.resident import Place
from router.core.memory.states import State

ASK = Ask(100)
UNLOADED = declared(up=False, reason="is not loaded", coming=True)


@pytest.fixture
def dispatcher() -> Dispatcher[str]:
    made = Dispatcher[str](Ledger(), lambda _: 0)
    made.set_up("least_latency", Bounds(), affinity=True)
    return made


def unloaded(name: str) -> Candidate:
    return Candidate(Backend(name, {"m": "m"}, resident=name, health=UNLOADED), "m")


def loaded(name: str) -> Candidate:
    return Candidate(Backend(name, {"m": "m"}, resident=name, health=WELL), "m")


def url(name: str, health: Health = WELL) -> Candidate:
    return Candidate(Backend(name, {"m": "m"}, health=health), "m")


def slow(candidate: Candidate, seconds: float) -> Candidate:
    """Have it take so many seconds until a first token."""
    estimate = candidate.backend.estimate
    sent = estimate.sent(ASK, 0, 0.0)
    estimate.first_token(sent, seconds)
    estimate.ended(sent, seconds)
    return candidate


def way(*tiers: tuple[Candidate, ...]) -> Way:
    return Way(tiers, DIRECT, chooses=True, loads=True)


def name_of(backend: Backend | None) -> str | None:
    return None if backend is None else backend.name


def where(dispatcher, tiers, against=(), **seconds: float) -> str | None:
    """Tell where a request waits; each backend takes so many seconds to load, 10 if nothing is said."""
    found = loads.where(way(*tiers), against, ASK, dispatcher, lambda each: seconds.get(each.name, 10.0), 100.0)
    return name_of(found)


def beside(dispatcher, tiers, chosen, wait, **seconds: float) -> str | None:
    found = loads.beside(way(*tiers), chosen, wait, dispatcher, lambda each: seconds.get(each.name, 10.0))
    return name_of(found)


def test_where_none_serves_the_soonest_of_the_first_model_that_can_be_loaded(dispatcher):
    """By the time until it is loaded, and then until its first token."""
    a, b, c = unloaded("a"), unloaded("b"), unloaded("c")
    assert where(dispatcher, ((a, b), (c,)), a=10, b=9, c=1) == "b"
    assert where(dispatcher, ((slow(a, 3.0), slow(b, 8.0)), (c,)), a=10, b=9, c=1) == "a"
    assert where(dispatcher, ((url("u", UNLOADED),), (c,))) == "c"


def test_who_can_not_be_loaded_is_not_asked(dispatcher):
    """Nor who has refused it already, nor who is out for good; then the next model is."""
    a, b, c = unloaded("a"), unloaded("b"), unloaded("c")
    removed = Candidate(Backend("r", resident="r", health=declared(up=False, reason="was removed")), "m")
    assert where(dispatcher, ((a, b), (c,)), (a.backend,), a=1) == "b"
    assert where(dispatcher, ((a, b), (c,)), (a.backend, b.backend)) == "c"
    assert where(dispatcher, ((removed,),)) is None
    assert where(dispatcher, ((a,),), (a.backend,)) is None


def test_where_any_serves_but_is_full_its_demand_is_told(dispatcher):
    """And nothing is loaded because of it here: of the loaded ones, the soonest; of URLs, memory knows nothing."""
    a, b, c = unloaded("a"), loaded("b"), loaded("c")
    assert where(dispatcher, ((a, url("u")), (c,)), a=0, c=0) == "c"
    assert where(dispatcher, ((a, slow(b, 9.0), slow(c, 1.0)),), a=0, b=0, c=0) == "c"
    assert where(dispatcher, ((a,), (url("u"),))) is None


def test_one_that_has_failed_a_request_serves_it_no_more(dispatcher):
    """Then another model is loaded for it, though others are served there."""
    gone = url("u")
    assert where(dispatcher, ((gone,), (unloaded("a"),)), (gone.backend,)) == "a"


def test_one_that_drains_does_not_serve(dispatcher):
    """It is loaded again in its turn, or another is first."""
    a, b = loaded("a"), unloaded("b")
    dispatcher.ledger.drain(a.backend)
    assert where(dispatcher, ((a, b),), a=30, b=10) == "b"
    assert where(dispatcher, ((a, b),), a=10, b=30) == "a"
    dispatcher.ledger.resume(a.backend)
    assert where(dispatcher, ((a, b),), a=30, b=10) == "a"


def test_one_that_is_held_is_not_loaded(dispatcher):
    """Nobody goes there until it is let go; another may be loaded."""
    a, b = unloaded("a"), unloaded("b")
    dispatcher.ledger.hold({a.backend: "ops"})
    assert where(dispatcher, ((a,),), a=10) is None
    assert where(dispatcher, ((a, b),), a=10, b=30) == "b"
    assert beside(dispatcher, ((a, loaded("c")),), None, 99.0) is None
    dispatcher.ledger.hold({})
    assert where(dispatcher, ((a, b),), a=10, b=30) == "a"


def test_a_peer_that_has_yet_to_load_it_does_not_serve(dispatcher):
    """It takes requests, but one that would be sent sooner by a load here has that."""
    here, there = unloaded("a"), url("b")
    dispatcher.ledger.loads(there.backend, 20.0, 100.0)
    assert where(dispatcher, [(here, there)], a=5) == "a"
    dispatcher.ledger.loads(there.backend, 0.0, 100.0)
    assert where(dispatcher, [(here, there)], a=5) is None


def test_one_that_looks_bad_is_tried_by_those_who_wait_there(dispatcher):
    """It is loaded: its requests keep it so."""
    a = Candidate(Backend("a", resident="a", health=Health(Verdict.DOWN, reason="answered 503")), "m")
    assert where(dispatcher, ((a,),), a=0) == "a"


def test_another_is_loaded_beside_where_that_is_sooner(dispatcher):
    """Of the same model, than the first token without it; the soonest."""
    a, b, c = loaded("a"), unloaded("b"), unloaded("c")
    assert beside(dispatcher, ((a, b, c),), a.backend, 9.0) is None
    assert beside(dispatcher, ((a, b, c),), a.backend, 11.0) == "b"
    assert beside(dispatcher, ((a, b, c),), a.backend, 11.0, b=20) == "c"
    assert beside(dispatcher, ((a, b, c),), None, 11.0, b=20) == "c"
    assert beside(dispatcher, ((a, b, c),), a.backend, inf, b=inf, c=inf) is None
    assert beside(dispatcher, ((a,),), a.backend, inf) is None
    assert beside(dispatcher, ((b, c),), None, inf) is None  # one is loaded as the request waits for it


def test_a_preferred_model_is_loaded_beside_whatever_it_takes(dispatcher):
    """If memory is free for it; a later one only for those who wait for longer than that takes."""
    a, b, c = unloaded("a"), url("b"), unloaded("c")
    assert beside(dispatcher, ((a,), (b,)), b.backend, 0.1) == "a"
    assert beside(dispatcher, ((a,), (b,)), b.backend, 0.1, a=inf) is None
    assert beside(dispatcher, ((b,), (c,)), b.backend, 99.0) is None
    assert beside(dispatcher, ((b,), (c,)), None, 99.0) == "c"
    assert beside(dispatcher, ((b,), (c,)), None, 9.0) is None


def test_whether_another_can_be_loaded():
    a, b = unloaded("a"), url("b")
    assert loads.has_another(way((a,), (b,)), (b,), ())
    assert not loads.has_another(way((a,), (b,)), (a,), ())
    assert not loads.has_another(way((a,), (b,)), (b,), {a.backend: "ops"})
    assert not loads.has_another(way((loaded("c"), b)), (), ())


def test_a_way_knows_whether_it_loads():
    backends = [unloaded("a").backend, Backend("b", {"other": "other"})]
    catalog = Catalog(backends, {})
    assert catalog.resolve("m").loads
    assert not catalog.resolve("other").loads


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (Place(State.LOADING, 3, 0, 0.452, 12.4), "loading qwen: 45%, about 12 s"),
        (Place(State.LOADING, 3, 0, 0.0, 1.0), "loading qwen, about 1 s"),
        (Place(State.LOADING, 3, 0, 0.9, 0.0), "loading qwen: 90%"),
        (Place(State.QUEUED, 0, 1, 0.0, 40.0), "qwen waits for memory behind 1 other model, about 40 s"),
        (Place(State.QUEUED, 0, 2, 0.0, 40.0), "qwen waits for memory behind 2 other models, about 40 s"),
        (Place(State.QUEUED, 0, 0, 0.0, 40.0), "qwen waits for memory, about 40 s"),
        (
            Place(State.DRAINING, 0, 0, 0.0, 9.0),
            "qwen makes room for other models and is loaded again in its turn, about 9 s",
        ),
    ],
)
def test_what_clients_are_told(place, said):
    assert loads.comment("qwen", place) == said.encode()


def test_what_is_told_of_a_load():
    place = Place(State.LOADING, 3, 0, 0.4521, 12.44, "'qwen' is loading.")
    assert loads.described("qwen", place) == {
        "backend": "qwen",
        "stage": "loading",
        "share": 0.452,
        "seconds": 12.4,
        "reason": "'qwen' is loading.",
    }
