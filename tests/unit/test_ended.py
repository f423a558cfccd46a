"""What becomes of requests that have ended."""

import structlog

from router.core.record import Record
from router.ended import Ended


def record(**known: object) -> Record:
    said: dict[str, object] = {
        "id": "id", "path": "/v1/chat/completions", "model": "m", "backend": None, "status": 429, "attempts": 0,
        "ttft": None, "duration": 0.0, "sent": 0, "events": 0, "tail": b"", "client": "10.0.0.7",
    }  # fmt: skip
    return Record(**(said | known))  # type: ignore[arg-type]


async def test_a_key_at_its_limit_does_not_fill_the_log():
    """One line for each limit and address: that others follow is counted, however the time to wait differs."""
    ended = Ended()
    with structlog.testing.capture_logs() as lines:
        for seconds in range(100):
            said = f"The key 'a' is at its limit of 1 requests a minute (requests_per_minute). Try again in {seconds}s."
            ended.take(record(outcome=said, error="rate_limit_exceeded"))
        ended.take(record(outcome="The team 'f' is at its limit.", error="insufficient_quota"))
    assert [line["event"] for line in lines] == [
        "refused: The key 'a' is at its limit of 1 requests a minute (requests_per_minute).",
        "refused: The team 'f' is at its limit.",
    ]
    assert {line["request_id"] for line in lines} == {"id"}


async def test_what_went_wrong_is_told():
    """Each by itself."""
    ended = Ended()
    with structlog.testing.capture_logs() as lines:
        for _ in range(2):
            ended.take(record(outcome="waited for nobody", status=503))
        ended.take(record(outcome="answered", status=200))
    assert [line["status"] for line in lines] == [503, 503]
