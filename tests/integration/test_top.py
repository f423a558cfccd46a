"""`top` at a running router."""

import asyncio
import json
import os
import pty
import re
import signal
import sys
from contextlib import suppress

import aiohttp
import pytest
from structlog.testing import capture_logs

from router.app import App
from router.cli import top
from router.cli.exits import CommandError
from router.cli.main import main
from router.cli.running import Running
from router.config import Config
from tests.running import eventually, first_line, started

COLOUR = re.compile(r"\x1b\[[\d;]*\b[34]\d[\d;]*m")


@pytest.fixture(autouse=True)
def logged():
    """Keep what the router logs apart from what the command says."""
    with capture_logs() as lines:
        yield lines


@pytest.fixture
async def router(start_router, fake, monkeypatch):
    router = await start_router([{"url": fake.url, "models": ["demo"], "name": "box"}])
    monkeypatch.setenv("ROUTER_URL", router.url)
    return router


class Shown:
    """`top` on a terminal of its own: what it has written, until it ends."""

    def __init__(self) -> None:
        self.text = ""

    async def until(self, word: str, end: signal.Signals = signal.SIGINT, **env: str) -> int:
        """Start it, wait until it has written this, and end it, else as Ctrl-C does. Gives the exit code."""
        ours, theirs = pty.openpty()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "router", "top", "--interval", "0.1",
            stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "COLUMNS": "80", "LINES": "24", **env},
        )  # fmt: skip
        os.close(theirs)
        reading = asyncio.create_task(asyncio.to_thread(self._read, ours))
        try:
            await eventually(lambda: word in self.text, within=60)
            process.send_signal(end)
            async with asyncio.timeout(30):
                code = await process.wait()
            await reading
        finally:
            with suppress(ProcessLookupError):
                process.kill()
        return code

    def _read(self, terminal: int) -> None:
        with suppress(OSError):  # its other end is closed
            while data := os.read(terminal, 65536):
                self.text += data.decode("utf-8", "replace")
        os.close(terminal)


async def test_once(router, capsys, monkeypatch):
    """A frame of the size that is asked for; for programs, what it is made of."""
    del router
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    assert await asyncio.to_thread(main, ["top", "--once"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.split()[:3] == ["box", "up", "demo"] for line in lines)
    assert "No request is under way." in lines
    assert await asyncio.to_thread(main, ["top", "--once", "--json"]) == 0
    assert json.loads(capsys.readouterr().out).keys() == {"status", "requests", "events"}


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
async def test_on_a_terminal(router, end):
    """It has the screen for itself, and gives it back."""
    del router
    shown = Shown()
    assert await shown.until("No request is under way.", end, TERM="xterm-256color", NO_COLOR="") == 0
    assert "\x1b[?1049h" in shown.text
    assert "\x1b[?1049l" in shown.text
    assert COLOUR.search(shown.text)


async def test_without_colours(router):
    """With NO_COLOR there are none."""
    del router
    shown = Shown()
    assert await shown.until("No request is under way.", TERM="xterm-256color", NO_COLOR="1") == 0
    assert "\x1b[?1049h" in shown.text
    assert not COLOUR.search(shown.text)


async def test_on_a_terminal_that_can_do_nothing(router):
    """Frames come one below the other."""
    del router
    shown = Shown()
    assert await shown.until("No request is under way.", TERM="dumb") == 0
    assert "\x1b" not in shown.text


async def test_a_router_that_restarts_is_waited_for(fake, tmp_path, unused_tcp_port):
    """Its loss is shown, and what was seen last; then it is there again."""
    config = Config.model_validate({
        "server": {"port": unused_tcp_port}, "health": {"interval": "1h"},
        "backends": [{"url": fake.url, "models": ["demo"], "name": "box"}],
    })  # fmt: skip
    looks: list[top.Look] = []

    def shows(lost: bool) -> bool:
        return bool(looks) and bool(looks[-1].seen.lost) == lost

    first = App(config, tmp_path)
    await first.start()
    async with aiohttp.ClientSession() as session:
        watching = asyncio.create_task(top.watch(Running(session, first.url), looks.append, 0.02))
        await eventually(lambda: shows(lost=False))
        await first.kill()
        await eventually(lambda: shows(lost=True))
        assert looks[-1].seen.lost.startswith("LOST for ")
        assert "(nothing listens there)" in looks[-1].seen.lost
        assert [each.name for each in looks[-1].seen.status.backends] == ["box"]
        second = App(config, tmp_path)
        await second.start()
        await eventually(lambda: shows(lost=False))
        watching.cancel()
        await second.kill()
        with pytest.raises(CommandError, match="nothing listens there"):
            await top.watch(Running(session, first.url), looks.append, 0.02)


async def test_it_ends_with_its_reader(router):
    """As behind `| head -1`, where there is more to print."""
    del router
    async with started(sys.executable, "-m", "router", "top", "--interval", "0.1") as process:
        assert await first_line(process)
        async with asyncio.timeout(30):
            assert await process.wait() == 0


@pytest.mark.parametrize("interval", ["0", "-1", "nan", "inf", "soon"])
def test_an_interval_that_is_none(interval, capsys):
    with pytest.raises(SystemExit) as left:
        main(["top", f"--interval={interval}"])
    assert left.value.code == 2
    assert f"'{interval}': write seconds, from 0.1 to 3600" in capsys.readouterr().err
