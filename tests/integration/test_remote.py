"""Servers elsewhere as they are: other bases, keys and probes, and lists of models that are late or missing."""

import asyncio
import json

import pytest
from aiohttp import web

from tests.running import eventually

CHAT = "/v1/chat/completions"
ASK = {"model": "demo", "messages": [{"role": "user", "content": "Hi"}]}


class Remote:
    """A server whose paths all answer with the same; it notes what it is asked. A list is given as `listing` says."""

    def __init__(self) -> None:
        self.asked: list[web.Request] = []
        self.bodies: list[bytes] = []
        self.url = ""
        self.listing: object = {"data": [{"id": "demo"}]}
        self.status = 200
        self.takes = 0.0

    async def answer(self, request: web.Request) -> web.Response:
        """Answer with the status."""
        self.asked.append(request)
        self.bodies.append(await request.read())
        if request.path.endswith("/models"):
            await asyncio.sleep(self.takes)
            return web.json_response(self.listing, status=self.status)
        return web.json_response({"choices": [{"message": {"content": "Hello"}}]}, status=self.status)

    def targets(self, method: str) -> list[str]:
        """What was asked by a method."""
        return [str(each.rel_url) for each in self.asked if each.method == method]


@pytest.fixture
async def remote():
    made = Remote()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


@pytest.mark.parametrize(
    ("place", "target"),
    [
        ("", "/v1/chat/completions"),
        ("/", "/v1/chat/completions"),
        ("/v1beta/openai", "/v1beta/openai/chat/completions"),
        ("/api/paas/v4/", "/api/paas/v4/chat/completions"),
        ("/compat/v1", "/compat/v1/chat/completions"),
        ("/openai/deployments/x?api-version=1", "/openai/deployments/x/chat/completions?api-version=1"),
    ],
)
async def test_a_url_is_the_base(start_router, session, remote, place, target):
    """For requests and for the list of models."""
    router = await start_router([{"url": remote.url + place}])
    async with session.post(router.url + CHAT, json=ASK) as answer:
        assert answer.status == 200
    assert remote.targets("POST") == [target]
    assert target.replace("chat/completions", "models") in remote.targets("GET")


async def test_headers_are_sent_with_each_request(start_router, session, remote):
    """With probes and lists, too; a client's own key isn't, if one of them is a key."""
    router = await start_router([{"url": remote.url, "headers": {"api-key": "ours", "x-team": "a"}}])
    async with session.post(router.url + CHAT, json=ASK, headers={"authorization": "Bearer mine"}) as answer:
        assert answer.status == 200
    assert {(each.headers.get("api-key"), each.headers.get("x-team")) for each in remote.asked} == {("ours", "a")}
    assert not any("authorization" in each.headers for each in remote.asked)


async def test_a_probe_has_a_path(start_router, remote):
    """Some servers do work when they are asked for /health."""
    await start_router([{"url": remote.url, "models": ["demo"], "probe": "/live?x=1"}], health={"interval": "200ms"})
    await eventually(lambda: remote.targets("GET").count("/live?x=1") > 2)
    assert "/health" not in remote.targets("GET")


async def test_who_is_never_probed_gets_clients_requests_alone(start_router, session, remote):
    """It goes out when these fail, and is tried again by itself."""
    backend = {"url": remote.url, "models": ["demo"], "probe": "never", "name": "r"}
    router = await start_router([backend], health={"interval": "200ms", "unhealthy_after": 1}, limits={"retries": 0})
    remote.status = 503
    async with session.post(router.url + CHAT, json=ASK) as answer:
        assert answer.status == 503
    remote.status = 200

    async def answered() -> bool:
        async with session.post(router.url + CHAT, json=ASK) as answer:
            return bool(answer.status == 200)

    async with asyncio.timeout(10):
        while not await answered():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert remote.targets("GET") == []


async def test_a_list_may_take_longer_than_a_probe(start_router, session, remote):
    """Requests wait for it."""
    remote.takes = 0.5
    router = await start_router([{"url": remote.url}], health={"interval": "100ms", "timeout": "100ms"})
    async with session.post(router.url + CHAT, json=ASK) as answer:
        assert answer.status == 200
    assert remote.targets("GET").count("/v1/models") == 1


async def test_names_may_be_those_of_a_server_that_is_off(start_router, session, remote, monkeypatch):
    """It can't be asked what it serves, so that nobody knows: the client may try again."""
    monkeypatch.setattr("router.proxy.directory.DISCOVERY_TIMEOUT", 0.1)
    remote.status = 503
    router = await start_router([{"url": remote.url, "name": "far"}])
    async with session.post(router.url + CHAT, json=ASK) as answer:
        assert answer.status == 503
        said = json.loads(await answer.read())["error"]["message"]
        assert "far can't be asked now what is served there" in said
        assert "retry-after" in answer.headers


async def test_models_that_come_later_are_announced(start_router, remote, capsys):
    """Once, with their names."""
    remote.status = 503
    router = await start_router([{"url": remote.url}], health={"interval": "100ms"})
    await eventually(lambda: "/v1/models" in remote.targets("GET") or "/health" in remote.targets("GET"))
    said = capsys.readouterr()
    assert "Ready" not in said.out + said.err
    remote.status = 200
    heard: list[str] = []

    def announced() -> bool:
        now = capsys.readouterr()
        heard.append(now.out + now.err)
        return "with demo" in "".join(heard)

    await eventually(announced, 10)
    # What settles later says nothing more.
    router._announce()
    announced()
    assert "".join(heard).count("Ready at ") == 1
