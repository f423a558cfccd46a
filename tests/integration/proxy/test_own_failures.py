"""What a launched engine says of its own failure is for its log: it names files and addresses of this machine."""

import json

import pytest
from structlog.testing import capture_logs

from tests.fakes.engine import FakeEngine
from tests.integration.proxy.test_fast_failures import CHAT, Lies, answer, chat
from tests.integration.proxy.test_translated import BODIES, error_in

WORDS = "/home/me/models/a.gguf at 10.1.2.3: CUDA error"
SAID = json.dumps({"error": {"message": WORDS, "code": 500}}).encode()
EVENT = b"data: " + SAID + b"\n\ndata: [DONE]\n\n"

FAILURES = {
    "JSON": (answer(SAID, status="500 No"), 500),
    "JSON in chunks": (answer(SAID, status="500 No", chunked=True), 500),
    "words": (answer(WORDS.encode(), "text/plain", "500 No"), 500),
    "a page": (answer(f"<html><body>{WORDS}</body></html>".encode(), "text/html", "502 No"), 502),
    "not now": (answer(SAID, status="503 No"), 503),
    "not known": (answer(SAID, status="501 No"), 501),
    "a stream": (answer(EVENT, "text/event-stream", "500 No"), 500),
    "compressed": (
        answer(WORDS.encode(), "text/plain\r\ncontent-encoding: gzip", "500 No"), 500
    ),
    "a large one": (answer(WORDS.encode() * 5000, "text/plain", "500 No"), 500),
    "under 200": (answer(SAID), 500),
    "an event under 200": (answer(EVENT, "text/event-stream"), 500),
    "an event in chunks": (answer(EVENT, "text/event-stream", chunked=True), 500),
}  # fmt: skip


async def launched(start_router, fake):
    """Start a router with a backend that counts as one of its own engines."""
    router = await start_router([{"url": fake.url, "models": ["demo"], "name": "qwen"}])
    router.plane.backends["qwen"].supervised = True
    return router


@pytest.mark.parametrize(("said", "status"), FAILURES.values(), ids=list(FAILURES))
@pytest.mark.parametrize("stream", [True, False])
async def test_the_client_is_told_which_engine_failed(start_router, session, said, status, stream):
    """And where its words are; the router's log has their beginning."""
    async with Lies(said) as fake:
        router = await launched(start_router, fake)
        with capture_logs() as logs:
            async with session.post(router.url + CHAT, json=chat(stream)) as got:
                body = await got.read()
    assert got.status == status, body
    assert b"CUDA" not in body
    assert b"/home/me" not in body
    assert "content-encoding" not in got.headers
    error = json.loads(body)["error"]
    assert error["message"].startswith(f"The engine 'qwen' of the model 'demo' failed with status {status}")
    assert "logs qwen" in error["message"]
    told = [each for each in logs if each["event"] == "an engine has failed"]
    assert [(each["backend"], each["status"]) for each in told] == [("qwen", status)]
    assert "CUDA" in told[0]["said"]
    assert len(told[0]["said"]) <= 500


@pytest.mark.parametrize("path", sorted(BODIES))
async def test_so_it_is_in_each_api(start_router, session, path):
    """Also where it is translated."""
    async with Lies(answer(SAID, status="500 No")) as fake:
        router = await launched(start_router, fake)
        body = {"model": "demo", **BODIES[path], "stream": False}
        async with session.post(router.url + path, json=body) as got:
            said = await got.json()
    assert got.status == 500
    assert "failed with status 500" in error_in(path, said)
    assert "CUDA" not in json.dumps(said)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("status", [400, 404, 422, 429])
async def test_what_it_says_of_a_request_is_kept(start_router, session, status, stream):
    """A client has to know what is wrong with it."""
    async with FakeEngine(fault=f"status:{status}") as fake:
        router = await launched(start_router, fake)
        async with session.post(router.url + CHAT, json=chat(stream)) as got:
            assert got.status == status
            assert f"asked for {status}" in await got.text()


async def test_so_is_an_error_of_the_request_under_200(start_router, session):
    """As vllm's streams tell it."""
    event = b'data: {"error": {"message": "the prompt is odd", "code": 400}}\n\ndata: [DONE]\n\n'
    async with Lies(answer(event, "text/event-stream")) as fake:
        router = await launched(start_router, fake)
        async with session.post(router.url + CHAT, json=chat(True)) as got:
            assert (got.status, await got.read()) == (200, event)


async def test_a_server_elsewhere_speaks_for_itself(start_router, session):
    """It is not ours to read its log."""
    async with Lies(answer(SAID, status="500 No")) as fake:
        router = await start_router([{"url": fake.url, "models": ["demo"], "name": "qwen"}])
        async with session.post(router.url + CHAT, json=chat()) as got:
            assert (got.status, await got.read()) == (500, SAID)
