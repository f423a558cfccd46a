"""The forms in which clients name an API and a model, and what else of their requests both lanes take alike."""

import asyncio
import json

import aiohttp
import pytest
from yarl import URL

BODY = b'{"model":"demo","messages":[{"role":"user","content":"Hi"}]}'
ANSWER = b'{"id":"x","choices":[]}'


class Seen:
    """An engine that keeps what it is sent: the first line, the headers, the body."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str], bytes]] = []

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer every request."""
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *lines = head.rstrip("\r\n").split("\r\n")
            headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in lines)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            if line.startswith("POST"):
                self.asked.append((line.split(" ")[1], headers, body))
            length = len(ANSWER)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % length)
            writer.write(ANSWER)


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
async def router(start_router, engine, seen):
    return await start_router([{"url": await engine(seen.handle), "name": "b", "models": {"demo": "known"}}])


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/chat/completions", "/v1/chat/completions"),
        ("/api/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/v1/chat/completions", "/v1/chat/completions"),
        ("/v1//chat/completions/", "/v1/chat/completions"),
        ("/openai/v1/chat/completions", "/v1/chat/completions"),
        ("/infill", "/infill"),
        ("/rerank?x=1", "/rerank?x=1"),
        ("/v2/rerank", "/v2/rerank"),
    ],
)
async def test_forms_of_a_path(router, seen, asking, path, target):
    """The engine is asked at the one that it knows, in both lanes."""
    async with asking.post(router.url + path, data=BODY) as answer:
        assert (answer.status, await answer.read()) == (200, ANSWER)
    assert seen.asked[0][0] == target
    assert json.loads(seen.asked[0][2])["model"] == "known"


@pytest.mark.parametrize("path", ["/v1/models/", "/v1//models", "//v1/models", "/models", "/api/v1/models"])
async def test_forms_of_the_list(router, session, path):
    """All of them are answered; a host's name in front is checked as always."""
    async with session.get(router.url + path) as answer:
        assert [each["id"] for each in (await answer.json())["data"]] == ["demo"]
    async with session.get(router.url + path, headers={"host": "evil.test"}) as answer:
        assert answer.status == 403


async def test_a_slash_too_many_opens_nothing(start_router, session, fake):
    """What needs a key in one form of its path needs it in all."""
    keys = {"keys": [{"name": "a", "key": "k" * 20}], "admin_keys": ["a" * 20]}
    router = await start_router([{"url": fake.url, "models": ["demo"]}], auth=keys)
    for path in ("/admin/models", "//admin/models", "/admin//models/", "/models", "/health/../v1/models"):
        async with session.get(URL(router.url + path, encoded=True)) as answer:
            assert answer.status == 401
        async with session.get(URL(f"{router.url}{path}", encoded=True), headers={"api-key": "x"}) as answer:
            assert answer.status == 401


async def test_azures_path_and_key(start_router, engine, seen, asking):
    """The path names the model, over what the body says; the key is in a header of its own."""
    keys = {"keys": [{"name": "a", "key": "k" * 20}]}
    router = await start_router([{"url": await engine(seen.handle), "name": "b", "models": ["demo"]}], auth=keys)
    path = "/openai/deployments/demo/chat/completions?api-version=2024-10-21"
    for body in (b'{"messages":[]}', b'{"model":"gpt-4o","messages":[]}'):
        async with asking.post(router.url + path, data=body, headers={"api-key": "k" * 20}) as answer:
            assert answer.status == 200
        target, headers, sent = seen.asked.pop()
        assert (target, json.loads(sent)) == ("/v1/chat/completions", {"model": "demo", "messages": []})
        assert "api-key" not in headers
    async with asking.post(router.url + path, data=BODY, headers={"api-key": "no"}) as answer:
        assert answer.status == 401


@pytest.mark.parametrize("body", [b'{"messages":[]}', b'\xef\xbb\xbf{"messages":[]}', b'\xef\xbb\xbf{"model":"demo"}'])
async def test_no_model_and_a_byte_order_mark(router, seen, asking, body):
    """Where there is one model, none need be named; a mark at the beginning is passed over, as engines do."""
    async with asking.post(router.url + "/v1/chat/completions", data=body) as answer:
        assert answer.status == 200
    assert json.loads(seen.asked[0][2])["model"] == "known"


@pytest.mark.parametrize("name", ["demo", None])
async def test_a_form(router, seen, session, name):
    """Audio is sent as a form; its model is a field, which gets the engine's name for it. The file passes as it is."""
    sound = bytes(range(256)) * 400
    form = aiohttp.FormData()
    form.add_field("file", sound, filename="a.wav", content_type="audio/wav")
    if name:
        form.add_field("model", name)
    async with session.post(router.url + "/v1/audio/transcriptions", data=form) as answer:
        assert (answer.status, await answer.read()) == (200, ANSWER)
    target, headers, sent = seen.asked[0]
    assert target == "/v1/audio/transcriptions"
    assert headers["content-type"].startswith("multipart/form-data; boundary=")
    assert sound in sent
    assert b'name="model"\r\n' in sent
    assert b"\r\n\r\nknown\r\n" in sent
    assert b"demo" not in sent


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (b"x-a: %s\r\n" % (b"y" * 20_000), 200),
        (b"".join(b"x-%d: y\r\n" % number for number in range(200)), 200),
        (b"".join(b"x-%d: y\r\n" % number for number in range(300)), 400),
    ],
)
async def test_heads_in_both_lanes(router, raw, lines, status, slow):
    """The lanes take as many headers, and as long ones."""
    client = await raw(router)
    client.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n" + lines)
    client.send(b"expect: 100-continue\r\n" if slow else b"")
    client.send(b"content-length: %d\r\n\r\n%s" % (len(BODY), BODY))
    head = await client.reader.readuntil(b"\r\n\r\n")
    if slow and status == 200:
        assert head.startswith(b"HTTP/1.1 100 ")
        head = await client.reader.readuntil(b"\r\n\r\n")
    assert int(head.split(b" ")[1]) == status


async def test_an_offered_upgrade_is_declined(router, raw, seen):
    """What is pipelined behind it is answered, or the connection is closed: it isn't left waiting."""
    offer = b"connection: upgrade\r\nupgrade: h2c\r\n"
    client = await raw(router)
    ask = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n%scontent-length: %d\r\n\r\n" + BODY
    client.send(ask % (offer, len(BODY)) + ask % (b"", len(BODY)))
    for _ in range(2):
        assert (await client.reader.readuntil(ANSWER)).startswith(b"HTTP/1.1 200 ")
    assert len(seen.asked) == 2
    client.send(b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n" + offer + b"\r\n")
    assert b"\r\nconnection: close\r\n" in (await client.reader.readuntil(b"\r\n\r\n")).lower()


@pytest.mark.parametrize("coding", ["x-unknown", "zstd", "br, gzip"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/api/chat", "/api/show"])
async def test_a_compression_that_is_not_known(router, session, seen, path, coding):
    """The error names it, in the form of the path's API; it isn't that the body is no JSON."""
    async with session.post(router.url + path, data=BODY, headers={"content-encoding": coding}) as answer:
        assert answer.status == 415
        error = (await answer.json())["error"]
    assert f"compressed as {coding}, " in (error if path.startswith("/api/") else error["message"])
    assert not seen.asked
