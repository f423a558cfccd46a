"""Backends that are drained, restarted and scaled.

A backend is meant by its own name, or by that of a model that it alone serves.
"""

from itertools import islice

import structlog

from router.api.admin.backends import DRAIN, RESTART, SCALE, UNDRAIN, BackendAsked, BackendsTold, ScaleAsked
from router.core.errors import ConflictError, NotFoundError, RouterError
from router.core.scopes import Admin
from router.fleet.fleet import Fleet
from router.fleet.members import Member
from router.management.described import Describe
from router.management.elsewhere import MOST_NAMED, Elsewhere
from router.management.levers import Levers, override

log = structlog.get_logger("router")


class Backends:
    """Answers `router.api.admin.backends`."""

    def __init__(self, fleet: Fleet, describe: Describe, router: Levers, elsewhere: Elsewhere) -> None:
        self._fleet = fleet
        self._elsewhere = elsewhere
        self._describe = describe
        self._router = router

    async def restart(self, asked: BackendAsked, admin: Admin) -> BackendsTold:
        """Start an engine afresh. Raises NotFoundError and ConflictError."""
        name = self._meant(asked.name)
        if self._elsewhere.peer(name) is not None:
            log.info(f"admin: restarts {name}", by=admin.name)
            return await self._elsewhere.backends(RESTART, name)
        member = member_of(self._fleet, name)
        if member.supervisor is None:
            raise ConflictError(f"'{name}' is not launched by this router, which can't restart it.")
        if not self._fleet.runs(member):
            raise ConflictError(f"'{name}' isn't running: there is nothing to restart.")
        if not self._fleet.is_settled(member):
            raise ConflictError(f"'{name}' is starting already: wait until it serves, or has failed.")
        log.info(f"admin: restarts {name}", by=admin.name)
        await self._router.restart(name)
        return await self._told(name)

    async def drain(self, asked: BackendAsked, admin: Admin) -> BackendsTold:
        """Send a backend nothing more. Raises NotFoundError."""
        return await self._hold(self._meant(asked.name), admin, on=True)

    async def undrain(self, asked: BackendAsked, admin: Admin) -> BackendsTold:
        """Send it requests again. Raises NotFoundError."""
        return await self._hold(self._meant(asked.name), admin, on=False)

    async def scale(self, asked: ScaleAsked, admin: Admin) -> BackendsTold:
        """Have so many processes of a launch. Raises NotFoundError and ConflictError."""
        meant = self._meant(asked.name, whole=True)
        name = self._on_ray(meant)
        if name is None and self._elsewhere.peer(meant) is not None:
            log.info(f"admin: scales {meant} to {asked.replicas}", by=admin.name)
            return await self._elsewhere.backends(SCALE, meant, replicas=asked.replicas)
        if name is None:
            member = member_of(self._fleet, meant)
            if member.supervisor is None:
                raise ConflictError(f"'{meant}' is not launched by this router, which can't scale it.")
            name = member.planned.config.name
        log.info(f"admin: scales {name} to {asked.replicas}", by=admin.name)
        before = self._of(name)
        await override(self._router, [name], "replicas", asked.replicas, admin)
        return await self._told(*before, *self._of(name))

    def _meant(self, name: str, *, whole: bool = False) -> str:
        return meant(self._fleet, self._elsewhere, name, whole=whole)

    def _on_ray(self, name: str) -> str | None:
        """Give the entry of a replica on Ray, by its name or its model's: it is scaled here, not at its own router."""
        planned = self._router.plan.backends.get(name.partition("/")[0])
        return planned.config.name if planned is not None and planned.is_on_ray else None

    def _of(self, entry: str) -> list[str]:
        """Name the processes of an entry of router.yaml."""
        return [name for name, each in self._fleet.members.items() if each.planned.config.name == entry]

    async def _hold(self, name: str, admin: Admin, *, on: bool) -> BackendsTold:
        """Drain a backend, or let it have requests again: here, and what is a peer's there, too, for everybody."""
        if self._elsewhere.is_peer(name) and name not in self._fleet.members:
            return await self._hold_all(name, admin, on=on)
        if self._elsewhere.peer(name) is None:
            await self._hold_here(member_of(self._fleet, name).name, admin, on=on)
            return await self._told(name)
        if name not in self._fleet.members:
            return await self._hold_there(name, on=on)
        await self._hold_here(name, admin, on=on)
        if self._elsewhere.is_managed(name):
            await self._hold_there(name, on=on, note=on)
        return await self._told(name)

    async def _hold_there(self, name: str, *, on: bool, note: bool = False) -> BackendsTold:
        try:
            return await self._elsewhere.backends(DRAIN if on else UNDRAIN, name, single=False)
        except RouterError as error:
            if note:
                error.message += " This router sends it nothing more."
            raise

    async def _hold_all(self, peer: str, admin: Admin, *, on: bool) -> BackendsTold:
        """Do so with each model of a peer that is known here. Raises ConflictError where none is."""
        models = [each for each in self._fleet.members if self._elsewhere.peer(each) == peer]
        if not models:
            reasons = [f": {each['reason']}" for each in self._fleet.silent() if each["name"] == peer]
            raise ConflictError(f"No model of '{peer}' is known here{''.join(reasons)}.")
        for each in models:
            await self._hold_here(each, admin, on=on)
        if self._elsewhere.is_managed(models[0]):
            for each in models:
                await self._hold_there(each, on=on, note=on)
        return await self._told(*models)

    async def _hold_here(self, name: str, admin: Admin, *, on: bool) -> None:
        if on != any(each.backend == name for each in self._router.overrides.drained):
            log.info(f"admin: {'drains' if on else 'undrains'} {name}", by=admin.name)
            await self._router.drain(name, admin.name if on else None)

    async def _told(self, *names: str) -> BackendsTold:
        return BackendsTold(backends=tuple(each for each in await self._describe() if each.name in names))


def meant(fleet: Fleet, elsewhere: Elsewhere, name: str, *, whole: bool = False) -> str:
    """Give the backend that a name means: one of that name, or the only one that serves a model of that name.

    `whole`: what is asked for concerns all processes of an entry of router.yaml, so the first of them will do. Raises
    ConflictError where several serve the model. A name that means nothing is given back, as is a peer's.
    """
    if name in fleet.members or elsewhere.is_peer(name) or elsewhere.peer(name) is not None:
        return name
    serving = [each.name for each in fleet.members.values() if name in each.backend.models]
    if len({fleet.entry_of(each) for each in serving} if whole else serving) > 1:
        names = ", ".join(serving[:MOST_NAMED])
        raise ConflictError(f"'{name}' is a model that several backends serve: name one of {names}.")
    return serving[0] if serving else name


def member_of(fleet: Fleet, name: str) -> Member:
    """Find a backend. Raises NotFoundError, which says what there is."""
    member = fleet.members.get(name)
    if member is None:
        known = ", ".join(islice(fleet.members, MOST_NAMED))
        raise NotFoundError(f"There is no backend '{name}'. Backends: {known or 'none'}.", param="name")
    return member
