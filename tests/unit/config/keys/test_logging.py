from __future__ import annotations

from math import inf

import pytest

from router import settings
from router.config import Config
from router.telemetry.files import Rotation
from tests.configured import REMOTE, errors


@pytest.mark.parametrize(
    ("said", "rotation"),
    [
        ({}, Rotation(16 * 1024 * 1024, inf, 8)),
        ({"max_size": "1MiB", "max_age": "1d", "keep": 0}, Rotation(1024 * 1024, 86400.0, 0)),
    ],
)
def test_when_files_are_rotated(said, rotation):
    """By size unless age is bounded, too."""
    assert settings.rotation(Config.model_validate({"backends": [REMOTE], "logging": said})) == rotation


def test_another_form():
    """It is told which ones there are."""
    said = errors({"backends": [REMOTE], "logging": {"format": "jsonl"}})[0]
    assert "is not a format; did you mean" in said
