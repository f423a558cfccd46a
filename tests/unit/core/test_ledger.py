"""The ledger: what is noted of backends, what is believed of that, and what the caller is asked to do."""

from dataclasses import replace
from math import inf

import pytest

from router.core.admission import Cap
from router.core.catalog import DOUBT, Backend, Candidate
from router.core.changes import RELEASE, News
from router.core.estimate.ask import Ask
from router.core.health import RETURNS_WITHIN, WELL, Health, Thresholds, Verdict, declared
from router.core.ledger import Ledger
from router.core.load import Load
from router.core.stall import Silence, StallVerdict

ASK = Ask(100)
KEYED = Ask(100, path="/v1/chat/completions", key=b"k")


@pytest.fixture
def ledger() -> Ledger:
    """Give one whose backends are out after three failures and back after two successes."""
    made = Ledger()
    made.thresholds = Thresholds(unhealthy_after=3, healthy_after=2, trial=2, slow_start=10.0)
    return made


def candidate(name="a", **known) -> Candidate:
    return Candidate(Backend(name, {"m": "m"}, **({"health": WELL} | known)), "m")


def test_whose_answers_are_completed(ledger):
    """Beside what its answers have taught."""
    a = candidate().backend
    ledger.learn_api(a, "/v1/messages", speaks=False)
    ledger.learn_apis(a, replace(a.apis, mends=frozenset({"/v1/responses"})))
    assert a.apis.mends == {"/v1/responses"}
    assert "/v1/messages" in a.apis.lacks


def test_a_model_that_a_peer_has_yet_to_load(ledger):
    """It is known until it is loaded, or its backend is forgotten."""
    a, b = candidate().backend, candidate("b").backend
    ledger.loads(a, 9.0, 1.0)
    ledger.loads(b, 9.0, 1.0, runs=True)
    assert (ledger.unloaded, a.estimate.unloaded) == ({a, b}, True)
    ledger.loads(a, 0.0, 2.0)
    ledger.loads(a, 0.0, 3.0)
    assert (ledger.unloaded, a.estimate.unloaded) == ({b}, False)
    ledger.retire(b, "was taken out")
    ledger.forget(b)
    assert not ledger.unloaded


# Attempts


def test_an_attempt_takes_room_and_gives_it_back(ledger):
    """Requests and bytes; with no outcome it was abandoned."""
    a = candidate(cap=Cap(2))
    first = ledger.began(a, ASK, 1.0)
    assert (a.backend.in_flight, a.backend.size, a.backend.progress.in_flight) == (1, 100, 1)
    assert ledger.room(a.backend, 1.0) == inf
    second = ledger.began(a, ASK, 1.0)
    assert ledger.room(a.backend, 1.0) < 0
    for sent in (first, second):
        ledger.ended(a.backend, ASK, sent, 2.0)
    assert (a.backend.in_flight, a.backend.size, a.backend.ended, a.backend.answered) == (0, 0, 2, 0)


def test_a_prefix_is_believed_to_be_where_it_was_sent(ledger):
    """The attempt knows how much of it was there already."""
    a, ask = candidate(), Ask(5000, (1, 2, 3))
    assert ledger.began(a, ask, 1.0).cached == 0
    assert ledger.began(a, ask, 2.0).cached > 0
    ledger.take_out(a.backend, "is gone")
    assert ledger.began(a, ask, 3.0).cached == 0


def test_where_prompts_are_read_side_by_side_a_prefix_is_there_once_it_was_read(ledger):
    """What is sent next isn't read after it. A stream shows that with its first token, other answers with their end."""
    for streams in (True, False):
        a, ask = candidate(), Ask(1000, (256 << 32 | 1, 1 << 32 | 2), streams=streams)
        a.backend.estimate.readers.count = 2
        sent = ledger.began(a, ask, 1.0)
        assert ledger.prefixes.holders("m", ask.blocks).get(a.backend) is None
        if streams:
            ledger.first_token(a.backend, sent, 2.0)
            assert a.backend in ledger.prefixes.holders("m", ask.blocks)
        ledger.answered(a.backend, 200, sent, 3.0)
        assert a.backend in ledger.prefixes.holders("m", ask.blocks)


def test_who_is_on_trial_has_little_room_and_little_weight(ledger):
    """So many requests at a time; then its weight grows."""
    a = candidate(health=Health(Verdict.PROBING))
    ledger.began(a, ASK, 1.0)
    assert ledger.room(a.backend, 1.0) == inf
    ledger.began(a, ASK, 1.0)
    assert ledger.room(a.backend, 1.0) < 0
    back = candidate(health=declared(up=True, now=100.0)).backend
    ledger.room(back, 105.0)
    assert back.ramp == 0.5


def test_an_answer_is_measured_and_clears_errors(ledger):
    """One in one piece teaches how long these take; one that nobody sent is counted alone."""
    a = candidate()
    ask = Ask(100, streams=False)
    sent = ledger.began(a, ask, 1.0)
    ledger.refused(a.backend, 500, sent, 1.5)
    assert a.backend.errors == 1
    assert ledger.answered(a.backend, 200, ledger.began(a, ask, 2.0), 4.0) is None
    assert (a.backend.errors, a.backend.answered, a.backend.estimate.slowest.longest) == (0, 1, 2.0)
    assert ledger.answered(a.backend, 200, None, 5.0) is None
    assert a.backend.answered == 2


def test_a_stream_shows_its_first_token(ledger):
    """It teaches how fast prompts are read."""
    a = candidate()
    ask = Ask(100_000)
    sent = ledger.began(a, ask, 1.0)
    ledger.first_token(a.backend, sent, 3.0)
    ledger.read_prompt(a.backend, 100_000, 2.0)
    assert not sent.waits
    assert a.backend.estimate.slowest.speed == 50_000
    assert ledger.answered(a.backend, 200, sent, 9.0) is None
    assert a.backend.estimate.slowest.longest == 0.0


def test_what_is_heard_is_told_once(ledger):
    """Of an answer that brings something, and of none that can't be heard."""
    a, b = candidate("a"), candidate("b")
    sent = ledger.began(a, ASK, 1.0)
    ledger.first_token(a.backend, sent, 1.5)
    ledger.spoke(a.backend)
    ledger.hear([a.backend, b.backend], 2.0)
    assert not a.backend.spoke
    ledger.muted(a.backend, sent, 2.5, muted=True)
    assert not sent.audible
    ledger.muted(a.backend, sent, 3.0, muted=False)
    assert sent.audible


# Errors


def test_an_error_counts_by_its_status(ledger):
    """503 speaks against health, 429 costs, others cost nothing; all are counted."""
    a = candidate()
    change = ledger.refused(a.backend, 503, ledger.began(a, ASK, 1.0), 1.1)
    assert change is not None
    assert (a.backend.health.verdict, change.probe) == (Verdict.SUSPECT, True)
    b = candidate("b")
    before = b.backend.estimate.cost(1.1)
    ledger.excused(b.backend, ledger.began(b, ASK, 1.0), 1.1)
    assert ledger.refused(b.backend, 400, ledger.began(b, ASK, 1.0), 1.1) is None
    assert b.backend.estimate.cost(1.1) == before
    assert ledger.refused(b.backend, 429, ledger.began(b, ASK, 1.0), 1.1) is None
    assert b.backend.estimate.cost(1.1) > before
    assert ledger.refused(b.backend, 404, None, 1.1) is None
    assert (b.backend.errors, b.backend.health) == (3, WELL)


def test_an_error_of_the_request_is_believed_of_who_is_not_in_doubt(ledger):
    """So a 400 brings back one on trial, until it says too many in a row."""
    for errors, expected in ((0, Verdict.UP), (DOUBT, Verdict.PROBING)):
        a = candidate(health=Health(Verdict.PROBING)).backend
        a.errors = errors
        ledger.answered(a, 400, None, 1.0)
        assert a.health.verdict is expected
    a = candidate(health=Health(Verdict.PROBING)).backend
    ledger.answered(a, 500, None, 1.0)
    assert a.health.verdict is Verdict.PROBING


@pytest.mark.parametrize(
    ("own_key", "ask", "others_too"), [(True, KEYED, True), (False, ASK, True), (False, KEYED, False)]
)
def test_a_429_sets_aside_for_all_or_for_one_client(ledger, own_key, ask, others_too):
    """For as long as it says, or a moment."""
    a = candidate()
    ledger.busy(a, ask, 3.0, 10.0, own_key=own_key)
    assert ledger.aside.has(a, ask, 12.9)
    assert ledger.aside.has(a, Ask(1, key=b"other"), 12.9) is others_too
    assert not ledger.aside.has(a, ask, 13.1)
    b = candidate("b")
    ledger.busy(b, ask, 0.0, 10.0, own_key=own_key)
    assert ledger.aside.has(b, ask, 10.1)
    assert not ledger.aside.has(b, ask, 11.0)


def test_who_refuses_what_another_answers_is_at_fault(ledger):
    """A 404 for that model, a 401 to the router's own key by its health, and a 500 gives the retry back."""
    a = candidate()
    assert ledger.disproved(a, KEYED, 404, None, 1.0, own_key=True) is None
    assert ledger.aside.has(a, KEYED, 1.1)
    assert a.backend.health is WELL
    before = a.backend.estimate.cost(1.1)
    change = ledger.disproved(a, KEYED, 401, ledger.began(a, KEYED, 1.0), 1.1, own_key=True)
    assert change is not None
    assert a.backend.health.verdict is Verdict.SUSPECT
    assert a.backend.estimate.cost(1.1) > before
    while ledger.budget.withdraw(2.0):
        pass
    tokens = ledger.budget.tokens
    ledger.disproved(a, KEYED, 500, None, 2.0, own_key=True)
    assert ledger.budget.tokens == tokens + 1


def test_what_is_refused_elsewhere_too_clears_errors(ledger):
    """Nothing speaks against the backend then."""
    a = candidate().backend
    ledger.refused(a, 500, None, 1.0)
    ledger.confirmed(a)
    assert a.errors == 0


# Health


def test_from_well_to_down_and_back(ledger):
    """Each step asks for what follows from it."""
    a = candidate().backend
    told = [ledger.failed(a, "times out", 1.0, None) for _ in range(3)]
    assert [each.news if each else None for each in told] == [News.NONE, None, News.DOWN]
    assert told[2] is not None
    assert (told[2].reason, told[2].offer, told[2].probe) == ("times out", True, False)
    told = [ledger.succeeded(a, 2.0, probe=True) for _ in range(2)]
    assert [each.news if each else None for each in told] == [None, News.TRIAL]
    change = ledger.answered(a, 200, None, 3.0)
    assert change is not None
    assert (change.news, a.health.verdict) == (News.UP, Verdict.UP)
    assert ledger.answered(a, 200, None, 20.0) is None
    assert (a.health, a.ramp) == (WELL, 1.0)


def test_a_failed_attempt_asks_for_a_probe(ledger):
    """One that nobody has heard of is probed anyway."""
    a, new = candidate(), candidate("b", health=Health())
    change = ledger.failed(a.backend, "breaks off", 1.0, ledger.began(a, ASK, 0.0))
    assert change is not None
    assert change.probe
    assert ledger.failed(new.backend, "breaks off", 1.0, ledger.began(new, ASK, 0.0)) is None


def test_up_from_suspicion_is_no_news(ledger):
    """It was up all the time."""
    a = candidate()
    ledger.failed(a.backend, "breaks off", 1.0, ledger.began(a, ASK, 0.0))
    change = ledger.answered(a.backend, 200, None, 1.5)
    assert change is not None
    assert (change.news, change.offer) == (News.NONE, True)


def test_on_a_first_trial_a_beginning_is_enough(ledger):
    """After a relapse it is not."""
    a = candidate(health=Health(Verdict.PROBING)).backend
    change = ledger.begun(a, 1.0)
    assert change is not None
    assert change.news is News.UP
    assert ledger.begun(a, 1.0) is None
    fell = candidate(health=Health(Verdict.PROBING, relapses=1)).backend
    assert ledger.begun(fell, 1.0) is None


def test_a_remote_that_refuses_is_waited_for_a_while(ledger):
    """Then it is gone, which requests that wait are told. A launched engine's supervisor says what it means."""
    a = candidate()
    ledger.began(a, Ask(5000, (1, 2)), 0.0)
    sent = ledger.began(a, ASK, 0.0)
    change = ledger.failed(a.backend, "refused", 1.0, sent, refused=True)
    assert change is not None
    assert (change.news, a.backend.health.coming, change.probe) == (News.DOWN, True, True)
    assert ledger.prefixes.cached(a.backend, "m", (1, 2)) == 0
    change = ledger.failed(a.backend, "refused", 1.5 + RETURNS_WITHIN, None, refused=True)
    assert change is not None
    assert (change.news, change.offer, a.backend.health.coming) == (News.NONE, True, False)
    launched = candidate("b", supervised=True)
    ledger.failed(launched.backend, "refused", 1.0, ledger.began(launched, ASK, 0.0), refused=True)
    assert launched.backend.health.verdict is Verdict.SUSPECT


def test_a_launched_engine_comes_and_goes(ledger):
    """As its supervisor says; of a process that is gone already nothing is news."""
    a = candidate(supervised=True, health=Health())
    ready = ledger.ready(a.backend, 5.0)
    assert ready is not None
    assert (ready.offer, a.backend.health.verdict) == (True, Verdict.UP)
    earlier = ledger.began(a, ASK, 4.0)
    assert ledger.vanished(a.backend, earlier, "refused") is None
    assert ledger.vanished(a.backend, None, "refused") is RELEASE
    assert (a.backend.health.absent, a.backend.health.coming) == (True, True)
    assert ledger.vanished(a.backend, None, "refused") is None
    assert ledger.take_out(a.backend, "has ended") is RELEASE
    assert not a.backend.health.coming


def test_who_is_taken_out_keeps_room_for_nobody(ledger):
    """Each change that takes a backend out asks for that, and no other does."""
    doubted = ledger.failed(candidate().backend, "reset", 1.0)
    assert doubted is not None
    assert not doubted.release
    assert ledger.retire(candidate().backend, "was removed") is RELEASE
    stalled = ledger.stalled(candidate().backend, "stalled", 1.0)
    assert stalled is not None
    assert (stalled.news, stalled.release) == (News.DOWN, True)
    on_trial = candidate(health=Health(Verdict.DOWN, 1)).backend
    back = ledger.succeeded(on_trial, 1.0, probe=True)
    assert back is not None
    assert (back.news, back.release) == (News.TRIAL, False)


def test_who_is_retired_stays_out(ledger):
    """Whatever is still told of it."""
    a = candidate()
    ledger.retire(a.backend, "was replaced")
    assert ledger.is_retired(a.backend)
    assert ledger.ready(a.backend, 1.0) is None
    assert ledger.vanished(a.backend, None, "refused") is None
    assert ledger.succeeded(a.backend, 1.0, probe=True) is None
    assert ledger.disproved(a, ASK, 500, None, 1.0, own_key=False) is None
    assert a.backend.health.reason == "was replaced"
    ledger.forget(a.backend)
    assert not ledger.is_retired(a.backend)


def test_settings_of_one_backend(ledger):
    """Its bound, its weight, and what it serves."""
    a = candidate().backend
    ledger.bound(a, Cap(3))
    ledger.weigh(a, 2.0)
    assert (a.cap.requests, a.weight) == (3, 2.0)
    assert not ledger.learn_models(a, {"m": "m"})
    assert ledger.learn_models(a, {"n": "n"})
    assert a.models == {"n": "n"}


# Progress


def test_a_stalled_backend_is_out_until_it_works(ledger):
    """Its probes say nothing; what it sends does."""
    a = candidate(supervised=True).backend
    change = ledger.stalled(a, "stalled", 10.0)
    assert change is not None
    assert (change.news, a.stalled, a.health.coming) == (News.DOWN, True, True)
    assert ledger.succeeded(a, 11.0, probe=True) is None
    assert ledger.judge(a, [], 11.0, 5.0) is StallVerdict.STALLED
    back = ledger.worked(a, 12.0)
    assert back is not None
    assert (back.news, a.stalled, a.worked_at) == (News.WORKS, False, 12.0)
    assert ledger.worked(a, 13.0) is None
    assert a.worked_at == 13.0


def test_silence_is_judged_by_the_last_sign_of_work(ledger):
    """An answer is one, and so is the slowness of all its clients."""
    a = candidate(cap=Cap(2))
    ledger.began(a, ASK, 0.0)
    silent = [Silence(20.0, begun=True, streams=True, size=100)]
    assert ledger.judge(a.backend, silent, 20.0, 5.0) is StallVerdict.STALLED
    ledger.answered(a.backend, 200, None, 20.0)
    assert ledger.judge(a.backend, silent, 20.0, 5.0) is StallVerdict.WORKS
    assert a.backend.worked_at == 20.0
    assert ledger.judge(a.backend, silent, 30.0, 5.0, held_up=1) is StallVerdict.STALLED
    assert ledger.judge(a.backend, silent, 30.0, 5.0, held_up=2) is StallVerdict.WORKS
    assert ledger.judge(a.backend, [], 40.0, 5.0, held_up=1) is StallVerdict.WORKS
    assert a.backend.worked_at == 40.0


def test_what_is_read_of_an_engine(ledger):
    """CPU time, counters, probes, a token that it is asked for, and what it publishes."""
    a = candidate()
    ledger.asked(a.backend, 0.0)
    assert a.backend.progress.in_flight == 1
    for seconds, now in ((1.0, 1.0), (2.0, 2.0)):
        ledger.read_cpu(a.backend, seconds, now, stopped=False, tells=True)
    assert a.backend.worked_at == 2.0
    for count, now in ((5.0, 3.0), (6.0, 4.0)):
        ledger.read_counter(a.backend, count, now, tells=True)
    assert a.backend.worked_at == 4.0
    ledger.probed(a.backend, 5.0, answered=False)
    assert a.backend.progress.unanswered == 1
    ledger.probed(a.backend, 6.0, answered=True)
    assert a.backend.progress.unanswered == 0
    ledger.unasked(a.backend, 7.0)
    assert a.backend.progress.in_flight == 0
    ledger.published(a.backend, Load(3, 1), 1, 8.0)
    assert a.backend.estimate.load == Load(3, 1)
    ledger.published(a.backend, None, 0, 9.0)
    assert a.backend.estimate.load is None


def test_who_drains_is_forgotten_with_its_backend():
    ledger = Ledger()
    a, b = Backend("a"), Backend("b")
    ledger.drain(a)
    ledger.drain(b)
    ledger.resume(b)
    assert ledger.draining == {a}
    ledger.retire(a, "was removed")
    assert ledger.draining == {a}
    ledger.forget(a)
    assert not ledger.draining


def test_who_is_held_gets_nothing_though_memory_would_have_it():
    """Each of the two has its own word; a backend that is forgotten is held no more."""
    ledger, a, b = Ledger(), Backend("a", {}), Backend("b", {})
    ledger.hold({a: "ops"})
    ledger.drain(a)
    ledger.resume(a)
    assert (ledger.draining, ledger.held) == ({a}, {a: "ops"})
    ledger.drain(a)
    ledger.hold({})
    assert (ledger.draining, ledger.held) == ({a}, {})
    ledger.resume(a)
    ledger.hold({b: "ops"})
    ledger.forget(b)
    assert not ledger.draining
    assert not ledger.held
