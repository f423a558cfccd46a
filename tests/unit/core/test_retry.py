from math import inf

import pytest

from router.core import retry
from router.core.admission import Bounds, Cap
from router.core.aside import Kind
from router.core.catalog import DIRECT, DOUBT, Backend, Candidate, Route, Way
from router.core.dispatch import Dispatcher
from router.core.errors import BadGatewayError, GatewayTimeoutError, QueueTimeoutError, UnavailableError
from router.core.estimate.ask import Ask
from router.core.health import WELL, Health, Thresholds, Verdict, declared, failed
from router.core.ledger import Ledger
from router.core.retry import FREE_RETRY, RETRY_SAME, UNREACHED, Failure, error_of


def up(name, in_flight=0) -> Candidate:
    return Candidate(Backend(name, {}, health=declared(up=True), in_flight=in_flight), "m")


def down(name, reason="gone") -> Candidate:
    return Candidate(Backend(name, {}, health=declared(up=False, reason=reason)), "m")


def lowest(_: int) -> int:
    return 0


def dispatcher(draw) -> Dispatcher[str]:
    made = Dispatcher[str](Ledger(), draw)
    made.set_up("least_in_flight", Bounds(), affinity=False)
    return made


def first(model, tiers, draw) -> Candidate | None:
    return retry.first(model, model, Way(tiers, DIRECT), Ask(10), dispatcher(draw), 0.0)


def after(failure, tiers, tried, retries, draw) -> Candidate | None:
    return retry.after(failure, Way(tiers, DIRECT), tried, retries, Ask(10), dispatcher(draw), 0.0)


def way(tiers, retries, *failures):
    """Go where a request goes, each of its attempts failing in turn; `tried` is kept as an exchange keeps it."""
    went = [first("m", tiers, lowest)]
    tried = [*went]
    for failure in failures:
        chosen = after(failure, tiers, tuple(tried), retries, lowest)
        went.append(chosen)
        if chosen is not None and failure is not Failure.STALE:
            tried.append(chosen)
    return went


def test_the_first_attempt_goes_to_the_first_tier_that_can_take_it():
    """A tier with nobody up is passed over."""
    c = up("c")
    assert first("m", ((down("a"),), (down("b"), c)), lowest) is c


def test_who_waited_for_engines_that_did_not_come_is_told_why():
    """Where one was there, it had no room, and that says it all."""
    error = QueueTimeoutError("No backend of 'm' had room within 60 s.", retry_after=7)
    told = retry.waited_in_vain(error, ((down("a", "ValueError: no room on /gpus/of/0"), down("b", "starting")),), {})
    assert (type(told), told.retry_after) == (QueueTimeoutError, 7)
    assert told.message == f"{error.message} Of its engines: a: ValueError: no room on 0; b: starting."
    assert retry.waited_in_vain(error, ((down("a"), up("b", in_flight=9)),), {}) is error


def test_who_waited_for_drained_backends_is_told_so():
    """Where another one was there, it had no room. One that is gone, drained or not, changes nothing."""
    error = QueueTimeoutError("No backend of 'm' had room within 60 s. Try again in 7 s.", retry_after=7)
    held, asleep = up("c"), down("d")
    told = retry.waited_in_vain(error, ((held, down("e")), (asleep,)), {held.backend: "ops", asleep.backend: "bob"})
    assert told.message == (
        "No backend of 'm' had room within 60 s. 'c' is drained and 'd' is drained: undrain it first."
    )
    assert (type(told), told.retry_after) == (QueueTimeoutError, 7)
    assert retry.waited_in_vain(error, ((held, up("b")),), {held.backend: "ops"}) is error


def test_nobody_up():
    """Each backend's reason is told, and when to come back."""
    with pytest.raises(UnavailableError, match="a: gone; b: loading") as caught:
        first("m", ((down("a"), down("b", "loading")),), lowest)
    assert caught.value.retry_after


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("/home/me/models/m.gguf: no such file", "m.gguf: no such file"),
        ("can't read '/srv/a/m.gguf' at http://127.0.0.1:1/v1/x", "can't read 'm.gguf' at http://127.0.0.1:1/v1/x"),
        ("org/name/x is no model; 1/2 done", "org/name/x is no model; 1/2 done"),
    ],
)
def test_why_nobody_is_up_names_files_without_their_folders(reason, said):
    with pytest.raises(UnavailableError) as caught:
        first("m", ((down("a", reason),),), lowest)
    assert f"(a: {said})" in caught.value.message


def test_nobody_there():
    """A route to models that nobody serves now is unavailable too."""
    with pytest.raises(UnavailableError, match="No backend serves 'm'"):
        first("m", (), lowest)


def test_retries_go_to_the_untried_tier_by_tier():
    """Never one already tried while another is left; then, and only then, again."""
    a, b, c = up("a"), up("b", 5), up("c")
    assert way(((a, b), (c,)), 9, Failure.CLOSED, Failure.STATUS, Failure.CLOSED) == [a, b, c, c]


def test_ties_are_broken_by_the_draw():
    """At the first attempt, and at each retry, among those that are left."""
    a, b, c = up("a"), up("b"), up("c")
    tiers = ((a, b, c),)
    assert [first("m", tiers, {3: at}.__getitem__) for at in range(3)] == [a, b, c]
    assert [after(Failure.CLOSED, tiers, (b,), 2, {2: at}.__getitem__) for at in range(2)] == [a, c]


@pytest.mark.parametrize("failure", sorted(set(Failure) - RETRY_SAME, key=str))
def test_no_second_try_where_it_would_only_be_repeated(failure):
    """An engine that says 503, or nothing for minutes, isn't asked again at once."""
    a = up("a")
    assert way(((a,),), 2, failure) == [a, None]


def test_a_broken_connection_is_tried_again_at_the_only_backend():
    """As often as retries allow."""
    a = up("a")
    assert way(((a,),), 2, *[Failure.CLOSED] * 3) == [a, a, a, None]


def test_retries_are_bounded_where_backends_are_left():
    """However many there are; none at all is a bound too."""
    some = tuple(up(name) for name in "abcd")
    assert way((some,), 2, *[Failure.STATUS] * 3) == [*some[:3], None]
    assert way((some,), 0, Failure.REFUSED) == [some[0], None]


def test_a_backend_that_went_down_is_not_tried_again():
    """The supervisor's word reaches exchanges under way; of those tried, the latest that is still up is."""
    a, b = up("a"), up("b")
    tiers, tried = ((a, b),), (a, b)
    b.backend.health = declared(up=False, reason="exited")
    assert after(Failure.CLOSED, tiers, tried, 9, lowest) is a
    a.backend.health = declared(up=False, reason="exited")
    assert after(Failure.CLOSED, tiers, tried, 9, lowest) is None


def test_a_stale_connection_costs_no_retry():
    """It says nothing of the backend: the same one again."""
    a, b = up("a"), up("b")
    assert way(((a, b),), 0, Failure.STALE, Failure.STALE, Failure.CLOSED) == [a, a, a, None]
    assert way(((a, b),), 1, Failure.STALE, Failure.CLOSED, Failure.STALE, Failure.CLOSED) == [a, a, b, b, None]


@pytest.mark.parametrize("failure", Failure)
def test_error_of(failure):
    """Time-outs are 504, the router's own want of files and a peer that is away 503, all else 502, by name."""
    error = error_of(failure, "gpu-box")
    late = {Failure.CONNECT_TIMEOUT, Failure.FIRST_BYTE_TIMEOUT, Failure.IDLE_TIMEOUT, Failure.STALLED}
    own = {Failure.NO_FILES, Failure.AWAY}
    expected = GatewayTimeoutError if failure in late else UnavailableError if failure in own else BadGatewayError
    assert type(error) is expected
    assert bool(error.retry_after) is (failure in own)
    assert "'gpu-box'" in error.message
    heals = failure not in {Failure.UNTRUSTED, Failure.INSECURE}
    assert ("Try again" in error.message) is heals


@pytest.mark.parametrize("failure", [Failure.UNTRUSTED, Failure.INSECURE])
def test_tls_does_not_heal_while_a_request_waits(failure):
    """Others are tried, for free; where none is left, the client is told at once."""
    a, b = up("a"), up("b")
    assert way(((a,), (b,)), 1, failure) == [a, b]
    assert retry.is_free(failure, a.backend)
    assert not waits(failure, ((down("a"),),), 1)


def test_an_unwanted_answer_leads_to_the_next_model():
    """Whoever else serves this one is passed over; after the last there is nothing more."""
    a, b, c = up("a"), up("b", 5), up("c")
    tiers = ((a, b), (c,))
    assert way(tiers, 9, Failure.UNWANTED, Failure.UNWANTED) == [a, c, None]
    assert way(tiers, 9, Failure.CLOSED, Failure.UNWANTED) == [a, b, c]
    assert way(tiers, 0, Failure.UNWANTED) == [a, None]


def test_a_retry_goes_to_a_full_backend():
    """It has waited already; a first attempt would wait here."""
    a, b = up("a"), up("b", 1)
    b.backend.cap = Cap(1)
    assert way(((a, b),), 1, Failure.CLOSED) == [a, b]
    assert first("m", ((b,),), lowest) is None


def test_whoever_comes_after_those_who_wait_waits():
    """Though there is room this very moment: it is for those."""
    some, tiers = dispatcher(lowest), ((up("a"),),)
    some.admission.enter("m", "a request", "", 0, 10, 0.0)
    assert retry.first("x", "m", Way(tiers, DIRECT), Ask(10), some, 0.0) is None
    assert retry.first("x", "other", Way(tiers, DIRECT), Ask(10), some, 0.0) is tiers[0][0]


# Whose fault an error is


def rival(tiers, tried, chooses) -> Candidate | None:
    return retry.rival(Way(tiers, DIRECT), tried, Ask(10), chooses, 0.0)


def test_a_rival_is_of_the_same_model_and_up():
    """Not tried yet, and not one that has just refused such a request; whether it has room or not."""
    a, b, c = up("a"), up("b", 1), up("c")
    b.backend.cap = Cap(1)
    assert rival(((a, b), (c,)), (a,), dispatcher(lowest)) is b
    assert rival(((a, b), (c,)), (a, b), dispatcher(lowest)) is None
    assert rival(((a, down("d")),), (a,), dispatcher(lowest)) is None
    chooses = dispatcher(lowest)
    chooses.ledger.aside.put(Kind(b.backend), 0.0)
    assert rival(((a, b),), (a,), chooses) is None


def test_the_rival_that_errs_least_is_asked():
    """Of two bad ones and a good one, the good one shows it."""
    a, b, c = up("a"), up("b"), up("c", 9)
    b.backend.errors = 1
    assert rival(((a, b, c),), (a,), dispatcher(lowest)) is c


@pytest.mark.parametrize("failure", [Failure.DENIED, Failure.ERROR])
def test_after_an_error_a_rival_is_asked(failure):
    """Of the same model alone, and as often as retries allow."""
    a, b, c = up("a"), up("b", 5), up("c")
    assert way(((a, b), (c,)), 9, failure, failure) == [a, b, None]
    assert way(((a, b),), 0, failure) == [a, None]


def test_what_is_turned_away_at_the_door_is_no_load():
    """An engine that says 500 may have worked on it."""
    assert [retry.failure_of(status) for status in (401, 404, 500, 501)] == [Failure.DENIED] * 2 + [Failure.ERROR] * 2
    assert retry.is_free(Failure.DENIED, up("a").backend)
    assert not retry.is_free(Failure.ERROR, up("a").backend)


def test_what_speaks_of_the_request_is_believed_of_who_is_not_in_doubt():
    """In doubt is who errs in a row, who failed of late, and who is on trial."""
    well, errs, suspect, trial, probed = (up(name).backend for name in "abcde")
    errs.errors = DOUBT
    suspect.health = failed(WELL, Thresholds(), "why", probe=False)
    trial.health = Health(Verdict.PROBING)
    probed.health = failed(WELL, Thresholds(), "why", probe=True)
    assert [retry.is_doubtful(422, each) for each in (well, probed, errs, suspect, trial)] == [False] * 2 + [True] * 3
    assert retry.is_doubtful(401, well)


@pytest.mark.parametrize("status", [401, 402, 403, 407])
def test_a_key_that_is_refused_is_its_owners_fault(status):
    """The router's own, that is; of the client's key it says nothing of the backend."""
    assert retry.is_unable(status, own_key=True)
    assert not retry.is_unable(status, own_key=False)


def test_a_model_that_is_not_there_can_not_be_served():
    """Whoever asks; of what else a client might be at fault, the next model isn't asked."""
    assert retry.is_unable(404, own_key=False)
    assert not any(retry.is_unable(status, own_key=True) for status in (400, 405, 422, 429, 500))


# Who is about to be there


def coming(name) -> Candidate:
    return Candidate(Backend(name, {}, health=declared(up=False, coming=True), supervised=True), "m")


def waits(failure, tiers, attempts, retries=2, age=0.0) -> bool:
    tried = [tiers[0][0]] * attempts
    return retry.may_wait(failure, Way(tiers, DIRECT), tried, retries, age, dispatcher(lowest))


def test_an_engine_that_is_about_to_be_there_is_waited_for():
    """At first, and again where it was gone before it answered; one that is gone for good isn't."""
    assert first("m", ((down("a"), coming("b")),), lowest) is None
    assert waits(Failure.REFUSED, ((down("a"), coming("b")),), 1)
    assert not waits(Failure.REFUSED, ((down("a"), up("b")),), 1)


def test_who_waits_again_does_not_end_engines_for_ever():
    """What was read has one attempt more than others, what no engine has read has as many as its time allows."""
    tiers = ((coming("a"),),)
    assert [waits(Failure.CLOSED, tiers, attempts) for attempts in (1, 3, 4)] == [True, True, False]
    assert waits(Failure.REFUSED, tiers, 9)
    assert not waits(Failure.REFUSED, tiers, 9, age=60.0)


@pytest.mark.parametrize("failure", sorted(set(Failure) - RETRY_SAME - FREE_RETRY - UNREACHED, key=str))
def test_what_an_engine_has_answered_does_not_wait_again(failure):
    """Nor what it was silent on."""
    assert not waits(failure, ((coming("a"),),), 1)


def test_what_a_dying_engine_lets_go_of_is_no_load():
    """One that is launched here, that is; of others nobody knows."""
    assert retry.is_free(Failure.CLOSED, coming("a").backend)
    assert not retry.is_free(Failure.STATUS, coming("a").backend)
    assert [retry.is_free(failure, up("a").backend) for failure in (Failure.CLOSED, Failure.REFUSED)] == [
        False,
        True,
    ]


def test_what_a_server_that_is_gone_lets_go_of_is_no_load():
    """Whoever launched it."""
    backend = up("a").backend
    backend.health = failed(WELL, Thresholds(), "why", probe=False, refused=True)
    assert retry.is_free(Failure.CLOSED, backend)
    assert not retry.is_free(Failure.STATUS, backend)


def test_what_reached_nobody_waits_for_who_is_coming():
    """However often; and costs nothing elsewhere, once it is known that the machine is away."""
    assert waits(Failure.CONNECT_TIMEOUT, ((coming("a"),),), 9)
    backend = up("a").backend
    assert not retry.is_free(Failure.CONNECT_TIMEOUT, backend)
    backend.health = declared(up=False, reason="is asleep", due=inf)
    assert retry.is_free(Failure.CONNECT_TIMEOUT, backend)


def test_the_next_model_of_a_route_is_no_retry():
    """Its own rule sends the request there."""
    assert retry.is_free(Failure.UNWANTED, up("a").backend)


# Who is asked, too, while the first is silent


def second(tiers, tried, dispatcher) -> Candidate | None:
    return retry.second(Way(tiers, DIRECT), tried, Ask(10), dispatcher, 0.0)


def test_a_second_is_of_the_same_model():
    """What a route would try next is for failures, not for slowness."""
    a, b, c = up("a", 1), up("b", 3), up("c")
    assert second(((a, b), (c,)), (a,), dispatcher(lowest)) is b
    assert second(((a,), (c,)), (a,), dispatcher(lowest)) is None
    assert second(((a, b), (c,)), (c,), dispatcher(lowest)) is None


def test_a_second_has_not_been_tried_and_has_room():
    """Else it would be no sooner."""
    a, b, full = up("a"), up("b"), up("full", 1)
    full.backend.cap = Cap(1)
    assert second(((a, b),), (a, b), dispatcher(lowest)) is None
    assert second(((a, full),), (a,), dispatcher(lowest)) is None


def test_a_second_is_not_one_that_looks_bad():
    """Not even where the first looks bad by now."""
    assert second(((down("a"), down("b")),), (down("c"),), dispatcher(lowest)) is None
    a = down("a")
    assert second(((a, down("b")),), (a,), dispatcher(lowest)) is None


def test_nobody_is_asked_twice_while_somebody_waits():
    """What room there is, is for those."""
    a, b = up("a"), up("b")
    chooses = dispatcher(lowest)
    chooses.admission.enter("other", "somebody", "", 0, 1, 0.0)
    assert second(((a, b),), (a,), chooses) is None


# Models that load and unload by themselves


def unloaded(name) -> Candidate:
    return Candidate(Backend(name, {}, resident=name, health=declared(up=False, coming=True)), "m")


@pytest.mark.parametrize("failure", [Failure.STATUS, Failure.CONNECT_TIMEOUT, Failure.FIRST_BYTE_TIMEOUT])
def test_where_the_others_have_failed_a_model_is_loaded_for_a_request(failure):
    """Which goes to none of those any more; but only so often."""
    a, b, c = up("a"), up("b"), unloaded("c")
    assert retry.unfit(failure, Way(((a, b), (c,)), DIRECT), (a, b), 2) == (a.backend, b.backend)
    assert retry.unfit(failure, Way(((a, b), (c,)), DIRECT), (a, b), 1) == ()
    assert retry.unfit(failure, Way(((a, b), (c,)), DIRECT), (a, b), 2, {c.backend: "ops"}) == ()
    assert retry.unfit(failure, Way(((a, b),), DIRECT), (a, b), 2) == ()


def test_where_a_route_goes_on_the_next_model_is_loaded():
    """Not another backend of the model whose answer it goes on after."""
    a, b, c = up("a"), unloaded("b"), unloaded("c")
    assert retry.unfit(Failure.UNWANTED, Way(((a, b),), DIRECT), (a,), 2) == ()
    tiers = ((a, b), (c,))
    assert set(retry.unfit(Failure.UNWANTED, Way(tiers, DIRECT), (a,), 2)) == {a.backend, b.backend}


@pytest.mark.parametrize("failure", sorted(retry.NEVER_LOADS, key=str))
def test_no_model_is_loaded_to_find_out_whose_fault_an_error_is(failure):
    a, b = up("a"), unloaded("b")
    assert retry.unfit(failure, Way(((a, b),), DIRECT), (a,), 2) == ()


def test_a_request_of_a_route_overtakes_nobody_where_those_who_wait_can_not_go():
    """They wait for the first model alone. Where one of them may go there, it waits behind them."""
    a = unloaded("a")
    b = Candidate(Backend("b", {"small": "small"}, health=declared(up=True)), "small")
    made, tiers = dispatcher(lowest), Way(((a,), (b,)), Route(("m", "small")))
    made.admission.enter("m", "direct", "", 0, 1, 0.0)
    assert retry.first("route", "m", tiers, Ask(10), made, 0.0) is b
    assert retry.first("m", "m", Way(((a,),), DIRECT), Ask(10), made, 0.0) is None
    b.backend.models = {"m": "m"}
    assert retry.first("route", "m", tiers, Ask(10), made, 0.0) is None
    b.backend.models = {"small": "small"}
    made.admission.enter("m", "by the route", "", 0, 1, 0.0, wide=True)
    assert retry.first("route", "m", tiers, Ask(10), made, 0.0) is None


def test_a_request_of_a_route_waits_where_all_its_models_are_full():
    a, b = unloaded("a"), up("b")
    b.backend.cap = Cap(0)
    made = dispatcher(lowest)
    made.admission.enter("m", "direct", "", 0, 1, 0.0)
    assert retry.first("route", "m", Way(((a,), (b,)), Route(("m", "small"))), Ask(10), made, 0.0) is None


def test_what_takes_no_engines_time_goes_at_once():
    """Whether there is room or not, and past all who wait."""
    full = up("a", 1)
    full.backend.cap = Cap(1)
    some, way = dispatcher(lowest), Way(((full,),), DIRECT)
    assert retry.first("m", "m", way, Ask(1), some, 0.0) is None
    assert retry.first("m", "m", way, Ask(1), some, 0.0, at_once=True) is full
