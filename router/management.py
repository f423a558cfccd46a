"""What /admin asks of the running router: `router.api.admin` has the paths, this the answers."""

from collections.abc import Callable

from router.config import Config, redacted
from router.core.errors import NotFoundError
from router.fleet.fleet import Fleet
from router.fleet.reload import Reloader
from router.proxy.plane import Plane


class Management:
    """Answers for the parts (`router.api.admin.Managed`). `in_force` gives the configuration that runs."""

    def __init__(self, fleet: Fleet, plane: Plane, in_force: Callable[[], Config], reloader: Reloader | None) -> None:
        self._fleet = fleet
        self._plane = plane
        self._in_force = in_force
        self._reloader = reloader

    def status(self) -> object:
        """Describe every backend, the queues, and the last reload."""
        last = None if self._reloader is None else self._reloader.last
        return {
            "backends": self._fleet.told(),
            "queues": self._plane.queues.told(),
            "reload": None if last is None else last.told(),
        }

    def explain(self, model: str, size: int) -> object:
        """Tell where a request of `size` bytes would go now, and why. Raises ModelNotFoundError."""
        return self._plane.explain(model, size)

    def configuration(self) -> object:
        """Give the configuration that is in force, without its secrets."""
        return redacted(self._in_force())

    async def read_again(self) -> tuple[bool, object]:
        """Read router.yaml again. Gives whether it was taken over, and the reload described.

        Raises NotFoundError where there is no file to read.
        """
        if self._reloader is None:
            raise NotFoundError("This router was started without a file that it could read again.")
        last = await self._reloader.reload()
        return not last.problems, last.told()
