"""Commands that ask a running router, at a real one."""

import asyncio
import json

import pytest
from structlog.testing import capture_logs

from router.cli.main import main
from tests.running import eventually

CHAT = "/v1/chat/completions"
SLOW = {"model": "demo", "stream": True, "messages": [], "fake": {"events": 100, "delay": 0.05}}


@pytest.fixture(autouse=True)
def logged():
    """Keep what the router logs apart from what the commands say."""
    with capture_logs() as lines:
        yield lines


@pytest.fixture
async def router(start_router, fake):
    return await start_router(
        [{"url": fake.url, "models": ["demo"], "name": "box"}], auth={"admin_keys": [{"key": "sesame", "name": "ops"}]}
    )


@pytest.fixture
def command(router, capsys, monkeypatch):
    """Give a function that runs a command at the router: its exit code, and what it says."""
    monkeypatch.setenv("ROUTER_URL", router.url)
    monkeypatch.setenv("ROUTER_ADMIN_KEY", "sesame")

    async def run(*words: str):
        capsys.readouterr()
        code = await asyncio.to_thread(main, words)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
async def asking(router, session):
    """Have a request under way, `one`."""

    async def ask():
        async with session.post(router.url + CHAT, json=SLOW, headers={"x-request-id": "one"}) as answer:
            await answer.read()

    task = asyncio.create_task(ask())
    await eventually(lambda: any(each.answer.begun_at for each in router.plane.exchanges))
    yield task
    task.cancel()


def cells(out: str) -> list[list[str]]:
    return [line.split() for line in out.splitlines()]


async def test_status(command, asking):
    """The router, the machine, each backend; for programs all of it."""
    del asking
    code, out, err = await command("status")
    assert (code, err) == (0, "")
    assert ", 1 requests under way, 0 waiting, CPU " in out
    assert [line[:4] for line in cells(out) if line[:1] == ["box"]] == [["box", "up", "demo", "1"]]
    code, out, _ = await command("status", "--json")
    assert json.loads(out)["backends"][0]["name"] == "box"


async def test_requests(command, asking):
    """Those under way; those that ended."""
    assert await command("requests", "--recent") == (0, "No request has ended yet.\n", "")
    _, out, _ = await command("requests")
    assert [line[:3] for line in cells(out)[1:]] == [["one", "demo", "box"]]
    assert await command("cancel", "one") in [(0, f"cancelled one, after 0.{tenth} s\n", "") for tenth in range(10)]
    with pytest.raises(Exception, match="payload"):
        await asking
    assert await command("requests") == (0, "No request is under way.\n", "")
    _, out, _ = await command("requests", "--recent")
    assert [line[:4] for line in cells(out)[1:]] == [["one", "demo", "box", "200"]]
    code, out, err = await command("cancel", "one")
    assert (code, out, err) == (1, "", "No request with this id is under way: it may have ended.\n")


async def test_levers(command, logged):
    """What is done is said, and logged with who did it; what can't be done is an error."""
    assert await command("drain", "box") == (0, "box gets nothing more\n", "")
    _, out, _ = await command("status")
    assert next(line[:2] for line in cells(out) if line[:1] == ["box"]) == ["box", "drained"]
    assert "\nbox is drained by ops since " in out
    _, out, _ = await command("explain", "demo")
    assert "no: it is drained" in out
    assert await command("undrain", "box") == (0, "box gets requests again\n", "")
    _, out, _ = await command("explain", "demo")
    assert cells(out)[1][:2] == ["box", "yes"]
    assert await command("restart", "box") == (
        1, "", "'box' is not launched by this router, which can't restart it.\n"
    )  # fmt: skip
    assert await command("drain", "bx") == (1, "", "There is no backend 'bx'. Backends: box.\n")
    assert [(each["event"], each["by"]) for each in logged if each["event"].startswith("admin: ")] == [
        ("admin: drains box", "ops"),
        ("admin: undrains box", "ops"),
    ]


async def test_a_key_that_is_not_taken(command, monkeypatch):
    """It is said, and how to send another."""
    monkeypatch.setenv("ROUTER_ADMIN_KEY", "open")
    code, out, err = await command("status")
    assert (code, out) == (2, "")
    assert err.startswith("No valid admin key")
    assert (await command("status", "--key", "sesame"))[0] == 0
    # As a file ends.
    assert (await command("status", "--key", "sesame\n"))[0] == 0
    code, _, err = await command("status", "--key", "ses\name")
    assert (code, err) == (2, "the admin key has a line break in it, or another character that no key has\n")
