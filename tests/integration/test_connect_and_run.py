"""`connect` and `run` before a router that runs, and `run` with a router of its own."""

import asyncio
import builtins
import io
import json
import os
import pty
import signal
import sys
from collections.abc import Awaitable, Callable

import psutil
import pytest

from router.cli import connect, own, talk
from router.cli.client import Client, Model
from router.cli.exits import CommandError
from router.cli.main import main
from router.cli.options import parse
from router.cli.recipes import RECIPES
from router.scan.entries import Entry
from tests.fakes.engine import FakeEngine
from tests.fakes.scripted import Say, Scripted
from tests.models import write_gguf
from tests.running import REPOSITORY, alive, dead_url, eventually

pytestmark = pytest.mark.usefixtures("logs_as_at_work")

Command = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
def command(capsys, monkeypatch, tmp_path) -> Command:
    """Give a function that runs a command without a terminal, and with this standard input."""
    for name in ("ROUTER_KEY", "ROUTER_URL", "ROUTER_ADMIN_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    async def run(*words: str, piped: str = "") -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(piped.encode())))
        code = await asyncio.to_thread(main, words)
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return code, said.out, said.err

    return run


def served(engine: Scripted | FakeEngine, *models: str) -> list[dict[str, object]]:
    return [{"url": engine.url, "models": [*models] or ["demo"], "probe": "never"}]


# connect


async def test_what_a_program_is_told(start_router, fake, command):
    """The address, and a model that is there; the others are named."""
    app = await start_router(served(fake, "demo", "other"))
    code, out, err = await command("connect", "claude", "--url", app.url)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "# its other models: other",
        f"export ANTHROPIC_BASE_URL={app.url}",
        "export ANTHROPIC_AUTH_TOKEN=none",
        "export ANTHROPIC_MODEL=demo",
        "export ANTHROPIC_DEFAULT_HAIKU_MODEL=demo",
        "export CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1",
        "claude",
    ]
    code, out, _ = await command("connect", "aider", "--model", "other", "--url", f"{app.url}/v1")
    env = f"export OPENAI_API_BASE={app.url}/v1\nexport OPENAI_API_KEY=none\n"
    assert out.endswith(f"{env}aider --model openai/other\n")
    code, out, err = await command("connect", "aider", "--model", "gone", "--url", app.url)
    assert (code, out, err) == (2, "", f"the router at {app.url} has no gone: it has demo, other\n")
    code, _, err = await command("connect", "aider", "--url", app.url, "--", "-x")
    assert (code, err) == (2, "-x: what stands behind the program's name is for --exec\n")


@pytest.mark.parametrize(("client", "context", "warns"), [
    ("claude", 4096, True), ("codex", 32767, True), ("codex", 32768, False), ("claude", None, False),
    ("aider", 4096, False),
])  # fmt: skip
async def test_a_context_that_is_too_small_is_told(start_router, fake, command, monkeypatch, client, context, warns):
    """Before the program is refused its first prompt; what is printed is as ever."""
    app = await start_router(served(fake))
    monkeypatch.setattr(Client, "models", lambda _: [Model("demo", context_length=context)])
    code, out, err = await command("connect", client, "--url", app.url)
    assert (code, "demo" in out) == (0, True)
    said = f"demo has a context of {context} tokens, and {client} needs 32768: its first prompts would be refused."
    assert (said in err) == warns == bool(err)


async def test_a_key_is_not_shown(start_router, fake, command, monkeypatch):
    """Unless that is asked for; and what makes one is said."""
    app = await start_router(served(fake), auth={"keys": [{"name": "a", "key": "sk-secret"}]})
    code, _, err = await command("connect", "claude", "--url", app.url)
    assert code == 2
    assert err.endswith("A key is said with --key or ROUTER_KEY; `python -m router key new --name NAME` makes one.\n")
    for client in RECIPES:
        code, out, _ = await command("connect", client, "--url", app.url, "--key", "sk-secret")
        assert (code, "sk-secret" in out, "ROUTER_KEY" in out) == (0, False, True)
    assert out.startswith("# ROUTER_KEY has to be the key; --show-key writes it out\n")
    monkeypatch.setenv("ROUTER_KEY", "sk-secret\n")
    code, out, _ = await command("connect", "claude", "--url", app.url)
    assert (code, 'export ANTHROPIC_AUTH_TOKEN="$ROUTER_KEY"\n' in out, "--show-key" in out) == (0, True, False)
    code, out, _ = await command("connect", "claude", "--url", app.url, "--show-key")
    assert "export ANTHROPIC_AUTH_TOKEN=sk-secret\n" in out
    monkeypatch.setenv("ROUTER_KEY", "a\nb")
    assert (await command("connect", "claude", "--url", app.url))[0] == 2


async def test_no_router(command):
    code, out, err = await command("connect", "claude", "--url", dead_url())
    assert (code, out) == (2, "")
    assert "no router answers at" in err


@pytest.mark.parametrize("client", RECIPES)
async def test_a_program_is_started_so(start_router, fake, command, monkeypatch, tmp_path, client):
    """It has what the recipe says in its environment and its arguments, the key with it, and what stands behind --."""
    begun: list[tuple[str, list[str], dict[str, str]]] = []

    def execve(*said: object) -> None:
        begun.append(said)  # type: ignore[arg-type]
        raise OSError(8, "Exec format error")

    app = await start_router(served(fake), auth={"keys": [{"name": "a", "key": "sk-secret"}]})
    for name in connect.PROGRAMS:
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "execve", execve)
    words = ["connect", client, "--exec", "--url", app.url, "--key", "sk-secret", "--", "-p", "hi"]
    code, out, err = await command(*words)
    ((program, arguments, environ),) = begun
    assert (code, out, err) == (2, "", f"{program} can't be started: Exec format error\n")
    assert arguments[-2:] == ["-p", "hi"]
    assert "sk-secret" not in " ".join(arguments)
    assert environ["PATH"] == str(tmp_path)
    said = json.dumps([arguments, environ])
    if client in {"codex", "continue"}:
        (place,) = (tmp_path / "home/.cache/router").iterdir()
        assert str(place) in " ".join(arguments)
        said += place.read_text()
        assert place.stat().st_mode & 0o077 == 0
    assert "sk-secret" in environ.values()
    assert app.url in said
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    code, _, err = await command(*words)
    assert (code, "isn't installed: " in err) == (2, True)


async def test_a_real_program(start_router, fake, tmp_path):
    """It takes the command's place: its output, its exit code."""
    app = await start_router(served(fake))
    program = tmp_path / "claude"
    program.write_text('#!/bin/sh\necho "$ANTHROPIC_BASE_URL $ANTHROPIC_MODEL $*"\nexit 7\n')
    program.chmod(0o755)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "router", "connect", "claude", "--exec", "--url", app.url, "--", "--resume",
        cwd=REPOSITORY, env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate()
    assert (process.returncode, out.decode()) == (7, f"{app.url} demo --resume\n")


# run, with a router that runs


async def test_one_question(start_router, command):
    """What comes in by a pipe is put behind it; the answer is printed, and nothing else."""
    async with Scripted() as engine:
        app = await start_router(served(engine))
        engine.says(Say(text="Hello\x1b[31m you", thinks="Hm."), Say(text="Yes"), Say(text="No"))
        words = ["run", "demo", "--url", app.url]
        code, out, err = await command(*words, "--prompt", "Hi", "--system", "Be brief")
        assert (code, out, err) == (0, "Hello\x1b[31m you\n", "")
        assert engine.asked[0]["messages"] == [
            {"role": "system", "content": "Be brief"},
            {"role": "user", "content": "Hi"},
        ]
        assert await command(*words, "--prompt", "Sum it up:", piped="a\nb\n") == (0, "Yes\n", "")
        assert await command(*words, piped="a\nb\n") == (0, "No\n", "")
        assert [each["messages"][-1]["content"] for each in engine.asked[1:]] == ["Sum it up:\n\na\nb", "a\nb"]
        code, out, err = await command(*words)
        assert (code, out, err) == (2, "", "there is no question: say it with --prompt, or by a pipe\n")


async def test_no_answer(start_router, command):
    """What the router says of it, as it comes before or in a stream."""
    async with Scripted() as engine:
        app = await start_router(served(engine))
        engine.says(Say(status=400, message="no such thing"), Say(text="Half of it", breaks=2, message="it broke"))
        words = ["run", "demo", "--url", app.url, "--prompt", "Hi"]
        assert await command(*words) == (1, "", "no such thing\n")
        code, out, err = await command(*words)
        assert (code, out.strip() in "Half of it", err != "") == (1, True, True)
        code, _, err = await command("run", "gone", "--url", app.url, "--prompt", "Hi")
        assert (code, err) == (2, f"{app.url} has no gone. It has demo\n")


async def test_a_name_that_the_router_and_the_disk_lack(start_router, command, monkeypatch, tmp_path):
    """The models of both are named, but not all where there are many."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    write_gguf(tmp_path / "models/tiny.gguf", layers=1, layer=1 << 20)
    async with Scripted() as engine:
        app = await start_router(served(engine, *(f"m{number}" for number in range(11))))
        monkeypatch.setenv("ROUTER_URL", app.url)
        code, _, err = await command("run", "gone", "--prompt", "Hi")
        has = "m0, m1, m2, m3, m4, m5, m6, m7, m8, m9, and 1 more"
        assert code == 2
        assert err == (
            "there is no model gone here: say its path, its name, or ORG/NAME of the hub. "
            f"The router that runs has {has}. On this disk: tiny.\n"
        )


async def test_a_talk(start_router, monkeypatch, capsys):
    """What was said goes along, until it is cleared; a text may have several lines; an error ends nothing."""
    lines = iter([
        "", "Hi", '"""one', 'two"""', "/system Be brief", "Again", "/clear", "New", "/wrong", "/help", "Fails", "After",
        "/system", '"""open',
    ])  # fmt: skip

    def line(_: str) -> str:
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr(builtins, "input", line)
    async with Scripted() as engine:
        app = await start_router(served(engine))
        say = [Say(text=f"{number}") for number in range(4)]
        engine.says(*say, Say(status=400, message="refused"), Say(text="5"), Say(text="6"))
        client = Client.of(parse(["run", "demo", "--url", app.url]))
        assert await asyncio.to_thread(talk.talk, talk.Chat(client, "demo", None)) == 0
        asked = [[message["content"] for message in each["messages"]] for each in engine.asked]
    assert asked == [
        ["Hi"],
        ["Hi", "0", "one\ntwo"],
        ["Be brief", "Hi", "0", "one\ntwo", "1", "Again"],
        ["Be brief", "New"],
        ["Be brief", "New", "3", "Fails"],
        ["Be brief", "New", "3", "After"],
        ["New", "3", "After", "5", "open"],
    ]
    said = capsys.readouterr()
    assert said.out.split()[-6:] == ["0", "1", "2", "3", "5", "6"]
    assert "There is no /wrong:\n  /bye " in said.err
    assert "refused\n" in said.err


async def test_ctrl_c_ends_the_answer_and_not_the_talk(start_router, held, tmp_path):
    """On a real terminal; /bye ends it."""
    async with FakeEngine(held_by=str(held)) as engine:
        app = await start_router(served(engine))
        master, slave = pty.openpty()
        said = bytearray()
        loop = asyncio.get_running_loop()
        loop.add_reader(master, lambda: said.extend(_read(master)))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "router", "run", "demo", "--url", app.url,
            cwd=REPOSITORY, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            env={**os.environ, "TERM": "dumb", "HOME": str(tmp_path)},
        )  # fmt: skip
        os.close(slave)
        await eventually(lambda: b">>> " in said)
        os.write(master, b"Hello\n")
        await eventually(lambda: b"plain" in said)
        process.send_signal(signal.SIGINT)
        await eventually(lambda: said.count(b">>> ") == 2)
        os.write(master, b"/bye\n")
        assert await process.wait() == 0
        loop.remove_reader(master)
        os.close(master)


def _read(file: int) -> bytes:
    try:
        return os.read(file, 4096)
    except OSError:
        return b""


# run, with a router of its own


FAKE = [sys.executable, str(REPOSITORY / "tests/fakes/engine.py"), "--port", "{port}"]


async def test_a_router_of_its_own():
    """It serves the one model, and is gone afterwards, with its engine."""
    entry = Entry({"name": "demo", "launch": {"cmd": FAKE, "ready": "/health", "load": "on_demand"}}, "a fake")
    before = set(psutil.Process().children(recursive=True))

    def ask() -> list[psutil.Process]:
        with own.started(entry) as url:
            options = parse(["run", "demo", "--url", url])
            asked = talk.Chat(Client.of(options), "demo", None)
            asked.ask("Hello")
            return [each for each in psutil.Process().children(recursive=True) if each not in before]

    begun = await asyncio.to_thread(ask)
    assert len(begun) > 1
    await eventually(lambda: not any(alive(each) for each in begun))


def test_a_router_that_does_not_start():
    """What it says is the reason."""
    entry = Entry({"name": "demo"}, "gone")
    with (
        pytest.raises(CommandError, match=r"the router for it doesn't start:\n.*a backend has either") as raised,
        own.started(entry),
    ):
        pass
    assert raised.value.code == 2


@pytest.mark.parametrize("how", ["path", "folder", "name", "file"])
async def test_a_model_on_this_disk(command, entries, tmp_path, monkeypatch, how):
    """By its path, its folder's, the name that a scan gives it, or its file's name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    file = tmp_path / "models/tiny-Q4_0.gguf"
    write_gguf(file, layers=1, layer=1 << 20)
    said = {"path": "models/tiny-Q4_0.gguf", "folder": str(tmp_path / "models"), "name": "tiny", "file": "tiny-Q4_0"}
    code, _, err = await command("run", said[how], "--prompt", "Hi")
    assert (code, err) == (7, "enough\n")
    (entry,) = entries
    launch = entry.keys["launch"]
    assert isinstance(launch, dict)
    assert launch["model"] == str(file)


async def test_models_that_are_not_clear(command, entries, tmp_path, monkeypatch):
    """The message says what there is."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    for name in ("a", "b"):
        write_gguf(tmp_path / f"models/{name}.gguf", layers=1, layer=1 << 20)
    (tmp_path / "models/broken.gguf").write_bytes(b"GGUF")
    there = tmp_path / "models"
    code, _, err = await command("run", "models", "--prompt", "Hi")
    assert (code, err) == (2, f"models has several models: name the file of one, {there}/a.gguf, {there}/b.gguf\n")
    code, _, err = await command("run", "c", "--prompt", "Hi")
    assert (code, err.endswith("of the hub. On this disk: a, b.\n")) == (2, True)
    code, _, err = await command("run", "org/name", "--prompt", "Hi")
    assert (code, err) == (2, "org/name isn't here; `pull org/name` fetches it, and so does --yes\n")
    code, _, err = await command("run", "models/broken.gguf", "--prompt", "Hi")
    assert (code, "broken can't be used: the header is cut off" in err) == (2, True)
    code, _, err = await command("run")
    assert (code, "The router starts without a command" in err) == (2, True)
    assert not entries
