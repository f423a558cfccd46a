"""The replicas on Ray as the fleet has them: a backend that says why one isn't there yet, then its router as a peer.

What should be there and what became of it: `router.cluster.ray_cluster`. Each replica has the name of its entry, or one
with a number behind it, as replicas on this machine do. While its router isn't there, a *stand-in* of that name has
requests for its models wait, or tells why they wait for nothing. Then its models are members, as any peer's are.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from router.cluster.peers import Peers
from router.cluster.ray_cluster import RayCluster
from router.config import BackendConfig
from router.core.catalog import Backend
from router.fleet.diff import Do, Plan, PlannedBackend, Step
from router.fleet.members import Member, cap_of
from router.proxy.plane import Plane

GONE = "is placed anew on Ray"
"""Why a stand-in is retired. Only clients whose requests find no other backend read it."""


class OnRay:
    """The replicas on Ray of one router. `members` are the fleet's own, peers' models among them."""

    def __init__(self, plane: Plane, peers: Peers, members: Callable[[], Mapping[str, Member]], folder: Path) -> None:
        self._plane = plane
        self._peers = peers
        self._members = members
        self.stand_ins: dict[str, Member] = {}
        self.cluster = RayCluster(self, folder)

    def do(self, step: Step, plan: Plan) -> bool:
        """Do a step of a reload, if it is about a replica on Ray; tell whether it is."""
        planned = plan.backends.get(step.name)
        is_known = self.cluster.has(step.name)
        if is_known and step.do in {Do.REMOVE, Do.REPLACE}:
            self.cluster.remove(step.name)
        if planned is None or not planned.is_on_ray:
            # What takes the place of a replica is another part's.
            return is_known and step.do is Do.REMOVE
        if step.do in {Do.ADD, Do.REPLACE}:
            self.cluster.add(step.name, planned.config, plan.config)
        elif step.do in {Do.TUNE, Do.KEEP}:
            self.cluster.tune(step.name, planned.config, plan.config)
        return True

    # What `router.cluster.ray_cluster.Home` says

    def wait_for(self, name: str, entry: BackendConfig, reason: str, due: float | None) -> None:
        """Have requests for its models wait, or tell them the reason why not."""
        member = self.stand_ins.get(name)
        if member is None:
            planned = PlannedBackend(entry)
            backend = Backend(name, dict(entry.models), entry.weight, cap=cap_of(planned), supervised=True)
            member = self.stand_ins[name] = Member(planned, backend)
            self._plane.add(backend)
        self._plane.withdraw(member.backend, reason, due=due)

    def stop_waiting(self, name: str) -> None:
        """Forget a stand-in."""
        member = self.stand_ins.pop(name)
        self._plane.retire(member.backend, GONE)
        self._plane.drop(member.backend, GONE)

    def joins(self, peer: BackendConfig) -> None:
        """Take in its router."""
        self._peers.add(peer)

    def has_joined(self, name: str) -> bool:
        """Whether its router has told what it serves."""
        peer = self._peers.by_name.get(name)
        return peer is not None and not peer.away and bool(self._of(name))

    def leaves(self, name: str) -> Callable[[], int]:
        """Send its router nothing more; give what counts the requests that it still has."""
        backends = [member.backend for member in self._of(name)]
        self._peers.remove(name)
        return lambda: sum(backend.in_flight for backend in backends)

    def _of(self, name: str) -> list[Member]:
        return [member for each, member in self._members().items() if each.startswith(f"{name}/")]
