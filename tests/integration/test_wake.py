"""A PC that sleeps: nobody answers at its port until its network card has read a magic packet."""

import asyncio
import socket
import sys
from contextlib import suppress

import pytest

from router.cluster import wake
from router.cluster.wake import Network, packet
from tests.fakes.engine import FakeEngine, expected_stream
from tests.running import eventually

MAC = "00:11:22:33:44:55"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a full backlog refuses connections")


class SleepingPc:
    """A port whose backlog is full, so that connections there time out; a packet for it starts its server."""

    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.port = self.socket.getsockname()[1]
        self._fillers = [socket.socket() for _ in range(2)]
        for each in self._fillers:
            each.setblocking(False)
            with suppress(BlockingIOError):
                each.connect(("127.0.0.1", self.port))
        self.card = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.card.bind(("", 0))
        self.card.setblocking(False)
        self.packets = 0
        self.wakes = True
        self._server: asyncio.Server | None = None
        self._starting: asyncio.Future[None] | None = None
        asyncio.get_running_loop().add_reader(self.card, self._read)

    def _read(self) -> None:
        if self.card.recv(200) == packet(MAC):
            self.packets += 1
            if self.wakes and self._starting is None:
                self._starting = asyncio.ensure_future(self._start())

    async def _start(self) -> None:
        for each in self._fillers:
            each.close()
        self._server = await asyncio.start_server(self._forward, sock=self.socket, backlog=100)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._engine.port)

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError):
                while data := await source.read(65536):
                    target.write(data)
                    await target.drain()
            target.close()

        await asyncio.gather(copy(reader, up_writer), copy(up_reader, writer))

    async def close(self) -> None:
        """End it."""
        asyncio.get_running_loop().remove_reader(self.card)
        if self._starting is not None:
            await self._starting
        if self._server is not None:
            self._server.close()
        for each in (self.card, self.socket, *self._fillers):
            each.close()


@pytest.fixture
async def pc(fake, monkeypatch):
    made = SleepingPc(fake)
    monkeypatch.setattr(wake, "PORT", made.card.getsockname()[1])
    monkeypatch.setattr(wake, "networks", lambda: [Network("127.0.0.1", "255.0.0.0")])
    yield made
    await made.close()


def entry(pc, **more):
    return {"name": "pc", "url": f"http://127.0.0.1:{pc.port}", "wake": MAC, **more}


QUICK = {"health": {"interval": "100ms", "timeout": "200ms"}, "limits": {"connect_timeout": "300ms"}}
ASK = {
    "model": "demo",
    "stream": True,
    "fake": {"events": 2, "size": 8},
    "messages": [{"role": "user", "content": "Hi"}],
}


async def test_a_sleeping_machine_is_woken_for_a_request_and_for_nothing_else(pc, start_router, session):
    """Its models are listed meanwhile; probes and lists wake nobody."""
    app = await start_router([entry(pc, models=["demo"])], **QUICK)
    backend = app.plane.backends["pc"]
    await eventually(lambda: backend.health.asleep)
    async with session.get(f"{app.url}/v1/models") as answer:
        (model,) = (await answer.json())["data"]
    async with session.get(f"{app.url}/ready") as answer:
        assert (answer.status, model["state"], pc.packets) == (200, "asleep", 0)
    async with session.post(f"{app.url}/v1/chat/completions", json=ASK) as answer:
        body = await answer.read()
        assert (answer.status, pc.packets > 0) == (200, True)
        assert int(answer.headers["x-router-queue-ms"]) > 0
    assert body.endswith(expected_stream(0, 2, 8))
    assert backend.health.usable


async def test_what_did_not_wake_is_told(pc, start_router, session):
    """After `wake_timeout`, as an error that names the machine."""
    pc.wakes = False
    app = await start_router([entry(pc, models=["demo"], wake_timeout="1s")], **QUICK)
    async with session.post(f"{app.url}/v1/chat/completions", json=ASK | {"stream": False}) as answer:
        error = (await answer.json())["error"]["message"]
    assert (answer.status, pc.packets > 0) == (503, True)
    assert "pc: was woken, and did not answer within 1 s" in error
