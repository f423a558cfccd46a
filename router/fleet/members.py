"""Every backend that there is, and how each comes and goes while the router runs. The one writer of its members.

A backend that is added joins when it is ready. One that is removed gets nothing new, ends what it has in flight, at
most `drain_timeout`, and then its engine stops. One that is replaced has its successor started first, where there is
room for both, and serves until that is ready; should that fail, it serves on.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path

import structlog

from launchers.engines import Engine
from launchers.errors import UnfitRequestError
from launchers.process import Keepers
from launchers.spec import LaunchSpec
from launchers.states import RestartPolicy, State
from launchers.supervisor import Status, Supervisor
from launchers.tree import memory_of
from launchers.turns import Turns
from router.config import BackendConfig
from router.core.admission import Cap
from router.core.catalog import Backend
from router.core.errors import BadRequestError
from router.core.estimate.ask import Ask
from router.core.estimate.estimate import Estimate
from router.fleet.diff import Do, Plan, PlannedBackend, Step
from router.fleet.launches import Launch, parallel_of
from router.proxy.examine import Process
from router.proxy.plane import Plane
from router.proxy.pool import Address
from router.proxy.probe import Prober, Target
from router.telemetry.tasks import heard, unharmed

log = structlog.get_logger("router")

SLICE = 0.005
"""Seconds that a change of many backends may hold up everything else at a time."""

TYPICAL = Ask(1000)
"""The request that `told` says the expected time to the first token of."""

LOOK_EVERY = 0.02  # seconds, whether what drains has ended


@dataclass(eq=False)
class Member:
    """One backend with what runs it. `before` is whom it will replace once it is ready."""

    planned: PlannedBackend
    backend: Backend
    supervisor: Supervisor | None = None
    asked: int = 0  # what others had been asked of what it serves, when its engine was given up
    before: "Member | None" = None

    @property
    def name(self) -> str:
        """Its name in logs and metrics."""
        return self.backend.name

    @property
    def settled(self) -> bool:
        """Whether it needs no more time to serve, or never will."""
        if self.supervisor is None:
            return True
        status = self.supervisor.status
        return status.lacks or status.state in {State.RUNNING, State.FATAL}

    def told(self) -> dict[str, object]:
        """Give what is known of it as plain data. Times are in seconds since the epoch."""
        backend = self.backend
        told: dict[str, object] = {
            "name": self.name,
            "health": backend.health.verdict.value,
            "reason": backend.health.reason,
            "models": list(backend.models),
            "in_flight": backend.in_flight,
            "answered": backend.answered,
            "weight": backend.weight,
            "max_in_flight": None if backend.cap.requests == inf else backend.cap.requests,
            "bytes_in_flight": backend.size,
            "expected_ttft": round(backend.estimate.expected(TYPICAL, 0, asyncio.get_running_loop().time()), 4),
        }
        if backend.estimate.load is not None:
            told["published"] = backend.estimate.load._asdict()
        if self.supervisor is None or self.planned.launch is None:
            return told | {"url": self.planned.config.url}
        status = self.supervisor.status
        return told | {
            "engine": self.planned.launch.spec.engine,
            "state": status.state.value,
            "detail": status.detail,
            "pid": status.pid,
            "memory_bytes": None if status.pid is None else memory_of(status.pid),
            "since": status.since,
        }


class Fleet:
    """The backends of one router. `logs` is the folder of engines' logs; `on_settled` hears when none is starting."""

    def __init__(
        self,
        plane: Plane,
        prober: Prober,
        logs: Path,
        on_settled: Callable[[], None],
        policy: RestartPolicy | None = None,
        turns: Turns | None = None,
    ) -> None:
        self.members: dict[str, Member] = {}
        self.drain_timeout = 300.0
        self._plane = plane
        self._prober = prober
        self._logs = logs
        self._on_settled = on_settled
        self._policy = policy
        self._keepers = Keepers()
        self._turns = turns or Turns()
        self._ending: dict[Member, asyncio.Task[None]] = {}
        self._replacing: set[asyncio.Task[None]] = set()
        self._started = False

    def told(self) -> list[dict[str, object]]:
        """Give what is known of each backend as plain data: those that are there, and those that are ending."""
        ending = [member.told() | {"ending": True} for member in self._ending]
        return [member.told() for member in self.members.values()] + ending

    @property
    def pids(self) -> dict[str, int]:
        """The process of each backend that has one, by the backend's name."""
        found = {name: member.supervisor.status.pid for name, member in self.members.items() if member.supervisor}
        return {name: pid for name, pid in found.items() if pid is not None}

    # Changes

    async def apply(self, steps: Iterable[Step], plan: Plan) -> None:
        """Do what the steps say of backends, and route by the plan; others have their turn in between."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        for step in steps:
            if step.do is Do.REMOVE:
                self._retire(self.members.pop(step.name), "was removed from router.yaml")
            elif step.do is Do.ADD:
                self._add(plan.backends[step.name])
            elif step.do is Do.REPLACE:
                self._replace(self.members.pop(step.name), plan.backends[step.name], new_first=step.new_first)
            elif step.do is Do.TUNE:
                self._tune(self.members[step.name], plan.backends[step.name])
            elif step.do is Do.KEEP:
                self._keep(self.members[step.name], plan.backends[step.name])
            if loop.time() - began > SLICE:
                await asyncio.sleep(0)
                began = loop.time()
        self._plane.route(plan.routes)
        self._plane.rebuild_catalog()

    def start(self) -> None:
        """Start every engine, and every watch; what joins later starts by itself."""
        self._started = True
        for member in self.members.values():
            self._start(member)
        self._settle()

    def _start(self, member: Member) -> None:
        launch = member.planned.launch
        if launch is not None and member.supervisor is not None:
            log.info(f"{member.name}: {launch.why}")
            member.supervisor.start()
            engine, supervisor = launch.engine, member.supervisor
            target = Target(member.backend, engine.ready_path, launched=True, publishes=engine.publishes)
            self._prober.watch(replace(target, process=lambda: _process(supervisor, launch)))
        else:
            self._prober.watch(Target(member.backend, discovers=not member.planned.config.models))

    def _add(self, planned: PlannedBackend) -> Member:
        """Take in a backend; one that is launched is known from now on, so that no request meets a 404."""
        member = self._make(planned)
        self._join(member)
        if self._started:
            self._start(member)
        return member

    def _make(self, planned: PlannedBackend, files: str | None = None) -> Member:
        config, launch = planned.config, planned.launch
        if launch is None:
            return Member(planned, Backend(config.name, dict(config.models), config.weight, cap=_cap(config)))
        engine, parallel = launch.engine, parallel_of(launch)
        backend = Backend(
            launch.spec.name,
            dict.fromkeys(config.models, launch.spec.served_name),
            config.weight,
            uuid_request_ids=engine.uuid_request_ids,
            put_right=_right_for(engine, launch.spec),
            estimate=Estimate(parallel),
            cap=_cap(config, parallel),
            supervised=True,
        )
        member = Member(planned, backend)
        self._plane.withdraw(backend, "not started yet", due=0.0)
        member.supervisor = Supervisor(
            launch.spec,
            engine,
            keepers=self._keepers,
            logs=self._logs,
            on_change=lambda status: self._changed(member, status),
            python=launch.python,
            policy=self._policy,
            files=files,
            turns=self._turns,
            is_wanted=lambda: self._plane.asked_beside(backend) != member.asked,
        )
        return member

    def _join(self, member: Member) -> None:
        """Have requests sent to it, once it is ready."""
        config = member.planned.config
        self.members[member.name] = member
        key = config.api_key.get_secret_value() if config.api_key else None
        address = Address.of(config.url) if config.url else None
        self._plane.add(member.backend, address, key, discovers=address is not None and not config.models)

    def _tune(self, member: Member, planned: PlannedBackend) -> None:
        config, backend = planned.config, member.backend
        discovered = planned.launch is None and not member.planned.config.models
        member.planned = planned
        self._plane.ledger.weigh(backend, config.weight)
        self._plane.bound(backend, _cap(config, None if planned.launch is None else parallel_of(planned.launch)))
        if planned.launch is not None and member.supervisor is not None:
            self._plane.learn_models(backend, dict.fromkeys(config.models, planned.launch.spec.served_name))
            member.supervisor.set_up(planned.launch.spec)
            return
        if config.models or not discovered:
            self._plane.learn_models(backend, dict(config.models))
        self._prober.watch(Target(backend, discovers=not config.models))

    def _keep(self, member: Member, planned: PlannedBackend) -> None:
        """What is the same may be written now, where it was only planned: a share of a GPU is not lowered any more."""
        before, now = member.planned.launch, planned.launch
        if before is not None and now is not None and member.supervisor and before.spec.claim != now.spec.claim:
            member.planned = planned
            member.supervisor.set_up(now.spec)

    def _replace(self, old: Member, planned: PlannedBackend, *, new_first: bool) -> None:
        while old.before is not None:  # it has not taken over yet, and won't
            waiting, old.before = old.before, None
            self._retire(old, "was replaced")
            old = waiting
        if planned.launch is None:
            self._retire(old, "was replaced")
            self._add(planned)
            return
        if new_first:
            other = f"{planned.launch.spec.name}~"
            member = self._make(planned, files=other if _files(old) != other else None)
            member.before = old
            self.members[member.name] = member
            self._start(member)
            return
        self._retire(old, "was replaced")
        member = self._make(planned)
        self._join(member)
        self._plane.withdraw(member.backend, "waits for the one that it replaces to end", due=0.0)
        ended = self._ending[old]
        task = asyncio.create_task(heard(self._after(ended, member)), name=f"replace {member.name}")
        self._replacing.add(task)
        task.add_done_callback(self._replacing.discard)

    async def _after(self, ended: "asyncio.Task[None]", member: Member) -> None:
        await asyncio.wait([ended])
        if self.members.get(member.name) is member:  # it was not removed meanwhile
            self._start(member)

    def _retire(self, member: Member, why: str) -> None:
        """Send it nothing more; end it when its last answer has ended."""
        if member.before is not None:
            self._retire(member.before, why)
            member.before = None
        self._prober.forget(member.backend)
        self._plane.retire(member.backend, why)
        self._ending[member] = asyncio.create_task(heard(self._end(member, why)), name=f"end {member.name}")

    async def _end(self, member: Member, why: str) -> None:
        loop, backend = asyncio.get_running_loop(), member.backend
        until = loop.time() + self.drain_timeout
        if backend.in_flight:
            log.info(f"{member.name}: {why}; its {backend.in_flight} requests in flight may end")
        while backend.in_flight and loop.time() < until:  # noqa: ASYNC110 -- the relay tells nobody, which costs it nothing
            await asyncio.sleep(LOOK_EVERY)
        if backend.in_flight:
            log.warning(f"{member.name}: {backend.in_flight} requests are cut after {self.drain_timeout:g} s: it {why}")
        unharmed(f"the end of {member.name}'s requests", self._plane.drop, backend, why)
        try:
            if member.supervisor is not None:
                await member.supervisor.stop()
            log.info(f"{member.name}: {why}")
        finally:
            del self._ending[member]

    # What supervisors say

    def _changed(self, member: Member, status: Status) -> None:
        """Take the supervisor's word for a launched backend, and tell people."""
        backend = member.backend
        if status.state is State.RUNNING and status.address is not None:
            self._plane.serve(backend, Address(*status.address), status.key, ahead=_ahead(member))
            if member.before is not None and self.members.get(member.name) is member:
                before, member.before = member.before, None
                self._retire(before, "was replaced")
                self._join(member)
                self._plane.rebuild_catalog()
        else:
            self._plane.withdraw(backend, status.detail, due=_due(status, asyncio.get_running_loop().time()))
        if status.state is State.FATAL:
            member.asked = self._plane.asked_beside(backend)
        if status.state in {State.BACKOFF, State.FATAL}:
            said = "".join(f"\n    | {line}" for line in status.last_lines[-10:])
            more = "\n    the one before it serves on" if member.before is not None else ""
            log.error(f"{status.name}: {status.detail}{said}{more}")
        else:
            (log.warning if status.lacks else log.info)(f"{status.name}: {status.detail}")
        self._settle()

    def _settle(self) -> None:
        if all(member.settled for member in self.members.values()):
            self._on_settled()

    def revive(self) -> None:
        """Start every engine afresh that was given up: something may have changed."""
        for member in self.members.values():
            if member.supervisor is not None:
                member.supervisor.revive()

    def want(self, backend: Backend) -> bool:
        """Have an engine that was given up some time ago tried once more, for a request; tell whether it is."""
        member = self.members.get(backend.name)
        return (
            member is not None
            and member.backend is backend
            and member.supervisor is not None
            and member.supervisor.want()
        )

    def restart(self, backend: Backend) -> None:
        """Restart an engine that has stalled, if it is ours."""
        for member in (*self.members.values(), *self._ending):
            if member.backend is backend and member.supervisor is not None:
                member.supervisor.restart()

    # The end

    @property
    def _supervisors(self) -> list[Supervisor]:
        members = [*self.members.values(), *self._ending]
        members += [member.before for member in members if member.before is not None]
        return [member.supervisor for member in members if member.supervisor is not None]

    async def stop(self) -> None:
        """End every engine well; those that are to be kept run on."""
        ending = set(self._ending)
        for task in (*self._replacing, *self._ending.values()):
            task.cancel()
        gone = [member.supervisor for member in ending if member.supervisor is not None]
        kept = [supervisor for supervisor in self._supervisors if supervisor not in gone]
        await asyncio.gather(*(each.stop() for each in gone), *(each.leave() for each in kept))
        await self._keepers.close()

    async def kill(self, *, keep: bool) -> None:
        """End every engine now; with `keep`, those that are to be kept run on."""
        for task in (*self._replacing, *self._ending.values()):
            task.cancel()
        await asyncio.gather(*(each.leave() if keep else each.kill() for each in self._supervisors))
        await self._keepers.close()


def _cap(config: BackendConfig, parallel: int | None = None) -> Cap:
    """Tell how much a backend is to have in flight: what router.yaml says, or what its engine works on at once."""
    return Cap(config.max_in_flight or parallel or inf, config.max_prompt_bytes or inf)


def _due(status: Status, now: float) -> float | None:
    """Tell in how many seconds an engine is started; 0 while it starts, None: nobody is going to."""
    if not status.coming:
        return None
    return 0.0 if status.next_try is None else max(0.0, status.next_try - now)


def _process(supervisor: Supervisor, launch: Launch) -> Process | None:
    """Tell what shows whether an engine works."""
    pid = supervisor.status.pid
    return None if pid is None else Process(pid, launch.engine.works_on_cpu, launch.on_cpu)


def _ahead(member: Member) -> int:
    """Tell how many connections an engine that accepts them slowly is to have before they are needed."""
    launch, most = member.planned.launch, member.backend.cap.requests
    return 0 if launch is None or not launch.engine.accepts_slowly or most == inf else int(most)


def _files(member: Member) -> str | None:
    return None if member.supervisor is None else member.supervisor.files


def _right_for(engine: Engine, spec: LaunchSpec) -> Callable[[str, bytes], bytes]:
    """Have an engine put requests right; one that it must not get is its client's mistake."""

    def put_right(path: str, body: bytes) -> bytes:
        try:
            return engine.put_right(path, body, spec)
        except UnfitRequestError as error:
            raise BadRequestError(error.message, param=error.param) from error

    return put_right
