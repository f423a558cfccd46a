"""router.yaml, as it is in force."""

from collections.abc import Callable

from router.api.admin.configuration import ConfigTold
from router.api.admin.endpoint import Nothing, Reply
from router.api.admin.status import ReloadTold
from router.config import Config, redacted
from router.core.errors import NotFoundError
from router.core.scopes import Admin
from router.fleet.reload import Reloader


class Configuration:
    """Answers `router.api.admin.configuration`. `in_force` gives the configuration that runs."""

    def __init__(self, in_force: Callable[[], Config], reloader: Reloader | None) -> None:
        self._in_force = in_force
        self._reloader = reloader

    async def config(self, _: Nothing, _admin: Admin) -> ConfigTold:
        """Give the configuration in force, without its secrets."""
        return ConfigTold(redacted(self._in_force()))

    async def reload(self, _: Nothing, _admin: Admin) -> Reply[ReloadTold]:
        """Read router.yaml again. Raises NotFoundError where there is no file to read."""
        if self._reloader is None:
            raise NotFoundError("This router was started without a file that it could read again.")
        last = await self._reloader.reload()
        return Reply(ReloadTold.model_validate(last.told()), 422 if last.problems else 200)
