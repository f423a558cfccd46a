"""Who may do what, over real sockets: every route for every kind of caller, and what a key may use in each API."""

import gzip
import json
import re
from typing import Any

import pytest

from router.api.admin import TABLE
from router.app import App
from router.config import Config
from router.core.gate import OPEN, Right, right_of
from router.core.keys import digest
from router.core.scopes import Scope
from router.proxy import slow
from tests.integration.raw import ASK, CHAT, post

PATHS = ["/v1/chat/completions", "/v1/models"]
ADMINS = {scope: f"key-to-{scope}" for scope in Scope}
KEYS = [
    {"key": "all", "name": "all"},
    {"key": "alice's", "name": "alice", "models": ["demo", "best", "later*"]},
    {"hash": f"sha256:{digest(b'expired').hex()}", "name": "expired", "expires": "2020-01-31"},
    {"key": "narrow", "name": "narrow", "paths": PATHS, "models": ["demo"]},
]
AUTH = {
    "keys": KEYS,
    "admin_keys": [{"key": key, "name": scope.value, "scopes": [scope.value]} for scope, key in ADMINS.items()],
}
MODELS = ["demo", "secret", "other"]
ROUTES = {"best": ["secret", "demo"], "hidden-one": ["demo"]}

CLIENTS = ["all", "alice's"]
NO_CLIENTS = ["", "expired", "nonsense", f"sha256:{digest(b'all').hex()}", digest(b"all").hex()]
REFUSED = {401, 403}
FIELDS = {"id": "demo", "rest": "embeddings", "path": "lib/dom.js", "digest": "sha256:0", "name": "demo"}


@pytest.fixture
async def router(start_router, fake):
    """Give a router with several models, of which keys may use some."""
    backends = [{"url": fake.url, "models": MODELS, "name": "fake"}]
    return await start_router(backends, routes=ROUTES, auth=AUTH)


def routes(router: App) -> list[tuple[str, str, Any]]:
    """Give each method and path that this router answers, with what handles it; names are filled in."""
    runner = router.listener._runner
    assert runner is not None
    assert runner.app is not None
    examples = {each.path: each.example for each in TABLE}
    found = []
    for route in runner.app.router.routes():
        assert route.resource is not None
        known_as = route.resource.canonical
        path = re.sub(r"\{(\w+)\}", lambda field: str(_field(field[1], examples.get(known_as, {}))), known_as)  # noqa: B023
        found.append((route.method, path, route))
    return found


def _field(name: str, example: Any) -> object:
    return example.get(name, FIELDS.get(name, "x")) if name != "name" else "demo"


async def test_every_route_is_somebodys(router):
    """What is added to the router and to no table would be answered to nobody."""
    for method, path, route in routes(router):
        scope = getattr(route.handler, "scope", None)
        assert right_of(method, path, "text/html", route.resource.canonical, scope) is not Right.NOBODYS, path


async def test_every_route_and_kind_of_caller(router, session):
    """Each route asks for the key that its table says; another key, one that has expired, or none opens nothing."""

    async def status(method: str, path: str, key: str) -> int:
        headers = {"accept": "*/*"} | ({"authorization": f"Bearer {key}"} if key else {})
        async with session.request(method, router.url + path, headers=headers, allow_redirects=False) as answer:
            return int(answer.status)

    for method, path, route in routes(router):
        known_as, scope = route.resource.canonical, getattr(route.handler, "scope", None)
        told = {key: await status(method, path, key) for key in (*CLIENTS, "narrow", *NO_CLIENTS, *ADMINS.values())}
        if known_as in OPEN or known_as.startswith("/web"):
            assert not REFUSED & set(told.values()), (method, path, told)
            continue
        is_admins = scope is not None or known_as.startswith("/admin")
        right = {ADMINS[scope]} if scope else set(ADMINS.values()) if is_admins else set(CLIENTS)
        if path in PATHS:
            right.add("narrow")
        for key, got in told.items():
            if key in right:
                # A route that changes models is refused in words of its own, with 400.
                assert got not in REFUSED, (method, path, key, got)
            elif is_admins:
                assert got == (403 if key in ADMINS.values() else 401), (method, path, key, got)
            else:
                assert got == (403 if key == "narrow" else 401), (method, path, key, got)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
@pytest.mark.parametrize("path", ["/", "/v1/models", CHAT.decode(), "/nothing", "/admin/status", "/upstream/demo/x"])
async def test_no_method_is_a_way_around(router, session, method, path):
    """Whoever shows no key hears of nothing."""
    for headers in ({}, {"authorization": "Bearer nonsense"}, {"authorization": "Bearer expired"}):
        async with session.request(method, router.url + path, headers={**headers, "accept": "*/*"}) as answer:
            assert answer.status == 401


async def test_a_handler_in_no_table_answers_nobody(router, session, monkeypatch):
    """It isn't there, whoever asks."""
    monkeypatch.setattr(slow, "right_of", lambda *_: Right.NOBODYS)
    for key in ("all", *ADMINS.values()):
        async with session.get(router.url + "/v1/models", headers={"x-api-key": key}) as answer:
            assert answer.status == 404


# What a key may use


def form(model: str) -> tuple[bytes, bytes]:
    body = f'--x\r\ncontent-disposition: form-data; name="model"\r\n\r\n{model}\r\n--x--\r\n'
    return body.encode(), b"content-type: multipart/form-data; boundary=x\r\n"


def bodies(model: str) -> list[tuple[bytes, bytes, bytes]]:
    """Give requests for a model: target, body and headers; in each API, and in each form in which it can be named."""
    said = {
        "model": model,
        "messages": [{"role": "user", "content": "x"}],
        "max_tokens": 4,
        "input": "x",
        "prompt": "x",
    }
    whole = json.dumps(said).encode()
    targets = [
        "/v1/chat/completions", "/chat/completions", "/api/v1/chat/completions", "/v1/completions", "/v1/embeddings",
        "/v1/messages", "/v1/messages/count_tokens", "/v1/responses", "/v1/rerank", "/tokenize", "/v1/anything",
        "/api/chat", "/api/generate", "/api/embed", "/api/show",
    ]  # fmt: skip
    found = [(target.encode(), whole, b"") for target in targets]
    found.append((f"/openai/deployments/{model}/chat/completions".encode(), b'{"messages": []}', b""))
    found.append((b"/v1/chat/completions", gzip.compress(whole), b"content-encoding: gzip\r\n"))
    found.append((b"/v1/audio/transcriptions", *form(model)))
    return found


@pytest.mark.parametrize("model", ["secret", "secret:latest", "hidden-one", "nothing"])
async def test_a_key_uses_its_models_alone(router, raw, fake, lane, model):
    """403 in each API, whether the model is there or not; what is said names what the key may use, and no more."""
    for target, body, headers in bodies(model):
        client = await raw(router)
        client.send(post(body, target, b"x-api-key: alice's\r\n" + headers, lane=lane))
        told = await client.answer()
        assert told.status == 403, (target, told)
        assert b"It may use: demo, best, later*." in told.body
        assert b"other" not in told.body
    assert fake.stats.begun == 0


@pytest.mark.parametrize("model", ["demo", "demo:latest", "best"])
async def test_a_key_uses_its_models_in_each_api(router, raw, lane, model):
    """A route as a whole, though it leads first to a model that the key may not use."""
    for target, body, headers in bodies(model):
        client = await raw(router)
        client.send(post(body, target, b"x-api-key: alice's\r\n" + headers, lane=lane))
        assert (await client.answer()).status not in REFUSED, target


async def test_an_unknown_name_is_told_without_the_others(router, raw, lane):
    """One that the key may use, and that isn't there."""
    client = await raw(router)
    client.send(post({**ASK, "model": "later-on"}, headers=b"x-api-key: alice's\r\n", lane=lane))
    told = await client.answer()
    assert told.status == 404
    assert b"Known: demo, best." in told.body


async def listed(session: Any, router: App, path: str, key: str) -> Any:
    async with session.get(router.url + path, headers={"x-api-key": key}) as answer:
        return await answer.json() if answer.status == 200 else answer.status


async def test_lists_have_what_a_key_may_use(router, session):
    """In each API; what a route leads to, too."""
    told = await listed(session, router, "/v1/models", "alice's")
    assert [(each["id"], each.get("targets")) for each in told["data"]] == [("demo", None), ("best", ["demo"])]
    told = await listed(session, router, "/v1/models?client_version=1", "alice's")
    assert {each["slug"] for each in told["models"]} == {"demo", "best"}
    told = await listed(session, router, "/api/tags", "alice's")
    assert [each["name"] for each in told["models"]] == ["demo:latest", "best:latest"]
    assert (await listed(session, router, "/ready", "alice's"))["models"] == ["demo", "best"]
    for name, status in (("secret", 403), ("nothing", 403), ("later", 404)):
        assert await listed(session, router, f"/v1/models/{name}", "alice's") == status
    assert (await listed(session, router, "/v1/models/best", "alice's"))["targets"] == ["demo"]
    assert len((await listed(session, router, "/v1/models", "all"))["data"]) == 5
    assert len((await listed(session, router, "/ready", ADMINS[Scope.READ]))["models"]) == 5


async def test_a_request_that_names_no_model_uses_none_but_the_keys(start_router, raw, fake, lane):
    """The only model there is would be meant."""
    auth = {"keys": [{"key": "k", "name": "bob", "models": ["demo"]}, {"key": "l", "models": ["x"]}]}
    router = await start_router([{"url": fake.url, "models": ["demo"]}], auth=auth)
    for key, status in ((b"k", 200), (b"l", 403)):
        client = await raw(router)
        client.send(post({"messages": []}, headers=b"x-api-key: %s\r\n" % key, lane=lane))
        assert (await client.answer()).status == status


@pytest.mark.parametrize(
    "target", [b"/v1/chat/completions", b"/chat/completions", b"/openai/deployments/demo/chat/completions"]
)
async def test_a_path_is_one_in_each_of_its_forms(router, raw, lane, target):
    """As for what a key may ask."""
    client = await raw(router)
    client.send(post(ASK, target, b"x-api-key: narrow\r\n", lane=lane))
    assert (await client.answer()).status == 200


@pytest.mark.parametrize(
    "target", [b"/v1/completions", b"/v1/%63hat/completions", b"/v1/chat/completions/../../api/chat"]
)
async def test_another_path_is_refused_however_it_is_written(router, raw, fake, lane, target):
    client = await raw(router)
    client.send(post({**ASK, "prompt": "x"}, target, b"x-api-key: narrow\r\n", lane=lane))
    told = await client.answer()
    assert told.status == 403
    assert b"It may ask: /v1/chat/completions, /v1/models." in told.body
    assert fake.stats.begun == 0


@pytest.mark.parametrize("key", [b"alice's", b"all"])
async def test_a_body_names_one_model(start_router, raw, engine, lane, key):
    """Programs in Go, such as Ollama, would take `Model`, too. A key that may use all has its body as it came."""
    bodies: list[bytes] = []

    async def answer(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        bodies.append(await reader.readexactly(int(length[1])) if length else b"")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

    router = await start_router([{"url": await engine(answer), "models": MODELS}], routes=ROUTES, auth=AUTH)
    client = await raw(router)
    body = b'{"model": "demo", "messages": [], "Model": "secret"}'
    client.send(post(body, headers=b"x-api-key: %s\r\n" % key, lane=lane))
    assert (await client.answer()).status == 200
    assert bodies[-1] == (body if key == b"all" else b'{"model":"demo","messages":[]}')


# Wrong keys


@pytest.mark.usefixtures("logs_as_at_work")
async def test_nothing_of_a_wrong_key_is_told(router, raw, lane, tmp_path, caplog):
    """Neither in an answer, nor in a log; however many there are, a few lines say so."""
    lines = [b"x-api-key: Zq%d", b"authorization: Bearer Zq%d", b"api-key: Zq%d", b"authorization: Basic Zq%d"]
    for number in range(200):
        client = await raw(router)
        header = lines[number % len(lines)] % number
        client.send(post(ASK, headers=header + b"\r\n", lane=lane))
        told = await client.answer()
        assert told.status == 401
        assert b"Zq" not in told.bytes
        client.leave()
    client = await raw(router)
    client.send(b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\nx-api-key: Zq\r\n\r\n")
    assert b"Zq" not in (await client.answer()).bytes
    router.rules.refusals.tell(1e12)
    assert "Zq" not in caplog.text
    assert caplog.text.count("refused") == 2
    assert "refused 200 more requests within 60 s" in caplog.text
    assert "invalid_api_key: 200" in caplog.text
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and b"Zq" in file.read_bytes()]


# Kept connections


async def test_a_key_expires_on_a_kept_connection(router, raw, lane):
    """Its requests have the very head of one that was let in."""
    (entry,) = [key for key in router.rules.gate._keys.known.values() if key.name == "alice"]
    assert not entry.expires
    backends = [{"url": router.plan.config.backends[0].url, "models": MODELS, "name": "fake"}]
    keys = [{"key": "alice's", "name": "alice", "expires": "2027-01-31"}]
    config = {"server": {"port": 0}, "backends": backends, "auth": {"keys": keys}}
    now = 1801440000.0 - 1
    router.rules._clock = lambda: now
    await router.reload(Config.model_validate(config))
    client = await raw(router)
    request = post(ASK, headers=b"x-api-key: alice's\r\n", lane=lane)
    for _ in range(3):
        client.send(request)
        assert (await client.answer()).status == 200
    now += 1
    client.send(request)
    told = await client.answer()
    assert told.status == 401
    assert b"The API key 'alice' has expired." in told.body


async def test_a_wrong_key_costs_no_connection(router, raw, lane):
    """Where its request came whole: the next one is answered."""
    client = await raw(router)
    for key, status in ((b"wrong", 401), (b"all", 200), (b"Wrong", 401), (b"all", 200)):
        client.send(post(ASK, headers=b"x-api-key: %s\r\n" % key, lane=lane))
        assert (await client.answer()).status == status


async def test_a_key_that_is_taken_away_opens_nothing_more(router, raw, lane):
    """With the next request, on a connection that it opened."""
    client = await raw(router)
    request = post(ASK, headers=b"x-api-key: all\r\n", lane=lane)
    for _ in range(3):
        client.send(request)
        assert (await client.answer()).status == 200
    backends = [{"url": router.plan.config.backends[0].url, "models": MODELS, "name": "fake"}]
    config = {"server": {"port": 0}, "backends": backends, "auth": {"keys": ["another"]}}
    await router.reload(Config.model_validate(config))
    client.send(request)
    assert (await client.answer()).status == 401
