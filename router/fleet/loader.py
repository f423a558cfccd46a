"""Does what `router.core.memory` decides: starts and ends engines, and tells it what became of them.

    Load            ─▶ supervisor.start ─▶ ready ─▶ measured ─▶ Residency.loaded: its requests are offered to it
    Unload, Cancel  ─▶ the plane sends nothing more ─▶ supervisor.stop or kill ─▶ gone ─▶ Residency.exited
    Remember        ─▶ the store

`Residency` alone decides what is loaded, and `proxy.loading` tells it what requests want; `fleet.gauges` tells it what
the devices have. What is here is whatever takes time: processes, measurements, waiting for both.

An engine that crashes while it is loaded keeps its memory reserved, and its supervisor starts it again. One whose start
failed is told to `Residency`, which refuses who waits for it; its supervisor is stopped then, or it would go on alone.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from math import inf

import structlog

from launchers.footprints.parts import RAM
from launchers.spec import LaunchSpec
from launchers.states import State as EngineState
from launchers.status import Status
from router.core.errors import ConflictError, UnavailableError
from router.core.memory.actions import MAKES_ROOM, Action, Cancel, Load, Remember, Unload
from router.core.memory.devices import Device, Footprint
from router.core.memory.refusals import size_text
from router.core.memory.residency import Residency
from router.core.memory.resident import Loadable, Policy
from router.core.memory.states import State, holds_memory
from router.fleet import figures
from router.fleet.loadables import EnginePlacement, placed
from router.fleet.members import Member, pids_of
from router.proxy.loading import NOT_LOADED
from router.proxy.plane import Plane
from router.telemetry.logs import MODELS
from router.telemetry.tasks import heard

log = structlog.get_logger(MODELS)

Measure = Callable[[str, int], Footprint]
"""Tells what a backend takes of each device, by its name in memory and its first process. It may block."""

Serve = Callable[[Member, Status], None]
"""Has requests sent to a member whose engine is ready."""

LOOK_AT_FILES_EVERY = 2.0
"""Seconds between two looks at the files of an engine whose load has failed."""

LOOK_EVERY = 0.05
"""Seconds between two looks whether what a person asked for has come."""

SPARE = 32 << 20
"""Bytes of RAM that are reserved beyond what an engine was measured to take: its first requests bring buffers, and what
it shares with other engines, such as libraries, is its alone when those have left. 16 MiB were met."""

_ON_ITS_WAY = frozenset({State.QUEUED, State.LOADING})


class Loader:
    """The engines of one fleet that are loaded and unloaded. `measure` tells what a loaded one takes.

    `remember` stores what was learned, for the next run; `load_seconds` is what earlier runs have measured, by a
    placement's key. `prepare` gives an engine the placement that was chosen, before it starts; `warm_up` is awaited
    when it is ready, before it gets any request.
    """

    def __init__(
        self,
        plane: Plane,
        residency: Residency,
        measure: Measure,
        remember: Callable[[Remember], None],
        load_seconds: Mapping[str, float],
        prepare: Callable[[Member, Load], None],
        warm_up: Callable[[Member, Status], Awaitable[None]],
    ) -> None:
        self.residency = residency
        self._plane = plane
        self._measure = measure
        self._remember = remember
        self._load_seconds = load_seconds
        self._prepare = prepare
        self._warm_up = warm_up
        self._members: dict[str, Member] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._loading = plane.manage_memory(residency, self._carry_out)
        self._closed = False
        # By the names of members: loads that were begun, and evictions.
        self.loads: Counter[str] = Counter()
        self.evictions: Counter[str] = Counter()
        self.drain_timeout = 300.0
        # Called when an engine is gone: whether its memory is free is then to be read.
        self.on_gone: Callable[[], None] = lambda: None

    # Members

    @property
    def names(self) -> Collection[str]:
        """The names of all that is known here; of one that was removed, until its memory is free."""
        return self.residency.residents().keys()

    def add(self, member: Member, loadable: Loadable) -> None:
        """Take in a member, unloaded; its name is none of `names`."""
        self._members[loadable.name] = member
        measured = [self._load_seconds[each.key] for each in loadable.placements if each.key in self._load_seconds]
        if measured:
            loadable = replace(loadable, load_seconds=measured[0])
        # How long a load may make no progress is its supervisor's to say.
        self.residency.add(replace(loadable, start_timeout=inf), self._now())

    def load(self, member: Member, *, evict: bool) -> None:
        """Load a member though no request wants it; without `evict`, only where its memory is free."""
        self.do(self.residency.load(member.resident, self._now(), evict=evict))
        if not evict and self.residency.state(member.resident) is State.UNLOADED:
            short = self.residency.shortage(member.resident, self._now())
            why = short.message if short is not None else "others have the memory that it needs"
            log.warning(f"{member.name}: isn't loaded now, but when a request wants it: {why}")

    def change(self, loadable: Loadable) -> None:
        """Take other settings; what is loaded stays."""
        self.do(self.residency.change(replace(loadable, start_timeout=inf), self._now()))

    def remove(self, member: Member) -> None:
        """Refuse those who wait for a member, let it serve what it has, then end its engine."""
        if self._members.get(member.resident) is member:
            self.do(self.residency.remove(member.resident, self._now()))
            if not self._is_known(member.resident):
                del self._members[member.resident]

    def is_settled(self, member: Member) -> bool:
        """Whether nothing is about to change: it is not about to be loaded."""
        return not self._is_known(member.resident) or self.residency.state(member.resident) not in _ON_ITS_WAY

    def is_unloaded(self, member: Member) -> bool:
        """Whether a member is known, and nothing of it is in memory, or has failed to be."""
        return self._is_known(member.resident) and self.residency.state(member.resident) is State.UNLOADED

    def holds_memory(self, member: Member) -> bool:
        """Whether a member's engine is loaded, or on its way in or out."""
        if not member.resident:
            return True
        return self._is_known(member.resident) and holds_memory(self.residency.state(member.resident))

    def _is_known(self, resident: str) -> bool:
        return resident in self.residency.residents()

    def spec_of(self, member: Member, spec: LaunchSpec) -> LaunchSpec:
        """Give a member's launch as it is started again where it is loaded now, after a crash."""
        if not self._is_known(member.resident):
            return spec
        resident = self.residency.residents()[member.resident]
        return placed(spec, resident.placement) if resident.holds_memory and resident.placement is not None else spec

    def pids(self) -> dict[str, int]:
        """Give the first process of each engine that runs."""
        return pids_of(self._members)

    # What is decided

    def do(self, actions: Sequence[Action]) -> None:
        """Do what `Residency` answered to an event."""
        if actions and not self._closed:
            self._loading.do(actions)

    def _carry_out(self, action: Action) -> None:
        """Do an action that concerns engines."""
        match action:
            case Load():
                self._start(self._members[action.backend], action)
            case Unload():
                self._end(self._members[action.backend], action.reason, kill=False)
            case Cancel():
                self._end(self._members[action.backend], action.reason, kill=True)
            case Remember():
                self._remember(action)
            case _:
                pass

    def _start(self, member: Member, load: Load) -> None:
        assert member.supervisor is not None  # noqa: S101 -- only engines are loaded
        reserved = ", ".join(f"{size_text(size)} of {device}" for device, size in load.reserved.items() if size)
        again = "" if load.attempt == 1 else " once more, with more memory"
        log.info(f"{member.name}: loading{again}{f', with {reserved} reserved for it' if reserved else ''}")
        reservations = self.residency.reservations
        figures.load(member, load, {device: reservations.room(device) for device in load.reserved})
        self._prepare(member, load)
        self.loads[member.name] += 1
        member.supervisor.start()

    def _end(self, member: Member, reason: str, *, kill: bool) -> None:
        """End an engine, to which nothing is sent any more, and tell when it is gone. One that loads may be deaf."""
        self.evictions[member.name] += reason == MAKES_ROOM
        if member.supervisor is not None and member.supervisor.status.pid is not None:
            log.info(f"{member.name}: {'its load is cancelled' if kill else 'is unloaded'}: {reason}")
        if self._is_known(member.resident):
            idle = self._now() - self.residency.residents()[member.resident].idle_since
            held = self.residency.reservations.held(member.resident)
            figures.unload(member, reason, held, idle, cancelled=kill)
        self._begin(self._until_gone(member, kill=kill), f"end of {member.resident}")

    async def _until_gone(self, member: Member, *, kill: bool) -> None:
        supervisor, began = member.supervisor, self._now()
        assert supervisor is not None  # noqa: S101 -- only engines are loaded
        pid = supervisor.status.pid
        if not kill:
            await self._last_answers(member)
        if pid is not None and not kill:
            came_to = await self._taken(member, pid)
            if self._is_known(member.resident):
                self.do(self.residency.used(member.resident, came_to, self._now()))
        await (supervisor.kill() if kill else supervisor.stop())
        figures.unloaded(member, self._now() - began)
        self._exited(member)

    async def _last_answers(self, member: Member) -> None:
        """Wait for answers that memory doesn't know of: they began before it was asked about this engine."""
        until = self._now() + self.drain_timeout
        while member.backend.in_flight and self._now() < until:  # noqa: ASYNC110 -- an event would cost each request
            await asyncio.sleep(LOOK_EVERY)

    def _exited(self, member: Member) -> None:
        if not self._is_known(member.resident):
            return
        self.do(self.residency.exited(member.resident, self._now()))
        self.on_gone()
        if not self._is_known(member.resident):
            self._members.pop(member.resident, None)

    # What supervisors say

    def changed(self, member: Member, status: Status, serve: Serve) -> None:
        """Take what a member's supervisor says; `serve` is called when the engine is ready and measured."""
        if self._closed or not self._is_known(member.resident):
            return
        if status.state is EngineState.STARTING:
            self.do(self.residency.progress(member.resident, self._now(), status.share))
        if not status.is_news:
            return
        if status.state is EngineState.RUNNING:
            self._begin(self._welcome(member, status, serve), f"measurement of {member.resident}")
            return
        # Requests may always wait for it: whether it can be loaded is not its supervisor's to say.
        gone = status.state is EngineState.STOPPED
        self._plane.withdraw(member.backend, NOT_LOADED if gone else status.detail, due=0.0)
        lacks_memory = status.state is EngineState.BACKOFF and status.out_of_memory is not None
        if status.state is EngineState.FATAL or lacks_memory:
            self._failed(member, status)

    def _failed(self, member: Member, status: Status) -> None:
        """A start failed for good; or for lack of memory, where a supervisor could only try the same again."""
        served = self.residency.residents()[member.resident].serves
        why = status.failure or status.detail
        self.do(self.residency.failed(member.resident, why, self._now(), oom=status.out_of_memory))
        # One that loaded has been cancelled by that, and one that is to end is ended already.
        if served:
            self._end(member, why, kill=True)

        self._begin(self._until_changed(member), f"watch over the files of {member.resident}")

    async def _until_changed(self, member: Member) -> None:
        """Have a load that failed tried again by the next request once its model or its program has changed."""
        assert member.supervisor is not None  # noqa: S101 -- only engines are loaded
        while self._is_known(member.resident) and self.residency.failure(member.resident, self._now()) is not None:
            await asyncio.sleep(LOOK_AT_FILES_EVERY)
            if await member.supervisor.has_changed() and self._is_known(member.resident):
                log.info(f"{member.name}: its model or its program has changed; the next request tries it")
                self.forgive(member)
                return

    def forgive(self, member: Member) -> None:
        """Have a load that failed tried again by the next request: something may have changed."""
        if self._is_known(member.resident):
            self.do(self.residency.forgive(member.resident, self._now()))

    def adopt(self, member: Member, serve: Serve) -> None:
        """Take over a member whose engine runs, or was left running by an earlier router: it has its memory."""
        self.do(self.residency.adopt(member.resident, self._now()))
        if member.supervisor is not None and member.supervisor.status.state is EngineState.RUNNING:
            self.changed(member, member.supervisor.status, serve)

    async def _welcome(self, member: Member, status: Status, serve: Serve) -> None:
        """An engine is ready: measure it, then let it serve."""
        is_new = self.residency.state(member.resident) is State.LOADING
        measured: Footprint = {}
        if is_new:
            await self._warm_up(member, status)
            measured = await self._taken(member, status.pid or 0)
        if self._is_current(member, status):
            serve(member, status)
            placement = self.residency.residents()[member.resident].placement
            grows = placement.grows if isinstance(placement, EnginePlacement) else {}
            if is_new:
                figures.loaded(member, status, measured)
            self.do(self.residency.loaded(member.resident, self._now(), measured, grows))

    async def _taken(self, member: Member, pid: int) -> Footprint:
        """Measure what an engine takes, and lay the spare on top, unless a person said what is to be reserved."""
        measured = await asyncio.to_thread(self._measure, member.resident, pid)
        resident = self.residency.residents().get(member.resident)
        if resident is None or resident.placement is None or resident.placement.is_told or RAM not in measured:
            return measured
        return {**measured, RAM: measured[RAM] + SPARE}

    def _is_current(self, member: Member, status: Status) -> bool:
        """Whether an engine still runs, and is still wanted: both may have ended while it was measured."""
        if self._closed or member.supervisor is None or not self._is_known(member.resident):
            return False
        runs = member.supervisor.status.pid == status.pid and member.supervisor.status.state is EngineState.RUNNING
        return runs and self.residency.state(member.resident) in {State.LOADING, State.LOADED, State.DRAINING}

    # Settings

    def configure(self, devices: Iterable[Device], policy: Policy) -> None:
        """Take other limits and another policy."""
        self.do(self.residency.configure(devices, policy, self._now()))

    # People

    async def load_for_people(self, member: Member) -> None:
        """Load a member, whatever must leave for it, and wait until it is loaded.

        Raises MemoryShortageError or LoadFailedError where it can't be, ConflictError where it was unloaded meanwhile.
        """
        self.load(member, evict=True)
        while not self.is_settled(member):  # noqa: ASYNC110 -- it takes seconds, and asks nobody for an event
            await asyncio.sleep(LOOK_EVERY)
        if self._is_known(member.resident) and self.residency.residents()[member.resident].serves:
            return
        raise self._why_not(member)

    def _why_not(self, member: Member) -> UnavailableError | ConflictError:
        if not self._is_known(member.resident):
            return ConflictError(f"'{member.name}' was removed from router.yaml.")
        now = self._now()
        why = self.residency.shortage(member.resident, now) or self.residency.failure(member.resident, now)
        return why or ConflictError(f"The load of '{member.name}' was cancelled: it was to be unloaded.")

    async def unload_for_people(self, member: Member) -> None:
        """Unload a member once what it has is served, and wait until its memory is free."""
        self.do(self.residency.unload(member.resident, self._now()))
        while self._is_to_leave(member):  # noqa: ASYNC110 -- as above
            await asyncio.sleep(LOOK_EVERY)

    def _is_to_leave(self, member: Member) -> bool:
        return self.holds_memory(member) and self.residency.residents()[member.resident].wish.unload

    # The end

    def close(self) -> None:
        """Decide nothing more: the fleet is about to end every engine."""
        self._closed = True
        for task in self._tasks:
            task.cancel()

    def _begin(self, work: Awaitable[None], name: str) -> None:
        task = asyncio.create_task(heard(work), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _now(self) -> float:
        return self._loop.time()
