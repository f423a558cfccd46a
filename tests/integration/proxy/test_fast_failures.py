"""A backend that answers errors at once: another answers instead, and the one at fault is soon asked no more."""

import asyncio
import json
from typing import Any

import pytest

from router.core.balance import POLICIES
from tests.fakes.engine import End, FakeEngine, expected_body, expected_stream, reply
from tests.integration.proxy.test_translated import BODIES, error_in
from tests.running import eventually

CHAT = "/v1/chat/completions"
ITS_OWN = (401, 402, 403, 404, 405, 407, 408, 409, 410, 500, 501, 507, 522, 529)
"""Statuses that may be the backend's fault whatever is asked."""


def chat(stream: bool = False, **fake: object) -> dict[str, Any]:
    return {"model": "demo", "messages": [{"role": "user", "content": "Hi"}], "stream": stream, "fake": fake}


def backend(fake: FakeEngine, name: str, **keys: object) -> dict[str, object]:
    return {"url": fake.url, "models": ["demo"], "name": name, **keys}


@pytest.fixture
async def good():
    async with FakeEngine() as engine:
        yield engine


class Lies(FakeEngine):
    """An engine that answers every request with these bytes."""

    def __init__(self, said: bytes) -> None:
        super().__init__()
        self.said = said

    async def _play(self, link, request):  # noqa: ARG002
        await self._write(link, self.said)
        return End.KEEP


def answer(body: bytes, kind: str = "application/json", status: str = "200 OK", *, chunked: bool = False) -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\n"
    if chunked:
        return f"{head}transfer-encoding: chunked\r\n\r\n{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def request_for(path: str) -> dict[str, Any]:
    return {"input": "Hi", **chat(), **BODIES.get(path, {}), "stream": False}


async def asked(session, router, stream=False, headers=None, path=CHAT, **fake):
    async with session.post(router.url + path, json=chat(stream, **fake), headers=headers) as got:
        return got.status, await got.read(), got.headers.get("x-router-backend")


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("status", [401, 404, 500])
async def test_it_does_not_swallow_the_traffic(start_router, session, good, policy, status):
    """Under each policy all requests are answered, and after a few it is asked no more."""
    async with FakeEngine(fault=f"status:{status}") as bad:
        backends = [backend(bad, "bad", api_key="expired"), backend(good, "good")]
        router = await start_router(backends, balance={"policy": policy})
        for _ in range(40):
            assert (await asked(session, router))[:2] == (200, expected_body(0, 8))
        assert bad.stats.begun <= 6  # its first probe clears what was held against it before
        assert good.stats.begun == 40


@pytest.mark.parametrize("status", ITS_OWN)
@pytest.mark.parametrize("stream", [True, False])
async def test_what_one_refuses_another_answers(start_router, session, good, status, stream):
    """Once, and the client never learns of it."""
    async with FakeEngine(fault=f"status:{status}") as bad:
        router = await start_router([backend(bad, "bad"), backend(good, "good")])
        router.plane.backends["good"].in_flight += 1  # it looks busier
        said = await asked(session, router, stream)
        assert said == (200, expected_stream(0, 8, 16) if stream else expected_body(0, 8), "good")
        assert (bad.stats.begun, good.stats.begun) == (1, 1)
        assert router.plane.backends["bad"].in_flight == 0


ERROR = b'{"error":{"message":"out of memory","type":"server_error"}}'
LIES = {
    "an error as the first event": answer(b"data: " + ERROR + b"\n\ndata: [DONE]\n\n", "text/event-stream"),
    "an error event in a chunk": answer(b"event: error\ndata: " + ERROR + b"\n\n", "text/event-stream", chunked=True),
    "vllm's old error": answer(b'{"object":"error","message":"no"}'),
    "an error as a good answer": answer(ERROR),
    "nothing": answer(b""),
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "a web page": answer(b"<html>Log in</html>", "text/html; charset=utf-8"),
    "a redirection": answer(b"", status="302 Found"),
}


@pytest.mark.parametrize("said", LIES.values(), ids=LIES)
async def test_what_is_no_answer_is_no_success(start_router, session, good, said):
    """Whatever its status: another answers, and it is soon out."""
    stays_out = {"interval": "1h", "healthy_after": 100}  # on a busy machine its probes else have it on trial by then
    async with Lies(said) as bad:
        backends = [backend(bad, "bad"), backend(good, "good")]
        router = await start_router(backends, balance={"policy": "round_robin"}, health=stays_out)
        for _ in range(12):
            assert (await asked(session, router))[:2] == (200, expected_body(0, 8))
        assert bad.stats.begun <= 6
        assert not router.plane.backends["bad"].health.usable


@pytest.mark.parametrize("said", [said for said in LIES.values() if b"error" in said])
async def test_an_error_that_says_200_passes_where_nobody_has_a_better_one(start_router, session, said):
    """Byte for byte as it came."""
    async with Lies(said) as one, Lies(said) as other:
        for fakes in ([one], [one, other]):
            router = await start_router([backend(fake, f"b{at}") for at, fake in enumerate(fakes)])
            status, body, _ = await asked(session, router)
            assert status == 200
            assert body in said
            assert all(each.health.usable and not each.in_flight for each in router.plane.backends.values())


PAGE = b"<html><head><title>Log in</title></head><body>Log in" + b" " * 100
EMPTY_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
NO_ANSWERS = {
    "a gateway's page": (answer(PAGE, "text/html", "502 Bad Gateway"), 502, "Log in"),
    "a gateway's page in chunks": (answer(PAGE, "text/html", "502 Bad Gateway", chunked=True), 502, "Log in"),
    "words": (answer(b"loading", "text/plain", "503 Service Unavailable"), 503, "loading"),
    "words of another kind": (answer(b"Not Found", "text/plain", "404 Not Found"), 404, "Not Found"),
    "no words": (answer(b"", "text/plain", "500 No"), 500, "500, and nothing more"),
    "a login page": (answer(PAGE, "text/html; charset=utf-8"), 502, "200 with a web page instead of an answer: Log in"),
    "a login page in chunks": (answer(PAGE, "text/html", chunked=True), 502, "200 with a web page"),
    "a long login page": (answer(PAGE + b"." * 300_000, "text/html"), 502, "200 with a web page instead of an answer"),
    "nothing": (LIES["nothing"], 502, "200, and nothing more"),
    "no content": (LIES["no content"], 502, "204, and nothing more"),
    "nothing, in chunks": (EMPTY_STREAM.replace(b"/event-stream", b"/plain"), 502, "200, and nothing more"),
    "an empty stream in chunks": (EMPTY_STREAM, 502, "200, and nothing more"),
    "an empty stream": (answer(b"", "text/event-stream"), 502, "200, and nothing more"),
    "a redirection": (LIES["a redirection"], 502, "302, a redirection"),
}


@pytest.mark.parametrize("path", [CHAT, "/v1/messages", "/v1/responses", "/v1/embeddings", "/api/chat"])
@pytest.mark.parametrize(("said", "status", "words"), NO_ANSWERS.values(), ids=NO_ANSWERS)
async def test_what_is_no_answer_is_an_error_where_nobody_has_a_better_one(
    start_router, session, said, status, words, path
):
    """In the form of the path's API, with words that say what came, of one backend or of several."""
    async with Lies(said) as one, Lies(said) as other:
        for fakes in ([one], [one, other]):
            router = await start_router([backend(fake, f"b{at}") for at, fake in enumerate(fakes)])
            async with session.post(router.url + path, json=request_for(path), allow_redirects=False) as got:
                assert (got.status, got.content_type) == (status, "application/json")
                told = error_in(path, await got.json())
                # Ollama's API is translated: what can't be is said to be no answer of its API, or to have broken off.
                assert words in told or (path == "/api/chat" and told.startswith("The backend 'b"))
            assert not any(each.in_flight for each in router.plane.backends.values())


async def test_an_engines_own_words_in_html_pass(start_router, session):
    """whisper.cpp's server calls a text so."""
    async with Lies(answer(b"What was heard.", "text/html")) as one:
        router = await start_router([backend(one, "b")])
        assert (await asked(session, router))[:2] == (200, b"What was heard.")


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_what_speaks_of_the_request_is_passed_on(start_router, session, good, status):
    """At once: any backend would say it."""
    async with FakeEngine(fault=f"status:{status}") as bad:
        router = await start_router([backend(bad, "bad"), backend(good, "good")])
        router.plane.backends["good"].in_flight += 1
        assert (await asked(session, router))[::2] == (status, "bad")
        assert good.stats.begun == 0


async def test_one_that_says_400_to_everything_is_doubted(start_router, session, good):
    """After a few in a row its rival is asked, too; that one answers, so the first is out."""
    async with FakeEngine(fault="status:400") as bad:
        router = await start_router([backend(bad, "bad"), backend(good, "good")])
        statuses = [(await asked(session, router))[0] for _ in range(30)]
        assert statuses.count(400) == 1
        assert bad.stats.begun < 6


@pytest.mark.parametrize("status", [400, 401, 404, 422, 500, 501])
async def test_a_client_that_asks_nonsense_takes_nobody_out(start_router, session, good, status):
    """It fails everywhere: its client gets an engine's own words, and nobody is blamed."""
    async with FakeEngine() as other:
        router = await start_router([backend(good, "a"), backend(other, "b")])
        for _ in range(30):
            said = await asked(session, router, fault=f"status:{status}")
            assert said[0] == status
            assert b"asked for" in said[1]
        assert (await asked(session, router))[0] == 200
        assert all(each.health.usable for each in router.plane.backends.values())
        assert not router.plane.ledger.aside.any
        assert good.stats.begun + other.stats.begun <= 61


async def test_what_is_asked_twice_is_bounded(start_router, session, good):
    """An engine may have worked on what it says 500 to: so the budget of retries pays for it."""
    async with FakeEngine() as other:
        router = await start_router([backend(good, "a"), backend(other, "b")], balance={"retry_share": 0.1})
        for _ in range(100):
            assert (await asked(session, router, fault="status:500"))[0] == 500
        assert (
            good.stats.begun + other.stats.begun <= 100 + 10 + 10 + 10
        )  # the share, the reserve, and some seconds' worth


async def test_the_first_words_count_where_both_refuse(start_router, session):
    """Or those that speak of the request, or say when to come back: they are the more useful ones."""
    for first, second, expected in ((404, 500, "a"), (500, 400, "b"), (500, 503, "b"), (401, 429, "b")):
        async with FakeEngine(fault=f"status:{first}") as a, FakeEngine(fault=f"status:{second}") as b:
            router = await start_router([backend(a, "a"), backend(b, "b")])
            router.plane.backends["b"].in_flight += 1
            assert (await asked(session, router))[2] == expected
            assert (a.stats.begun, b.stats.begun) == (1, 1)


async def test_the_first_words_count_where_the_second_breaks(start_router, session):
    """The client is told what an engine said, not that another one broke."""
    async with FakeEngine(fault="status:500") as a, FakeEngine(fault="close_before") as b:
        router = await start_router([backend(a, "a"), backend(b, "b")])
        router.plane.backends["b"].in_flight += 1
        assert (await asked(session, router))[::2] == (500, "a")


async def test_a_lone_backend_is_never_made_worse(start_router, session, good):
    """Nobody could do better, so nothing speaks against it."""
    router = await start_router([backend(good, "only")])
    for status in ITS_OWN:
        if status != 429:
            assert (await asked(session, router, fault=f"status:{status}"))[0] == status
    assert router.plane.backends["only"].health.usable
    assert (await asked(session, router))[0] == 200


async def test_a_model_that_one_lacks_is_asked_elsewhere(start_router, session, good):
    """That backend is out for this model alone; its others are served."""

    class Lacks(FakeEngine):
        async def _in_turn(self, link, request):
            if b'"gone"' in request.body.encode():
                await self._write(link, reply(404, {"error": {"message": "no such model"}}))
                return End.KEEP
            return await super()._in_turn(link, request)

    async with Lacks() as lacks:
        both = {"models": ["gone", "demo"]}
        router = await start_router([{**backend(lacks, "lacks"), **both}, {**backend(good, "good"), **both}])
        for _ in range(10):
            async with session.post(router.url + CHAT, json={**chat(), "model": "gone"}) as got:
                assert (got.status, got.headers["x-router-backend"]) == (200, "good")
        assert lacks.stats.begun <= 1
        seen = {(await asked(session, router))[2] for _ in range(20)}
        assert "lacks" in seen


async def test_a_clients_own_key_is_its_own_affair(start_router, session, good):
    """What one backend holds against a client's key, other clients are not passed elsewhere for."""

    class Wants(FakeEngine):
        async def _in_turn(self, link, request):
            if request.header("authorization").lower() != "bearer right":
                await self._write(link, reply(401, {"error": {"message": "wrong key"}}))
                return End.KEEP
            return await super()._in_turn(link, request)

    async with Wants() as wants:
        router = await start_router([backend(wants, "wants"), backend(good, "good")])
        wrong, right = ({"authorization": f"Bearer {key}"} for key in ("wrong", "right"))
        for _ in range(10):
            assert (await asked(session, router, headers=wrong))[::2] == (200, "good")
        assert wants.stats.begun <= 1
        assert router.plane.backends["wants"].health.usable
        assert "wants" in {(await asked(session, router, headers=right))[2] for _ in range(20)}


@pytest.mark.parametrize("policy", ["least_latency", "round_robin"])
async def test_one_that_is_busy_is_left_alone_for_a_while(start_router, session, good, policy):
    """Though it says 429 to everything, and not for how long."""
    async with FakeEngine(fault="status:429") as bad:
        router = await start_router([backend(bad, "bad"), backend(good, "good")], balance={"policy": policy})
        for _ in range(60):
            assert (await asked(session, router))[0] == 200
        assert bad.stats.begun < 8


async def test_it_comes_back_when_it_is_mended(start_router, session, good):
    """At no client's cost: what it refuses on trial is answered elsewhere."""
    async with FakeEngine(fault="status:401") as bad:
        health = {"interval": "100ms"}
        backends = [backend(bad, "bad", api_key="k"), backend(good, "good")]
        router = await start_router(backends, balance={"policy": "round_robin"}, health=health)
        mended = router.plane.backends["bad"]
        async with asyncio.timeout(30):
            while mended.health.usable:
                assert (await asked(session, router))[0] == 200
            bad._defaults = bad._defaults.revised({"fault": "none"})
            while not mended.answered or not mended.health.usable:
                assert (await asked(session, router))[0] == 200
                await asyncio.sleep(0.01)
        await eventually(lambda: mended.errors == 0)


async def test_the_rest_of_an_error_is_not_waited_for_long(start_router, session, good, engine):
    """One that never ends is left for another backend."""

    async def never_ends(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 500 No\r\ncontent-length: 100\r\n\r\nhalf")
        await reader.read()

    bad = {"url": await engine(never_ends), "models": ["demo"], "name": "bad"}
    router = await start_router([bad, backend(good, "good")])
    router.plane.backends["good"].in_flight += 1
    assert (await asked(session, router))[::2] == (200, "good")


async def test_a_large_error_is_not_kept(start_router, session, good):
    """Another is asked once it is seen to be large; where there is none, its beginning is told."""
    page = answer(b"<html>" + b"x" * 300_000, "text/html", "500 No")
    async with Lies(page) as bad:
        router = await start_router([backend(bad, "bad"), backend(good, "good")])
        router.plane.backends["good"].in_flight += 1
        assert (await asked(session, router))[::2] == (200, "good")
        alone = await start_router([backend(bad, "bad")])
        status, body, _ = await asked(session, alone)
        assert (status, json.loads(body)["error"]["code"]) == (500, "engine_failed")
