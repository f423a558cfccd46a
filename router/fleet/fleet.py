"""All backends of one router: does a reload's steps, starts and stops everything, and says what there is."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from launchers.leftovers import left_running
from launchers.process import Keepers
from launchers.states import RestartPolicy, State
from launchers.status import Status
from launchers.supervisor import Supervisor
from launchers.turns import Turns
from router.cluster.peers import Peers
from router.cluster.wake import Waker
from router.core.catalog import Backend
from router.core.errors import ConflictError
from router.core.memory.actions import Remember
from router.core.memory.devices import Footprint
from router.core.memory.refusals import LoadFailedError
from router.core.memory.states import State as MemoryState
from router.fleet.diff import Do, Plan, PlannedBackend, Step
from router.fleet.guests import Guests
from router.fleet.launching import Launch
from router.fleet.lifecycle import Lifecycle
from router.fleet.members import Member, pids_of
from router.fleet.memory import Memory
from router.fleet.on_ray import OnRay
from router.fleet.placements import running_first
from router.fleet.telling import model_told
from router.proxy.plane import Plane
from router.proxy.watching.probe import Prober
from router.store.remembered import Remembered
from router.store.store import Store

LOOK_EVERY = 0.05
"""Seconds between two looks whether what a person asked for has come."""

_OUT = frozenset({MemoryState.UNLOADED, MemoryState.FAILED})
_SETTLED = frozenset({State.RUNNING, State.FATAL, State.STOPPING, State.STOPPED})

SLICE = 0.005
"""Seconds for which a change of many backends may hold up everything else at a time."""


ON_DEMAND = RestartPolicy(give_up_after=2)
"""How engines are restarted that are loaded on demand: once, as a start may fail by chance. Then those who wait are
told why, and the next request after a rest has it tried again."""


class Fleet:
    """The backends of one router. `logs` is the folder of engines' logs; `on_settled` is called when none is starting.

    `policy` says how engines are restarted, by default as `RestartPolicy` does. `store` keeps what was learned of
    models that are loaded and unloaded.
    """

    def __init__(
        self,
        plane: Plane,
        prober: Prober,
        logs: Path,
        on_settled: Callable[[], None],
        policy: RestartPolicy | None = None,
        store: Store | None = None,
        folder: Path = Path(),
    ) -> None:
        self._plane = plane
        self._logs = logs
        self._policy = policy
        self._store = store
        self._memory: Memory | None = None
        self._weights: Mapping[str, float] = {}
        self._keepers = Keepers()
        self._turns = Turns()
        self._life = Lifecycle(plane, prober, self._supervise, on_settled)
        self._waker: Waker | None = None
        if store is not None:
            prober.sleepers = self._waker = Waker(plane, store)
        self.peers = Peers(plane, Guests(self._life, self._hold_again))
        self.peers.sleepers = prober.sleepers
        self.on_ray = OnRay(plane, self.peers, lambda: self._life.members, folder)
        # How often each backend has stalled.
        self.stalls: Counter[str] = Counter()
        # What `hold` was told last: a peer's backend that comes back is held again.
        self.drained: Mapping[str, str] = {}
        # What was measured of each member's engine: bytes by device.
        self.held: Callable[[], Mapping[str, Mapping[str, int]]] = dict

    def _supervise(
        self, launch: Launch, *, files: str | None, on_change: Callable[[Status], None], is_wanted: Callable[[], bool]
    ) -> Supervisor:
        return Supervisor(
            launch.spec,
            launch.engine,
            keepers=self._keepers,
            logs=self._logs,
            on_change=on_change,
            python=launch.python,
            policy=self._policy or (ON_DEMAND if launch.is_on_demand else None),
            files=files,
            turns=self._turns,
            is_wanted=is_wanted,
        )

    def set_up(self, *, drain_timeout: float, weights: Mapping[str, float]) -> None:
        """Take another bound, in seconds, for the requests in flight of what is removed or replaced.

        `weights` are the shares of keys of what is loaded.
        """
        self._life.drain_timeout = drain_timeout
        self._weights = weights

    # What there is

    @property
    def members(self) -> dict[str, Member]:
        """The members by their names, without those that are ending."""
        stand_ins = self.on_ray.stand_ins
        return {**self._life.members, **stand_ins} if stand_ins else self._life.members

    def entry_of(self, name: str) -> str | None:
        """Name the entry of router.yaml that a member is of: a peer's model is of its peer's; None: it isn't there."""
        peer, member = self.peers.of(name), self.members.get(name)
        if peer is not None:
            return self.on_ray.cluster.entry_of(peer[0].name) or peer[0].name
        return None if member is None else member.planned.config.name

    @property
    def pids(self) -> dict[str, int]:
        """The process of each member that has one, by the member's name."""
        return pids_of(self.members)

    @property
    def reserved(self) -> dict[str, Footprint]:
        """Bytes by device that are reserved for each member whose engine is loaded and unloaded."""
        if self._memory is None:
            return {}
        held = self._memory.residency.reservations.held
        return {name: held(each.resident) for name, each in self.members.items() if each.resident}

    @property
    def loads(self) -> Counter[str]:
        """How often each member's load was begun."""
        return Counter() if self._memory is None else self._memory.loader.loads

    @property
    def evictions(self) -> Counter[str]:
        """How often each member was unloaded because others needed its memory."""
        return Counter() if self._memory is None else self._memory.loader.evictions

    def told(self) -> list[dict[str, object]]:
        """Describe each backend as plain data: those that are there, then those that are ending."""
        now = self._plane.loop.time()
        ending = [member.told(now) | {"ending": True} for member in self._life.ending]
        there = self.peers.states()
        members = [
            each.told(now) | self._out_of_memory(each) | there.get(each.name, {}) for each in self.members.values()
        ]
        return members + self.silent() + ending

    def silent(self) -> list[dict[str, object]]:
        """Describe the peers without any model here; one on Ray has a stand-in of its name."""
        return [each for each in self.peers.silent() if each["name"] not in self.members]

    def _out_of_memory(self, member: Member) -> dict[str, object]:
        """Tell in memory's word why an engine isn't there that is loaded on demand: it is no failure of a backend."""
        if self._memory is None or not member.resident:
            return {}
        state = self._memory.residency.residents()[member.resident].state
        return {"health": state.value, "state": state.value} if state in _OUT else {}

    # Changes

    def start(self) -> None:
        """Start every engine and every probe; what is added later starts by itself."""
        run = self._logs / "run"
        left = {name: left_running(run, name) for name, member in self.members.items() if member.resident}
        adopted = {name: record for name, record in left.items() if record is not None}
        for name, record in adopted.items():
            member = self.members[name]
            launch, loadable = member.planned.launch, member.planned.loadable
            if self._memory is not None and launch is not None and loadable is not None:
                self._memory.loader.change(replace(running_first(loadable, launch, record), name=member.resident))
        self._life.start(adopted)
        self.peers.start()
        self.on_ray.cluster.start()

    async def apply(self, steps: Iterable[Step], plan: Plan) -> None:
        """Do what the steps say of backends, and route by the plan; others have their turn in between."""
        await self._share_memory(plan)
        loop = asyncio.get_running_loop()
        began = loop.time()
        for step in steps:
            self._do(step, plan)
            if loop.time() - began > SLICE:
                await asyncio.sleep(0)
                began = loop.time()
        self._plane.directory.route(plan.routes)
        self._plane.directory.rebuild()

    async def _share_memory(self, plan: Plan) -> None:
        """Have models loaded and unloaded by what memory there is, where a plan says so."""
        if not plan.devices:
            return
        if self._memory is None:
            known = {} if self._store is None else await self._store.footprints()
            self._memory = Memory(self._plane, plan, known, self._keep)
            self._life.loader = self._memory.loader
            self._memory.start()
        self._memory.set_up(plan, self._weights)
        self._memory.loader.drain_timeout = self._life.drain_timeout

    def _keep(self, remember: Remember) -> None:
        learned = remember.learned
        if self._store is not None:
            self._store.remember(
                remember.key, Remembered(learned.bytes, learned.loads, learned.raised, remember.load_seconds)
            )

    def _do(self, step: Step, plan: Plan) -> None:
        if self.on_ray.do(step, plan):
            return
        planned = plan.backends.get(step.name)
        if step.name in self.peers.by_name or (planned is not None and planned.config.router is not None):
            self._do_with_peer(step, planned)
            return
        match step.do:
            case Do.REMOVE:
                self._life.remove(step.name)
            case Do.ADD:
                self._life.add(plan.backends[step.name])
            case Do.REPLACE:
                self._life.replace(plan.backends[step.name], step.name, new_first=step.new_first)
            case Do.TUNE:
                self._life.tune(plan.backends[step.name], step.name)
            case Do.KEEP:
                self._life.keep(plan.backends[step.name], step.name)
            case Do.ROUTE | Do.LIMIT | Do.STUCK:
                # These concern no backend: `apply` routes, and the app takes the settings over.
                pass

    def _do_with_peer(self, step: Step, planned: PlannedBackend | None) -> None:
        if step.do in {Do.REMOVE, Do.REPLACE} and step.name in self.peers.by_name:
            self.peers.remove(step.name)
        if planned is not None and planned.config.router is not None and step.do in {Do.ADD, Do.REPLACE}:
            self.peers.add(planned.config, planned.trust)
        elif planned is not None and step.do is Do.TUNE:
            self.peers.tune(planned.config, planned.trust)

    def revive(self) -> None:
        """Start every engine afresh that was given up: something may have changed."""
        for member in self.members.values():
            if member.supervisor is not None:
                member.supervisor.revive()
            if member.resident and self._memory is not None:
                self._memory.loader.forgive(member)

    def want(self, backend: Backend) -> bool:
        """For a request, have an engine tried once more that was given up, or a machine woken; tell whether it is."""
        if not backend.supervised:
            return self._waker is not None and self._waker.want(backend)
        member = self.members.get(backend.name)
        return (
            member is not None
            and member.backend is backend
            and member.supervisor is not None
            and member.supervisor.want()
        )

    def restart(self, backend: Backend) -> None:
        """Restart an engine that has stalled, if it is one of ours."""
        self.stalls[backend.name] += 1
        for member in (*self.members.values(), *self._life.ending):
            if member.backend is backend and member.supervisor is not None:
                member.supervisor.restart()

    def runs(self, member: Member) -> bool:
        """Whether a launched engine is to be there: it isn't one that is unloaded."""
        return self._memory is None or self._memory.loader.holds_memory(member)

    def is_settled(self, member: Member) -> bool:
        """Whether nothing of it is on its way: it serves, or can't, and no predecessor serves for it."""
        return member.before is None and self._life.is_settled(member)

    def restart_gently(self, planned: PlannedBackend, name: str, *, new_first: bool) -> None:
        """Start an engine afresh without cutting an answer."""
        self._life.replace(planned, name, new_first=new_first)
        self._plane.directory.rebuild()

    def hold(self, drained: Mapping[str, str]) -> None:
        """Send these backends nothing more, each with the admin's name who wants it so; all others have requests."""
        self.drained = drained
        before = self._plane.ledger.held
        held = {each.backend: drained[each.name] for each in self._life.everybody if each.name in drained}
        self._plane.ledger.hold(held)
        if any(backend not in held for backend in before):
            self._plane.queues.look(self._plane.loop.time())
        for backend in held:
            if backend not in before and self._plane.loading is not None:
                self._plane.loading.drained(backend)

    def _hold_again(self) -> None:
        """Hold a peer's model that comes back, if it went as a drained one."""
        if self.drained:
            self.hold(self.drained)

    # Models by the names of their backends

    def models_told(self) -> list[dict[str, object]]:
        """Describe each launched backend, and each of peers, as plain data: see `router.fleet.telling`."""
        known = [] if self._memory is None else self._memory.residency.told(self._plane.loop.time())
        by_name, held = {each["name"]: each for each in known}, self.held()
        launched = ((member, member.supervisor) for member in self.members.values())
        here = [
            model_told(member, supervisor, by_name.get(member.resident), held.get(member.name, {}))
            for member, supervisor in launched
            if supervisor is not None
        ]
        return here + self.peers.models_told()

    async def load(self, name: str) -> None:
        """Load a launched backend, and wait until it is. Raises UnavailableError where it can't be, with the reason."""
        member = self.members[name]
        supervisor = member.supervisor
        if supervisor is None:
            return
        if self._memory is not None and member.resident:
            await self._memory.loader.load_for_people(member)
            return
        supervisor.revive()
        # A supervisor tells only its member's owner when its state changes.
        while supervisor.is_ahead or supervisor.status.state not in _SETTLED:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_EVERY)
        if supervisor.status.state is not State.RUNNING:
            raise LoadFailedError(name, supervisor.status.detail, None)

    async def unload(self, name: str) -> None:
        """Unload a launched backend, and wait until it is gone. Raises ConflictError where all stay loaded."""
        member = self.members[name]
        if self._memory is not None and member.resident:
            await self._memory.loader.unload_for_people(member)
            return
        raise ConflictError(
            f"'{name}' stays loaded, as all models of this router do: write `load: on_demand` or `unload_after` at one "
            "of them, and each can be unloaded."
        )

    # The end

    async def stop(self) -> None:
        """End every engine well; those that are to be kept run on."""
        await self._decide_no_more()
        await self.on_ray.cluster.stop()
        gone = [member.supervisor for member in self._life.ending if member.supervisor is not None]
        kept = [supervisor for supervisor in self._supervisors if supervisor not in gone]
        self._life.abandon()
        await asyncio.gather(*(each.stop() for each in gone), *(each.leave() for each in kept))
        await self._keepers.close()

    async def kill(self, *, keep: bool) -> None:
        """End every engine now; with `keep`, those that are to be kept run on."""
        await self._decide_no_more()
        await self.on_ray.cluster.stop()
        supervisors = self._supervisors
        self._life.abandon()
        await asyncio.gather(*(each.leave() if keep else each.kill() for each in supervisors))
        await self._keepers.close()

    async def _decide_no_more(self) -> None:
        await self.peers.stop()
        if self._memory is not None:
            await self._memory.stop()
        if self._waker is not None:
            self._waker.stop()
        if self._store is not None:
            await self._store.close()

    @property
    def _supervisors(self) -> list[Supervisor]:
        return [member.supervisor for member in self._life.everybody if member.supervisor is not None]
