"""The router as process 1 of a container: no zombie stays, signals reach it, and its end is the container's."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress

import psutil
import pytest

from tests.fakes.engine import FakeEngine
from tests.integration.raw import ASK, post
from tests.running import REPOSITORY, RunningRouter, alive, descendants, eventually

UNSHARE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def is_allowed() -> bool:
    return shutil.which("unshare") is not None and subprocess.run([*UNSHARE, "true"], check=False).returncode == 0


pytestmark = pytest.mark.skipif(not is_allowed(), reason="this user may not make namespaces of processes")


class Contained(RunningRouter):
    """A router that is process 1 of a namespace of its own; `process` is who made that."""

    async def __aenter__(self):
        self.process = await asyncio.create_subprocess_exec(
            *UNSHARE, sys.executable, "-m", "router", *self._options,
            cwd=REPOSITORY, env=self._env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        self._listening = asyncio.create_task(self._listen())
        return self

    @property
    def init(self) -> psutil.Process:
        """Process 1, as it is seen from outside."""
        (init,) = psutil.Process(self.process.pid).children()
        return init

    def inside(self, code: str) -> None:
        """Run some Python in the namespace, as `docker exec` does; whatever it leaves is process 1's."""
        enter = ["nsenter", "--target", str(self.init.pid), "--pid", "--mount"]
        subprocess.run([*enter, sys.executable, "-c", code], check=True)


def is_zombie(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.status() == psutil.STATUS_ZOMBIE
    return False


def config(fake: FakeEngine) -> str:
    return f"server: {{port: 0}}\nbackends: [{{url: '{fake.url}', name: b, models: [demo]}}]\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_requests_end(tmp_path, number, raw):
    """As `docker stop` sends it: the stream under way ends whole, and the container with 0."""
    async with FakeEngine(events=30, delay=0.02) as fake, Contained(tmp_path, config(fake)) as router:
        await router.ready()
        client = await raw(router)
        client.send(post({**ASK, "stream": True}))
        await client.reader.readuntil(b"data: ")
        router.init.send_signal(number)
        assert b"[DONE]" in await client.rest()
        assert await router.exit_code() == 0


async def test_a_signal_during_the_imports(tmp_path):
    """It isn't lost, as signals to process 1 are that nobody handles."""
    async with FakeEngine() as fake, Contained(tmp_path, config(fake)) as router:
        await eventually(lambda: len(descendants(router.process.pid)) == 2)
        router.init.send_signal(signal.SIGTERM)
        assert await router.exit_code() in {0, 143}
        assert "Traceback" not in router.said


async def test_orphans_of_others_are_reaped(tmp_path):
    """Those of a health check, or of `docker exec`."""
    async with FakeEngine() as fake, Contained(tmp_path, config(fake)) as router:
        await router.ready()
        before = len(descendants(router.process.pid))
        for _ in range(3):
            router.inside("import os, time; os.fork() or (os.setsid(), time.sleep(0.1))")
        await eventually(lambda: len(descendants(router.process.pid)) == before)
        router.init.send_signal(signal.SIGTERM)
        assert await router.exit_code() == 0


async def test_an_engine_that_crashes_leaves_no_zombie(tmp_path):
    """Nor do its workers; and with the router everything ends."""
    (tmp_path / "m.gguf").write_bytes(b"this is no model")
    words = "server: {port: 0}\nbackends: [{name: m, launch: {model: m.gguf}}]\n"
    async with Contained(tmp_path, words) as router:
        await eventually(lambda: router.said.count("next try in") >= 2, within=60)
        await eventually(lambda: not any(map(is_zombie, descendants(router.process.pid))))
        tree = descendants(router.process.pid)
        router.init.send_signal(signal.SIGTERM)
        assert await router.exit_code() == 0
        assert not any(alive(each) for each in tree)


async def test_the_routers_end_is_the_containers(tmp_path):
    """Also where it is killed: what it was ended by is told, and nothing is left of its engine's files."""
    (tmp_path / "tmp").mkdir()
    (tmp_path / "m.gguf").write_bytes(b"this is no model")
    words = "server: {port: 0, keep_engines: true}\nbackends: [{name: m, launch: {model: m.gguf}}]\n"
    async with Contained(tmp_path, words, env={**os.environ, "TMPDIR": str(tmp_path / "tmp")}) as router:
        await eventually(lambda: list((tmp_path / "logs" / "run").glob("*.json")), within=60)
        (inner,) = [each for each in router.init.children() if each.cmdline()[1:3] == ["-m", "router"]]
        inner.kill()
        assert await router.exit_code() == 128 + signal.SIGKILL
    assert list((tmp_path / "tmp").iterdir()) == []
