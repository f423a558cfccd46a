"""llama-swap's endpoints: scripts that were written for it work here."""

import asyncio
import json

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


class Followed:
    """What /api/events has told so far."""

    def __init__(self, answer):
        self._lines = answer.content
        self.told = []

    async def until(self, fits):
        """Read on until a message of this kind fits; give it."""
        async with asyncio.timeout(20):
            while True:
                line = await self._lines.readline()
                if line.startswith(b"data:"):
                    envelope = json.loads(line[5:])
                    self.told.append((envelope["type"], json.loads(envelope["data"])))
                    if fits(*self.told[-1]):
                        return self.told[-1][1]


async def chat(app, session, **more):
    async with session.post(app.url + "/v1/chat/completions", json={"model": "demo", "messages": [], **more}) as answer:
        await answer.read()
        return answer.status


async def test_events(app, session, asked):
    """How things are, and then what changes: states of models, the log, requests under way and ended."""
    assert await chat(app, session) == 200
    async with session.get(app.url + "/api/events") as answer:
        assert answer.content_type == "text/event-stream"
        followed = Followed(answer)
        await followed.until(lambda kind, _: kind == "inflight")
        assert [kind for kind, _ in followed.told] == ["logData", "modelStatus", "metrics", "inflight"]
        log, models, metrics, inflight = (data for _, data in followed.told)
        assert (log["source"], "listening at" in log["data"]) == ("proxy", True)
        assert [(each["id"], each["name"], each["state"]) for each in models] == [
            ("demo", "a", "ready"),
            ("other", "b", "stopped"),
        ]
        (first,) = metrics
        assert (first["model"], first["resp_status_code"], first["error_msg"]) == ("demo", 200, "")
        assert (inflight["operation"], inflight["total"], inflight["requests"]) == ("snapshot", 0, [])
        asking = asyncio.create_task(chat(app, session, **{each: SLOW[each] for each in ("stream", "fake")}))
        inflight = await followed.until(lambda kind, data: kind == "inflight" and data["total"])
        assert [(each["model"], each["req_path"]) for each in inflight["requests"]] == [
            ("demo", "/v1/chat/completions")
        ]
        assert await asking == 200
        (second,) = await followed.until(lambda kind, _: kind == "metrics")
        assert second["id"] == first["id"] + 1
        assert await followed.until(lambda kind, _: kind == "activity") == {"id": second["id"]}
        await asked("POST", "/api/models/unload/demo")
        await followed.until(lambda kind, data: kind == "logData" and "admin: unloads a" in data["data"])
        stopped = [("demo", "stopped"), ("other", "stopped")]
        await followed.until(
            lambda kind, data: kind == "modelStatus" and [(each["id"], each["state"]) for each in data] == stopped
        )


async def test_followers_of_events_end_with_the_router(app, session):
    """They hold up no stop; who comes later is told anew."""
    for _ in range(2):
        async with session.get(app.url + "/api/events") as answer:
            await Followed(answer).until(lambda kind, _: kind == "inflight")
    async with session.get(app.url + "/api/events") as answer:
        await Followed(answer).until(lambda kind, _: kind == "inflight")
        await app.kill()


async def test_activity(app, session):
    """As a list, by pages, and what it comes to."""

    async def ask(path):
        async with session.get(app.url + path) as answer:
            return answer.status, await answer.json()

    for _ in range(3):
        await chat(app, session)
    status, listed = await ask("/api/metrics")
    assert (status, len(listed)) == (200, 3)
    status, page = await ask("/api/metrics/activity?limit=2&model=demo")
    assert (status, page["total"], page["total_pages"], page["data"]) == (200, 3, 2, listed[:0:-1])
    assert listed[0]["tokens"]["output_tokens"] > 0
    status, stats = await ask("/api/metrics/stats")
    assert (status, stats["total_requests"]) == (200, 3)
    assert (await ask("/api/metrics/activity?limit=1000"))[0] == 400
    assert (await ask("/api/metrics/activity?sort=nothing"))[0] == 400


@pytest.mark.parametrize(("name", "status"), [("proxy", 200), ("demo", 200), ("a", 200), ("nope", 404)])
async def test_one_log(app, session, name, status):
    """The router's, or an engine's by its model or its backend."""
    async with session.get(f"{app.url}/logs/stream/{name}") as answer:
        assert answer.status == status
        assert (answer.content_type == "text/plain") == (status == 200)
