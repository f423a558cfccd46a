"""An engine whose times are known, to check the load generator against the truth.

    python -m scripts.stress.engine --port 9000 --first 100ms --gap 10ms --events 30 --stall-after 5s --stall 1s

Every POST gets a stream. Its first event is due `first` after the request, each further one `gap` after the one
before; a stall holds back everything that is due within it to its end, of all streams. Each event carries the moment
at which it was written. All moments are on time.perf_counter, which all processes of a machine share. One timer serves
all streams, so that it costs less than what measures it; while there are any it takes a whole core.
"""

import argparse
import asyncio
import time
from collections import defaultdict
from typing import NamedTuple

import uvloop

from scripts.instruments.engine import STREAM_END, EngineConnection, reply, serve, stream_head
from scripts.stress.options import seconds

_TICK = 0.0001
_IDLE = 0.001
_HEAD = stream_head()
_TEXT = (
    b'data: {"id":"chatcmpl-0123456789abcdef","object":"chat.completion.chunk","created":1700000000,'
    b'"model":"paced","choices":[{"index":0,"delta":{"content":"%016.6f"},"finish_reason":null}]}\n\n'
)
_EVENT = b"%x\r\n" % len(_TEXT % 0.0) + _TEXT + b"\r\n"
_ANSWER = reply(b"{}")


class KnownTimes(NamedTuple):
    """When events are due, in seconds; there is a stall from the moment `stall_at` on, for `stall`."""

    first: float
    gap: float
    events: int
    stall_at: float = 0.0
    stall: float = 0.0

    def due(self, asked: float, number: int) -> float:
        """Say when an event is to be written: at the end of the stall, if it were due within."""
        due, end = asked + self.first + number * self.gap, self.stall_at + self.stall
        return end if self.stall_at <= due < end else due


class TimedStreams:
    """The streams, by the tick at which they are due."""

    def __init__(self, times: KnownTimes) -> None:
        self._times = times
        self._loop = asyncio.get_running_loop()
        self._start = time.perf_counter()
        self._due: defaultdict[int, list[tuple[asyncio.Transport, float, int]]] = defaultdict(list)
        self._done = 0
        self._tick()

    def add(self, transport: asyncio.Transport, asked: float, number: int = 0) -> None:
        """Have an event of a stream written when it is due; the stream was asked for at this moment."""
        tick = round((self._times.due(asked, number) - self._start) / _TICK)
        self._due[max(self._done + 1, tick)].append((transport, asked, number))

    def _tick(self) -> None:
        last = int((time.perf_counter() - self._start) / _TICK)
        for tick in range(self._done + 1, last + 1):
            self._done = tick
            for stream in self._due.pop(tick, ()):
                self._write(*stream)
        if self._due:  # it spins, since timers round to milliseconds
            self._loop.call_soon(self._tick)
        else:
            self._loop.call_later(_IDLE, self._tick)

    def _write(self, transport: asyncio.Transport, asked: float, number: int) -> None:
        if transport.is_closing():
            return
        transport.write(_EVENT % time.perf_counter())
        if number + 1 < self._times.events:
            self.add(transport, asked, number + 1)
        else:
            transport.write(STREAM_END)


class TimedConnection(EngineConnection):
    """A client's connection."""

    def __init__(self, streams: TimedStreams) -> None:
        super().__init__()
        self._streams = streams

    def asked(self, _: bytes, body: bytes) -> None:
        """Begin a stream."""
        if b'"stream":true' in body:
            self.transport.write(_HEAD)
            self._streams.add(self.transport, time.perf_counter())
        else:
            self.transport.write(_ANSWER)


async def serve_timed(port: int, times: KnownTimes) -> None:
    """Serve until ended."""
    streams = TimedStreams(times)
    await serve(lambda: TimedConnection(streams), port)


def main() -> None:
    """Serve as the flags say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--first", type=seconds, default=0.1, metavar="TIME")
    parser.add_argument("--gap", type=seconds, default=0.01, metavar="TIME")
    parser.add_argument("--events", type=int, default=30)
    parser.add_argument("--stall-after", type=seconds, default=0.0, metavar="TIME")
    parser.add_argument("--stall", type=seconds, default=0.0, metavar="TIME")
    asked = parser.parse_args()
    stall_at = time.perf_counter() + asked.stall_after
    print(stall_at, flush=True)
    uvloop.run(serve_timed(asked.port, KnownTimes(asked.first, asked.gap, asked.events, stall_at, asked.stall)))


if __name__ == "__main__":
    main()
