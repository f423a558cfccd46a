import asyncio

import pytest

from router.core.latest import Latest
from router.core.record import Record
from router.management.requests import AT_ONCE, Recent, ended, speeds


def record(id_="r", **known) -> Record:
    said = {
        "id": id_, "path": "/v1/chat/completions", "model": "m", "backend": "b", "status": 200, "outcome": "answered",
        "attempts": 1, "ttft": 0.5, "duration": 2.5, "sent": 100, "events": 21, "tail": b"", "waited": 0.1,
    }  # fmt: skip
    return Record(**(said | known))


USAGE = (
    b'data: {"usage":{"prompt_tokens":50,"completion_tokens":41,"prompt_tokens_details":{"cached_tokens":10}}}\n\n'
    b"data: [DONE]\n\n"
)


def test_speeds_of_one_that_ended():
    """The cached part of the prompt wasn't read, the wait was no reading, and the first token is no writing."""
    told = ended(1, 7.0, record(tail=USAGE))
    assert (told.prompt_tokens, told.cached_tokens, told.tokens) == (50, 10, 41)
    assert (told.prompt_tokens_per_second, told.tokens_per_second) == (100.0, 20.0)


@pytest.mark.parametrize("known", [{"tail": b""}, {"tail": USAGE, "events": 0}, {"tail": USAGE, "ttft": None}])
def test_speeds_that_are_not_known(known):
    """Without counts, of an answer in one piece, of one that had no first token."""
    told = ended(1, 7.0, record(**known))
    assert told.prompt_tokens_per_second is None


def test_how_fast_a_backend_was():
    """Nobody's wait in the queue counts; half of them are no slower than the p50."""
    told = speeds([record(ttft=0.1 + each / 100, duration=4.1 + each / 100) for each in range(1, 101)])
    assert (told.requests, told.ttft_p50, told.ttft_p99) == (100, 0.5, 0.99)
    assert told.tpot_p50 == told.tpot_p99 == 0.2
    assert speeds([record(ttft=None, events=1)]).ttft_p50 is None


def recent_of(count: int) -> tuple[Recent, Latest]:
    latest = Latest(5.0)
    recent = Recent(latest)
    for number in range(count):
        outcome = "answered" if number % 2 else "the client left"
        latest.add(record(str(number), outcome=outcome), 6.0 + number)
    return recent, latest


async def test_the_latest_are_remembered():
    """So many and no more, the last one first; those that failed tell no speed."""
    recent, _ = recent_of(2600)
    told = (await recent.told(5000)).requests
    assert [told[0].id, told[-1].id, len(told)] == ["2599", "600", 2000]
    assert [each.at for each in (await recent.told(2)).requests] == [2605.0, 2604.0]
    assert recent.speeds()["b"].requests == 250


async def test_those_that_ended_since_the_last_look():
    """Behind a number, and how many of them are left out; one of an earlier start means all of this one."""
    recent, _ = recent_of(0)
    none = await recent.told(10)
    assert (none.last, none.missed, none.requests) == (5000, 0, ())
    recent, latest = recent_of(2600)
    first = await recent.told(2)
    assert (first.last, first.missed, [each.number for each in first.requests]) == (7600, 0, [7600, 7599])
    latest.add(record("next"), 9000.0)
    told = await recent.told(10, first.last)
    assert (told.last, told.missed, [each.id for each in told.requests]) == (7601, 0, ["next"])
    assert (await recent.told(10, told.last)).requests == ()
    told = await recent.told(3, 7597)
    assert ([each.number for each in told.requests], told.missed) == ([7601, 7600, 7599], 1)
    for other in (17, 9_000_000):
        told = await recent.told(2000, other)
        assert (len(told.requests), told.missed) == (2000, 601)


async def test_a_long_list_lets_others_go_on():
    """Two thousand of them take many turns of the loop."""
    (recent, _), turns = recent_of(2000), 0
    telling = asyncio.create_task(recent.told(2000))
    while not telling.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns >= 2000 // AT_ONCE
    assert [int(each.id) for each in telling.result().requests] == list(range(1999, -1, -1))


def test_one_that_was_cut():
    """It has had about as many tokens as events, and says why it ended itself."""
    told = ended(1, 7.0, record(outcome="cancelled by an admin", tail=b'{"finish_reason":"stop"}'))
    assert (told.tokens, told.finish_reason, told.outcome) == (21, None, "cancelled by an admin")
