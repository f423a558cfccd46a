"""A fake OpenAI engine: every byte that it puts on the wire can be chosen, and every way to fail asked for.

    python tests/fakes/engine.py --port 8000 --events 20 --delay 0.05        a process of its own
    async with FakeEngine(models=["demo"], framing="close") as fake: ...     inside a test

It answers GET /health, /openapi.json, /v1/models, /fake/stats and, if asked to, /metrics; and POST to any /v1/… path.
What a POST's answer is like is a `Script`: the engine's defaults, over which the request's own body can lay its wishes:

    {"model": "demo", "stream": true, "fake": {"events": 5, "fault": "die", "fault_after": 2}}

Three parts, each below the one before it: `plan` decides, in a plain function, which bytes an answer is made of
and how it ends; `FakeEngine` plays the plan, and counts; `Link` is one client's connection. Raw asyncio and the
standard library alone, so that no HTTP library mends what is meant to be broken.

What is said is a pure function of (seed, events, size): `expected_stream` and `expected_body` give a test the
exact bytes that must arrive.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import struct
import sys
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from enum import Enum, auto
from http import HTTPStatus
from itertools import islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Self

# --------------------------------------------------------------------------- what is said

# Text that a careless proxy trips over: a last chunk, an event, quotes, and characters of two to four bytes.
PIECES: Final = ["plain ", "0\r\n\r\n", "data: [DONE]\n\n", "naïve ", "狐 ", "🦊 ", '"quoted\\" ', "words "]
CREATED: Final = 1_700_000_000
DONE: Final = b"data: [DONE]\n\n"


def content(seed: int, index: int, size: int) -> str:
    """`size` characters, beginning at another piece for each index."""
    start = (seed + index) % len(PIECES)
    text = "".join(PIECES[start:] + PIECES[:start])
    return (text * (size // len(text) + 1))[:size]


def to_json(value: object) -> bytes:
    """Compact, and with non-ASCII characters as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def sse_events(seed: int, events: int, size: int, counts: bytes = b"") -> Iterator[bytes]:
    """Each event of a stream, [DONE] at the end; before it the event that `counts`, if there is one."""
    for index in range(events):
        delta = {"role": "assistant"} if index == 0 else {}
        choice = {
            "index": 0,
            "delta": {**delta, "content": content(seed, index, size)},
            "finish_reason": "length" if index == events - 1 else None,
        }
        yield b"data: " + to_json(_answer(seed, "chat.completion.chunk", choice)) + b"\n\n"
    if counts:
        yield counts
    yield DONE


def expected_stream(seed: int, events: int, size: int) -> bytes:
    """The body of a streamed answer, decoded of its framing."""
    return b"".join(sse_events(seed, events, size))


def counting(script: Script, *, asked: bool) -> bytes:
    """The event that tells a stream's tokens, as the script has it; `asked`: the client wants to know them."""
    last = {"index": 0, "delta": {}, "finish_reason": "length"}
    frame = _answer(script.seed, "chat.completion.chunk", last)
    if script.counts == "timings":
        told = {**frame, "timings": {"cache_n": 0, "prompt_n": script.prompt, "predicted_n": script.events}}
    elif script.counts == "asked" and asked:
        total = script.prompt + script.events
        usage = {"prompt_tokens": script.prompt, "completion_tokens": script.events, "total_tokens": total}
        told = {**frame, "choices": [], "usage": usage}
    else:
        return b""
    return b"data: " + to_json(told) + b"\n\n"


def expected_body(seed: int, events: int, prompt: int = 1) -> bytes:
    """The body of an answer in one piece, of `events` words."""
    text = "".join(PIECES[(seed + index) % len(PIECES)] for index in range(events))
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "length"}
    usage = {"prompt_tokens": prompt, "completion_tokens": events, "total_tokens": events + prompt}
    return to_json({**_answer(seed, "chat.completion", choice), "usage": usage})


def _answer(seed: int, kind: str, choice: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{seed}",
        "object": kind,
        "created": CREATED,
        "model": "fake",
        "choices": [choice],
    }


# --------------------------------------------------------------------------- what a test can ask for

FRAMINGS: Final = ("auto", "chunked", "length", "close")
FAULTS: Final = {
    "none": "a whole answer",
    "status:N": "an error of this status, in OpenAI's form",
    "reset_before": "RST before any byte",
    "close_before": "FIN before any byte",
    "die": "RST after `fault_after` events",
    "truncate": "FIN after `fault_after` events: no last chunk, a length too short, no [DONE]",
    "hang": "nothing more after `fault_after` events, nor any end; after 0, not even a head",
    "exit": "the process exits with 1 after `fault_after` events",
    "garbage": "bytes that are not HTTP",
    "two_lengths": "two Content-Lengths that disagree; the framing is length",
    "big_head": "a head that never ends",
    "surplus": "more bytes, after the end of the answer",
}


@dataclass(frozen=True)
class Script:
    """What an answer is like. A body in one piece counts as two events, its halves."""

    events: int = 8  # content events of a stream, before [DONE]; words of a body in one piece
    size: int = 16  # characters of content in each event
    prompt: int = 1  # tokens that the prompt had, as it says
    counts: str = ""  # how a stream tells its tokens: timings, as llama.cpp's server; asked, as vllm; empty: not at all
    seed: int = 0
    first_delay: float = 0.0  # seconds before the first byte
    delay: float = 0.0  # seconds between writes of events
    held_by: str = ""  # a file: while it is there, nothing follows the first event
    framing: str = "auto"  # chunked, length, close (HTTP/1.0); auto: chunked for a stream, length otherwise
    split: int = 0  # bytes a write, to cut at odd places; 0: whole events
    coalesce: int = 1  # events a write, and a chunk
    fault: str = "none"  # one of FAULTS
    fault_after: int = 1  # events before it
    fault_times: int = 0  # only the first N requests that ask for it under the same key meet it; 0: all do
    fault_key: str = ""
    retry_after: str = ""  # the Retry-After of status:N; empty: none

    def __post_init__(self) -> None:
        if self.framing not in FRAMINGS:
            raise ValueError(f"framing is one of {', '.join(FRAMINGS)}, not {self.framing!r}")
        name, colon, code = self.fault.partition(":")
        if self.fault not in FAULTS and not (name == "status" and colon and code.isdecimal()):
            raise ValueError(f"fault is one of {', '.join(FAULTS)}, not {self.fault!r}")

    @property
    def held(self) -> bool:
        """Whether it is to wait."""
        return self.held_by != "" and Path(self.held_by).exists()

    def revised(self, wishes: object) -> Script:
        """Lay wishes over these values. Strict: a test that misspells a fault must not pass for want of it."""
        if not isinstance(wishes, dict):
            raise ValueError(f"wishes are an object, not {wishes!r}")  # noqa: TRY004 - one error for all of these
        for name, value in wishes.items():
            if name not in Script.__dataclass_fields__:
                raise ValueError(f"no such field: {name}")
            kind = type(getattr(self, name))
            if type(value) is not kind and not (kind is float and type(value) is int):
                raise ValueError(f"{name} is of type {kind.__name__}, not {value!r}")
        return replace(self, **wishes)


class End(Enum):
    """What becomes of the connection, once the bytes are sent."""

    KEEP = auto()
    CLOSE = auto()
    RESET = auto()
    HANG = auto()
    EXIT = auto()


@dataclass(frozen=True)
class Plan:
    """An answer's bytes, in the order of their writes, and its end."""

    head: bytes = b""
    events: Iterable[bytes] = ()  # framed; `delay` passes between them
    tail: bytes = b""
    end: End = End.KEEP


GARBAGE: Final = b"\x16\x03\x01\x02\x00 not HTTP\r\n\r\n\xff"
SURPLUS: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nsurplus\n"

# Faults that come instead of an answer, and faults that cut one off.
INSTEAD: Final = {
    "reset_before": Plan(end=End.RESET),
    "close_before": Plan(end=End.CLOSE),
    "garbage": Plan(head=GARBAGE, end=End.CLOSE),
    "big_head": Plan(head=b"HTTP/1.1 200 OK\r\n", events=repeat(b"x-more: " + b"a" * 1000 + b"\r\n")),
}
CUTS: Final = {"die": End.RESET, "truncate": End.CLOSE, "hang": End.HANG, "exit": End.EXIT}


def plan(script: Script, *, stream: bool, asked: bool = False) -> Plan:
    """Decide the whole of an answer; `asked`: the client wants to know a stream's tokens."""
    fault, _, code = script.fault.partition(":")
    if fault == "status":
        retry_after = {"retry-after": script.retry_after} if script.retry_after else {}
        return Plan(head=error(int(code), f"asked for {code}", retry_after))
    if fault in INSTEAD:
        return INSTEAD[fault]
    if fault == "hang" and script.fault_after == 0:
        return Plan(end=End.HANG)

    framing = "length" if fault == "two_lengths" else script.framing
    if framing == "auto":
        framing = "chunked" if stream else "length"
    cut = CUTS.get(fault)
    whole = script.fault_after if cut else None  # how many events arrive; None: all
    sent = _batches(islice(_parts(script, stream=stream, asked=asked), whole), script.coalesce)
    end = cut or (End.CLOSE if framing == "close" else End.KEEP)
    tail = b"0\r\n\r\n" if framing == "chunked" and not cut else b""
    return Plan(
        head=_head(script, framing, stream=stream, asked=asked),
        events=map(_chunk, sent) if framing == "chunked" else sent,
        tail=tail + (SURPLUS if fault == "surplus" else b""),
        end=end,
    )


def _parts(script: Script, *, stream: bool, asked: bool) -> Iterable[bytes]:
    if stream:
        return sse_events(script.seed, script.events, script.size, counting(script, asked=asked))
    body = expected_body(script.seed, script.events, script.prompt)
    return (body[: len(body) // 2], body[len(body) // 2 :])


def _head(script: Script, framing: str, *, stream: bool, asked: bool) -> bytes:
    lines = ["HTTP/1.0 200 OK" if framing == "close" else "HTTP/1.1 200 OK"]
    lines += ["content-type: " + ("text/event-stream; charset=utf-8" if stream else "application/json")]
    if framing == "length":
        length = sum(map(len, _parts(script, stream=stream, asked=asked)))
        lines += [f"content-length: {length}"]
        if script.fault == "two_lengths":
            lines += [f"content-length: {length + 1}"]
    if framing == "chunked":
        lines += ["transfer-encoding: chunked"]
    return "\r\n".join([*lines, "", ""]).encode()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _batches(parts: Iterator[bytes], size: int) -> Iterator[bytes]:
    while batch := b"".join(islice(parts, size)):
        yield batch


def text(body: str) -> bytes:
    """Build a whole answer in plain text."""
    data = body.encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n%b" % (len(data), data)


def reply(status: int, body: object, headers: Mapping[str, str] | None = None) -> bytes:
    """Build a whole answer in JSON."""
    data = to_json(body)
    phrase = HTTPStatus(status).phrase if status in list(HTTPStatus) else "Unknown"
    named = {"content-type": "application/json", "content-length": str(len(data)), **(headers or {})}
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in named.items()), "", ""]
    return "\r\n".join(lines).encode() + data


def error(status: int, message: str, headers: Mapping[str, str] | None = None) -> bytes:
    """Build an error in OpenAI's form."""
    body = {"message": message, "type": "fake_error", "param": None, "code": str(status)}
    return reply(status, {"error": body}, headers)


# --------------------------------------------------------------------------- the engine


@dataclass
class Request:
    """A request as it came."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: str = ""

    def header(self, name: str) -> str:
        """The last value of a header, in lower case; empty where there is none."""
        return {key.lower(): value.lower() for key, value in self.headers}.get(name, "")


@dataclass
class Stats:
    """What the engine saw. Requests and bytes are those of POSTs; probes don't disturb them."""

    begun: int = 0
    ended: int = 0  # the engine did all that it meant to, be it a fault
    aborted: int = 0  # the client left while its answer was being made
    waiting: int = 0  # for their turn, of those in flight
    gets: int = 0  # GETs, without those of /fake/…
    events: int = 0  # written, of all answers
    bytes_written: int = 0  # taken by the kernel: stops growing when the client doesn't read
    connections_opened: int = 0
    connections_open: int = 0
    last: Request | None = None  # the last POST
    last_get: Request | None = None
    pid: int = field(default_factory=os.getpid)

    @property
    def in_flight(self) -> int:
        """Requests begun that have neither ended nor been aborted."""
        return self.begun - self.ended - self.aborted

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {**asdict(self), "in_flight": self.in_flight}


class FakeEngine:
    """The engine: listens, plays plans, counts.

    `max_concurrent` answers are made at a time, and the rest wait (0: no bound). Where `ready` is false, GETs
    get 503; where `publishes` is true, /metrics tells its load as vllm's does. Both can be changed at any time. Where
    there is a `key`, nothing but /health and /fake/ is answered without it. `answers` has the bytes that POSTs to a
    path get. `defaults` are the fields of `Script`. The fault "exit" is for an engine in a process of its own:
    elsewhere it is a ValueError.
    """

    def __init__(
        self,
        models: Sequence[str] = ("demo",),
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        max_concurrent: int = 0,
        ready: bool = True,
        publishes: bool = False,
        own_process: bool = False,
        key: str = "",
        answers: Mapping[str, bytes] | None = None,
        tls: ssl.SSLContext | None = None,
        **defaults: object,
    ) -> None:
        self.host = host
        self.port = port  # the real one, once it listens
        self.ready = ready
        self.publishes = publishes
        self.stats = Stats()
        self.answers = dict(answers or {})
        self._tls = tls
        self._models = list(models)
        self._own_process = own_process
        self._key = key.lower()  # as Request.header gives it
        self._defaults = self._allowed(Script().revised(defaults))
        self._turns = asyncio.Semaphore(max_concurrent or sys.maxsize)
        self._faults_met: Counter[str] = Counter()
        self._links: set[Link] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{'http' if self._tls is None else 'https'}://{self.host}:{self.port}"

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Link(self), self.host, self.port, ssl=self._tls, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        tasks = [link.task for link in self._links]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def serve(self, link: Link) -> None:
        """Answer one connection's requests, one after the other."""
        self._links.add(link)
        self.stats.connections_opened += 1
        self.stats.connections_open += 1
        try:
            with suppress(EOFError):  # the client left between two answers
                while await self._exchange(link):
                    pass
        finally:
            self.stats.connections_open -= 1
            self._links.discard(link)
            await link.close()

    async def _exchange(self, link: Link) -> bool:
        """Answer one request. True: the connection can take another."""
        request = await link.read_request()
        keep = request.header("connection") != "close"
        if request.header("transfer-encoding"):
            await link.send(error(411, "a Content-Length is needed"))
            return False
        is_open = not self._key or request.path == "/health" or request.path.startswith("/fake/")
        if not is_open and request.header("authorization") != f"bearer {self._key}":
            await link.send(error(401, "no key, or another's"))
            return keep
        if request.method == "POST" and request.path.startswith("/v1/"):
            return await self._post(link, request) and keep
        await link.send(self._get(request) if request.method == "GET" else error(404, request.path))
        return keep

    def _get(self, request: Request) -> bytes:
        if request.path == "/fake/stats":
            return reply(200, self.stats.as_dict())
        self.stats.gets += 1
        self.stats.last_get = request
        models = [{"id": name, "object": "model", "created": CREATED, "owned_by": "fake"} for name in self._models]
        documents: dict[str, object] = {
            "/health": {"status": "ok"},
            "/openapi.json": {"openapi": "3.1.0", "info": {"title": "fake", "version": "1"}, "paths": {}},
            "/v1/models": {"object": "list", "data": models},
        }
        if not self.ready:
            return error(503, "loading the model")
        path = request.path.partition("?")[0]
        if path == "/metrics" and self.publishes:
            waiting = self.stats.waiting
            gauges = {"running": self.stats.in_flight - waiting, "waiting": waiting}
            return text(
                "".join(f'vllm:num_requests_{name}{{engine="0"}} {count}.0\n' for name, count in gauges.items())
            )
        return reply(200, documents[path]) if path in documents else error(404, path)

    async def _post(self, link: Link, request: Request) -> bool:
        self.stats.begun += 1
        self.stats.last = request
        try:
            with link.cancelled_when_client_leaves():
                end = await self._in_turn(link, request)
        except (asyncio.CancelledError, EOFError):
            self.stats.aborted += link.left
            raise
        self.stats.ended += 1
        return end is End.KEEP

    async def _in_turn(self, link: Link, request: Request) -> End:
        self.stats.waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self.stats.waiting -= 1
        try:
            return await self._play(link, request)
        finally:
            self._turns.release()

    async def _play(self, link: Link, request: Request) -> End:
        if fixed := self.answers.get(request.path.partition("?")[0]):
            await self._write(link, fixed)
            return End.KEEP
        try:
            script, stream = self._script(request)
        except ValueError as wrong:
            await self._write(link, error(400, str(wrong)))
            return End.KEEP
        chosen = plan(script, stream=stream, asked='"include_usage":true' in request.body.replace(" ", ""))
        await asyncio.sleep(script.first_delay)
        await self._write(link, chosen.head, script.split)
        for number, event in enumerate(chosen.events):
            await asyncio.sleep(script.delay if number else 0)
            while number and script.held:  # noqa: ASYNC110 -- a file tells nobody that it is gone
                await asyncio.sleep(0.005)
            await self._write(link, event, script.split)
            self.stats.events += 1
        await self._write(link, chosen.tail, script.split)
        if chosen.end is End.HANG:
            await asyncio.Event().wait()
        if chosen.end is End.EXIT:
            os._exit(1)
        if chosen.end is End.RESET:
            link.reset_at_close()
        return chosen.end

    def _script(self, request: Request) -> tuple[Script, bool]:
        """Read what the request asks for; a body that is no JSON object asks for the defaults."""
        body: object = None
        with suppress(json.JSONDecodeError):
            body = json.loads(request.body)
        wishes = body if isinstance(body, dict) else {}
        script = self._allowed(self._defaults.revised(wishes.get("fake", {})))
        if script.fault_times and script.fault != "none":
            self._faults_met[script.fault_key] += 1
            if self._faults_met[script.fault_key] > script.fault_times:
                script = replace(script, fault="none")
        return script, wishes.get("stream") is True

    def _allowed(self, script: Script) -> Script:
        if script.fault == "exit" and not self._own_process:
            raise ValueError("the fault 'exit' would end the process of the test")
        return script

    async def _write(self, link: Link, data: bytes, split: int = 0) -> None:
        """Write piece by piece, and count what the kernel took."""
        step = split or 65536
        for start in range(0, len(data), step):
            if start:
                await asyncio.sleep(0)  # let what was written go out alone
            piece = data[start : start + step]
            await link.send(piece)
            self.stats.bytes_written += len(piece)


# --------------------------------------------------------------------------- one connection


class Link(asyncio.Protocol):
    """One client's connection: reads requests, writes no faster than the client reads, notices when it leaves.

    A client that closes its half for writing has left, too: that is how engines' servers take it.
    """

    def __init__(self, engine: FakeEngine) -> None:
        self.left = False
        self.task: asyncio.Task[None]
        self._engine = engine
        self._transport: asyncio.Transport
        self._received = bytearray()
        self._news = asyncio.Event()  # something was received, or the client left
        self._room = asyncio.Event()  # all that was written is with the kernel
        self._lost = asyncio.Event()
        self._answering = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no instances of it
        if self._transport.get_extra_info("sslcontext") is None:  # asyncio's TLS never resumes at 0
            self._transport.set_write_buffer_limits(high=0)  # so that room means: nothing waits in this process
        self._room.set()
        self.task = asyncio.get_running_loop().create_task(self._engine.serve(self))

    def data_received(self, data: bytes) -> None:
        """Keep what came."""
        self._received += data
        self._news.set()

    def pause_writing(self) -> None:
        """The kernel has no room."""
        self._room.clear()

    def resume_writing(self) -> None:
        """The kernel has taken all."""
        self._room.set()

    def eof_received(self) -> None:
        """The client will send no more."""
        self._leave()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Nothing can be sent any more."""
        self._leave()
        self._lost.set()
        self._room.set()

    def _leave(self) -> None:
        if self._answering and not self.left:
            self.task.cancel()
        self.left = True
        self._news.set()

    @contextmanager
    def cancelled_when_client_leaves(self) -> Iterator[None]:
        """Let the client's leaving cancel the serving task; EOFError where it has left already."""
        if self.left:
            raise EOFError
        self._answering = True
        try:
            yield
        finally:
            self._answering = False

    async def read_request(self) -> Request:
        """Read a request; EOFError where the client leaves before its end."""
        while (end := self._received.find(b"\r\n\r\n")) < 0:
            await self._more()
        first, *lines = self._take(end + 4)[:-4].decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ")
        pairs = [line.partition(":") for line in lines]
        request = Request(method, path, [(name, value.strip()) for name, _, value in pairs])
        length = int(request.header("content-length") or 0)
        while len(self._received) < length:
            await self._more()
        request.body = self._take(length).decode(errors="replace")
        return request

    async def _more(self) -> None:
        if self.left:
            raise EOFError
        self._news.clear()
        await self._news.wait()

    def _take(self, count: int) -> bytes:
        taken = bytes(self._received[:count])
        del self._received[:count]
        return taken

    async def send(self, data: bytes) -> None:
        """Write, and wait until the kernel has taken it; EOFError where the client left."""
        if not self.left:
            self._transport.write(data)
            await self._room.wait()
        if self.left:
            raise EOFError

    def reset_at_close(self) -> None:
        """Make the close a reset: to linger for no time at all is to send RST."""
        linger = struct.pack("ii", 1, 0)
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    async def close(self) -> None:
        """Close at once; what a client has not read and the kernel has not taken is dropped."""
        self._transport.abort()
        await self._lost.wait()


# --------------------------------------------------------------------------- the command


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    faults = "\n".join(f"  {name:13} {meaning}" for name, meaning in FAULTS.items())
    parser = argparse.ArgumentParser(
        description="A fake OpenAI engine that can fail in every way.",
        epilog=f'A request can change these for itself: {{"fake": {{…}}}}. The faults:\n{faults}',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: a free one, said on stdout")
    parser.add_argument("--model", action="append", dest="models", help="what /v1/models lists; may be repeated")
    parser.add_argument("--max-concurrent", type=int, default=0, metavar="N", help="answers made at a time; 0: all")
    parser.add_argument("--start-delay", type=float, default=0, metavar="S", help="listen only after S seconds")
    parser.add_argument("--publishes", action="store_true", help="tell its load at /metrics, as vllm does")
    parser.add_argument("--no-ready", action="store_true", help="answer 503 to every GET")
    parser.add_argument("--fail-start", action="store_true", help="print an error and exit with 1 at once")
    parser.add_argument("--ignore-sigterm", action="store_true")
    parser.add_argument("--exit-after", type=float, metavar="S", help="exit S seconds after it listens")
    parser.add_argument("--exit-code", type=int, default=0, help="with this code")
    answers = parser.add_argument_group("what an answer is like")
    for item in fields(Script):
        flag = "--" + item.name.replace("_", "-")
        answers.add_argument(flag, type=type(item.default), default=item.default, metavar=str(item.default) or '""')
    return parser.parse_args(arguments)


async def _run(options: argparse.Namespace) -> int:
    await asyncio.sleep(options.start_delay)
    engine = FakeEngine(
        options.models or ["demo"],
        host=options.host,
        port=options.port,
        max_concurrent=options.max_concurrent,
        ready=not options.no_ready,
        publishes=options.publishes,
        own_process=True,
        key=os.environ.get("ENGINE_API_KEY", ""),
        **{item.name: getattr(options, item.name) for item in fields(Script)},
    )
    async with engine:
        print(f"listening on port {engine.port}", flush=True)  # noqa: T201
        if options.exit_after is None:
            await asyncio.Event().wait()
        await asyncio.sleep(options.exit_after)
    return int(options.exit_code)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the engine until something ends it."""
    options = _parse(arguments)
    if options.fail_start:
        print("loading the model\nerror: model file not found\ngiving up", file=sys.stderr)  # noqa: T201
        return 1
    if options.ignore_sigterm:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with suppress(KeyboardInterrupt):
        return asyncio.run(_run(options))
    return 130


if __name__ == "__main__":
    sys.exit(main())
