"""/admin/requests and /admin/backends: what is under way, what ended, and the levers over both."""

import asyncio
import json
from contextlib import suppress

import aiohttp
import pytest

from router.app import App
from router.cli.main import main
from router.config import Config
from tests.fakes.launched import FACTS, LaunchedFake
from tests.running import eventually

CHAT = "/v1/chat/completions"
SLOW = {"model": "demo", "stream": True, "messages": [], "fake": {"events": 50, "delay": 0.05}}
QUICK = {"model": "demo", "messages": []}


@pytest.fixture
async def router(start_router, fake):
    return await start_router(
        [{"url": fake.url, "models": ["demo"], "name": "a", "max_in_flight": 1}],
        auth={"keys": [{"key": "k", "name": "alice"}], "admin_keys": [{"key": "ops", "name": "ops"}]},
    )


@pytest.fixture
def ask(router, session):
    """Give a function that asks the management API: an answer's status and content."""

    async def asking(method, path):
        headers = {"authorization": "Bearer ops"}
        async with session.request(method, router.url + path, headers=headers) as answer:
            return answer.status, await answer.json()

    return asking


@pytest.fixture
def chat(router, session):
    """Give a function that asks a model, as alice: the status and the text of its answer."""

    async def chatting(body, id_="one"):
        headers = {"authorization": "Bearer k", "x-request-id": id_}
        said = b""
        async with session.post(router.url + CHAT, json=body, headers=headers) as answer:
            with suppress(aiohttp.ClientPayloadError):  # a stream that is broken off
                async for piece in answer.content.iter_any():
                    said += piece
            return answer.status, said.decode()

    return chatting


async def told_of(ask, count):
    """Wait until so many are under way; describe them."""
    async with asyncio.timeout(20):
        while True:
            _, found = await ask("GET", "/admin/requests")
            if found["total"] == count:
                return found["requests"]
            await asyncio.sleep(0.01)


async def test_what_is_under_way(ask, chat):
    """Whose it is, where, what has come of it; and of one that waits, its place."""
    asking = [asyncio.create_task(chat(SLOW, "one"))]
    (first,) = await told_of(ask, 1)
    asking += [asyncio.create_task(chat(SLOW, "two"))]
    first, second = await told_of(ask, 2)
    assert (first["id"], first["key"], first["model"], first["backend"]) == ("one", "alice", "demo", "a")
    assert (second["id"], second["state"], second["backend"], second["ahead"]) == ("two", "queued", None, 0)
    _, shortened = await ask("GET", "/admin/requests?limit=1")
    assert (shortened["total"], [each["id"] for each in shortened["requests"]]) == (2, ["one"])
    while first["state"] != "answering" or first["tokens"] < 3:
        first = (await told_of(ask, 2))[0]
    assert 0 <= first["ttft"] < first["age"]
    assert 1 < first["tokens_per_second"] < 40
    for each in asking:
        each.cancel()
    await told_of(ask, 0)


async def test_one_is_cancelled(ask, chat, fake, router, tmp_path):
    """Its client is told, as an event in a stream; its engine stops; and it is remembered with its end."""
    asking = asyncio.create_task(chat(SLOW))
    await told_of(ask, 1)
    await eventually(lambda: any(each.answer.begun_at for each in router.plane.exchanges))
    status, cancelled = await ask("POST", "/admin/requests/one/cancel")
    assert (status, cancelled["total"], cancelled["requests"][0]["id"]) == (200, 1, "one")
    answered, text = await asking
    assert '"code":"cancelled"' in text
    assert answered == 200
    await told_of(ask, 0)
    await eventually(lambda: fake.stats.aborted == 1)
    _, recent = await ask("GET", "/admin/requests/recent")
    (ended,) = recent["requests"]
    assert (ended["id"], ended["outcome"], ended["finish_reason"]) == ("one", "cancelled by an admin", None)
    assert 1 <= ended["tokens"] < 50
    log = tmp_path / "logs" / "access.log"
    await eventually(lambda: log.exists() and log.read_text())
    assert log.read_text().endswith(f' -+{ended["tokens"]}tok one cut="cancelled by an admin" key=alice\n')


async def test_one_that_waits_is_cancelled(ask, chat):
    """It gets the error as its answer, with a status that no client tries again by itself."""
    first = asyncio.create_task(chat(SLOW, "one"))
    await told_of(ask, 1)
    second = asyncio.create_task(chat(SLOW, "two"))
    await told_of(ask, 2)
    assert (await ask("POST", "/admin/requests/two/cancel"))[0] == 200
    status, text = await second
    assert (status, '"code":"cancelled"' in text) == (499, True)
    first.cancel()
    assert (await ask("POST", "/admin/requests/two/cancel"))[0] == 404


async def test_the_latest_that_ended(ask, chat):
    """The last one first, with the engine's counts."""
    for number in range(3):
        await chat(QUICK, f"n{number}")
    _, recent = await ask("GET", "/admin/requests/recent?limit=2")
    assert [each["id"] for each in recent["requests"]] == ["n2", "n1"]
    last = recent["requests"][0]
    assert (last["key"], last["backend"], last["status"], last["outcome"]) == ("alice", "a", 200, "answered")
    assert (last["prompt_tokens"], last["finish_reason"]) == (1, "length")
    assert last["tokens"] > 0
    assert last["client"] == "127.0.0.1"
    assert (recent["last"], recent["missed"]) == (last["number"], 0)
    await chat(QUICK, "n3")
    _, since = await ask("GET", f"/admin/requests/recent?after={recent['last']}")
    assert [each["id"] for each in since["requests"]] == ["n3"]
    assert (await ask("GET", "/admin/requests/recent?limit=2001"))[0] == 400


async def test_all_about_one(ask, chat, router, capsys, monkeypatch):
    """While it is under way, while it waits, and once it has ended; by the command, too."""
    monkeypatch.setenv("ROUTER_URL", router.url)
    monkeypatch.setenv("ROUTER_ADMIN_KEY", "ops")

    async def command():
        assert await asyncio.to_thread(main, ["requests", "two"]) == 0
        return capsys.readouterr().out

    first = asyncio.create_task(chat(SLOW, "one"))
    await eventually(lambda: any(each.answer.begun_at for each in router.plane.exchanges))
    status, told = await ask("GET", "/admin/requests/one")
    (attempt,) = told["attempts"]
    assert (status, told["under_way"]["id"], told["waits"]) == (200, "one", [])
    assert (attempt["backend"], attempt["outcome"], attempt["ended"], attempt["status"]) == ("a", "", None, 200)
    assert attempt["why"] == "the only one that can serve it"
    assert 0 <= attempt["begun"] <= attempt["head"] <= attempt["first_byte"]
    assert told["stream"] >= 0

    second = asyncio.create_task(chat(QUICK, "two"))
    await told_of(ask, 2)
    _, told = await ask("GET", "/admin/requests/two")
    assert (told["under_way"]["state"], told["attempts"], told["prefill"]) == ("queued", [], None)
    assert [(each["loading"], each.get("ended")) for each in told["waits"]] == [(0.0, None)]
    assert "queued until now" in await command()

    await ask("POST", "/admin/requests/one/cancel")
    assert (await second)[0] == 200
    await first
    _, told = await ask("GET", "/admin/requests/two")
    (wait,), (attempt,) = told["waits"], told["attempts"]
    assert (told["ended"]["id"], told["ended"]["client"], attempt["outcome"]) == ("two", "127.0.0.1", "answered")
    assert wait["ended"] <= attempt["begun"] <= attempt["head"] <= attempt["ended"]
    assert attempt["why"] == told["ended"]["why"] == "the first that had room for it after its time in the queue"
    assert abs(told["at"] + told["ended"]["duration"] - told["ended"]["at"]) < 0.01
    lines = await command()
    assert "two: demo, POST /v1/chat/completions\ncame " in lines
    assert "from 127.0.0.1, key alice" in lines
    assert "Why a: the first that had room for it after its time in the queue" in lines
    assert (await ask("GET", "/admin/requests/three"))[0] == 404


async def test_a_drained_backend_gets_nothing_more(ask, chat, fake):
    """What it has goes on; others wait, and go once it is undrained."""
    asking = asyncio.create_task(chat({**SLOW, "fake": {"events": 5, "delay": 0.1}}))
    await eventually(lambda: fake.stats.begun == 1)
    _, drained = await ask("POST", "/admin/backends/a/drain")
    assert drained["backends"][0]["drained"]
    waiting = asyncio.create_task(chat(QUICK, "two"))
    assert (await asking)[0] == 200
    assert [each["state"] for each in await told_of(ask, 1)] == ["queued"]
    assert fake.stats.begun == 1
    _, explained = await ask("GET", "/admin/explain?model=demo")
    assert [each["passed_over"] for each in explained] == ["it is drained by ops"]
    await ask("POST", "/admin/backends/a/drain")
    _, undrained = await ask("POST", "/admin/backends/a/undrain")
    assert "drained" not in undrained["backends"][0]
    assert (await waiting)[0] == 200


async def test_what_can_not_be_done(ask):
    """The names that there are; and a server elsewhere isn't ours to restart."""
    status, wrong = await ask("POST", "/admin/backends/b/drain")
    assert (status, wrong["error"]["message"]) == (404, "There is no backend 'b'. Backends: a.")
    status, wrong = await ask("POST", "/admin/backends/a/restart")
    assert (status, wrong["error"]["message"]) == (409, "'a' is not launched by this router, which can't restart it.")


@pytest.fixture
async def app(tmp_path):
    """Give a router with an engine of its own, and one that is loaded on demand."""
    for name in "ab":
        (tmp_path / name).touch()
    config = Config.model_validate({
        "server": {"port": 0},
        "health": {"interval": "1h"},
        "backends": [
            {"name": "a", "models": ["demo"], "launch": {"engine": "llama_cpp", "model": str(tmp_path / "a")}},
            {"name": "b", "launch": {"engine": "llama_cpp", "model": str(tmp_path / "b"), "load": "on_demand",
                                     "memory": "1MiB"}},
        ],
    })  # fmt: skip
    app = App(config, tmp_path, engines={"llama_cpp": LaunchedFake()}, facts=FACTS)
    await app.start()
    yield app
    await app.kill()


async def test_an_engine_is_restarted(app, session):
    """Another process takes over, and the answer under way is whole."""

    def a():
        return next(each for each in app.fleet.told() if each["name"] == "a" and "ending" not in each)

    async def restart(name):
        async with session.post(f"{app.url}/admin/backends/{name}/restart") as answer:
            return answer.status, await answer.json()

    await eventually(lambda: a()["health"] == "up")
    before = a()["pid"]
    async with session.post(app.url + CHAT, json={**SLOW, "fake": {"events": 20, "delay": 0.05}}) as answer:
        assert (await restart("a"))[0] == 200
        answered, told = await restart("a")
        assert (answered, told["error"]["message"]) == (
            409, "'a' is starting already: wait until it serves, or has failed."
        )  # fmt: skip
        assert (await answer.text()).endswith("data: [DONE]\n\n")
    await eventually(lambda: a()["pid"] not in {None, before} and a()["health"] == "up")
    for _ in range(3):
        before = a()["pid"]
        assert (await restart("a"))[0] == 200
        await eventually(lambda: a()["pid"] not in {None, before} and a()["health"] == "up")  # noqa: B023
    answered, told = await restart("b")
    assert (answered, told["error"]["message"]) == (409, "'b' isn't running: there is nothing to restart.")


# What is kept of them whole


@pytest.fixture
async def keeping(start_router, fake):
    return await start_router(
        [{"url": fake.url, "models": ["demo"], "name": "a"}],
        auth={"keys": [{"key": "k", "name": "alice"}], "admin_keys": [{"key": "ops", "name": "ops"}]},
        telemetry={"capture": {"requests": 2}},
    )


@pytest.mark.parametrize("stream", [False, True])
async def test_what_one_said_and_was_answered(keeping, asking, stream):
    """Word for word, whichever lane it came by; no key of anybody's is there."""
    key = {"authorization": "Bearer k"}
    body = {**QUICK, "stream": stream, "messages": [{"role": "user", "content": "möd"}]}
    async with asking.post(keeping.url + CHAT, json=body, headers=key | {"x-request-id": "one"}) as answer:
        text = await answer.text()
    async with aiohttp.ClientSession(headers={"authorization": "Bearer ops"}) as session:
        async with session.get(f"{keeping.url}/admin/requests/one/capture") as answer:
            told = await answer.json()
        async with session.get(f"{keeping.url}/admin/requests/two/capture") as answer:
            assert answer.status == 404
    assert json.loads(told["request"]) == body
    assert told["answer"] == text
    assert (told["id"], told["path"], told["model"], told["key"], told["status"], told["cut"]) == (
        "one", CHAT, "demo", "alice", 200, False,
    )  # fmt: skip
    assert "Bearer" not in str(told)


async def test_without_being_asked_for_nothing_is_kept(ask, chat, router, keeping):
    """And nothing is any more, once it isn't."""
    await chat(QUICK)
    status, told = await ask("GET", "/admin/requests/one/capture")
    assert (status, "telemetry.capture is off" in told["error"]["message"]) == (404, True)
    assert router.rules.capture is None
    assert keeping.rules.capture is not None
    off = keeping.plan.config.model_copy(update={"telemetry": router.plan.config.telemetry})
    await keeping.reload(off)
    assert keeping.rules.capture is None


async def test_the_capture_by_command(keeping, session, capsys, monkeypatch):
    """By lines, with nothing that could steer a terminal."""
    body = {**QUICK, "messages": [{"role": "user", "content": "\x1b[2J"}]}
    headers = {"authorization": "Bearer k", "x-request-id": "one"}
    async with session.post(keeping.url + CHAT, json=body, headers=headers) as answer:
        text = await answer.text()
    monkeypatch.setenv("ROUTER_ADMIN_KEY", "ops")
    code = await asyncio.to_thread(main, ["requests", "one", "--capture", "--url", keeping.url])
    said = capsys.readouterr().out
    assert code == 0
    assert "one: demo, POST /v1/chat/completions, came " in said
    assert "200:" in said
    assert text.splitlines()[0] in said
    assert "\x1b" not in said
    assert await asyncio.to_thread(main, ["requests", "--capture", "--url", keeping.url]) == 2
    assert "Whose capture?" in capsys.readouterr().err
