"""What comprehensive_test says of how servers behave: the router, a bare engine, one that does it all wrong."""

import asyncio
import json

import pytest

from scripts.instruments.client import LoadTarget
from scripts.stress import checks
from scripts.stress.checks import CHECKS, behaviour, reload
from scripts.stress.load import Asking

ASKING = Asking("demo", timeout=10)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
EVENT = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'


async def states(url, key=""):
    return {check.name: check async for check in behaviour(LoadTarget("base", url, key), ASKING)}


async def asked(reader):
    """Read a request, as much as it has of its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or 0)
    return head + (await reader.readexactly(length) if length < 10**6 else b"")


def answering(status, body, kind="application/json"):
    """Give an engine that says this to everything."""

    async def handle(reader, writer):
        while True:
            await asked(reader)
            writer.write(f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n".encode())
            writer.write(body)

    return handle


async def test_the_router(start_router, fake):
    """It does as it should; what it hasn't yet, or what wasn't asked for, is skipped."""
    router = await start_router([{"url": fake.url, "models": ["demo"]}], auth={"keys": ["secret"]})
    seen = await states(router.url, "secret")
    assert list(seen) == list(CHECKS)
    broken = {name for name, check in seen.items() if check.state == "failed"}
    assert broken == {"completions", "embeddings", "a body without messages"}, "the fake engine knows chats alone"
    assert seen["a client without a key"].state == "passed"
    assert seen["an unknown model"].detail.startswith("404, model_not_found: The model 'no-such-model'")
    assert seen["ids and backends"].state == "passed"


async def test_a_bare_engine(fake, monkeypatch):
    """What the router alone promises is skipped, not failed."""
    monkeypatch.setattr(checks, "_PATIENCE", 0.2)
    seen = await states(fake.url)
    for name in ("ids and backends", "errors in Anthropic's form", "a client without a key", "the admin API's status"):
        assert seen[name].state == "skipped", seen[name]
    assert seen["an unknown model"].state == "failed", "it answers whatever the model"


@pytest.mark.parametrize(
    ("status", "body"), [(200, b"{}"), (200, b"[]"), (200, b"<html>"), (500, b"oops"), (200, b'{"data": [3]}')]
)
async def test_a_server_that_does_it_all_wrong(engine, status, body):
    """Each check says what it saw instead; none of them breaks down."""
    seen = await states(await engine(answering(status, body)))
    assert list(seen) == list(CHECKS)
    for name in ("models are listed", "a whole answer", "a stream's form", "an unknown model", "an unknown path"):
        assert seen[name].state == "failed", seen[name]
        assert seen[name].detail


async def test_nobody_there():
    """Every check that asks says so."""
    seen = await states("http://127.0.0.1:9")
    assert "no connection" in seen["models are listed"].detail


@pytest.mark.parametrize(
    ("status", "state"), [(200, "passed"), (404, "skipped"), (401, "skipped"), (403, "skipped"), (422, "failed")]
)
async def test_a_reload(engine, status, state):
    """Applied, not to be asked here, or refused."""
    check = await reload(LoadTarget("base", await engine(answering(status, json.dumps({"applied": True}).encode()))))
    assert (check.name, check.state) == ("a reload under load", state)


async def test_an_engine_that_writes_on_for_nobody(engine, monkeypatch):
    """The next answer waits for the rest of the one that was left: that is told."""
    monkeypatch.setattr(checks, "_TRIES", 1)
    busy = asyncio.Lock()

    async def handle(reader, writer):
        while request := await asked(reader):
            async with busy:
                if b'"stream":true' in request:
                    writer.write(HEAD + b"".join([EVENT] * 8))
                    await writer.drain()
                    await asyncio.sleep(1)  # as long as it takes to write the rest
                else:
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

    check = await checks.look(LoadTarget("base", await engine(handle)), ASKING, "a client that leaves frees the engine")
    assert check.state == "failed"
    assert "the next answer came after 1" in check.detail
