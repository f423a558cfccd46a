"""/admin/config and /admin/reload: router.yaml."""

from typing import Any, Final, Protocol

from pydantic import RootModel

from router.api.admin.endpoint import Endpoint, Endpoints, Nothing, Reply
from router.api.admin.status import ReloadTold
from router.core.scopes import Admin, Scope


class ConfigTold(RootModel[dict[str, Any]]):
    """The configuration in router.yaml's own words, with every default; secrets are "(hidden)"."""


class ManagedConfig(Protocol):
    """The part of the router that reads router.yaml."""

    async def config(self, asked: Nothing, admin: Admin) -> ConfigTold:
        """Give the configuration in force, without its secrets."""

    async def reload(self, asked: Nothing, admin: Admin) -> Reply[ReloadTold]:
        """Read router.yaml again. Raises NotFoundError where there is no file to read."""


CONFIG: Final = Endpoint[ManagedConfig, Nothing, ConfigTold](
    operation="config",
    method="GET",
    path="/admin/config",
    scope=Scope.READ,
    doc="The configuration in force, with every default, its secrets hidden.",
    asks=Nothing,
    tells=ConfigTold,
    handle=lambda part: part.config,
)

RELOAD: Final = Endpoint[ManagedConfig, Nothing, ReloadTold](
    operation="reload",
    method="POST",
    path="/admin/reload",
    scope=Scope.MANAGE,
    doc="Read router.yaml again now; it is read at each change anyway.",
    asks=Nothing,
    tells=ReloadTold,
    handle=lambda part: part.reload,
    others={422: "The file has mistakes, and nothing has changed: `problems` has them."},
    errors={404: "This router was started without a file."},
)

ENDPOINTS: Final[Endpoints[ManagedConfig]] = (CONFIG, RELOAD)
