import pytest

from router.core import retry
from router.core.admission import Bounds, Cap
from router.core.aside import Kind
from router.core.catalog import DIRECT, Backend, Candidate, Route, Way
from router.core.dispatch import Dispatcher
from router.core.estimate.ask import Ask
from router.core.health import Health, Thresholds, Verdict, declared
from router.core.ledger import Ledger

ASK = Ask(100)
DOWN = Health(Verdict.DOWN, reason="refused")
ABSENT = declared(up=False, reason="starting")


def lowest(_: int) -> int:
    return 0


@pytest.fixture
def dispatcher() -> Dispatcher[str]:
    """Give one that sends where least is in flight."""
    made = Dispatcher[str](Ledger(), lowest)
    made.ledger.thresholds = Thresholds(trial=2, slow_start=30)
    made.set_up("least_in_flight", Bounds(), affinity=True)
    return made


def backend(name, **known) -> Candidate:
    return Candidate(Backend(name, {"m": "m"}, **({"health": declared(up=True)} | known)), "m")


def way(*tiers, **route) -> Way:
    return Way(tiers, Route(("m",), **route) if route else DIRECT)


def test_the_first_tier_that_has_room(dispatcher):
    """Who is down, tried or full is passed over, and so is a tier of nobody else."""
    down, full, tried, free = (backend(name) for name in "abcd")
    down.backend.health = DOWN
    full.backend.cap, full.backend.in_flight = Cap(1), 1
    tiers = way((down, full, tried), (free,))
    assert dispatcher.choose(tiers, (tried,), ASK, 0.0) is free
    assert dispatcher.choose(tiers, (), ASK, 0.0) is tried
    assert dispatcher.choose(tiers, (tried,), ASK, 0.0, full=True) is full


def test_nobody_has_room(dispatcher):
    """Then it waits, as it may; where nobody is there, there is nothing to wait for."""
    full, absent = backend("a", cap=Cap(1), in_flight=1), backend("b", health=ABSENT)
    assert dispatcher.choose(way((full, absent)), (), ASK, 0.0) is None
    assert dispatcher.may_wait(way((full, absent)))
    assert dispatcher.choose(way((absent,)), (), ASK, 0.0) is None
    assert not dispatcher.may_wait(way((absent,)))
    assert dispatcher.choose(way(), (), ASK, 0.0) is None
    assert not dispatcher.may_wait(way())


def test_who_is_about_to_be_there_is_waited_for(dispatcher):
    """Nothing is sent there yet."""
    starting, absent = backend("a", health=declared(up=False, coming=True)), backend("b", health=ABSENT)
    assert dispatcher.choose(way((starting, absent)), (), ASK, 0.0, full=True) is None
    assert dispatcher.may_wait(way((absent,), (starting,)))
    assert dispatcher.awaits(way((absent,), (starting,)))
    assert not dispatcher.awaits(way((absent, backend("c"), backend("d", health=DOWN))))
    assert dispatcher.awaits(way((backend("d", health=DOWN, supervised=True),)))


def test_bytes_are_room_too(dispatcher):
    """An idle backend takes any request; beside others one that fits."""
    small = backend("a", cap=Cap(size=150))
    assert dispatcher.choose(way((small,)), (), Ask(1000), 0.0) is small
    small.backend.in_flight, small.backend.size = 1, 100
    assert dispatcher.choose(way((small,)), (), Ask(51), 0.0) is None
    assert dispatcher.choose(way((small,)), (), Ask(50), 0.0) is small


def test_the_least_bad_where_all_are_bad(dispatcher):
    """Up to a trial's requests; one that is known to be gone is not tried."""
    down, absent = backend("a", health=DOWN), backend("b", health=ABSENT)
    assert dispatcher.choose(way((down, absent)), (), ASK, 0.0) is down
    assert dispatcher.choose(way((down, absent)), (down,), ASK, 0.0) is None
    down.backend.in_flight = 2
    assert dispatcher.choose(way((down, absent)), (), ASK, 0.0) is None
    assert dispatcher.choose(way((down, absent)), (), ASK, 0.0, full=True) is down


def test_nobody_bad_while_another_is_well(dispatcher):
    """A retry doesn't go to who is known to be down, while the one that was tried still looks well."""
    well, down = backend("a"), backend("b", health=DOWN)
    assert dispatcher.choose(way((well, down)), (well,), ASK, 0.0, full=True) is None


def test_on_trial_it_gets_few(dispatcher):
    """Whatever its cap."""
    trial = backend("a", health=Health(Verdict.PROBING), in_flight=1)
    assert dispatcher.choose(way((trial,)), (), ASK, 0.0) is trial
    trial.backend.in_flight = 2
    assert dispatcher.choose(way((trial,)), (), ASK, 0.0) is None


def test_back_again_it_carries_a_part_of_its_weight(dispatcher):
    """More of it with time; so others get more until then."""
    back, well = backend("back", in_flight=1), backend("well", in_flight=3)
    back.backend.health = Health(Verdict.UP, since=100.0)
    assert dispatcher.choose(way((back, well)), (), ASK, 103.0) is well
    assert dispatcher.choose(way((back, well)), (), ASK, 120.0) is back


def test_a_routes_own_policy(dispatcher):
    """Goes over the router's; each is made once."""
    a, b = backend("a", in_flight=5), backend("b", in_flight=1)
    assert dispatcher.choose(way((a, b)), (), ASK, 0.0) is b
    turns = way((a, b), policy="round_robin")
    assert [dispatcher.choose(turns, (), ASK, 0.0) for _ in range(4)] == [a, b, a, b]


def test_who_waits_goes_where_there_is_room(dispatcher):
    """If it may go there; a backend that is kept for one is nobody else's."""
    a = backend("a", cap=Cap(1, 150))
    dispatcher.admission.enter("m", "mine", "", 0, 100, 0.0)
    assert dispatcher.next_for(a.backend, 1.0, lambda _: False) is None
    a.backend.in_flight = 1
    assert dispatcher.next_for(a.backend, 1.0, lambda _: True) is None
    a.backend.in_flight = 0
    ticket = dispatcher.next_for(a.backend, 1.0, lambda _: True)
    assert ticket is not None
    assert ticket.payload == "mine"


def test_who_waits_is_not_sent_to_who_is_gone(dispatcher):
    """Nor to who looks bad, while there is another to wait for."""
    absent, down, full = backend("a", health=ABSENT), backend("b", health=DOWN), backend("c", cap=Cap(1), in_flight=1)
    dispatcher.admission.enter("m", "mine", "", 0, 100, 0.0)
    assert dispatcher.next_for(absent.backend, 1.0, lambda _: True) is None
    assert dispatcher.candidate_for(way((down, full)), down.backend, ASK, 0.0) is None
    assert dispatcher.candidate_for(way((absent,), (down,)), down.backend, ASK, 0.0) is down
    assert dispatcher.candidate_for(way((down, full)), full.backend, ASK, 0.0) is full
    assert dispatcher.candidate_for(way((full,)), down.backend, ASK, 0.0) is None
    assert dispatcher.next_for(down.backend, 1.0, lambda _: True) is not None


def test_who_has_refused_such_a_request_is_passed_over(dispatcher):
    """Where another could take it, waited for or not; else it is asked again."""
    refuses, other = backend("a"), backend("b", in_flight=5)
    dispatcher.ledger.aside.put(Kind(refuses.backend), 10.0)
    both = way((refuses, other))
    assert dispatcher.choose(both, (), ASK, 10.5) is other
    assert dispatcher.choose(both, (other,), ASK, 10.5) is refuses
    assert dispatcher.choose(both, (), ASK, 11.5) is refuses
    told = {each["backend"]: each["passed_over"] for each in dispatcher.explain(both, ASK, 10.5)}
    assert told == {"a": "it has just refused such a request", "b": ""}
    assert dispatcher.candidate_for(both, refuses.backend, ASK, 10.5) is None
    assert dispatcher.candidate_for(both, refuses.backend, ASK, 11.5) is refuses
    assert dispatcher.candidate_for(both, other.backend, ASK, 10.5) is other
    assert dispatcher.candidate_for(way((refuses,)), refuses.backend, ASK, 10.5) is refuses


def test_a_backend_that_is_kept(dispatcher):
    """One request is too large for what is free again and again: it gets the backend to itself."""
    a = backend("a", cap=Cap(9, 150), in_flight=1, size=100)
    dispatcher.admission.enter("m", "large", "", 0, 120, 0.0)
    for _ in range(20):
        assert dispatcher.next_for(a.backend, 1.0, lambda _: True) is None
    assert dispatcher.choose(way((a,)), (), Ask(1), 0.0) is None
    assert dispatcher.choose(way((a,)), (), Ask(1), 0.0, full=True) is a


def test_explain(dispatcher):
    """Each candidate is there with its figures, or with the reason why it has none; one would be taken."""
    busy, free = backend("busy", in_flight=3), backend("free")
    down, full, later = backend("down", health=DOWN), backend("full", cap=Cap(1), in_flight=1), backend("later")
    told = {
        str(each["backend"]): each for each in dispatcher.explain(way((busy, free, down, full), (later,)), ASK, 0.0)
    }
    assert told["free"]["passed_over"] == ""
    assert told["busy"]["passed_over"] == "3 in flight, and another has 0 in flight"
    assert told["down"]["passed_over"] == "down: refused"
    assert told["full"]["passed_over"] == "it has no room"
    assert told["later"]["passed_over"] == "an earlier model of the route can take it"
    assert {each["policy"] for each in told.values()} == {"least_in_flight"}
    assert [told[name]["tier"] for name in ("free", "down", "later")] == [0, 0, 1]
    assert [each["passed_over"] for each in dispatcher.explain(way((full,)), ASK, 0.0)] == ["it has no room"]


def test_the_pace_of_those_under_way(dispatcher):
    """Of two that take 2 s and 4 s for each, and have four and two in flight, one ends each 0.4 s."""
    one, other, new = (backend(name, in_flight=number) for name, number in (("a", 4), ("b", 2), ("c", 9)))
    assert dispatcher.pace(way((one, other))) == 0.0
    for each, takes in ((one, 2.0), (other, 4.0)):
        sent = each.backend.estimate.sent(ASK, 0, 0.0)
        each.backend.estimate.first_token(sent, takes / 4)
        each.backend.estimate.ended(sent, takes)
    assert dispatcher.pace(way((one,), (other, new))) == pytest.approx(0.4)


# Backends that load and unload by themselves


def loadable(name, **known) -> Candidate:
    return backend(name, resident=name, **known)


UNLOADED = declared(up=False, reason="is not loaded", coming=True)


def test_one_that_drains_takes_nothing_new(dispatcher):
    """Neither a request, nor a retry beyond its cap; others do, and where there are none it is waited for."""
    drains, other = loadable("a"), loadable("b")
    dispatcher.ledger.drain(drains.backend)
    for full in (False, True):
        assert dispatcher.choose(way((drains, other)), (), ASK, 0.0, full=full) is other
        assert dispatcher.choose(way((drains,)), (), ASK, 0.0, full=full) is None
    assert retry.second(way((other, drains)), (other,), ASK, dispatcher, 0.0) is None  # no hedge, either
    assert dispatcher.may_wait(way((drains,)))
    assert dispatcher.awaits(way((drains,)))
    assert not dispatcher.serves(drains.backend)
    (told,) = dispatcher.explain(way((drains,)), ASK, 0.0)
    assert told["passed_over"] == "it makes room for other models"
    dispatcher.ledger.resume(drains.backend)
    assert dispatcher.choose(way((drains,)), (), ASK, 0.0) is drains
    assert not dispatcher.awaits(way((drains,)))
    assert dispatcher.serves(drains.backend)


def test_who_is_held_gets_nobody_who_waits(dispatcher):
    """Not even where it is alone: they wait until it is let go."""
    held = backend("a")
    dispatcher.ledger.hold({held.backend: "ops"})
    assert dispatcher.choose(way((held,)), (), ASK, 0.0) is None
    assert dispatcher.may_wait(way((held,)))
    assert [each["passed_over"] for each in dispatcher.explain(way((held,)), ASK, 0.0)] == ["it is drained by ops"]
    dispatcher.admission.enter("m", "mine", "", 0, 100, 0.0)
    assert dispatcher.next_for(held.backend, 0.0, lambda _: True) is None
    dispatcher.ledger.hold({})
    assert dispatcher.choose(way((held,)), (), ASK, 0.0) is held


def test_who_is_held_is_not_tried_though_nothing_looks_better(dispatcher):
    """Another one that looks bad, too, is."""
    held, bad = backend("a", health=DOWN), backend("b", health=DOWN)
    dispatcher.ledger.hold({held.backend: "ops"})
    assert dispatcher.choose(way((held,)), (), ASK, 0.0) is None
    assert dispatcher.choose(way((held, bad)), (), ASK, 0.0) is bad


def test_a_model_that_can_be_loaded_is_surer_than_a_backend_that_looks_bad(dispatcher):
    """So a request waits for it. Where it isn't known to load, the bad one is tried, as ever."""
    bad, unloaded = backend("a", health=DOWN), loadable("b", health=UNLOADED)
    assert dispatcher.choose(way((bad, unloaded))._replace(loads=True), (), ASK, 0.0) is None
    told = [each["passed_over"] for each in dispatcher.explain(way((bad, unloaded)), ASK, 0.0)]
    assert told == ["down: refused", "is not loaded"]
    assert dispatcher.choose(way((bad,))._replace(loads=True), (), ASK, 0.0) is bad
    starts = backend("b", health=UNLOADED)
    assert dispatcher.choose(way((bad, starts)), (), ASK, 0.0) is bad


def test_while_others_wait_memory_says_who_may_go_where(dispatcher):
    """To a backend that loads and unloads: a new request as one that waits. To others they go as ever."""
    asked: list[str] = []

    def may_go(backend: Backend) -> bool:
        asked.append(backend.name)
        return False

    mine, theirs = loadable("a"), backend("b")
    assert dispatcher.next_for(mine.backend, 0.0, lambda _: True) is None
    dispatcher.may_go = may_go
    assert dispatcher.choose(way((mine,)), (), ASK, 0.0) is mine
    assert asked == []
    dispatcher.admission.enter("m", "first", "", 0, 10, 0.0)
    assert dispatcher.choose(way((mine,)), (), ASK, 0.0) is None
    assert dispatcher.choose(way((mine, theirs)), (), ASK, 0.0) is theirs
    assert dispatcher.next_for(mine.backend, 0.0, lambda _: True) is None
    dispatcher.may_go = lambda _: True
    assert dispatcher.choose(way((mine,)), (), ASK, 0.0) is mine
    assert dispatcher.next_for(mine.backend, 0.0, lambda _: True).payload == "first"


def test_the_queues_of_other_models_are_looked_at_now_and_then(dispatcher):
    """For each end of an attempt it would be too much: there may be hundreds that aren't loaded."""
    other = Candidate(Backend("b", {"other": "other"}, health=declared(up=True)), "other")
    dispatcher.admission.enter("m", "first", "", 0, 10, 0.0)
    assert dispatcher.next_for(other.backend, 0.0, lambda _: True, everybody=False) is None
    assert dispatcher.next_for(other.backend, 0.0, lambda _: True).payload == "first"


def test_of_those_that_may_be_waited_for_some_do_not_count(dispatcher):
    a, b = backend("a"), loadable("b", health=UNLOADED)
    assert dispatcher.may_wait(way((a,), (b,)), (a.backend,))
    assert not dispatcher.may_wait(way((a,), (b,)), (a.backend, b.backend))


# A peer's model that has yet to be loaded there


def test_a_load_elsewhere_counts(dispatcher):
    """One that serves gets the request; where all that serve are full, it waits if an end comes before the load."""
    busy, peer = backend("a", cap=Cap(1)), backend("b")
    dispatcher.set_up("least_latency", Bounds(), affinity=True)
    dispatcher.ledger.loads(peer.backend, 20.0, 0.0)
    there = way((peer, busy))
    assert dispatcher.choose(there, (), ASK, 0.0) is busy
    busy.backend.in_flight, busy.backend.estimate.hold = 1, 5.0
    assert dispatcher.choose(there, (), ASK, 0.0) is None
    assert dispatcher.candidate_for(there, peer.backend, ASK, 0.0) is None
    busy.backend.estimate.sent(ASK, 0, 10.0)
    assert dispatcher.candidate_for(there, peer.backend, ASK, 29.0) is None
    assert dispatcher.candidate_for(there, peer.backend, ASK, 31.0) is peer
    busy.backend.estimate.hold = 30.0
    assert dispatcher.choose(there, (), ASK, 0.0) is peer
    assert dispatcher.candidate_for(there, peer.backend, ASK, 0.0) is peer
    assert dispatcher.choose(way((peer,)), (), ASK, 0.0) is peer


def test_who_waits_already_counts(dispatcher):
    """The load is worth it once enough requests wait for the one that serves."""
    busy, peer = backend("a", cap=Cap(1), in_flight=1), backend("b")
    busy.backend.estimate.hold = 5.0
    dispatcher.ledger.loads(peer.backend, 8.0, 0.0)
    assert dispatcher.candidate_for(way((busy, peer)), peer.backend, ASK, 0.0) is None
    dispatcher.admission.enter("m", "r", "", 0, 1, 0.0)
    assert dispatcher.candidate_for(way((busy, peer)), peer.backend, ASK, 0.0) is peer


def test_a_load_here_that_is_sooner(dispatcher):
    """The request waits for it, and not for the peer's; one that is being loaded there has less left."""
    here, peer = loadable("a", health=UNLOADED), backend("b")
    dispatcher.ledger.loads(peer.backend, 20.0, 0.0, runs=True)
    there = way((here, peer))._replace(loads=True)
    assert dispatcher.choose(there, (), ASK, 5.0) is peer
    dispatcher.loads_in = lambda _: 10.0
    assert dispatcher.choose(there, (), ASK, 5.0) is None
    assert dispatcher.choose(there, (), ASK, 15.0) is peer
    dispatcher.ledger.loads(peer.backend, 0.0, 16.0)
    assert dispatcher.choose(there, (), ASK, 16.0) is peer
    assert not dispatcher.ledger.unloaded
