"""Large forms that are sent on as they come: an engine gets the first bytes before the client has sent the last."""

import asyncio
from contextlib import suppress

import pytest

from router.core.outline import LARGE
from router.proxy import downstream, uploads
from router.proxy import lane as lane_module
from tests.integration.raw import ASK, connect, lane_of_connections, nothing_left, post
from tests.running import eventually

PATH = b"/v1/audio/transcriptions"
HEADERS = b"content-type: multipart/form-data; boundary=b\r\n"
FIELD = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
FILE = FIELD % (b"file", b"RIFF, and a line of sound\r\n--" * (LARGE // 7))
GOOD = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 14\r\n\r\n{"text": "Hi"}'
TOO_LARGE = b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\n{}"


def form(model: bytes, *, behind: bool = False) -> bytes:
    """A file of some megabytes, and the model before or behind it."""
    parts = (FILE, FIELD % (b"model", model)) if behind else (FIELD % (b"model", model), FILE)
    return b"".join(parts) + b"--b--\r\n"


class Ear:
    """An engine that keeps what comes of each form as it comes: `bodies`, and the connections that `left`.

    With `breaks_at`, it closes the connection once it has so many bytes; with `refuses_at`, it answers then.
    """

    def __init__(self, *, breaks_at: int = 0, refuses_at: int = 0) -> None:
        self.bodies: list[bytes] = []
        self.left = 0
        self._breaks_at = breaks_at
        self._refuses_at = refuses_at

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Play one connection."""
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if head.startswith(b"post"):
                await self._listen(reader, int(head.partition(b"content-length: ")[2].partition(b"\r")[0]))
            writer.write(TOO_LARGE if head.startswith(b"post") and self._refuses_at else GOOD)

    async def _listen(self, reader: asyncio.StreamReader, length: int) -> None:
        place = len(self.bodies)
        self.bodies.append(b"")
        while len(self.bodies[place]) < (self._refuses_at or length):
            piece = await reader.read(65536)
            self.bodies[place] += piece
            if not piece:
                self.left += 1
            if not piece or 0 < self._breaks_at <= len(self.bodies[place]):
                raise ConnectionResetError


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """However slowly a busy machine sends, the rest is expected soon."""
    monkeypatch.setattr(uploads, "SOON", 1000.0)


@pytest.fixture
def ear():
    return Ear()


async def started(start_router, engine, *ears, name="demo"):
    """Start a router before these engines, which it asks in turn."""
    backends = [
        {"url": await engine(ear.handle), "name": f"b{n}", "models": {"demo": name}} for n, ear in enumerate(ears)
    ]
    return await start_router(backends, balance={"policy": "round_robin"}, limits={"retries": 2})


def parted(body):
    """A request, but for its last megabyte; and that."""
    request = post(body, PATH, HEADERS)
    return request[:-LARGE], request[-LARGE:]


@pytest.mark.parametrize("name", ["demo", "real/name"])
async def test_a_form_is_sent_on_as_it_comes(start_router, engine, raw, ear, name):
    """Only the model's name is written anew. The connections go on."""
    router = await started(start_router, engine, ear, name=name)
    client = await raw(router)
    for _ in range(2):
        first, rest = parted(form(b"demo"))
        client.send(first)
        await eventually(lambda: bool(ear.bodies) and len(ear.bodies[-1]) > LARGE)
        assert router.rules.uploads.held
        client.send(rest + post(ASK))
        assert (await client.answer()).body == b'{"text": "Hi"}'
        assert ear.bodies[0] == form(name.encode())
        assert (await client.answer()).status == 200
        ear.bodies.clear()
    await eventually(lambda: nothing_left(router) and router.rules.uploads.held == 0)
    assert lane_of_connections(router) == (1, 0)


@pytest.mark.parametrize("slow", [False, True])
async def test_a_form_is_gathered_that_can_not_be_sent_on(start_router, engine, raw, ear, monkeypatch, slow):
    """Its model stands behind the file; or it comes so slowly that it would keep a place from others for long."""
    if slow:
        monkeypatch.setattr(uploads, "SOON", 0.0)
    router = await started(start_router, engine, ear)
    client = await raw(router)
    body = form(b"demo", behind=not slow)
    first, rest = parted(body)
    client.send(first)
    await eventually(lambda: router.rules.uploads.held > len(first) - LARGE)
    assert not ear.bodies
    client.send(rest)
    assert (await client.answer()).status == 200
    assert ear.bodies == [body]


async def test_a_form_is_sent_again_while_it_comes(start_router, engine, raw, ear):
    """What has come of it is kept until its answer begins."""
    broken = Ear(breaks_at=LARGE)
    router = await started(start_router, engine, broken, ear)
    client = await raw(router)
    for _ in range(2):
        first, rest = parted(form(b"demo"))
        client.send(first)
        await eventually(lambda: bool(ear.bodies) and len(ear.bodies[-1]) > LARGE)
        client.send(rest)
        assert (await client.answer()).body == b'{"text": "Hi"}'
        assert ear.bodies.pop() == form(b"demo")
    assert broken.bodies
    await eventually(lambda: nothing_left(router) and router.rules.uploads.held == 0)


async def test_an_answer_before_the_forms_end(start_router, engine, raw):
    """The client gets it, and the connection ends, as the rest of the form would be taken for a request."""
    router = await started(start_router, engine, Ear(refuses_at=LARGE))
    client = await raw(router)
    first, rest = parted(form(b"demo"))
    client.send(first)
    assert (await client.answer()).status == 413
    with suppress(ConnectionError):
        client.send(rest)
        await client.sent()
    await client.cut()
    await eventually(lambda: nothing_left(router) and lane_of_connections(router) == (0, 0))
    assert router.rules.uploads.held == 0


async def test_no_backend_has_the_model(start_router, engine, raw, ear):
    """That is told before the form's end."""
    router = await started(start_router, engine, ear)
    client = await raw(router)
    client.send(parted(form(b"other"))[0])
    assert (await client.answer()).status == 404
    assert not ear.bodies


async def test_a_client_that_leaves_in_the_middle(start_router, engine, ear):
    """Its engine is free at once."""
    router = await started(start_router, engine, ear)
    client = await connect(router.url)
    client.send(parted(form(b"demo"))[0])
    await eventually(lambda: bool(ear.bodies) and len(ear.bodies[-1]) > LARGE)
    client.leave()
    await eventually(lambda: nothing_left(router) and ear.left == 1)
    assert (router.rules.uploads.held, router.rules.uploads.under_way) == (0, set())


async def test_a_client_that_sends_no_more(start_router, engine, raw, ear, monkeypatch):
    """It is told so, its engine is free, and isn't blamed."""
    for module in (downstream, uploads):
        monkeypatch.setattr(module, "BODY_TIMEOUT", 0.5)
    monkeypatch.setattr(lane_module, "SWEEP_EVERY", 0.02)
    router = await started(start_router, engine, ear)
    client = await raw(router)
    client.send(parted(form(b"demo"))[0])
    assert (await client.answer()).status == 408
    await eventually(lambda: nothing_left(router) and ear.left == len(ear.bodies))
    assert router.rules.uploads.held == 0
    (backend,) = router.plane.backends.values()
    assert backend.health.usable


async def test_a_form_that_begins_fast_and_goes_on_slowly(start_router, engine, raw, ear, monkeypatch):
    """It keeps no place: the engine is free for others, and gets the form again once it is whole."""
    monkeypatch.setattr(uploads, "WHILE_SENT", 0.1)
    monkeypatch.setattr(lane_module, "SWEEP_EVERY", 0.02)
    router = await started(start_router, engine, ear)
    client = await raw(router)
    first, rest = parted(form(b"demo"))
    client.send(first)
    await eventually(lambda: bool(ear.bodies) and nothing_left(router))
    assert router.rules.uploads.held
    client.send(rest)
    assert (await client.answer()).body == b'{"text": "Hi"}'
    assert ear.bodies[-1] == form(b"demo")
    client.send(post(ASK))
    assert (await client.answer()).status == 200
    await eventually(lambda: nothing_left(router) and router.rules.uploads.held == 0)


@pytest.mark.parametrize("end", [b"\r\n" + FIELD % (b"model", b"other") + b"--b--", b""])
async def test_a_flaw_at_the_end_of_a_form(start_router, engine, raw, ear, end):
    """Is the client's, and no engine gets all of such a form."""
    router = await started(start_router, engine, ear)
    client = await raw(router)
    first, rest = parted(form(b"demo").removesuffix(b"--b--\r\n").removesuffix(b"\r\n") + end)
    client.send(first)
    await eventually(lambda: bool(ear.bodies) and len(ear.bodies[-1]) > LARGE)
    client.send(rest)
    answer = await client.answer()
    assert (answer.status, b"names two models" in answer.body) == (400, bool(end))
    await eventually(lambda: nothing_left(router) and ear.left == 1)
    assert router.rules.uploads.held == 0


async def test_forms_have_the_budget_of_all_bodies(start_router, engine, raw, ear):
    """Also while they are sent on: who sends slowly makes room."""
    router = await started(start_router, engine, ear)
    router.rules.uploads.budget = 5 * LARGE
    slow, fast = await raw(router), await raw(router)
    slow.send(parted(form(b"demo"))[0])
    await eventually(lambda: bool(ear.bodies) and len(ear.bodies[0]) > LARGE)
    fast.send(post(form(b"demo"), PATH, HEADERS))
    assert (await fast.answer()).status == 200
    assert (await slow.answer()).status == 503
    await eventually(lambda: nothing_left(router) and router.rules.uploads.held == 0)
