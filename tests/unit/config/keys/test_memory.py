from __future__ import annotations

import pytest

from router.config import Config, MemoryConfig, Share, redacted
from router.config.scalars import FromEnvironment
from tests.configured import REMOTE, errors


def memory(**keys: object) -> MemoryConfig:
    return Config.model_validate({"backends": [REMOTE], "memory": keys}).memory


def test_limits_are_bytes_or_shares():
    """Each kind of device has its own; a limit that isn't written is None."""
    limit = memory(limit={"ram": "48GiB", "gpu": "90%"}).limit
    assert (limit.ram, limit.gpu) == (48 << 30, Share(0.9))
    assert isinstance(limit.gpu, Share)
    assert memory(limit={"ram": FromEnvironment(""), "gpu": None}) == memory()


def test_it_is_shown_as_it_was_written():
    """In the words of router.yaml."""
    written = {"limit": {"ram": "48GiB", "gpu": "90%"}, "max_wait": "5m"}
    config = Config.model_validate({"backends": [REMOTE], "memory": written})
    assert redacted(config)["memory"] == written


@pytest.mark.parametrize(
    ("written", "error"),
    [
        ({"limit": {"ram": "1MiB"}}, "memory.limit.ram: Value error, must be from 64MiB to 1024TiB"),
        ({"limit": {"gpu": "0%"}}, "memory.limit.gpu: Value error, must be from 1% to 100%"),
        ({"limit": {"vram": "1GiB"}}, "memory.limit.vram: Extra inputs are not permitted"),
        ({"limit": "48GiB"}, "memory.limit: Value error, expected keys with values"),
        ({"max_wait": "500ms"}, "memory.max_wait: Value error, must be from 1s to 24h"),
        ({"max_wait": "never"}, "memory.max_wait: Value error, expected a duration"),
    ],
)
def test_a_wrong_limit(written, error):
    """Each rule has its error, at its key."""
    assert errors({"backends": [REMOTE], "memory": written})[0].startswith(error)
