"""The race of two attempts, without sockets: who wins, what the loser is told, and whose fault it is."""

import pytest
from structlog.testing import capture_logs

from router.core.errors import BadRequestError
from router.core.retry import Failure
from tests.fakes.wired import EVENT, LAST, PING, Scene, begin_hedge, timer_of
from tests.running import eventually


@pytest.fixture
async def scene():
    """Two backends; a second one is asked when the test says so."""
    made = Scene("a", "b", hedge_after=60.0)
    yield made
    made.plane.close()


def at_work(scene):
    return [backend.in_flight for backend in scene.backends]


async def test_the_first_words_of_the_second_win(scene):
    """The first one is closed in the same turn; the record tells of both."""
    exchange, client = scene.ask()
    begin_hedge(exchange)
    assert (scene.asked(), at_work(scene)) == ([1, 1], [1, 1])
    scene.wire(1).head()
    assert not scene.wire(0).aborted
    scene.wire(1).body(EVENT)
    assert (scene.wire(0).aborted, at_work(scene)) == (True, [0, 1])
    scene.wire(1).body(LAST)
    scene.wire(1).end()
    assert EVENT in client.got
    assert client.ended == "kept"
    (record,) = scene.records
    assert (record.backend, record.status, record.attempts, record.hedge) == ("b", 200, 2, "won")
    assert at_work(scene) == [0, 0]


async def test_the_first_words_of_the_first_end_the_second(scene):
    """Which nobody is blamed for."""
    exchange, client = scene.ask()
    begin_hedge(exchange)
    scene.wire(0).head()
    scene.wire(0).body(EVENT)
    assert (scene.wire(1).aborted, at_work(scene)) == (True, [1, 0])
    scene.wire(0).end()
    (record,) = scene.records
    assert (record.backend, record.hedge) == ("a", "lost")
    assert EVENT in client.got
    assert [backend.errors for backend in scene.backends] == [0, 0]


async def test_an_answer_before_its_time_has_no_second_attempt(scene):
    """Its timer is gone: it would ask somebody for nobody."""
    exchange, _ = scene.ask()
    timer = timer_of(exchange)
    scene.wire(0).head()
    scene.wire(0).body(EVENT)
    assert timer.cancelled()
    scene.wire(0).end()
    assert scene.asked() == [1, 0]


async def test_the_timer_of_an_exchange_whose_client_has_left_is_gone(scene):
    exchange, _ = scene.ask()
    timer = timer_of(exchange)
    exchange.cancel()
    assert timer.cancelled()


async def test_pings_of_both_are_held_until_one_says_more(scene):
    """One byte at the client would end the race."""
    exchange, client = scene.ask()
    begin_hedge(exchange)
    for wire in (scene.wire(0), scene.wire(1)):
        wire.head()
        wire.body(PING)
    assert client.got == b""
    scene.wire(1).body(EVENT)
    assert client.got.endswith(PING + EVENT)
    assert client.got.count(PING) == 1


async def test_too_many_pings_decide_too(scene):
    """The client is to see that somebody lives."""
    exchange, client = scene.ask()
    begin_hedge(exchange)
    scene.wire(1).head()
    for _ in range(64 // len(PING)):
        scene.wire(1).body(PING * len(PING))
    assert client.got.count(PING) == 64
    assert scene.wire(0).aborted


async def test_an_error_of_the_second_is_no_answer_to_win_with(scene):
    """Its status counts against its backend; the first one goes on."""
    exchange, client = scene.ask()
    begin_hedge(exchange)
    scene.wire(1).head(500, stream=False)
    assert scene.wire(1).aborted
    assert scene.backends[1].errors == 1
    scene.wire(0).head()
    scene.wire(0).body(EVENT)
    assert client.got.endswith(EVENT)
    assert at_work(scene) == [1, 0]


@pytest.mark.parametrize("failure", [Failure.CLOSED, Failure.BROKEN, Failure.GARBLED])
async def test_a_failure_of_the_second_is_its_own(scene, failure):
    """The first one goes on, and the client hears nothing of it."""
    failed: list[tuple[str, str]] = []
    scene.plane.failed = lambda backend, reason, *_, **__: failed.append((backend.name, reason))
    exchange, client = scene.ask()
    begin_hedge(exchange)
    scene.wire(1).fail(failure)
    assert failed == [("b", failure.value)]
    assert at_work(scene) == [1, 0]
    scene.wire(0).head()
    scene.wire(0).body(EVENT)
    assert client.got.endswith(EVENT)


async def test_a_kept_connection_of_the_second_that_was_closed_is_made_anew(scene):
    """Nobody is to blame for that."""
    failed: list[str] = []
    scene.plane.failed = lambda backend, *_, **__: failed.append(backend.name)
    exchange, client = scene.ask()
    begin_hedge(exchange)
    scene.wire(1).fail(Failure.STALE)
    await eventually(lambda: len(scene.pools[1].made_of) == 2 and scene.wire(1).sent)
    scene.wire(1).head()
    scene.wire(1).body(EVENT)
    assert client.got.endswith(EVENT)
    assert (failed, scene.wire(0).aborted) == ([], True)
    assert scene.pools[1].connects == 1  # the other kept ones may be closed, too


async def test_a_failure_of_the_first_leaves_the_second(scene):
    """It is the exchange's own from there on."""
    exchange, client = scene.ask()
    begin_hedge(exchange)
    scene.wire(0).fail()
    assert not scene.wire(1).aborted
    scene.wire(1).head()
    scene.wire(1).body(EVENT)
    scene.wire(1).end()
    assert client.got.endswith(b"0\r\n\r\n") or client.got.endswith(EVENT)
    assert scene.records[0].backend == "b"


@pytest.mark.parametrize(
    ("error", "logged"), [(ValueError("a bug"), ["a second attempt failed because of a bug in the router"]),
                          (BadRequestError("not for this engine"), [])]
)  # fmt: skip
async def test_a_second_attempt_that_can_not_be_sent_is_nobodys_fault(scene, error, logged):
    """A bug in the router is logged; what can't be said to this engine is none. The first one goes on."""
    excused: list[str] = []
    scene.plane.excused = lambda backend, _: excused.append(backend.name)

    def put_right(*_):
        raise error

    scene.backends[1].put_right = put_right
    exchange, client = scene.ask()
    with capture_logs() as said:
        begin_hedge(exchange)
    assert [each["event"] for each in said if each["log_level"] == "error"] == logged
    assert excused == ["b"]
    assert at_work(scene) == [1, 0]
    scene.wire(0).head()
    scene.wire(0).body(EVENT)
    assert client.got.endswith(EVENT)


async def test_nobody_else_is_asked_where_there_is_nobody_or_nothing_to_pay_with(scene):
    """Then the first one's pings are passed on."""
    scene.plane.ledger.budget.withdraw = lambda _: False
    exchange, client = scene.ask()
    scene.wire(0).head()
    scene.wire(0).body(PING)
    assert client.got == b""
    begin_hedge(exchange)
    assert scene.asked() == [1, 0]
    assert client.got.endswith(PING)


async def test_a_second_backend_that_is_taken_out_loses(scene):
    """And the first one alone goes on."""
    exchange, _ = scene.ask()
    begin_hedge(exchange)
    exchange.lose_at(scene.backends[0])
    assert not scene.wire(1).aborted
    exchange.lose_at(scene.backends[1])
    assert (scene.wire(1).aborted, scene.wire(0).aborted) == (True, False)


async def test_nobody_else_is_asked_while_nobody_listens_to_the_first(scene):
    """Its silence may be the client's."""
    exchange, _ = scene.ask()
    exchange.pause()
    begin_hedge(exchange)
    assert scene.asked() == [1, 0]
    exchange.cancel()
