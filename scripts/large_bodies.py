"""Measures what one client's large bodies, or bodies in crumbs, cost the others, as ratios within one run.

    .venv/bin/python -m scripts.large_bodies [--router ANOTHER/CHECKOUT] [--seconds 10] [--only messages]

Small requests go one after another: alone; beside two clients that send bodies of 60 MiB (JSON, some of it translated
for the engine, and a form); and beside one that sends bodies in chunks of one byte, to the fast lane and to aiohttp's.
The longest turn of the router's event loop is
counted in its thread's CPU time, so it is nearly the same on a busy machine; latencies are not.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil

from scripts.instruments.engine import header, reply
from scripts.instruments.processes import cpu, free_port
from scripts.instruments.statistics import percentile
from scripts.stall_times import StartedRouter

HERE = Path(__file__).parent.parent
MIB = 1024 * 1024
HEARTBEAT = """
import os, time, uvloop
make, last = uvloop.new_event_loop, 0.0
def new_event_loop():
    loop = make()
    out = open(os.environ["TURNS"], "a", buffering=1)
    def beat():
        global last
        now = time.thread_time()
        if now - last > 0.002:
            out.write(f"{time.monotonic()} {now - last}\\n")
        last = time.thread_time()
        loop.call_later(0.001, beat)
    loop.call_soon(beat)
    return loop
uvloop.new_event_loop = new_event_loop
"""
"""Notes each turn of the router's event loop that takes more than 2 ms of CPU time."""

ANSWER = reply(b'{"object": "chat.completion", "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}')
SMALL = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hello"}]}).encode()
IMAGE = "iVBORw0KGgoA" * (5 * MIB // 12)
CHAT = "/v1/chat/completions"


def parts(part: dict[str, object]) -> Callable[[], bytes]:
    """Write a body of twelve images."""
    return lambda: json.dumps({"model": "m", "messages": [{"role": "user", "content": [part] * 12}]}).encode()


def form() -> bytes:
    """Write a form, the model behind the file."""
    name = 'content-disposition: form-data; name="%s"\r\n\r\n'
    ends = f"\r\n--b\r\n{name % 'model'}m\r\n--b--\r\n"
    return f"--b\r\n{name % 'file'}".encode() + bytes(range(256)) * (60 * MIB // 256) + ends.encode()


BASE64: dict[str, object] = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": IMAGE}}
INPUT_IMAGE = {"type": "input_image", "image_url": f"data:image/png;base64,{IMAGE}"}
SHAPES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "one text": (CHAT, lambda: json.dumps({"model": "m", "prompt": "x" * 60 * MIB}).encode()),
    "many texts": (
        CHAT,
        lambda: json.dumps({"model": "m", "input": ["lorem ipsum " * 8] * (60 * MIB // 100)}).encode(),
    ),
    "messages": ("/v1/messages", parts(BASE64)),
    "responses": (
        "/v1/responses",
        lambda: json.dumps({"model": "m", "input": [{"role": "user", "content": [INPUT_IMAGE] * 12}]}).encode(),
    ),
    "ollama": (
        "/api/chat",
        lambda: json.dumps(
            {"model": "m", "messages": [{"role": "user", "content": "Hi", "images": [IMAGE] * 12}], "stream": False}
        ).encode(),
    ),
    "form": ("/v1/audio/transcriptions", form),
}
MISSING = reply(b'{"error": "Not Found"}', b"404 Not Found")


def head(lines: str, path: str = CHAT) -> bytes:
    """Write a request's head."""
    return f"POST {path} HTTP/1.1\r\nhost: localhost\r\n{lines}\r\n\r\n".encode()


class Engine(asyncio.Protocol):
    """Reads a body to its end, keeps nothing of it, and answers."""

    def __init__(self) -> None:
        self._left = 0
        self._head = b""
        self._answer = ANSWER

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Count bytes."""
        if not self._left:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            head, data = self._head[:end].lower(), self._head[end + 4 :]
            self._head, self._left = b"", int(header(head, b"content-length") or 0)
            # It has no API that could be translated.
            self._answer = MISSING if head.startswith((b"post /v1/messages", b"post /v1/responses")) else ANSWER
            if head.startswith(b"get"):
                self._transport.write(ANSWER)  # type: ignore[attr-defined]
                return
        self._left -= len(data)
        if not self._left:
            self._transport.write(self._answer)  # type: ignore[attr-defined]


def serve(port: int) -> None:
    """Be the engine."""

    async def forever() -> None:
        server = await asyncio.get_running_loop().create_server(Engine, "127.0.0.1", port)
        await server.serve_forever()

    asyncio.run(forever())


def send(port: int, request: Callable[[], bytes], sent: "multiprocessing.sharedctypes.Synchronized[int]") -> None:
    """Send a request again and again, each on a connection of its own; count those that got an answer."""
    words = request()
    while True:
        with socket.create_connection(("127.0.0.1", port)) as sock, suppress(OSError):
            sock.settimeout(60)
            with suppress(OSError):
                sock.sendall(words)
            if sock.recv(65536):
                sent.value += 1
        time.sleep(0.1)


async def others(port: int, seconds: float) -> list[float]:
    """Give the latency of each small request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request = head(f"content-type: application/json\r\ncontent-length: {len(SMALL)}") + SMALL
    loop = asyncio.get_running_loop()
    took: list[float] = []
    begin = loop.time()
    while (now := loop.time()) < begin + seconds:
        writer.write(request)
        told = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(header(told.lower(), b"content-length")))
        took.append(loop.time() - now)
        await asyncio.sleep(0.005)
    writer.close()
    return took


def crumbs(lines: str) -> Callable[[], bytes]:
    """Write a body of a MiB in chunks of one byte."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * MIB}]})
    return lambda: head(lines) + b"".join(b"1\r\n%s\r\n" % letter.encode() for letter in body) + b"0\r\n\r\n"


def longest(turns: Path, since: float) -> float:
    """Give the longest turn since then, in seconds of CPU time; 0: none took 2 ms."""
    lines = [line.split() for line in turns.read_text().splitlines()]
    return max([float(took) for at, took in lines if float(at) > since], default=0.0)


def whole(path: str, shape: Callable[[], bytes]) -> bytes:
    """Write a request with a body of this shape."""
    body = shape()
    kind = "multipart/form-data; boundary=b" if shape is form else "application/json"
    return head(f"content-type: {kind}\r\ncontent-length: {len(body)}", path) + body


async def measure(port: int, router: psutil.Process, seconds: float, turns: Path, only: str) -> None:
    """Print a row for each kind of neighbour."""
    sized = {name: (partial(whole, path, shape), 2) for name, (path, shape) in SHAPES.items()}
    kinds: dict[str, tuple[Callable[[], bytes], int]] = {
        "nobody": (bytes, 0),
        **sized,
        "crumbs, fast lane": (crumbs("transfer-encoding: chunked"), 1),
        "crumbs, aiohttp's": (crumbs("transfer-encoding: chunked\r\nexpect: 100-continue"), 1),
    }
    columns = ("p50 ms", "p99 ms", "p99 ratio", "longest turn ms", "answered", "CPU s each")
    print(f"{'beside':20} {' '.join(f'{column:>10}' for column in columns)}")
    alone = 0.0
    for name, (request, count) in kinds.items():
        if count and only not in name:
            continue
        sent = multiprocessing.Value("i", 0)
        senders = [multiprocessing.Process(target=send, args=(port, request, sent)) for _ in range(count)]
        for each in senders:
            each.start()
        await asyncio.sleep(2.0 if count else 0.0)
        before, had, since = cpu(router), sent.value, time.monotonic()
        took = await others(port, seconds)
        spent, answered = cpu(router).since(before).total, sent.value - had
        for each in senders:
            each.terminate()
            each.join()
        p50, p99 = (1000 * percentile(took, share) for share in (0.5, 0.99))
        alone = alone or p99
        each_cost = f"{spent / answered:10.2f}" if answered else ""
        turn = 1000 * longest(turns, since)
        print(
            f"{name:20} {p50:10.2f} {p99:10.2f} {p99 / alone:10.1f} {turn:15.1f} {answered:10} {each_cost}", flush=True
        )


async def main() -> None:
    """Run it from its flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--router", type=Path, default=HERE, help="the checkout whose router is measured")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each row is measured")
    parser.add_argument("--only", default="", help="measure only rows whose name has this")
    asked = parser.parse_args()
    port, engine_port = free_port(), free_port()
    engine = multiprocessing.Process(target=serve, args=(engine_port,))
    engine.start()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "sitecustomize.py").write_text(HEARTBEAT)
        turns = Path(folder) / "turns"
        os.environ |= {"PYTHONPATH": folder, "TURNS": str(turns)}
        config = (
            f"server: {{port: {port}}}\nlogging: {{dir: {folder}/logs}}\n"
            f"backends: [{{url: 'http://127.0.0.1:{engine_port}', name: e, models: [m]}}]\n"
        )
        try:
            async with StartedRouter(asked.router.resolve(), Path(folder), config) as router:
                await measure(port, psutil.Process(router._process.pid), asked.seconds, turns, asked.only)  # noqa: SLF001
        finally:
            engine.terminate()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
