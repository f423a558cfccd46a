"""What becomes of requests that have ended."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from router.config import BackendConfig
from router.core.catalog import Catalog
from router.core.keys import Key, Keys
from router.core.limits import Limits
from router.core.over_limit import LimitError
from router.core.record import ANSWERED, Record
from router.core.timeline import Try
from router.ended import Ended
from router.management.usage import Usage
from router.proxy.charging import Charging, Payer


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


async def test_what_was_counted_can_be_asked_for_at_once(tmp_path):
    """Whoever reads figures needn't wait for the access log's turn."""
    ended, heard = Ended(), []
    ended.flush()
    ended.counters.append(lambda record, _: heard.append(record.id))
    ended.start(tmp_path)
    ended.take(record(outcome="answered", status=200))
    assert heard == []
    ended.flush()
    assert heard == ["id"]
    ended.close()


async def test_what_went_wrong_is_told():
    """Each by itself."""
    ended = Ended()
    with structlog.testing.capture_logs() as lines:
        for _ in range(2):
            ended.take(record(outcome="waited for nobody", status=503))
        ended.take(record(outcome="answered", status=200))
    assert [line["status"] for line in lines] == [503, 503]


USAGE = b'{"id":"x","choices":[],"usage":{"prompt_tokens":900,"completion_tokens":100,"total_tokens":1000}}'


async def charged(tmp_path: Path, **limits: Any) -> tuple[Ended, Payer]:
    """Give what hears of ended requests, and who charges those of a key with these limits."""
    plane: Any = SimpleNamespace(catalog=Catalog([], {}), backends={}, directory=SimpleNamespace(catalog=None))
    charging, ended = Charging(lambda: 0.0), Ended()
    ended.count(Usage(plane, tmp_path, lambda _: BackendConfig(url="http://box", price={"input": 1000})), charging)
    charging.set_up(Keys({b"x": Key("alice", limits=Limits(**limits))}))
    ended.start(tmp_path)
    payer = charging.payer("alice")
    assert payer is not None
    return ended, payer


def answered(ended: Ended, payer: Payer) -> None:
    """Have a request begin and end, whose answer in one piece is long, and tells 900 and 100 tokens."""
    charge = payer.begin("m", 40, 0.0, learns=False)
    charge.generated(5000, 0.0)  # by its bytes
    charge.end()
    tries = (Try("box", None, 0.0, 0.1, 0.2, 0.3, 200, ANSWERED, 100),)
    said = record(backend="box", status=200, outcome=ANSWERED, tail=USAGE, key="alice", charge=charge, tries=tries)
    ended.take(said)


@pytest.mark.parametrize(
    ("limit", "most", "passes"),
    [
        ("tokens_per_day", 2000, 2),
        ("tokens_per_day", 2001, 3),
        ("tokens_per_month", 1000, 1),
        ("tokens_per_minute", 2000, 2),
        ("cost_per_day", 1.8, 2),
        ("cost_per_month", 1.9, 3),
    ],
)
async def test_the_next_request_is_judged_by_what_was_used_before(tmp_path, limit, most, passes):
    """At once, without waiting for the log's lines: neither too late, nor by what was estimated meanwhile."""
    ended, payer = await charged(tmp_path, **{limit: most})
    for _ in range(passes):
        answered(ended, payer)
    with pytest.raises(LimitError):
        payer.begin("m", 40, 0.0, learns=False)
    ended.close()


async def test_what_is_settled_at_once_is_counted_once(tmp_path, monkeypatch):
    """Not again with its line; what has no limits is counted with that."""
    ended, payer = await charged(tmp_path, tokens_per_day=2000)
    places = []
    monkeypatch.setattr(ended.usage.tally.pending, "add", lambda place, *_: places.append(place[1]))
    answered(ended, payer)
    assert places == ["alice"]
    ended.take(record(backend="box", status=200, outcome=ANSWERED, tail=USAGE, key="bob"))
    ended.close()
    assert places == ["alice", "bob"]
    assert payer.account.books[0].day.sums.tokens == 1000


async def test_a_bug_in_the_counting_harms_no_line(tmp_path, monkeypatch):
    """The request is still remembered, and written down."""
    ended, payer = await charged(tmp_path, tokens_per_day=2000)
    monkeypatch.setattr(ended.usage, "count", lambda *_: 1 / 0)
    with structlog.testing.capture_logs() as lines:
        answered(ended, payer)
    ended.close()
    assert [line["log_level"] for line in lines] == ["error"]
    assert "key=alice" in (tmp_path / "access.log").read_text()
