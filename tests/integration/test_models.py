"""/admin/models at a router that keeps every engine running: what is told, and what loads and unloads nothing."""

from pathlib import Path

import aiohttp
import pytest

from launchers.footprints.parts import RAM
from launchers.spec import Command, LaunchSpec
from launchers.states import RestartPolicy
from router.app import App
from router.config import Config
from tests.fakes.engine import FakeEngine
from tests.fakes.launched import FACTS, LaunchedFake
from tests.running import eventually


class Absent(LaunchedFake):
    """Can't start while its model, a file, is absent."""

    def command(self, spec: LaunchSpec, port: int, python: str) -> Command:
        """Look for the model now."""
        command = super().command(spec, port, python)
        more = () if Path(spec.model).exists() else ("--fail-start",)
        return Command((*command.argv, *more), command.env, command.unset)


@pytest.fixture
async def app(tmp_path, fake: FakeEngine):
    """Give a router with a server elsewhere, an engine that runs, and one that was given up."""
    (tmp_path / "m").touch()
    launch = {"engine": "llama_cpp"}
    config = Config.model_validate({
        "server": {"port": 0},
        "health": {"interval": "1h"},
        "backends": [
            {"name": "box", "url": fake.url, "models": ["elsewhere"]},
            {"name": "a", "models": ["demo", "org/demo"], "launch": {**launch, "model": str(tmp_path / "m")}},
            {"name": "b", "models": ["other"], "launch": {**launch, "model": str(tmp_path / "absent")}},
        ],
        "routes": {"best": ["elsewhere", "demo"], "far": "elsewhere", "gpt-*": "demo"},
    })  # fmt: skip
    policy = RestartPolicy(first_delay=0.02, longest_delay=0.02, give_up_after=2)
    app = App(config, tmp_path, engines={"llama_cpp": Absent()}, facts=FACTS, policy=policy)
    await app.start()
    await eventually(lambda: states(app) == {"a": "loaded", "b": "failed"})
    yield app
    await app.kill()


def states(app: App) -> dict[object, object]:
    return {told["name"]: told["state"] for told in app.fleet.models_told()}


async def asked(session: aiohttp.ClientSession, app: App, what: str, method: str = "post"):
    async with session.request(method, f"{app.url}/admin/models{what}") as answer:
        return answer.status, await answer.json()


async def test_each_launched_model_is_told(app, session):
    """What it serves, what it takes, and why it isn't there; servers elsewhere aren't loaded."""
    # It is measured when somebody asks, and told who asks later.
    await eventually(lambda: app.fleet.models_told()[0]["footprint"])
    status, told = await asked(session, app, "", "get")
    a, b = told["models"]
    assert status == 200
    assert (a["name"], a["state"], a["models"], a["engine"], a["load"]) == (
        "a", "loaded", ["demo", "org/demo"], "llama_cpp", "startup",
    )  # fmt: skip
    assert a["footprint"][RAM] > 1 << 20
    assert (b["state"], b["pid"], b["footprint"]) == ("failed", None, {})
    assert "model file not found" in b["failure"]["reason"]


@pytest.mark.parametrize("name", ["demo", "org/demo", "a", "best", "gpt-4"])
async def test_what_is_loaded_can_be_loaded(app, session, name):
    """By the name of a model, of a backend, of a route: the first of its models that is launched here."""
    status, told = await asked(session, app, f"/{name}/load")
    assert status == 200
    assert [(each["name"], each["state"]) for each in told["models"]] == [("a", "loaded")]


async def test_a_load_tries_what_was_given_up(app, session, tmp_path):
    """It says what is wrong, and once that is right, it loads."""
    status, told = await asked(session, app, "/other/load")
    assert (status, told["error"]["code"]) == (503, "load_failed")
    assert "model file not found" in told["error"]["message"]
    assert told["models"][0]["state"] == "failed"
    (tmp_path / "absent").touch()
    status, told = await asked(session, app, "/other/load?wait=false")
    assert status == 202
    status, told = await asked(session, app, "/other/load")
    assert (status, told["models"][0]["state"]) == (200, "loaded")


async def test_nothing_is_unloaded_where_all_stays_loaded(app, session):
    """It is said what to write."""
    status, told = await asked(session, app, "/demo/unload")
    assert (status, told["error"]["code"]) == (409, "conflict")
    assert "`load: on_demand`" in told["error"]["message"]
    assert told["models"][0]["state"] == "loaded"


@pytest.mark.parametrize("name", ["elsewhere", "box", "far"])
async def test_a_server_elsewhere_is_not_loaded(app, session, name):
    """The router doesn't manage it."""
    status, told = await asked(session, app, f"/{name}/load")
    assert (status, told["error"]["code"]) == (409, "conflict")
    assert f"'{name}' is not launched by this router" in told["error"]["message"]


async def test_a_name_that_means_nothing_is_told_the_known(app, session):
    """Models, routes, and backends."""
    status, told = await asked(session, app, "/nope/load")
    assert (status, told["error"]["code"]) == (404, "model_not_found")
    assert told["error"]["message"] == (
        "The model 'nope' does not exist. Known: elsewhere, demo, org/demo, other, best, far. Launched: a, b."
    )


async def test_a_wait_that_is_none(app, session):
    """A typing mistake isn't taken for the default."""
    status, told = await asked(session, app, "/demo/load?wait=no")
    assert (status, told["error"]["param"]) == (400, "wait")
