"""/admin/events and the logs: what happened, as it comes, and from where one left."""

import asyncio
import json
import signal
import sys
import time
from typing import Any

import aiohttp
import pytest
import structlog

from router.app import App
from router.cli.main import main
from router.config import Config
from tests.fakes.launched import FACTS, LaunchedFake
from tests.running import eventually, first_line, started

log = structlog.get_logger("router")

pytestmark = pytest.mark.usefixtures("logs_as_at_work")


@pytest.fixture
def logged(logs_as_at_work, capsys):
    """What is printed, while the router logs as it does at work."""
    del logs_as_at_work
    return capsys


@pytest.fixture
async def app(tmp_path, fake):
    """Give a router with an engine of its own and a server elsewhere."""
    (tmp_path / "a").touch()
    config = Config.model_validate({
        "server": {"port": 0},
        "health": {"interval": "1h"},
        "backends": [
            {"name": "a", "models": ["demo"], "launch": {"engine": "llama_cpp", "model": str(tmp_path / "a")}},
            {"name": "box", "url": fake.url, "models": ["other"]},
        ],
    })  # fmt: skip
    app = App(config, tmp_path, engines={"llama_cpp": LaunchedFake()}, facts=FACTS)
    await app.start()
    await eventually(lambda: app.fleet.told()[0]["health"] == "up")
    yield app
    await app.kill()


async def events(answer: aiohttp.ClientResponse, count: int) -> list[dict[str, Any]]:
    """Read so many events of a stream."""
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(20):
        async for line in answer.content:
            if line.startswith(b"data: "):
                found.append(json.loads(line[6:]))
            if len(found) == count:
                break
    return found


async def lever(app, session, what):
    async with session.post(f"{app.url}/admin/backends/box/{what}") as answer:
        assert answer.status == 200


async def test_events_as_they_come(app, session):
    """What somebody does is told to whoever follows; one who comes back goes on where it was."""
    async with session.get(app.url + "/admin/events") as answer:
        assert answer.content_type == "text/event-stream"
        assert answer.headers["server"] == "router"
        assert answer.headers["x-request-id"]
        assert await answer.content.readline() == b": connected\n"
        await lever(app, session, "drain")
        (drained,) = await events(answer, 1)
    assert (drained["kind"], drained["message"], drained["details"]["by"]) == (
        "admin",
        "admin: drains box",
        "this machine",
    )
    await lever(app, session, "undrain")
    await lever(app, session, "drain")
    headers = {"last-event-id": str(drained["id"])}
    async with session.get(app.url + "/admin/events", headers=headers) as answer:
        found = await events(answer, 2)
    assert [each["message"] for each in found] == ["admin: undrains box", "admin: drains box"]
    async with session.get(app.url + "/admin/logs?limit=2") as answer:
        assert (await answer.json())["events"] == found


async def test_events_are_gathered(app, session):
    """One piece of the answer each gathering, with all that came; and no gathering holds up the router's end."""
    async with session.get(app.url + "/admin/events?every=0.2") as answer:
        assert await answer.content.readline() == b": connected\n"
        await eventually(lambda: app._feed.feed.followers == 1)
        await lever(app, session, "drain")
        await events(answer, 1)
        for number in range(150):
            log.warning(f"event {number}")
        await lever(app, session, "undrain")
        found, pieces, began = b"", 0, time.monotonic()
        async with asyncio.timeout(20):
            async for piece, ends in answer.content.iter_chunks():
                found += piece
                pieces += ends
                if b"admin: undrains box" in found:
                    break
    assert found.count(b"\ndata: ") == 151
    assert pieces <= 2 + (time.monotonic() - began) / 0.2
    for wrong in ("11", "-1", "nan", "often"):
        async with session.get(f"{app.url}/admin/events?every={wrong}") as answer:
            assert answer.status == 400
    async with session.get(app.url + "/admin/events?every=10") as answer:
        assert await answer.content.readline() == b": connected\n"
        await lever(app, session, "drain")
        await events(answer, 1)
        async with asyncio.timeout(5):
            await app.stop()
            await answer.content.read()


async def test_a_follower_does_not_hold_up_the_end(app, session):
    """When the router stops, its stream ends as it should."""
    async with session.get(app.url + "/admin/events") as answer:
        assert await answer.content.readline() == b": connected\n"
        async with asyncio.timeout(5):
            await app.stop()
            await answer.content.read()


async def test_an_engines_log(app, session):
    """Its last lines, and its next ones; a backend that isn't ours has none."""
    path = app._logs / "a.log"
    with path.open("a") as file:
        file.write("one\ntwo\n")
    async with session.get(app.url + "/admin/backends/a/logs?limit=2") as answer:
        assert (await answer.json())["lines"] == ["one", "two"]
    with path.open("a", newline="") as file:
        file.write("10%\r20%\u2028\r\nend")
    async with session.get(app.url + "/admin/backends/a/logs?limit=3") as answer:
        assert (await answer.json())["lines"] == ["two", "10%\r20%\u2028", "end"]
    path.write_text("")
    async with session.get(app.url + "/admin/backends/a/logs/stream") as answer:
        assert await answer.content.readline() == b": connected\n"
        reading = asyncio.create_task(events(answer, 2))
        for number in range(50):  # it may look for the end of the file only now
            with path.open("a") as file:
                file.write(f"line {number}\n")
            await asyncio.sleep(0.05)
            if reading.done():
                break
        first, second = await reading
    numbers = [int(str(each["line"]).split()[1]) for each in (first, second)]
    assert numbers[1] == numbers[0] + 1
    for what in ("logs", "logs/stream"):
        async with session.get(f"{app.url}/admin/backends/box/{what}") as answer:
            assert answer.status == 409
        async with session.get(f"{app.url}/admin/backends/nope/{what}") as answer:
            assert answer.status == 404


async def test_the_commands(app, session, logged, monkeypatch):
    """`logs` and `events` print what the API tells; a lost connection is taken up again."""
    monkeypatch.setenv("ROUTER_URL", app.url)
    await lever(app, session, "drain")
    logged.readouterr()
    assert await asyncio.to_thread(main, ["logs", "--limit", "1"]) == 0
    assert logged.readouterr().out.endswith("admin: drains box  by=this machine\n")
    (app._logs / "a.log").write_text("one\ntwo\x1b[1m\n")
    assert await asyncio.to_thread(main, ["logs", "a", "-n", "2"]) == 0
    assert logged.readouterr().out == "one\ntwo\\x1b[1m\n"
    assert await asyncio.to_thread(main, ["logs", "box", "-f"]) == 1

    async with (
        started(sys.executable, "-m", "router", "events", "--json") as process,
        asyncio.timeout(60),
    ):
        assert process.stdout is not None
        await eventually(lambda: app._feed.feed.followers == 1)
        await lever(app, session, "undrain")
        told = json.loads(await process.stdout.readline())
        process.send_signal(signal.SIGINT)
        await process.communicate()  # to the end: the loop would wait for a pipe that is open
    assert process.returncode == 0
    assert (told["kind"], told["message"]) == ("admin", "admin: undrains box")


async def test_a_command_ends_with_its_reader(app, session, monkeypatch):
    """As behind `| head -1`: at the next event, not when the router stops."""
    monkeypatch.setenv("ROUTER_URL", app.url)
    async with started(sys.executable, "-m", "router", "events") as process, asyncio.timeout(60):
        await eventually(lambda: app._feed.feed.followers == 1)
        await lever(app, session, "drain")
        assert (await first_line(process)).endswith(b"admin: drains box  by=this machine\n")
        await lever(app, session, "undrain")
        assert await process.wait() == 0
