"""Peers' models as members of the fleet: what `router.cluster.peers` has the fleet do."""

from collections.abc import Callable

import structlog

from router.cluster.household import Home
from router.config import BackendConfig
from router.core.catalog import Backend
from router.fleet.diff import PlannedBackend
from router.fleet.lifecycle import Lifecycle
from router.telemetry.logs import MODELS
from router.tls.trust import Trust

log = structlog.get_logger(MODELS)


class Guests(Home):
    """Takes in peers' models as members that nobody launches or probes. `on_join` is called after each."""

    def __init__(self, life: Lifecycle, on_join: Callable[[], None]) -> None:
        self._life = life
        self._on_join = on_join
        self._refused: set[str] = set()

    def join(self, entry: BackendConfig, trust: Trust) -> Backend | None:
        """Take in a model; None: there is a backend of its name already, which is said once."""
        if entry.name in self._life.members:
            if entry.name not in self._refused:
                self._refused.add(entry.name)
                log.warning(f"{entry.name}: a peer serves it, but a backend here has this name: give that another one")
            return None
        self._refused.discard(entry.name)
        self._life.add(PlannedBackend(entry, trust=trust))
        self._on_join()
        return self._life.members[entry.name].backend

    def tune(self, entry: BackendConfig, trust: Trust) -> None:
        """Change what is known of one."""
        self._life.tune(PlannedBackend(entry, trust=trust), entry.name)

    def leave(self, name: str) -> None:
        """Send it nothing more; what it has in flight may end."""
        self._life.remove(name)
