"""What the management API has the router itself do: the parts alone couldn't."""

from collections.abc import Collection
from pathlib import Path
from typing import Protocol

from router.cluster.neighbours import Neighbour
from router.config import Config
from router.core.errors import ConflictError
from router.core.scopes import Admin
from router.fleet.diff import Plan, Step
from router.fleet.launches import StartError
from router.fleet.overrides import Key, Overrides


class Listens(Protocol):
    """Where the router listens."""

    @property
    def neighbours(self) -> list[Neighbour]:
        """Other routers on the network."""


class Levers(Protocol):
    """The router as a whole: `router.app.App`. `folder` is that of router.yaml."""

    @property
    def folder(self) -> Path:
        """The folder that relative paths count from."""

    @property
    def plan(self) -> Plan:
        """What runs."""

    @property
    def overrides(self) -> Overrides:
        """What admins have changed of what router.yaml says."""

    @property
    def listener(self) -> Listens:
        """Where it listens."""

    @property
    def stops_in(self) -> float | None:
        """Seconds until the router cuts what is still in flight, as it stops; None: it doesn't stop."""

    async def override(self, backends: Collection[str], key: Key, value: int, by: str) -> None:
        """Change a key of launches without touching the file; `by` is the admin's name. Raises StartError."""

    async def drain(self, name: str, by: str | None) -> None:
        """Send a backend nothing more, as this admin wants it; None: send it requests again."""

    async def restart(self, name: str) -> None:
        """Start an engine afresh, by its backend's name."""

    async def preview(self, config: Config) -> list[Step]:
        """Tell what a reload of this configuration would do. Raises StartError."""


async def override(router: Levers, backends: Collection[str], key: Key, value: int, admin: Admin) -> None:
    """Change a key of launches. Raises ConflictError, and changes nothing, where that can't be run."""
    try:
        await router.override(backends, key, value, admin.name)
    except StartError as error:
        raise ConflictError(f"It stays as it is: {error.problems[0]}.") from None
