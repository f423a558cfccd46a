"""A folder has one router; and what the end of its terminal means for a router and its engines."""

import asyncio
import os
import pty
import signal
import sys
from contextlib import suppress

import pytest

from tests.fakes.engine import FakeEngine
from tests.integration.raw import ASK, post
from tests.integration.test_nothing_survives import Nasty
from tests.running import REPOSITORY, RunningRouter, alive, eventually

REMOTE = "server: {port: 0}\nbackends: [{url: 'http://127.0.0.1:9', models: [m]}]\n"


async def test_a_folder_has_one_router(tmp_path):
    """The second says who is there, and changes nothing. With a folder of its own it starts; so does one after it."""
    async with RunningRouter(tmp_path, REMOTE) as first:
        await eventually(lambda: first.url)
        log = tmp_path / "logs" / "router.log"
        await eventually(lambda: first.url in (tmp_path / "logs" / "router.lock").read_text())
        async with RunningRouter(tmp_path, REMOTE) as second:
            assert await second.exit_code() == 2
            assert f"another router (pid {first.process.pid}, at {first.url}, of " in second.said
            assert f"(kill {first.process.pid})" in second.said
            assert "Traceback" not in second.said
        assert log.read_text().count("listening at") == 1
        async with RunningRouter(tmp_path, REMOTE + "logging: {dir: logs2}\n") as other:
            await eventually(lambda: other.url)
        first.signal(signal.SIGKILL)
        await first.exit_code()
        async with RunningRouter(tmp_path, REMOTE) as next_one:
            await eventually(lambda: next_one.url)


class Controlled(RunningRouter):
    """A router that leads the session of a terminal, as one does that a person starts in a window of its own.

    Its output goes to a pipe. `by` is the program that starts it.
    """

    def __init__(self, folder, config, *by, env=None) -> None:
        super().__init__(folder, config, env=env)
        self._by = by
        self._terminal, self._its = pty.openpty()

    async def __aenter__(self):
        name = os.ttyname(self._its)

        def take_terminal() -> None:
            os.setsid()
            # The first terminal that a session's leader opens controls the session.
            os.close(os.open(name, os.O_RDWR))

        self.process = await asyncio.create_subprocess_exec(
            *self._by, sys.executable, "-m", "router", *self._options,
            cwd=REPOSITORY, env=self._env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            preexec_fn=take_terminal,
        )  # fmt: skip
        os.close(self._its)
        self._listening = asyncio.create_task(self._listen())
        return self

    def close_terminal(self) -> None:
        """Close the window: the kernel tells the router."""
        with suppress(OSError):
            os.close(self._terminal)


async def test_the_end_of_its_terminal_stops_it(tmp_path, raw):
    """Wherever its output goes, as Ctrl-C does: the stream under way ends whole."""
    async with FakeEngine(events=30, delay=0.02) as fake:
        config = f"server: {{port: 0}}\nbackends: [{{url: '{fake.url}', models: [demo]}}]\n"
        async with Controlled(tmp_path, config) as router:
            await router.ready()
            client = await raw(router)
            client.send(post({**ASK, "stream": True}))
            await client.reader.readuntil(b"data: ")
            router.close_terminal()
            assert b"[DONE]" in await client.rest()
            assert await router.exit_code() == 0
            assert "the terminal is gone" in router.said


async def test_under_nohup_it_stays(tmp_path):
    """It reads its file again, as at any SIGHUP, and goes on."""
    async with Controlled(tmp_path, REMOTE, "nohup") as router:
        await eventually(lambda: router.url)
        router.close_terminal()
        await eventually(lambda: "nothing has changed" in router.said)
        router.signal(signal.SIGHUP)
        await eventually(lambda: router.said.count("nothing has changed") == 2)
        router.signal(signal.SIGTERM)
        assert await router.exit_code() == 0


@pytest.mark.parametrize("keep", [False, True])
async def test_engines_at_the_end_of_the_terminal(tmp_path, keep):
    """They end with the router, as at any stop; with keep_engines they stay for the next one."""
    made = Nasty(tmp_path)
    asked = made.router("session", keep=keep)
    try:
        async with Controlled(tmp_path, asked._config, env=asked._env) as router:
            await router.ready()
            engine = made.processes()[0]
            router.close_terminal()
            assert await router.exit_code() == 0
            assert alive(engine) is keep
        if keep:
            async with made.router("session", keep=True) as router:
                await router.ready()
                assert alive(engine)
        if not keep:
            await eventually(made.is_clean)
    finally:
        made.kill()
