"""A simulated machine: its memory, its engines and its clock. It does what a scheduler says, and tells it what happens.

An engine takes its memory while it loads, evenly; it ends in a fixed time, and its memory is free some time later, when
the device tells a new figure. It serves `slots` requests at once, and keeps others in a queue of its own. Loads beside
each other don't slow each other.
"""

from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf
from random import Random
from typing import Protocol

from router.core.memory.actions import Action, Cancel, Load, Refuse, Unload
from router.core.memory.devices import Footprint

DEVICE = "gpu0"


@dataclass(frozen=True, slots=True)
class Send:
    """Send a request that waits to its engine, which is loaded."""

    backend: str
    request: Hashable


@dataclass(frozen=True)
class Engine:
    """A backend as it really is. Times are in seconds, `size` in bytes; `fails` is the chance that a load fails."""

    name: str
    size: Footprint
    load: float = 10.0
    unload: float = 1.0
    slots: int = 4
    fails: float = 0.0


@dataclass
class Job:
    """A request: when it comes, for what, and how long it takes to serve. `waited` is until an engine began it."""

    number: int
    at: float
    backend: str
    seconds: float
    key: str = ""
    keep_alive: float | None = None
    leaves_after: float = inf  # its client has no more patience
    began: float = -1.0
    refused: bool = False
    left: bool = False

    @property
    def waited(self) -> float:
        """Seconds from its arrival until an engine began it."""
        return self.began - self.at


Said = Action | Send
"""What a scheduler says."""


class Scheduler(Protocol):
    """What decides: `Residency` behind `Pulling`, or another rule."""

    def wanted(
        self, request: Hashable, backend: str, now: float, *, key: str = "", keep_alive: float | None = None
    ) -> Sequence[Said]:
        """A request wants a backend."""

    def ended(self, request: Hashable, now: float) -> Sequence[Said]:
        """A request has ended, or left."""

    def loaded(self, backend: str, now: float, measured: Footprint | None = None) -> Sequence[Said]:
        """A backend is ready."""

    def failed(self, backend: str, reason: str, now: float, *, oom: str | None = None) -> Sequence[Said]:
        """A load failed."""

    def exited(self, backend: str, now: float) -> Sequence[Said]:
        """A backend's process is gone."""

    def figures(self, device: str, free: int, now: float, own: Mapping[str, int] | None = None) -> Sequence[Said]:
        """A device tells its free bytes."""

    def tick(self, now: float) -> Sequence[Said]:
        """Time has passed."""

    def wake(self, now: float) -> float:
        """When to tick next."""


@dataclass
class Process:
    """An engine that runs, or is gone and still has its memory."""

    engine: Engine
    began: float
    is_loaded: bool = False
    ends: bool = False
    running: set[int] = field(default_factory=set)
    queue: deque[Job] = field(default_factory=deque)


@dataclass
class Tally:
    """What a run has counted. `moving` is byte-seconds of memory that was loading or ending."""

    loads: int = 0
    failed_loads: int = 0
    cancelled: int = 0
    cut: int = 0
    moving: float = 0.0
    peak: dict[str, int] = field(default_factory=dict)
    ended: float = 0.0


class Machine:
    """Runs jobs under a scheduler. `check` is called after each event; `served` gives an agent's next job."""

    def __init__(
        self,
        scheduler: Scheduler,
        engines: Sequence[Engine],
        totals: Footprint,
        *,
        seed: int = 0,
        lag: float = 0.3,
        others: int = 0,
        served: Callable[[Job, float], Job | None] | None = None,
        check: Callable[["Machine"], None] | None = None,
    ) -> None:
        self.scheduler = scheduler
        self.engines = {each.name: each for each in engines}
        self.totals = totals
        self.lag = lag
        self.others = others
        self.served = served
        self.check = check
        self.now = 0.0
        self.random = Random(seed)  # noqa: S311
        self.processes: dict[str, Process] = {}
        self.ghosts: list[Process] = []  # gone, with memory that isn't free yet
        self.jobs: dict[int, Job] = {}
        self.tally = Tally()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self._wake = inf

    # The clock

    def at(self, time: float, event: Callable[[], None]) -> None:
        """Have something happen."""
        self._number += 1
        heappush(self._events, (time, self._number, event))

    def run(self, jobs: Sequence[Job], until: float = inf) -> list[Job]:
        """Run until nothing happens any more; give all jobs, those of agents too."""
        for job in jobs:
            self.come(job)
        for device, total in self.totals.items():
            self.do(self.scheduler.figures(device, total - self.others, 0.0))
        while self._events and self._events[0][0] <= until:
            self.now, _, event = heappop(self._events)
            event()
            if self.check is not None:
                self.check(self)
            self._set_alarm()
        return list(self.jobs.values())

    def _set_alarm(self) -> None:
        wake = self.scheduler.wake(self.now)
        if wake < self._wake or self._wake <= self.now:
            self._wake = wake
            if wake < inf:
                self.at(max(wake, self.now), self._tick)

    def _tick(self) -> None:
        if self.now >= self._wake:
            self._wake = inf
            self.do(self.scheduler.tick(self.now))

    # Requests

    def come(self, job: Job) -> None:
        """Have a job come at its time."""
        self.jobs[job.number] = job
        self.at(job.at, lambda: self._arrive(job))
        if job.leaves_after < inf:
            self.at(job.at + job.leaves_after, lambda: self._leave(job))

    def _arrive(self, job: Job) -> None:
        self.do(self.scheduler.wanted(job.number, job.backend, self.now, key=job.key, keep_alive=job.keep_alive))

    def _leave(self, job: Job) -> None:
        if job.began < 0 and not job.refused:
            job.left = True
            for process in self.processes.values():
                if job in process.queue:
                    process.queue.remove(job)
            self.do(self.scheduler.ended(job.number, self.now))

    def _serve(self, process: Process) -> None:
        while process.queue and len(process.running) < process.engine.slots:
            job = process.queue.popleft()
            job.began = self.now
            process.running.add(job.number)
            self.at(self.now + job.seconds, lambda job=job: self._end(process, job))  # type: ignore[misc]

    def _end(self, process: Process, job: Job) -> None:
        if job.number not in process.running:
            return
        process.running.remove(job.number)
        self.tally.ended = self.now
        self._serve(process)
        self.do(self.scheduler.ended(job.number, self.now))
        self._next(job)

    def _next(self, job: Job) -> None:
        following = None if self.served is None else self.served(job, self.now)
        if following is not None:
            self.come(following)

    # What the scheduler says

    def do(self, actions: Sequence[Said]) -> None:
        """Do what a scheduler says, in order."""
        for action in actions:
            if isinstance(action, Send):
                process = self.processes[action.backend]
                process.queue.append(self._job(action.request))
                self._serve(process)
            elif isinstance(action, Load):
                self._load(self.engines[action.backend])
            elif isinstance(action, Unload | Cancel):
                self.tally.cancelled += isinstance(action, Cancel)
                self._stop(action.backend)
            elif isinstance(action, Refuse):
                job = self._job(action.request)
                job.refused = True
                self.at(self.now, lambda job=job: self._next(job))  # type: ignore[misc]

    def _job(self, request: Hashable) -> Job:
        assert isinstance(request, int)  # noqa: S101
        return self.jobs[request]

    def _load(self, engine: Engine) -> None:
        assert engine.name not in self.processes, f"{engine.name} is loaded twice"  # noqa: S101
        process = self.processes[engine.name] = Process(engine, self.now)
        self.tally.loads += 1
        if self.random.random() < engine.fails:
            self.at(self.now + engine.load / 2, lambda: self._fail(process, "its file is damaged", None))
        else:
            self.at(self.now + engine.load, lambda: self._ready(process))

    def _ready(self, process: Process) -> None:
        if process.ends:
            return
        process.is_loaded = True
        for device, used in self.used().items():
            if used + self.others > self.totals[device]:
                process.is_loaded = False
                self._fail(process, "out of memory", device)
                return
        self.tally.moving += sum(process.engine.size.values()) * (self.now - process.began)
        self.do(self.scheduler.loaded(process.engine.name, self.now, process.engine.size))

    def _fail(self, process: Process, reason: str, oom: str | None) -> None:
        if process.ends:
            return
        self.tally.failed_loads += 1
        self.do(self.scheduler.failed(process.engine.name, reason, self.now, oom=oom))

    def crash(self, backend: str) -> None:
        """Have an engine that runs die by itself."""
        process = self.processes.get(backend)
        if process is not None:
            process.ends = True
            self._gone(process)

    def _stop(self, backend: str) -> None:
        process = self.processes[backend]
        if process.ends:
            return
        process.ends = True
        self.tally.cut += len(process.running) + len(process.queue)
        self.tally.moving += sum(process.engine.size.values()) * process.engine.unload
        self.at(self.now + process.engine.unload, lambda: self._gone(process))

    def _gone(self, process: Process) -> None:
        if self.processes.get(process.engine.name) is not process:
            return
        del self.processes[process.engine.name]
        process.running.clear()
        self.ghosts.append(process)
        self.do(self.scheduler.exited(process.engine.name, self.now))
        self.tell()
        self.at(self.now + self.lag, lambda: self._free(process))

    def _free(self, process: Process) -> None:
        self.used()
        self.ghosts.remove(process)
        self.tell()

    # Memory

    def used(self) -> dict[str, int]:
        """Bytes that our engines really hold, by device. The peak is that of all moments at which this is asked."""
        used = dict.fromkeys(self.totals, 0)
        for process in [*self.processes.values(), *self.ghosts]:
            engine = process.engine
            share = 1.0 if process.is_loaded or process.ends else min(1.0, (self.now - process.began) / engine.load)
            for device, size in engine.size.items():
                used[device] += int(size * share)
        for device, size in used.items():
            self.tally.peak[device] = max(size, self.tally.peak.get(device, 0))
        return used

    def tell(self) -> None:
        """Have each device tell its figure."""
        for device, used in self.used().items():
            self.do(self.scheduler.figures(device, self.totals[device] - used - self.others, self.now))
