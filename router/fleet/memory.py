"""Models that load and unload by themselves: puts together what decides, what does it, and what watches the devices.

    core.memory.Residency   decides (pure)
    fleet.loader            starts and ends engines
    fleet.gauges            reads the devices
    store                   keeps what was learned for the next run

A router whose launches all run from its start to its end has none of this.
"""

from collections.abc import Callable, Mapping, Sequence

from launchers import devices
from router.config import Config
from router.core.memory.actions import Load, Remember
from router.core.memory.devices import Device, Footprint
from router.core.memory.footprints import Learned
from router.core.memory.order import ByKey
from router.core.memory.residency import Residency
from router.core.memory.resident import Policy
from router.fleet.diff import Plan
from router.fleet.gauges import Gauges, Own
from router.fleet.loadables import limits_of, placed
from router.fleet.loader import Loader
from router.fleet.members import Member
from router.fleet.warm_up import warm_up
from router.proxy.plane import Plane
from router.store.remembered import Remembered


class Memory:
    """All of it for one fleet. `known` is what earlier runs have learned, `remember` stores what this one learns."""

    def __init__(
        self, plane: Plane, plan: Plan, known: Mapping[str, Remembered], remember: Callable[[Remember], None]
    ) -> None:
        self._order = ByKey()
        self.residency = Residency(limits(plan), policy(plan.config), order=self._order)
        for key, each in known.items():
            self.residency.footprints.restore(key, Learned(each.bytes, each.loads, each.raised))
        seconds = {key: each.load_seconds for key, each in known.items()}
        self.loader = Loader(plane, self.residency, self._measure, remember, seconds, self._prepare, warm_up)
        self._gauges = Gauges(self.loader, self._read)
        self.loader.on_gone = self._gone
        # What the devices told last; and when a load began, with how often engines had begun or ended by then.
        self._latest: Sequence[devices.DeviceFigures] = ()
        self._before: dict[str, tuple[Sequence[devices.DeviceFigures], int]] = {}
        self._moves = 0

    def set_up(self, plan: Plan, weights: Mapping[str, float]) -> None:
        """Take the settings of a plan, and the shares of keys."""
        self._order.weigh(weights)
        self.loader.configure(limits(plan), policy(plan.config))

    def start(self) -> None:
        """Begin to watch the devices."""
        self._gauges.start()

    async def stop(self) -> None:
        """Decide nothing more: all engines are about to end."""
        self.loader.close()
        await self._gauges.stop()

    # What the loader and the gauges ask

    def _prepare(self, member: Member, load: Load) -> None:
        """Give an engine what belongs to the place that was chosen for it."""
        launch = member.planned.launch
        assert launch is not None  # noqa: S101 -- only engines are loaded
        assert member.supervisor is not None  # noqa: S101
        self._moves += 1
        self._before[member.resident] = self._latest, self._moves
        member.supervisor.set_up(placed(launch.spec, load.placement))

    def _gone(self) -> None:
        self._moves += 1
        self._gauges.wake()

    def _read(self, roots: Mapping[str, int]) -> tuple[Sequence[devices.DeviceFigures], Own]:
        self._latest = figures = devices.look(roots.values())
        return figures, devices.own(figures, roots)

    def _measure(self, resident: str, pid: int) -> Footprint:
        """Measure an engine. Of a GPU that tells nothing by process, it is what is less free than before its load.

        That holds only where no other engine has begun or ended meanwhile; else the GPU is left out.
        """
        figures = devices.look([pid])
        found = devices.footprint_of(pid, figures)
        before, moves = self._before.pop(resident, ((), -1))
        if moves == self._moves:
            found |= {name: size for name, size in devices.by_difference(before, figures).items() if size}
        return found


def limits(plan: Plan) -> tuple[Device, ...]:
    """Say what our engines may hold of each device."""
    return tuple(Device(each.name, each.limit, each.total) for each in limits_of(plan.devices, plan.config))


def policy(config: Config) -> Policy:
    """Say how memory is shared over time."""
    return Policy(max_wait=config.memory.max_wait)
