"""Watches the devices for `Residency`: how much is free, who has it, and when time alone may change a decision.

Free RAM costs nothing to read, a GPU without NVML costs a process each time. So devices are read often while a model is
on its way into memory or out of it, as then it decides who waits; else seldom, for what other programs take.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from router.core.memory.states import State
from router.fleet.loader import Loader
from router.telemetry.tasks import aside, for_ever

BUSY_EVERY = 0.5
"""Seconds between two readings while a model is on its way. A GPU's memory is freed within 0.03 s of an exit."""

QUIET_EVERY = 10.0
"""Seconds between two readings else."""

SOONEST, LATEST = 0.02, 1.0
"""Seconds between two looks at the clock: as soon as `Residency` asks for one, and always within the second, in which
an engine may have become idle unseen."""

_ON_ITS_WAY = frozenset({State.QUEUED, State.LOADING, State.UNLOADING, State.RELEASING})


class Figures(Protocol):
    """What a device tells: its name, its free bytes."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def free(self) -> int:
        """Its free bytes."""


Own = Mapping[str, Mapping[str, int]]
"""Bytes by device and by backend, of the devices that tell them by process."""

Read = Callable[[Mapping[str, int]], tuple[Sequence[Figures], Own]]
"""Reads all devices, and what each backend's processes have there, by the pid of its first one. It may block."""


class Gauges:
    """Feeds one loader's `Residency` from its devices, until `stop`."""

    def __init__(self, loader: Loader, read: Read) -> None:
        self._loader = loader
        self._read = read
        self._read_at = 0.0
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch, once there is something to decide."""
        if self._task is None:
            self._task = asyncio.create_task(for_ever("the watch over devices", self._watch), name="devices")

    async def stop(self) -> None:
        """Watch no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _watch(self) -> None:
        while True:
            now, residency = self._loop.time(), self._loader.residency
            if now >= self._read_at + (BUSY_EVERY if self._is_busy() else QUIET_EVERY):
                await self._take_figures()
            self._loader.do(residency.tick(self._loop.time()))
            now = self._loop.time()
            await asyncio.sleep(min(LATEST, max(SOONEST, residency.wake(now) - now)))

    def _is_busy(self) -> bool:
        return any(each.state in _ON_ITS_WAY for each in self._loader.residency.residents().values())

    async def _take_figures(self) -> None:
        figures, own = await aside(self._read, self._loader.pids())
        self._read_at = self._loop.time()
        for each in figures:
            self._loader.do(self._loader.residency.figures(each.name, each.free, self._read_at, own.get(each.name)))
