"""What was used, at a running router: what engines count, to the token, and what broke off about so."""

import asyncio
import json
import time
from contextlib import suppress
from typing import Any

import aiohttp
import pytest

from tests.fakes.engine import FakeEngine
from tests.fakes.strict import MISTRALS, Strict
from tests.running import dead_url
from tests.used import check, kills, load

CHAT = "/v1/chat/completions"
ASKS = {"stream_options": {"include_usage": True}}
TODAY = time.strftime("%Y-%m-%d")


@pytest.fixture
def told(session):
    """Give a function that asks a router for its usage until so many requests are counted."""

    async def asking(router, requests: int, **query: str) -> Any:
        async with asyncio.timeout(30):
            while True:
                async with session.get(f"{router.url}/admin/usage", params=query) as answer:
                    assert answer.status == 200
                    found = await answer.json()
                if found["total"]["requests"] >= requests:
                    return found
                await asyncio.sleep(0.02)

    return asking


async def ask(session, router, **fields: Any) -> Any:
    """Ask, and read the whole answer."""
    path = fields.pop("path", CHAT)
    body = {"model": "demo", "messages": [{"role": "user", "content": "Hi"}], **fields}
    async with session.post(router.url + path, json=body) as answer:
        return await answer.read()


def row(found: Any, **names: str) -> Any:
    """Give the one row with these values."""
    (only,) = [each for each in found["rows"] if all(each[name] == value for name, value in names.items())]
    return only


async def test_answers_count_by_model_and_day(start_router, fake, session, told):
    """As the engine counted them; a request that is refused has used nothing, one for no model isn't there."""
    router = await start_router([{"url": fake.url, "models": ["demo", "other"], "name": "box"}])
    for words in (3, 5):
        await ask(session, router, fake={"events": words})
    await ask(session, router, model="other", fake={"events": 7})
    await ask(session, router, fake={"fault": "status:400"})
    for number in range(5):
        await ask(session, router, model=f"none-{number}")
    found = await told(router, 4, by="model,day")
    demo = {"model": "demo", "day": TODAY, "requests": 3, "estimated": 0, "prompt_tokens": 2, "completion_tokens": 8}
    assert row(found, model="demo").items() >= demo.items()
    assert row(found, model="other").items() >= {"requests": 1, "prompt_tokens": 1, "completion_tokens": 7}.items()
    assert len(found["rows"]) == 2
    assert found["total"]["completion_tokens"] == 15
    assert (await told(router, 0, since="2999-01-01"))["rows"] == []


async def test_names_that_mean_a_model_count_as_the_model(start_router, fake, session, told):
    """Or clients could fill the database with names for a pattern."""
    routes = {"best": ["gone", "demo"], "gpt-*": "demo"}
    backends = [
        {"url": dead_url(), "models": ["gone"], "name": "dead"},
        {"url": fake.url, "models": {"demo": "fake/name"}, "name": "box"},
    ]
    router = await start_router(backends, routes=routes)
    for name in ("demo", "demo:latest", "best", "gpt-1", "gpt-2"):
        await ask(session, router, model=name, fake={"events": 2})
    found = await told(router, 5, by="model")
    assert [(each["model"], each["requests"]) for each in found["rows"]] == [("demo", 5)]


async def test_what_was_used_stays(start_router, fake, session, told):
    """Over a restart."""
    backends = [{"url": fake.url, "models": ["demo"], "name": "box"}]
    router = await start_router(backends)
    await ask(session, router, fake={"events": 3})
    await told(router, 1)
    await router.kill()
    router = await start_router(backends)
    await ask(session, router, fake={"events": 4})
    assert (await told(router, 2))["total"]["completion_tokens"] == 7


async def test_keys_are_told_apart(start_router, fake, session, told):
    """By their names."""
    auth = {"keys": [{"name": name, "key": f"{name}'s key"} for name in ("alice", "bob")]}
    router = await start_router([{"url": fake.url, "models": ["demo"], "name": "box"}], auth=auth)
    for name, words in (("alice", 3), ("bob", 5), ("alice", 7)):
        async with session.post(
            router.url + CHAT,
            json={"model": "demo", "messages": [], "fake": {"events": words}},
            headers={"x-api-key": f"{name}'s key"},
        ) as answer:
            await answer.read()
    found = await told(router, 3, by="key")
    assert [(each["key"], each["completion_tokens"]) for each in found["rows"]] == [("alice", 10), ("bob", 5)]


async def test_money(start_router, fake, session, told):
    """By the price of the backend that answered; a model's own price goes before that, and a reload changes it."""
    entry = {"url": fake.url, "models": ["demo", "dear"], "name": "box", "price": {"input": 1.0, "output": 10}}
    router = await start_router([{**entry, "prices": {"dear": {"output": 1000}}}])
    await ask(session, router, fake={"events": 4})
    await ask(session, router, model="dear", fake={"events": 4})
    found = await told(router, 2, by="model")
    assert row(found, model="demo")["cost"] == pytest.approx(41e-6)
    assert row(found, model="dear")["cost"] == pytest.approx(4000e-6)


async def test_budgets_in_money(start_router, fake, session, told):
    """By the price, exactly; what was used before counts again after a restart."""
    backends = [{"url": fake.url, "models": ["demo"], "name": "box", "price": {"output": 100_000}}]
    auth = {"keys": [{"name": "alice", "key": "alice's key", "cost_per_day": 1.0}]}
    headers = {"x-api-key": "alice's key"}
    router = await start_router(backends, auth=auth)
    status = []
    for number in range(4):
        body = {"model": "demo", "messages": [], "fake": {"events": 4}}
        async with session.post(router.url + CHAT, json=body, headers=headers) as answer:
            status.append(answer.status)
        await told(router, min(number + 1, 3))
    # Each costs 0.40.
    assert status == [200, 200, 200, 429]
    assert (await told(router, 3))["total"]["cost"] == pytest.approx(1.2)
    await router.kill()
    router = await start_router(backends, auth=auth)
    async with session.post(router.url + CHAT, json=body, headers=headers) as answer:
        assert answer.status == 429
        assert "cost_per_day" in await answer.text()


async def test_clients_that_leave_are_estimated(start_router, fake, session, told):
    """By what the model's other streams have shown."""
    router = await start_router([{"url": fake.url, "models": ["demo"], "name": "box"}])
    async with session.post(
        router.url + CHAT,
        json={"model": "demo", "stream": True, "messages": [], "fake": {"events": 1000, "delay": 0.005}},
    ) as answer:
        got = b""
        while got.count(b"\n\n") < 40:
            got += await answer.content.readany()
        answer.close()
    found = await told(router, 1)
    assert found["total"]["estimated"] == 1
    assert 30 <= found["total"]["completion_tokens"] <= 60


async def test_a_stream_that_costs_is_counted_though_its_client_does_not_ask(start_router, session, told):
    """To the token, and the client sees nothing of it; one that asks gets what it asks for."""
    async with Strict() as engine:
        router = await start_router([{"url": engine.url, "models": ["demo"], "price": {"output": 10}}])
        ask = {"model": "demo", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
        bodies = ask, ask | {"stream_options": {"include_usage": False}}, ask | ASKS
        unasked, refused, asked = [await text_of(session, router, body) for body in bodies]
        found = await told(router, 3)
    assert (found["total"]["estimated"], found["total"]["cost"] > 0) == (0, True)
    assert found["total"]["completion_tokens"] % 3 == 0
    assert '"usage"' not in refused
    assert '"usage"' in asked
    assert '"usage"' not in unasked
    assert unasked.endswith("data: [DONE]\n\n")


async def test_a_large_request_is_asked_for_its_tokens_too(start_router, session, told):
    """Its texts, which the router doesn't parse, stay as they are."""
    async with FakeEngine(counts="asked") as engine:
        router = await start_router([{"url": engine.url, "models": ["demo"], "price": {"output": 10}}])
        text = {"role": "user", "content": "x" * 900_000}
        ask = {"model": "demo", "messages": [text], "stream": True, "fake": {"events": 3, "prompt": 7}}
        await text_of(session, router, ask)
        found = await told(router, 1)
        sent = engine.stats.last
    assert sent is not None
    assert json.loads(sent.body) == ask | ASKS
    assert (found["total"]["prompt_tokens"], found["total"]["completion_tokens"]) == (7, 3)


@pytest.mark.parametrize("late", [False, True])
async def test_a_server_that_refuses_the_question_is_not_asked(start_router, session, told, late):
    """The client gets its answer, and the tokens are estimated."""
    async with Strict(form="mistral", knows=MISTRALS, late=late) as strict:
        router = await start_router([{"url": strict.url, "models": ["demo"], "price": {"output": 10}}])
        ask = {"model": "demo", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
        for number in range(3):
            assert '"finish_reason": "stop"' in await text_of(session, router, ask)
            assert strict.refusals == 1
            assert (await told(router, number + 1))["total"]["estimated"] == number + 1


async def text_of(session, router, body) -> Any:
    async with session.post(router.url + CHAT, json=body) as answer:
        assert answer.status == 200
        return await answer.text()


@pytest.mark.parametrize(
    ("query", "words"), [("by=colour", "colour"), ("since=yesterday", "yesterday"), ("since=2026-13-01", "2026-13-01")]
)
async def test_what_cannot_be_told(start_router, fake, session, query, words):
    router = await start_router([{"url": fake.url, "models": ["demo"]}])
    async with session.get(f"{router.url}/admin/usage?{query}") as answer:
        assert answer.status == 400
        assert words in (await answer.json())["error"]["message"]


async def test_many_requests(tmp_path):
    """Whole answers count to the token, those whose clients leave within a tenth; 10,000 are tests/endurance's."""
    check(*await load(500, 0.1, tmp_path, seed=1))


async def test_a_kill_leaves_a_whole_file(tmp_path):
    """With all but the last second; on a machine that does other things too, this takes the last five."""
    await kills(2, tmp_path, seed=1, within=5.0)


@pytest.mark.parametrize("framing", ["chunked", "close"])
@pytest.mark.parametrize("split", [0, 7, 100])
async def test_a_stream_that_breaks_off_says_so(start_router, session, told, framing, split):
    """Wherever it is cut: also where the beginning of an event was held back."""
    async with FakeEngine(counts="asked", framing=framing, split=split, fault="truncate", fault_after=3) as engine:
        router = await start_router([{"url": engine.url, "models": ["demo"], "price": {"output": 10}}])
        got = b""
        body = {"model": "demo", "messages": [], "stream": True}
        async with session.post(router.url + CHAT, json=body) as answer:
            with suppress(aiohttp.ClientPayloadError):
                async for piece in answer.content.iter_any():
                    got += piece
        found = await told(router, 1)
    *events, last = [json.loads(each.removeprefix(b"data: ")) for each in got.split(b"\n\n") if each]
    assert len(events) == 3
    assert "error" in last
    # A chat's first event is taken to say only who speaks.
    assert (found["total"]["estimated"], found["total"]["completion_tokens"]) == (1, 2)
