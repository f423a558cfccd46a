"""Who is refused, and who is answered, leaves a trace that nobody forges; no answer of the router's says too much."""

import asyncio
import json

import pytest
from structlog.testing import capture_logs

from tests.fakes.engine import FakeEngine
from tests.integration.raw import ASK, LANES, post
from tests.running import dead_url, eventually

KEY = b"authorization: Bearer one\r\n"
HUGE = {**ASK, "messages": ["x" * 2000]}

REFUSED = {
    "no key": (401, post(ASK)),
    "no key, in chunks": (401, post(ASK, lane="slow")),
    "no key for the models": (401, b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n"),
    "no JSON": (400, post(b"{", headers=KEY)),
    "no JSON, in chunks": (400, post(b"{", headers=KEY, lane="slow")),
    "too large": (413, post(HUGE, headers=KEY)),
    "too large, in chunks": (413, post(HUGE, headers=KEY, lane="slow")),
    "no HTTP": (400, b"BREW pot\r\n\r\n"),
    "no such path": (404, b"GET /x HTTP/1.1\r\nhost: localhost\r\n" + KEY + b"\r\n"),
    "no such method": (405, b"DELETE /v1/models HTTP/1.1\r\nhost: localhost\r\n" + KEY + b"\r\n"),
    "a broken chunk": (
        400,
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
        + KEY
        + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
    ),
}


@pytest.fixture
async def router(start_router, fake):
    keys = [{"name": "my laptop", "key": "one"}]
    backends = [{"url": fake.url, "name": "b", "models": ["demo"]}]
    return await start_router(backends, auth={"keys": keys}, limits={"max_body": "1KiB"})


@pytest.mark.parametrize("kind", REFUSED)
async def test_a_refusal_is_logged_with_the_clients_address(router, raw, kind):
    """And with the id that the client is told."""
    status, request = REFUSED[kind]
    with capture_logs() as logged:
        client = await raw(router)
        client.send(request)
        answer = await client.answer()
    assert (answer.status, answer.headers[b"server"]) == (status, b"router")
    (said,) = [each for each in logged if each["event"].startswith("refused: ")]
    assert (said["status"], said["client"]) == (status, "127.0.0.1")
    assert said["request_id"] == answer.headers[b"x-request-id"].decode()


@pytest.mark.parametrize("lane", LANES)
async def test_refusals_again_and_again_are_counted(router, raw, lane):
    """They don't fill the disk, and aren't lost."""
    with capture_logs() as logged:
        client = await raw(router)
        for _ in range(40):
            client.send(post(b"{", headers=KEY, lane=lane))
            assert (await client.answer()).status == 400
        router.rules.refusals.tell(asyncio.get_running_loop().time() + 3600)
    refused = [each for each in logged if each["event"].startswith("refused")]
    assert [each["event"].partition(":")[0] for each in refused] == ["refused", "refused 39 more requests within 60 s"]
    assert refused[1]["causes"].startswith("400 ")
    assert refused[1]["causes"].endswith(": 39")


@pytest.mark.parametrize("lane", LANES)
async def test_a_line_of_the_access_log_has_the_client_and_its_key(router, raw, tmp_path, lane):
    """And what the client sends adds no field to it."""
    forged = b"x-request-id: abc attempts=9 key=root\r\n"
    client = await raw(router)
    client.send(post(ASK, headers=KEY + forged, lane=lane))
    answer = await client.answer()
    assert (answer.status, answer.headers[b"x-request-id"]) == (200, b"abc attempts=9 key=root")
    path = tmp_path / "logs" / "access.log"
    await eventually(lambda: path.exists() and path.read_text())
    line = path.read_text()
    assert line.split()[2:7] == ["127.0.0.1", "200", "POST", "/v1/chat/completions", "demo"]
    assert line.endswith(' "abc attempts=9 key=root" key="my laptop"\n')


ANSWERS = {
    "models": b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n" + KEY + b"\r\n",
    "health": b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "ready": b"GET /ready HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "no such path": b"GET /x HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "no key": post(ASK),
    "no key, in chunks": post(ASK, lane="slow"),
    "no such model": post({**ASK, "model": "x"}, headers=KEY),
    "no such model, in chunks": post({**ASK, "model": "x"}, headers=KEY, lane="slow"),
    "no HTTP for aiohttp": b"GET / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: x\r\n\r\n",
    "preflight": b"OPTIONS /v1/models HTTP/1.1\r\nhost: localhost\r\naccess-control-request-method: GET\r\n\r\n",
}


@pytest.mark.parametrize("kind", ANSWERS)
async def test_what_the_router_answers_itself_names_no_library(router, raw, kind):
    client = await raw(router)
    client.send(ANSWERS[kind])
    assert (await client.answer()).headers[b"server"] == b"router"


@pytest.mark.parametrize("auth", [{}, {"keys": ["one"]}])
async def test_ready_tells_no_addresses_without_a_key(start_router, session, auth):
    """Of servers elsewhere: who shows a key learns which one it is, anybody else that there is one."""
    there, named = dead_url(), f"{dead_url()}/other"
    backends = [{"url": there, "models": ["demo"]}, {"url": named, "models": ["demo"], "name": "gone"}]
    router = await start_router(backends, auth=auth)
    await eventually(lambda: not any(each.health.usable for each in router.plane.backends.values()))
    async with session.get(router.url + "/ready") as answer:
        told = await answer.text()
    assert answer.status == 503
    assert set(json.loads(told)["backends"]) == {"backend 1", "gone"}
    assert not any(f":{url.rpartition(':')[2]}" in told or "127.0.0.1" in told for url in (there, named))
    if auth:
        async with session.get(router.url + "/ready", headers={"authorization": "Bearer one"}) as answer:
            assert set((await answer.json())["backends"]) == {there.removeprefix("http://"), "gone"}


async def test_an_engines_own_words_stay(start_router, session):
    """Its Server header is its own, as is its error."""
    async with FakeEngine() as fake:
        router = await start_router([{"url": fake.url, "models": ["demo"]}])
        asked = {**ASK, "fake": {"fault": "status:400"}}
        async with session.post(router.url + "/v1/chat/completions", json=asked) as answer:
            assert (answer.status, answer.headers.get("server")) == (400, None)
