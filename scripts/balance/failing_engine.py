"""An engine that can be killed, or that refuses every request: what `scripts.balance.failures` measures against.

    python -m scripts.balance.failing_engine --port 9000 --status 503

It works on four requests at once, the others wait in its queue. A request takes 0.3 s: 0.25 s to its first event, then
five more, 10 ms apart. With `--status` it answers each request with that status at once. It imports little, so that it
starts in a tenth of a second.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from scripts.balance.process import end
from scripts.instruments.engine import STREAM_END, EngineConnection, as_json, event, reply, serve, stream_head
from scripts.instruments.processes import ROOT, free_port

MODEL = "demo"

_SLOTS, _TTFT, _EVENTS, _PACE = 4, 0.25, 6, 0.01
"""Requests at once; seconds until the first event; events; seconds between two of them."""

_HEAD = stream_head()
_EVENT = event({"choices": [{"index": 0, "delta": {"content": "word "}}]})
_MODELS = reply(as_json({"object": "list", "data": [{"id": MODEL, "object": "model"}]}))
_REFUSAL = as_json({"error": {"message": "no", "type": "server_error"}})


class FailingConnection(EngineConnection):
    """A connection. `status` is the answer to each request; 0: a stream is."""

    def __init__(self, status: int, slots: asyncio.Semaphore) -> None:
        super().__init__()
        self._status = status
        self._slots = slots
        self._streaming: asyncio.Task[None] | None = None

    def asked(self, head: bytes, _: bytes) -> None:
        """Answer at once, or begin a stream."""
        if not head.startswith(b"post"):
            self.transport.write(_MODELS)
        elif self._status:
            self.transport.write(reply(_REFUSAL, b"%d Refused" % self._status))
        else:
            self._streaming = asyncio.create_task(self._stream())

    async def _stream(self) -> None:
        async with self._slots:
            await asyncio.sleep(_TTFT)
            self.transport.write(_HEAD)
            for number in range(_EVENTS):
                if number:
                    await asyncio.sleep(_PACE)
                if self.gone:
                    return
                self.transport.write(_EVENT)
            self.transport.write(STREAM_END)


class EngineProcess:
    """An engine's process, which can be killed and started again at the same port."""

    def __init__(self, status: int = 0) -> None:
        self.port = free_port()
        self._status = status
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start it, and wait until it listens."""
        command = [sys.executable, "-m", __spec__.name, "--port", str(self.port), "--status", str(self._status)]
        self._process = await asyncio.create_subprocess_exec(*command, cwd=ROOT)
        await listens(self.port)

    async def kill(self) -> None:
        """Kill it."""
        if self._process is not None:
            await end(self._process)


async def listens(port: int, within: float = 60.0) -> None:
    """Wait until a process listens at a port."""
    until = time.monotonic() + within
    while True:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        if time.monotonic() > until:
            raise SystemExit(f"no process listens at port {port} after {within:g} s")
        await asyncio.sleep(0.02)


@asynccontextmanager
async def engines(*statuses: int) -> AsyncIterator[list[EngineProcess]]:
    """Run engines that answer with these statuses; 0: as they should."""
    made = [EngineProcess(status) for status in statuses]
    try:
        for each in made:
            await each.start()
        yield made
    finally:
        for each in made:
            await each.kill()


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--status", type=int, default=0)
    asked = parser.parse_args()
    slots = asyncio.Semaphore(_SLOTS)
    asyncio.run(serve(lambda: FailingConnection(asked.status, slots), asked.port))


if __name__ == "__main__":
    main()
