"""What runs, who waits, where a request would go."""

from collections.abc import Callable, Mapping, Sequence

from router.api.admin import TABLE
from router.api.admin.endpoint import Nothing
from router.api.admin.openapi import described
from router.api.admin.status import (
    AdminTold,
    CandidateTold,
    Description,
    ExplainAsked,
    Explained,
    NeighbourTold,
    OverrideTold,
    RouterTold,
    StatusTold,
)
from router.cluster.neighbours import Neighbour
from router.core.catalog import Backend
from router.core.errors import ModelNotFoundError
from router.core.estimate.ask import Ask
from router.core.scopes import Admin
from router.distribution import VERSION
from router.fleet.overrides import Overrides
from router.fleet.reload import Reloader
from router.management.described import Describe
from router.management.levers import Levers
from router.management.machine import Machine
from router.proxy.connections import Connections
from router.proxy.plane import Plane


class Status:
    """Answers `router.api.admin.status`."""

    def __init__(
        self,
        describe: Describe,
        plane: Plane,
        machine: Machine,
        router: Levers,
        reloader: Reloader | None,
        silent: Callable[[], Sequence[Mapping[str, object]]],
    ) -> None:
        self._describe = describe
        self._silent = silent
        self._plane = plane
        self._machine = machine
        self._router = router
        self._reloader = reloader

    async def status(self, _: Nothing, _admin: Admin) -> StatusTold:
        """Describe the router, the machine, every backend, the queues, and the last reload."""
        plane, last = self._plane, None if self._reloader is None else self._reloader.last
        machine, backends = await self._machine.machine(), await self._describe()
        told = {
            "router": self._router_told(),
            "machine": machine,
            "backends": backends,
            "queues": plane.queues.told(),
            "reload": None if last is None else last.told(),
            "overrides": overrides_told(self._router.overrides),
            "neighbours": [self._neighbour(each) for each in self._router.listener.neighbours],
        }
        return StatusTold.model_validate(told)

    def _neighbour(self, each: Neighbour) -> NeighbourTold:
        used = users_of(each, self._plane.connections, self._plane.backends)
        return NeighbourTold(name=each.name, url=each.url, version=each.version, entry=each.entry, used_by=used)

    def _router_told(self) -> RouterTold:
        told = self._machine.router(len(self._plane.exchanges), len(self._plane.dispatcher.admission))
        seconds = self._router.stops_in
        return told if seconds is None else told.model_copy(update={"stops_in": round(seconds, 1)})

    async def explain(self, asked: ExplainAsked, _: Admin) -> Explained:
        """Tell where a request would go now, and why. Raises ModelNotFoundError."""
        plane, ask, silent = self._plane, Ask(asked.size), self._silent()
        try:
            way = plane.catalog.resolve(asked.model)
        except ModelNotFoundError as error:
            error.message += without_models(silent)
            raise
        told = plane.dispatcher.explain(way, ask, plane.loop.time())
        if plane.loading is not None:
            plane.loading.explain(way, ask, told)
        return Explained.model_validate([*told, *map(passed_over, silent)])

    async def whoami(self, _: Nothing, admin: Admin) -> AdminTold:
        """Tell who asks."""
        return AdminTold(name=admin.name, scopes=tuple(admin.scopes))

    async def openapi(self, _: Nothing, _admin: Admin) -> Description:
        """Describe the management API."""
        return Description(described(TABLE, VERSION))


def without_models(silent: Sequence[Mapping[str, object]]) -> str:
    """Say which peers have no model here, and why, behind another sentence; nothing where there are none."""
    told = "; ".join(f"{each['name']}: {each['reason']}" for each in silent)
    return f" Peers that have no model here: {told}." if told else ""


def passed_over(silent: Mapping[str, object]) -> CandidateTold:
    """Tell of a peer without a model here as of a backend that can't get the request."""
    return CandidateTold(backend=str(silent["name"]), tier=0, policy="", passed_over=str(silent["reason"]))


def users_of(neighbour: Neighbour, connections: Connections, backends: Mapping[str, Backend]) -> tuple[str, ...]:
    """Give the backends that are at a neighbour's address."""
    found = []
    for name, backend in backends.items():
        address = connections.address(backend)
        if address is not None and address.port == neighbour.port:
            known = {address.host.lower(), *connections.names.known(address.host)}
            if not known.isdisjoint({neighbour.host, *neighbour.addresses} - {""}):
                found.append(name)
    return tuple(found)


def overrides_told(overrides: Overrides) -> tuple[OverrideTold, ...]:
    """Describe what admins have changed."""
    told: list[tuple[str, str, int, int, str, float]] = [
        (each.entry.name, each.key, each.value, each.written, each.by, each.at) for each in overrides.kept
    ]
    told += [(each.backend, "drained", True, False, each.by, each.at) for each in overrides.drained]
    return tuple(
        OverrideTold(backend=backend, key=key, value=value, written=written, by=by, since=round(at, 3))
        for backend, key, value, written, by, at in told
    )
