"""Limits of keys and teams, over real sockets: no client gets more, and each is told when it may go on."""

import asyncio
import json
import random
from contextlib import suppress
from typing import Any

import aiohttp
import pytest

from router.api.admin.keys import KeysTold
from router.api.admin.usage import UsageTold
from router.app import App
from router.config import Config
from router.core.limits import Charge
from router.proxy.charging import Payer
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import StartRouter
from tests.integration.raw import ASK, connect, post
from tests.running import eventually

CHAT = "/v1/chat/completions"
CLIENTS = 100
ALICE = {"authorization": "Bearer alice-s-key"}


def keys(**limits: Any) -> dict[str, Any]:
    return {"keys": [{"name": "alice", "key": "alice-s-key", **limits}, {"name": "bob", "key": "bob-s-key"}]}


def book(app: App) -> Any:
    assert app.rules.charging is not None
    payer = app.rules.charging.payer("alice")
    assert payer is not None
    return payer.account.books[0]


async def settled(app: App) -> Any:
    """Wait until all that has ended is settled; give the key's book."""
    found = book(app)
    access = app._ended._access
    assert access is not None
    await eventually(lambda: not (app.plane.exchanges or access._records))
    assert found.in_flight == 0
    return found


async def asked(
    session: aiohttp.ClientSession, app: App, body: dict[str, Any], path: str = CHAT, **headers: str
) -> int:
    async with session.post(app.url + path, json=body, headers=ALICE | headers) as response:
        await response.read()
        return response.status


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        (CHAT, {"error": {"type": "requests", "param": None, "code": "rate_limit_exceeded"}}),
        ("/v1/completions", {"error": {"type": "requests", "param": None, "code": "rate_limit_exceeded"}}),
        ("/v1/responses", {"error": {"type": "requests", "param": None, "code": "rate_limit_exceeded"}}),
        ("/v1/embeddings", {"error": {"type": "requests", "param": None, "code": "rate_limit_exceeded"}}),
        ("/v1/messages", {"type": "error", "error": {"type": "rate_limit_error"}}),
        ("/api/chat", {}),
    ],
)
async def test_a_refusal_has_the_form_of_its_api(start_router: StartRouter, fake: FakeEngine, lane, path, wanted):
    """With the limit's name, whose it is, when to go on, and the heads that SDKs read; the connection stays open."""
    app = await start_router([{"name": "box", "url": fake.url}], auth=keys(requests_per_minute=1))
    key = b"authorization: Bearer alice-s-key\r\n"
    client = await connect(app.url)
    client.send(post(ASK, headers=key))
    first = await client.answer()
    assert first.status == 200
    assert first.headers[b"x-ratelimit-limit-requests"] == b"1"
    assert first.headers[b"x-ratelimit-remaining-requests"] == b"0"
    client.send(post(ASK | {"stream": True, "max_tokens": 5}, path.encode(), key, lane=lane))
    answer = await client.answer()
    assert answer.status == 429
    assert 1 <= int(answer.headers[b"retry-after"]) <= 60
    assert answer.headers[b"x-ratelimit-remaining-requests"] == b"0"
    assert (b"anthropic-ratelimit-requests-reset" in answer.headers) is (path == "/v1/messages")
    said = json.loads(answer.body)
    words = said["error"] if path == "/api/chat" else said["error"].pop("message")
    assert words.startswith(
        "The key 'alice' is at its limit of 1 requests a minute (requests_per_minute). Try again in "
    )
    assert path == "/api/chat" or said == wanted
    assert fake.stats.begun == 1
    client.leave()


async def test_another_key_is_not_concerned(start_router: StartRouter, fake: FakeEngine, session):
    """Nor told of limits, if it has none."""
    app = await start_router([{"name": "box", "url": fake.url}], auth=keys(requests_per_minute=1))
    assert [await asked(session, app, ASK) for _ in range(2)] == [200, 429]
    async with session.post(app.url + CHAT, json=ASK, headers={"authorization": "Bearer bob-s-key"}) as response:
        assert response.status == 200
        assert not [name for name in response.headers if "ratelimit" in name.lower()]


async def test_limits_are_each_routers_own(start_router: StartRouter, fake: FakeEngine, session):
    """Two routers before the same backend know nothing of each other's clients."""
    routers = [
        await start_router([{"name": "box", "url": fake.url, "models": ["demo"]}], auth=keys(requests_per_minute=1))
        for _ in range(2)
    ]
    assert [await asked(session, each, ASK) for each in routers * 2] == [200, 200, 429, 429]


async def test_a_team_shares_its_limits(start_router: StartRouter, fake: FakeEngine, session):
    """Whichever of its keys is shown."""
    auth = keys() | {"teams": {"family": {"keys": ["alice", "bob"], "requests_per_day": 3}}}
    app = await start_router([{"name": "box", "url": fake.url}], auth=auth)
    bob = {"authorization": "Bearer bob-s-key"}
    statuses = [await asked(session, app, ASK, **who) for who in ({}, bob, {}, bob)]
    assert statuses == [200, 200, 200, 429]


@pytest.mark.parametrize(
    "limits",
    [
        {"requests_per_minute": 7},
        {"requests_per_day": 7},
        {"requests_per_month": 7},
        {"max_in_flight": 7},
        {"tokens_per_minute": 100},
        {"tokens_per_day": 100},
        {"tokens_per_month": 100},
    ],
    ids=lambda limits: next(iter(limits)),
)
async def test_a_hundred_clients_on_one_key_overrun_no_limit(
    start_router: StartRouter, fake: FakeEngine, session, monkeypatch, limits
):
    """By no more than what the requests in flight use: each client asks until it is refused."""
    app = await start_router([{"name": "box", "url": fake.url}], auth=keys(**limits))
    (limit, most), used, most_open, words = next(iter(limits.items())), [], 0, 12
    body = ASK | {"fake": {"events": words, "first_delay": 0.05}}

    async def client() -> None:
        for _ in range(3):
            async with session.post(app.url + CHAT, json=body, headers=ALICE) as response:
                await response.read()
                if response.status == 429:
                    return
                used.append(1 + words)

    def begin(*args: Any, **kwargs: Any) -> Charge:
        nonlocal most_open
        charge = begins(*args, **kwargs)
        most_open = max(most_open, book(app).in_flight, fake.stats.in_flight)
        return charge

    begins = Payer.begin
    monkeypatch.setattr(Payer, "begin", begin)
    began = app.plane.loop.time()
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    minutes = (app.plane.loop.time() - began) / 60
    found = await settled(app)
    assert used
    assert found.day.sums.requests == len(used) == fake.stats.begun
    assert found.day.sums.tokens == sum(used)
    if limit == "max_in_flight":
        assert most_open <= most
    elif limit.startswith("requests"):
        assert len(used) <= most * (1 + (minutes if limit.endswith("minute") else 0))
    else:
        refilled = most * minutes if limit.endswith("minute") else 0
        in_flight = most_open * max(used)
        assert sum(used) <= most + refilled + in_flight
        # What was estimated of prompts alone would have let all of them in.
        assert len(used) < CLIENTS


async def test_a_stream_is_settled_as_its_engine_has_counted_it(start_router: StartRouter, session):
    """Whatever was estimated while it ran: its key has used that much, exactly."""
    usage = b'data: {"choices": [], "usage": {"prompt_tokens": 1234, "completion_tokens": 56}}\n\ndata: [DONE]\n\n'
    answer = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n%s" % (len(usage), usage)
    async with FakeEngine(answers={CHAT: answer}) as engine:
        app = await start_router([{"name": "box", "url": engine.url}], auth=keys(tokens_per_day=5000))
        assert await asked(session, app, ASK | {"stream": True}) == 200
        assert (await settled(app)).day.sums.tokens == 1290


async def test_a_count_takes_a_request_and_no_tokens(start_router: StartRouter, fake: FakeEngine, session):
    """It goes on where the tokens are used up."""
    app = await start_router([{"name": "box", "url": fake.url}], auth=keys(tokens_per_day=1, requests_per_day=5))
    body = {"model": "demo", "max_tokens": 5, "messages": [{"role": "user", "content": "hello"}]}
    assert await asked(session, app, ASK) == 200
    assert await asked(session, app, ASK) == 429
    assert await asked(session, app, body, "/v1/messages/count_tokens") == 200
    found = await settled(app)
    assert found.day.sums.requests == 2


async def test_a_translated_answer_tells_what_is_left(start_router: StartRouter, fake: FakeEngine, session):
    """Ollama's and Anthropic's clients have the same limits."""
    app = await start_router([{"name": "box", "url": fake.url}], auth=keys(requests_per_day=50))
    messages = [{"role": "user", "content": "hello"}]
    for number, path in enumerate(("/v1/messages", "/v1/responses", "/api/chat"), 1):
        body = {"model": "demo", "max_tokens": 5, "messages": messages, "input": "hello", "stream": False}
        async with session.post(app.url + path, json=body, headers=ALICE) as response:
            assert response.status == 200
            assert response.headers["x-ratelimit-remaining-requests"] == str(50 - number)


async def test_a_client_that_leaves_frees_its_place(start_router: StartRouter, fake: FakeEngine, held):
    """At once."""
    app = await start_router([{"name": "box", "url": fake.url}], auth=keys(max_in_flight=1))
    body = ASK | {"stream": True, "fake": {"held_by": str(held)}}
    client = await connect(app.url)
    client.send(post(body, headers=b"authorization: Bearer alice-s-key\r\n"))
    await client.reader.readuntil(b"data:")
    assert book(app).in_flight == 1
    client.leave()
    await eventually(lambda: not app.plane.exchanges)
    assert book(app).in_flight == 0


async def test_a_change_of_router_yaml_keeps_what_was_used(start_router: StartRouter, fake: FakeEngine, session):
    """Also for connections that stay open: the new limits hold from their next request."""
    backends = [{"name": "box", "url": fake.url}]
    app = await start_router(backends, auth=keys(requests_per_day=2))
    assert [await asked(session, app, ASK) for _ in range(3)] == [200, 200, 429]

    async def changed(**limits: int) -> None:
        sections: dict[str, Any] = {"server": {"port": 0}, "backends": backends, "auth": keys(**limits)}
        await app.reload(Config.model_validate(sections))

    await changed(requests_per_day=3)
    assert [await asked(session, app, ASK) for _ in range(2)] == [200, 429]
    await changed()
    assert await asked(session, app, ASK) == 200


async def test_a_page_may_read_what_is_left(start_router: StartRouter, fake: FakeEngine, session):
    """A page of another origin, if it may use the router at all."""
    app = await start_router(
        [{"name": "box", "url": fake.url}],
        server={"port": 0, "cors": ["https://chat.example.org"]},
        auth=keys(requests_per_day=1),
    )
    for status in (200, 429):
        async with session.post(
            app.url + CHAT, json=ASK, headers=ALICE | {"origin": "https://chat.example.org"}
        ) as response:
            assert response.status == status
            exposed = ", ".join(response.headers.getall("access-control-expose-headers"))
            assert "x-ratelimit-remaining-requests" in exposed
            assert "retry-after" in exposed


async def test_a_hundred_clients_overrun_no_budget(start_router: StartRouter, fake: FakeEngine, session):
    """Nor in money: what an answer costs is estimated as it ends, so that the next one doesn't go over it."""
    backend = {"name": "box", "url": fake.url, "price": {"input": 1_000_000, "output": 1_000_000}}  # 1 a token
    app = await start_router([backend], auth=keys(cost_per_day=100, max_in_flight=5))
    words, used = 9, []

    async def client() -> None:
        while True:
            async with session.post(
                app.url + CHAT, json=ASK | {"stream": True, "fake": {"events": words}}, headers=ALICE
            ) as response:
                await response.read()
                if response.status == 429:
                    return
                used.append(1)

    # One first: what the engine counts of a prompt is learned from its answers.
    assert await asked(session, app, ASK | {"fake": {"events": 1}}) == 200
    await settled(app)
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    found = await settled(app)
    most_of_one = 60
    assert found.day.sums.cost <= 100 + 5 * most_of_one
    assert found.day.sums.cost == found.day.sums.tokens
    assert used


async def test_days_and_months_go_on_after_a_restart(start_router: StartRouter, fake: FakeEngine, session):
    """As they were counted; a limit that is new knows what was used before it, too."""
    backends = [{"name": "box", "url": fake.url, "price": {"output": 1_000_000}}]
    first = await start_router(backends, auth=keys(requests_per_day=3))
    body = ASK | {"fake": {"events": 7}}
    assert [await asked(session, first, body) for _ in range(2)] == [200, 200]
    await settled(first)
    await first.stop()
    second = await start_router(backends, auth=keys(requests_per_day=3))
    found = book(second)
    assert (found.day.sums.requests, found.month.sums.tokens, found.day.sums.cost) == (2, 16, 14)
    assert [await asked(session, second, body) for _ in range(2)] == [200, 429]
    await settled(second)
    auth = keys() | {"teams": {"family": {"keys": ["alice", "bob"], "tokens_per_month": 20}}}
    await second.reload(Config.model_validate({"server": {"port": 0}, "backends": backends, "auth": auth}))
    assert book(second).whose == "team 'family'"
    assert book(second).month.sums.tokens == 24
    assert await asked(session, second, body) == 429


async def test_admins_are_told_what_is_used_of_each_limit(start_router: StartRouter, fake: FakeEngine, session):
    """By names, and nothing of the keys themselves."""
    auth = keys(tokens_per_day=100, max_in_flight=4, cost_per_month=2.5) | {
        "teams": {"family": {"keys": ["alice", "bob"], "requests_per_minute": 60}}
    }
    app = await start_router([{"name": "box", "url": fake.url, "price": {"output": 1000}}], auth=auth)
    assert await asked(session, app, ASK | {"fake": {"events": 9}}) == 200
    await settled(app)
    async with session.get(f"{app.url}/admin/keys") as answer:
        text = await answer.text()
    assert "alice-s-key" not in text
    told = KeysTold.model_validate_json(text)
    alice, bob = told.keys
    assert (alice.name, alice.team, alice.expires) == ("alice", "family", None)
    assert [(each.limit, each.most, each.used, each.left) for each in alice.limits] == [
        ("max_in_flight", 4, 0, 4),
        ("tokens_per_day", 100, 10, 90),
        ("cost_per_month", 2.5, 0.009, 2.491),
    ]
    assert alice.limits[0].resets_in is None
    assert 0 < (alice.limits[1].resets_in or 0) <= 25 * 3600
    assert (bob.name, bob.team, bob.limits) == ("bob", "family", ())
    (family,) = told.teams
    assert (family.name, family.keys) == ("family", ("alice", "bob"))
    assert family.limits[0].limit == "requests_per_minute"
    assert family.limits[0].left in {59, 60}


async def test_a_request_that_makes_no_sense_takes_nothing_and_is_told_what_is_left(
    start_router: StartRouter, fake: FakeEngine, lane
):
    """In either lane."""
    app = await start_router([{"name": "box", "url": fake.url}], auth=keys(requests_per_day=5))
    client = await connect(app.url)
    client.send(post(b"no JSON", headers=b"authorization: Bearer alice-s-key\r\n", lane=lane))
    answer = await client.answer()
    assert answer.status == 400
    assert answer.headers[b"x-ratelimit-remaining-requests"] == b"5"
    client.leave()


async def test_the_books_are_what_usage_says(start_router: StartRouter, session):
    """After requests that end in all ways, some of them at the same time: to the request, the token and the cent."""
    chance = random.Random(7)  # noqa: S311 -- repeatable
    ways: list[dict[str, Any]] = [
        {"fake": {"events": 5}},
        {"fake": {"events": 5}, "stream": True},
        {"fake": {"events": 5, "fault": "die", "fault_after": 2}, "stream": True},
        {"fake": {"fault": "reset_before"}},
        {"fake": {"fault": "status:500"}},
        {"fake": {"fault": "status:400"}},
        {"fake": {"fault": "status:429"}},
        {"model": "unknown"},
    ]
    async with FakeEngine(max_concurrent=8) as engine:
        backends = [{"name": "box", "url": engine.url, "price": {"input": 1, "output": 2}}]
        app = await start_router(backends, auth=keys(tokens_per_month=10**9, max_in_flight=20))

        async def client(number: int) -> None:
            body = ASK | chance.choice(ways)
            await asyncio.sleep(number * 0.005)  # all at once, only those would begin whom `max_in_flight` lets in
            if number % 4 == 0:
                raw = await connect(app.url)
                slow = ASK | {"stream": True, "fake": {"events": 50, "delay": 0.02}}
                raw.send(post(slow, headers=b"authorization: Bearer alice-s-key\r\n"))
                await raw.reader.readuntil(b"\r\n")
                raw.leave()
                return
            with suppress(aiohttp.ClientError):
                await asked(session, app, body)

        await asyncio.gather(*(client(number) for number in range(CLIENTS)))
        found = await settled(app)
        async with session.get(f"{app.url}/admin/usage?by=key") as answer:
            told = UsageTold.model_validate_json(await answer.text())
    (row,) = told.rows
    assert row.key == "alice"
    assert row.requests > 20
    assert found.day.sums.requests == row.requests
    assert found.day.sums.tokens == row.prompt_tokens + row.completion_tokens
    assert found.day.sums.cost == pytest.approx(row.cost)
