"""An engine that was given up: what brings it back, and what clients hear meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace as with_changes
from pathlib import Path
from typing import Any

import pytest

from launchers import starting, supervisor
from launchers.spec import Command, LaunchSpec
from launchers.states import RestartPolicy
from router.app import App
from router.config import load
from router.fleet.reload import Reloader
from tests.fakes.engine import FakeEngine
from tests.fakes.launched import FACTS, LaunchedFake
from tests.running import eventually

ASK: dict[str, Any] = {"model": "demo", "messages": []}


class Fixable(LaunchedFake):
    """Fails to start as long as its model, a file, says `broken`; then it takes the time that it says."""

    def command(self, spec: LaunchSpec, port: int, python: str) -> Command:
        """Look at the model now."""
        said = Path(spec.model).read_text()
        command = super().command(spec, port, python)
        more = ("--fail-start",) if said == "broken" else ("--start-delay", said)
        return with_changes(command, argv=(*command.argv, *more))


Start = Callable[..., Awaitable[App]]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    file = tmp_path / "m.gguf"
    file.write_text("broken")
    return file


@pytest.fixture
async def start(tmp_path: Path, model: Path) -> AsyncIterator[Start]:
    """Give a function that starts a router whose engine is given up, after two tries, until a request after `rest`."""
    made: list[App] = []

    async def given_up(rest: float = 1000.0, more: str = "", **sections: str) -> App:
        (tmp_path / "router.yaml").write_text(
            f"server: {{port: 0}}\nbackends:\n  - {{name: demo, launch: {{engine: llama_cpp, model: {model}}}}}\n{more}"
            + "".join(f"{name}: {said}\n" for name, said in sections.items())
        )
        loaded = load(tmp_path / "router.yaml", {})
        policy = RestartPolicy(first_delay=0.02, longest_delay=0.02, give_up_after=2, first_rest=rest)
        reloader = Reloader(loaded, lambda: load(tmp_path / "router.yaml", {}))
        app = App(
            loaded.config, tmp_path, engines={"llama_cpp": Fixable()}, facts=FACTS, policy=policy, reloader=reloader
        )
        made.append(app)
        await app.start()
        await eventually(lambda: state(app) == "fatal")
        return app

    yield given_up
    for each in made:
        await each.kill()


def state(app: App) -> object:
    return next(told["state"] for told in app.fleet.told() if told["name"] == "demo")


async def status_of(session, app: App, model: str = "demo") -> int:
    async with session.post(f"{app.url}/v1/chat/completions", json={**ASK, "model": model}) as answer:
        await answer.read()
        return int(answer.status)


async def test_clients_hear_what_is_wrong(start, session, model):
    """The engine's first error, and what starts it again; no folder of this machine."""
    app = await start()
    async with session.post(f"{app.url}/v1/chat/completions", json=ASK) as answer:
        assert answer.status == 503
        message = (await answer.json())["error"]["message"]
    assert "error: model file not found" in message
    assert "a reload or a change of its model starts it again" in message
    assert str(model.parent) not in message


async def test_clients_do_not_hear_in_which_folder_a_model_is_missing(start, session, model):
    app = await start()
    model.unlink()
    async with session.post(f"{app.url}/admin/reload") as answer:
        await answer.read()
    await eventually(lambda: "No such file" in str(app.fleet.told()[0]["detail"]) and state(app) == "fatal")
    async with session.post(f"{app.url}/v1/chat/completions", json=ASK) as answer:
        message = (await answer.json())["error"]["message"]
    assert "m.gguf" in message
    assert str(model.parent) not in message


async def test_a_reload_of_an_unchanged_file_revives_it(start, session, model):
    app = await start()
    model.write_text("0")
    async with session.post(f"{app.url}/admin/reload") as answer:
        assert answer.status == 200
    await eventually(lambda: state(app) == "running")
    assert await status_of(session, app) == 200


async def test_an_edit_anywhere_revives_it(start, model, tmp_path):
    """Though it is not about that engine."""
    app = await start()
    model.write_text("0")
    file = tmp_path / "router.yaml"
    file.write_text(file.read_text() + "limits: {retries: 1}\n")
    await eventually(lambda: state(app) == "running")


async def test_a_changed_model_revives_it(start, session, model, monkeypatch):
    """Nobody has to do anything else."""
    monkeypatch.setattr(supervisor, "LOOK_EVERY", 0.05)
    app = await start()
    model.write_text("0")
    await eventually(lambda: state(app) == "running")
    assert await status_of(session, app) == 200


async def test_a_request_revives_it_after_a_while_and_is_answered(start, session, model):
    """It waits in the queue meanwhile, as do all that follow; before that while they are told at once."""
    app = await start(rest=0.6)
    assert await status_of(session, app) == 503
    model.write_text("0.3")
    await eventually(lambda: app.fleet.members["demo"].supervisor._now.rested_at < asyncio.get_running_loop().time())
    assert await asyncio.gather(*(status_of(session, app) for _ in range(10))) == [200] * 10


async def test_a_request_that_revives_it_in_vain_is_told(start, session):
    """After one try, not five; the next has to wait for longer."""
    app = await start(rest=0.2)
    await eventually(lambda: app.fleet.members["demo"].supervisor._now.rested_at < asyncio.get_running_loop().time())
    async with session.post(f"{app.url}/v1/chat/completions", json=ASK) as answer:
        assert answer.status == 503
        assert "gave up after 3 failed starts" in (await answer.json())["error"]["message"]
    assert app.plane.queues.told() == {}


async def test_requests_that_another_serves_revive_it(start, session, model, monkeypatch):
    """A model's second backend, or the next model of a route: requests there show that this one is wanted."""
    monkeypatch.setattr(supervisor, "LOOK_EVERY", 0.05)
    async with FakeEngine(models=["other"]) as fake:
        more = f"  - {{name: b, url: '{fake.url}', models: [other]}}\n"
        app = await start(rest=0.1, more=more, routes="{any: [demo, other]}")
        await asyncio.sleep(0.4)
        assert state(app) == "fatal"
        assert app.fleet.told()[0]["detail"].startswith("gave up after 2 failed")
        assert await status_of(session, app, "other") == 200
        await eventually(lambda: str(app.fleet.told()[0]["detail"]).startswith("gave up after 3 failed"))
        model.write_text("0")
        monkeypatch.setattr(starting, "stamp", lambda _: ())
        for _ in range(200):
            assert await status_of(session, app, "any") == 200
            if state(app) == "running":
                break
            await asyncio.sleep(0.05)
        assert state(app) == "running"
