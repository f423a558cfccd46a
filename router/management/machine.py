"""What this machine and this process have: read when somebody asks, and not more often than it is worth."""

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Final

import psutil

from launchers import devices
from launchers.devices import DeviceFigures
from router.api.admin.status import DeviceTold, MachineTold, RouterTold
from router.telemetry.tasks import aside

LOOK_EVERY: Final = 5.0
"""Seconds for which the figures of GPUs are good: where nvidia-smi has to be asked, it takes 50 ms of CPU."""

SAMPLE_EVERY: Final = 1.0
SAMPLES: Final = 60
"""The event loop's lag is taken each second, and the worst of a minute is told."""


class Lag:
    """How late the event loop is: the worst of the last minute, in seconds."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._late: deque[float] = deque(maxlen=SAMPLES)
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Take it from now on."""
        self._due = self._loop.time() + SAMPLE_EVERY
        self._timer = self._loop.call_at(self._due, self._sample)

    def stop(self) -> None:
        """Take it no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _sample(self) -> None:
        self._late.append(max(0.0, self._loop.time() - self._due))
        self.start()

    @property
    def worst(self) -> float:
        """The worst of the last minute."""
        return max(self._late, default=0.0)


class Machine:
    """Describes the machine and the process. `look` reads the devices, and may block."""

    def __init__(self, look: Callable[[], Sequence[DeviceFigures]] = devices.look) -> None:
        self.lag = Lag()
        self._look = look
        self._devices: Sequence[DeviceFigures] = ()
        self._looked: float | None = None
        self._process = psutil.Process()
        self._started = time.time()
        # It is read from the disk, which takes a millisecond.
        self._version = version("router")
        # The first call only begins the measurement.
        psutil.cpu_percent()
        self._process.cpu_percent()

    async def machine(self) -> MachineTold:
        """Describe the machine; its load is that since it was asked last."""
        now = time.monotonic()
        if self._looked is None or now - self._looked > LOOK_EVERY:
            self._looked = now
            self._devices = await aside(self._look)
        memory = psutil.virtual_memory()
        return MachineTold(
            cpus=os.cpu_count() or 1,
            cpu_percent=psutil.cpu_percent(),
            memory_bytes=memory.total,
            memory_available=memory.available,
            devices=tuple(DeviceTold(name=each.name, bytes=each.total, free=each.free) for each in self._devices),
        )

    def router(self, in_flight: int, queued: int) -> RouterTold:
        """Describe this process; `in_flight` and `queued` are its requests."""
        process = self._process
        with process.oneshot():
            return RouterTold(
                version=self._version,
                pid=process.pid,
                started=round(self._started, 3),
                uptime=round(time.time() - self._started, 1),
                cpu_percent=process.cpu_percent(),
                memory_bytes=process.memory_info().rss,
                descriptors=process.num_fds() if hasattr(process, "num_fds") else None,
                loop_lag=round(self.lag.worst, 4),
                in_flight=in_flight,
                queued=queued,
            )
