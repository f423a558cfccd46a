"""What an exchange's attempts show of their backends, and whether there is another, without sockets."""

import pytest
from structlog.testing import capture_logs

from router.core.catalog import Route
from router.core.outline import Texts
from router.core.retry import Failure
from tests.fakes.wired import EVENT, LAST, PING, Scene, begin_hedge
from tests.running import eventually


@pytest.fixture
async def scene():
    made = Scene("a", "b")
    yield made
    made.plane.close()


def noted(scene, name):
    """Note each call of one of the ledger's or the plane's methods: the backend's name, and the rest."""
    told: list[tuple[object, ...]] = []
    owner = scene.plane.ledger if hasattr(scene.plane.ledger, name) else scene.plane
    setattr(owner, name, lambda backend, *rest, **more: told.append((backend.name, *rest, *more.values())))
    return told


# What is learned of a backend


async def test_the_first_content_alone_teaches_how_fast_prompts_are_read(scene):
    """Since the request was sent there: neither pings nor what follows, nor the time in the queue."""
    told = noted(scene, "read_prompt")
    exchange, _ = scene.ask()
    exchange.began -= 100.0
    wire = scene.wire(0)
    sent_at = exchange._attempts.current.sent.at
    wire.head()
    wire.body(PING)
    exchange.look(sent_at + 1.0)
    assert told == []
    wire.body(EVENT)
    exchange.look(sent_at + 3.0)
    assert told == [("a", exchange.ask.size, pytest.approx(3.0))]
    for seconds in (4.0, 5.0):
        wire.body(EVENT)
        exchange.look(sent_at + seconds)
    assert len(told) == 1
    exchange.cancel()


async def test_the_first_token_is_noted_once_and_no_ping_is_one(scene):
    """When it came, not when it was looked at."""
    told = noted(scene, "first_token")
    exchange, _ = scene.ask()
    wire = scene.wire(0)
    wire.head()
    wire.body(PING)
    assert told == []
    wire.body(EVENT)
    wire.body(EVENT)
    assert [each[0] for each in told] == ["a"]
    exchange.cancel()


async def test_an_event_that_comes_in_two_pieces_is_noted_at_the_next_look(scene):
    """Behind pings: no piece begins with it."""
    told = noted(scene, "first_token")
    exchange, _ = scene.ask()
    wire = scene.wire(0)
    wire.head()
    for piece in (PING, EVENT[:3], EVENT[3:]):
        wire.body(piece)
    exchange.look(exchange.began + 5.0)
    assert exchange.answer.begun_at is not None
    assert [each[0] for each in told] == ["a"]
    exchange.cancel()


async def test_an_error_says_nothing_of_how_soon_a_backend_begins(scene):
    told = noted(scene, "first_token")
    exchange, client = scene.ask()
    scene.wire(0).head(400)
    scene.wire(0).body(EVENT)
    scene.wire(0).end()
    assert told == []
    assert client.ended == "kept"
    assert exchange.answer.begun_at is not None


async def test_while_its_client_is_slow_nobody_hears_an_engine(scene):
    """That it is silent then says nothing of it, nor what it took."""
    muted, excused = noted(scene, "muted"), noted(scene, "excused")
    exchange, _ = scene.ask()
    wire = scene.wire(0)
    exchange.pause()
    assert wire.paused
    assert exchange.silence(1e9) is None
    exchange.resume()
    assert not wire.paused
    assert [each[-1] for each in muted] == [True, False]
    assert exchange.silence(1e9) is not None
    exchange.pause()
    exchange.cancel()
    assert [each[0] for each in excused] == ["a"]


async def test_while_a_client_sends_its_body_an_engine_owes_nothing() -> None:
    """Its time for an answer begins once it has all of the request; until then no other engine is asked."""
    scene, texts = Scene("a", "b", hedge_after=1e6), Texts(b"5ec4e7")
    texts.expect(2)
    exchange, client = scene.ask(texts=texts)
    assert exchange._attempts.current is not None
    sent_at, limit = exchange._attempts.current.sent.at, scene.plane.limits.first_byte_timeout
    for seconds in (limit, 2 * limit):
        exchange.look(sent_at + seconds)
        exchange.leave(sent_at + seconds)
        assert exchange.silence(sent_at + seconds) is None
    begin_hedge(exchange)
    assert scene.asked() == [1, 0]
    texts.follow(b"ab")
    exchange.look(sent_at + 3 * limit - 1)
    silence = exchange.silence(sent_at + 2 * limit + 7)
    assert silence is not None
    assert silence.seconds == pytest.approx(7)
    assert client.ended == ""
    exchange.look(sent_at + 3 * limit)
    assert scene.asked() == [1, 1]
    scene.plane.close()


async def test_a_client_that_does_not_read_its_last_answer_costs_no_backend_its_health(scene):
    """The next answer is not read meanwhile: that none has come says nothing of its engine."""
    failed = noted(scene, "failed")
    exchange, client = scene.ask()
    exchange.pause()
    sent_at, limit = exchange._attempts.current.sent.at, scene.plane.limits.first_byte_timeout
    exchange.look(sent_at + limit - 1)
    assert client.ended == ""
    exchange.look(sent_at + limit)
    assert (failed, client.ended, scene.asked()) == ([], "aborted", [1, 0])
    assert (scene.records[0].status, scene.backends[0].in_flight) == (499, 0)


async def test_silence_grows_from_the_last_sign_of_work(scene):
    """Its first content ends the time in which it may have read the prompt."""
    exchange, _ = scene.ask()
    wire, sent_at = scene.wire(0), exchange._attempts.current.sent.at
    assert exchange.silence(sent_at + 7).seconds == pytest.approx(7)
    assert not exchange.silence(sent_at + 7).begun
    wire.head()
    wire.body(EVENT)
    exchange.look(sent_at + 10)
    assert exchange.silence(sent_at + 12).seconds == pytest.approx(2)
    assert exchange.silence(sent_at + 12).begun
    exchange.cancel()
    assert exchange.silence(sent_at + 13) is None


# Failures


async def test_a_failure_before_anything_has_another_backend_asked(scene):
    """It counts against the first one; the client hears of the second alone."""
    failed = noted(scene, "failed")
    _, client = scene.ask()
    scene.wire(0).fail()
    assert scene.asked() == [1, 1]
    assert [each[0] for each in failed] == ["a"]
    scene.wire(1).head()
    scene.wire(1).body(EVENT)
    scene.wire(1).end()
    assert client.got.count(EVENT) == 1
    assert (scene.records[0].backend, scene.records[0].attempts) == ("b", 2)


async def test_a_backend_is_blamed_once_a_request(scene):
    """But for what no request can bring about."""
    failed = noted(scene, "failed")
    exchange, _ = scene.ask()
    attempts, attempt = exchange._attempts, exchange._attempts.current
    for failure in (Failure.CLOSED, Failure.BROKEN, Failure.REFUSED, Failure.REFUSED):
        attempts.blame(failure, attempt)
    assert [each[1] for each in failed] == [Failure.CLOSED.value, Failure.REFUSED.value, Failure.REFUSED.value]
    assert [each[-1] for each in failed] == [False, True, True]
    exchange.cancel()


@pytest.mark.parametrize("failure", [Failure.STALE, Failure.NO_FILES])
async def test_what_is_not_its_fault_excuses_it(scene, failure):
    failed, excused = noted(scene, "failed"), noted(scene, "excused")
    exchange, _ = scene.ask()
    exchange._attempts.blame(failure, exchange._attempts.current)
    assert (failed, [each[0] for each in excused]) == ([], ["a"])
    exchange.cancel()


@pytest.mark.parametrize(("supervised", "vanished"), [(True, ["a"]), (False, [])])
async def test_where_nobody_listens_a_launched_engine_is_gone(scene, supervised, vanished):
    """Its supervisor is about to say so."""
    told = noted(scene, "vanished")
    scene.backends[0].supervised = supervised
    scene.plane.vanished = lambda backend, _: told.append((backend.name,))
    exchange, _ = scene.ask()
    exchange._attempts.blame(Failure.REFUSED, exchange._attempts.current)
    assert [each[0] for each in told] == vanished
    exchange.cancel()


async def test_a_kept_connection_that_was_closed_is_made_anew_at_the_same_backend(scene):
    """It is one attempt, not two."""
    exchange, client = scene.ask()
    scene.wire(0).fail(Failure.STALE)
    await eventually(lambda: scene.pools[0].connects == 1 and scene.wire(0).sent)
    scene.wire(0).head()
    scene.wire(0).body(EVENT)
    scene.wire(0).end()
    assert (scene.asked(), scene.records[0].attempts) == ([2, 0], 1)
    assert client.got.count(EVENT) == 1
    assert exchange._attempts.tried[0].backend is scene.backends[0]


async def test_where_the_budget_is_spent_there_is_no_other_attempt(scene):
    """The client gets the error."""
    scene.plane.ledger.budget.withdraw = lambda _: False
    _, client = scene.ask()
    scene.wire(0).head()
    scene.wire(0).fail(Failure.CLOSED)
    assert scene.asked() == [1, 0]
    assert client.got.startswith(b"HTTP/1.1 502 ")
    assert scene.records[0].status == 502


@pytest.mark.parametrize("coming", [False, True])
async def test_where_there_is_no_other_backend_a_coming_engine_is_waited_for(coming):
    """And where none is coming, its client gets the error."""
    scene = Scene("a")
    exchange, client = scene.ask()
    if coming:
        scene.plane.withdraw(scene.backends[0], "starts again", due=0.0)
    for _ in range(1 if coming else 1 + scene.plane.limits.retries):  # asked again: it may have been the connection
        scene.wire(0).fail(Failure.CLOSED)
    assert scene.asked() == [1 if coming else 3]
    assert client.got[:13] == (b"" if coming else b"HTTP/1.1 502 ")
    assert len(scene.plane.dispatcher.admission) == int(coming)
    exchange.cancel()
    scene.plane.close()


async def test_an_answer_that_breaks_off_is_not_tried_again(scene):
    """Its client has a part of it: it is told so."""
    _, client = scene.ask()
    scene.wire(0).head()
    scene.wire(0).body(EVENT)
    scene.wire(0).fail(Failure.BROKEN)
    assert scene.asked() == [1, 0]
    assert b'"error"' in client.got
    assert client.ended == "hung up"


async def test_a_message_that_is_whole_has_not_failed(scene):
    """Whatever its framing still lacks; the connection gets a moment for that."""
    failed = noted(scene, "failed")
    _, client = scene.ask()
    scene.wire(0).head()
    scene.wire(0).body(EVENT + LAST)
    scene.wire(0).fail(Failure.BROKEN)
    assert (failed, scene.records[0].status, scene.records[0].outcome) == ([], 200, "answered")
    assert client.got.endswith(LAST)
    assert scene.wire(0).left_for is not None


async def test_who_waits_again_may_go_to_a_backend_that_joined_while_it_was_sent():
    """An attempt keeps what the name meant when it began; the queue goes by what it means now."""
    alone = Scene("a")
    alone.backends[0].supervised = True
    exchange, client = alone.ask()
    alone.join("b")
    alone.wire(0).fail(Failure.REFUSED)
    assert exchange.queued is not None
    await eventually(lambda: alone.asked() == [1, 1])
    alone.wire(1).head()
    alone.wire(1).body(EVENT)
    assert client.got.endswith(EVENT)
    exchange.cancel()
    alone.plane.close()


# Bugs in the router


def raises(*_, **__):
    raise ValueError("a bug")


@pytest.mark.parametrize("body", [EVENT, EVENT + LAST])
async def test_a_bug_at_an_answers_end_is_told_at_once(scene, body):
    """The connection tells the end once: else the client would wait for it until the idle timeout."""
    scene.plane.answered = raises
    _, client = scene.ask()
    scene.wire(0).head()
    scene.wire(0).body(body)
    with capture_logs() as said:
        scene.wire(0).end()
    assert [each["event"] for each in said] == ["a request failed because of a bug in the router"]
    assert client.ended == "hung up"
    assert (scene.records[0].outcome, scene.backends[0].in_flight) == ("a bug in the router", 0)


@pytest.mark.parametrize("by", ["its connection", "the plane"])
async def test_a_bug_after_a_failure_is_told_at_once(scene, by):
    """Nor is there anything more to come of an attempt that failed."""
    scene.plane.failed = raises
    exchange, client = scene.ask()
    if by == "its connection":
        scene.wire(0).fail()
    else:
        exchange.fail(Failure.CLOSED, "as the test says")
    assert client.got.startswith(b"HTTP/1.1 500 ")
    assert (scene.records[0].outcome, scene.backends[0].in_flight) == ("a bug in the router", 0)


async def test_a_bug_before_the_first_byte_is_told_in_an_answer(scene):
    """Its head has not been sent yet: an event alone would be no HTTP. The loop closes the connection after that."""
    scene.plane.ledger.first_token = raises
    _, client = scene.ask()
    scene.wire(0).head()
    with pytest.raises(ValueError, match="a bug"):
        scene.wire(0).body(EVENT)
    scene.wire(0).fail(Failure.BROKEN)
    assert client.got.startswith(b"HTTP/1.1 502 ")
    assert (client.ended, scene.records[0].status) == ("kept", 502)


async def test_a_bug_while_it_connects_is_told_at_once(scene):
    scene.pools[0].refuses = Failure.UNKNOWN
    scene.plane.failed = raises
    _, client = scene.ask()
    await eventually(lambda: client.got.startswith(b"HTTP/1.1 500 "))
    assert scene.backends[0].in_flight == 0


# A second attempt


async def test_a_slow_clients_winner_is_not_read_either():
    """It was the loser that was paused."""
    scene = Scene("a", "b", hedge_after=60.0)
    exchange, _ = scene.ask()
    begin_hedge(exchange)
    exchange.pause()
    assert (scene.wire(0).paused, scene.wire(1).paused) == (True, False)
    scene.wire(1).head()
    scene.wire(1).body(EVENT)
    assert scene.wire(1).paused
    exchange.resume()
    assert not scene.wire(1).paused
    exchange.cancel()
    scene.plane.close()


async def test_a_client_that_listens_has_its_winner_read():
    scene = Scene("a", "b", hedge_after=60.0)
    exchange, _ = scene.ask()
    begin_hedge(exchange)
    scene.wire(1).head()
    scene.wire(1).body(EVENT)
    assert not scene.wire(1).paused
    exchange.cancel()
    scene.plane.close()


async def test_a_silent_backend_is_left_for_one_with_room():
    """Nothing of the answer has come; a client that is slow has it stay."""
    scene = Scene("a", "b", stall_after=10.0)
    exchange, _ = scene.ask()
    exchange.pause()
    exchange.leave(1e9)
    assert scene.asked() == [1, 0]
    exchange.resume()
    exchange.leave(1e9)
    assert scene.asked() == [1, 1]
    assert scene.wire(0).aborted
    exchange.cancel()
    scene.plane.close()


# Errors that may be the backend's fault (proxy.refusals)


@pytest.mark.parametrize(("status", "asks_another"), [(409, True), (422, False)])
async def test_after_a_status_that_a_route_names_its_next_model_answers(status, asks_another):
    """After another one it doesn't."""
    scene = Scene("a", "b")
    scene.backends[1].models = {"n": "n"}
    scene.plane.directory.route({"x": Route(("m", "n"), next_on=frozenset({409}))})
    scene.plane.directory.rebuild()
    _, client = scene.ask(model="x")
    scene.wire(0).head(status, stream=False)
    assert scene.asked() == [1, int(asks_another)]
    wire = scene.wire(int(asks_another))
    if asks_another:
        wire.head()
    wire.body(EVENT)
    wire.end()
    assert EVENT in client.got
    assert scene.records[0].status == (200 if asks_another else status)
    scene.plane.close()


async def test_what_another_backend_answers_disproves_the_one_that_refused(scene):
    """With its status; the client gets the answer alone."""
    told: list[tuple[str, int]] = []
    scene.plane.disproved = lambda candidate, _, status, __: told.append((candidate.backend.name, status))
    _, client = scene.ask()
    scene.wire(0).head(500, stream=False)
    scene.wire(0).body(b"it is broken")
    scene.wire(0).end()
    assert (scene.asked(), client.got) == ([1, 1], b"")
    scene.wire(1).head()
    scene.wire(1).body(EVENT)
    scene.wire(1).end()
    assert told == [("a", 500)]
    assert b"broken" not in client.got


async def test_what_all_refuse_is_told_in_the_words_of_the_first(scene):
    """Nobody is at fault."""
    told: list[object] = []
    scene.plane.disproved = lambda *each: told.append(each)
    _, client = scene.ask()
    for number, words in enumerate((b"first words", b"second words")):
        scene.wire(number).head(500, stream=False)
        scene.wire(number).body(words)
        scene.wire(number).end()
    assert b"first words" in client.got
    assert b"second words" not in client.got
    assert (scene.records[0].status, scene.records[0].backend, told) == (500, "a", [])


async def test_words_that_are_not_whole_are_not_told(scene):
    """The second one's are, which are."""
    exchange, client = scene.ask()
    scene.wire(0).head(500, stream=False)
    scene.wire(0).body(b"first w")
    exchange.look(exchange._attempts.current.doubted_at + 60.0)
    assert scene.asked() == [1, 1]
    scene.wire(1).head(500, stream=False)
    scene.wire(1).body(b"second words")
    scene.wire(1).end()
    assert b"second words" in client.got
    assert b"first w" not in client.got
