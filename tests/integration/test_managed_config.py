"""/admin/config, /admin/config/file and /admin/plan: router.yaml is shown, tried and replaced over HTTP."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from router.app import App
from router.config import load
from router.fleet.reload import Reloader

TEXT = """\
# Keep this.
server: {port: 0}
health: {interval: 1h}
auth: {keys: [client-secret], admin_keys: [{key: ops, name: ops, scopes: [read, manage, configure]}]}
backends:
  - name: a
    url: %s
    api_key: engine-secret   # of the engine
    models: [demo]
"""
OPS = {"authorization": "Bearer ops"}


class Managed:
    """A router that follows a file, and an admin of it."""

    def __init__(self, folder: Path, text: str, session) -> None:
        self.path = folder / "router.yaml"
        self.path.write_text(text)
        loaded = load(self.path, {})
        reloader = Reloader(loaded, lambda: load(self.path, {}))
        self.app = App(loaded.config, folder, reloader=reloader)
        self._session = session

    async def ask(self, method, path, text=None, **headers):
        """Give the status and the data of an answer."""
        sent = OPS | {name.replace("_", "-"): value for name, value in headers.items()}
        data = None if text is None else text.encode()
        async with self._session.request(method, self.app.url + path, data=data, headers=sent) as answer:
            return answer.status, await answer.json()

    async def shown(self):
        """Give the text of the file as it is shown, and its ETag."""
        status, told = await self.ask("GET", "/admin/config/file")
        assert status == 200
        return told["text"], told["etag"]

    async def write(self, text):
        """Write a text in the place of the one that is there."""
        return await self.ask("PUT", "/admin/config", text, If_Match=(await self.shown())[1])


@pytest.fixture
async def managed(tmp_path, session, fake):
    made = Managed(tmp_path, TEXT % fake.url, session)
    await made.app.start()
    yield made
    await made.app.kill()


async def test_the_file_is_shown_without_its_secrets(managed):
    """With its comments, and an ETag that stays as long as it does."""
    text, etag = await managed.shown()
    assert "# Keep this." in text
    assert "api_key: (hidden)   # of the engine" in text
    assert not [each for each in ("client-secret", "engine-secret", "key: ops") if each in text]
    assert await managed.shown() == (text, etag)
    managed.path.write_text(managed.path.read_text() + "# more\n")
    assert (await managed.shown())[1] != etag


async def test_a_candidate_is_planned(managed, fake):
    """Its steps; or its mistakes with their places. The router and the file stay."""
    text, _ = await managed.shown()
    before = managed.path.read_bytes()
    candidate = f"{text}  - {{name: b, url: '{fake.url}/b', models: [b]}}\n"
    status, told = await managed.ask("POST", "/admin/plan", candidate)
    assert (status, told["problems"]) == (200, [])
    assert [(each["do"], each["name"]) for each in told["steps"]] == [("add", "b"), ("keep", "a")]
    status, told = await managed.ask("POST", "/admin/plan", text.replace("interval: 1h", "intervall: 1h"))
    assert (status, told["steps"]) == (422, [])
    (problem,) = told["problems"]
    assert (problem["line"], problem["column"], problem["key"]) == (3, 10, "health.intervall")
    status, told = await managed.ask("POST", "/admin/plan", text + "# [\nbackends: [")
    assert status == 422
    assert managed.path.read_bytes() == before
    assert list(managed.app.fleet.members) == ["a"]


@pytest.mark.parametrize("added", ["include: /etc/passwd\n", 'profile: "${HOME}"\n'])
async def test_a_candidate_has_nothing_read_that_the_file_does_not(managed, added):
    """Neither other files nor the environment: their words would be told."""
    text, _ = await managed.shown()
    status, told = await managed.ask("POST", "/admin/plan", added + text)
    assert (status, told["error"]["param"]) == (403, added.partition(":")[0])


async def test_the_file_is_replaced(managed):
    """Letter by letter, its secrets put back, the old one beside it; and the router runs it."""
    text, etag = await managed.shown()
    before = managed.path.read_text()
    text = text.replace("models: [demo]", "models: [demo, other]   # two")
    with capture_logs() as logs:
        status, told = await managed.ask("PUT", "/admin/config", text, If_Match=etag)
    assert (status, told["problems"]) == (200, [])
    assert {"event": "admin: wrote router.yaml", "by": "ops", "log_level": "info"} in logs
    assert [(each["do"], each["name"]) for each in told["steps"]] == [("tune", "a")]
    assert managed.path.read_text() == before.replace("models: [demo]", "models: [demo, other]   # two")
    assert managed.path.with_name("router.yaml.bak").read_text() == before
    assert (await managed.shown())[0] == text


async def test_a_change_of_another_file_is_refused(managed):
    """It would undo what somebody else has written."""
    text, etag = await managed.shown()
    assert (await managed.ask("PUT", "/admin/config", text))[0] == 428
    managed.path.write_text(managed.path.read_text() + "# mine\n")
    before = managed.path.read_bytes()
    for each in (etag, "*", '"other"'):
        assert (await managed.ask("PUT", "/admin/config", text, If_Match=each))[0] == 412
    assert managed.path.read_bytes() == before


async def test_what_is_wrong_is_not_written(managed):
    """Nor is a secret that is none, nor what this machine can't run."""
    text, _ = await managed.shown()
    before = managed.path.read_bytes()
    for wrong in (
        text.replace("interval: 1h", "intervall: 1h"),
        text.replace("name: a", "name: b"),
        text + "  - {name: missing, url: 'http://b.test', api_key: (hidden)}\n",
        "backends: [",
    ):
        status, told = await managed.write(wrong)
        assert (status, bool(told["problems"])) == (422, True)
        assert told["problems"][0]["file"].endswith("router.yaml")
        assert told["problems"] == (await managed.ask("POST", "/admin/plan", wrong))[1]["problems"]
    assert managed.path.read_bytes() == before
    assert not managed.path.with_name("router.yaml.bak").exists()


@pytest.mark.parametrize(
    ("was", "is_", "key"),
    [
        ("models: [demo]", "models: [demo]\n  - {name: b, launch: {cmd: [sh, '{port}']}}", "backends[b].launch.cmd"),
        ("health:", "logging: {dir: /tmp/x}\nhealth:", "logging.dir"),
        ("scopes: [read, manage, configure]", "scopes: [configure]", "auth"),
        ("# Keep this.", "include: x/*.yaml", "include"),
        ("url: http", "url: http://evil.test #", "backends[a].url"),
        ("interval: 1h", 'interval: "${HOME}"', "health.interval"),
    ],
)
async def test_what_comes_from_the_disk_alone(managed, was, is_, key):
    """The answer names the key, and says where it is changed."""
    text, _ = await managed.shown()
    before = managed.path.read_bytes()
    status, told = await managed.ask("POST", "/admin/plan", text.replace(was, is_))
    assert status in {200, 403, 422}
    assert status != 200 or told["locked"] == [key]
    status, told = await managed.write(text.replace(was, is_))
    assert (status, told["error"]["message"]) == (403, f"Changed on the disk alone, not by HTTP: {key}.")
    assert managed.path.read_bytes() == before


@pytest.mark.parametrize(
    "added",
    [
        "x: &c {cmd: [sh, '{port}']}\n",
        "<<: {logging: {dir: /tmp/x}}\n",
        "logging: {level: info}\nlogging: {dir: /tmp/x}\n",
    ],
)
async def test_what_yaml_has_for_it_is_no_way_around(managed, added):
    """Keys for anchors, merge keys and keys that stand twice are mistakes."""
    text, _ = await managed.shown()
    before = managed.path.read_bytes()
    assert (await managed.write(added + text))[0] == 422
    assert managed.path.read_bytes() == before


async def test_a_file_with_mistakes_is_mended_on_the_disk(managed):
    """It can neither be shown nor compared."""
    text, etag = await managed.shown()
    managed.path.write_text("backends: [")
    for method, path in (("GET", "/admin/config/file"), ("POST", "/admin/plan")):
        status, told = await managed.ask(method, path, text if method == "POST" else None)
        assert (status, told["error"]["code"]) == (409, "conflict")
    assert (await managed.ask("PUT", "/admin/config", text, If_Match=etag))[0] == 412


async def test_versions_are_kept(managed):
    """Each text that was in force, with who brought it; it is shown without its secrets, and can be taken back."""

    async def versions():
        status, told = await managed.ask("GET", "/admin/config/versions")
        assert status == 200
        return told["versions"]

    first = managed.path.read_text()
    assert (await managed.write((await managed.shown())[0].replace("[demo]", "[demo, other]")))[0] == 200
    managed.path.write_text(first + "# edited\n")
    assert (await managed.ask("POST", "/admin/reload"))[0] == 200
    managed.path.write_text("wrong: 1\n")
    assert (await managed.ask("POST", "/admin/reload"))[0] == 422
    told = await versions()
    assert [each["by"] for each in told] == ["edited", "ops", "edited"]
    assert [each["size"] for each in told] == [len(first) + 9, len(first) + 7, len(first)]
    managed.path.write_text(first + "# edited\n")
    assert (await managed.ask("POST", "/admin/reload"))[0] == 200
    status, old = await managed.ask("GET", f"/admin/config/versions/{told[1]['id']}")
    assert (status, {**old, "text": ""}) == (200, {**told[1], "text": ""})
    assert "[demo, other]" in old["text"]
    assert "secret" not in old["text"].replace("# of the engine", "")
    assert (await managed.write(old["text"]))[0] == 200
    assert managed.path.read_text() == first.replace("[demo]", "[demo, other]")
    assert [each["by"] for each in await versions()] == ["ops", "edited", "ops", "edited"]
    # The same text, written on the disk, isn't the admin's.
    for text in (first, managed.path.read_text()):
        managed.path.write_text(text)
        assert (await managed.ask("POST", "/admin/reload"))[0] == 200
    assert [each["by"] for each in await versions()][:3] == ["edited", "edited", "ops"]
    assert (await managed.ask("GET", "/admin/config/versions/1"))[0] == 404
    assert (await managed.ask("GET", "/admin/config/versions/x"))[0] == 400


async def test_versions_that_can_not_be_kept(tmp_path, session, fake):
    """Are missing, and nothing else is."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "versions").touch()
    managed = Managed(tmp_path, TEXT % fake.url, session)
    with capture_logs() as logs:
        await managed.app.start()
        try:
            assert (await managed.write((await managed.shown())[0] + "# more\n"))[0] == 200
            assert await managed.ask("GET", "/admin/config/versions") == (200, {"versions": []})
        finally:
            await managed.app.kill()
    assert len([each for each in logs if each["event"] == "versions of router.yaml can't be kept"]) == 1
