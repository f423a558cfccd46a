"""Clients that send what they shouldn't, or what few do."""

import asyncio
import gzip
import json
import re
from contextlib import asynccontextmanager
from functools import partial

import pytest
from structlog.testing import capture_logs

from router.proxy import downstream, slow_connection, uploads
from router.proxy import lane as lane_module
from router.proxy.pool import MAX_IDLE
from router.proxy.requests import NO_TLS
from tests.fakes.engine import FakeEngine, expected_body
from tests.integration.raw import ASK, CHAT, Answer, connect, lane_of_connections, nothing_left, post
from tests.running import RunningRouter, eventually


@pytest.fixture
async def router(start_router, fake):
    backend = {"url": fake.url, "name": "b", "models": {"demo": "demo", "alias": "real/name"}}
    return await start_router([backend], routes={"*-*-*:free": "demo"}, limits={"max_body": "6MiB"})


# Every error is an answer, in its API's form


@pytest.mark.parametrize("warm", [False, True], ids=["connect", "pooled"])
async def test_field_names_that_are_no_text(router, raw, lane, warm):
    """What can't be renamed for the backend is the client's mistake, and leaves nothing hanging."""
    client = await raw(router)
    if warm:
        client.send(post(ASK, lane=lane))
        assert (await client.answer()).status == 200
    client.send(post(b'{"model":"alias","\xff":1}', lane=lane))
    assert (await client.answer()).status == 400
    await eventually(lambda: nothing_left(router))


@pytest.mark.parametrize("query", [b"?q=\xff", b"?q=\xe7\x8b\x90", b"?q=\xc3\xa9"], ids=["ff", "utf-8", "latin-1"])
async def test_a_target_of_odd_bytes(router, raw, lane, fake, query):
    """It is refused, or reaches the engine in ASCII: no target is sent on as anything but a URL."""
    client = await raw(router)
    client.send(post(ASK, CHAT + query, lane=lane))
    answer = await client.answer()
    assert answer.status in {200, 400}
    assert fake.stats.last is None or fake.stats.last.path.isascii()
    await eventually(lambda: nothing_left(router))


ODD_REQUESTS = {
    "surrogate": post(b'{"model": "\\ud800"}'),
    "raw path": post(ASK, b"/elsewhere\xff"),
    "escaped path": post(ASK, b"/elsewhere%ff"),
    "raw get": b"GET /elsewhere\xe7\x8b HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "raw model": b"GET /v1/models/\xff HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "escaped model": b"GET /v1/models/%ff HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "expectation": post(ASK, headers=b"expect: nonsense\r\n"),
    "no gzip": post(b"not gzip at all", headers=b"content-encoding: gzip\r\n"),
    "no chunk": b"POST %s HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n" % CHAT,
    "no second chunk": b"POST %s HTTP/1.1\r\nhost: [::1]\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\nzz\r\n" % CHAT,
    "no http": b"hello\r\n\r\n",
    "no version": b"GET /health\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "long head": b"GET / HTTP/1.1\r\nx: " + b"a" * 40_000 + b"\r\n\r\n",
    "long target": b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "bad value": post(ASK, headers=b"x: a\x00b\r\n"),
    "two codings": b"POST %s HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: gzip, chunked\r\n\r\nzz\r\n" % CHAT,
}


@pytest.mark.parametrize("request_bytes", ODD_REQUESTS.values(), ids=ODD_REQUESTS)
async def test_every_error_is_in_openais_form(router, raw, fake, request_bytes):
    """A 4xx with the four fields and an id, whichever parser was at a loss; the engine never hears of it."""
    client = await raw(router)
    client.send(request_bytes)
    answer = await client.answer()
    assert 400 <= answer.status < 500, answer
    assert answer.headers[b"content-type"].startswith(b"application/json"), answer
    assert answer.headers[b"x-request-id"]
    assert json.loads(answer.body)["error"].keys() == {"message", "type", "param", "code"}
    assert fake.stats.begun == 0


@pytest.mark.parametrize("request_bytes", [b"hello\r\n\r\n", b"x" * 40_000], ids=["no http", "long head"])
async def test_an_error_has_an_id_of_its_own(router, raw, request_bytes):
    """Not that of the request before it on the same connection."""
    client = await raw(router)
    client.send(post(ASK, headers=b"x-request-id: before\r\n"))
    assert (await client.answer()).headers[b"x-request-id"] == b"before"
    client.send(request_bytes)
    answer = await client.answer()
    assert answer.status == 400
    assert answer.headers[b"x-request-id"] not in {b"", b"before"}


async def test_head_has_no_body(router, raw):
    """HEAD is answered with a head alone, whatever the path."""
    for path in (b"/v1/models", b"/health", b"/nope", CHAT):
        client = await raw(router)
        client.send(b"HEAD %s HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n" % path)
        data = await client.rest()
        assert data.endswith(b"\r\n\r\n")
        assert data.count(b"\r\n\r\n") == 1


# Targets


async def test_absolute_form(router, raw, lane, fake):
    """A target with a host in it, as proxies are sent, means its path; and its host is the Host (RFC 9112, 3.2.2)."""
    client = await raw(router)
    client.send(post(ASK, b"http://localhost" + CHAT, lane=lane))
    assert (await client.answer()).status == 200
    assert fake.stats.last.path == CHAT.decode()
    client.send(post(ASK, b"http://elsewhere.example" + CHAT, lane=lane))
    assert (await client.answer()).status == 403


@pytest.mark.parametrize("target", [b"/v1/../fake/stats", b"/v1/%2e%2e/sleep", b"/v1/x/..%2f..%2fsleep", b"/v1/.."])
async def test_dot_segments_do_not_leave_v1(router, raw, lane, fake, target):
    """An engine's other paths are nobody's business."""
    client = await raw(router)
    client.send(post(ASK, target, lane=lane))
    assert (await client.answer()).status == 400
    assert fake.stats.begun == 0


async def test_a_double_slash_is_the_same_path(router, raw, lane, fake):
    """The engine is asked with a single one, which is what was checked; it is no other machine's name."""
    client = await raw(router)
    client.send(post(ASK, b"/" + CHAT, lane=lane))
    assert (await client.answer()).status == 200
    assert fake.stats.last.path == CHAT.decode()


async def test_a_fragment_stays_here(router, raw, lane, fake):
    """It is refused or left out."""
    client = await raw(router)
    client.send(post(ASK, CHAT + b"#fragment", lane=lane))
    answer = await client.answer()
    assert answer.status == 400 or fake.stats.last.path == CHAT.decode()


AROUND_THE_KEY = [
    "/V1/models",
    "//v1/models",
    "/v1//models",
    "/%761/models",
    "/v1%2fmodels",
    "/./v1/models",
    "/x/../v1/models",
    "http://h/v1/models",
    "/v1/models/",
    "/v1/models?x",
    "/v1;/models",
    "/v1/models/demo",
]


@pytest.mark.parametrize("path", AROUND_THE_KEY)
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
async def test_no_way_around_the_key(start_router, fake, raw, path, method):
    """However the path is written, nothing under /v1 is shown or asked without a key."""
    router = await start_router([{"url": fake.url, "models": ["demo"]}], auth={"keys": ["one"]})
    client = await raw(router)
    asked = post(ASK, path.encode(), headers=b"connection: close\r\n")
    client.send(asked.replace(b"POST", method.encode(), 1))
    data = await client.rest()
    assert data.split()[1] in {b"401", b"404", b"400", b"405"}
    assert b'"demo"' not in data
    assert fake.stats.begun == 0


# Bodies


async def test_a_compressed_body_is_unpacked(router, raw, fake):
    """The engine gets it plain, and isn't told otherwise."""
    client = await raw(router)
    plain = json.dumps(ASK).encode()
    client.send(post(gzip.compress(plain), headers=b"content-encoding: gzip\r\n"))
    assert (await client.answer()).status == 200
    assert fake.stats.last.body == plain.decode()
    assert not fake.stats.last.header("content-encoding")


@pytest.mark.parametrize("path", [b"/v1/messages", b"/api/show"])
@pytest.mark.parametrize(
    "body", [b"notgzip", gzip.compress(b"{}")[:-4], gzip.compress(b"{}") + b"x"], ids=["other", "cut", "more"]
)
async def test_a_body_that_is_not_compressed_as_it_says(router, raw, caplog, path, body):
    """Is the client's fault alone: it is refused in one line, and nothing else is logged."""
    client = await raw(router)
    with capture_logs() as logged:
        client.send(post(body, path, headers=b"content-encoding: gzip\r\nconnection: close\r\n"))
        answer = await client.answer()
        assert await client.rest() == b""
    assert answer.status == 400
    told = "The request's body isn't gzip, as its content-encoding says."
    assert told.encode() in answer.body
    events = [line["event"] for line in logged if line["event"] != "backend is up"]
    assert (caplog.records, events) == ([], [f"refused: {told}"])


async def test_a_bad_chunk_is_not_logged(router, raw, lane, caplog):
    """It is the client's fault alone, and the client is told."""
    client = await raw(router)
    trailer = b"trailer: x\r\n" if lane == "slow" else b""
    lines = b"host: localhost\r\ntransfer-encoding: chunked\r\n" + trailer
    client.send(b"POST /v1/messages HTTP/1.1\r\n%s\r\n2\r\n{" % lines)
    await eventually(lambda: lane_of_connections(router) == ((1, 0) if lane == "fast" else (0, 1)))
    client.send(b"zz\r\n\r\n")
    assert (await client.answer()).status == 400
    assert caplog.records == []


@pytest.mark.parametrize(
    ("path", "form"), [(b"/v1/messages", b'{"type":"error",'), (b"/api/chat", b'{"error":"'), (CHAT, b'{"error":{')]
)
@pytest.mark.parametrize(
    "lines",
    [
        b"",
        b"host: a\r\nx y: 1",
        b"host: a\r\ncontent-length: 1\r\ncontent-length: 2",
        b"host: a\r\nx: " + b"y" * 40_000,
    ],
    ids=["no host", "a bad name", "two lengths", "too long"],
)
async def test_a_head_that_can_not_be_read_is_refused_in_its_paths_form(router, raw, path, form, lines):
    """Whoever finds the mistake, one of ours or aiohttp."""
    client = await raw(router)
    client.send(b"\r\nPOST %s?x=1 HTTP/1.1\r\n%s\r\n\r\n{}" % (path, lines))
    answer = await client.answer()
    assert answer.status == 400
    assert answer.body.startswith(form)
    assert answer.headers[b"connection"] == b"close"


async def test_a_decompression_bomb_is_bounded(router, raw):
    """The bound is of the unpacked body."""
    client = await raw(router)
    client.send(post(gzip.compress(b'{"model":"demo"}' + b" " * 50_000_000), headers=b"content-encoding: gzip\r\n"))
    assert (await client.answer()).status == 413


async def test_expect_with_a_body_too_large(router, raw):
    """The answer is 413, not an invitation to send it."""
    client = await raw(router)
    client.send(
        b"POST %s HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999\r\nexpect: 100-continue\r\n\r\n" % CHAT
    )
    assert (await client.answer()).status == 413


async def test_expect_is_answered_first(router, raw):
    """100 comes before the body has been sent, and then the answer."""
    client = await raw(router)
    head, body = post(ASK, headers=b"expect: 100-continue\r\n").split(b"\r\n\r\n")
    client.send(head + b"\r\n\r\n")
    assert (await client.answer()).status == 100
    client.send(body)
    assert (await client.answer()).body == expected_body(0, 8)


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket", b"TLS/1.0"])
async def test_an_upgrade_is_not_taken_up(router, raw, lane, protocol):
    """java.net.http.HttpClient asks for h2c with every first request: it is answered over HTTP/1.1."""
    wanted = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: %s\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n" % protocol
    client = await raw(router)
    client.send(post(ASK, headers=wanted, lane=lane))
    assert (await client.answer()).body == expected_body(0, 8)


async def test_a_model_name_of_megabytes(router, raw, lane):
    """It isn't said back."""
    client = await raw(router)
    client.send(post({"model": "x" * 5_000_000}, lane=lane))
    answer = await client.answer()
    assert answer.status == 400
    assert len(answer.body) < 10_000


async def test_a_wildcard_does_not_backtrack(router, raw):
    """A name that nearly matches in a million ways is decided at once (a backtracking match would take hours)."""
    client = await raw(router)
    client.send(post({"model": "a-" * 250}))
    assert (await client.answer()).status == 404


FORGERIES = {
    "model": post({"model": "x\n12:00:00 all is well \x1b]0;owned\x07\x1b[2J"}),
    "path": post({"model": "none"}, b"/v1/a%0a12:00:00%20forged%1b[31m"),
    "slow path": post({"model": "none"}, b"/v1/a%0a12:00:00%20forged%1b[31m", lane="slow"),
    "id": post({"model": "none"}, headers=b"x-request-id: a\x1b[31m\r\n"),
    "tab in id": post({"model": "none"}, headers=b"x-request-id: a\tb\r\n"),
}


async def test_nobody_steers_the_terminal_or_forges_a_line(tmp_path):
    """Each request is one line of access.log, and none holds a control character."""
    async with FakeEngine() as fake:
        words = f"server: {{port: 0}}\nbackends: [{{url: '{fake.url}', models: [demo]}}]\n"
        async with RunningRouter(tmp_path, words) as router:
            await router.ready()
            for request in FORGERIES.values():
                client = await connect(router.url)
                client.send(request)
                await client.answer()
                client.leave()
            router.signal()
            assert await router.exit_code() == 0
    logged = [(tmp_path / "logs" / name).read_text() for name in ("access.log", "router.log")]
    for text in (router.said, *logged):
        assert all(character.isprintable() for character in text.replace("\n", ""))
        assert not any(line.startswith("12:00:00") for line in text.splitlines())
    assert len(logged[0].splitlines()) <= len(FORGERIES)


# HTTP/1.0


async def test_http10_gets_a_whole_answer(router, raw):
    """Without chunks, which it doesn't know; the connection's end is the answer's."""
    client = await raw(router)
    client.send(post({**ASK, "fake": {"framing": "chunked"}}, version=b"1.0"))
    head, _, body = (await client.rest()).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert body == expected_body(0, 8)


async def test_http10_sees_that_an_answer_broke_off(router, raw):
    """There is no framing to break: only a reset says so."""
    client = await raw(router)
    cut = {"framing": "chunked", "fault": "die", "fault_after": 1, "events": 50}
    client.send(post({**ASK, "fake": cut}, version=b"1.0"))
    with pytest.raises(ConnectionResetError):
        await client.rest()


# Too many clients


async def test_connections_are_bounded(start_router, fake, raw, lane):
    """One more than may be is told so and closed; it costs nobody else anything, and who leaves makes room."""
    router = await start_router([{"url": fake.url, "models": ["demo"]}], limits={"max_connections": 2})
    first, second, third = [await raw(router) for _ in range(3)]
    answer = await third.answer()
    assert (answer.status, answer.headers[b"retry-after"]) == (503, b"1")
    assert b"limits.max_connections" in answer.body
    for client in (first, second):
        client.send(post(ASK, lane=lane))
        assert (await client.answer()).status == 200
    second.leave()
    third.leave()

    async def admitted() -> bool:
        client = await raw(router)
        client.send(post(ASK, lane=lane))
        answer: Answer = await client.answer()
        return answer.status == 200

    async with asyncio.timeout(10):
        while not await admitted():
            pass


async def test_health_is_answered_when_there_is_no_room(start_router, fake, raw):
    """However many more come: the oldest of them makes way. Who is in is served."""
    router = await start_router([{"url": fake.url, "models": ["demo"]}], limits={"max_connections": 1})
    client = await raw(router)
    client.send(post(ASK))
    assert (await client.answer()).status == 200
    others = [await raw(router) for _ in range(60)]
    for _ in range(3):
        asking = await raw(router)
        asking.send(GET)
        answer = await asking.answer()
        assert (answer.status, answer.headers[b"connection"]) == (200, b"close")
        assert await asking.rest() == b""
    client.send(post(ASK))
    assert (await client.answer()).status == 200
    assert all([(await other.cut()).startswith(b"HTTP/1.1 503 ") for other in others])
    await eventually(lambda: lane_of_connections(router) == (1, 0))


# Clients that leave


async def test_many_clients_that_leave(router, raw, lane):
    """Half of 300 streams are left in the middle; the others are whole, and all is counted back."""

    async def one(number: int) -> bool:
        client = await raw(router)
        client.send(post({**ASK, "stream": True, "fake": {"events": 20, "delay": 0.01}}, lane=lane))
        if number % 2:
            await client.reader.readuntil(b"data: ")
            client.leave()
            return True
        answer: Answer = await client.answer()
        return answer.body.endswith(b"data: [DONE]\n\n")

    assert all(await asyncio.gather(*(one(number) for number in range(300))))
    await eventually(lambda: nothing_left(router))
    pool = router.plane.pool(router.plane.backends["b"])
    assert len(pool._all) == len(pool._idle) <= MAX_IDLE


async def test_a_client_that_leaves_in_the_turn_of_the_answer(start_router, engine, raw, lane):
    """No callback raises, and the engine isn't blamed."""
    troubles: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: troubles.append(context))
    engines: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            if head.startswith(b"GET"):
                writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
            else:
                engines.put_nowait(writer)

    router = await start_router([{"url": await engine(handle), "name": "b", "models": ["demo"]}])
    for _ in range(50):
        client = await raw(router)
        client.send(post(ASK, lane=lane))
        answering = await engines.get()
        client.leave()
        answering.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        await eventually(lambda: nothing_left(router))
    assert router.plane.backends["b"].health.against == 0
    assert troubles == []


async def test_kill_while_clients_leave(start_router, fake, raw, lane):
    """A client that has just left doesn't keep the rest from ending."""
    router = await start_router([{"url": fake.url, "models": ["demo"]}])
    clients = [await raw(router) for _ in range(3)]
    for client in clients:
        client.send(post({**ASK, "fake": {"fault": "hang", "fault_after": 0}}, lane=lane))
    await eventually(lambda: fake.stats.in_flight == 3)
    clients[0].leave()
    await router.kill()
    assert nothing_left(router)
    assert [(await client.answer()).status for client in clients[1:]] == [503, 503]
    await eventually(lambda: fake.stats.aborted == 3)


async def test_a_client_that_leaves_in_the_middle_of_its_body(router, raw, fake, lane):
    """Nobody is asked, and nothing is left of it."""
    client = await raw(router)
    client.send(post(ASK, lane=lane)[:-4])
    await eventually(lambda: sum(lane_of_connections(router)) == 1)
    client.leave()
    await eventually(lambda: lane_of_connections(router) == (0, 0))
    assert nothing_left(router)
    assert fake.stats.begun == 0


# Clients that don't get on


@pytest.fixture
def impatient(monkeypatch):
    """Bring every limit of the client's side within a test's reach."""
    for name in ("HEAD_TIMEOUT", "BODY_TIMEOUT", "IDLE_TIMEOUT", "LINGER_TIMEOUT"):
        monkeypatch.setattr(downstream, name, 0.1)
    monkeypatch.setattr(uploads, "BODY_TIMEOUT", 0.1)
    monkeypatch.setattr(lane_module, "SWEEP_EVERY", 0.02)
    monkeypatch.setattr(slow_connection, "HEAD_TIMEOUT", 0.1)
    monkeypatch.setattr(slow_connection, "LINGER_TIMEOUT", 0.1)


GET = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"
SLOW_SENDERS = {
    "nothing": (b"", b""),
    "half a line": (b"POST /v1/ch", b" 408 "),
    "half a head": (b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n", b" 408 "),
    "a head alone": (post(ASK).partition(b"\r\n\r\n")[0] + b"\r\n\r\n", b" 408 "),
    "half a body": (post(ASK)[:-4], b" 408 "),
}


@pytest.mark.parametrize(("sent", "told"), SLOW_SENDERS.values(), ids=SLOW_SENDERS)
@pytest.mark.usefixtures("impatient")
async def test_who_sends_nothing_more_is_cut(router, raw, sent, told):
    """A connection isn't held for a request that doesn't come."""
    client = await raw(router)
    client.send(sent)
    assert told in (await client.cut()).partition(b"\r\n")[0]
    await eventually(lambda: lane_of_connections(router) == (0, 0))


@asynccontextmanager
async def dripping(client, data):
    """Have a client send these bytes again and again."""

    async def drip() -> None:
        while True:
            client.send(data)
            await asyncio.sleep(0.01)

    task = asyncio.create_task(drip())
    yield
    task.cancel()


@pytest.mark.usefixtures("impatient")
async def test_a_head_that_drips_is_cut(router, raw, lane):
    """A byte now and then buys no time: the head has its limit as a whole, and its sender is told."""
    client = await raw(router)
    if lane == "slow":
        client.send(GET)
        assert (await client.answer()).status == 200
    client.send(b"POST /v1/chat/completions HTTP/1.1\r\nx: ")
    async with dripping(client, b"a"):
        answer = await client.answer()
        assert (answer.status, answer.headers[b"connection"]) == (408, b"close")
        assert b"The request's head didn't come within 0.1 s." in answer.body
        await client.cut()
    await eventually(lambda: lane_of_connections(router) == (0, 0))


async def test_a_head_on_the_slow_lane_that_ends_in_time(router, raw, monkeypatch):
    """However it is cut: its limit ends with it."""
    monkeypatch.setattr(slow_connection, "HEAD_TIMEOUT", 2.0)
    client = await raw(router)
    client.send(GET)
    assert (await client.answer()).status == 200
    begun = asyncio.get_running_loop().time()
    while asyncio.get_running_loop().time() < begun + 2.5:
        client.send(GET[:20])
        await client.sent()
        await asyncio.sleep(0.2)
        client.send(GET[20:])
        assert (await client.answer()).status == 200


BEFORE = {
    "fast": post(ASK),
    "slow": post(ASK, lane="slow"),
    "slow, with a length": post(ASK, headers=b"content-encoding: identity\r\n"),
    "get": GET,
}


@pytest.mark.parametrize("garbage", [b"garbage\r\n\r\n", b"\x00\x01\x02\r\n\r\n", b"GET\r\n\r\n"])
@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE)
@pytest.mark.parametrize("cut", [False, True])
async def test_garbage_behind_a_request_takes_nothing_from_it(router, raw, before, garbage, cut):
    """The request has its answer, and then the garbage has its own."""
    client = await raw(router)
    if cut:
        client.send(before[:-3])
        await client.sent()
        client.send(before[-3:] + garbage)
    else:
        client.send(before + garbage)
    assert (await client.answer()).status == 200
    assert (await client.answer()).status == 400
    assert await client.rest() == b""


@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE)
@pytest.mark.usefixtures("impatient")
async def test_half_a_head_behind_a_request_is_cut(router, raw, before):
    """It isn't taken for an idle connection."""
    client = await raw(router)
    client.send(before + b"GET / HT")
    assert (await client.answer()).status == 200
    assert (await client.answer()).status == 408
    assert await client.rest() == b""


async def test_many_requests_at_once_on_the_slow_lane(router, raw):
    """Each is answered, in its turn."""
    client = await raw(router)
    client.send((GET + post(ASK, lane="slow")) * 60 + GET)
    for _ in range(60):
        assert (await client.answer()).body == b'{"status":"ok"}'
        assert (await client.answer()).body == expected_body(0, 8)
    assert (await client.answer()).status == 200


def in_chunks_of(size, data):
    """Frame a body in chunks of this size."""
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join([b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces]) + b"0\r\n\r\n"


@pytest.mark.parametrize(("size", "status"), [(1, 400), (10, 400), (400, 200)])
async def test_crumbs_on_the_slow_lane_are_bounded(router, raw, size, status):
    """There, each chunk takes microseconds. It is said what is wrong; larger chunks are as good as any."""
    body = json.dumps({**ASK, "user": "\r\n" + "x" * 300_000}).encode()
    head = post(ASK, lane="slow").partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    client = await raw(router)
    client.send(head + in_chunks_of(size, body))
    told = await client.answer()
    assert told.status == status
    if status == 400:
        assert b"chunks of a few bytes" in told.body
        client.leave()
    await eventually(lambda: nothing_left(router))


async def test_lines_in_a_body_are_no_crumbs(router, raw):
    """A form of a file with short lines, as tables have them, in ordinary chunks."""
    file = b"--x\r\ncontent-disposition: form-data; name=model\r\n\r\ndemo\r\n--x\r\n" + (
        b'content-disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
        + b"1,2\r\n" * 60_000
        + b"\r\n--x--\r\n"
    )
    head = post(ASK, lane="slow").partition(b"\r\n\r\n")[0] + b"\r\ncontent-encoding: identity\r\n\r\n"
    head = re.sub(rb"content-type: [^\r]*", b"content-type: multipart/form-data; boundary=x", head, flags=re.IGNORECASE)
    client = await raw(router)
    client.send(head + in_chunks_of(4000, file))
    assert b"chunks of a few bytes" not in (await client.answer()).body


async def test_crumbs_are_counted_for_each_request(router, raw):
    """Not for the connection."""
    body = json.dumps({**ASK, "user": "x" * 3000}).encode()
    head = post(ASK, lane="slow").partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    client = await raw(router)
    for _ in range(4):
        client.send(head + in_chunks_of(1, body))
        assert (await client.answer()).status == 200


@pytest.mark.parametrize("data", [b"\r\n", b"\r\n\r\n", b"\n", b"\r"])
@pytest.mark.usefixtures("impatient")
async def test_empty_lines_buy_no_time(router, raw, data, lane, monkeypatch):
    """They are no request, nor the beginning of one."""
    monkeypatch.setattr(slow_connection, "IDLE_TIMEOUT", 0.1)
    client = await raw(router)
    if lane == "slow":
        client.send(GET)
        assert (await client.answer()).status == 200
    async with dripping(client, data):
        await client.cut()
    await eventually(lambda: lane_of_connections(router) == (0, 0))


async def test_empty_lines_before_a_request(router, raw):
    """They are ignored, however many, and however they are cut."""
    client = await raw(router)
    for before in (b"\r\n", b"\r\n\r\n\r\n", b"\r"):
        client.send(before)
        await client.sent()
        await asyncio.sleep(0.01)
        client.send((b"\n" if before == b"\r" else b"") + post(ASK))
        assert (await client.answer()).status == 200


async def test_a_client_that_speaks_tls_is_told_at_once(router, raw):
    """Once in the log, too: most clients show but their handshake's error."""
    with capture_logs() as logged:
        for _ in range(2):
            client = await raw(router)
            client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(128, 160)))
            answer = await client.answer()
            assert answer.status == 400
            assert b"begin the URL with http://" in answer.body
            assert await client.rest() == b""
    assert [line["event"] for line in logged if "plain HTTP" in line["event"]] == [f"refused: {NO_TLS}"]


@pytest.mark.usefixtures("impatient")
async def test_a_chunked_body_that_does_not_come_is_408(router, raw, fake):
    """The slow lane bounds it too, and says so."""
    client = await raw(router)
    client.send(post(ASK, lane="slow")[:-4])
    answer = await client.answer()
    assert answer.status == 408
    assert b"didn't come" in answer.body
    assert fake.stats.begun == 0


@pytest.mark.usefixtures("impatient")
async def test_who_was_refused_and_does_not_close_is_cut(router, raw):
    """Its answer comes whole; then what it still sends is dropped for so long, and no longer."""
    client = await raw(router)
    client.send(b"POST %s HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999\r\n\r\n" % CHAT)
    assert (await client.answer()).status == 413
    client.send(b"x" * 100_000)
    await eventually(lambda: lane_of_connections(router) == (0, 0))


async def test_who_gets_on_is_not_cut(router, raw):
    """The limits are of standing still: told by their clock alone, for each state."""
    client = await raw(router)
    await eventually(lambda: lane_of_connections(router) == (1, 0))
    (connection,) = router.listener._lane.connections
    assert not connection.overdue(connection._since + downstream.IDLE_TIMEOUT)
    request = post({**ASK, "x": "y" * 100_000})
    head, _, body = request.partition(b"\r\n\r\n")
    client.send(head + b"\r\n\r\n")
    await eventually(lambda: connection._incoming is not None)
    assert not connection.overdue(connection._since + uploads.BODY_TIMEOUT)
    assert connection.overdue(connection._since + uploads.BODY_TIMEOUT + 1)
    client.send(body[:-50_000])
    await eventually(lambda: connection._incoming._missing == 50_000)
    (upload,) = router.rules.uploads.under_way
    before = upload.moved_at
    assert not connection.overdue(before + uploads.BODY_TIMEOUT + 1)
    assert not upload.overdue(before + uploads.BODY_TIMEOUT)
    assert upload.overdue(before + uploads.BODY_TIMEOUT + 1)
    client.send(body[-50_000:-10_000])
    await eventually(lambda: upload.moved_at > before)
    client.send(body[-10_000:])
    assert (await client.answer()).status == 200
    assert (router.rules.uploads.held, router.rules.uploads.under_way) == (0, set())


TRANSCRIPTIONS = b"/v1/audio/transcriptions"
A_FORM = b"content-type: multipart/form-data; boundary=b\r\n"


def a_form(size):
    """A file of so many bytes, and the model behind it."""
    field = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    return field % (b"file", b"y" * size) + field % (b"model", b"demo") + b"--b--\r\n"


@pytest.mark.parametrize("form", [False, True])
@pytest.mark.usefixtures("impatient")
async def test_a_body_that_drips_is_cut(router, raw, fake, lane, form):
    """A byte now and then buys no time."""
    client = await raw(router)
    whole = a_form(100_000) if form else {**ASK, "x": "y" * 100_000}
    request = post(whole, TRANSCRIPTIONS, A_FORM, lane=lane) if form else post(whole, lane=lane)
    client.send(request[:-90_000])
    async with dripping(client, b"y"):
        answer = await client.answer()
        assert answer.status == 408
        assert b"at least 32 KiB each 0.1 s" in answer.body
        await client.cut()
    await eventually(lambda: lane_of_connections(router) == (0, 0))
    assert (router.rules.uploads.held, fake.stats.begun) == (0, 0)


CHUNKED = b"POST %s HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n" % CHAT


async def test_a_body_in_chunks_is_read_on_the_fast_lane(router, raw, fake):
    """However it is cut, and with a request behind it."""
    request = CHUNKED + b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in (b'{"model"', b":", b'"demo"}'))
    request += b"0\r\nx: y\r\n\r\n"
    client = await raw(router)
    client.send(request + request)
    assert [(await client.answer()).status for _ in range(2)] == [200, 200]
    for place in range(0, len(request), 7):
        client.send(request[:place])
        await client.sent()
        await asyncio.sleep(0.002)
        client.send(request[place:])
        assert (await client.answer()).status == 200
    assert lane_of_connections(router) == (1, 0)
    assert fake.stats.last.body == '{"model":"demo"}'
    assert (router.rules.uploads.held, router.rules.uploads.under_way) == (0, set())


@pytest.mark.parametrize(
    ("rest", "status"), [(b"zz\r\n", 400), (b"700000\r\n" + b"x" * 0x700000, 413), (b"5\r\nhello!", 400)]
)
async def test_a_body_in_chunks_that_is_refused(router, raw, fake, rest, status):
    """It is no better in pieces; what was held of it is free."""
    client = await raw(router)
    client.send(CHUNKED + b'10\r\n{"model":"demo",\r\n')
    client.send(rest)
    assert (await client.answer()).status == status
    assert (router.rules.uploads.held, router.rules.uploads.under_way) == (0, set())
    assert fake.stats.begun == 0


def holds(held, least):
    """Whether unfinished bodies hold more than this."""
    return held.held > least


@pytest.mark.parametrize("form", [False, True])
async def test_bodies_that_are_not_whole_have_a_budget(start_router, fake, raw, lane, form):
    """Who stands still makes room for who gets on, and is told; what was held is free at once."""
    limits = {"max_body": "1MiB", "max_uploads": "4MiB"}
    router = await start_router([{"url": fake.url, "models": ["demo"]}], limits=limits)
    held = router.rules.uploads
    whole = a_form(1_000_000) if form else {**ASK, "x": "y" * 1_000_000}
    request = post(whole, TRANSCRIPTIONS, A_FORM, lane=lane) if form else post(whole, lane=lane)
    clients = []
    for number in range(1, 5):
        client = await raw(router)
        client.send(request[:-1000])
        await eventually(partial(holds, held, 990_000 * number))
        clients.append(client)
    last = await raw(router)
    last.send(request)
    assert (await last.answer()).status == 200
    refused = await clients[0].answer()
    assert (refused.status, refused.headers[b"retry-after"]) == (503, b"2")
    assert b"limits.max_uploads" in refused.body
    assert held.held <= 3_000_000
    clients[3].send(request[-1000:])
    assert (await clients[3].answer()).status == 200
    for client in clients:
        client.leave()
    await eventually(lambda: (held.held, held.under_way) == (0, set()))


async def test_an_idle_connection_of_the_slow_lane_is_not_kept_for_an_hour(router, raw):
    """It is closed as soon as one of the fast lane would be."""
    client = await raw(router)
    client.send(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
    assert (await client.answer()).status == 200
    (connection,) = router.listener._runner.server.connections
    assert connection.keepalive_timeout <= downstream.IDLE_TIMEOUT
