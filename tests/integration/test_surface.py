"""What the router itself answers: models, health, and every error in its API's form."""

import asyncio

import pytest

from tests.fakes.engine import FakeEngine
from tests.integration.raw import post
from tests.running import dead_url, eventually

CHAT = "/v1/chat/completions"
ASK = {"model": "demo", "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture
async def router(start_router, fake):
    return await start_router(
        [{"url": fake.url, "models": ["demo"], "name": "fake"}],
        routes={"best": ["demo"], "gpt-*": "demo"},
        limits={"max_body": "10KiB"},
    )


async def test_models(router, session):
    """Every model and exact route, with its state, in OpenAI's form."""
    async with session.get(router.url + "/v1/models") as answer:
        listed = await answer.json()
    assert listed["object"] == "list"
    assert [(m["id"], m["object"], m["state"], m.get("targets")) for m in listed["data"]] == [
        ("demo", "model", "ready", None),
        ("best", "model", "ready", ["demo"]),
    ]


@pytest.mark.parametrize("name", ["demo", "best", "gpt-4o"])
async def test_one_model(router, session, name):
    """A model, a route, and what a wildcard stands for can each be looked at."""
    async with session.get(f"{router.url}/v1/models/{name}") as answer:
        assert answer.status == 200
        shown = await answer.json()
    assert (shown["id"], shown["state"]) == (name, "ready")


async def test_a_model_with_a_slash_in_its_name(start_router, session, fake):
    """Hub ids are names too."""
    router = await start_router([{"url": fake.url, "models": ["org/demo"]}])
    async with session.get(f"{router.url}/v1/models/org/demo") as answer:
        assert (await answer.json())["id"] == "org/demo"


BAD = [
    ("post", CHAT, b"{", 400, "bad_request"),
    ("post", CHAT, b"", 400, "bad_request"),
    ("post", CHAT, b'{"model":7}', 400, "bad_request"),
    ("post", CHAT, b'{"model": 3}', 400, "bad_request"),
    ("post", CHAT, b'{"model": "nope"}', 404, "model_not_found"),
    ("post", CHAT, b" " * 20_000, 413, "request_too_large"),
    ("post", "/v1/embeddings", b'{"model": "nope"}', 404, "model_not_found"),
    ("post", "/elsewhere", b"{}", 404, "not_found"),
    ("get", "/nowhere", None, 404, "not_found"),
    ("get", "/v1/models/nope", None, 404, "model_not_found"),
    ("get", CHAT, None, 405, "method_not_allowed"),
    ("delete", "/v1/models/demo", None, 405, "method_not_allowed"),
    ("get", "/v1/files", None, 404, "not_found"),
    ("delete", "/v1/responses/resp_1", None, 404, "not_found"),
    ("get", "/props", None, 404, "not_found"),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "code"), BAD)
async def test_errors_in_openais_form(router, asking, fake, method, path, body, status, code):
    """The right status, the four fields, an id; and the engine never hears of it."""
    async with asking.request(method, router.url + path, data=body) as answer:
        assert answer.status == status
        assert answer.content_type == "application/json"
        assert answer.headers["x-request-id"]
        told = (await answer.json())["error"]
    assert told["code"] == code
    assert told["message"].endswith(".")
    assert told.keys() == {"message", "type", "param", "code"}
    assert fake.stats.begun == 0


async def test_an_unknown_model_is_told_the_known(router, asking):
    """The list spares a second look."""
    async with asking.post(router.url + CHAT, json={"model": "nope"}) as answer:
        message = (await answer.json())["error"]["message"]
    assert "'nope'" in message
    assert "demo, best" in message


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [(b"{", 400, "invalid_request_error"), (b'{"model": "nope"}', 404, "not_found_error")],
)
async def test_errors_in_anthropics_form(router, asking, body, status, kind):
    """On /v1/messages, Anthropic's words."""
    async with asking.post(router.url + "/v1/messages", data=body) as answer:
        assert answer.status == status
        told = await answer.json()
    assert told["type"] == "error"
    assert told["error"]["type"] == kind


async def test_a_body_too_large_that_says_no_length(router, session):
    """A chunked upload is bounded as well."""

    async def endless():
        for _ in range(100):
            yield b" " * 1000

    async with session.post(router.url + CHAT, data=endless()) as answer:
        assert answer.status == 413


async def test_a_chunked_upload_is_sent_on_with_a_length(router, session, fake):
    """Some engines refuse chunked requests."""

    async def parts():
        yield b'{"model": '
        yield b'"demo"}'

    async with session.post(router.url + CHAT, data=parts()) as answer:
        assert answer.status == 200
    assert fake.stats.last.body == '{"model": "demo"}'


async def test_no_backend_up(start_router, asking):
    """It is tried rather than nobody, and its failure told at once; /ready and /v1/models say that it is down."""
    url = dead_url()
    router = await start_router([{"url": url, "models": ["demo"], "name": "gone"}])
    await eventually(lambda: not router.plane.backends["gone"].health.usable)
    async with asking.post(router.url + CHAT, json=ASK) as answer:
        assert answer.status == 502
        told = (await answer.json())["error"]
    assert told["message"].startswith("The backend 'gone' refused the connection.")
    async with asking.get(router.url + "/ready") as answer:
        assert answer.status == 503
        assert "gone" in (await answer.json())["backends"]
    async with asking.get(router.url + "/v1/models") as answer:
        assert [model["state"] for model in (await answer.json())["data"]] == ["unavailable"]
    async with asking.get(router.url + "/health") as answer:
        assert answer.status == 200  # the router itself lives


async def test_ready(router, session):
    """200 once a model can be served."""
    async with session.get(router.url + "/ready") as answer:
        assert answer.status == 200
        assert (await answer.json())["models"] == ["demo", "best"]


# Backends that run elsewhere


async def test_models_are_asked_of_a_backend_that_lists_none(start_router, session):
    """GET /v1/models of the backend tells what it serves, and goes on telling."""
    async with FakeEngine(models=["llama", "qwen"]) as fake:
        router = await start_router([{"url": fake.url}], health={"interval": "100ms"})
        await eventually(lambda: len(router.plane.catalog.listing()) == 2)
        async with session.post(router.url + CHAT, json={**ASK, "model": "qwen"}) as answer:
            assert answer.status == 200
        fake._models.append("phi")
        await eventually(lambda: len(router.plane.catalog.listing()) == 3)


async def test_a_backend_that_goes_and_comes_back(start_router, session):
    """Probes notice both, and requests flow again without anybody's doing."""
    async with FakeEngine() as fake:
        port = fake.port
        router = await start_router(
            [{"url": fake.url, "models": ["demo"], "name": "b"}], health={"interval": "100ms", "timeout": "1s"}
        )
        known = router.plane.backends["b"]
        await eventually(lambda: known.health.verdict.value == "up")
    await eventually(lambda: not known.health.usable)
    async with FakeEngine(port=port):
        await eventually(lambda: known.health.verdict.value == "up")
        async with session.post(router.url + CHAT, json=ASK) as answer:
            assert answer.status == 200


async def test_a_backend_whose_probes_say_503_is_down(start_router):
    """It answers, but it isn't well."""
    async with FakeEngine(ready=False) as fake:
        router = await start_router([{"url": fake.url, "models": ["demo"], "name": "b"}])
        await eventually(lambda: "503" in router.plane.backends["b"].health.reason)


async def test_load_is_shared(start_router, asking):
    """Two backends of one model carry the same number of requests at once."""
    async with FakeEngine(fault="hang", fault_after=0) as a, FakeEngine(fault="hang", fault_after=0) as b:
        router = await start_router([{"url": each.url, "models": ["demo"]} for each in (a, b)])
        tasks = [asyncio.create_task(asking.post(router.url + CHAT, json=ASK)) for _ in range(20)]
        await eventually(lambda: a.stats.in_flight + b.stats.in_flight == 20)
        assert a.stats.in_flight == b.stats.in_flight == 10
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# Keys


@pytest.fixture
async def guarded(start_router, fake):
    return await start_router([{"url": fake.url, "models": ["demo"]}], auth={"keys": ["one", "two"]})


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer one"},
        {"authorization": "bearer  two"},
        {"x-api-key": "two"},
        {"authorization": "Bearer other", "x-api-key": "two"},
    ],
)
async def test_a_key_opens(guarded, asking, fake, headers):
    """Any of the keys does, in OpenAI's way or Anthropic's; and it isn't shown to the backend."""
    async with asking.post(guarded.url + CHAT, json=ASK, headers=headers) as answer:
        assert answer.status == 200
    assert not {name.lower() for name, _ in fake.stats.last.headers} & {"authorization", "x-api-key"}


@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Bearer three"}, {"authorization": "Basic one"}, {"authorization": "one"}]
)
async def test_without_a_key(guarded, asking, fake, headers):
    """401 on everything under /v1; whether the router lives, anybody may know."""
    async with asking.post(guarded.url + CHAT, json=ASK, headers=headers) as answer:
        assert answer.status == 401
        error = (await answer.json())["error"]
        assert error["code"] == "invalid_api_key"
        assert "x-api-key" in error["message"]
    async with asking.get(guarded.url + "/v1/models", headers=headers) as answer:
        assert answer.status == 401
    async with asking.get(guarded.url + "/health", headers=headers) as answer:
        assert answer.status == 200
    assert fake.stats.begun == 0


# Stopping


async def test_stopping_lets_requests_in_flight_end(start_router, asking):
    """The stream under way ends whole; nobody new is let in; then the router is gone."""
    async with FakeEngine(events=40, delay=0.01) as fake:
        router = await start_router([{"url": fake.url, "models": ["demo"]}])
        url = router.url
        async with asking.post(url + CHAT, json={**ASK, "stream": True}) as answer:
            stopping = asyncio.create_task(router.stop())
            body = await answer.read()
        assert body.endswith(b"data: [DONE]\n\n")
        await stopping
        assert fake.stats.ended == 1
        with pytest.raises(OSError):
            await asking.get(url + "/health")


async def test_a_kept_connection_is_told_that_the_router_stops(start_router, raw, lane, held):
    """A client that stays connected gets 503 and a closed connection, not silence."""
    async with FakeEngine(held_by=str(held)) as fake:
        router = await start_router([{"url": fake.url, "models": ["demo"]}])
        first, second = await raw(router), await raw(router)
        request = post({**ASK, "stream": True}, lane=lane)
        first.send(request)
        await eventually(lambda: fake.stats.in_flight == 1)
        stopping = asyncio.create_task(router.stop())
        await eventually(lambda: router.rules.draining)
        second.send(request)
        told = await second.answer()
        assert (told.status, told.headers[b"connection"]) == (503, b"close")
        assert b"retry-after" in told.headers
        held.unlink()
        assert b"[DONE]" in await first.rest()
        await stopping


async def test_draining_is_bounded(start_router, asking):
    """A request that never ends is cut after drain_timeout, and its client told so."""
    async with FakeEngine(fault="hang", fault_after=0) as fake:
        router = await start_router([{"url": fake.url, "models": ["demo"]}], limits={"drain_timeout": "200ms"})
        task = asyncio.create_task(asking.post(router.url + CHAT, json=ASK))
        await eventually(lambda: fake.stats.in_flight == 1)
        await router.stop()
        await eventually(lambda: fake.stats.aborted == 1)
        async with await task as answer:
            assert answer.status == 503
