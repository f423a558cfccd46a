import json
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from math import inf, isclose
from random import Random
from statistics import fmean
from typing import Any

import pytest

from router.core.affinity import Prefixes
from router.core.catalog import Backend, Candidate
from router.core.estimate.ask import Ask
from router.core.health import Verdict
from scripts import simulate
from scripts.balance.simulation.cache import Cache, Foreseen, LastPrompts
from scripts.balance.simulation.choosing import AFFINITY, ORACLE, POLICIES, Affinity, Oracle
from scripts.balance.simulation.engine import ModelEngine, Outage, Spec
from scripts.balance.simulation.figures import Key, RunFigures, figures_of, ordered, summary, tables
from scripts.balance.simulation.readers import engine_of
from scripts.balance.simulation.scenarios import SCENARIOS
from scripts.balance.simulation.scenarios import simulate as simulate_scenario
from scripts.balance.simulation.traffic import ANSWERS, PROMPTS, Job, Writer, arrivals, chats, popular, singles
from scripts.balance.simulation.world import World

PLAIN = Spec(parallel=3, reading=1000.0, writing=10.0, slowing=0.5, chunk=100, cache=0)


def job(number, prompt=100, answer=10, path=None):
    path = path or ((-number - 1, prompt),)
    prompt = sum(tokens for _, tokens in path)
    return Job(number, Ask(prompt * 4), prompt, answer, path, (*path, (1_000_000 + number, answer)))


def work(engine, offers, until=inf):
    """Run an engine on jobs offered at their moments. Gives when each began and ended."""
    began: dict[int, float] = {}
    ended: dict[int, float] = {}
    offers = sorted(offers, key=lambda offer: offer[0])
    while True:
        due = offers[0][0] if offers else inf
        if min(due, engine.wake) >= until or min(due, engine.wake) == inf:
            return began, ended
        if due <= engine.wake:
            at, each = offers.pop(0)
            engine.offer(each, at)
            continue
        at = engine.wake
        begun, over = engine.advance()
        began.update((each.number, at) for each in begun)
        ended.update((each.number, at) for each in over)


def step_by_step(spec, offers):
    """The same engine without a cache, one step after the other, as its docstring says it."""
    began: dict[int, float] = {}
    ended: dict[int, float] = {}
    offers = sorted(offers, key=lambda offer: offer[0])
    waiting: list[Job] = []
    reading: Any = []
    writing: Any = {}
    now = 0.0
    while offers or waiting or reading or writing:
        if not (waiting or reading or writing):
            now = max(now, offers[0][0])
        while offers and offers[0][0] <= now:
            waiting.append(offers.pop(0)[1])
        while waiting and len(reading) + len(writing) < spec.parallel:
            reading.append([waiting[0], waiting.pop(0).prompt])
        budget, lasts, streams = spec.chunk, spec.step(len(writing)), list(writing)
        for each in reading:
            part = min(budget, each[1])
            each[1] -= part
            budget -= part
        now += lasts + (spec.chunk - budget) / spec.reading
        for each in streams:
            writing[each] -= 1
        for each in [each for each, left in reading if not left]:
            began[each.number] = now
            writing[each] = each.answer - 1
        reading = [each for each in reading if each[1]]
        for each in [each for each, left in writing.items() if not left]:
            ended[each.number] = now
            del writing[each]
    return began, ended


# The engine


@pytest.mark.parametrize("parallel", [1, 3, 32])
@pytest.mark.parametrize("seed", range(5))
def test_an_engine_does_what_its_steps_would_do_one_by_one(parallel, seed):
    """Runs of steps that are alike, done at once, come to the same moments as every step by itself."""
    random = Random(seed)
    spec = Spec(parallel=parallel, reading=1000.0, writing=10.0, slowing=0.5, chunk=100, cache=0)
    offers = [
        (random.uniform(0, 60), job(number, random.choice([7, 60, 350]), random.randint(1, 30))) for number in range(60)
    ]
    for found, expected in zip(work(ModelEngine(spec), offers), step_by_step(spec, offers), strict=True):
        assert found.keys() == expected.keys()
        assert all(isclose(found[number], expected[number], rel_tol=1e-9) for number in found)


def test_a_serial_engine_does_one_after_the_other():
    """With room for one, the second is read when the first has been answered."""
    spec = Spec(parallel=1, reading=100.0, writing=10.0)
    began, ended = work(ModelEngine(spec), [(0.0, job(0, 100, 11)), (0.0, job(1, 100, 11))])
    assert (began[0], ended[0]) == (1.0, 2.0)
    assert (began[1], ended[1]) == (3.0, 4.0)


def test_a_prompt_that_was_read_before_is_not_read_again():
    """Its prefix comes from the cache once it has been read, and the engine says how much of it."""
    engine, seen = ModelEngine(Spec(parallel=1, reading=100.0, writing=1000.0)), []
    engine.on_read = lambda each, cached: seen.append((each.number, cached))
    shared = (77, 100)
    began, _ = work(engine, [(0.0, job(0, path=(shared, (78, 50)))), (10.0, job(1, path=(shared, (79, 20))))])
    assert began == {0: 1.5, 1: pytest.approx(10.2)}
    assert seen == [(0, 0), (1, 100)]


@pytest.mark.parametrize("at", [0.05, 0.55, 1.45, 1.51])
def test_a_stall_adds_its_own_time_and_no_more(at):
    """What was under way goes on where it stopped."""
    plain = work(ModelEngine(PLAIN), [(0.0, job(0, 350)), (0.0, job(1, 20))])
    engine = ModelEngine(PLAIN)
    begun, over = work(engine, [(0.0, job(0, 350)), (0.0, job(1, 20))], until=at)
    engine.stall(at)
    assert engine.wake == inf
    engine.thaw(at + 5)
    rest = work(engine, [])
    for before, after, expected in zip((begun, over), rest, plain, strict=True):
        late = {number: time + (5 if time > at else 0) for number, time in expected.items()}
        assert {**before, **after} == pytest.approx(late)


def test_what_comes_during_a_stall_waits_for_its_end():
    """A stalled engine takes requests, and begins on them afterwards; an idle one too."""
    engine = ModelEngine(PLAIN)
    engine.stall(1.0)
    engine.offer(job(0), 2.0)
    assert engine.wake == inf
    engine.thaw(3.0)
    assert work(engine, [])[0] == {0: pytest.approx(3.1)}


def test_an_engine_that_ends_loses_what_it_had():
    """Streams, prompts and those that wait: all are given back, and the cache is empty."""
    engine = ModelEngine(Spec(parallel=2, reading=1000.0, writing=10.0))
    work(engine, [(0.0, job(number)) for number in range(4)], until=0.25)
    assert {each.number for each in engine.end()} == {0, 1, 2, 3}
    assert not engine.well
    assert engine.wake == inf
    engine.begin()
    assert engine.well
    assert engine.cache.hit(job(0).path) == 0
    assert work(engine, [(9.0, job(5))])[0] == {5: pytest.approx(9.1)}


def test_foresight_is_exact_and_changes_nothing():
    """Without further arrivals the first token comes when it was foreseen; asking leaves the engine as it was."""
    for seed in range(20):
        random = Random(seed)
        offers = [(random.uniform(0, 5), job(n, random.choice([50, 400]), random.randint(1, 20))) for n in range(25)]
        asked, engine, unasked = job(99, 130), ModelEngine(PLAIN), ModelEngine(PLAIN)
        for each in (engine, unasked):
            work(each, offers, until=5.0)
        foreseen = engine.first_token(asked, 5.0, inf)
        assert engine.first_token(asked, 5.0, foreseen) == inf
        found, expected = work(engine, [(5.0, asked)]), work(unasked, [(5.0, asked)])
        assert found == expected
        assert found[0][99] == foreseen


def test_foresight_knows_what_will_be_cached():
    """Of two that share a prefix and wait, the second will find it read."""
    engine, shared = ModelEngine(Spec(parallel=4, reading=100.0, writing=10.0, chunk=100)), (7, 100)
    engine.offer(job(0, path=(shared, (8, 50))), 0.0)
    engine.offer(job(1, path=(shared, (9, 50))), 0.0)
    engine.advance()
    at = engine.first_token(job(2, path=(shared, (10, 10))), 1.0, inf)
    assert at == work(engine, [(1.0, job(2, path=(shared, (10, 10))))])[0][2]


def test_capacity_is_what_leaves_an_overloaded_engine():
    """As many requests a second as the formula says, and the faults' share less."""
    spec = Spec(parallel=8)
    random = Random(1)
    jobs = [job(number, PROMPTS.draw(random), ANSWERS.draw(random)) for number in range(3000)]
    _, ended = work(ModelEngine(spec), [(0.0, each) for each in jobs])
    capacity = spec.capacity(fmean(each.prompt for each in jobs), fmean(each.answer for each in jobs))
    assert len(ended) / max(ended.values()) == pytest.approx(capacity, rel=0.03)
    assert Spec(parallel=8, stalls=Outage(10.0, 2.0, 0.0)).capacity(400, 150) == pytest.approx(
        0.8 * spec.capacity(400, 150)
    )
    assert Spec(stalls=Outage(inf, inf, 0.0)).capacity(1, 1) == Spec(refuses=True).capacity(1, 1) == 0


# The engine that reads prompts side by side

SIDE = Spec(parallel=2, reading=100.0, keeps=2)


def test_prompts_that_are_read_side_by_side_take_as_long_as_alone():
    """The third waits for the first that ends; what is read at the same time isn't cached yet."""
    shared = (7, 100)
    jobs = [job(0, 300), job(1, path=(shared,)), job(2, path=(shared,)), job(3, path=(shared, (8, 50)))]
    began, ended = work(engine_of(SIDE), [(0.0, jobs[0]), (0.0, jobs[1]), (0.5, jobs[2]), (2.5, jobs[3])])
    assert began == ended == {0: 3.0, 1: 1.0, 2: pytest.approx(1.01), 3: pytest.approx(3.0)}


def test_readers_stall_and_end_and_forget_as_any_engine_does():
    """What they read goes on after a stall; who leaves meanwhile isn't read on; an end loses all, and the cache."""
    engine = engine_of(SIDE)
    jobs = [job(number, 100) for number in range(4)]
    for each in jobs:
        engine.offer(each, 0.0)
    engine.stall(0.5)
    engine.forget({jobs[0], jobs[3]})
    engine.offer(job(4, 100), 0.6)
    assert engine.wake == inf
    engine.thaw(1.5)
    assert work(engine, [])[0] == {1: 2.0, 2: 2.5, 4: 3.0}
    assert engine.spoke(9.0) == 3.0
    engine.offer(job(5, 100), 4.0)
    assert [each.number for each in engine.end()] == [5]
    assert (engine.wake, engine.cache.hit(((-5, 100),))) == (inf, 0)


def test_what_readers_will_do_is_foreseen():
    """To the moment, with what will be cached by then; nothing changes."""
    engine, shared = engine_of(SIDE), (7, 100)
    for number, tokens in enumerate((300, 400)):
        engine.offer(job(number, path=(shared, (number, tokens))), 0.0)
    asked = job(2, path=(shared, (9, 50)))
    assert engine.first_token(asked, 1.0, 4.5) == inf
    at = engine.first_token(asked, 1.0, inf)
    assert at == work(engine, [(1.0, asked)])[0][2] == 4.5


# The cache


def test_a_cache_drops_what_was_used_least_lately_and_ends_before_beginnings():
    """A prefix that others use stays; of one prompt, the end goes first."""
    cache = Cache(100)
    cache.keep(((1, 40), (2, 30)))
    cache.keep(((1, 40), (3, 30)))
    assert cache.hit(((1, 40), (2, 30))) == 70
    cache.keep(((4, 20),))
    assert cache.hit(((1, 40), (2, 30))) == 40
    assert cache.hit(((1, 40), (3, 30))) == 70
    cache.clear()
    assert cache.hit(((1, 40),)) == 0


def test_some_caches_hold_the_last_prompts_whatever_their_lengths():
    """A prefix stays as long as any prompt that has it."""
    cache = LastPrompts(2)
    first, second, third = ((1, 40), (2, 30)), ((1, 40), (3, 30)), ((4, 20),)
    for each in (first, second, first, third):
        cache.keep(each)
    assert [cache.hit(each) for each in (first, second, third)] == [70, 40, 20]
    cache.clear()
    assert cache.hit(first) == 0


def test_a_foreseen_cache_leaves_the_real_one_alone():
    """It has what is there and what will be."""
    cache = Cache(100)
    cache.keep(((1, 40),))
    foreseen = Foreseen(cache)
    foreseen.keep(((1, 40), (2, 30)))
    assert foreseen.hit(((1, 40), (2, 30))) == 70
    assert cache.hit(((1, 40), (2, 30))) == 40


# The traffic


@pytest.mark.parametrize("bursty", [False, True])
def test_arrivals_come_at_their_rate(bursty):
    """A Poisson process has gaps that vary as they should; a bursty one has the same mean, and varies more."""
    times = list(arrivals(100_000, 20.0, Random(3), bursty=bursty))
    assert times == sorted(times)
    assert len(times) / times[-1] == pytest.approx(20.0, rel=0.05)
    seconds = Counter(int(time) for time in times)
    counts = [seconds[second] for second in range(int(times[-1]))]
    dispersion = fmean((count - 20) ** 2 for count in counts) / 20
    assert dispersion > 5 if bursty else dispersion == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("skewed", [False, True])
def test_a_turn_begins_with_all_that_was_said_before(skewed):
    """In the engine's view and in the router's alike; and under skew, half of all begin alike."""
    conversations = chats(Writer(Random(5)), 2000, skewed=skewed)
    assert sum(map(len, conversations)) == 2000
    for conversation in conversations:
        for before, after in pairwise(conversation):
            assert after.path[:-1] == before.kept
            assert after.ask.blocks[: len(before.ask.blocks) - 1] == before.ask.blocks[:-1]
            assert after.think > 0
    commonest = Counter(each[0].path[0] for each in conversations).most_common(1)[0][1] / len(conversations)
    assert commonest > 0.45 if skewed else commonest < 0.15


@pytest.mark.parametrize("shared", [False, True])
def test_turns_of_popular_conversations_wait_for_nobody(shared):
    """Each is a conversation of its own, with what was asked before; a long one begins anew."""
    made = popular(Writer(Random(2)), 700, shared=shared)
    assert [len(each) for each in made] == [1] * 700
    jobs = [each for (each,) in made]
    conversations = Counter(each.path[1][0] for each in jobs)
    assert max(conversations.values()) == max(len(each.path) - 1 for each in jobs) == 12
    assert (len({each.path[0][0] for each in jobs}) == 1) is shared
    assert all(each.path[0][1] == 375 and all(75 <= tokens <= 150 for _, tokens in each.path[1:]) for each in jobs)


def test_single_requests_share_nothing():
    """No two of them have a block in common."""
    jobs = [each for (each,) in singles(Writer(Random(5)), 500, PROMPTS.draw)]
    blocks = Counter(block for each in jobs for block in each.ask.blocks)
    assert max(blocks.values()) == 1
    assert all(each.ask.size == pytest.approx(4 * each.prompt, abs=120) for each in jobs)


# Those who choose


def test_pure_affinity_follows_the_prefix_whatever_waits_there():
    """And goes by what is in flight where there is none."""
    prefixes, backends = Prefixes(), [Backend("a"), Backend("b", in_flight=9), Backend("c", in_flight=2)]
    candidates = [Candidate(backend, "m") for backend in backends]
    backends[0].in_flight = 3
    asked = chats(Writer(Random(1)), 1)[0][0]
    policy = Affinity(prefixes, Random(1))
    assert policy.pick(candidates, asked.ask, 0.0, Random(1).randrange).backend.name == "c"
    prefixes.note(backends[1], "m", asked.ask.blocks, 0.0)
    assert policy.pick(candidates, asked.ask, 0.0, Random(1).randrange).backend.name == "b"


def test_the_oracle_goes_where_the_first_token_comes_soonest():
    """It knows true speeds and queues, and who is stalled now."""
    engines = {"slow": ModelEngine(PLAIN), "busy": ModelEngine(Spec()), "stalled": ModelEngine(Spec())}
    for number in range(9):
        engines["busy"].offer(job(number, 4000), 0.0)
    engines["stalled"].stall(0.0)
    candidates = [Candidate(Backend(name), "m") for name in engines]
    oracle = Oracle(candidates, engines, Random(1))
    assert oracle.first(job(10, 100), 0.0).backend.name == "slow"
    assert oracle.first(job(11, 10_000), 0.0).backend.name == "busy"
    engines["stalled"].thaw(1.0)
    assert oracle.first(job(12, 100), 1.0).backend.name == "stalled"


# Worlds


def world(specs, policy="least_in_flight", count=400, rate=8.0, **more):
    conversations = singles(Writer(Random(1)), count, PROMPTS.draw)
    starts = list(arrivals(count, rate, Random(2)))
    return World(specs, policy, conversations, starts, Random(3), **more)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_request_is_answered_once_and_every_run_repeats(policy):
    """Nothing stays in flight, and the same seeds give the same figures."""
    first, second = world([Spec()] * 3, policy), world([Spec()] * 3, policy)
    exchanges, others = first.run(), second.run()
    assert [each.ttft for each in exchanges] == [each.ttft for each in others]
    assert not any(each.failed for each in exchanges)
    assert sorted(each.job.number for each in exchanges) == list(range(400))
    routers = {each.router for each in exchanges}
    assert [backend.in_flight for router in routers for backend in router.backends] == [0, 0, 0]
    assert [backend.estimate.in_flight for router in routers for backend in router.backends] == [0, 0, 0]


@pytest.mark.parametrize("policy", POLICIES)
def test_a_backend_that_refuses_costs_no_request(policy):
    """Its 503s are tried again elsewhere, and put it out."""
    exchanges = world([Spec(refuses=True), Spec(), Spec()], policy).run()
    assert not any(each.failed for each in exchanges)
    assert fmean(each.attempts for each in exchanges) < 1.2


def test_a_restart_breaks_what_had_begun_and_sends_the_rest_elsewhere():
    """Only answers that had begun are lost; while the engine is down nothing is sent there."""
    exchanges = world([Spec(restarts=Outage(30.0, 5.0, 10.0)), Spec()]).run()
    failed = [each for each in exchanges if each.failed]
    assert failed
    assert all(each.began for each in failed)
    for each in exchanges:
        if 10.0 < each.arrived % 30 < 15.0 and each.attempts == 1:
            assert each.tried[-1].backend.name == "engine-1"


def test_an_engine_that_stalls_for_good_is_found_and_its_requests_go_elsewhere():
    """After `stall_after` the router takes it out; nobody waits for much longer than that."""
    exchanges = world([Spec(stalls=Outage(inf, inf, 10.0)), Spec(), Spec()], "round_robin", 800, 5.0).run()
    waited = [each for each in exchanges if each.attempts > 1]
    assert waited
    assert all(each.ttft < 75 for each in exchanges)
    assert all(each.tried[-1].backend.name != "engine-0" for each in exchanges if each.arrived > 80)


def test_a_restart_that_nobody_tells_of_is_found_out():
    """It is out with the first failures, and gets requests again as soon as two probes have found it well."""
    specs = [Spec(restarts=Outage(every=1e9, lasts=3.0, first=5.0)), Spec(), Spec()]
    exchanges = world(specs, supervised=False).run()
    back = exchanges[0].router.backends[0]
    there = [each.arrived for each in exchanges if each.tried[0].backend is back]
    assert not [moment for moment in there if 5.5 < moment < 8.0]
    assert min(moment for moment in there if moment > 8.0) < 10.0


def test_what_a_stall_fails_is_retried_in_the_order_of_its_arrival():
    """So a run is the same again, to the last digit."""
    requests = world([Spec(stalls=Outage(inf, inf, 5.0)), Spec(), Spec()], "random").run()
    retried = [each for each in requests if each.attempts == 2 and not each.failed]
    assert len(retried) > 1
    sent = [each.sent.at for each in retried]
    assert len(set(sent)) == 1
    again = world([Spec(stalls=Outage(inf, inf, 5.0)), Spec(), Spec()], "random").run()
    assert [each.ttft for each in again] == [each.ttft for each in requests]


def test_one_that_is_on_trial_begins_anew_and_slowly():
    """As in the data plane: what its errors cost is forgotten, and it carries a part of its load."""
    router = world([Spec()] * 2)._routers[0]
    backend = router.backends[0]
    backend.estimate.failed(backend.estimate.sent(Ask(9), 0, 0.0), 0.0)
    for answered in (False, False, False, True):
        router.probed(0, 1.0, answered=answered, works=True)
    assert backend.estimate.cost(1.0) > 0
    router.probed(0, 1.0, answered=True, works=True)
    assert (backend.health.verdict, backend.estimate.cost(1.0)) == (Verdict.PROBING, 0.0)
    router._sender.first(job(1), 1.0)
    assert [each.ramp for each in router.backends] == [0.1, 1.0]


def test_a_policy_sees_here_what_it_sees_in_the_data_plane():
    """Requests and bytes in flight, and answers, of each backend: all of it, and none is left over."""
    ran = world([Spec()] * 2)
    backends = ran._routers[0].backends
    most: Counter[str] = Counter()
    note = ran._routers[0].on_first_token

    def look(exchange, now):
        backend = exchange.attempt[0]
        assert backend.size >= exchange.job.ask.size
        most[backend.name] = max(most[backend.name], backend.size)
        note(exchange, now)

    ran._routers[0].on_first_token = look
    exchanges = ran.run()
    assert [each.size for each in backends] == [each.in_flight for each in backends] == [0, 0]
    assert sum(each.answered for each in backends) == sum(each.ended for each in backends) == len(exchanges)
    assert len(most) == 2


def test_two_routers_see_only_what_they_sent_themselves():
    """Each has backends of its own, and half of the requests."""
    exchanges = world([Spec()] * 2, routers=2).run()
    shares = Counter(id(each.router) for each in exchanges)
    assert len(shares) == 2
    assert min(shares.values()) > 150


def test_a_conversation_goes_on_after_its_answers():
    """A turn comes when the one before was answered and its time to think is over."""
    conversations = chats(Writer(Random(1)), 300)
    starts = list(arrivals(len(conversations), 2.0, Random(2)))
    exchanges = {
        each.job.number: each for each in World([Spec()] * 2, AFFINITY, conversations, starts, Random(3)).run()
    }
    assert len(exchanges) == 300
    for conversation in conversations:
        for before, after in pairwise(conversation):
            first = exchanges[before.number]
            assert exchanges[after.number].arrived > first.arrived + (first.ttft or inf) + after.think
    read = sum(each.read for each in exchanges.values())
    assert sum(each.cached for each in exchanges.values()) > 0.8 * read


def test_the_oracle_beats_blind_choice_everywhere():
    """Its mean is below that of a random choice in every scenario."""
    for name in SCENARIOS:
        load = SCENARIOS[name].loads[0]
        means = [
            figures_of(simulate_scenario(name, load, policy, requests=600, seed=4)).mean
            for policy in ("random", ORACLE)
        ]
        assert means[1] < means[0], name


def test_an_engine_publishes_what_it_works_on_and_what_waits():
    """As it counts them between two steps."""
    engine = ModelEngine(PLAIN)
    for number in range(5):
        engine.offer(job(number), 0.0)
    assert engine.load == (1, 0)
    engine.advance()
    assert engine.load == (3, 2)
    work(engine, [])
    assert engine.load == (0, 0)


def test_what_engines_publish_changes_nothing_where_nobody_else_asks_them():
    """To the last digit, whatever the load."""
    silent, telling = (
        world([replace(Spec(), publishes=told)] * 3, "least_latency", rate=30.0) for told in (False, True)
    )
    assert [each.ttft for each in silent.run()] == [each.ttft for each in telling.run()]
    assert {each.router.backends[0].estimate.load is None for each in silent.requests} == {True}
    assert {each.router.backends[0].estimate.load is None for each in telling.requests} == {False}


def test_guests_go_to_the_first_engine_alone():
    """As many as there should be; and the figures leave them out."""
    exchanges = world([Spec()] * 3, guests=0.25).run()
    guests = [each for each in exchanges if each.job.is_guest(0.25)]
    assert len(guests) == pytest.approx(100, abs=25)
    assert {each.tried[-1].backend.name for each in guests} == {"engine-0"}
    assert len({each.tried[-1].backend.name for each in exchanges}) == 3
    counted = simulate_scenario("guests", 0.6, "least_latency", requests=600, seed=1)
    assert not any(each.job.is_guest(0.3) for each in counted)


# Figures


def test_tables_show_each_policy_beside_the_oracle():
    """In the order of scenarios, loads and policies, whatever the order of the runs."""
    run = RunFigures(100, 0.2, 0.1, 0.6, 0.5, 1, 0.99, 1.0)
    runs = [
        (Key("equal", 0.9, ORACLE), run._replace(p99=0.5, mean=0.1)),
        (Key("equal", 0.9, "least_latency"), run),
    ]
    results = ordered(runs)
    lines = list(tables(results))
    assert lines[0] == "### equal"
    assert "| 90% | least_latency | 0.2 (2.00\N{MULTIPLICATION SIGN}) |" in "\n".join(lines)
    assert list(summary(results))[-2] == "| equal | 90% | 0.5 | 1.20\N{MULTIPLICATION SIGN} |"


def test_the_command_prints_tables_and_writes_the_figures(tmp_path, capsys):
    """With the scenarios, policies and loads that were asked for."""
    file = tmp_path / "figures.json"
    asked = [
        "--scenario",
        "serial",
        "--policy",
        "least_in_flight",
        "--policy",
        "oracle",
        "--requests",
        "200",
        "--runs",
        "2",
    ]
    simulate.main([*asked, "--workers", "1", "--json", str(file)])
    assert "| 95% | oracle |" in capsys.readouterr().out
    runs = json.loads(file.read_text())
    assert [(run["load"], run["policy"]) for run in runs] == [
        (0.7, "least_in_flight"),
        (0.7, "oracle"),
        (0.95, "least_in_flight"),
        (0.95, "oracle"),
    ]
    assert all(run["failed"] == 0 < run["p50"] <= run["p99"] for run in runs)
