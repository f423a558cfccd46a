"""Models that load and unload."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import asdict
from itertools import islice

import structlog

from launchers.abilities import common
from router.api.admin.endpoint import Nothing, Reply
from router.api.admin.models import LoadError, ModelAsked, ModelsTold, OneAsked, PinAsked
from router.api.surface import capabilities
from router.core import errors
from router.core.errors import ConflictError, ModelNotFoundError, RouterError
from router.core.memory.refusals import MemoryShortageError
from router.core.scopes import Admin
from router.fleet.fleet import Fleet
from router.management.levers import Levers, override
from router.proxy.plane import Plane
from router.telemetry.tasks import heard

log = structlog.get_logger("router")

_NAMES_IN_AN_ERROR = 20


class Models:
    """Answers `router.api.admin.models`."""

    def __init__(self, fleet: Fleet, plane: Plane, router: Levers) -> None:
        self._fleet = fleet
        self._router = router
        self._plane = plane
        self._under_way: set[asyncio.Task[None]] = set()

    async def models(self, _: Nothing, _admin: Admin) -> ModelsTold:
        """Describe each launched backend."""
        return self._told()

    async def model(self, asked: OneAsked, _: Admin) -> ModelsTold:
        """Describe the backends that a name means. Raises ModelNotFoundError and ConflictError."""
        return self._told(launched(self._fleet, self._plane, asked.name))

    async def load(self, asked: ModelAsked, admin: Admin) -> Reply[ModelsTold]:
        """Load what a name means. Raises ModelNotFoundError and ConflictError."""
        return await self._do("loads", self._fleet.load, asked, admin)

    async def unload(self, asked: ModelAsked, admin: Admin) -> Reply[ModelsTold]:
        """Unload it. Raises ModelNotFoundError and ConflictError."""
        return await self._do("unloads", self._fleet.unload, asked, admin)

    async def pin(self, asked: PinAsked, admin: Admin) -> ModelsTold:
        """Keep it loaded. Raises ModelNotFoundError and ConflictError."""
        return await self._pin(asked.name, admin, on=True)

    async def unpin(self, asked: PinAsked, admin: Admin) -> ModelsTold:
        """Let it leave again. Raises ModelNotFoundError and ConflictError."""
        return await self._pin(asked.name, admin, on=False)

    async def _pin(self, name: str, admin: Admin, *, on: bool) -> ModelsTold:
        names = launched(self._fleet, self._plane, name)
        entries = list(dict.fromkeys(self._fleet.members[each].planned.config.name for each in names))
        log.info(f"admin: {'pins' if on else 'unpins'} {', '.join(entries)}", by=admin.name)
        await override(self._router, entries, "pinned", on, admin)
        return self._told(names)

    async def _do(
        self, does: str, act: Callable[[str], Awaitable[None]], asked: ModelAsked, admin: Admin
    ) -> Reply[ModelsTold]:
        names = launched(self._fleet, self._plane, asked.name)
        log.info(f"admin: {does} {', '.join(names)}", by=admin.name)
        work = _all_of([act(name) for name in names])
        if not asked.wait:
            # Its error is told where the models are.
            task = asyncio.create_task(heard(_without_result(work)))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
            return Reply(self._told(names), 202)
        error = await work
        if error is None:
            return Reply(self._told(names))
        headers = {} if error.retry_after is None else {"retry-after": str(error.retry_after)}
        told = self._told(names)
        return Reply(ModelsTold(models=told.models, error=_described(error)), error.status, headers)

    def _told(self, names: Collection[str] | None = None) -> ModelsTold:
        told = [each for each in self._fleet.models_told() if names is None or each["name"] in names]
        return ModelsTold.model_validate({"models": [each | self._abilities(str(each["name"])) for each in told]})

    def _abilities(self, name: str) -> dict[str, object]:
        """Tell what the models of a backend can do."""
        member = self._fleet.members.get(name)
        found = {} if member is None else self._plane.directory.abilities.get(member.backend, {})
        can = common(found.values())
        return {"context": can.context, "capabilities": capabilities(can)}


def launched(fleet: Fleet, plane: Plane, name: str) -> tuple[str, ...]:
    """Find the launched backends that a model's, a route's or a backend's name means.

    Of a route it is those of the first model that has any: a request would go there first. Raises ModelNotFoundError
    for a name that means nothing, ConflictError where no backend of it is launched here.
    """
    reason, members = "", fleet.members
    try:
        tiers = plane.catalog.resolve(name).tiers
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


def _described(error: RouterError) -> LoadError:
    """Describe an error; a lack of memory with its figures."""
    told = errors.told(error)
    if isinstance(error, MemoryShortageError):
        told["shortages"] = [asdict(each) for each in error.shortages]
    return LoadError.model_validate(told)


async def _all_of(works: Collection[Awaitable[None]]) -> RouterError | None:
    """Do all of it at once; give the first error of ours. Raises any other."""
    found = [each for each in await asyncio.gather(*works, return_exceptions=True) if each is not None]
    for error in found:
        if not isinstance(error, RouterError):
            raise error
    return next((each for each in found if isinstance(each, RouterError)), None)


async def _without_result(work: Awaitable[object]) -> None:
    await work
