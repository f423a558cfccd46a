"""An engine that serves HTTP, and is the simulator's model of one (scripts.balance.desk), driven by the real clock.

    python -m scripts.balance.engine --scenario stalling --number 0 --pace 2

It is engine `number` of a scenario, faults included, `pace` times as fast. All times in here are the model's: one of
its seconds lasts 1 / `pace` of a real one. It listens on a port of its own choice, and says which.

POST anything is a request. What a simulated engine is told of a job comes in the header `x-job`; who sends none asks
for one token. Head and first event go out with the first token, an event now and then while the model writes, the rest
with the last; the header `x-cached` says how many tokens of the prompt were found in the cache. POST /start sets the
clock to 0, from which on faults come; GET /lateness says how late first tokens were written, in 99 of 100 cases at
most; GET anything else is a probe, which it answers whatever it does, as real engines do.

An engine that restarts stops listening and cuts all connections: from outside there is no difference to a process that
ends.
"""

import argparse
import asyncio
import json
from typing import TYPE_CHECKING

import uvloop

from scripts.balance.desk import Desk
from scripts.balance.simulation.engine import Outage, Spec
from scripts.balance.simulation.scenarios import SCENARIOS

if TYPE_CHECKING:
    from scripts.balance.simulation.traffic import Job

_FIELDS = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "so "}}]}
_ANSWER = json.dumps({"object": "chat.completion", "choices": [{"index": 0, "message": {"content": "so"}}]}).encode()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _reply(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body)


_EVENT = _chunk(b"data: " + json.dumps(_FIELDS).encode() + b"\n\n")
_HEAD = b"HTTP/1.1 200 OK\r\nx-cached: %d\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_END = _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
_REFUSAL = _reply(b'{"error": {"message": "No.", "type": "server_error"}}', b"503 Service Unavailable")


class Line(asyncio.Protocol):
    """One connection, kept alive; a request at a time."""

    def __init__(self, service: "Service") -> None:
        self._service = service
        self._desk = service.desk
        self._held = b""
        self._job: Job | None = None
        self._streams = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]  # uvloop's are none by name
        self._service.lines.add(self)

    def connection_lost(self, _: Exception | None) -> None:
        """Let go of what it waits for."""
        self._service.lines.discard(self)
        if self._job is not None:
            self._desk.leave(self._job)

    def data_received(self, data: bytes) -> None:
        """Answer a request once it is whole."""
        self._held += data
        head, found, body = self._held.partition(b"\r\n\r\n")
        if not found:
            return
        request, *lines = head.decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if len(body) < int(fields.get("content-length", 0)):
            return
        self._held = b""
        if request.startswith("GET /lateness"):
            self.transport.write(_reply(b"%r" % self._desk.lateness()))
        elif request.startswith("GET "):
            self.transport.write(_reply(b"{}"))
        elif request.startswith("POST /start"):
            self._service.start()
            self.transport.write(_reply(b"{}"))
        elif self._desk.spec.refuses:
            self.transport.write(_REFUSAL)
        else:
            self._streams = b'"stream": true' in body[-64:]
            self._job = self._desk.take(self, fields.get("x-job", ""), len(body))

    def begin(self, cached: int) -> None:
        """Write the first token."""
        if self._streams:
            self.transport.write(_HEAD % cached + _EVENT)

    def go_on(self) -> None:
        """Write some more."""
        if self._streams:
            self.transport.write(_EVENT)

    def end(self) -> None:
        """Write the rest."""
        self._job = None
        self.transport.write(_END if self._streams else _reply(_ANSWER))


class Service:
    """The port: whether anybody listens there, and who is connected."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.lines: set[Line] = set()
        self._restarting: asyncio.Task[None] | None = None

    async def listen(self, port: int = 0) -> None:
        """Listen at a port, or at a free one."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Line(self), "127.0.0.1", port, backlog=1024)
        self.port: int = self._server.sockets[0].getsockname()[1]

    @property
    def listens(self) -> bool:
        """Whether it is there."""
        return self._server.is_serving()

    def _cut(self) -> None:
        self._server.close()
        for line in tuple(self.lines):
            line.transport.abort()

    def close(self) -> None:
        """Be gone for good."""
        if self._restarting is not None:
            self._restarting.cancel()
        self._cut()

    def start(self) -> None:
        """Start the clock, and what happens by it."""
        self.desk.start()
        if self.desk.spec.restarts is not None:
            self._restarting = asyncio.create_task(self._restart(self.desk.spec.restarts))

    async def _restart(self, outage: Outage) -> None:
        due = outage.first
        while True:
            await asyncio.sleep(self.desk.until(due))
            self._cut()
            self.desk.die()
            await asyncio.sleep(self.desk.until(due + outage.lasts))
            self.desk.revive()
            await self.listen(self.port)
            due += outage.every


async def serve(spec: Spec, pace: float) -> None:
    """Serve until ended."""
    service = Service(Desk(spec, pace))
    await service.listen()
    print(f"listening at http://127.0.0.1:{service.port}", flush=True)
    service.desk.speak()
    await asyncio.Event().wait()


def main() -> None:
    """Serve as the flags say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", choices=SCENARIOS, required=True)
    parser.add_argument("--number", type=int, required=True, help="which of its engines, from 0 on")
    parser.add_argument("--pace", type=float, default=1.0, help="how many times as fast as the model (default: 1)")
    asked = parser.parse_args()
    uvloop.run(serve(SCENARIOS[asked.scenario].engines[asked.number], asked.pace))


if __name__ == "__main__":
    main()
