import pytest

from router.core.record import Record
from router.management.requests import Recent, ended, speeds


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
    told = ended(7.0, record(tail=USAGE))
    assert (told.prompt_tokens, told.cached_tokens, told.tokens) == (50, 10, 41)
    assert (told.prompt_tokens_per_second, told.tokens_per_second) == (100.0, 20.0)


@pytest.mark.parametrize("known", [{"tail": b""}, {"tail": USAGE, "events": 0}, {"tail": USAGE, "ttft": None}])
def test_speeds_that_are_not_known(known):
    """Without counts, of an answer in one piece, of one that had no first token."""
    told = ended(7.0, record(**known))
    assert told.prompt_tokens_per_second is None


def test_how_fast_a_backend_was():
    """Nobody's wait in the queue counts; half of them are no slower than the p50."""
    told = speeds([record(ttft=0.1 + each / 100, duration=4.1 + each / 100) for each in range(1, 101)])
    assert (told.requests, told.ttft_p50, told.ttft_p99) == (100, 0.5, 0.99)
    assert told.tpot_p50 == told.tpot_p99 == 0.2
    assert speeds([record(ttft=None, events=1)]).ttft_p50 is None


def test_the_latest_are_remembered():
    """So many and no more, the last one first; those that failed tell no speed."""
    clock = iter(range(10_000))
    recent = Recent(lambda: float(next(clock)))
    for number in range(600):
        recent.add(record(str(number), outcome="answered" if number % 2 else "the client left"))
    told = recent.told(1000)
    assert [told[0].id, told[-1].id, len(told)] == ["599", "100", 500]
    assert [each.at for each in recent.told(2)] == [599.0, 598.0]
    assert recent.speeds()["b"].requests == 250
