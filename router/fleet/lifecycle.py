"""The life of a fleet's members: each event of it is one method here. The one writer of members.

    add ──▶ start ──▶ ready ◀──▶ not ready          tune, keep: at any time; its process goes on
     ▲                  │
     │ successor        ▼
     └──────────── replace, retire ──▶ ended

1. **add**: the plane knows the backend, so its names mean something. A launched one gets nothing before it is ready.
2. **start**: its engine starts, if it has one, and it is probed. Before the fleet starts, members are only added.
   Engines that are loaded on demand are left to the loader (`fleet.loader`), which starts and ends them as
   `core.memory` decides: from here on, each event of a supervisor goes there first.
3. **ready**, **not ready**: its supervisor says so. A URL has no supervisor: its probes decide.
4. **tune**: what the router knows of it changes. **keep**: only its claim of a GPU may have become another.
5. **replace**: a successor of the same name takes its place.
   a. The new one first, where memory allows: it starts beside the old one, which serves until the new one is ready.
      Where memory turns out to have no room for both, it is b after all.
      Should the new one fail, the old one serves on. A further replacement retires the one that has not taken over.
   b. The old one first: requests wait for the new one, which starts when the old one has ended.
6. **retire**: it gets nothing new, and what it has in flight may end within `drain_timeout`. Then it is **ended**: what
   is still in flight is cut, its engine is stopped, and it is forgotten.

Members with a predecessor (`Member.before`) are in `members` by their name, and not known to the plane yet.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Container, Iterable
from dataclasses import replace
from typing import Protocol

import structlog

from launchers.spec import LaunchSpec
from launchers.states import State
from launchers.status import Status
from launchers.supervisor import Supervisor
from router.fleet import figures
from router.fleet.diff import PlannedBackend
from router.fleet.launching import Launch
from router.fleet.loader import Loader
from router.fleet.members import (
    Member,
    Right,
    abilities_of,
    ahead_of,
    asks_usage,
    backend_of,
    cap_of,
    due,
    free_files,
    models_of,
    target_of,
)
from router.proxy.dialling import Address
from router.proxy.loading import NOT_LOADED
from router.proxy.plane import Plane
from router.proxy.watching.probe import Prober
from router.telemetry.logs import MODELS
from router.telemetry.tasks import heard, unharmed
from router.tls.trust import UNVERIFIED

log = structlog.get_logger(MODELS)

LOOK_EVERY = 0.02
"""Seconds between two looks whether what a retired member has in flight has ended."""

REPLACED = "was replaced"
"""Why a member is retired that has a successor; its clients read it."""


class Supervise(Protocol):
    """Makes the supervisor of a launch. `files` names its log and record, where that isn't the launch's own name."""

    def __call__(
        self, launch: Launch, *, files: str | None, on_change: Callable[[Status], None], is_wanted: Callable[[], bool]
    ) -> Supervisor:
        """Give a supervisor that was not started yet; see its class for the callbacks."""


_DIGITS = re.compile(r"\b(?:0x)?[0-9a-f]*[0-9][0-9a-f]*\b")


class Lifecycle:
    """Adds, changes and ends members. `on_settled` is called when every member serves, or can't."""

    def __init__(self, plane: Plane, prober: Prober, supervise: Supervise, on_settled: Callable[[], None]) -> None:
        self.members: dict[str, Member] = {}
        self.ending: dict[Member, asyncio.Task[None]] = {}
        self.drain_timeout = 300.0
        self._plane = plane
        self._prober = prober
        self._supervise = supervise
        self._on_settled = on_settled
        self._replacing: set[asyncio.Task[None]] = set()
        self._started = False
        # Once there is an engine that is loaded on demand.
        self.loader: Loader | None = None

    @property
    def everybody(self) -> list[Member]:
        """All members that have not ended: those of now, those that are ending, and predecessors that still serve."""
        found = [*self.members.values(), *self.ending]
        return found + [member.before for member in found if member.before is not None]

    # 1, 2: add and start

    def add(self, planned: PlannedBackend) -> None:
        """Take in a backend; it starts at once, if the fleet has started."""
        member = self._make(planned, self.ending)
        self._join(member)
        if self._started:
            self._start(member)

    def start(self, adopted: Container[str] = ()) -> None:
        """Start every member; those that are added from now on start by themselves.

        `adopted` are the names of engines that an earlier router left running: these are taken over before any other is
        loaded, as they have their memory.
        """
        self._started = True
        for member in sorted(self.members.values(), key=lambda member: member.name not in adopted):
            self._start(member, runs=member.name in adopted)
        self._settle()

    def _make(self, planned: PlannedBackend, running: Iterable[Member]) -> Member:
        """Make a member. Those that are `running` may be of the same name, and have files of their own."""
        member, launch = Member(planned, backend_of(planned)), planned.launch
        if launch is not None:
            self._plane.withdraw(member.backend, "not started yet", due=0.0)
            member.supervisor = self._supervise(
                launch,
                files=free_files(launch.spec.name, running, () if self.loader is None else self.loader.names),
                on_change=lambda status: self._changed(member, status),
                is_wanted=lambda: self._plane.directory.asked_beside(member.backend) != member.asked,
            )
            self._enter(member)
        return member

    def _enter(self, member: Member) -> None:
        """Leave the member's engine to the loader, if it is one of those that are loaded and unloaded."""
        loadable, supervisor = member.planned.loadable, member.supervisor
        if self.loader is None or loadable is None or supervisor is None:
            return
        member.resident = member.backend.resident = supervisor.files
        self.loader.add(member, replace(loadable, name=member.resident, title=member.name))
        self._plane.withdraw(member.backend, NOT_LOADED, due=0.0)

    def _join(self, member: Member) -> None:
        """Have requests sent to it, once it is ready."""
        config = member.planned.config
        self.members[member.name] = member
        key = config.api_key.get_secret_value() if config.api_key else None
        headers = {name: value.get_secret_value() for name, value in config.headers.items()}
        trust = member.planned.trust
        hop = self._plane.directory.instance if config.router else ""
        address = Address.of(config.elsewhere, headers, trust, hop=hop) if config.elsewhere else None
        if not trust.verify:
            log.warning(f"{member.name}: {UNVERIFIED}", url=config.elsewhere)
        self._plane.add(member.backend, address, key, discovers=address is not None and not config.models)
        self._tell(member)

    def _start(self, member: Member, *, load: bool = False, runs: bool = False) -> None:
        """Start its engine, or have it loaded: if it is to be at the start, if it `runs` already, or to `load` it."""
        launch, loader = member.planned.launch, self.loader
        if launch is not None and member.supervisor is not None:
            log.info(f"{member.name}: {launch.why}")
            if not member.resident or loader is None:
                member.supervisor.start()
            elif runs:
                loader.adopt(member, self._serve)
            elif load or not launch.is_on_demand:
                loader.load(member, evict=False)
        self._prober.watch(target_of(member))

    # 3: ready and not ready, as the supervisor says

    def _changed(self, member: Member, status: Status) -> None:
        if member.resident and self.loader is not None:
            self.loader.changed(member, status, self._serve)
        elif status.is_news:
            self._follow(member, status)
        # Else a load has come further: neither health nor people need to know.
        if status.is_news:
            _log_change(member, status)
            self._settle()

    def _follow(self, member: Member, status: Status) -> None:
        """Have requests sent to an engine that runs by itself, or no more, as its supervisor says."""
        if status.state is State.RUNNING and status.address is not None:
            self._serve(member, status)
        else:
            now = asyncio.get_running_loop().time()
            self._plane.withdraw(member.backend, status.detail, due=due(status, now))
        if status.state is State.FATAL:
            member.asked = self._plane.directory.asked_beside(member.backend)

    def _serve(self, member: Member, status: Status) -> None:
        """Have requests sent to an engine that is ready; it takes the place of the one that it replaces."""
        assert status.address is not None  # noqa: S101 -- it is ready
        self._plane.serve(member.backend, Address(*status.address), status.key, ahead=ahead_of(member))
        if member.before is not None and self.members.get(member.name) is member:
            before, member.before = member.before, None
            self._retire(before, REPLACED)
            self._join(member)
            self._plane.directory.rebuild()
        self._tell(member)

    def _tell(self, member: Member) -> None:
        """Note what a launched model can do; one that is loaded, where it is loaded now."""
        launch = member.planned.launch
        if launch is not None:
            loaded = self._spec_of(member, launch.spec) if member.backend.health.usable else None
            self._plane.directory.tell(member.backend, abilities_of(member.planned, loaded))

    def _settle(self) -> None:
        if all(self.is_settled(member) for member in self.members.values()):
            self._on_settled()

    def is_settled(self, member: Member) -> bool:
        """Whether more time changes nothing of its engine."""
        if member.resident and self.loader is not None:
            return self.loader.is_settled(member)
        return member.settled

    # 4: tune and keep

    def tune(self, planned: PlannedBackend, name: str) -> None:
        """Change what the router knows of a backend; its process, or its server, is the same."""
        member = self.members[name]
        backend, discovered = member.backend, planned.launch is None and not member.planned.config.models
        member.planned = planned
        self._plane.ledger.weigh(backend, planned.config.weight)
        self._plane.bound(backend, cap_of(planned))
        self._plane.directory.omissions.forget(backend)
        self._plane.ledger.learn_apis(backend, replace(backend.apis, asks_usage=asks_usage(planned)))
        if planned.launch is not None and member.supervisor is not None:
            self._plane.learn_models(backend, models_of(planned))
            if isinstance(backend.put_right, Right):
                backend.put_right.set_up(planned)
            member.supervisor.set_up(self._spec_of(member, planned.launch.spec))
            self._tune_load(member)
            self._tell(member)
            return
        # What was discovered stays until the server says otherwise; what router.yaml named counts no longer.
        if planned.config.models or not discovered:
            self._plane.learn_models(backend, models_of(planned))
        self._prober.watch(target_of(member))

    def keep(self, planned: PlannedBackend, name: str) -> None:
        """Take over another claim: a share of a GPU that was planned may be written now, and isn't lowered any more."""
        member = self.members[name]
        before, now = member.planned.launch, planned.launch
        if before is not None and now is not None and member.supervisor and before.spec.claim != now.spec.claim:
            member.planned = planned
            member.supervisor.set_up(self._spec_of(member, now.spec))
        if planned.loadable != member.planned.loadable:
            member.planned = planned
            self._tune_load(member)
        if planned.described != member.planned.described:
            member.planned = planned
        self._tell(member)

    def _spec_of(self, member: Member, spec: LaunchSpec) -> LaunchSpec:
        """Give a launch as the member's engine would be started again."""
        return spec if self.loader is None else self.loader.spec_of(member, spec)

    def _tune_load(self, member: Member) -> None:
        """Change when the member's engine is loaded; it may come to be one of those that are only now."""
        planned, loadable = member.planned, member.planned.loadable
        if self.loader is None or loadable is None or member.supervisor is None:
            return
        if not member.resident:
            self._enter(member)
            if member.resident and member.supervisor.status.state is not State.STOPPED:
                self.loader.adopt(member, self._serve)
            return
        self.loader.change(replace(loadable, name=member.resident, title=member.name))
        if planned.launch is not None and not planned.launch.is_on_demand:
            self.loader.load(member, evict=False)

    # 5: replace

    def replace(self, planned: PlannedBackend, name: str, *, new_first: bool) -> None:
        """Have a successor take a member's place."""
        old = self._serving(self.members.pop(name))
        if planned.launch is None or (self.loader is not None and not self.loader.holds_memory(old)):
            self._retire(old, REPLACED)
            self.add(planned)
        elif new_first:
            self._start_beside(old, planned)
        else:
            self._start_after(old, planned)

    def _serving(self, member: Member) -> Member:
        """Retire what has not taken over yet, and won't; give the member that serves."""
        while member.before is not None:
            waiting, member.before = member.before, None
            self._retire(member, REPLACED)
            member = waiting
        return member

    def _start_beside(self, old: Member, planned: PlannedBackend) -> None:
        member = self._make(planned, [old, *self.ending])
        member.before = old
        self.members[member.name] = member
        self._start(member, load=True)
        if member.resident and self.loader is not None:
            self._begin(self._if_there_is_room(old, member, self.loader), member)

    async def _if_there_is_room(self, old: Member, member: Member, loader: Loader) -> None:
        """Have the old one end first after all, where memory has no room for both."""
        while not loader.is_settled(member):  # noqa: ASYNC110 -- a load takes seconds
            await asyncio.sleep(LOOK_EVERY)
        if member.before is old and self.members.get(member.name) is member and loader.is_unloaded(member):
            member.before = None
            self._take_turn(self._retire(old, REPLACED), member)

    def _start_after(self, old: Member, planned: PlannedBackend) -> None:
        ended = self._retire(old, REPLACED)
        self._take_turn(ended, self._make(planned, [each for each in self.ending if each is not old]))

    def _take_turn(self, ended: "asyncio.Task[None]", member: Member) -> None:
        """Have requests wait for a member, which starts when the one that it replaces has ended."""
        self._join(member)
        self._plane.withdraw(member.backend, "waits for the one that it replaces to end", due=0.0)
        self._begin(self._start_when(ended, member), member)

    def _begin(self, work: Awaitable[None], member: Member) -> None:
        task = asyncio.create_task(heard(work), name=f"replace {member.name}")
        self._replacing.add(task)
        task.add_done_callback(self._replacing.discard)

    async def _start_when(self, ended: "asyncio.Task[None]", member: Member) -> None:
        await asyncio.wait([ended])
        if self.members.get(member.name) is member:  # it was not removed meanwhile
            self._start(member, load=True)

    # 6: retire and end

    def remove(self, name: str) -> None:
        """Retire a member for good."""
        self._retire(self.members.pop(name), "was taken out")

    def _retire(self, member: Member, why: str) -> "asyncio.Task[None]":
        """Send it nothing more; give the task that ends it when its last answer has ended."""
        if member.before is not None:
            self._retire(member.before, why)
            member.before = None
        self._prober.forget(member.backend)
        self._plane.retire(member.backend, why)
        if member.resident and self.loader is not None:
            self.loader.remove(member)
        task = self.ending[member] = asyncio.create_task(heard(self._end(member, why)), name=f"end {member.name}")
        return task

    async def _end(self, member: Member, why: str) -> None:
        await self._drained(member, why)
        unharmed(f"the end of {member.name}'s requests", self._plane.drop, member.backend, why)
        try:
            if member.supervisor is not None:
                await member.supervisor.stop()
            log.info(f"{member.name}: {why}")
        finally:
            del self.ending[member]

    async def _drained(self, member: Member, why: str) -> None:
        """Wait until nothing is in flight there, at most `drain_timeout`."""
        loop, backend = asyncio.get_running_loop(), member.backend
        until = loop.time() + self.drain_timeout
        if backend.in_flight:
            log.info(f"{member.name}: {why}; its {backend.in_flight} requests in flight may end")
        while backend.in_flight and loop.time() < until:  # noqa: ASYNC110 -- an event would cost each request
            await asyncio.sleep(LOOK_EVERY)
        if backend.in_flight:
            log.warning(f"{member.name}: {backend.in_flight} requests are cut after {self.drain_timeout:g} s: it {why}")

    # The end of the router

    def abandon(self) -> None:
        """End no member any more: all of their supervisors are about to be stopped."""
        for task in (*self._replacing, *self.ending.values()):
            task.cancel()


def _log_change(member: Member, status: Status) -> None:
    """Tell people what a supervisor says; of a failure, with the engine's last words, unless they are those before."""
    figures.engine(member, status)
    if status.state in {State.BACKOFF, State.FATAL}:
        lines = status.last_lines[-10:]
        # Times, addresses and numbers of processes differ each time.
        words = _DIGITS.sub("", "\n".join(lines))
        said = "" if words == member.last_words else "".join(f"\n    | {line}" for line in lines)
        member.last_words = words
        more = "\n    the one before it serves on" if member.before is not None else ""
        log.error(f"{status.name}: {status.detail}{said}{more}")
    else:
        (log.warning if status.lacks else log.info)(f"{status.name}: {status.detail}")
