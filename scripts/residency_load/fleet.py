"""A router in a process of its own, on models that are loaded when they are wanted."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec
import psutil

from scripts.instruments.answers import HttpAnswer
from scripts.instruments.client import ClientPool, LoadTarget
from scripts.instruments.processes import ROOT, family

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from scripts.residency_load.models import ModelFile

ARGS: Final[Mapping[str, Mapping[str, object]]] = {
    "llama_server": {"ctx-size": 2048, "parallel": 2, "cache-ram": 0, "threads": 1, "threads-batch": 1},
    "llama_cpp": {"n_ctx": 1024, "logits_all": False, "n_threads": 1, "n_threads_batch": 1},
}
"""An engine → its arguments: short contexts, and nothing kept of earlier requests, so that weights are what counts. Of
several threads each waits for the others, which takes longer than the work on a busy machine."""

ADMIN_WITHIN: Final = 300.0
_STARTS_WITHIN: Final = 60.0
_STOPS_WITHIN: Final = 60.0
_LISTENS = re.compile(r"listening at (http://\S+)")
_READY = re.compile(r"(\S+): ready\b")


class RouterFailedError(Exception):
    """The router didn't start, didn't stop, or answered a request of ours with an error; with what it said."""


@dataclass(frozen=True)
class Settings:
    """What router.yaml says. `limit` is in bytes; `launch` holds further keys of each launch."""

    engine: str
    models: Sequence[ModelFile]
    limit: int
    max_wait: float = 120.0
    launch: Mapping[str, object] = field(default_factory=dict)

    def document(self) -> dict[str, object]:
        """Write it as data; JSON is YAML."""
        launch = {"engine": self.engine, "load": "on_demand", "args": ARGS.get(self.engine, {}), **self.launch}
        return {
            "server": {"port": 0},
            "memory": {"limit": {"ram": self.limit}, "max_wait": f"{self.max_wait:g}s"},
            "state": {"dir": "state"},
            "limits": {"max_queue": 4096, "queue_timeout": "10m"},
            "backends": [
                {"name": each.name, "models": [each.name], "launch": {**launch, "model": str(each.path)}}
                for each in self.models
            ],
        }


class RouterProcess:
    """`python -m router`, from entering to leaving. `lines` is what it said.

    Its folder has router.yaml, `logs`, `state`, and `tmp`, where all temporary files of it and of its engines go. `env`
    holds variables over our own; `within` is a command that runs the router as its words.
    """

    def __init__(
        self, folder: Path, settings: Settings, *, env: Mapping[str, str] | None = None, within: Sequence[str] = ()
    ) -> None:
        self.folder = folder
        self._env = {**os.environ, "TMPDIR": str(folder / "tmp"), **(env or {})}
        self._within = within
        self._is_killed = False
        self.settings = settings
        self.lines: list[str] = []
        self.target: LoadTarget
        self.pool: ClientPool
        self._process: asyncio.subprocess.Process
        self._reading: asyncio.Task[None]
        self._listens = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Start it; it listens."""
        (self.folder / "tmp").mkdir(parents=True, exist_ok=True)
        path = self.folder / "router.yaml"
        path.write_text(json.dumps(self.settings.document(), indent=1), encoding="utf-8")
        self._process = await asyncio.create_subprocess_exec(
            *self._within, sys.executable, "-m", "router", "--config", str(path), cwd=ROOT, env=self._env,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        self._reading = asyncio.create_task(self._read())
        with suppress(TimeoutError):
            async with asyncio.timeout(_STARTS_WITHIN):
                await self._listens.wait()
        if not hasattr(self, "target"):
            await self._end()
            raise RouterFailedError("the router doesn't listen; it said:\n" + "\n".join(self.lines))
        return self

    async def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101  (it is a pipe)
        async for line in self._process.stdout:
            self.lines.append(line.decode(errors="replace").rstrip())
            if not hasattr(self, "target") and (found := _LISTENS.search(self.lines[-1])):
                self.target = LoadTarget("router", found[1])
                self.pool = ClientPool(self.target)
                self._listens.set()
        self._listens.set()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it, and all that it has started. Raises RouterFailedError where it doesn't stop well."""
        self.pool.close()
        code = await self._end()
        if code != 0 and error is None and not self._is_killed:
            raise RouterFailedError(f"the router stopped with {code}; it said:\n" + "\n".join(self.lines[-40:]))

    async def _end(self) -> int:
        members = self.members()
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(_STOPS_WITHIN):
                code = await self._process.wait()
        except TimeoutError:
            self._process.kill()
            code = await self._process.wait()
        await self._reading
        for each in members:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        return code

    async def kill(self) -> None:
        """Kill the router's process alone, as the kernel does where memory is short."""
        self._is_killed = True
        self._process.kill()
        await self._process.wait()

    # Its processes

    @property
    def pid(self) -> int:
        """The router's own process."""
        return self._process.pid

    def members(self) -> list[psutil.Process]:
        """Give the router's process and all below it."""
        with suppress(psutil.NoSuchProcess):
            return family(psutil.Process(self.pid))
        return []

    def engines(self) -> list[psutil.Process]:
        """Give the engines' processes, of all backends together."""
        return [each for each in self.members()[1:] if not _is_keeper(each)]

    def starts(self) -> dict[str, int]:
        """Count how often each backend has become ready, by its log."""
        found: dict[str, int] = {}
        for line in self.lines:
            if match := _READY.search(line):
                found[match[1]] = found.get(match[1], 0) + 1
        return found

    # Its management

    async def admin(self, method: str, path: str) -> Any:  # noqa: ANN401  (JSON)
        """Ask the management API. Raises RouterFailedError unless it answers with 200."""
        answer = HttpAnswer()
        await self.pool.ask(self.target.request(method, path), answer, ADMIN_WITHIN)
        if answer.failure:
            raise RouterFailedError(f"{method} {path}: {answer.failure}: {answer.detail}")
        return msgspec.json.decode(answer.body)

    async def models(self) -> Any:  # noqa: ANN401  (JSON)
        """Tell each model with its state and its memory."""
        return await self.admin("GET", "/admin/models")

    async def load(self, name: str) -> None:
        """Load a model, and wait until it is there."""
        await self.admin("POST", f"/admin/models/{name}/load")

    async def unload(self, name: str) -> None:
        """Unload a model, and wait until it is gone."""
        await self.admin("POST", f"/admin/models/{name}/unload")


def _is_keeper(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return any("launchers.keeper" in word for word in process.cmdline())
    return False
