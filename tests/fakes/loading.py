"""A plane whose backends load and unload, without sockets: the test plays the fleet, which does what memory decides."""

from router.core.catalog import Backend
from router.core.health import declared
from router.core.memory.actions import Action, Cancel, Load, Unload
from router.core.memory.devices import Device
from router.core.memory.footprints import Placement
from router.core.memory.order import Order
from router.core.memory.residency import Residency
from router.core.memory.resident import Loadable, Policy
from tests.fakes.wired import Scene, Wires

GPU = "gpu0"
SIZE = 2**30


class LoadingScene(Scene):
    """Backends that serve `m`, or those of `models` a model each of their own name; `fits` of them fit into memory.

    `did` is what the fleet was to do, in words.
    """

    def __init__(
        self,
        *names: str,
        fits: int = 1,
        models: str = "",
        policy: Policy | None = None,
        order: Order | None = None,
        **limits: float,
    ) -> None:
        super().__init__(**limits)
        self.did: list[str] = []
        self.residency = Residency([Device(GPU, fits * SIZE)], policy, order=order)
        self.loading = self.plane.manage_memory(self.residency, self._carry_out)
        for name in names:
            self.add(name, "m")
        for name in models:
            self.add(name, name)

    @property
    def now(self) -> float:
        """The loop's time."""
        return self.plane.loop.time()

    def add(self, name: str, *models: str, size: int = 1, slots: int = 4, resident: str = "") -> Backend:
        """Add a backend that isn't loaded; `resident` is its name in memory, if that is another one."""
        resident = resident or name
        backend = Backend(name, {each: each for each in models}, supervised=True, resident=resident)
        backend.health = declared(up=False, reason="is not loaded", coming=True)
        placement = Placement(resident, {GPU: size * SIZE}, is_told=True)
        self.residency.add(Loadable(resident, (placement,), slots=slots, load_seconds=10.0), self.now)
        self.plane.add(backend)
        self.backends.append(backend)
        self.pools.append(Wires())
        self.plane.directory.rebuild()
        return backend

    def at(self, name: str) -> int:
        """Give the number of a backend, by its name in memory."""
        return next(number for number, each in enumerate(self.backends) if name in {each.resident, each.name})

    def _carry_out(self, action: Action) -> None:
        if isinstance(action, Load | Unload | Cancel):
            self.did.append(f"{type(action).__name__.lower()} {action.backend}")

    # What the fleet tells

    def loaded(self, name: str) -> None:
        """A backend's engine is ready."""
        number = self.at(name)
        backend = self.backends[number]
        # As `Plane.serve` does, but for the pool; first, as memory may have it end at once.
        self.plane.connections._pools[backend] = self.pools[number]
        self.plane._follow(backend, self.plane.ledger.ready(backend, self.now))
        self.loading.do(self.residency.loaded(name, self.now))

    def exited(self, name: str) -> None:
        """A backend's engine has ended, and its memory is free."""
        self.plane.withdraw(self.backends[self.at(name)], "is not loaded", due=0.0)
        self.loading.do(self.residency.exited(name, self.now))

    def failed(self, name: str, reason: str = "it is broken") -> None:
        """A backend's engine doesn't load, and ends."""
        self.loading.do(self.residency.failed(name, reason, self.now))
        self.exited(name)

    def state(self, name: str) -> str:
        """Tell how far a backend is."""
        return self.residency.state(name).value
