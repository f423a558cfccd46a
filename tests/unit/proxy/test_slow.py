"""What the slow lane asks of the rules, without aiohttp's connections."""

import random
from types import SimpleNamespace
from typing import Any

import pytest
from yarl import URL

from router.core.keys import Key, Keys, digest
from router.proxy.requests import Rules
from router.proxy.slow import SlowLane
from tests.fakes.wired import Scene


def asked(remote: str | None, host: bytes = b"localhost") -> Any:
    """Give a request as far as its sender is looked at; of one who has left, nobody knows where it was."""
    return SimpleNamespace(
        remote=remote, version=(1, 1), raw_headers=((b"Host", host),), _message=SimpleNamespace(url=URL("/health"))
    )


@pytest.mark.parametrize("keys", [Keys(), Keys({digest(b"a key that is long"): Key("alice")})])
@pytest.mark.parametrize(("remote", "may"), [("127.0.0.1", True), ("192.0.2.1", False), (None, False)])
async def test_only_who_may_manage_the_router_is_told_of_backends(remote, may, keys):
    """Where there are keys; whose address nobody knows is no exception."""
    scene = Scene("a")
    rules = Rules(random.Random(7))  # noqa: S311 -- the same ids in each run
    rules.set_up(keys=keys)
    found = SlowLane(scene.plane, rules).may_look(asked(remote))
    assert found is (may or not keys)
    scene.plane.close()
