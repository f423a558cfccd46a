"""What is remembered of a choice: the figures that were compared, and why others could not take the request."""

import pytest

from router.core.admission import Bounds, Cap
from router.core.affinity import Prefixes
from router.core.aside import Kind
from router.core.balance import policy_of
from router.core.catalog import DIRECT, Backend, Candidate, Way
from router.core.decision import MOST_KEPT, Decision, figures, summary
from router.core.dispatch import Dispatcher
from router.core.estimate.ask import Ask
from router.core.health import Health, Verdict, declared
from router.core.ledger import Ledger

ASK = Ask(100)


@pytest.fixture
def dispatcher() -> Dispatcher[str]:
    made = Dispatcher[str](Ledger(), lambda _: 0)
    made.set_up("least_in_flight", Bounds(), affinity=True)
    return made


def backend(name, **known) -> Candidate:
    return Candidate(Backend(name, {"m": "m"}, **({"health": declared(up=True)} | known)), "m")


def chosen(dispatcher, *tiers, tried=(), ask=ASK) -> Decision:
    assert dispatcher.choose(Way(tiers, DIRECT), tried, ask, 10.0) is not None
    decision = dispatcher.decision
    assert isinstance(decision, Decision)
    return decision


def told(decision, taken) -> list[tuple[object, object]]:
    return [(each["backend"], each["passed_over"]) for each in figures(decision, taken)]


def test_one_candidate_leaves_nothing_to_tell(dispatcher):
    """Nor does a choice that finds nobody, after one that has."""
    assert chosen(dispatcher, (backend("a"), backend("b"))).others == ()
    assert dispatcher.choose(Way(((backend("a"),),), DIRECT), (), ASK, 0.0) is not None
    assert dispatcher.decision is None
    chosen(dispatcher, (backend("a"), backend("b")))
    full = backend("a", cap=Cap(1), in_flight=1)
    assert dispatcher.choose(Way(((full, full),), DIRECT), (), ASK, 0.0) is None
    assert dispatcher.decision is None


def test_figures_are_those_of_the_moment(dispatcher):
    """The scores, and what was in flight: whatever comes later."""
    busy, free = backend("busy", in_flight=3), backend("free")
    decision = chosen(dispatcher, (busy, free))
    free.backend.in_flight = 7
    assert figures(decision, "free") == [
        {
            "backend": "busy",
            "tier": 0,
            "policy": "least_in_flight",
            "passed_over": "3 in flight, and another has 0 in flight",
            "in_flight": 3,
            "score": 3.0,
            "cached": 0,
        },
        {
            "backend": "free",
            "tier": 0,
            "policy": "least_in_flight",
            "passed_over": "",
            "in_flight": 0,
            "score": 0.0,
            "cached": 0,
        },
    ]
    assert summary(decision, "free") == "least_in_flight: 0 in flight; next is busy with 3 in flight"


def test_those_that_could_not_take_it(dispatcher):
    """Each with its reason, which is that of the moment; models of the route that come later aren't told."""
    down = backend("down", health=Health(Verdict.DOWN, reason="refused"))
    full, tried, drained = backend("full", cap=Cap(1), in_flight=1), backend("tried"), backend("drained")
    leaving, refuses, takes = backend("leaving"), backend("refuses"), backend("takes")
    ledger = dispatcher.ledger
    ledger.hold({drained.backend: "ops"})
    ledger.drain(leaving.backend)
    ledger.aside.put(Kind(refuses.backend), 10.0)
    decision = chosen(
        dispatcher,
        (down,),
        (full, tried, drained, takes, leaving, refuses),
        (backend("later"),),
        tried=(tried,),
    )
    down.backend.health = declared(up=True)
    assert told(decision, "takes") == [
        ("takes", ""),
        ("down", "down: refused"),
        ("full", "it has no room"),
        ("tried", "it was tried before"),
        ("drained", "it is drained by ops"),
        ("leaving", "it makes room for other models"),
        ("refuses", "it has just refused such a request"),
    ]
    assert [each["tier"] for each in figures(decision, "takes")] == [1, 0, 1, 1, 1, 1, 1]
    assert summary(decision, "takes") == "the only one that could take it"
    two = chosen(dispatcher, (backend("down", health=Health(Verdict.DOWN, reason="x")), backend("a"), backend("b")))
    assert told(two, "a") == [("a", ""), ("b", "as good"), ("down", "down: x")]
    assert summary(two, "a") == "least_in_flight: 0 in flight, as good as b"


def test_the_least_bad(dispatcher):
    """Where all look bad, one of those is taken, and the others are told with their health."""
    bad, worse = Health(Verdict.DOWN, reason="timed out"), declared(up=False, reason="is gone")
    decision = chosen(dispatcher, (backend("a", health=worse), backend("b", health=bad)))
    assert told(decision, "b") == [("b", ""), ("a", "down: is gone")]
    assert dispatcher.choose(Way(((backend("a", health=worse),),), DIRECT), (), ASK, 0.0) is None


def test_equals_are_told_as_such(dispatcher):
    """Some of them by name."""
    decision = chosen(dispatcher, tuple(backend(name) for name in "abcdef"))
    assert summary(decision, "a") == "least_in_flight: 0 in flight, as good as b, c, d and 2 more"


@pytest.mark.parametrize("policy", ["least_latency", "least_in_flight"])
def test_of_many_some_are_kept(dispatcher, policy):
    """The one that is taken is one of them, wherever it stands; those that couldn't take it are bounded, too."""
    dispatcher.set_up(policy, Bounds(), affinity=True)
    able = [backend(f"b{place}", in_flight=1) for place in range(300)]
    able[200].backend.in_flight = 0
    bad = tuple(backend(f"x{place}", health=Health(Verdict.DOWN)) for place in range(100))
    decision = chosen(dispatcher, (*bad, *able))
    assert len(decision.candidates) + len(decision.others) + decision.left_out == 400
    assert len(decision.candidates) <= MOST_KEPT
    assert len(decision.others) == MOST_KEPT
    assert [name for name, why in told(decision, "b200") if not why] == ["b200"]
    few = policy_of(policy)
    few.pick(able[:MOST_KEPT], ASK, 10.0, lambda _: 0)
    assert few.decision is not None
    assert (len(few.decision.candidates), few.decision.left_out) == (MOST_KEPT, 0)


def test_what_was_in_the_caches():
    """Bytes of the prompt that each has probably read before."""
    prefixes, blocks = Prefixes(), (1 << 32 | 7, 2 << 32 | 8)
    one, other = backend("one"), backend("other")
    prefixes.note(other.backend, "m", blocks, 10.0)
    policy = policy_of("least_latency", prefixes)
    assert policy.pick([one, other], Ask(5000, blocks), 10.0, lambda _: 0) is other
    assert policy.decision is not None
    cached = {each["backend"]: each["cached"] for each in figures(policy.decision, "other")}
    assert (cached["one"], cached["other"]) == (0, prefixes.cached(other.backend, "m", blocks))
    assert cached["other"] != 0


def test_one_that_was_compared_with_none():
    """Its own score is all there is to tell."""
    only = backend("a")
    assert (
        summary(Decision("least_in_flight", (only,), (2.0,), 2.0, " in flight"), "a") == "least_in_flight: 2 in flight"
    )
