"""What is said, read and watched can't stop the machine: odd letters, streams that nobody reads, FIFOs, no watches."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from tests.fakes.engine import FakeEngine
from tests.integration.raw import ASK
from tests.integration.test_stopping import Quiet, config
from tests.running import REPOSITORY, RunningRouter, eventually

CHAT = "/v1/chat/completions"
PIPE = asyncio.subprocess.PIPE


async def ask(url: str, model: str = "demo") -> int:
    """Ask for an answer; give its status."""
    async with aiohttp.ClientSession() as session, session.post(url + CHAT, json={**ASK, "model": model}) as answer:
        await answer.read()
        return answer.status


async def address_in(log: Path) -> str:
    """Wait until the router has said in its log where it listens."""
    await eventually(lambda: log.exists() and "listening at " in log.read_text())
    return log.read_text().split("listening at ")[1].split('"')[0]  # noqa: ASYNC240


async def until_named(url: str, names: set[str]) -> None:
    """Wait until these are all models that there are."""
    found: set[str] = set()
    async with aiohttp.ClientSession() as session, asyncio.timeout(30):
        while found != names:
            await asyncio.sleep(0.05)
            async with session.get(url + "/v1/models") as answer:
                found = {each["id"] for each in (await answer.json())["data"]}


@pytest.mark.parametrize("encoding", ["ascii", "ascii:strict", "latin-1", "utf-8"])
async def test_a_name_that_the_terminal_can_not_show(tmp_path, encoding):
    """It is shown in ASCII, and its model answers."""
    words = "server: {port: 0}\nbackends: [{url: URL, name: 狐, models: [模型]}]\n"
    async with FakeEngine(models=["模型"]) as fake:
        env = {**os.environ, "PYTHONIOENCODING": encoding}
        async with RunningRouter(tmp_path, words.replace("URL", fake.url), env=env) as router:
            await router.ready()
            await eventually(lambda: "Ready at" in router.said)
            assert await ask(router.url, "模型") == 200
            assert ("模型" if encoding == "utf-8" else "\\u6a21\\u578b") in router.said
            router.signal()
            assert await router.exit_code() == 0
            assert "Traceback" not in router.said


async def test_streams_that_nobody_reads_hold_up_nobody(tmp_path):
    """A pipe that is full: what is said waits beside the requests, or is left out."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 1024)
    os.set_blocking(writing, True)
    try:
        async with FakeEngine() as fake, Quiet(tmp_path, config(fake), stdout=writing, stderr=writing) as router:
            log = tmp_path / "logs" / "router.log"
            url = await address_in(log)
            async with aiohttp.ClientSession() as session, asyncio.timeout(60):
                for _ in range(50):
                    async with session.post(url + CHAT, json={**ASK, "fake": {"fault": "close_before"}}) as answer:
                        assert answer.status >= 500
                await eventually(lambda: '"warning"' in log.read_text())
                async with session.get(url + "/health") as answer:
                    assert answer.status == 200
            router.signal(signal.SIGTERM)
            assert await router.exit_code(within=15) == 0
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "0<&- 1>&- 2>&-"])
async def test_closed_streams_harm_nobody(tmp_path, closed):
    """Whoever starts it so wants to hear nothing."""
    async with FakeEngine() as fake:
        (tmp_path / "router.yaml").write_text(config(fake))
        script = f"exec {sys.executable} -m router --config {tmp_path}/router.yaml {closed}"
        process = await asyncio.create_subprocess_exec("/bin/sh", "-c", script, cwd=REPOSITORY)
        try:
            url = await address_in(tmp_path / "logs" / "router.log")
            assert await ask(url) == 200
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(20):
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


@pytest.mark.parametrize("place", ["router.yaml", "part.yaml"])
async def test_a_fifo_in_a_files_place_is_a_mistake_like_any_other(tmp_path, place):
    """It stops neither the router, nor what is reloaded after it, nor its end."""
    async with FakeEngine(models=["demo", "new"]) as fake:
        words = config(fake, "include: [part.yaml]" if place == "part.yaml" else "")
        (tmp_path / "part.yaml").write_text("balance: {policy: random}\n")
        async with RunningRouter(tmp_path, words) as router:
            await router.ready()
            before = (tmp_path / place).read_text()
            (tmp_path / place).unlink()
            os.mkfifo(tmp_path / place)
            await eventually(lambda: f"{place}: is no ordinary file" in router.said)
            assert await ask(router.url) == 200
            router.signal(signal.SIGHUP)
            await eventually(lambda: router.said.count("is no ordinary file") == 2)
            (tmp_path / place).unlink()
            (tmp_path / place).write_text(before)
            (tmp_path / "router.yaml").write_text(words.replace("[demo]", "[demo, new]"))
            await until_named(router.url, {"demo", "new"})
            (tmp_path / place).unlink()
            os.mkfifo(tmp_path / place)
            await eventually(lambda: router.said.count("is no ordinary file") == 3)
            router.signal(signal.SIGTERM)
            assert await router.exit_code() == 0


def may_unshare() -> bool:
    """Tell whether a namespace of its own can be had, in which there are no inotify instances."""
    command = ["unshare", "-U", "-r", "sh", "-c", "echo 0 > /proc/sys/user/max_inotify_instances"]
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not may_unshare(), reason="this system lets nobody take its inotify instances away")
async def test_without_an_inotify_instance_the_file_is_followed_all_the_same(tmp_path):
    """An editor and an indexer hold all that there are: it is looked at by the clock, which is said once."""

    class Unwatched(RunningRouter):
        async def __aenter__(self):
            start = f"{sys.executable} -m router --config {tmp_path}/router.yaml"
            script = f"echo 0 > /proc/sys/user/max_inotify_instances; exec {start}"
            self.process = await asyncio.create_subprocess_exec(
                *("unshare", "-U", "-r", "sh", "-c", script),
                cwd=REPOSITORY,
                stdout=PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            self._listening = asyncio.create_task(self._listen())
            return self

    async with FakeEngine(models=["demo", "new"]) as fake, Unwatched(tmp_path, config(fake)) as router:
        await router.ready()
        for models in ("[demo, new]", "[new]", "[demo]"):
            (tmp_path / "router.yaml").write_text(config(fake).replace("[demo]", models))
            await until_named(router.url, set(models.strip("[]").split(", ")))
        assert router.said.count("the system can't tell when router.yaml changes") == 1
        router.signal(signal.SIGTERM)
        assert await router.exit_code() == 0
