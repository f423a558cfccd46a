"""What the management API has the router itself do: the parts alone couldn't."""

from typing import Protocol

from router.config import Config
from router.fleet.diff import Plan, Step


class Levers(Protocol):
    """The router as a whole: `router.app.App`."""

    @property
    def plan(self) -> Plan:
        """What runs."""

    async def restart(self, name: str) -> None:
        """Start an engine afresh, by its backend's name."""

    async def preview(self, config: Config) -> list[Step]:
        """Tell what a reload of this configuration would do. Raises StartError."""
