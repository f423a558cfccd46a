"""llama-swap's endpoints: scripts that were written for it work here."""

import asyncio

import pytest

from router.app import App
from router.config import Config
from tests.fakes.launched import FACTS, LaunchedFake
from tests.running import eventually

SLOW = {"model": "demo", "stream": True, "messages": [], "fake": {"events": 100, "delay": 0.05}}

pytestmark = pytest.mark.usefixtures("logs_as_at_work")


@pytest.fixture
async def app(tmp_path):
    """Give a router with a model that is loaded, and one that isn't yet."""
    for name in "ab":
        (tmp_path / name).touch()
    launch = {"engine": "llama_cpp", "load": "on_demand", "memory": "1MiB"}
    config = Config.model_validate({
        "server": {"port": 0},
        "health": {"interval": "1h"},
        "backends": [
            {"name": "a", "models": ["demo"], "launch": {**launch, "model": str(tmp_path / "a")}},
            {"name": "b", "models": ["other"], "launch": {**launch, "model": str(tmp_path / "b")}},
        ],
    })  # fmt: skip
    app = App(config, tmp_path, engines={"llama_cpp": LaunchedFake()}, facts=FACTS)
    await app.start()
    await app.fleet.load("a")
    yield app
    await app.kill()


@pytest.fixture
def asked(app, session):
    """Give a function that asks: an answer's status, type and text."""

    async def ask(method, path):
        async with session.request(method, app.url + path) as answer:
            return answer.status, answer.content_type, await answer.text()

    return ask


async def running(app, session):
    async with session.get(app.url + "/running") as answer:
        return (await answer.json())["running"]


async def test_running(app, session):
    """What is loaded, with where it is."""
    (told,) = await running(app, session)
    host, port = app.fleet.members["a"].supervisor.status.address
    assert (told["model"], told["state"], told["proxy"]) == ("demo", "ready", f"http://{host}:{port}")
    assert told.keys() == {"model", "state", "cmd", "proxy", "ttl", "name", "description"}


@pytest.mark.parametrize(
    ("method", "path", "kind", "text"),
    [
        ("GET", "/unload", "text/plain", "OK"),
        ("POST", "/api/models/unload", "application/json", '{"msg":"ok"}'),
        ("POST", "/api/models/unload/demo", "text/plain", "OK"),
    ],
)
async def test_unload(app, session, asked, method, path, kind, text):
    """All of them, or one."""
    assert await asked(method, path) == (200, kind, text)
    await eventually(lambda: app.fleet.models_told()[0]["state"] == "unloaded")
    assert await running(app, session) == []


async def test_one_that_is_not_there(asked):
    """It is said."""
    status, _, text = await asked("POST", "/api/models/unload/nope")
    assert (status, "nope" in text) == (404, True)
    assert (await asked("POST", "/api/inflight/nope/cancel"))[0] == 404


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_a_page_of_another_site_unloads_nothing(app, session, site):
    """Not even as its reader follows a link; nor does a link checker."""
    visit = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document", "sec-fetch-user": "?1"}
    async with session.get(app.url + "/unload", headers={**visit, "sec-fetch-site": site}) as answer:
        assert answer.status == 403
    async with session.head(app.url + "/unload") as answer:
        assert answer.status == 405
    assert await running(app, session)
    async with session.get(app.url + "/unload", headers={**visit, "sec-fetch-site": "none"}) as answer:
        assert answer.status == 200


async def test_no_client_forges_a_line_of_the_log(app, session, asked):
    """Nor does it control a terminal."""
    for model in ("x\n2026-11-30T00:00:00 [INFO] forged by=root", "\x1b[2J", "x by=root"):
        async with session.post(app.url + "/v1/chat/completions", json={"model": model, "messages": []}) as answer:
            assert answer.status == 404
    _, _, text = await asked("GET", "/logs")
    assert "\x1b" not in text
    assert not [line for line in text.splitlines() if line.endswith("by=root") or "forged" in line[:40]]


async def test_a_request_is_cancelled(app, session, asked):
    """By its id."""

    async def chat():
        async with session.post(app.url + "/v1/chat/completions", json=SLOW, headers={"x-request-id": "one"}) as answer:
            await answer.read()

    asking = asyncio.create_task(chat())
    await eventually(lambda: any(each.answer.begun_at for each in app.plane.exchanges))
    assert await asked("POST", "/api/inflight/one/cancel") == (200, "application/json", '{"msg":"ok"}')
    with pytest.raises(Exception, match="payload"):
        await asking


async def test_the_log(app, session, asked):
    """As text, and as it comes."""
    _, kind, text = await asked("GET", "/logs")
    assert kind == "text/plain"
    assert "listening at" in text
    async with session.get(app.url + "/logs/stream") as answer, asyncio.timeout(20):
        assert b"INFO" in await answer.content.readline()
        await asked("POST", "/api/models/unload/demo")
        async for line in answer.content:
            if b'admin: unloads a by="this machine"' in line:
                break
    await eventually(lambda: app._feed.feed.followers == 0)
