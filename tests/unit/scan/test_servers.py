import json
import socket

import pytest
from aiohttp import web

from router.scan import servers
from router.scan.servers import Server, ask, told
from tests.fakes.engine import FakeEngine

SERVER = Server(1234, "LM Studio", "lm-studio")


def page(*models: str, **fields: object) -> bytes:
    return json.dumps({"object": "list", "data": [{"id": name, **fields} for name in models]}).encode()


def test_its_models():
    found = told(SERVER, 200, page("a", "b/c:d", "e*"))
    assert found is not None
    assert found.models == ("a", "b/c:d")
    assert dict(found.entry.keys) == {"name": "lm-studio", "url": "http://127.0.0.1:1234", "models": ["a", "b/c:d"]}
    assert found.entry.about == "What answers at port 1234, which is usually LM Studio"
    assert not found.entry.reason


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (401, b"", "It asks for a key"),
        (403, b"", "It asks for a key"),
        (200, page(), "It has no models yet"),
        (200, page("a", owned_by="router"), "It is a router itself"),
        (0, b"", "It took the connection, but said nothing"),
    ],
)
def test_what_a_person_must_finish(status, body, reason):
    """A comment says it."""
    found = told(SERVER, status, body)
    assert found is not None
    assert found.entry.reason.startswith(reason)
    assert "models" not in found.entry.keys


@pytest.mark.parametrize(
    ("status", "body"),
    [(404, page("a")), (500, b""), (302, b""), (200, b"<html>"), (200, b"{}"), (200, b"[" * 100_000)],
)
def test_what_is_no_server_of_models(status, body):
    assert told(SERVER, status, body) is None


async def test_asking(unused_tcp_port_factory, aiohttp_server):
    """All at once; one that is silent, or never ends, is not waited for."""

    async def endless(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(page(*(f"m{number}" for number in range(100)))[:-2])
        for _ in range(10_000):
            await answer.write(b"," * 10_000)
        return answer

    app = web.Application()
    app.router.add_get("/v1/models", endless)
    odd = await aiohttp_server(app)
    # Nobody takes its connections.
    silent = socket.create_server(("127.0.0.1", 0))
    async with FakeEngine(models=["a"]) as fake:
        port = int(fake.url.rpartition(":")[2])
        ports = [port, unused_tcp_port_factory(), silent.getsockname()[1], odd.port]
        found = await ask([(each, "x", f"n{at}") for at, each in enumerate(ports)], within=3)
    silent.close()
    assert [(each.name, each.models[:2], bool(each.problem)) for each in found] == [
        ("n0", ("a",), False),
        ("n2", (), True),
        ("n3", ("m0", "m1"), False),
    ]


def test_the_usual_ports():
    assert [port for port, *_ in servers.USUAL] == [11434, 1234, 8080]
