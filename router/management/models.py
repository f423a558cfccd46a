"""Models that load and unload."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

import structlog

from launchers.abilities import common
from router.api.admin.endpoint import Endpoint, Nothing, Reply
from router.api.admin.models import (
    LOAD,
    PIN,
    UNLOAD,
    UNPIN,
    LoadError,
    ModelAsked,
    ModelsTold,
    OneAsked,
    PinAsked,
    SilentTold,
)
from router.api.surface import capabilities
from router.core import errors
from router.core.errors import ConflictError, ModelNotFoundError, RouterError
from router.core.memory.refusals import MemoryShortageError
from router.core.scopes import Admin
from router.fleet.fleet import Fleet
from router.management.elsewhere import MOST_NAMED, Elsewhere, together
from router.management.levers import Levers, override
from router.proxy.plane import Plane
from router.telemetry.tasks import heard

log = structlog.get_logger("router")


class Models:
    """Answers `router.api.admin.models`."""

    def __init__(self, fleet: Fleet, plane: Plane, router: Levers, elsewhere: Elsewhere) -> None:
        self._fleet = fleet
        self._elsewhere = elsewhere
        self._router = router
        self._plane = plane
        self._under_way: set[asyncio.Task[None]] = set()

    async def models(self, _: Nothing, _admin: Admin) -> ModelsTold:
        """Describe each launched backend."""
        return await self._looked()

    async def model(self, asked: OneAsked, _: Admin) -> ModelsTold:
        """Describe the backends that a name means. Raises ModelNotFoundError and ConflictError."""
        return await self._looked(self.named(asked.name))

    async def load(self, asked: ModelAsked, admin: Admin) -> Reply[ModelsTold]:
        """Load what a name means. Raises ModelNotFoundError and ConflictError."""
        return await self._do("loads", self._fleet.load, LOAD, asked, admin)

    async def unload(self, asked: ModelAsked, admin: Admin) -> Reply[ModelsTold]:
        """Unload it. Raises ModelNotFoundError and ConflictError."""
        return await self._do("unloads", self._fleet.unload, UNLOAD, asked, admin)

    async def pin(self, asked: PinAsked, admin: Admin) -> ModelsTold:
        """Keep it loaded. Raises ModelNotFoundError and ConflictError."""
        return await self._pin(asked.name, admin, on=True)

    async def unpin(self, asked: PinAsked, admin: Admin) -> ModelsTold:
        """Let it leave again. Raises ModelNotFoundError and ConflictError."""
        return await self._pin(asked.name, admin, on=False)

    async def _pin(self, name: str, admin: Admin, *, on: bool) -> ModelsTold:
        names = self.named(name)
        does = "pins" if on else "unpins"
        if self._elsewhere.peer(names[0]) is not None:
            return (await self._do_elsewhere(does, PIN if on else UNPIN, names, admin)).told
        entries = list(dict.fromkeys(self._fleet.members[each].planned.config.name for each in names))
        log.info(f"admin: {does} {', '.join(entries)}", by=admin.name)
        await override(self._router, entries, "pinned", on, admin)
        return self._told(names)

    async def _do(
        self,
        does: str,
        act: Callable[[str], Awaitable[None]],
        endpoint: Endpoint[Any, Any, ModelsTold],
        asked: ModelAsked,
        admin: Admin,
    ) -> Reply[ModelsTold]:
        names = self.named(asked.name)
        if self._elsewhere.peer(names[0]) is not None:
            return await self._do_elsewhere(does, endpoint, names, admin, wait="true" if asked.wait else "false")
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

    async def _do_elsewhere(
        self, does: str, endpoint: Endpoint[Any, Any, ModelsTold], names: Collection[str], admin: Admin, **fields: str
    ) -> Reply[ModelsTold]:
        """Have peers do it. What is told of the models is what they answer: their events come a moment later."""
        log.info(f"admin: {does} {', '.join(names)}", by=admin.name)
        replies = await self._elsewhere.models(endpoint, names, **fields)
        told = self._told(names, {name: together(reply.told.models) for name, reply in replies.items()})
        for name, reply in replies.items():
            if (error := reply.told.error) is not None:
                said = error.model_copy(update={"message": f"'{self._elsewhere.peer(name)}' says: {error.message}"})
                return Reply(ModelsTold(models=told.models, error=said), reply.status, reply.headers)
        return Reply(told, max(reply.status for reply in replies.values()))

    def named(self, name: str) -> tuple[str, ...]:
        """Find the backends that a model's, a route's or a backend's name means, and that have a model to manage.

        Of a route it is those of the first model that has any: a request would go there first. Those launched here go
        before peers', and of these those that can be managed. Raises ModelNotFoundError for a name that means nothing,
        ConflictError where nothing of it can be managed.
        """
        reason, members, elsewhere = "", self._fleet.members, self._elsewhere
        try:
            tiers = self._plane.catalog.resolve(name).tiers
        except ModelNotFoundError as error:
            tiers, reason = (), error.message
        for tier in tiers:
            there = [backend.name for backend, _ in tier if elsewhere.peer(backend.name) is not None]
            here = [backend.name for backend, _ in tier if backend.name in members and backend.supervised]
            if found := here or list(filter(elsewhere.is_managed, there)) or there:
                return tuple(found)
        managed = [each for each, it in members.items() if it.supervisor is not None or elsewhere.peer(each)]
        if name in managed:
            return (name,)
        if reason and name not in members:
            shown = ", ".join(managed[:MOST_NAMED])
            raise ModelNotFoundError(f"{reason} Launched: {shown or 'none'}.", param="name")
        raise ConflictError(f"'{name}' is not launched by this router, which can neither load nor unload it.")

    async def _looked(self, names: Collection[str] | None = None) -> ModelsTold:
        """Describe these, or all. A peer's state is what its events told last."""
        known = await self._elsewhere.looked() if self._elsewhere else {}
        for each in known.values():
            each.pop("state", None)
        told = self._told(names, known)
        silent = self._fleet.silent() if names is None else []
        return told.model_copy(update={"peers": tuple(map(_silent, silent))}) if silent else told

    def _told(
        self, names: Collection[str] | None = None, known: Mapping[str, Mapping[str, object]] = MappingProxyType({})
    ) -> ModelsTold:
        """Describe these, or all. What is `known` of some goes before what was heard of them."""
        told = [each for each in self._fleet.models_told() if names is None or each["name"] in names]
        rows = [{**each, **self._abilities(str(each["name"])), **known.get(str(each["name"]), {})} for each in told]
        return ModelsTold.model_validate({"models": rows})

    def _abilities(self, name: str) -> dict[str, object]:
        """Tell what the models of a backend can do."""
        member = self._fleet.members.get(name)
        found = {} if member is None else self._plane.directory.abilities.get(member.backend, {})
        can = common(found.values())
        return {"context": can.context, "capabilities": capabilities(can)}


def _silent(told: Mapping[str, object]) -> SilentTold:
    return SilentTold.model_validate({name: told[name] for name in SilentTold.model_fields})


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
