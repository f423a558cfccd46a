"""`ps`, `load` and `unload`, at the management API of a router whose models are played."""

import asyncio
import io
import json
import socket
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from router.api.admin import models
from router.cli import load
from router.cli.main import main
from router.core import errors
from router.core.errors import ModelNotFoundError, RouterError
from router.core.memory.refusals import LoadFailedError
from router.core.scopes import LOCAL
from router.management.elsewhere import Elsewhere
from router.management.models import Models
from router.management.serving import routes
from router.proxy.resolve import Names
from router.proxy.slow import ADMIN
from tests.running import REPOSITORY, eventually

NO_NOPE = "The model 'nope' does not exist. Launched: qwen, org/llama.\n"


class Managed:
    """The backends of a router whose loads take as long as the test lets them."""

    directory = SimpleNamespace(abilities={})

    def __init__(self):
        self.states = {"qwen": "unloaded", "org/llama": "loaded"}
        self.share = 0.25
        self.may_load = asyncio.Event()
        self.may_load.set()
        self.error: RouterError | None = None
        self.fits = 2
        self.looks = 0
        self.members = {name: SimpleNamespace(name=name, supervisor=object(), backend=name) for name in self.states}

    def models_told(self):
        """Describe each model."""
        self.looks += 1
        return [
            {"name": name, "models": [name], "state": state, "footprint": {"ram": 2 << 30}, "share": self.share}
            for name, state in self.states.items()
        ]

    def silent(self):
        """Have no peers."""
        return []

    @property
    def catalog(self):
        """Know no name beside those of backends."""
        return self

    def resolve(self, name):
        """Find none."""
        raise ModelNotFoundError(f"The model '{name}' does not exist.")

    async def load(self, name):
        """Load, once that may end."""
        self.states[name] = "loading"
        await self.may_load.wait()
        self.states[name] = "failed" if self.error else "loaded"
        others = [each for each, state in self.states.items() if state == "loaded" and each != name]
        for each in others[: len(others) + 1 - self.fits]:
            self.states[each] = "unloaded"
        if self.error is not None:
            raise self.error

    async def unload(self, name):
        """Unload at once."""
        self.states[name] = "unloaded"


@pytest.fixture
def managed():
    return Managed()


@pytest.fixture
async def url(aiohttp_server, managed):
    @web.middleware
    async def later_version(request, handler):
        request[ADMIN] = LOCAL
        try:
            answer = await handler(request)
        except RouterError as error:
            return web.Response(status=error.status, body=errors.body(error, request.path))
        told = json.loads(answer.body)
        return web.json_response(
            told | {"models": [each | {"new": 1} for each in told["models"]]}, status=answer.status
        )

    app = web.Application(middlewares=[later_version])
    nobody: Any = SimpleNamespace(by_name={})
    app.add_routes(routes(models.ENDPOINTS, Models(managed, managed, managed, Elsewhere(nobody, Names()))))
    server = await aiohttp_server(app)
    return f"http://127.0.0.1:{server.port}"


@pytest.fixture(autouse=True)
def logged():
    """Keep what the router logs apart from what the commands say."""
    with capture_logs() as lines:
        yield lines


@pytest.fixture
def command(capsys):
    """Give a function that runs a command: its exit code, and what it says."""

    async def run(*words: str):
        code = await asyncio.to_thread(main, words)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


async def test_ps(command, url):
    """A table for people, what the router says for programs."""
    code, out, err = await command("ps", "--url", url + "/")
    assert (code, err) == (0, "")
    assert [line.split()[:3] for line in out.splitlines()[1:]] == [
        ["qwen", "qwen", "unloaded"],
        ["org/llama", "org/llama", "loaded"],
    ]
    assert await command("ps", "--url", f"{url}/v1/") == (code, out, err)
    code, out, _ = await command("ps", "--url", url, "--json")
    assert [(each["name"], each["new"]) for each in json.loads(out)["models"]] == [("qwen", 1), ("org/llama", 1)]


async def test_load(command, url, managed):
    """It ends when all are loaded, and says what they take."""
    assert await command("load", "qwen", "org/llama", "qwen", "--url", url) == (
        0,
        "qwen is loaded: 2.0 GiB\norg/llama is loaded: 2.0 GiB\n",
        "",
    )
    assert managed.states == {"qwen": "loaded", "org/llama": "loaded"}


async def test_a_load_that_fails(command, url, managed):
    """The reason, and exit code 1; what else was loaded is said."""
    managed.error = LoadFailedError("qwen", "no such file", 5)
    code, out, err = await command("load", "qwen", "--url", url)
    assert (code, out, err) == (1, "", "'qwen' could not be loaded: no such file\n")
    code, out, _ = await command("load", "qwen", "--url", url, "--json")
    assert (code, json.loads(out)["errors"][0]["code"]) == (1, "load_failed")
    assert json.loads(out)["models"][0]["state"] == "failed"


async def test_models_that_do_not_fit_together(command, url, managed):
    """The last one stays, and it is said which one left."""
    managed.fits = 1
    code, out, err = await command("load", "qwen", "org/llama", "--url", url)
    assert (code, out) == (1, "org/llama is loaded: 2.0 GiB\n")
    assert err == "qwen left for models that were loaded later: there isn't memory for all.\n"
    code, out, _ = await command("load", "qwen", "org/llama", "--url", url, "--json")
    told = json.loads(out)
    assert [(each["name"], each["state"]) for each in told["models"]] == [("qwen", "unloaded"), ("org/llama", "loaded")]
    assert (code, told["errors"][0]["code"]) == (1, "insufficient_memory")


async def test_a_name_that_the_router_does_not_know(command, url):
    """It is said; with others, these are loaded all the same."""
    code, out, err = await command("load", "nope", "--url", url)
    assert (code, out, err) == (1, "", NO_NOPE)
    code, out, err = await command("unload", "nope", "--url", url)
    assert (code, out, err) == (1, "", NO_NOPE)


async def test_progress_on_a_terminal(command, url, managed, monkeypatch):
    """Until it is loaded; elsewhere than on a terminal nothing is drawn."""

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(load, "LOOK_EVERY", 0.02)
    managed.may_load.clear()
    running = asyncio.create_task(command("load", "qwen", "--url", url))
    await eventually(lambda: "qwen: loading 25%" in terminal.getvalue())
    managed.share = 0.75
    await eventually(lambda: "qwen: loading 75%" in terminal.getvalue())
    managed.may_load.set()
    assert (await running)[:2] == (0, "qwen is loaded: 2.0 GiB\n")


async def test_unload(command, url, managed):
    """By name, or all that are loaded."""
    managed.states["qwen"] = "loaded"
    assert await command("unload", "qwen", "--url", url) == (0, "qwen is unloaded\n", "")
    assert managed.states == {"qwen": "unloaded", "org/llama": "loaded"}
    assert await command("unload", "--all", "--url", url) == (0, "org/llama is unloaded\n", "")
    assert await command("unload", "--all", "--url", url) == (0, "Nothing is loaded.\n", "")
    code, out, _ = await command("unload", "--all", "--url", url, "--json")
    assert (code, json.loads(out)) == (0, {"models": []})


@pytest.mark.parametrize("words", [["unload"], ["unload", "a", "--all"]])
async def test_what_to_unload_must_be_said(command, url, words):
    """One way or the other."""
    code, _, err = await command(*words, "--url", url)
    assert (code, err) == (2, "say which models to unload: NAME..., or --all\n")


async def test_no_router_there(command):
    """Where it was looked for, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as there:
        url = f"http://127.0.0.1:{there.getsockname()[1]}"
    for words in (["ps"], ["load", "a"], ["unload", "a"], ["unload", "--all"]):
        code, out, err = await command(*words, "--url", url)
        assert (code, out) == (2, "")
        assert err.startswith(f"no router answers at {url} (nothing listens there): start it with `python -m router")


@pytest.mark.parametrize("url", ["", "127.0.0.1:8001", "ftp://a", "http://", "http://a:b"])
async def test_what_is_no_address(command, url):
    """It is said how to write one."""
    code, _, err = await command("ps", "--url", url)
    assert code == 2
    assert err == f"{url!r} is no address of a router: write http://HOST:PORT\n"


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (200, "<html>"),
        (200, "[]"),
        (200, '{"data": []}'),
        (200, '{"models": [{"id": "a"}]}'),
        (404, "404: Not Found"),
        (404, '{"error": {"message": "There is no GET /admin/models here.", "code": "not_found"}}'),
        (500, ""),
    ],
)
async def test_another_server_there(command, aiohttp_server, status, text):
    """It is not taken for a router."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text=text)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    server = await aiohttp_server(app)
    code, out, err = await command("ps", "--url", f"http://127.0.0.1:{server.port}")
    assert (code, out) == (2, "")
    assert err == f"what answers at http://127.0.0.1:{server.port} is no router, or one of another version ({status})\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [(("load", "m"), "not loaded: m is flying\n"), (("unload", "m"), "not unloaded: m is flying\n"),
     (("unload", "--all"), "not unloaded: m is flying\n")],
)  # fmt: skip
async def test_an_answer_that_does_not_show_that_it_was_done(command, aiohttp_server, words, said):
    """It isn't believed."""

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"models": [{"name": "m", "state": "flying"}]})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    server = await aiohttp_server(app)
    code, out, err = await command(*words, "--url", f"http://127.0.0.1:{server.port}")
    assert (code, out, err) == (1, "", said)


@pytest.mark.parametrize("command_", ["events", "logs -f box"])
async def test_who_follows_what_is_no_router_is_told(command, aiohttp_server, command_):
    """An answer of another kind isn't followed for ever."""

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    server = await aiohttp_server(app)
    code, out, err = await command(*command_.split(), "--url", f"http://127.0.0.1:{server.port}")
    assert (code, out) == (2, "")
    assert "is no router, or one of another version (200)" in err


@pytest.fixture
async def keyed(start_router, fake, tmp_path):
    """Give the router.yaml of a real router that has an admin key."""
    router = await start_router([{"url": fake.url, "models": ["demo"]}], auth={"admin_keys": ["sesame"]})
    file = tmp_path / "router.yaml"
    file.write_text(
        f"server: {{host: 0.0.0.0, port: {router.url.rpartition(':')[2]}}}\n"
        "backends: [{url: 'http://a', models: [demo]}]\n"
        "auth: {keys: [a], admin_keys: [sesame, other]}\n"
    )
    return str(file)


async def test_the_file_says_where_and_with_which_key(command, keyed):
    """The address of a router that listens everywhere is this machine's own."""
    code, out, err = await command("ps", "--config", keyed)
    # What is before it is the router's own.
    assert (code, out.splitlines()[-1], err) == (0, "This router launches no models.", "")


async def test_a_wrong_key(command, keyed):
    """Exit code 2, and where the right one would stand."""
    code, out, err = await command("ps", "--config", keyed, "--key", "wrong")
    assert (code, "models" in out) == (2, False)
    assert err.endswith("; without --url, else the first of auth.admin_keys in the file.\n")


async def test_a_file_that_says_no_port(command, tmp_path):
    """Any port may be the router's."""
    file = tmp_path / "router.yaml"
    file.write_text("server: {port: 0}\nbackends: [{url: 'http://a'}]\n")
    code, _, err = await command("ps", "--config", str(file))
    assert (code, err) == (
        2,
        f"{file} has server.port: 0, which is any free port: say where its router is with --url\n",
    )


def test_a_router_at_work_does_not_load_what_draws_tables():
    """Not even for the logs, where it is installed."""
    code = (
        "import sys; from router.__main__ import main; sys.argv[1:] = ['schema']; main(); import router.cli.run\n"
        "assert 'rich' not in sys.modules; import rich.table"
    )
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)
