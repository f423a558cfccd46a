"""An engine that serves HTTP: the simulator's model of one, driven by the real clock (scripts.balance.real_time).

    python -m scripts.balance.engine --scenario stalling --number 0 --pace 2

It is engine `number` of a scenario, faults included, `pace` times as fast. All times in here are the model's: one of
its seconds lasts 1 / `pace` of a real one. It listens at a free port, and prints its address.

POST anything is a request. The header `x-job` describes the job as a simulated engine knows it; a request without that
header asks for one token. Head and first event go out with the first token, an event now and then while the model
writes, and the rest with the last token. The header `x-cached` says how many tokens of the prompt were in the cache.
POST /start sets the clock to 0; faults count from there. GET /lateness gives the 99th percentile of how late first
tokens were written. GET anything else is a probe, which is always answered, as real engines do.

An engine that restarts stops listening and cuts all connections, which looks from outside like a process that ends.
"""

import argparse
import asyncio
import re
from typing import TYPE_CHECKING

import uvloop

from scripts.balance.real_time import RealTimeEngine
from scripts.balance.simulation.engine import Outage, Spec
from scripts.balance.simulation.scenarios import SCENARIOS
from scripts.instruments.engine import STREAM_END, EngineConnection, as_json, event, header, listen, reply, stream_head

if TYPE_CHECKING:
    from scripts.balance.simulation.traffic import Job

_EVENT = event({"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "so "}}]})
_ANSWER = reply(as_json({"object": "chat.completion", "choices": [{"index": 0, "message": {"content": "so"}}]}))
_HEAD = stream_head(b"x-cached: %d\r\n")
_DONE = reply(b"{}")
_STREAMS = re.compile(rb'"stream": ?true')  # some routers write the body anew
_REFUSAL = reply(b'{"error": {"message": "No.", "type": "server_error"}}', b"503 Service Unavailable")


class ModelConnection(EngineConnection):
    """A connection to an engine that is the simulator's model."""

    def __init__(self, service: "Service") -> None:
        super().__init__()
        self._service = service
        self._model = service.model
        self._job: Job | None = None
        self._streams = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be one of the connections that a restart cuts."""
        super().connection_made(transport)
        self._service.connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        """Let go of the request that it waits for."""
        super().connection_lost(error)
        self._service.connections.discard(self)
        if self._job is not None:
            self._model.leave(self._job)

    def asked(self, head: bytes, body: bytes) -> None:
        """Take a request in, or answer what the bench itself asks."""
        if head.startswith(b"get /lateness"):
            self.transport.write(reply(b"%r" % self._model.lateness()))
        elif head.startswith(b"get "):
            self.transport.write(_DONE)
        elif head.startswith(b"post /start"):
            self._service.start()
            self.transport.write(_DONE)
        elif self._model.spec.refuses:
            self.transport.write(_REFUSAL)
        else:
            self._streams = _STREAMS.search(body) is not None
            self._job = self._model.take(self, header(head, b"x-job").decode(), len(body))

    def begin(self, cached: int) -> None:
        """Write the first token."""
        if self._streams:
            self.transport.write(_HEAD % cached + _EVENT)

    def go_on(self) -> None:
        """Write an event."""
        if self._streams:
            self.transport.write(_EVENT)

    def end(self) -> None:
        """Write the rest."""
        self._job = None
        self.transport.write(STREAM_END if self._streams else _ANSWER)


class Service:
    """The engine's port: whether it listens there, and its connections."""

    def __init__(self, model: RealTimeEngine) -> None:
        self.model = model
        self.connections: set[ModelConnection] = set()
        self._restarting: asyncio.Task[None] | None = None

    async def listen(self, port: int = 0) -> None:
        """Listen at a port, or at a free one."""
        self._server, self.port = await listen(lambda: ModelConnection(self), port)

    @property
    def listens(self) -> bool:
        """Whether it listens."""
        return self._server.is_serving()

    def _cut(self) -> None:
        self._server.close()
        for connection in tuple(self.connections):
            connection.transport.abort()

    def close(self) -> None:
        """End for good."""
        if self._restarting is not None:
            self._restarting.cancel()
        self._cut()

    def start(self) -> None:
        """Start the clock, and with it the faults."""
        self.model.start()
        if self.model.spec.restarts is not None:
            self._restarting = asyncio.create_task(self._restart(self.model.spec.restarts))

    async def _restart(self, outage: Outage) -> None:
        due = outage.first
        while True:
            await asyncio.sleep(self.model.until(due))
            self._cut()
            self.model.die()
            await asyncio.sleep(self.model.until(due + outage.lasts))
            self.model.revive()
            await self.listen(self.port)
            due += outage.every


async def serve(spec: Spec, pace: float) -> None:
    """Serve until ended."""
    service = Service(RealTimeEngine(spec, pace))
    await service.listen()
    print(f"listening at http://127.0.0.1:{service.port}", flush=True)
    service.model.speak()
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
