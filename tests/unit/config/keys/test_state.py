from __future__ import annotations

from pathlib import Path

from router.config import Config
from tests.configured import REMOTE, errors


def test_a_folder():
    """A path, as it is written: it counts from the folder of router.yaml."""
    assert Config.model_validate({"backends": [REMOTE], "state": {"dir": "a/b"}}).state.dir == Path("a/b")


def test_it_is_never_nothing():
    """An empty path would be the folder of router.yaml itself."""
    assert errors({"backends": [REMOTE], "state": {"dir": ""}}) == [
        "state.dir: Value error, expected text, got an empty one"
    ]
