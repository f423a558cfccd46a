"""What this machine and this process have: read when somebody asks, and not more often than it is worth."""

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Final

import psutil

from router.api.admin.status import DeviceTold, MachineTold, RouterTold
from router.distribution import VERSION
from router.management.devices import DeviceNow, Devices
from router.telemetry.lag import Lag

MEASURE_OVER: Final = 1.0
"""Seconds over which the CPU's work is measured at least, however many ask for it."""


class Busy:
    """How busy a CPU is, in percent, since it was measured last; `measure` tells that, and begins anew."""

    def __init__(self, measure: Callable[[], float], clock: Callable[[], float] = time.monotonic) -> None:
        self._measure = measure
        self._clock = clock
        self._told = 0.0
        self._at = clock()
        # The first call only begins the measurement.
        measure()

    @property
    def percent(self) -> float:
        """The latest figure: one that was measured over too short a time would say nothing."""
        if self._clock() - self._at >= MEASURE_OVER:
            self._told, self._at = self._measure(), self._clock()
        return self._told


@dataclass(frozen=True, slots=True)
class ProcessNow:
    """This process: its CPU time, its bytes of RAM, its open files, how many it may open, when it was started.

    Files are None where the system doesn't tell or doesn't bound them.
    """

    cpu_seconds: float
    memory: int
    files: int | None
    most_files: int | None
    started: float


class Machine:
    """Describes the machine and the process."""

    def __init__(self, devices: Devices) -> None:
        self.lag = Lag()
        self.devices = devices
        self._process = psutil.Process()
        self._started = time.time()
        self.cpu = Busy(psutil.cpu_percent)
        self.own_cpu = Busy(self._process.cpu_percent)

    async def machine(self) -> MachineTold:
        """Describe the machine."""
        memory = psutil.virtual_memory()
        return MachineTold(
            cpus=os.cpu_count() or 1,
            cpu_percent=self.cpu.percent,
            memory_bytes=memory.total,
            memory_available=memory.available,
            devices=tuple(map(told, await self.devices.fresh())),
        )

    def router(self, in_flight: int, queued: int) -> RouterTold:
        """Describe this process; `in_flight` and `queued` are its requests."""
        process = self._process
        with process.oneshot():
            return RouterTold(
                version=VERSION,
                pid=process.pid,
                started=round(self._started, 3),
                uptime=round(time.time() - self._started, 1),
                cpu_percent=self.own_cpu.percent,
                memory_bytes=process.memory_info().rss,
                descriptors=self._files(),
                loop_lag=round(self.lag.worst, 4),
                in_flight=in_flight,
                queued=queued,
            )

    def _files(self) -> int | None:
        return self._process.num_fds() if hasattr(self._process, "num_fds") else None

    def _most_files(self) -> int | None:
        if not hasattr(self._process, "rlimit"):  # but on Linux
            return None
        most: int = self._process.rlimit(psutil.RLIMIT_NOFILE)[0]
        return None if most == psutil.RLIM_INFINITY else most

    def process(self) -> ProcessNow:
        """Look at this process."""
        process = self._process
        with process.oneshot():
            used, memory = process.cpu_times(), process.memory_info().rss
        return ProcessNow(used.user + used.system, memory, self._files(), self._most_files(), process.create_time())


def told(device: DeviceNow) -> DeviceTold:
    """Describe a device."""
    return DeviceTold(
        name=device.name, bytes=device.total, free=device.free, held=device.held, **asdict(device.sensors)
    )
