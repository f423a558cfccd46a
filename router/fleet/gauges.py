"""Watches the devices for `Residency`: how much is free, who has it, and when time alone may change a decision.

Free RAM costs nothing to read, a GPU without NVML costs a process each time. So devices are read often while a model is
on its way into memory or out of it, as then it decides who waits; else seldom, for what other programs take.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from router.core.memory.states import State
from router.fleet.loader import Loader
from router.telemetry.tasks import aside, for_ever

FREED_WITHIN = 0.1
"""Seconds between two readings while the memory of an engine that is gone is waited for. A GPU's is freed within 0.03 s
of the exit, and whoever waits for it waits for its reading, too."""

BUSY_EVERY = 0.5
"""Seconds between two readings while a model is on its way."""

LEAST_REST = 5.0
"""How many times as long as a reading takes the pause before the next one is, at least: nvidia-smi takes 60 ms and more
of a core."""

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
        # Seconds that the last reading took.
        self._took = 0.0
        self._woken = asyncio.Event()
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

    def wake(self) -> None:
        """Look at once: an engine is gone, and its memory is wanted."""
        self._woken.set()

    async def _watch(self) -> None:
        while True:
            now, residency = self._loop.time(), self._loader.residency
            if now >= self._read_at + self._pause():
                await self._take_figures()
            self._loader.do(residency.tick(self._loop.time()))
            now = self._loop.time()
            sleeps = min(LATEST, max(SOONEST, min(residency.wake(now), self._read_at + self._pause()) - now))
            self._woken.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(sleeps):
                    await self._woken.wait()

    def _pause(self) -> float:
        """Seconds between two readings, as things are."""
        states = {each.state for each in self._loader.residency.residents().values()}
        if State.RELEASING in states:
            return max(FREED_WITHIN, min(BUSY_EVERY, LEAST_REST * self._took))
        return BUSY_EVERY if states & _ON_ITS_WAY else QUIET_EVERY

    async def _take_figures(self) -> None:
        began = self._loop.time()
        figures, own = await aside(self._read, self._loader.pids())
        self._read_at = self._loop.time()
        self._took = self._read_at - began
        for each in figures:
            self._loader.do(self._loader.residency.figures(each.name, each.free, self._read_at, own.get(each.name)))
