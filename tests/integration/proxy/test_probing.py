"""What a probe shows a backend, what it asks it, and what comes of its silence."""

import asyncio

import pytest

from router.core.health import Verdict
from router.proxy.watching import probe
from tests.running import eventually

LIST = b'{"object": "list", "data": [{"id": "demo"}]}'


class Server:
    """A server that keeps the heads of all it is asked, and answers each path as a test says."""

    def __init__(self, key: bytes = b""):
        self.key = key
        self.heads: list[bytes] = []
        self.answers = True

    async def __call__(self, reader, writer):
        """Answer one request, or none."""
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head.lower())
        if not self.answers:
            await reader.read()
        elif self.key and b"authorization: bearer " + self.key not in head.lower():
            writer.write(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        else:
            body = LIST if b"/v1/models" in head else b""
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s" % (len(body), body))
        writer.close()

    def asked(self, path: bytes) -> list[bytes]:
        """Give the heads of what it was asked for at a path."""
        return [head for head in self.heads if head.startswith(b"get " + path + b" ")]


@pytest.fixture
async def serve():
    """Start servers."""
    started = []

    async def start(play) -> str:
        started.append(await asyncio.start_server(play, "127.0.0.1", 0))
        host, port = started[-1].sockets[0].getsockname()
        return f"http://{host}:{port}"

    yield start
    for each in started:
        each.close()


async def test_a_probe_and_the_question_for_models_show_the_key(start_router, serve):
    """Without, such a backend would never be known to serve anything."""
    server = Server(key=b"secret")
    router = await start_router([{"url": await serve(server), "name": "b", "api_key": "secret"}])
    await eventually(lambda: router.plane.backends["b"].models == {"demo": "demo"})
    for path in (b"/health", b"/v1/models"):
        assert server.asked(path)
        assert all(b"authorization: bearer secret" in head for head in server.asked(path))


async def test_no_key_is_shown_to_who_has_none(start_router, serve):
    """Nor is it asked for its models where these are told."""
    server = Server()
    router = await start_router([{"url": await serve(server), "name": "b", "models": ["demo"]}])
    await eventually(lambda: router.plane.backends["b"].health.verdict is Verdict.UP)
    assert not any(b"authorization" in head for head in server.heads)
    assert not server.asked(b"/v1/models")


@pytest.mark.parametrize(("in_flight", "expected"), [(0, Verdict.DOWN), (1, Verdict.UNKNOWN)])
async def test_a_probe_in_vain_excuses_who_has_a_request(start_router, serve, in_flight, expected):
    """It may be at work on that; who has nothing to do has no excuse."""
    server = Server()
    server.answers = False
    router = await start_router(
        [{"url": await serve(server), "name": "b", "models": ["demo"]}], health={"interval": "1h"}
    )
    backend = router.plane.backends["b"]
    backend.in_flight = in_flight
    prober = probe.Prober(router.plane, probe.ProbeTiming(interval=0.05, timeout=0.1), uniform=lambda: 0.5)
    prober.watch(probe.Target(backend))
    await eventually(lambda: backend.progress.unanswered >= 3)
    assert backend.health.verdict is expected
    backend.in_flight = 0
    await prober.stop()
