"""Whatever changes a backend has the plane do what the ledger asks for."""

import pytest
from structlog.testing import capture_logs

from router.core.catalog import Backend, Candidate
from router.core.changes import Change, News
from router.core.estimate.ask import Ask
from router.core.health import WELL, Thresholds
from router.proxy.dialling import Address
from router.proxy.plane import Balancing, ExchangeLimits, Plane


@pytest.fixture
async def plane() -> Plane:
    return Plane(ExchangeLimits(), Thresholds(), Balancing(), draw=lambda _: 0)


@pytest.mark.parametrize(
    ("of_ledger", "tell"),
    [
        ("worked", lambda plane, b: plane.worked(b, 1.0)),
        ("begun", lambda plane, b: plane.begun(b)),
        ("answered", lambda plane, b: plane.answered(b, 200, None)),
        ("refused", lambda plane, b: plane.refused(b, 500, None)),
        ("disproved", lambda plane, b: plane.disproved(Candidate(b, "m"), Ask(10), 500, None)),
        ("succeeded", lambda plane, b: plane.succeeded(b)),
        ("failed", lambda plane, b: plane.failed(b, "reset")),
        ("vanished", lambda plane, b: plane.vanished(b, None)),
        ("stalled", lambda plane, b: plane.stalled(b, "stalled")),
        ("retire", lambda plane, b: plane.retire(b, "was removed")),
        ("take_out", lambda plane, b: plane.withdraw(b, "its process has ended")),
        ("ready", lambda plane, b: plane.serve(b, Address("127.0.0.1", 1))),
    ],
)
async def test_whatever_changes_a_backend_is_followed(plane, monkeypatch, of_ledger, tell):
    """A probe soon, an offer to those who wait, and a word in the log: as the ledger asks for."""
    backend = Backend("b", {"m": "m"}, health=WELL)
    plane.add(backend)
    doubted: list[Backend] = []
    offered: list[Backend] = []
    plane.on_doubt = doubted.append
    monkeypatch.setattr(plane.queues, "offer_soon", offered.append)
    change = Change(News.TRIAL, probe=True, offer=True)
    monkeypatch.setattr(plane.ledger, of_ledger, lambda *_, **__: change)
    with capture_logs() as said:
        tell(plane, backend)
    assert (doubted, offered) == ([backend], [backend])
    assert [each["event"] for each in said if each["log_level"] == "info"] == ["backend is on trial"]
    plane.close()
