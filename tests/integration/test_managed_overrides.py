"""scale, pin and unpin: what admins change at once, without touching router.yaml, and until its entry there changes."""

import asyncio
from pathlib import Path

import psutil
import pytest
from structlog.testing import capture_logs

from router.app import App
from router.cli.main import main
from router.config import load
from router.fleet.reload import Reloader
from tests.fakes.launched import ENGINES, FACTS
from tests.running import eventually

CHAT = "/v1/chat/completions"
SLOW = {"model": "qwen", "stream": True, "messages": [], "fake": {"events": 40, "delay": 0.05}}

TEXT = """\
server: {port: 0}
health: {interval: 1h}
backends:
  - name: qwen
    launch: {engine: llama_cpp, model: MODELS/a}
  - name: other
    launch: {engine: llama_cpp, model: MODELS/b, load: on_demand, memory: 1MiB, unload_after: 1h}
"""


class Followed:
    """A router that follows a file, and what it tells."""

    def __init__(self, folder: Path, session) -> None:
        self.path = folder / "router.yaml"
        for name in "ab":
            (folder / name).touch()
        self.text = TEXT.replace("MODELS", str(folder))
        self.path.write_text(self.text)
        loaded = load(self.path, {})
        self.reloader = Reloader(loaded, lambda: load(self.path, {}))
        self.app = App(loaded.config, folder, engines=ENGINES, facts=FACTS, reloader=self.reloader)
        self._session = session

    async def ask(self, method, path):
        """Give the status and the data of an answer."""
        async with self._session.request(method, self.app.url + path) as answer:
            return answer.status, await answer.json()

    async def overrides(self):
        """Tell of what was changed: the backend, the key, its value and the file's."""
        _, told = await self.ask("GET", "/admin/status")
        return [tuple(each[key] for key in ("backend", "key", "value", "written")) for each in told["overrides"]]

    async def becomes(self, text):
        """Write another router.yaml, and have it read."""
        self.path.write_text(text)
        return await self.ask("POST", "/admin/reload")

    def up(self):
        """Name the backends that serve."""
        return sorted(str(each["name"]) for each in self.app.fleet.told() if each["health"] == "up")

    def pinned(self, name):
        """Tell whether a model stays loaded."""
        return next(each["pinned"] for each in self.app.fleet.models_told() if each["name"] == name)


@pytest.fixture
async def followed(tmp_path, session):
    made = Followed(tmp_path, session)
    await made.app.start()
    await eventually(lambda: made.up() == ["qwen"], within=20)
    yield made
    await made.app.kill()


async def test_a_backend_is_scaled(followed):
    """Up, with who did it; a reload of the file keeps it, and a change of the entry ends it."""
    with capture_logs() as logs:
        status, told = await followed.ask("POST", "/admin/backends/qwen/scale?replicas=3")
    assert (status, [each["name"] for each in told["backends"]]) == (200, ["qwen", "qwen-2", "qwen-3"])
    assert {"event": "admin: scales qwen to 3", "by": "this machine", "log_level": "info"} in logs
    await eventually(lambda: followed.up() == ["qwen", "qwen-2", "qwen-3"], within=20)
    assert await followed.overrides() == [("qwen", "replicas", 3, 1)]
    assert followed.path.read_text() == followed.text

    await followed.becomes(followed.text + "routes: {best: {to: qwen}}\n")
    assert await followed.overrides() == [("qwen", "replicas", 3, 1)]
    assert followed.up() == ["qwen", "qwen-2", "qwen-3"]

    _, reload = await followed.becomes(followed.text.replace("name: qwen", "name: qwen\n    weight: 2"))
    assert reload["problems"] == []
    assert await followed.overrides() == []
    await eventually(lambda: followed.up() == ["qwen"], within=20)


async def test_a_scale_down_loses_no_answer(followed, session):
    """What has requests ends them first."""
    await followed.ask("POST", "/admin/backends/qwen/scale?replicas=2")
    await eventually(lambda: followed.up() == ["qwen", "qwen-2"], within=20)

    async def stream():
        async with session.post(followed.app.url + CHAT, json=SLOW) as answer:
            return answer.status, await answer.text()

    asking = [asyncio.create_task(stream()) for _ in range(4)]
    second = followed.app.fleet.members["qwen-2"].backend
    await eventually(lambda: second.in_flight > 0)
    status, told = await followed.ask("POST", "/admin/backends/qwen-2/scale?replicas=1")
    assert (status, [each["name"] for each in told["backends"] if each.get("ending")]) == (200, ["qwen-2"])
    for answered, text in await asyncio.gather(*asking):
        assert answered == 200
        assert text.endswith("data: [DONE]\n\n")
    assert await followed.overrides() == []


def line(message, **more):
    return {"event": message, "log_level": "info", **more}


async def test_a_drain_ends_with_a_change_of_its_entry(followed):
    """Not with that of another one, nor with a restart. It is told who wanted it, and since when."""
    with capture_logs() as logs:
        await followed.ask("POST", "/admin/backends/qwen/drain")
        _, told = await followed.ask("POST", "/admin/backends/qwen/drain")
    assert logs.count(line("admin: drains qwen", by="this machine")) == 1
    (drained,) = told["backends"]
    assert (drained["drained"], drained["drained_by"]) == (True, "this machine")
    _, status = await followed.ask("GET", "/admin/status")
    assert status["overrides"] == [
        {"backend": "qwen", "key": "drained", "value": True, "written": False, "by": "this machine",
         "since": drained["drained_since"]}
    ]  # fmt: skip

    pid = followed.app.fleet.pids["qwen"]
    assert (await followed.ask("POST", "/admin/backends/qwen/restart"))[0] == 200
    await eventually(lambda: followed.app.fleet.pids.get("qwen") not in {None, pid}, within=20)
    await eventually(lambda: followed.up() == ["qwen"], within=20)
    await followed.becomes(followed.text.replace("name: other", "name: other\n    weight: 2"))
    held = followed.app.plane.ledger.held
    assert {backend.name: by for backend, by in held.items()} == {"qwen": "this machine"}
    assert all(each.backend in held for each in followed.app.fleet.members.values() if each.name == "qwen")

    with capture_logs() as logs:
        await followed.becomes(followed.text.replace("name: qwen", "name: qwen\n    weight: 2"))
    assert line("as router.yaml says again, as its entry has changed: qwen: drained by this machine") in logs
    assert await followed.overrides() == []
    assert followed.app.plane.ledger.held == {}


async def test_a_replica_that_is_scaled_away_takes_its_drain_with_it(followed):
    """Another one of its name isn't drained."""
    for path in ("qwen/scale?replicas=2", "qwen-2/drain", "qwen/scale?replicas=1"):
        assert (await followed.ask("POST", f"/admin/backends/{path}"))[0] == 200
    assert await followed.overrides() == []
    await followed.ask("POST", "/admin/backends/qwen/scale?replicas=2")
    await eventually(lambda: followed.up() == ["qwen", "qwen-2"], within=20)
    assert followed.app.plane.ledger.held == {}


async def test_status_tells_what_an_engine_holds_and_how_its_starts_went(followed):
    """And how often it had to be started again."""

    async def qwen():
        _, told = await followed.ask("GET", "/admin/status")
        return next(each for each in told["backends"] if each["name"] == "qwen")

    while not (told := await qwen())["footprint"]:  # noqa: ASYNC110 -- devices are read each few seconds
        await asyncio.sleep(0.1)
    assert told["restarts"] == 0
    assert told["load_seconds"] > 0
    assert told["footprint"]["ram"] == told["memory_bytes"] > 1 << 20
    psutil.Process(told["pid"]).kill()
    await eventually(lambda: followed.app.fleet.pids.get("qwen") not in {None, told["pid"]}, within=20)
    await eventually(lambda: followed.up() == ["qwen"], within=20)
    assert (await qwen())["restarts"] == 1


async def test_what_can_not_be_scaled(followed):
    """The reason; and all stays as it is."""
    for count in ("0", "65", "many"):
        assert (await followed.ask("POST", f"/admin/backends/qwen/scale?replicas={count}"))[0] == 400
    assert (await followed.ask("POST", "/admin/backends/nothing/scale?replicas=2"))[0] == 404
    assert (await followed.ask("POST", "/admin/backends/nothing/drain"))[0] == 404
    # The replica's name is taken.
    await followed.becomes(followed.text + "  - {name: qwen-2, url: 'http://127.0.0.1:9'}\n")
    status, told = await followed.ask("POST", "/admin/backends/qwen/scale?replicas=2")
    assert (status, "qwen-2" in told["error"]["message"]) == (409, True)
    assert (await followed.ask("POST", "/admin/backends/qwen-2/scale?replicas=2"))[0] == 409
    assert await followed.overrides() == []


async def test_a_model_is_pinned(followed):
    """Until it is unpinned, or its entry changes."""
    status, told = await followed.ask("POST", "/admin/models/other/pin")
    assert (status, [(each["name"], each["pinned"]) for each in told["models"]]) == (200, [("other", True)])
    assert await followed.overrides() == [("other", "pinned", True, False)]
    await followed.becomes(followed.text + "# the same\n")
    assert followed.pinned("other")
    await followed.ask("POST", "/admin/models/other/unpin")
    assert not followed.pinned("other")
    assert await followed.overrides() == []
    assert (await followed.ask("POST", "/admin/models/nothing/pin"))[0] == 404


async def test_what_the_file_pins_is_unpinned(followed):
    """As it would be without that key, until the entry changes."""
    text = followed.text.replace("unload_after: 1h", "pinned: true")
    await followed.becomes(text)
    await followed.ask("POST", "/admin/models/other/unpin")
    assert not followed.pinned("other")
    assert await followed.overrides() == [("other", "pinned", False, True)]
    await followed.becomes(text.replace("1MiB", "2MiB"))
    assert followed.pinned("other")


async def test_the_commands(followed, capsys):
    """They say what is done, and status says what isn't the file's."""

    async def command(*words):
        code = await asyncio.to_thread(main, [*words, "--url", followed.app.url])
        return code, capsys.readouterr().out

    capsys.readouterr()
    code, said = await command("pin", "other")
    assert (code, "other stays loaded until its entry in router.yaml changes\n" in said) == (0, True)
    code, said = await command("scale", "qwen", "2")
    assert (code, "qwen: up\n" in said, "qwen-2: " in said) == (0, True, True)
    code, said = await command("status")
    assert code == 0
    assert "qwen: replicas is 2, as this machine wants it; router.yaml says 1\n" in said
    assert "other: pinned is true, as this machine wants it; router.yaml says false\n" in said
    await command("drain", "qwen-2")
    code, said = await command("status")
    assert "\nqwen-2 is drained by this machine since " in said
    assert "  by this machine since " in said
    code, said = await command("unpin", "other")
    assert (code, "other may be unloaded again\n" in said) == (0, True)
