"""What an engine prints of its environment, its arguments and its key comes out nowhere."""

import json
import sys

import pytest

from tests.running import eventually

PRINTS = """
import os, sys
print("started", os.environ["ROUTER_KEY"], os.environ["SEC"], os.environ["OPS_TOKEN"], *sys.argv, flush=True)
sys.exit(f"ERROR: no {os.environ['ROUTER_KEY']} for {os.environ['SEC']} with {os.environ['OPS_TOKEN']} {sys.argv}")
"""
SECRETS = ("FAILSECRET11", "sk-argument", "inherited-token")

pytestmark = pytest.mark.usefixtures("logs_as_at_work")


@pytest.fixture
async def router(tmp_path, start_router, monkeypatch):
    """Give a router with an engine that tells all that it knows, and fails."""
    monkeypatch.setenv("OPS_TOKEN", "inherited-token")
    (tmp_path / "fail.py").write_text(PRINTS)
    launch = {
        "cmd": [sys.executable, str(tmp_path / "fail.py"), "--api-key", "sk-argument", "{port}"],
        "env": {"SEC": "FAILSECRET11"},
        "parallel": 1,
        "load": "on_demand",
        "memory": "1MiB",
    }
    return await start_router([{"name": "fail", "models": ["demo"], "launch": launch}])


async def test_an_engine_that_tells_all_it_knows(router, session, tmp_path):
    """Neither clients are told, nor those who may read, nor the router's log."""
    chat = {"model": "demo", "messages": []}
    async with session.post(router.url + "/v1/chat/completions", json=chat) as answer:
        said = [await answer.text()]
        assert answer.status == 503
    assert "no (hidden) for (hidden) with (hidden)" in said[0]
    for path in ("/admin/models", "/admin/status", "/admin/logs", "/admin/backends/fail/logs", "/logs", "/running"):
        async with session.get(router.url + path) as answer:
            assert answer.status == 200
            said.append(await answer.text())
    assert "started (hidden)" in said[4]
    for path in ("/admin/events?after=0", "/logs/stream"):
        async with session.get(router.url + path) as answer:
            part = b""
            while b"ERROR: no" not in part:
                part += await answer.content.readany()
            said.append(part.decode())
    said += [each.read_text() for each in tmp_path.rglob("router.log")]
    told = "\n".join(said)
    assert not [each for each in SECRETS if each in told]
    # Its key is in its own log alone.
    (written,) = tmp_path.rglob("fail.log")
    key = written.read_text().split()[1]
    assert len(key) == 64
    assert key not in told


async def test_a_follower_of_its_log(router, session):
    """What comes, too."""
    async with session.get(router.url + "/admin/backends/fail/logs/stream") as answer:
        await answer.content.readline()
        async with session.post(router.url + "/admin/models/fail/load", json={"wait": False}):
            pass
        part = b""
        while b"started" not in part:
            part += await answer.content.readline()
    line = json.loads(part.decode().rpartition("data: ")[2])["line"]
    assert line.startswith("started (hidden) (hidden) (hidden) ")
    await eventually(lambda: not router.plane.exchanges)
