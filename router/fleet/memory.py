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
from router.fleet.loadables import placed
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
        self.loader = Loader(plane, self.residency, _measure, remember, seconds, _prepare, warm_up)
        self._gauges = Gauges(self.loader, _read)
        self.loader.on_gone = self._gauges.wake

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


def limits(plan: Plan) -> tuple[Device, ...]:
    """Say what our engines may hold of each device."""
    limit = plan.config.memory.limit
    return tuple(
        Device(each.name, each.limit, each.total) for each in devices.limits(plan.devices, ram=limit.ram, gpu=limit.gpu)
    )


def policy(config: Config) -> Policy:
    """Say how memory is shared over time."""
    return Policy(max_wait=config.memory.max_wait)


def _read(roots: Mapping[str, int]) -> tuple[Sequence[devices.DeviceFigures], Own]:
    figures = devices.look(roots.values())
    return figures, devices.own(figures, roots)


def _measure(pid: int) -> Footprint:
    return devices.footprint_of(pid, devices.look([pid]))


def _prepare(member: Member, load: Load) -> None:
    """Give an engine what belongs to the place that was chosen for it."""
    launch = member.planned.launch
    assert launch is not None  # noqa: S101 -- only engines are loaded
    assert member.supervisor is not None  # noqa: S101
    member.supervisor.set_up(placed(launch.spec, load.placement))
