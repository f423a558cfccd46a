"""Bodies that are kept as an outline and their long texts: engines get all of them, to the byte."""

import json

import pytest

from router.core.outline import LARGE
from tests.fakes.engine import FakeEngine, expected_body
from tests.integration.raw import ASK, nothing_left, post
from tests.running import eventually

IMAGE = "data:image/png;base64," + "iVBORw0KGgo" * (LARGE // 5)
PARTS = [
    {"type": "text", "text": 'What "is" \\ this 😀?\n' * 40_000},
    {"type": "image_url", "image_url": {"url": IMAGE}},
]
BODY = {**ASK, "messages": [{"role": "user", "content": PARTS}], "user": "me"}


@pytest.mark.parametrize("escaped", [True, False])
async def test_an_engine_gets_a_large_body_as_it_is(start_router, fake, raw, lane, escaped):
    """To the byte, though its characters are escaped or not; and again on the same connections."""
    router = await start_router([{"url": fake.url, "name": "b", "models": ["demo"]}])
    client = await raw(router)
    sent = json.dumps(BODY, ensure_ascii=escaped).encode()
    for _ in range(2):
        client.send(post(sent, lane=lane))
        assert (await client.answer()).body == expected_body(0, 8)
        assert fake.stats.last.body == sent.decode()
    client.send(post(ASK, lane=lane))
    assert (await client.answer()).status == 200
    await eventually(lambda: nothing_left(router) and router.rules.uploads.held == 0)


async def test_a_large_body_is_changed_as_any_other(start_router, fake, raw, lane):
    """By a route's rules, and by the name that its backend has for the model."""
    backend = {"url": fake.url, "name": "b", "models": {"theirs": "real/name"}}
    routes = {"demo": {"to": "theirs", "set": {"user": "you"}, "strip": ["seed"]}}
    router = await start_router([backend], routes=routes)
    client = await raw(router)
    client.send(post({**BODY, "seed": 1}, lane=lane))
    assert (await client.answer()).status == 200
    assert json.loads(fake.stats.last.body) == {**BODY, "model": "real/name", "user": "you"}


async def test_a_large_body_is_sent_again(start_router, fake, raw, lane):
    """To the next backend, whole."""
    async with FakeEngine(fault="status:503") as broken:
        backends = [{"url": each.url, "name": name, "models": ["demo"]} for name, each in (("a", broken), ("b", fake))]
        router = await start_router(backends, balance={"policy": "round_robin"})
        client = await raw(router)
        sent = json.dumps(BODY).encode()
        for _ in range(4):
            client.send(post(sent, lane=lane))
            assert (await client.answer()).body == expected_body(0, 8)
            assert fake.stats.last.body == sent.decode()
        assert broken.stats.begun


async def test_a_large_body_of_no_json_is_refused(router, fake, raw, lane):
    """As a small one is."""
    client = await raw(router)
    client.send(post(json.dumps(BODY).encode()[:-30] + b"\\q", lane=lane))
    told = await client.answer()
    assert (told.status, b"not valid JSON" in told.body) == (400, True)
    assert fake.stats.begun == 0


@pytest.fixture
async def router(start_router, fake):
    return await start_router([{"url": fake.url, "name": "b", "models": ["demo"]}])
