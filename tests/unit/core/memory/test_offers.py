"""Who may be sent when: offers, leases, and attempts that begin wherever the caller's queue sends them."""

from collections.abc import Sequence
from math import inf

import pytest

from router.core.memory.actions import Action, Cancel, Drain, Load, Offer, Refuse, Resume, Unload
from router.core.memory.devices import Device
from router.core.memory.residency import Residency
from router.core.memory.resident import LEASE_TIMEOUT, Loadable, Policy
from router.core.memory.states import State
from tests.fakes.memory_scene import G, backend


def residency_of(*loadables: Loadable, policy: Policy | None = None) -> Residency:
    """One GPU of 20 GiB, and as much RAM."""
    made = Residency([Device("gpu0", 20 * G), Device("ram", 20 * G)], policy)
    for each in loadables:
        made.add(each, 0.0)
    return made


def kinds(actions: Sequence[Action]) -> list[tuple[type, str]]:
    """Give what each action is, and for which backend."""
    return [(type(each), each.backend) for each in actions if hasattr(each, "backend")]


def loaded(residency: Residency, name: str, now: float, *requests: str) -> None:
    """Load a backend for these requests, which wait until it is loaded, and longer."""
    for each in requests:
        residency.wanted(each, name, now)
    residency.loaded(name, now)


@pytest.fixture
def draining() -> Residency:
    """Of two that don't fit together, a drains: it has one in flight and three leases; b waits for memory."""
    made = residency_of(backend("a", 12, slots=8), backend("b", 12), policy=Policy(max_wait=1.0))
    made.load("b", -100.0)
    made.loaded("b", -100.0)
    loaded(made, "a", 0.0, "a1", "a2", "a3", "a4")
    made.exited("b", 0.0)
    made.loaded("a", 0.0)
    made.sent("s1", "a", 0.0, waiting="a1")
    made.wanted("b1", "b", 0.0)
    assert kinds(made.tick(100.0)) == [(Drain, "a"), (Offer, "a")]
    return made


# ------------------------------------------------------------------- offers


def test_all_that_wait_are_offered_once_when_it_is_loaded():
    """One offer, however many wait; each that is sent keeps it loaded, and nothing follows from it."""
    residency = residency_of(backend("a"))
    assert kinds(residency.wanted("a1", "a", 0.0)) == [(Load, "a")]
    assert residency.wanted("a2", "a", 0.0) == ()
    assert not residency.may_go("a")
    assert kinds(residency.loaded("a", 10.0)) == [(Offer, "a")]
    assert residency.may_go("a")
    assert residency.sent("s1", "a", 10.0, waiting="a1") == ()
    assert residency.sent("s2", "a", 10.0, waiting="a2") == ()
    assert residency.place("a1", 10.0) is None
    assert residency.ended("s1", 11.0) == ()
    assert residency.ended("s2", 11.0) == ()


def test_who_waits_for_a_loaded_backend_is_offered_at_once():
    """And again when one has ended there, until it has gone."""
    residency = residency_of(backend("a"))
    loaded(residency, "a", 0.0)
    residency.load("a", 0.0)
    residency.loaded("a", 0.0)
    residency.sent("s1", "a", 0.0)
    assert kinds(residency.wanted("a1", "a", 1.0)) == [(Offer, "a")]
    assert kinds(residency.ended("s1", 2.0)) == [(Offer, "a")]
    assert residency.sent("s2", "a", 2.0, waiting="a1") == ()
    assert residency.ended("s2", 3.0) == ()


def test_a_backend_that_opens_is_offered_though_nobody_waits_for_it():
    """Those who may go there may wait for another one: when it is loaded, and when nobody needs memory any more."""
    residency = residency_of(backend("a", 12, slots=1), backend("b", 12))
    residency.load("a", 0.0)
    assert kinds(residency.loaded("a", 0.0)) == [(Offer, "a")]
    residency.sent("s1", "a", 0.0)
    assert residency.may_go("a")
    assert residency.wanted("b1", "b", 0.0) == ()
    assert not residency.may_go("a")
    assert kinds(residency.ended("b1", 1.0)) == [(Offer, "a")]
    assert residency.tick(2.0) == ()


def test_one_that_is_loaded_again_is_offered_again():
    """Though nobody waits for it, and it was offered when it was loaded before."""
    residency = residency_of(backend("a"))
    for now in (0.0, 100.0):
        residency.load("a", now)
        assert kinds(residency.loaded("a", now)) == [(Offer, "a")]
        residency.unload("a", now)
        residency.exited("a", now)


def test_who_waits_is_offered_again_whenever_one_has_ended():
    """Also where others are still in flight, and nobody waits for memory."""
    residency = residency_of(backend("a"))
    residency.load("a", 0.0)
    residency.loaded("a", 0.0)
    residency.sent("s1", "a", 0.0)
    residency.sent("s2", "a", 0.0)
    residency.wanted("a1", "a", 0.0)
    assert kinds(residency.ended("s1", 1.0)) == [(Offer, "a")]


def test_a_slot_that_comes_free_is_offered_to_those_who_wait_elsewhere():
    """While others wait for memory, a backend is closed when all its slots are taken, and opens with each end."""
    residency = residency_of(backend("a", 12, slots=2), backend("b", 12))
    residency.load("a", 0.0)
    residency.loaded("a", 0.0)
    residency.sent("s1", "a", 0.0)
    residency.sent("s2", "a", 0.0)
    residency.wanted("b1", "b", 0.0)
    assert not residency.may_go("a")
    assert kinds(residency.ended("s1", 1.0)) == [(Offer, "a")]


def test_while_others_wait_for_memory_as_many_may_go_as_are_served_at_once():
    """One that ends lets another go, and only then."""
    residency = residency_of(backend("a", 12, slots=2), backend("b", 12))
    loaded(residency, "a", 0.0, "a1", "a2", "a3")
    residency.wanted("b1", "b", 0.0)
    residency.sent("s1", "a", 0.0, waiting="a1")
    assert residency.may_go("a")
    residency.sent("s2", "a", 0.0, waiting="a2")
    assert not residency.may_go("a")
    assert residency.wanted("a4", "a", 0.0) == ()
    assert kinds(residency.ended("s1", 1.0)) == [(Offer, "a")]


def test_a_backend_that_goes_on_is_offered():
    """What waited while it drained may go when its memory isn't needed after all."""
    residency = residency_of(backend("a", 12), backend("b", 12), policy=Policy(max_wait=1.0))
    loaded(residency, "a", 0.0, "a1")
    residency.sent("s1", "a", 0.0, waiting="a1")
    residency.wanted("b1", "b", 0.0)
    assert kinds(residency.tick(100.0)) == [(Drain, "a")]
    assert not residency.may_go("a")
    assert residency.wanted("a2", "a", 100.0) == ()
    assert kinds(residency.ended("b1", 100.0)) == [(Resume, "a"), (Offer, "a")]
    assert residency.may_go("a")


def test_one_that_is_waited_for_keeps_its_turn_with_a_single_slot():
    """Between two requests nothing is in flight there, but somebody waits: it isn't idle."""
    residency = residency_of(backend("a", 12, slots=1), backend("b", 12))
    loaded(residency, "a", 0.0, "a1")
    residency.sent("s1", "a", 0.0, waiting="a1")
    residency.wanted("b1", "b", 0.0)
    residency.wanted("a2", "a", 0.0)
    assert kinds(residency.ended("s1", 1.0)) == [(Offer, "a")]
    assert residency.state("a") is State.LOADED


# ------------------------------------------------------------------- leases


def test_whoever_goes_takes_a_lease_while_it_drains(draining):
    """Those who caused the load and those who came later or wait elsewhere alike; then nobody may go."""
    draining.wanted("a5", "a", 100.0)
    draining.sent("s2", "a", 100.0, waiting="a5")
    draining.sent("s3", "a", 100.0, waiting="b1")
    draining.wanted("b2", "b", 100.0)
    assert draining.may_go("a")
    draining.sent("s4", "a", 100.0)
    assert not draining.may_go("a")
    assert kinds(draining.wanted("a6", "a", 100.0)) == []
    for each in ("s1", "s2", "s3"):
        assert kinds(draining.ended(each, 101.0)) == []
    assert kinds(draining.ended("s4", 101.0)) == [(Unload, "a")]
    assert draining.place("a2", 101.0) is not None


def test_a_lease_ends_with_the_one_who_holds_it(draining):
    """Whether it left, or was sent elsewhere: nobody else may go in its place."""
    assert draining.ended("a2", 101.0) == [Offer("a")]
    assert draining.sent("s2", "elsewhere", 101.0, waiting="a3") == [Offer("a")]
    assert draining.may_go("a")
    draining.ended("s1", 101.0)
    assert kinds(draining.ended("a4", 101.0)) == [(Unload, "a")]


def test_a_lease_on_another_backend_is_none_here(draining):
    """Whoever waits for that one and is sent here takes a lease here."""
    draining.add(backend("c", {"ram": 4}), 100.0)
    draining.wanted("c1", "c", 100.0)
    assert list(draining.residents()["c"].leases) == ["c1"]
    draining.sent("s2", "a", 100.0, waiting="c1")
    assert len(draining.residents()["a"].leases) == 2


def test_who_holds_a_lease_goes_with_it(draining):
    """It takes none of another's."""
    for number in (2, 3, 4):
        assert draining.may_go("a")
        draining.sent(f"s{number}", "a", 100.0, waiting=f"a{number}")
    assert not draining.may_go("a")


def test_leases_that_nobody_uses_lapse(draining):
    """Where nothing is in flight for some seconds, those who hold them can't be sent there: the drain goes on."""
    draining.ended("s1", 101.0)
    assert draining.wake(102.0) == 101.0 + 5.0 + 1.0
    draining.tick(107.0)
    assert draining.state("a") is State.DRAINING
    assert draining.wake(107.0) == 101.0 + LEASE_TIMEOUT
    assert kinds(draining.tick(101.0 + LEASE_TIMEOUT)) == [(Unload, "a")]
    assert kinds(draining.exited("a", 120.0)) == [(Load, "b")]
    assert draining.state("a") is State.QUEUED


def test_who_waits_when_it_is_loaded_holds_a_lease_if_nobody_does():
    """Those who caused the load have left, others wait for it: it isn't evicted before it has served any."""
    residency = residency_of(backend("a", 12), backend("b", 12), policy=Policy(max_wait=1.0))
    residency.wanted("a1", "a", 0.0)
    residency.wanted("b1", "b", 0.0)
    residency.wanted("a2", "a", 1.0)
    residency.ended("a1", 2.0)
    assert kinds(residency.loaded("a", 10.0)) == [(Drain, "a"), (Offer, "a")]


# ----------------------------------------------------------------- attempts


def test_an_attempt_of_one_that_never_waited_counts():
    """It keeps the backend loaded until it has ended, and says how long the backend is kept."""
    residency = residency_of(backend("a", unload_after=30.0))
    residency.load("a", 0.0)
    residency.loaded("a", 0.0)
    residency.sent("s1", "a", 20.0)
    residency.sent("s2", "a", 20.0, keep_alive=0)
    assert residency.tick(500.0) == ()
    assert residency.ended("s1", 500.0) == ()
    assert kinds(residency.ended("s2", 500.0)) == [(Unload, "a")]


@pytest.mark.parametrize("told", [None, 60.0])
def test_one_that_waited_says_how_long_its_backend_is_kept(told):
    """`keep_alive` of its wait, or of the attempt."""
    residency = residency_of(backend("a"))
    residency.wanted("a1", "a", 0.0, keep_alive=7.0)
    residency.loaded("a", 10.0)
    residency.sent("s1", "a", 10.0, waiting="a1", keep_alive=told)
    residency.ended("s1", 20.0)
    assert residency.wake(20.0) == 20.0 + (told or 7.0)


def test_one_that_is_served_elsewhere_waits_no_longer():
    """What loads for it is cancelled, what waits for memory for it waits no more; nothing was served there."""
    residency = residency_of(backend("a", 12, load_seconds=100.0), backend("b", 12), backend("c", 4))
    residency.load("c", 0.0)
    residency.loaded("c", 0.0)
    residency.wanted("a1", "a", 0.0)
    residency.wanted("b1", "b", 0.0)
    assert residency.sent("s1", "c", 1.0, waiting="b1") == ()
    assert residency.state("b") is State.UNLOADED
    assert kinds(residency.sent("s2", "a URL", 1.0, waiting="a1")) == [(Cancel, "a")]
    assert not residency.residents()["a"].costs.service.is_measured
    assert residency.ended("s2", 2.0) == ()
    assert list(residency.residents()["c"].in_flight) == ["s1"]


def test_an_attempt_at_what_drains_or_loads_delays_its_end():
    """It is a fact, whether it was allowed or not."""
    residency = residency_of(backend("a", 12), backend("b", 12), policy=Policy(max_wait=1.0))
    loaded(residency, "a", 0.0, "a1")
    residency.sent("s1", "a", 0.0, waiting="a1")
    residency.wanted("b1", "b", 0.0)
    residency.tick(100.0)
    assert not residency.may_go("a")
    assert residency.sent("late", "a", 100.0) == ()
    assert residency.ended("s1", 101.0) == ()
    assert kinds(residency.ended("late", 102.0)) == [(Unload, "a")]
    residency.exited("a", 103.0)
    assert residency.sent("early", "b", 103.0, waiting="b1") == ()
    assert residency.unload("b", 104.0) == ()
    assert kinds(residency.loaded("b", 110.0)) == [(Drain, "b")]
    assert kinds(residency.ended("early", 111.0)) == [(Unload, "b")]


def test_an_attempt_that_an_engine_can_not_serve_is_not_counted():
    """One that is not loaded, ends, or isn't known: the attempt fails with it, and what follows goes on."""
    residency = residency_of(backend("a"))
    assert residency.sent("s1", "a", 0.0) == ()
    assert residency.sent("s2", "x", 0.0) == ()
    assert not residency.may_go("x")
    loaded(residency, "a", 0.0, "a1")
    assert kinds(residency.ended("a1", 1.0)) == []
    assert kinds(residency.unload("a", 2.0)) == [(Unload, "a")]
    assert residency.sent("s3", "a", 3.0) == ()
    assert residency.ended("s3", 4.0) == ()
    assert not residency.residents()["a"].in_flight
    residency.wanted("a2", "a", 4.0)
    residency.sent("s4", "a", 4.0, waiting="a2")
    assert residency.exited("a", 5.0) == ()
    assert residency.state("a") is State.UNLOADED


def test_what_is_in_flight_ends_with_a_load_that_fails():
    """An attempt at an engine that loaded and then didn't."""
    residency = residency_of(backend("a"))
    residency.wanted("a1", "a", 0.0)
    residency.sent("s1", "a", 1.0)
    assert kinds(residency.failed("a", "broken", 2.0)) == [(Refuse, "a"), (Cancel, "a")]
    assert not residency.residents()["a"].in_flight
    assert residency.ended("s1", 3.0) == ()


def test_an_attempt_that_never_waited_ends_a_gap():
    """How long a backend was unused is learned from those who never waited, too."""
    residency = residency_of(backend("a"))
    residency.load("a", 0.0)
    residency.loaded("a", 0.0)
    before = residency.residents()["a"].gaps.chance(0.0, 2.0)
    for number in range(20):
        residency.sent(number, "a", 2.0 * number)
        residency.ended(number, 2.0 * number + 1.0)
    assert residency.residents()["a"].gaps.chance(0.0, 2.0) > before
    assert residency.wake(100.0) == inf


def test_one_that_waited_elsewhere_ends_a_gap_where_it_is_sent():
    """That backend was wanted, too."""
    residency = residency_of(backend("a", 12), backend("b", 4))
    residency.load("b", 0.0)
    residency.loaded("b", 0.0)
    before = residency.residents()["b"].gaps.chance(0.0, 2.0)
    for number in range(20):
        residency.wanted(number, "a", 2.0 * number)
        residency.sent(f"s{number}", "b", 2.0 * number, waiting=number)
        residency.ended(f"s{number}", 2.0 * number + 1.0)
    assert residency.residents()["b"].gaps.chance(0.0, 2.0) > before


def test_a_request_that_waits_unregistered_is_sent_as_if_it_had_not_waited():
    """The caller's queue may hold requests that only wait for room."""
    residency = residency_of(backend("a"))
    residency.load("a", 0.0)
    residency.loaded("a", 0.0)
    assert residency.sent("s1", "a", 1.0, waiting="never registered", keep_alive=9.0) == ()
    residency.ended("s1", 2.0)
    assert residency.wake(2.0) == 11.0
