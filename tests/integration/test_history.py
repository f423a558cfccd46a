"""/admin/history at a running router."""

import asyncio
import json

import pytest

from router.management import history

CHAT = "/v1/chat/completions"


@pytest.fixture
async def router(start_router, fake, monkeypatch):
    monkeypatch.setattr(history, "EVERY", 0.05)
    return await start_router([{"url": fake.url, "models": ["demo"], "name": "box"}])


@pytest.fixture
def ask(router, session):
    """Give a function that asks for the history until it is as it should be."""

    async def asking(holds, query=""):
        async with asyncio.timeout(30):
            while True:
                async with session.get(f"{router.url}/admin/history{query}") as answer:
                    assert answer.status == 200
                    told = await answer.json()
                if holds(told):
                    return told
                await asyncio.sleep(0.02)

    return asking


async def test_requests_are_counted_as_they_end(ask, router, session):
    """In all and by backend; all series have a figure for each sample."""
    for body in ({"model": "demo", "messages": []}, {"model": "unknown", "messages": []}):
        async with session.post(router.url + CHAT, json=body) as answer:
            await answer.read()
    told = await ask(lambda told: sum(told["ended"]) == 2, "?backends=true")
    assert sum(told["backends"]["box"]["ended"]) == 1
    assert sum(told["failed"]) == 0
    assert sum(told["tokens"]) > 0
    assert {len(series) for series in told.values() if isinstance(series, list)} == {len(told["at"])}
    assert len(told["devices"]["ram"]["used"]) == len(told["at"])
    assert all(used > 0 for used in told["devices"]["ram"]["used"])
    assert told["at"] == sorted(told["at"])
    assert all(seconds > 0 for seconds in told["seconds"])


async def test_a_stream_under_way_is_seen(ask, router, session):
    """Its tokens come as they are sent; it is in flight at its backend until it ends."""
    body = {"model": "demo", "stream": True, "messages": [], "fake": {"events": 1000, "delay": 0.01}}
    async with session.post(router.url + CHAT, json=body):
        told = await ask(lambda told: sum(told["tokens"]) > 10, "?backends=true")
        assert sum(told["ended"]) == 0
        assert told["in_flight"][-1] == 1
        assert told["backends"]["box"]["in_flight"][-1] == 1
    told = await ask(lambda told: told["in_flight"][-1] == 0)
    assert told["backends"] == {}


async def test_a_page_asks_for_what_is_new(ask):
    """From the last time that it knows."""
    told = await ask(lambda told: len(told["at"]) > 3)
    known = told["at"][-2]
    told = await ask(lambda told: told["at"], f"?since={known}")
    assert min(told["at"]) > known


@pytest.mark.parametrize("since", ["x", "-1", "nan", "inf"])
async def test_a_time_that_is_none(router, session, since):
    async with session.get(f"{router.url}/admin/history?since={since}") as answer:
        assert answer.status == 400
        assert "since" in json.loads(await answer.text())["error"]["message"]
