"""`server.discover: mdns`: two routers of this machine see each other, and use nothing of each other."""

import sys

import pytest

from router.cluster import discovery
from router.fleet.launches import StartError
from tests.running import dead_url, eventually

FOUND = {"server": {"port": 0, "discover": "mdns"}}


@pytest.fixture(autouse=True)
def _on_loopback(monkeypatch):
    """Have this machine's own network be the one where they look."""
    monkeypatch.setattr(discovery, "_here", lambda: ["127.0.0.1"])


async def test_routers_show_each_other(start_router, session, tmp_path):
    """With what to write to use the other; it isn't used until that is written."""
    one = await start_router([{"url": dead_url()}], **FOUND)
    two = await start_router([{"url": one.url}], **FOUND, state={"dir": str(tmp_path / "two")})
    await eventually(lambda: one.listener.neighbours and two.listener.neighbours)
    async with session.get(f"{one.url}/admin/status") as answer:
        (seen,) = (await answer.json())["neighbours"]
    assert (seen["url"], seen["entry"], seen["used_by"]) == (two.url, f"- router: {two.url}", [])
    assert list(one.plane.backends) == [dead_url().removeprefix("http://")]
    async with session.get(f"{two.url}/admin/status") as answer:
        (seen,) = (await answer.json())["neighbours"]
    assert seen["used_by"] == [one.url.removeprefix("http://")]


async def test_without_its_package_the_start_says_what_to_install(start_router, monkeypatch):
    """The extra `mdns`."""
    monkeypatch.setitem(sys.modules, "zeroconf.asyncio", None)
    with pytest.raises(StartError, match=r"server.discover: mdns needs a package .*\[mdns\]"):
        await start_router([{"url": dead_url()}], **FOUND)
