"""The engine that proxies are measured against: it costs as little as it can, so that the proxy is what is measured.

    python -m scripts.bench.engine --port 9000

POST anything: one JSON answer of about 300 bytes. With `"stream":true`, 256 events of about 180 bytes, each a chunk and
a write of its own, eight in a turn of the loop; where a message says "paced", one every 20 ms, as at 50 tokens/s; where
it says "slow", 15 of them, one every 2 s. (Messages pass every proxy as they are; fields that it doesn't know may not.)
GET anything: 200. GET /v1/models lists the model `bench`.
"""

import argparse
import asyncio
import json

import uvloop

EVENTS = 256
PACE = 0.02
"""Seconds between two events of a paced stream."""

SLOW_EVENTS = 15
SLOW_PACE = 2.0
"""Seconds between two events of a slow stream."""

_AT_ONCE = 8


def _json(fields: dict[str, object]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()


def _event(index: int) -> bytes:
    choice = {"index": 0, "delta": {"content": f" token{index}"}, "logprobs": None, "finish_reason": None}
    fields = {
        "id": "chatcmpl-0123456789abcdef0123456789abcdef",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "bench",
        "choices": [choice],
    }
    return b"data: " + _json(fields) + b"\n\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _reply(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


CHUNKS = [_chunk(_event(index)) for index in range(EVENTS)]
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
STREAM_END = _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
ANSWER = _reply(
    _json(
        {
            "id": "chatcmpl-0123456789abcdef0123456789abcdef",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": "bench",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12},
        }
    )
)
MODELS = _reply(_json({"object": "list", "data": [{"id": "bench", "object": "model", "owned_by": "bench"}]}))


class Engine(asyncio.Protocol):
    """One connection. It reads a request's length and three words of its body, nothing more."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._held = b""
        self._gone = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # uvloop's are none by name

    def connection_lost(self, _: Exception | None) -> None:
        """End what streams."""
        self._gone = True

    def data_received(self, data: bytes) -> None:
        """Answer a request once it is whole."""
        self._held += data
        end = self._held.find(b"\r\n\r\n")
        if end < 0:
            return
        head, body = self._held[:end].lower(), self._held[end + 4 :]
        if head.startswith(b"get "):
            self._held = b""
            self._transport.write(MODELS)
            return
        if b"100-continue" in head and not body:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        at = head.find(b"content-length:")
        length = head[at + 15 :].split(b"\r\n", 1)[0]
        whole = body.endswith(b"0\r\n\r\n") if at < 0 else len(body) >= int(length)  # chunked, or of a length
        if not whole:
            return
        self._held = b""
        tight = body.replace(b" ", b"")
        if b'"stream":true' not in tight:
            self._transport.write(ANSWER)
            return
        self._transport.write(STREAM_HEAD)
        if b'"paced"' in tight:
            self._pace(0, EVENTS, PACE, self._loop.time())
        elif b'"slow"' in tight:
            self._pace(0, SLOW_EVENTS, SLOW_PACE, self._loop.time())
        else:
            self._rush(0)

    def _rush(self, index: int) -> None:
        for chunk in CHUNKS[index : index + _AT_ONCE]:
            self._transport.write(chunk)
        if index + _AT_ONCE < EVENTS:
            self._loop.call_soon(self._rush, index + _AT_ONCE)
        else:
            self._transport.write(STREAM_END)

    def _pace(self, index: int, count: int, pace: float, due: float) -> None:
        if self._gone:
            return
        self._transport.write(CHUNKS[index])
        if index + 1 < count:
            self._loop.call_at(due + pace, self._pace, index + 1, count, pace, due + pace)
        else:
            self._transport.write(STREAM_END)


async def main(port: int) -> None:
    """Serve until ended."""
    server = await asyncio.get_running_loop().create_server(Engine, "127.0.0.1", port, backlog=4096)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(main(parser.parse_args().port))
