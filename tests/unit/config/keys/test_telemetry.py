from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from router import settings
from router.config import Config
from tests.configured import REMOTE, errors

if TYPE_CHECKING:
    from router.proxy.capture import Captures


@pytest.mark.parametrize(
    ("said", "opened"), [({}, ()), ({"metrics": "admin"}, ()), ({"metrics": "open"}, ("/metrics",))]
)
def test_who_may_scrape(said, opened):
    """Who may read, unless everybody may."""
    assert settings.opened(Config.model_validate({"backends": [REMOTE], "telemetry": said})) == opened


def test_another_word():
    """It is told which ones there are."""
    assert (
        "is not a kind of access; expected admin or open"
        in errors({"backends": [REMOTE], "telemetry": {"metrics": "all"}})[0]
    )


def captured(before: Captures | None = None, **said: object) -> Captures | None:
    config = Config.model_validate({"backends": [REMOTE], "telemetry": {"capture": said}})
    return settings.captures(config, before)


def test_what_is_kept_stays_over_a_reload():
    """Within its new bounds; nothing is kept where nothing is to be."""
    assert captured() is None
    first = captured(requests=2)
    assert first is not None
    for id_ in ("a", "b"):
        first.begin(id_, "/v1/x", "demo", "", b"{}", is_whole=True)
    assert captured(first, requests=1) is first
    assert (first.find("a"), first.find("b") is None) == (None, False)
    assert captured(first) is None
    assert first.find("b") is None


def test_traces_are_of_some_requests():
    """Once a collector is named."""
    traces = Config.model_validate({"backends": [REMOTE]}).telemetry.traces
    assert (traces.endpoint, traces.share) == (None, 0.1)
