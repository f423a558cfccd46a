import asyncio
import json
import signal
import sys
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import h11
import pytest

from tests.fakes.engine import FakeEngine, expected_body, expected_stream

BOUND = 20  # seconds that a condition may take on the slowest machine


async def until(condition):
    """Wait until it holds."""
    async with asyncio.timeout(BOUND):
        while not condition():  # noqa: ASYNC110 - the condition is another task's, or another process's
            await asyncio.sleep(0.001)


@asynccontextmanager
async def connection(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()


def post(*, stream=True, path="/v1/chat/completions", **fake):
    body = json.dumps({"model": "demo", "stream": stream, "fake": fake})
    return f"POST {path} HTTP/1.1\r\nHost: fake\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def get(path):
    return f"GET {path} HTTP/1.1\r\nHost: fake\r\n\r\n".encode()


@dataclass
class Answer:
    """What an HTTP library that is not ours made of the bytes."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    pieces: int = 0
    end: str = ""  # whole, cut (closed too early), reset
    http: str = ""

    @property
    def json(self):
        """The body, parsed."""
        return json.loads(self.body)


async def receive(reader):
    """Read one answer with h11, to its end or its failure."""
    client, answer = h11.Connection(h11.CLIENT), Answer()
    client.send(h11.Request(method="GET", target="/", headers=[("host", "fake")]))
    client.send(h11.EndOfMessage())
    async with asyncio.timeout(BOUND):
        while not answer.end:
            try:
                event = client.next_event()
                if event is h11.NEED_DATA:
                    client.receive_data(await reader.read(65536))
                elif isinstance(event, h11.Response):
                    answer.status, answer.http = event.status_code, event.http_version.decode()
                    answer.headers = {name.decode(): value.decode() for name, value in event.headers}
                elif isinstance(event, h11.Data):
                    answer.body += event.data
                    answer.pieces += 1
                elif isinstance(event, h11.EndOfMessage):
                    answer.end = "whole"
            except h11.RemoteProtocolError:
                answer.end = "cut"
            except ConnectionResetError:
                answer.end = "reset"
    return answer


async def ask(port, request):
    async with connection(port) as (reader, writer):
        writer.write(request)
        return await receive(reader)


async def ask_raw(port, request):
    """Every byte until the engine closes."""
    async with connection(port) as (reader, writer), asyncio.timeout(BOUND):
        writer.write(request)
        return await reader.read()


@pytest.fixture
async def fake():
    async with FakeEngine(models=["demo", "other"]) as engine:
        yield engine


class TestContent:
    """What is said."""

    def test_a_stream_is_real_events_and_then_done(self):
        """Each event is a chunk, the last one says why it ended."""
        *events, done, rest = expected_stream(3, 4, 10).split(b"\n\n")
        chunks = [json.loads(event.removeprefix(b"data: ")) for event in events]
        assert (done, rest) == (b"data: [DONE]", b"")
        assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
        assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, None, "length"]
        assert [len(chunk["choices"][0]["delta"]["content"]) for chunk in chunks] == [10] * 4

    def test_it_has_what_careless_proxies_trip_over(self):
        """A last chunk, an event's beginning, and characters of several bytes."""
        text = expected_body(0, 8).decode()
        said = json.loads(text)["choices"][0]["message"]["content"]
        assert "0\r\n\r\n" in said
        assert "data: [DONE]\n\n" in said
        assert "🦊" in text, "not escaped"

    def test_it_depends_on_the_seed_alone(self):
        """Equal seeds give equal bytes, others others."""
        assert expected_stream(1, 5, 20) == expected_stream(1, 5, 20) != expected_stream(2, 5, 20)


class TestFraming:
    """How it is sent."""

    @pytest.mark.parametrize("split", [0, 1, 7])
    @pytest.mark.parametrize("coalesce", [1, 3, 100])
    @pytest.mark.parametrize("framing", ["auto", "chunked", "length", "close"])
    @pytest.mark.parametrize("stream", [True, False])
    async def test_every_byte_arrives(self, fake, stream, framing, coalesce, split):
        """However an answer is framed and cut, its body is the expected one."""
        wishes = {"events": 5, "size": 40, "seed": 7, "framing": framing, "coalesce": coalesce, "split": split}
        answer = await ask(fake.port, post(stream=stream, **wishes))
        expected = expected_stream(7, 5, 40) if stream else expected_body(7, 5)
        assert (answer.status, answer.end, answer.body) == (200, "whole", expected)

    async def test_one_event_a_chunk(self, fake):
        """A stream is chunked, and each event is one chunk."""
        answer = await ask(fake.port, post(events=4))
        assert answer.headers["transfer-encoding"] == "chunked"
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.pieces == 5

    async def test_coalesced_events_share_a_chunk(self, fake):
        """Five events, two a chunk."""
        assert (await ask(fake.port, post(events=4, coalesce=2))).pieces == 3

    async def test_closing_is_the_end_of_http_1_0(self, fake):
        """No length, no chunks; the connection closes."""
        raw = await ask_raw(fake.port, post(framing="close", events=2))
        head, _, body = raw.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.0 200 ")
        assert b"length" not in head
        assert body == expected_stream(0, 2, 16)

    async def test_a_connection_takes_many_requests(self, fake):
        """Keep-alive, in both framings that know their end."""
        async with connection(fake.port) as (reader, writer):
            for framing in ("chunked", "length", "chunked"):
                writer.write(post(framing=framing))
                assert (await receive(reader)).end == "whole"
        assert (fake.stats.ended, fake.stats.connections_opened) == (3, 1)

    async def test_a_client_that_asks_for_close_gets_it(self, fake):
        """The answer, then the end of the connection."""
        request = post(framing="length").replace(b"Host:", b"Connection: close\r\nHost:")
        assert (await ask_raw(fake.port, request)).endswith(b"[DONE]\n\n")

    async def test_delays_pass(self, fake):
        """Before the head, and between events."""
        begun = time.monotonic()
        await ask(fake.port, post(events=2, first_delay=0.02, delay=0.01))
        assert time.monotonic() - begun >= 0.04

    async def test_the_defaults_hold_where_a_request_says_nothing(self):
        """The engine's arguments; the body's own wishes lie over them, and a body need not be JSON."""
        async with FakeEngine(events=3, seed=5, framing="length") as fake:
            assert (await ask(fake.port, post())).body == expected_stream(5, 3, 16)
            assert (await ask(fake.port, post(seed=6))).body == expected_stream(6, 3, 16)
            form = b"POST /v1/audio HTTP/1.1\r\nContent-Length: 4\r\n\r\n--x-"
            assert (await ask(fake.port, form)).body == expected_body(5, 3)


class TestFaults:
    """How it fails."""

    async def test_status(self, fake):
        """An error in OpenAI's form; Retry-After where asked for; the connection lives."""
        async with connection(fake.port) as (reader, writer):
            writer.write(post(fault="status:503", retry_after="7"))
            answer = await receive(reader)
            assert (answer.status, answer.headers["retry-after"]) == (503, "7")
            assert answer.json["error"]["code"] == "503"
            writer.write(post(fault="status:529"))
            answer = await receive(reader)
            assert (answer.status, "retry-after" in answer.headers) == (529, False)

    async def test_reset_before(self, fake):
        """RST, and no byte."""
        with pytest.raises(ConnectionResetError):
            await ask_raw(fake.port, post(fault="reset_before"))

    async def test_close_before(self, fake):
        """FIN, and no byte."""
        assert await ask_raw(fake.port, post(fault="close_before")) == b""

    @pytest.mark.parametrize("framing", ["chunked", "length", "close"])
    async def test_die(self, fake, framing):
        """The events before it arrive, then RST, in every framing."""
        answer = await ask(fake.port, post(events=5, fault="die", fault_after=2, framing=framing))
        whole = expected_stream(0, 5, 16)
        assert answer.end == "reset"
        assert answer.body == b"\n\n".join(whole.split(b"\n\n")[:2]) + b"\n\n"

    async def test_die_at_the_head(self, fake):
        """After no event there is still a head."""
        answer = await ask(fake.port, post(fault="die", fault_after=0))
        assert (answer.status, answer.body, answer.end) == (200, b"", "reset")

    @pytest.mark.parametrize(("framing", "end"), [("chunked", "cut"), ("length", "cut"), ("close", "whole")])
    async def test_truncate(self, fake, framing, end):
        """A clean close too early: seen by the framing, or else by the missing [DONE] alone."""
        answer = await ask(fake.port, post(events=5, fault="truncate", fault_after=3, framing=framing))
        assert (answer.end, answer.body.count(b"\n\n")) == (end, 3)
        assert b"data: [DONE]\n\n" not in answer.body

    async def test_truncate_a_body_in_one_piece(self, fake):
        """Its first half arrives."""
        answer = await ask(fake.port, post(stream=False, fault="truncate"))
        body = expected_body(0, 8)
        assert (answer.end, answer.body) == ("cut", body[: len(body) // 2])

    @pytest.mark.parametrize(("after", "events"), [(0, 0), (2, 2)])
    async def test_hang(self, fake, after, events):
        """Some events, then nothing, and the connection stays open; with none, not even a head."""
        async with connection(fake.port) as (reader, writer):
            writer.write(post(fault="hang", fault_after=after, framing="close"))
            await until(lambda: fake.stats.begun)
            for _ in range(events):
                await asyncio.wait_for(reader.readuntil(b"}\n\n"), BOUND)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.02)
            assert (fake.stats.in_flight, bool(fake.stats.bytes_written)) == (1, bool(events))

    async def test_garbage(self, fake):
        """Not HTTP."""
        assert (await ask(fake.port, post(fault="garbage"))).end == "cut"

    async def test_two_lengths(self, fake):
        """Two lengths, which disagree; h11 refuses them, as anybody should."""
        async with connection(fake.port) as (reader, writer):
            writer.write(post(fault="two_lengths"))
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), BOUND)
        assert head.count(b"content-length: ") == 2
        assert (await ask(fake.port, post(fault="two_lengths"))).end == "cut"

    async def test_big_head(self, fake):
        """The head goes on until the client has had enough."""
        async with connection(fake.port) as (reader, writer):
            writer.write(post(fault="big_head"))
            head = await asyncio.wait_for(reader.readexactly(1_000_000), BOUND)
        assert b"\r\n\r\n" not in head
        await until(lambda: fake.stats.aborted == 1)

    async def test_surplus(self, fake):
        """The answer is whole; what follows it was not asked for."""
        async with connection(fake.port) as (reader, writer):
            writer.write(post(fault="surplus"))
            raw = await asyncio.wait_for(reader.readuntil(b"surplus\n"), BOUND)
        assert raw.partition(b"\r\n0\r\n\r\n")[2].startswith(b"HTTP/1.1 200 OK\r\n")

    async def test_only_some_times(self, fake):
        """The first two that ask under a key meet the fault; others count for themselves."""
        wishes = {"fault": "status:500", "fault_times": 2}
        statuses = [(await ask(fake.port, post(fault_key="a", **wishes))).status for _ in range(4)]
        assert statuses == [500, 500, 200, 200]
        assert (await ask(fake.port, post(fault_key="b", **wishes))).status == 500

    async def test_exit_is_for_a_process_of_its_own(self, fake):
        """In a test's process it is refused, as a default and as a wish."""
        with pytest.raises(ValueError, match="exit"):
            FakeEngine(fault="exit")
        assert (await ask(fake.port, post(fault="exit"))).status == 400

    @pytest.mark.parametrize(
        "wishes", [{"fault": "dye"}, {"fault": "status:x"}, {"framing": "odd"}, {"evnets": 1}, {"events": "3"}]
    )
    async def test_a_misspelt_wish_is_an_error(self, fake, wishes):
        """400, with the word that was wrong."""
        answer = await ask(fake.port, post(**wishes))
        (word,) = wishes
        assert answer.status == 400
        assert word in answer.json["error"]["message"]


class TestRequests:
    """What it is asked, and what it saw."""

    @pytest.mark.parametrize("path", ["/health", "/openapi.json", "/v1/models"])
    async def test_probes(self, fake, path):
        """200 in JSON, or 503 while it is not ready."""
        assert (await ask(fake.port, get(path))).status == 200
        fake.ready = False
        assert (await ask(fake.port, get(path))).status == 503

    async def test_models(self, fake):
        """Those that it was given."""
        answer = await ask(fake.port, get("/v1/models"))
        assert [model["id"] for model in answer.json["data"]] == ["demo", "other"]

    async def test_other_paths(self, fake):
        """404."""
        assert (await ask(fake.port, get("/v1/nothing"))).status == 404
        assert (await ask(fake.port, post(path="/elsewhere"))).status == 404

    async def test_a_chunked_request_needs_a_length(self, fake):
        """411, and the connection ends."""
        request = b"POST /v1/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        assert (await ask_raw(fake.port, request)).startswith(b"HTTP/1.1 411 ")

    async def test_a_request_may_come_byte_by_byte(self, fake):
        """The head and the body are put together."""
        async with connection(fake.port) as (reader, writer):
            for byte in post(events=1):
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0)
            assert (await receive(reader)).end == "whole"

    async def test_stats(self, fake):
        """All that was seen, over HTTP; asking changes nothing but the connections."""
        request = post(path="/v1/embeddings?x=1", seed=4).replace(b"Host:", b"X-Odd:  a: b \r\nx-odd: c\r\nHost:")
        raw = await ask_raw(fake.port, request.replace(b"Host:", b"Connection: close\r\nHost:"))
        await ask(fake.port, get("/health"))
        await until(lambda: fake.stats.connections_open == 0)
        stats = (await ask(fake.port, get("/fake/stats"))).json
        assert stats["last"]["method"] == "POST"
        assert stats["last"]["path"] == "/v1/embeddings?x=1"
        assert stats["last"]["headers"][:2] == [["X-Odd", "a: b"], ["x-odd", "c"]]
        assert json.loads(stats["last"]["body"])["fake"] == {"seed": 4}
        assert stats["last_get"]["path"] == "/health"
        assert {name: value for name, value in stats.items() if isinstance(value, int) and name != "pid"} == {
            "begun": 1,
            "ended": 1,
            "aborted": 0,
            "in_flight": 0,
            "waiting": 0,
            "gets": 1,
            "events": 9,
            "bytes_written": len(raw),
            "connections_opened": 3,
            "connections_open": 1,
        }

    @pytest.mark.parametrize("wishes", [{"fault": "hang"}, {"first_delay": 60}, {"events": 10**6, "delay": 60}])
    async def test_a_client_that_leaves_is_noticed(self, fake, wishes):
        """At once, whatever the engine is waiting for."""
        async with connection(fake.port) as (_, writer):
            writer.write(post(**wishes))
            await until(lambda: fake.stats.in_flight == 1)
        await until(lambda: fake.stats.aborted == 1)
        assert (fake.stats.ended, fake.stats.in_flight, fake.stats.connections_open) == (0, 0, 0)

    async def test_a_client_that_does_not_read_stops_it(self, fake):
        """The bytes written stop growing, far below what there is to say; reading on sets them going."""
        async with connection(fake.port) as (reader, writer):
            writer.write(post(events=1000, size=100_000))
            stood_still, seen = 0, -1
            async with asyncio.timeout(BOUND):
                while stood_still < 50:
                    stood_still = stood_still + 1 if fake.stats.bytes_written == seen else 0
                    seen = fake.stats.bytes_written
                    await asyncio.sleep(0.001)
            assert 0 < seen < 50_000_000
            await asyncio.wait_for(reader.readexactly(seen + 1_000_000), BOUND)
            await until(lambda: fake.stats.bytes_written > seen)

    async def test_so_many_at_a_time(self):
        """The rest wait their turn, and a client that leaves gives its turn up."""
        async with FakeEngine(max_concurrent=1) as fake, connection(fake.port) as (_, first):
            first.write(post(fault="hang"))
            await until(lambda: fake.stats.in_flight == 1)
            second = asyncio.create_task(ask(fake.port, post()))
            await until(lambda: fake.stats.waiting == 1)
            assert (await ask(fake.port, get("/health"))).status == 200
            first.close()
            assert (await second).end == "whole"

    async def test_leaving_ends_what_is_open(self):
        """The end of the context closes connections at work and idle ones."""
        async with FakeEngine() as fake:
            reader, writer = await asyncio.open_connection("127.0.0.1", fake.port)
            writer.write(post(fault="hang"))
            await until(lambda: fake.stats.in_flight == 1)
        assert (fake.stats.connections_open, fake.stats.aborted) == (0, 0)
        assert b"[DONE]\n\n" not in await asyncio.wait_for(reader.read(), BOUND)
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def process(*arguments):
    """The engine as a program; its port, once it says it."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "tests/fakes/engine.py",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert child.stdout is not None
    try:
        line = (await asyncio.wait_for(child.stdout.readline(), BOUND)).decode()
        yield child, int(line.removeprefix("listening on port ") or 0)
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()


class TestProcess:
    """As a program."""

    async def test_flags_are_the_defaults(self):
        """Models and the fields of an answer come from the command line."""
        async with process("--model", "a", "--model", "b", "--events", "2", "--fault-key", "k") as (child, port):
            assert [m["id"] for m in (await ask(port, get("/v1/models"))).json["data"]] == ["a", "b"]
            assert (await ask(port, post())).body == expected_stream(0, 2, 16)
            assert (await ask(port, get("/fake/stats"))).json["pid"] == child.pid

    async def test_sigterm_ends_it(self):
        """By default handling, at once."""
        async with process() as (child, _):
            child.terminate()
            assert await asyncio.wait_for(child.wait(), BOUND) == -signal.SIGTERM

    async def test_sigterm_can_be_ignored(self):
        """Then it goes on answering."""
        async with process("--ignore-sigterm") as (child, port):
            child.terminate()
            assert (await ask(port, get("/health"))).status == 200
            assert child.returncode is None

    async def test_it_exits_by_itself(self):
        """After a time, with a code."""
        async with process("--exit-after", "0.05", "--exit-code", "3") as (child, port):
            assert port
            assert await asyncio.wait_for(child.wait(), BOUND) == 3

    async def test_it_exits_in_the_middle_of_an_answer(self):
        """As a crash does."""
        async with process() as (child, port):
            answer = await ask(port, post(events=5, fault="exit", fault_after=2))
            assert (answer.end, answer.body.count(b"\n\n")) == ("cut", 2)
            assert await asyncio.wait_for(child.wait(), BOUND) == 1

    async def test_it_can_fail_to_start(self):
        """Some lines on stderr, and 1."""
        async with process("--fail-start") as (child, port):
            assert port == 0
            assert await asyncio.wait_for(child.wait(), BOUND) == 1
            assert len((await child.stderr.read()).splitlines()) == 3

    async def test_it_can_be_slow_to_start_and_never_ready(self):
        """It listens late, and answers 503."""
        begun = time.monotonic()
        async with process("--start-delay", "0.05", "--no-ready") as (_, port):
            assert time.monotonic() - begun >= 0.05
            assert (await ask(port, get("/health"))).status == 503
