"""How things are when somebody scrapes: the points of all metrics that aren't counted from requests."""

import asyncio
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import Final, Protocol

from launchers.devices import cpu_seconds
from router.api.surface import stage_of
from router.distribution import VERSION
from router.fleet.fleet import Fleet
from router.fleet.reload import Reloader
from router.management.devices import DeviceNow
from router.management.machine import Machine
from router.proxy import exchange
from router.proxy.plane import Plane
from router.telemetry import families
from router.telemetry.families import Family
from router.telemetry.files import losses
from router.telemetry.logs import NAMES
from router.telemetry.metrics import Metrics, Point
from router.telemetry.refusals import RefusalLog
from router.telemetry.tasks import aside

CPU_WITHIN: Final = 1.0
"""Seconds that a scrape waits for the CPU times of engines: the table of processes may be slow to read."""

IS_COMPILED: Final = not str(exchange.__file__).endswith(".py")

Found = tuple[Family, list[Point]]


class Certified(Protocol):
    """What is known of the router's own certificate: `router.certificates.Certificates`."""

    @property
    def ends(self) -> float | None:
        """When it ends, in seconds since the epoch; None: there is none."""


@dataclass(frozen=True, slots=True)
class Figures:
    """The parts that are looked at; `counted` has what was counted of requests, and `flush` brings it up to date."""

    counted: Metrics
    plane: Plane
    fleet: Fleet
    machine: Machine
    refusals: RefusalLog
    reloader: Reloader | None
    certificates: Certified
    flush: Callable[[], None]

    async def points(self) -> Iterator[Found]:
        """Give every family with its points; each is looked at when it is asked for."""
        self.flush()
        worked: dict[str, float] = {}
        if pids := self.fleet.pids:
            with suppress(TimeoutError):
                async with asyncio.timeout(CPU_WITHIN):
                    worked = await aside(cpu_seconds, pids)
        return self._all(worked)

    def _all(self, worked: Mapping[str, float]) -> Iterator[Found]:
        yield from self.counted.points()
        refused = sorted(self.refusals.refused.items())
        yield families.REFUSED, [((str(status), code), count) for (status, code), count in refused]
        yield from self._requests()
        yield from self._backends()
        yield from self._engines()
        yield families.ENGINE_CPU, [((name,), seconds) for name, seconds in worked.items()]
        yield from devices(self.machine.devices.now())
        yield from self._router()

    def _requests(self) -> Iterator[Found]:
        """Those under way."""
        backends, admission = self.plane.backends.values(), self.plane.dispatcher.admission
        yield families.IN_FLIGHT, [((each.name,), each.in_flight) for each in backends]
        waiting = dict.fromkeys(self.counted.models(), 0)
        waiting |= {model: admission.waiting(model) for model in admission.models()}
        yield families.QUEUED, [((model,), count) for model, count in waiting.items()]

    def _backends(self) -> Iterator[Found]:
        plane = self.plane
        backends = list(plane.backends.values())
        capped = [(each.name, each.cap.requests) for each in backends if each.cap.requests < inf]
        yield families.CAPACITY, [((name,), most) for name, most in capped]
        silent = [(str(each["name"]), str(each["health"])) for each in self.fleet.silent()]
        can_serve = {each.name: int(stage_of(each, plane.loading).can_serve) for each in backends}
        can_serve |= {name: 0 for name, _ in silent}
        yield families.UP, [((name,), up) for name, up in can_serve.items()]
        healths = [*((each.name, each.health.word) for each in backends), *silent]
        yield families.HEALTH, [((name, word), 1) for name, word in healths]
        yield families.STALLS, [((each.name,), self.fleet.stalls[each.name]) for each in backends]

    def _engines(self) -> Iterator[Found]:
        launched = [
            (name, each.planned.launch.spec.engine, each.supervisor.status)
            for name, each in self.fleet.members.items()
            if each.supervisor is not None and each.planned.launch is not None
        ]
        yield families.ENGINE, [((name, engine, status.state.value), 1) for name, engine, status in launched]
        yield families.RESTARTS, [((name,), status.restarts) for name, _, status in launched]
        loaded = [((name,), status.load_seconds) for name, _, status in launched]
        yield families.LOAD_SECONDS, [(name, seconds) for name, seconds in loaded if seconds is not None]
        loads, evictions = self.fleet.loads, self.fleet.evictions
        yield families.LOADS, [((name,), loads[name]) for name, _, _ in launched]
        yield families.EVICTIONS, [((name,), evictions[name]) for name, _, _ in launched]

    def _router(self) -> Iterator[Found]:
        machine = self.machine
        yield families.MACHINE_CPU, [((), machine.cpu.percent / 100)]
        yield families.LOOP_LAG, [((), machine.lag.worst)]
        if self.reloader is not None:
            last, applied, refused = self.reloader.last, self.reloader.applied, self.reloader.refused
            yield families.RELOADS, [(("applied",), applied), (("refused",), refused)]
            yield families.RELOAD_GOOD, [((), int(last is None or not last.problems))]
            yield families.RELOAD_AT, [((), last.at)] if last is not None else []
        yield families.LOST_LINES, [((name,), lines) for name, lines in sorted(losses(NAMES).items())]
        ends = self.certificates.ends
        yield families.CERTIFICATE, [((), ends)] if ends is not None else []
        process = machine.process()
        yield families.PROCESS_CPU, [((), process.cpu_seconds)]
        yield families.PROCESS_MEMORY, [((), process.memory)]
        yield families.PROCESS_FILES, [((), process.files)] if process.files is not None else []
        yield families.PROCESS_MOST_FILES, [((), process.most_files)] if process.most_files is not None else []
        yield families.PROCESS_STARTED, [((), process.started)]
        compiled = "true" if IS_COMPILED else "false"
        yield families.BUILD, [((VERSION, platform.python_version(), compiled), 1)]


def devices(now: list[DeviceNow]) -> Iterator[Found]:
    """Give what is known of devices, and what backends hold of them."""
    held = [((backend, each.name), size) for each in now for backend, size in each.held.items()]
    yield families.BACKEND_MEMORY, [*held]
    yield families.DEVICE_MEMORY, [((each.name,), each.total) for each in now]
    yield families.DEVICE_FREE, [((each.name,), each.free) for each in now]
    sensed = [(each.name, each.sensors) for each in now]
    yield families.DEVICE_BUSY, _known([(name, _share(each.utilisation)) for name, each in sensed])
    yield families.DEVICE_TEMPERATURE, _known([(name, each.temperature) for name, each in sensed])
    yield families.DEVICE_POWER, _known([(name, each.power) for name, each in sensed])
    yield families.DEVICE_POWER_LIMIT, _known([(name, each.power_limit) for name, each in sensed])


def _share(percent: int | None) -> float | None:
    return None if percent is None else percent / 100


def _known(figures: list[tuple[str, float | None]]) -> list[Point]:
    return [((name,), figure) for name, figure in figures if figure is not None]
