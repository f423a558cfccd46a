"""What each engine has of the GPU while a run goes on, sampled in a thread, and when its processes came and went."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Self

import psutil

from launchers import devices, kin
from launchers.footprints.parts import RAM

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    from scripts.residency_load.fleet import RouterProcess

EVERY: Final = 0.05
"""Seconds between two samples."""

STARTS_WITHIN: Final = 60.0

GONE: Final = 64 << 20
"""Bytes of an engine's memory that a driver may keep for itself, for good."""


@dataclass(frozen=True)
class Sample:
    """One look: epoch seconds, the GPU's free bytes, and each engine's by its first process, if the GPU tells."""

    at: float
    free: int
    own: Mapping[int, int] | None


@dataclass
class Engine:
    """One run of an engine: its backend, its first process and when that began, in epoch seconds; when it was gone."""

    name: str
    pid: int
    began: float
    ended: float | None = None


@dataclass
class GpuWatch:
    """Samples one GPU while it is entered; `names` are backends by a word of their engines' command lines."""

    router: RouterProcess
    gpu: str
    names: Mapping[str, str]
    samples: list[Sample] = field(default_factory=list)
    engines: list[Engine] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._watch, name="gpu", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(EVERY):
            self._note_engines()
            now = time.time()
            gpu = next((each for each in devices.look() if each.name == self.gpu), None)
            if gpu is not None:
                self.samples.append(Sample(now, gpu.free, self._own(gpu.by_pid)))

    def _note_engines(self) -> None:
        there = {each.pid for each in self.running()}
        found = set()
        for process in self.router.engines():
            name = self._named(process)
            if name is None:
                continue
            found.add(process.pid)
            if process.pid not in there:
                self.engines.append(Engine(name, process.pid, _began(process.pid)))
        for engine in self.running():
            if engine.pid not in found:
                engine.ended = time.time()

    def _named(self, process: psutil.Process) -> str | None:
        """Tell whose engine a process leads; None of all other processes."""
        with suppress(psutil.Error, ProcessLookupError):
            if process.status() == psutil.STATUS_ZOMBIE or kin.seen(process.pid) is None:
                return None
            line = process.cmdline()
            seen = kin.seen(process.pid)
            if seen is not None and seen.session == process.pid:
                return next((name for word, name in self.names.items() if word in line), None)
        return None

    def _own(self, by_pid: Mapping[int, int] | None) -> Mapping[int, int] | None:
        if by_pid is None:
            return None
        table = kin.processes()
        families = {each.pid: devices.family(each.pid, table) for each in self.engines}
        return {pid: sum(by_pid.get(member, 0) for member in members) for pid, members in families.items()}

    def running(self, name: str | None = None) -> list[Engine]:
        """Give the engines that run now, of one backend or of all."""
        return [each for each in self.engines if each.ended is None and name in {None, each.name}]

    def until_seen(self, name: str) -> None:
        """Wait until a backend has an engine. Raises TimeoutError after `STARTS_WITHIN`. Blocks."""
        end = time.monotonic() + STARTS_WITHIN
        while not self.running(name):
            if time.monotonic() > end:
                raise TimeoutError(f"{name} has no engine")
            time.sleep(EVERY / 5)

    # What the samples say

    def most(self, engine: Engine) -> int:
        """The most bytes that an engine had; 0 if the GPU doesn't tell."""
        return max((each.own.get(engine.pid, 0) for each in self.samples if each.own is not None), default=0)

    def freed(self, engine: Engine) -> float | None:
        """Tell since when an engine's memory may have been free: the time of the last sample before one without it."""
        had = [(each, each.own[engine.pid]) for each in self.samples if each.own and each.own.get(engine.pid, 0)]
        if not had:
            return engine.ended
        # It may have given some back by then.
        last, rest = had[-1]
        for before, each in pairwise(self.samples):
            if each.at > last.at and each.free >= last.free + rest - GONE:
                return before.at
        return None

    def together(self, pids: Iterable[int]) -> int:
        """Count the samples in which more than one of these engines had memory."""
        wanted = set(pids)
        told = [each.own for each in self.samples if each.own is not None]
        return sum(sum(size > GONE for pid, size in own.items() if pid in wanted) > 1 for own in told)


def _began(pid: int) -> float:
    """Tell when a process began, in epoch seconds. psutil's figure lacks up to a second: the boot's is a whole one."""
    seen = kin.seen(pid)
    now = time.time()
    if seen is None:
        return now
    return now - (time.clock_gettime(time.CLOCK_BOOTTIME) - int(seen.started) / os.sysconf("SC_CLK_TCK"))


def footprint(watch: GpuWatch, engine: Engine) -> tuple[Mapping[str, int], int | None]:
    """Measure what an engine takes as the router does, and by nvidia-smi alone, of the GPU."""
    figures = devices.look([engine.pid])
    measured = devices.footprint_of(engine.pid, figures)
    by_smi = {each.id: each.by_pid for each in devices.by_nvidia_smi()}.get(watch.gpu)
    members = devices.family(engine.pid, kin.processes())
    return measured, None if by_smi is None else sum(by_smi.get(pid, 0) for pid in members)


def gpu_of(figures: Iterable[devices.DeviceFigures]) -> devices.DeviceFigures:
    """Give the first GPU. Raises LookupError where there is none."""
    found = next((each for each in figures if each.name != RAM), None)
    if found is None:
        raise LookupError("no GPU can be read here")
    return found
