"""What /admin asks of the running router: `router.api.admin` has the paths, this the answers."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from itertools import islice

from router.config import Config, redacted
from router.core.errors import ConflictError, ModelNotFoundError, NotFoundError, RouterError
from router.fleet.fleet import Fleet
from router.fleet.reload import Reloader
from router.proxy.plane import Plane
from router.telemetry.tasks import heard

_NAMES_IN_AN_ERROR = 20


class Management:
    """Answers for the parts (`router.api.admin.Managed`). `in_force` gives the configuration that runs."""

    def __init__(self, fleet: Fleet, plane: Plane, in_force: Callable[[], Config], reloader: Reloader | None) -> None:
        self._fleet = fleet
        self._plane = plane
        self._in_force = in_force
        self._reloader = reloader
        self._under_way: set[asyncio.Task[None]] = set()

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

    # Models that load and unload

    def models(self, names: Collection[str] | None = None) -> list[dict[str, object]]:
        """Describe each launched backend, or those of these names."""
        return [told for told in self._fleet.models_told() if names is None or told["name"] in names]

    def launched(self, name: str) -> tuple[str, ...]:
        """Find the launched backends that a model's, a route's or a backend's name means.

        Of a route it is those of the first model that has any: a request would go there first. Raises
        ModelNotFoundError for a name that means nothing, ConflictError where no backend of it is launched here.
        """
        reason, members = "", self._fleet.members
        try:
            tiers = self._plane.catalog.resolve(name).tiers
        except ModelNotFoundError as error:
            tiers, reason = (), error.message
        for tier in tiers:
            if found := tuple(backend.name for backend, _ in tier if backend.name in members and backend.supervised):
                return found
        if name in members and members[name].supervisor is not None:
            return (name,)
        if reason and name not in members:
            names = (each.name for each in members.values() if each.supervisor is not None)
            shown = ", ".join(islice(names, _NAMES_IN_AN_ERROR))
            raise ModelNotFoundError(f"{reason} Launched: {shown or 'none'}.", param="name")
        raise ConflictError(f"'{name}' is not launched by this router, which can neither load nor unload it.")

    async def load(self, names: Collection[str]) -> RouterError | None:
        """Load launched backends, and wait until they are; give the first error."""
        return await _all_of([self._fleet.load(name) for name in names])

    async def unload(self, names: Collection[str]) -> RouterError | None:
        """Unload launched backends, and wait until they are gone; give the first error."""
        return await _all_of([self._fleet.unload(name) for name in names])

    def begin(self, work: Awaitable[RouterError | None]) -> None:
        """Let this go on by itself. It isn't waited for, so its error is told where the models are."""
        task = asyncio.create_task(heard(_without_result(work)))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)


async def _all_of(works: Collection[Awaitable[None]]) -> RouterError | None:
    """Do all of it at once; give the first error of ours. Raises any other."""
    errors = [each for each in await asyncio.gather(*works, return_exceptions=True) if each is not None]
    for error in errors:
        if not isinstance(error, RouterError):
            raise error
    return next((each for each in errors if isinstance(each, RouterError)), None)


async def _without_result(work: Awaitable[object]) -> None:
    await work
