"""The engine that proxies are measured against. It costs as little as it can, so that the proxy is what is measured.

    python -m scripts.bench.engine --port 9000

POST anything: one JSON answer of about 300 bytes. With `"stream":true`, 256 events of about 180 bytes, each a chunk and
a write of its own, eight in a turn of the loop. Where a message says "paced", there is one every 20 ms, as at 50
tokens/s; where it says "slow", there are 15, one every 2 s. (A message passes every proxy unchanged; a field that the
proxy doesn't know may not.) GET anything: 200. GET /v1/models lists the model `bench`.
"""

import argparse
import asyncio

import uvloop

from scripts.instruments.engine import STREAM_END, EngineConnection, as_json, event, reply, serve, stream_head

EVENTS = 256
PACE = 0.02
"""Seconds between two events of a paced stream."""

SLOW_EVENTS = 15
SLOW_PACE = 2.0
"""Seconds between two events of a slow stream."""

_AT_ONCE = 8
_ID = "chatcmpl-0123456789abcdef0123456789abcdef"


def _event(index: int) -> bytes:
    choice = {"index": 0, "delta": {"content": f" token{index}"}, "logprobs": None, "finish_reason": None}
    return event(
        {
            "id": _ID,
            "object": "chat.completion.chunk",
            "created": 1_700_000_000,
            "model": "bench",
            "choices": [choice],
        }
    )


EVENT_CHUNKS = [_event(index) for index in range(EVENTS)]
_STREAM_HEAD = stream_head()
_ANSWER = reply(
    as_json(
        {
            "id": _ID,
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": "bench",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12},
        }
    )
)
_MODELS = reply(as_json({"object": "list", "data": [{"id": "bench", "object": "model", "owned_by": "bench"}]}))


class CheapConnection(EngineConnection):
    """A connection. Of a body it reads three words, nothing more."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()

    def asked(self, head: bytes, body: bytes) -> None:
        """Answer from what was built beforehand."""
        if head.startswith(b"get "):
            self.transport.write(_MODELS)
            return
        tight = body.replace(b" ", b"")
        if b'"stream":true' not in tight:
            self.transport.write(_ANSWER)
            return
        self.transport.write(_STREAM_HEAD)
        if b'"paced"' in tight:
            self._pace(0, EVENTS, PACE, self._loop.time())
        elif b'"slow"' in tight:
            self._pace(0, SLOW_EVENTS, SLOW_PACE, self._loop.time())
        else:
            self._rush(0)

    def _rush(self, index: int) -> None:
        for chunk in EVENT_CHUNKS[index : index + _AT_ONCE]:
            self.transport.write(chunk)
        if index + _AT_ONCE < EVENTS:
            self._loop.call_soon(self._rush, index + _AT_ONCE)
        else:
            self.transport.write(STREAM_END)

    def _pace(self, index: int, count: int, pace: float, due: float) -> None:
        if self.gone:
            return
        self.transport.write(EVENT_CHUNKS[index])
        if index + 1 < count:
            self._loop.call_at(due + pace, self._pace, index + 1, count, pace, due + pace)
        else:
            self.transport.write(STREAM_END)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(serve(CheapConnection, parser.parse_args().port))
