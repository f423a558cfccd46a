"""system.log: how this machine and this process are."""

from dataclasses import asdict
from typing import Final

import psutil
import structlog

from router.management.machine import Machine
from router.telemetry.history import Moment
from router.telemetry.logs import SYSTEM

log = structlog.get_logger(SYSTEM)

_OF_ROUTER: Final = {"uptime", "cpu_percent", "memory_bytes", "descriptors", "loop_lag", "in_flight", "queued"}


def write(machine: Machine, now: Moment) -> None:
    """Write a line. GPUs are as they were read last: to read one that sleeps would wake it."""
    memory = psutil.virtual_memory()
    log.info(
        "system",
        cpu_percent=now.cpu_percent,
        memory_bytes=memory.total,
        memory_available=memory.available,
        router=machine.router(now.in_flight, now.queued).model_dump(include=_OF_ROUTER),
        devices={
            each.name: {"total": each.total, "free": each.free, "held": dict(each.held), **asdict(each.sensors)}
            for each in machine.devices.now()
        },
        in_flight=dict(now.in_flight_by),
    )
