# ruff: noqa: S311  (random numbers that repeat, not secrets)
from collections import Counter
from random import Random

import pytest

from router.core.affinity import Prefixes, blocks_of
from router.core.balance import POLICIES, least_in_flight, policy_of
from router.core.catalog import Backend, Candidate
from router.core.estimate.ask import Ask
from router.core.estimate.estimate import Estimate
from router.core.health import declared


def candidates(*loads, weights=None):
    weights = weights or [1.0] * len(loads)
    return [
        Candidate(Backend(str(i), {}, weight=weight, in_flight=load), "m")
        for i, (load, weight) in enumerate(zip(loads, weights, strict=True))
    ]


def never(_: int) -> int:
    raise AssertionError("nothing to draw")


def test_one_candidate_is_not_drawn():
    """With no choice there is no chance."""
    (only,) = candidates(7)
    assert least_in_flight([only], never) is only


def test_the_least_loaded_is_taken():
    """Fewest in flight wins."""
    three = candidates(3, 1, 2)
    assert least_in_flight(three, lambda n: n - 1) is three[1]


def test_weight_counts():
    """Three in flight on four times the weight is less than one."""
    two = candidates(1, 3, weights=[1.0, 4.0])
    assert least_in_flight(two, lambda _: 0) is two[1]


def test_ties_are_drawn_among_the_equal():
    """Every one of the equals can be taken, and none of the others."""
    four = candidates(0, 1, 0, 0)
    draws = iter(range(3))
    taken = [least_in_flight(four, lambda _: next(draws)).backend.name for _ in range(3)]
    assert taken == ["0", "2", "3"]


# The policies

ASK = Ask(1000)


def well(name, takes=0.1, hold=0.0, weight=1.0, now=100.0, slots=None):
    """A backend that has answered forty prompts of 1000 bytes, each in so many seconds."""
    backend = Backend(name, weight=weight, estimate=Estimate(slots))
    for number in range(40):
        send(backend, now - (40 - number) * (takes + hold + 0.1), takes, hold)
    return backend


def send(backend, now, takes=None, hold=None, size=1000):
    """Send it a request; one that isn't answered stays in flight, and one that isn't ended too."""
    sent = backend.estimate.sent(Ask(size), 0, now)
    backend.in_flight += 1
    if takes is not None:
        backend.estimate.first_token(sent, now + takes)
    if takes is not None and hold is not None:
        backend.estimate.ended(sent, now + takes + hold)
        backend.in_flight -= 1
    return sent


def among(*backends):
    return [Candidate(backend, "m") for backend in backends]


def shares(policy, candidates, picks=1000, ask=ASK, now=100.0):
    random = Random(1)
    return Counter(policy.pick(candidates, ask, now, random.randrange).backend.name for _ in range(picks))


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_takes_one_of_its_candidates_and_explains_it(name):
    """Whatever it goes by: those not passed over are those that it may take, and explaining changes nothing."""
    three = among(well("a"), well("b", 0.5, 3.0), well("c"))
    send(three[2].backend, 100.0)
    policy = policy_of(name)
    assert policy.name == name
    for _ in range(3):
        figures = policy.explain(three, ASK, 100.0)
        assert figures == policy.explain(three, ASK, 100.0)
        open_to = {each.backend for each in figures if not each.passed_over}
        assert policy.pick(three, ASK, 100.0, lambda n: n - 1).backend.name in open_to
        assert [each.backend for each in figures] == ["a", "b", "c"]
        for each in figures:
            assert each.expected == pytest.approx(each.queue + each.reading + each.cost)


def test_one_candidate_costs_no_thought():
    """Of one there is no choice, and no draw."""
    (only,) = among(well("a"))
    assert policy_of("least_latency").pick([only], ASK, 100.0, never) is only


def test_random_takes_all_alike_and_weighted_by_weight():
    """Three times the weight, three times the requests."""
    two = among(well("a"), well("b", weight=3.0))
    assert shares(policy_of("random"), two)["b"] == pytest.approx(500, abs=60)
    assert shares(policy_of("weighted"), two)["b"] == pytest.approx(750, abs=60)
    assert policy_of("weighted").pick(two, ASK, 0.0, lambda n: n - 1) is two[1]


def test_round_robin_takes_turns_whoever_joins_or_leaves():
    """Each in its turn; one that joins isn't made up for what it missed."""
    policy, four = policy_of("round_robin"), among(*(Backend(name) for name in "abcd"))
    first = [policy.pick(four[:3], ASK, 0.0, lambda _: 0).backend.name for _ in range(6)]
    assert first == ["a", "b", "c", "a", "b", "c"]
    then = [policy.pick(four, ASK, 0.0, lambda _: 0).backend.name for _ in range(5)]
    assert then == ["d", "a", "b", "c", "d"]
    assert policy.pick(four[2:], ASK, 0.0, never).backend.name == "c"


def test_least_response_time_counts_what_is_in_flight_and_weight():
    """The faster one, until its load makes up for it."""
    two = among(well("slow", 0.3), well("fast", 0.1))
    policy = policy_of("least_response_time")
    assert policy.pick(two, ASK, 100.0, never).backend.name == "fast"
    for _ in range(3):
        send(two[1].backend, 100.0)
    assert policy.pick(two, ASK, 100.0, never).backend.name == "slow"


def test_least_in_flight_explains_who_has_more():
    """With the figures that it goes by."""
    idle, busy = policy_of("least_in_flight").explain(candidates(0, 2), ASK, 0.0)
    assert (idle.passed_over, busy.passed_over) == ("", "2 in flight, and another has 0 in flight")


def test_the_one_expected_soonest_is_taken():
    """A fast backend gets several requests before a slow one gets the next."""
    fast, slow = well("fast", 0.1), well("slow", 0.45)
    policy, taken = policy_of("least_latency"), []
    for _ in range(6):
        chosen = policy.pick(among(slow, fast), ASK, 100.0, Random(1).randrange).backend
        send(chosen, 100.0)
        taken.append(chosen.name)
    assert taken == ["fast", "fast", "fast", "slow", "fast", "fast"]


def test_those_that_are_as_good_share():
    """A difference within what is measured decides nothing: the load does, and chance."""
    two = among(well("a", 0.1), well("b", 0.115))
    assert shares(policy_of("least_latency"), two)["b"] == pytest.approx(500, abs=60)
    send(two[0].backend, 100.0, 0.1)
    assert policy_of("least_latency").pick(two, ASK, 100.1, lambda _: 0).backend.name == "b"


def test_one_request_after_the_other_goes_to_each_of_those_that_answer_at_once():
    """Few measurements of so short a time show chance; where it isn't short, or a cache helps, the figures count."""
    policy = policy_of("least_latency")
    slower, faster = well("slower", 0.015), well("faster", 0.005)
    assert shares(policy, among(slower, faster))["slower"] == pytest.approx(500, abs=60)
    assert shares(policy, among(well("slower", 0.045), well("faster", 0.015))) == {"faster": 1000}
    prefixes = Prefixes()
    ask = chat(20_000, faster, prefixes)
    assert shares(policy_of("least_latency", prefixes), among(slower, faster), ask=ask) == {"faster": 1000}
    send(faster, 100.0)
    assert shares(policy_of("least_latency", prefixes), among(slower, faster), ask=ask) == {"faster": 1000}


def test_a_backend_that_answers_503_at_once_gets_nothing_more_for_a_while():
    """It is the fastest of all, and not taken for it."""
    bad, good = well("bad", 0.01), well("good", 0.5)
    bad.estimate.failed(bad.estimate.sent(ASK, 0, 100.0), 100.001)
    policy = policy_of("least_latency")
    assert shares(policy, among(bad, good), now=100.1) == {"good": 1000}
    figures = policy.explain(among(bad, good), ASK, 100.1)
    assert figures[0].cost > 0.9
    assert figures[0].passed_over.endswith("s")


def test_of_backends_that_nothing_is_known_of_weight_decides():
    """A hint of capacity counts until something is measured; then what is measured does."""
    new = [Backend("small"), Backend("big", weight=4.0)]
    for _ in range(10):
        send(policy_of("least_latency").pick(among(*new), ASK, 0.0, Random(1).randrange).backend, 0.0)
    assert new[1].in_flight > 2 * new[0].in_flight > 0
    measured = among(well("small"), well("big", weight=4.0))
    assert shares(policy_of("least_latency"), measured)["small"] == pytest.approx(500, abs=60)


def test_a_new_backend_is_tried_but_not_flooded():
    """Beside one that is slow and busy, it gets a request, and the next ones gently."""
    old, new = well("old", 1.0), Backend("new")
    for _ in range(40):
        send(policy_of("least_latency").pick(among(old, new), ASK, 100.0, Random(1).randrange).backend, 100.0)
    assert 1 <= new.in_flight <= 25


def test_one_that_hangs_holds_up_no_more_than_it_has():
    """Once its answer is overdue, all goes to the others; when it comes to itself it gets load again."""
    hung, good = well("hung"), well("good")
    stuck = send(hung, 100.0)
    assert shares(policy_of("least_latency"), among(hung, good), now=100.5) == {"good": 1000}
    hung.estimate.first_token(stuck, 102.0)
    hung.estimate.ended(stuck, 102.0)
    hung.in_flight -= 1
    send(good, 102.0)
    assert shares(policy_of("least_latency"), among(hung, good), now=102.0) == {"hung": 1000}


def test_an_idle_backend_is_looked_at_again():
    """One that was slow once is tried when its measurements are old."""
    slow, busy = well("slow", 0.8), well("busy", 0.2)
    policy, now = policy_of("least_latency"), 100.0
    while policy.pick(among(slow, busy), ASK, now, Random(1).randrange).backend is busy:
        send(busy, now, 0.2, 0.0)
        now += 1
        assert now < 1000
    assert now > 150


def test_two_routers_dont_herd():
    """Each with its own view of the same: what they send spreads, though neither sees the other's."""
    names, counts = "abcd", Counter[str]()
    for router in range(2):
        backends = [well(name, 0.1 + 0.001 * place) for place, name in enumerate(names)]
        random = Random(router)
        for _ in range(8):
            chosen = policy_of("least_latency").pick(among(*backends), ASK, 100.0, random.randrange).backend
            send(chosen, 100.0)
            counts[chosen.name] += 1
    assert counts == dict.fromkeys(names, 4)


# With prefixes


def chat(size, backend, prefixes):
    """A prompt that a backend has had before, as blocks."""
    body = b'{"messages":"' + Random(1).randbytes(size).hex().encode()[:size] + b'"}'
    prefixes.note(backend, "m", blocks_of(body), 100.0)
    return Ask(len(body), blocks_of(body))


def reads(name, slots=None, speed=1e-4):
    """A backend that reads at so many seconds a byte."""
    backend = Backend(name, estimate=Estimate(slots))
    for number in range(40):
        size = 1000 + number % 5 * 10_000
        send(backend, number * 10.0 - 400, size * speed, 0.0, size)
    return backend


def test_a_conversation_goes_back_to_who_has_it_until_waiting_costs_more():
    """Its cached bytes are worth the seconds that reading them would take; a queue longer than that isn't worth it."""
    prefixes, holder, other = Prefixes(), reads("holder"), reads("other")
    ask, policy = chat(20_000, holder, prefixes), policy_of("least_latency", prefixes)
    assert policy.pick(among(other, holder), ask, 100.0, never).backend is holder
    send(holder, 100.0, size=10_000)
    assert policy.pick(among(other, holder), ask, 100.0, never).backend is holder
    figures = {each.backend: each for each in policy.explain(among(other, holder), ask, 100.0)}
    assert figures["holder"].cached > 18_000
    assert figures["other"].cached == 0
    send(holder, 100.0, size=30_000)
    assert policy.pick(among(other, holder), ask, 100.0, never).backend is other


def test_where_all_read_fast_a_conversation_stays():
    """Though its cache hardly makes a difference; but not where more is in flight."""
    prefixes, holder, other = Prefixes(), reads("holder", speed=1e-9), reads("other", speed=1e-9)
    ask, policy = chat(3_000, holder, prefixes), policy_of("least_latency", prefixes)
    assert policy.pick(among(other, holder), ask, 100.0, never).backend is holder
    holder.in_flight += 1
    assert policy.pick(among(other, holder), ask, 100.0, lambda _: 0).backend is other


def test_where_slots_are_short_a_conversation_stays():
    """What is read twice is paid for by those that come after, and where little is free, many do."""
    slots = 10
    idle = [reads(name, slots) for name in ("holder", "other")]
    busy = [reads(name, slots) for name in ("holder", "other")]
    for backend in busy:
        for _ in range(slots - 1):
            send(backend, 100.0, takes=0.0)
    for pair, stays in ((idle, False), (busy, True)):
        prefixes = Prefixes()
        ask, policy = chat(20_000, pair[0], prefixes), policy_of("least_latency", prefixes)
        send(pair[0], 100.0, size=35_000)
        assert (policy.pick(among(*pair), ask, 100.0, never).backend is pair[0]) is stays


def test_a_prefix_that_all_share_makes_no_hot_spot():
    """With everybody's prompt at one backend the others get their part all the same, and then have it too."""
    prefixes, backends = Prefixes(), [reads(name) for name in "abcd"]
    ask, policy = chat(20_000, backends[0], prefixes), policy_of("least_latency", prefixes)
    for number in range(400):
        now = 100.0 + number / 100
        chosen = policy.pick(among(*backends), ask, now, Random(number).randrange).backend
        prefixes.note(chosen, "m", ask.blocks, now)
        backend_cached = prefixes.cached(chosen, "m", ask.blocks)
        chosen.estimate.sent(ask, backend_cached, now)
        chosen.in_flight += 1
    assert min(backend.in_flight for backend in backends) > 5


def test_a_prompt_longer_than_any_before_is_not_read_again_for_a_short_queue():
    """A guess beyond what was measured lets nobody off what it costs to read what another has."""
    prefixes, holder, other = Prefixes(), reads("holder"), reads("other")
    ask, policy = chat(200_000, holder, prefixes), policy_of("least_latency", prefixes)
    for _ in range(3):
        send(holder, 100.0, size=40_000)
    assert policy.pick(among(other, holder), ask, 100.0, never).backend is holder


def test_what_a_backend_has_that_is_out_is_no_reason_for_another():
    """Nobody can be sent there, so nothing is lost by reading it again: the others' queues alone decide."""
    prefixes, gone, other = Prefixes(), reads("gone"), reads("other")
    ask, policy = chat(20_000, gone, prefixes), policy_of("least_latency", prefixes)
    (before,) = policy.explain(among(other), ask, 100.0)
    gone.health = declared(up=False)
    (after,) = policy.explain(among(other), ask, 100.0)
    assert before.score > after.score == after.expected


def test_prefixes_are_of_a_model_as_the_backend_knows_it():
    """Candidates that know the model by another name share nothing with each other."""
    prefixes, one, two = Prefixes(), reads("one"), reads("two")
    ask = chat(20_000, one, prefixes)
    prefixes.note(two, "other", ask.blocks, 100.0)
    mixed = [Candidate(one, "m"), Candidate(two, "other"), Candidate(two, "third")]
    figures = policy_of("least_latency", prefixes).explain(mixed, ask, 100.0)
    assert [each.cached > 0 for each in figures] == [True, True, False]
    assert [each.score < 1 for each in figures] == [True, True, False]
    assert policy_of("least_latency").pick(mixed, ask, 100.0, lambda n: n - 1) is mixed[2]
