"""A router in a process of its own, as a person would start it."""

import asyncio
import json
import re
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
import psutil

from launchers.files import read_ordinary

REPOSITORY = Path(__file__).parent.parent

_DEAD: list[socket.socket] = []


def dead_port() -> int:
    """Give a port that refuses connections, and that no other test gets: it stays bound, and nobody listens at it."""
    if not _DEAD:
        _DEAD.append(socket.socket())
        _DEAD[0].bind(("127.0.0.1", 0))
    return int(_DEAD[0].getsockname()[1])


def dead_url() -> str:
    """Give the address of one."""
    return f"http://127.0.0.1:{dead_port()}"


async def eventually(condition: Callable[[], object], within: float = 30.0) -> None:
    """Wait until a condition holds; fail if it doesn't within so many seconds."""
    until = time.monotonic() + within
    while not condition():
        assert time.monotonic() < until, "it never came true"
        await asyncio.sleep(0.005)


async def first_line(process: asyncio.subprocess.Process, within: float = 60.0) -> bytes:
    """Read the first line that a process prints, and no more, as `| head -1` does."""
    assert process.stdout is not None
    try:
        async with asyncio.timeout(within):
            return await process.stdout.readline()
    except TimeoutError:
        process.kill()
        raise
    finally:
        process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]


@asynccontextmanager
async def started(
    *command: str, stdout: int | None = asyncio.subprocess.PIPE, stderr: int | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start a command in the repository; at the end it is gone with all that it started, whatever the test met.

    One that outlived its test would fail the tests after it: its pipes belong to a loop that is closed.
    """
    process = await asyncio.create_subprocess_exec(*command, cwd=REPOSITORY, stdout=stdout, stderr=stderr)
    try:
        yield process
    finally:
        for each in descendants(process.pid):
            with suppress(psutil.NoSuchProcess):
                each.kill()
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def descendants(pid: int) -> list[psutil.Process]:
    """Give what a process has started, and what those have; nothing of a process that is gone."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=True)
    return []


def alive(process: psutil.Process) -> bool:
    """Whether a process still runs: one that nobody has waited for yet is gone all the same."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def words_of(process: psutil.Process) -> list[str]:
    """Give the words of a process's command; none of one that is gone, or going."""
    with suppress(psutil.Error):
        return process.cmdline()
    return []


def is_keeper(process: psutil.Process) -> bool:
    """Whether a process is the keeper of a router's engines."""
    return any("launchers.keeper" in word for word in words_of(process))


class RunningRouter:
    """`python -m router` on a router.yaml of these words, from entering to leaving; then nothing of it is left."""

    def __init__(self, folder: Path, config: str, *options: str, env: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.said = ""
        self.url = ""
        self._options = options or ("--config", str(folder / "router.yaml"))
        self._env = env
        self._config = config
        (folder / "router.yaml").write_text(config, encoding="utf-8")

    async def __aenter__(self) -> Self:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "router", *self._options,
            cwd=REPOSITORY, env=self._env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        self._listening = asyncio.create_task(self._listen())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        left = descendants(self.process.pid)
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()
        await self._listening
        print(self.said)  # noqa: T201  (pytest shows it of a test that fails)
        with suppress(OSError):  # what lies in its place by now may be anything
            self._config = read_ordinary(self.folder / "router.yaml").decode()
        if "keep_engines: true" not in self._config:
            with suppress(AssertionError):  # its keeper cleans up
                await eventually(lambda: not any(alive(each) for each in left if is_keeper(each)), within=10)
        for each in left:
            with suppress(psutil.NoSuchProcess):
                each.kill()

    async def _listen(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.said += line.decode()
            if found := re.search(r"listening at (https?://[^\s\"]+)", self.said):
                self.url = found[1]

    @property
    def engines(self) -> list[psutil.Process]:
        """The engines' processes that run now: those of its keeper."""
        return [each for each in descendants(self.process.pid) if alive(each) and not is_keeper(each)]

    @property
    def keeper(self) -> psutil.Process:
        """The process that keeps its engines."""
        (keeper,) = filter(is_keeper, descendants(self.process.pid))
        return keeper

    def key(self, engine: str = "demo") -> dict[str, str]:
        """Give the header without which an engine answers nobody."""
        (record,) = self.folder.rglob(f"run/{engine}.json")
        return {"authorization": f"Bearer {json.loads(record.read_text())['key']}"}

    def signal(self, number: signal.Signals = signal.SIGINT) -> None:
        """Send a signal, as Ctrl-C does."""
        self.process.send_signal(number)

    async def exit_code(self, within: float = 20.0) -> int:
        """Wait until it has ended; give its exit code."""
        async with asyncio.timeout(within):
            code = await self.process.wait()
            await self._listening
        return code

    async def ready(self, within: float = 60.0) -> Self:
        """Wait until a model can be served."""
        until = time.monotonic() + within
        async with aiohttp.ClientSession() as session:
            while time.monotonic() < until and self.process.returncode is None:
                with suppress(aiohttp.ClientError):
                    if self.url and (await session.get(self.url + "/ready")).status == 200:
                        return self
                await asyncio.sleep(0.02)
        raise AssertionError(f"it never became ready; it said:\n{self.said}")
