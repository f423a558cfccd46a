"""Bodies that are kept as an outline and what was cut out of it: engines get all of them, to the byte."""

import json

import pytest

from router.core.apis import MESSAGES, RESPONSES
from router.core.outline import LARGE
from tests.fakes.engine import FakeEngine, error, expected_body, reply
from tests.integration.raw import ASK, nothing_left, post
from tests.running import eventually

IMAGE = "data:image/png;base64," + "iVBORw0KGgo" * (LARGE // 5)
PARTS = [
    {"type": "text", "text": 'What "is" \\ this 😀?\n' * 40_000},
    {"type": "image_url", "image_url": {"url": IMAGE}},
]
BODY = {**ASK, "messages": [{"role": "user", "content": PARTS}], "user": "me"}


@pytest.mark.parametrize("escaped", [True, False])
async def test_an_engine_gets_a_large_body_as_it_is(start_router, fake, raw, lane, escaped):
    """To the byte, though its characters are escaped or not; and again on the same connections."""
    router = await start_router([{"url": fake.url, "name": "b", "models": ["demo"]}])
    client = await raw(router)
    sent = json.dumps(BODY, ensure_ascii=escaped).encode()
    for _ in range(2):
        client.send(post(sent, lane=lane))
        assert (await client.answer()).body == expected_body(0, 8)
        assert fake.stats.last.body == sent.decode()
    client.send(post(ASK, lane=lane))
    assert (await client.answer()).status == 200
    await eventually(lambda: nothing_left(router) and router.rules.uploads.held == 0)


async def test_a_large_body_is_changed_as_any_other(start_router, fake, raw, lane):
    """By a route's rules, and by the name that its backend has for the model."""
    backend = {"url": fake.url, "name": "b", "models": {"theirs": "real/name"}}
    routes = {"demo": {"to": "theirs", "set": {"user": "you"}, "strip": ["seed"]}}
    router = await start_router([backend], routes=routes)
    client = await raw(router)
    client.send(post({**BODY, "seed": 1}, lane=lane))
    assert (await client.answer()).status == 200
    assert json.loads(fake.stats.last.body) == {**BODY, "model": "real/name", "user": "you"}


async def test_many_short_texts_are_sent_as_they_are(router, fake, raw, lane):
    """They are cut out by runs."""
    client = await raw(router)
    sent = json.dumps({**ASK, "input": ["Lorem ipsum", 'said "no"\n', "漢字"] * 50_000}).encode()
    client.send(post(sent, lane=lane))
    assert (await client.answer()).status == 200
    assert fake.stats.last.body == sent.decode()


async def test_a_large_body_is_sent_again(start_router, fake, raw, lane):
    """To the next backend, whole."""
    async with FakeEngine(fault="status:503") as broken:
        backends = [{"url": each.url, "name": name, "models": ["demo"]} for name, each in (("a", broken), ("b", fake))]
        router = await start_router(backends, balance={"policy": "round_robin"})
        client = await raw(router)
        sent = json.dumps(BODY).encode()
        for _ in range(4):
            client.send(post(sent, lane=lane))
            assert (await client.answer()).body == expected_body(0, 8)
            assert fake.stats.last.body == sent.decode()
        assert broken.stats.begun


@pytest.mark.parametrize("name", ["demo", "real/name"])
async def test_a_large_form_is_sent_as_it_is(start_router, raw, lane, name):
    """To the byte, but for the model's name, though that stands behind the file; and again to the next backend."""
    path = "/v1/audio/transcriptions"
    async with FakeEngine(fault="status:503") as broken, FakeEngine(answers={path: reply(200, {"text": "Hi"})}) as fake:
        backends = [{"url": each.url, "name": each.url, "models": {"demo": name}} for each in (broken, fake)]
        router = await start_router(backends, balance={"policy": "round_robin"})
        client = await raw(router)
        for _ in range(4):
            client.send(
                post(form("demo"), path.encode(), b"content-type: multipart/form-data; boundary=b\r\n", lane=lane)
            )
            assert json.loads((await client.answer()).body) == {"text": "Hi"}
            assert fake.stats.last is not None
            assert fake.stats.last.body == form(name).decode()
        assert broken.stats.begun
    await eventually(lambda: nothing_left(router) and router.rules.uploads.held == 0)


def form(model: str) -> bytes:
    """A file of some megabytes, and the model behind it."""
    field = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    return (
        field % (b"file", b"RIFF, and a line of sound\r\n--" * (LARGE // 10))
        + field % (b"model", model.encode())
        + b"--b--\r\n"
    )


IMAGES: dict[str, dict[str, object]] = {
    MESSAGES: {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": IMAGE[22:]}},
    RESPONSES: {"type": "input_image", "image_url": IMAGE},
}


@pytest.mark.parametrize("path", [MESSAGES, RESPONSES, "/api/chat"])
async def test_a_large_body_is_translated(router, fake, raw, lane, path):
    """Its images get where they belong, to the byte."""
    fake.answers |= dict.fromkeys(IMAGES, error(404, "Not Found"))
    said = {"type": "input_text" if path == RESPONSES else "text", "text": "Look! " * 40_000}
    message: dict[str, object] = {"role": "user", "content": said["text"], "images": [IMAGE[22:]]}
    if path != "/api/chat":
        message = {"role": "user", "content": [said, IMAGES[path]]}
    body = {"model": "demo", "max_tokens": 9, "stream": False, "input" if path == RESPONSES else "messages": [message]}
    client = await raw(router)
    for _ in range(2):
        client.send(post(body, path.encode(), lane=lane))
        assert (await client.answer()).status == 200
        (got,) = json.loads(fake.stats.last.body)["messages"]
        assert got["content"][0] == {"type": "text", "text": said["text"]}
        assert got["content"][1]["image_url"]["url"] == IMAGE


async def test_a_large_body_of_no_json_is_refused(router, fake, raw, lane):
    """As a small one is."""
    client = await raw(router)
    client.send(post(json.dumps(BODY).encode()[:-30] + b"\\q", lane=lane))
    told = await client.answer()
    assert (told.status, b"not valid JSON" in told.body) == (400, True)
    assert fake.stats.begun == 0


@pytest.fixture
async def router(start_router, fake):
    return await start_router([{"url": fake.url, "name": "b", "models": ["demo"]}])
