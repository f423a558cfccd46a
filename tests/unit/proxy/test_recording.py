"""What is remembered of an exchange: each attempt with its times, its end and why it was made there; and its waits."""

import pytest

from router.core.admission import Cap
from router.core.decision import summary
from router.core.ending import told_by
from router.core.retry import Failure
from router.core.timeline import NEVER
from router.core.usage import Meter
from router.proxy.heads import parse_response
from tests.fakes.wired import EVENT, LAST, Scene, begin_hedge
from tests.running import eventually


@pytest.fixture
async def scene():
    """Two backends; a second one is asked when the test says so."""
    made = Scene("a", "b", hedge_after=60.0)
    yield made
    made.plane.close()


def answer(wire):
    wire.head()
    wire.body(EVENT)
    wire.body(LAST)
    wire.end()


def ends(tries):
    return [(each.backend, each.status, each.outcome) for each in tries]


def are_in_order(each):
    return 0 <= each.begun <= each.head <= each.first_byte <= each.ended


async def test_an_attempt(scene):
    """While it is under way, what has happened so far; then its end, and what was compared when it was made."""
    exchange, _ = scene.ask()
    (so_far,) = exchange.tries
    assert (so_far.backend, so_far.head, so_far.first_byte, so_far.ended) == ("a", NEVER, NEVER, NEVER)
    assert (so_far.status, so_far.outcome) == (0, "")
    scene.wire(0).head()
    (so_far,) = exchange.tries
    assert so_far.head >= so_far.begun
    assert (so_far.status, so_far.first_byte) == (200, NEVER)
    scene.wire(0).body(EVENT)
    assert exchange.tries[0].first_byte >= so_far.head
    scene.wire(0).body(LAST)
    scene.wire(0).end()
    (record,) = scene.records
    assert ends(record.tries) == [("a", 200, "answered")]
    assert are_in_order(record.tries[0])
    assert summary(record.tries[0].why, "a") == "round_robin: 0 turns, as good as b"
    assert record.waits == ()


async def test_an_attempt_that_failed_and_the_next(scene):
    """Its end says how it failed; of the next one it is told that the first was tried."""
    scene.ask()
    scene.wire(0).fail()
    answer(scene.wire(1))
    (record,) = scene.records
    assert ends(record.tries) == [
        ("a", 0, "closed the connection without an answer (as the test says)"),
        ("b", 200, "answered"),
    ]
    first, second = record.tries
    assert (first.head, first.first_byte) == (NEVER, NEVER)
    assert first.ended <= second.begun
    assert [each.why for each in second.why.others] == ["it was tried before"]


async def test_the_same_again_for_the_same_reason(scene):
    """A kept connection that was closed changes nothing of why its backend was chosen."""
    scene.ask()
    scene.wire(0).fail(Failure.STALE)
    scene.ask()  # what is chosen for others meanwhile has no part in it
    answer(scene.wire(0))
    record = scene.records[0]
    assert [each.backend for each in record.tries] == ["a", "a"]
    assert record.tries[0].why is record.tries[1].why is not None


async def test_a_race(scene):
    """Both are there, the winner with its answer; and while it lasts, both are under way."""
    exchange, _ = scene.ask()
    begin_hedge(exchange)
    assert [each.backend for each in exchange.tries] == ["a", "b"]
    answer(scene.wire(1))
    exchange, _ = scene.ask()
    begin_hedge(exchange)
    answer(scene.wire(0))
    won, lost = scene.records
    assert ends(won.tries) == [("a", 0, "another backend was sooner"), ("b", 200, "answered")]
    assert won.tries[0].begun <= won.tries[1].begun <= won.tries[0].ended
    assert ends(lost.tries) == [("b", 0, "another backend was sooner"), ("a", 200, "answered")]


@pytest.mark.parametrize(
    ("fails", "outcome"),
    [
        (lambda wire: wire.head(500), "answered 500"),
        (lambda wire: wire.fail(), "closed the connection without an answer (as the test says)"),
    ],
)
async def test_a_second_attempt_that_fails(scene, fails, outcome):
    """It isn't told as one that was slower."""
    exchange, _ = scene.ask()
    begin_hedge(exchange)
    fails(scene.wire(1))
    answer(scene.wire(0))
    (record,) = scene.records
    assert [each.outcome for each in record.tries] == [outcome, "answered"]


async def test_a_client_that_leaves_ends_both(scene):
    """Neither was sooner."""
    exchange, _ = scene.ask()
    begin_hedge(exchange)
    exchange.cancel()
    (record,) = scene.records
    assert [each.outcome for each in record.tries] == ["the client left"] * 2


async def test_times_in_the_queue():
    """Of one that goes, and of one that leaves before; what it waited counts for both."""
    scene = Scene("a")
    scene.backends[0].cap = Cap(1)
    scene.ask()
    scene.ask()
    leaving, _ = scene.ask()
    leaving.cancel()
    answer(scene.wire(0))
    await eventually(lambda: scene.asked() == [2])
    answer(scene.wire(0))
    left, none, waited = scene.records
    assert none.waits == ()
    for record in (left, waited):
        (wait,) = record.waits
        assert 0 <= wait.begun <= wait.ended <= record.duration
        assert record.waited == pytest.approx(wait.ended - wait.begun)
        assert (wait.loading, wait.loaded) == (0.0, "")
    assert left.tries == ()
    assert waited.tries[0].why is None
    assert waited.tries[0].begun >= waited.waits[0].ended
    scene.plane.close()


TWO = (
    b'{"choices":[{"finish_reason":"stop","index":0,"message":{"role":"assistant","content":"%b"}},{"finish_reason":'
    b'"stop","index":1,"message":{"role":"assistant","content":"%b"}}],"usage":{"completion_tokens":600,'
    b'"prompt_tokens":21,"total_tokens":621},"timings":{"cache_n":0,"prompt_n":21,"predicted_n":600}}'
)
"""Two choices in one piece, as llama.cpp's server writes them: it counts the tokens of one."""


@pytest.mark.parametrize(
    ("server", "text", "body", "choices", "use"),
    [
        (b"llama.cpp", b"ha " * 700, b'{"model":"m","n":2}', 2, (1200, True)),
        (b"llama.cpp", b"ha " * 700, b'{"model":"m"}', 1, (600, False)),
        # The second choice begins in what is kept of the answer.
        (b"llama.cpp", b"ha " * 200, b'{"model":"m","n":2}', 1, (1200, True)),
        (b"other", b"ha " * 700, b'{"model":"m","n":2}', 1, (600, False)),
    ],
)
async def test_how_many_choices_were_asked_for(scene, server, text, body, choices, use):
    """It is looked up where an engine counts one of them, and the answer's end doesn't show the others."""
    answered = TWO % (text, text)
    scene.ask(stream=False, body=body)
    found = parse_response(
        b"HTTP/1.1 200 OK\r\nserver: %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        % (server, len(answered))
    )
    wire = scene.wire(0)
    assert found is not None
    wire.receiver.on_head(found[0].head, found[1])
    wire.body(answered)
    wire.end()
    (record,) = scene.records
    used = Meter().use("m", record, told_by(record))
    assert (record.tries[-1].choices, used.completion, used.estimated) == (choices, *use)
