"""Backends that are drained and restarted."""

from collections.abc import Awaitable, Callable
from itertools import islice
from typing import Final

import structlog

from router.api.admin.backends import BackendAsked, BackendsTold
from router.core.errors import ConflictError, NotFoundError
from router.core.scopes import Admin
from router.fleet.fleet import Fleet
from router.fleet.members import Member
from router.proxy.plane import Plane

log = structlog.get_logger("router")

_NAMES_IN_AN_ERROR: Final = 20


class Backends:
    """Answers `router.api.admin.backends`. `restart` starts an engine afresh, by its backend's name."""

    def __init__(self, fleet: Fleet, plane: Plane, restart: Callable[[str], Awaitable[None]]) -> None:
        self._fleet = fleet
        self._plane = plane
        self._restart = restart

    async def restart(self, asked: BackendAsked, admin: Admin) -> BackendsTold:
        """Start an engine afresh. Raises NotFoundError and ConflictError."""
        member = member_of(self._fleet, asked.name)
        if member.supervisor is None:
            raise ConflictError(f"'{asked.name}' is not launched by this router, which can't restart it.")
        if not self._fleet.runs(member):
            raise ConflictError(f"'{asked.name}' isn't running: there is nothing to restart.")
        log.info(f"admin: restarts {asked.name}", by=admin.name)
        await self._restart(asked.name)
        return self._told(asked.name)

    async def drain(self, asked: BackendAsked, admin: Admin) -> BackendsTold:
        """Send a backend nothing more. Raises NotFoundError."""
        return self._hold(asked.name, admin, on=True)

    async def undrain(self, asked: BackendAsked, admin: Admin) -> BackendsTold:
        """Send it requests again. Raises NotFoundError."""
        return self._hold(asked.name, admin, on=False)

    def _hold(self, name: str, admin: Admin, *, on: bool) -> BackendsTold:
        backend = member_of(self._fleet, name).backend
        if on != (backend in self._plane.ledger.held):
            log.info(f"admin: {'drains' if on else 'undrains'} {name}", by=admin.name)
            self._plane.ledger.hold(backend, on=on)
            self._plane.queues.offer_soon(backend)
        return self._told(name)

    def _told(self, name: str) -> BackendsTold:
        return BackendsTold.model_validate({"backends": [each for each in self._fleet.told() if each["name"] == name]})


def member_of(fleet: Fleet, name: str) -> Member:
    """Find a backend. Raises NotFoundError, which says what there is."""
    member = fleet.members.get(name)
    if member is None:
        known = ", ".join(islice(fleet.members, _NAMES_IN_AN_ERROR))
        raise NotFoundError(f"There is no backend '{name}'. Backends: {known or 'none'}.", param="name")
    return member
