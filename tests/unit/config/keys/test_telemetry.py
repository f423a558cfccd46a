from __future__ import annotations

import pytest

from router import settings
from router.config import Config
from tests.configured import REMOTE, errors


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
