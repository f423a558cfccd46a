"""Drives `Residency` step by step in tests: what it is told in a call each, and what it asks for as words."""

from collections.abc import Sequence

from router.core.memory.actions import Cancel, Drain, Load, Refuse, Remember, Resume, Unload
from router.core.memory.devices import Device
from router.core.memory.footprints import Placement
from router.core.memory.order import Order
from router.core.memory.residency import Residency
from router.core.memory.resident import Loadable, Policy
from scripts.residency.machine import Said, Send
from scripts.residency.pulling import Pulling

G = 2**30


def backend(name: str, size: int | dict[str, int] = 8, **options: object) -> Loadable:
    """Make a backend of a size in GiB that a person told, so that no margin is added."""
    sizes = {"gpu0": size} if isinstance(size, int) else size
    placement = Placement(name, {device: each * G for device, each in sizes.items()}, is_told=True)
    return Loadable(name, options.pop("placements", (placement,)), **options)  # type: ignore[arg-type]


class Scene:
    """One GPU of 20 GiB unless others are given; requests are told by their first letter: `a1` wants backend a."""

    def __init__(
        self,
        *loadables: Loadable | str,
        devices: Sequence[Device] = (Device("gpu0", 20 * G),),
        policy: Policy | None = None,
        order: Order | None = None,
    ) -> None:
        self.residency = Residency(devices, policy, order=order)
        self.queue = Pulling(self.residency)
        self.now = 0.0
        self.refused: list[Refuse] = []
        self.remembered: list[Remember] = []
        self.loads: list[Load] = []
        for each in loadables:
            self.residency.add(backend(each) if isinstance(each, str) else each, 0.0)

    def told(self, actions: Sequence[Said]) -> str:
        """Write actions as words, what is sent in place of offers."""
        words = []
        for action in self.queue.pull(actions, self.now):
            if isinstance(action, Send):
                words.append(f"send {action.request}")
            elif isinstance(action, Load):
                self.loads.append(action)
                words.append(f"load {action.backend}")
            elif isinstance(action, Unload):
                words.append(f"unload {action.backend}")
            elif isinstance(action, Cancel | Drain | Resume):
                words.append(f"{type(action).__name__.lower()} {action.backend}")
            elif isinstance(action, Refuse):
                self.refused.append(action)
                words.append(f"refuse {action.request}")
            elif isinstance(action, Remember):
                self.remembered.append(action)
        return ", ".join(words)

    def at(self, now: float) -> "Scene":
        """Go on to a time."""
        self.now = now
        return self

    def want(self, *requests: str, key: str = "", keep_alive: float | None = None) -> str:
        """Requests come; `a1` wants backend `a`."""
        done = [
            self.told(self.residency.wanted(each, each[0], self.now, key=key, keep_alive=keep_alive))
            for each in requests
        ]
        return ", ".join(each for each in done if each)

    def end(self, *requests: str) -> str:
        """Requests end."""
        done = [self.told(self.residency.ended(each, self.now)) for each in requests]
        return ", ".join(each for each in done if each)

    def loaded(self, name: str, **measured: int) -> str:
        """A backend is loaded, and has these GiB."""
        sizes = {device: size * G for device, size in measured.items()}
        return self.told(self.residency.loaded(name, self.now, sizes))

    def failed(self, name: str, reason: str = "broken", oom: str | None = None) -> str:
        """A load fails."""
        return self.told(self.residency.failed(name, reason, self.now, oom=oom))

    def exited(self, name: str) -> str:
        """A backend's process is gone."""
        return self.told(self.residency.exited(name, self.now))

    def free(self, size: float, device: str = "gpu0") -> str:
        """A device tells its free GiB."""
        return self.told(self.residency.figures(device, int(size * G), self.now))

    def tick(self) -> str:
        """Time has passed."""
        return self.told(self.residency.tick(self.now))

    def load(self, name: str, *, evict: bool = True) -> str:
        """A person asks for a load."""
        return self.told(self.residency.load(name, self.now, evict=evict))

    def unload(self, name: str) -> str:
        """A person asks for the memory."""
        return self.told(self.residency.unload(name, self.now))

    def remove(self, name: str) -> str:
        """The configuration has it no more."""
        return self.told(self.residency.remove(name, self.now))

    def serve(self, request: str, seconds: float = 1.0) -> str:
        """Load a backend for one request, which is served; ten seconds to load."""
        done = [self.want(request), self.at(self.now + 10).loaded(request[0]), self.at(self.now + seconds).end(request)]
        return ", ".join(each for each in done if each)

    def states(self) -> str:
        """Write the states of all that are not unloaded."""
        found = self.residency.residents().values()
        return ", ".join(f"{each.name} {each.state.value}" for each in found if each.state.value != "unloaded")
