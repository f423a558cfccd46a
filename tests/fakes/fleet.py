"""A lifecycle with a real plane, whose engines and probes are the test's."""

import random
from pathlib import Path

from launchers.spec import LaunchSpec
from launchers.states import State
from launchers.status import Status
from launchers.supervisor import Supervisor
from router import settings
from router.config import Config
from router.fleet.diff import PlannedBackend
from router.fleet.launching import Launch
from router.fleet.lifecycle import Lifecycle
from router.proxy.plane import Plane
from router.proxy.watching.probe import Prober, Target
from tests.fakes.kept import FakeKeepers
from tests.fakes.launched import LaunchedFake

URL = {"name": "b", "url": "http://127.0.0.1:1"}
LAUNCH = {"name": "demo", "models": ["demo"], "launch": {"engine": "llama_cpp", "model": "any"}}
CONFIG = Config.model_validate({"backends": [URL]})
RUNNING = Status("demo", State.RUNNING, ("127.0.0.1", 1), 7, "ready after 0.1 s", (), 0.0, key="secret")
FAILED = Status("demo", State.FATAL, None, None, "gave up after 5 failed starts", ("no such model",), 0.0)


class FakeSupervisor(Supervisor):
    """A supervisor that the test has say what it wants; it starts nothing."""

    def __init__(self, launch, files, on_change, is_wanted):
        super().__init__(
            launch.spec, launch.engine, keepers=FakeKeepers(), logs=Path("/none"), on_change=on_change, files=files,
            is_wanted=is_wanted,
        )  # fmt: skip
        self.calls: list[str] = []
        self.changed = False
        self.specs: list[LaunchSpec] = []

    def says(self, status):
        """Announce a status."""
        self._announcer.tell(status)

    def start(self):
        """Note it."""
        self.calls.append("start")

    def set_up(self, spec):
        """Note it."""
        self.specs.append(spec)

    async def stop(self):
        """Note it."""
        self.calls.append("stop")

    async def kill(self):
        """Note it."""
        self.calls.append("kill")

    async def has_changed(self):
        """As the test says."""
        return self.changed


class NoProbes(Prober):
    """A prober that keeps its targets, and probes none."""

    def __init__(self, plane):
        super().__init__(plane, settings.probe_timing(CONFIG), random.random)
        self.targets: dict[str, Target] = {}

    def watch(self, target):
        """Keep it."""
        self.targets[target.backend.name] = target

    def forget(self, backend):
        """Drop it, if it is this one's."""
        if backend.name in self.targets and self.targets[backend.name].backend is backend:
            del self.targets[backend.name]


class Fleet:
    """A lifecycle whose parts the test can look into."""

    def __init__(self):
        self.plane = Plane(
            settings.exchange_limits(CONFIG), settings.thresholds(CONFIG), settings.balancing(CONFIG),
            draw=lambda _: 0,
        )  # fmt: skip
        self.prober = NoProbes(self.plane)
        self.supervisors: list[FakeSupervisor] = []
        self.settled = 0
        self.life = Lifecycle(self.plane, self.prober, self._supervise, self._on_settled)

    def _supervise(self, launch, *, files, on_change, is_wanted):
        self.supervisors.append(FakeSupervisor(launch, files, on_change, is_wanted))
        return self.supervisors[-1]

    def _on_settled(self):
        self.settled += 1

    def models(self, name="b"):
        """What a backend is believed to serve."""
        return set(self.plane.backends[name].models)

    @property
    def serving(self):
        """The backend that requests for `demo` go to, if one is there."""
        self.plane.directory.rebuild()
        backend = self.plane.backends.get("demo")
        return backend if backend is not None and backend.health.usable else None


def planned(entry=LAUNCH, loadable=None, **changes):
    """Give what a plan has of an entry; `loadable` is what its engine takes, if memory decides when it is loaded."""
    (config,) = Config.model_validate({"backends": [{**entry, **changes}]}).backends
    if config.url is not None:
        return PlannedBackend(config)
    spec = LaunchSpec(config.name, "llama_cpp", "any", "demo", {}, {}, 60.0)
    return PlannedBackend(config, Launch(config, spec, LaunchedFake(), "python", "because"), loadable)
