"""The plane does what a change of a backend's state asks for: no sockets, the loop for its clock alone."""

from math import inf

import pytest

from router.core.catalog import Backend, Candidate, Catalog
from router.core.estimate.ask import Ask
from router.core.health import WELL, Thresholds, Verdict
from router.proxy.dialling import Address
from router.proxy.plane import Balancing, ExchangeLimits, Plane

TOO_SMALL = 8
"""Offers of too little room until a backend is kept for the one who waits."""


@pytest.fixture
async def plane() -> Plane:
    return Plane(ExchangeLimits(), Thresholds(unhealthy_after=1), Balancing(), draw=lambda _: 0)


def backend_of(plane: Plane, **known) -> Backend:
    """Give a backend that has joined, is well, and is kept for one who waits."""
    backend = Backend("b", {"m": "m"}, **({"health": WELL} | known))
    plane.add(backend)
    admission = plane.dispatcher.admission
    admission.enter("m", object(), "a key", 0, 1000, 0.0)  # type: ignore[arg-type]  # it leaves before it could go
    for _ in range(TOO_SMALL):
        assert admission.take("b", {"m"}, 10.0, 0.0, lambda _: True) is None
    assert admission.keeps("b")
    return backend


def is_kept(plane: Plane) -> bool:
    """Tell whether the backend is still kept, and have the one who waits leave."""
    admission = plane.dispatcher.admission
    kept = admission.keeps("b")
    for ticket in admission.order("m"):
        admission.leave(ticket)
    return kept


@pytest.mark.parametrize(
    "take_out",
    [
        lambda plane, backend: plane.retire(backend, "was removed"),
        lambda plane, backend: plane.withdraw(backend, "its process has ended"),
        lambda plane, backend: plane.revive(Catalog([backend], {}).resolve("m")),
        lambda plane, backend: plane.vanished(backend, None),
        lambda plane, backend: plane.failed(backend, "reset"),
        lambda plane, backend: plane.refused(backend, 503, None),
        lambda plane, backend: plane.stalled(backend, "stalled"),
        lambda plane, backend: plane.disproved(Candidate(backend, "m"), Ask(10), 500, None),
    ],
    ids=["retire", "withdraw", "revive", "vanished", "failed", "refused", "stalled", "disproved"],
)
async def test_whatever_takes_a_backend_out_frees_the_room_kept_there(plane, take_out):
    """Else the one who waits for it would wait for a backend that is gone, while others have room."""
    plane._on_want = lambda _: True
    backend = backend_of(plane, supervised=True)
    take_out(plane, backend)
    assert backend.health.verdict is Verdict.DOWN
    assert not is_kept(plane)


async def test_a_failure_that_takes_nobody_out_keeps_the_room(plane):
    """It still serves the one who waits."""
    plane.ledger.thresholds = Thresholds(unhealthy_after=3)
    doubted: list[Backend] = []
    plane.on_doubt = doubted.append
    backend = backend_of(plane)
    candidate, ask = Candidate(backend, "m"), Ask(10)
    plane.failed(backend, "reset", plane.ledger.began(candidate, ask, 0.0))
    assert (backend.health.verdict, doubted) == (Verdict.SUSPECT, [backend])
    assert is_kept(plane)


async def test_a_retired_backend_leaves_its_name_to_its_successor(plane):
    """The order of the two doesn't matter."""
    old, new = Backend("b"), Backend("b")
    plane.add(old)
    plane.add(new)
    plane.retire(old, "was replaced")
    assert plane.backends == {"b": new}
    plane.retire(new, "was removed")
    assert plane.backends == {}


async def test_who_asks_for_a_model_that_was_just_told_is_not_refused(plane):
    """The catalog has it some milliseconds later: until then its name is as unknown as before it was told."""
    backend = Backend("b")
    plane.add(backend, discovers=True)
    plane.learn_models(backend, {"m": "m"})
    assert plane.may_learn(plane.loop.time())
    plane.directory.rebuild()
    assert not plane.may_learn(plane.loop.time())
    assert plane.catalog.resolve("m").tiers


async def test_settings_reach_each_part(plane):
    """Live: the parts are told, and the sweep is as often as the shortest limit needs."""
    limits = ExchangeLimits(idle_timeout=3.0, connect_timeout=1.5, stall_after=20.0)
    plane.set_up(limits, Thresholds(trial=7), Balancing(retry_share=0.5, hedge_after=2.0))
    assert (plane.connections.connect_timeout, plane.stalls.stall_after) == (1.5, 20.0)
    assert plane.sweeping.every == pytest.approx(0.3)
    assert (plane.ledger.thresholds.trial, plane.ledger.budget.share, plane.hedges) == (7, 0.5, True)
    plane.set_up(ExchangeLimits(), Thresholds(), Balancing())
    assert (plane.stalls.stall_after, plane.sweeping.every, plane.hedges) == (inf, 1.0, False)


async def test_a_key_that_an_engine_has_none_of_is_not_the_routers_own(plane):
    """A refusal of a key is judged by whose it was."""
    open_to_all, keyed = Backend("a", {"m": "m"}), Backend("b", {"m": "m"})
    for backend, key in ((open_to_all, ""), (keyed, "secret")):
        plane.add(backend)
        plane.serve(backend, Address("127.0.0.1", 1), key)
    assert (plane.api_key(open_to_all), plane.api_key(keyed)) == (None, "secret")


async def test_of_a_dropped_backend_nothing_is_kept(plane):
    """Neither its address nor its key."""
    backend = Backend("b", {"m": "m"})
    plane.add(backend, Address("127.0.0.1", 1), "secret")
    assert plane.pool(backend) is not None
    plane.retire(backend, "was removed")
    assert plane.pool(backend) is not None
    assert plane.drop(backend, "was removed") == 0
    assert (plane.pool(backend), plane.api_key(backend)) == (None, None)
