"""Starts the process of one replica, or takes over the one that an earlier router left running.

What is started is found out afresh each time: another file may be in the model's folder, less of a GPU may be free,
the port is another. What a later router recognises it by is the command as it was planned, with the whole share of the
GPU: it would plan the same, and can't know how much was free.
"""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from launchers import leftovers
from launchers.engines import Engine
from launchers.errors import LaunchError, UnfitModelError
from launchers.files import Disk, Stamp, stamp
from launchers.footprints.files import READERS, cut_off
from launchers.gpus import with_share
from launchers.keys import key_of
from launchers.output import secrets_of
from launchers.ports import free_port
from launchers.process import Keepers, Process
from launchers.record import ProcessRecord
from launchers.spec import LaunchSpec
from launchers.weights import size_of, weights

log = structlog.get_logger("launchers")


@dataclass(frozen=True, slots=True)
class Started:
    """A process that was started, the port that it will serve at, and the key without which it answers nobody.

    `adopted`: an earlier router has started it.
    """

    process: Process
    port: int
    key: str
    adopted: bool = False


class Starter:
    """Starts what `spec` says, which may be replaced between two starts.

    `logs` is the folder for NAME.log and run/NAME.json, `name` is NAME. `python` is the interpreter that has the
    engine, or the engine's own program.
    """

    def __init__(
        self, spec: LaunchSpec, engine: Engine, keepers: Keepers, *, logs: Path, name: str, python: str
    ) -> None:
        self.spec = spec
        self._engine = engine
        self._keepers = keepers
        self._log = logs / f"{name}.log"
        self._record = logs / "run" / f"{name}.json"
        self._secret = logs / "engines.key"
        self._python = python
        self._key = ""

    async def start(self, share: float | None, on_gone: Callable[[], None]) -> Started:
        """Start it with this share of its GPUs, or take over what runs; `on_gone` is called when it is gone.

        Raises LaunchError where it can't be started as it is configured, and OSError where no process, no port or no
        keeper is to be had.
        """
        spec = self._found()
        return await self._adopt(on_gone) or await self._spawn(spec, share, on_gone)

    async def stamp(self) -> Stamp:
        """Look at the files that it is started from: its model, what its arguments name, its program."""
        spec = self.spec
        given = [value for value in spec.args.values() if isinstance(value, str) and "/" in value]
        return await asyncio.to_thread(stamp, [spec.source or spec.model, *given, self._python])

    async def size(self) -> int:
        """Add up the bytes of its model's files, as they are now; 0 where they aren't on this disk."""
        return await asyncio.to_thread(self._size)

    def _size(self) -> int:
        with suppress(LaunchError, OSError):
            return size_of(weights(self._found().model, {**os.environ, **self.spec.env}) or ())
        return 0

    async def left_running(self) -> ProcessRecord | None:
        """Give what an earlier router left running, if it is what would be started now.

        What is another is ended: its memory is wanted.
        """
        record = leftovers.left_running(self._record.parent, self.spec.name) if self.spec.keep else None
        if record is None:
            return None
        with suppress(LaunchError):
            if self._engine.command(self._found(), record.port, self._python).fingerprint == record.fingerprint:
                return record
        await asyncio.to_thread(leftovers.end, record)
        return None

    async def _spawn(self, spec: LaunchSpec, share: float | None, on_gone: Callable[[], None]) -> Started:
        if wrong := await asyncio.to_thread(_cut_off, spec):
            raise UnfitModelError(wrong)
        port, self._key = free_port(), key_of(self._secret, spec.name)
        planned = self._engine.command(spec, port, self._python)
        command = self._engine.command(_with_share(spec, share), port, self._python)
        process = await self._keepers.spawn(
            replace(command, env={**command.env, self._engine.key_variable: self._key}),
            self._log,
            self._record,
            on_gone,
            port=port,
            keep=spec.keep,
            fingerprint=planned.fingerprint,
            key=self._key,
            hidden=self.secrets(),
        )
        return Started(process, port, self._key)

    async def _adopt(self, on_gone: Callable[[], None]) -> Started | None:
        record = await self.left_running()
        if record is None:
            return None
        self._key = record.key
        try:
            process = await self._keepers.adopt(record, on_gone, self.secrets())
        except OSError as error:
            # It ended meanwhile, or can't be spoken to.
            log.warning(f"{self.spec.name}: can't be taken over from an earlier router, and is started anew: {error}")
            await asyncio.to_thread(leftovers.end, record)
            return None
        log.info(f"{self.spec.name}: took over the engine that an earlier router left running", pid=record.pid)
        return Started(process, record.port, record.key, adopted=True)

    def secrets(self) -> list[str]:
        """Give the texts that nothing may tell of what the engine writes, or wrote before this router was. Blocks."""
        return secrets_of(self.spec, self._key or key_of(self._secret, self.spec.name), os.environ)

    def _found(self) -> LaunchSpec:
        """Look for the model afresh. Raises ModelNotFoundError."""
        return replace(self.spec, model=self._engine.find_model(self.spec.source or self.spec.model, Disk()))


def _cut_off(spec: LaunchSpec) -> str:
    """Say which file of a model at a path is cut off; what a hub has, its engine may fetch anew."""
    if spec.engine not in READERS or not Path(spec.model).exists():
        return ""
    return cut_off(weights(spec.model, {**os.environ, **spec.env}) or ())


def _with_share(spec: LaunchSpec, share: float | None) -> LaunchSpec:
    """Lower the share of the GPUs that was planned to the one that is free."""
    claim = spec.claim
    if claim is None or share is None or share == claim.share:
        return spec
    log.warning(f"{spec.name}: takes {share:g} of its GPU's memory, instead of {claim.share:g}: no more is free")
    return replace(spec, args=with_share(spec.args, claim, share))
