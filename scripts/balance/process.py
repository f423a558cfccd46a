"""A process that listens: started, found by the address in its log, and ended."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from scripts.instruments.answers import HttpAnswer
from scripts.instruments.client import ClientPool, LoadTarget
from scripts.instruments.processes import ROOT, DidNotStartError

_START_WITHIN = 60.0
_ANSWER_WITHIN = 30.0
_LISTENING = re.compile(r"listening at (http://[\d.:]+)")


@dataclass(frozen=True)
class ListeningProcess:
    """A process that listens at a URL."""

    url: str
    process: psutil.Process

    def cpu(self) -> float:
        """Give the CPU time that it has taken, in seconds."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    async def ask(self, method: str, path: str) -> bytes:
        """Ask it something, and give its answer. Raises OSError, where that isn't 200."""
        return await ask(self.url, method, path)

    async def ready(self) -> None:
        """Wait until /ready is 200. Raises TimeoutError."""
        async with asyncio.timeout(_START_WITHIN):
            while True:
                with suppress(OSError):
                    await self.ask("GET", "/ready")
                    return
                await asyncio.sleep(0.05)


async def ask(url: str, method: str, path: str) -> bytes:
    """Ask a process something, and give its answer. Raises OSError, where that isn't 200."""
    pool, answer = ClientPool(LoadTarget("process", url)), HttpAnswer()
    await pool.ask(pool.target.request(method, path), answer, _ANSWER_WITHIN)
    pool.close()
    if answer.status != 200:
        raise OSError(f"{method} {url}{path}: {answer.failure or answer.status} {answer.detail}")
    return answer.body


@asynccontextmanager
async def running(
    command: Sequence[str], log: Path, folder: Path = ROOT, patience: float = 0.0
) -> AsyncIterator[ListeningProcess]:
    """Run a process in a folder, from when it says where it listens to the end of the block.

    There it is killed, or, with `patience`, asked to end, and killed so many seconds later.
    """
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(*command, cwd=folder, stdout=output, stderr=output)
    try:
        url = await asyncio.wait_for(_listens(process, log), _START_WITHIN)
        yield ListeningProcess(url, psutil.Process(process.pid))
    finally:
        await end(process, patience)


async def end(process: asyncio.subprocess.Process, patience: float = 0.0) -> None:
    """End a process: kill it, or, with `patience`, ask it to end, and kill it so many seconds later."""
    with suppress(ProcessLookupError, TimeoutError):
        if patience:
            process.terminate()
            await asyncio.wait_for(process.wait(), patience)
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()


async def _listens(process: asyncio.subprocess.Process, log: Path) -> str:
    while process.returncode is None:
        if found := _LISTENING.search(_read(log)):
            return found[1]
        await asyncio.sleep(0.05)
    raise DidNotStartError(f"A process ended at once; it said:\n{_read(log)}")


def _read(log: Path) -> str:
    return log.read_text(encoding="utf-8")
